package jet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync"

	"bongsu/journal"
)

// The marks file remembers, for each partition, the last acknowledged position and the highest position that Trim was
// asked for. Both are lower bounds of what the engine's files must show at the next start.
//
// Acknowledgements are written to it without a sync, which costs a microsecond: after kill -9 it is exact, because the page cache
// survives; after power loss it is as old as the last sync (a second), which is still a true bound, because a position gets here
// only when its record is on disk. Trims are synced first.
//
// Each partition has two slots of 32 bytes, written in turn, so that a torn write leaves the other: last (8), trim (8),
// generation (8), CRC-32C of those (4), zero (4); little endian. All zero means never written.
const (
	marksFile = "marks"
	slotSize  = 32
)

type marks struct {
	file  *os.File
	parts []mark
}

type mark struct {
	mu         sync.Mutex
	last, trim journal.Position
	generation uint64
	dirty      bool // not synced
}

// openMarks reads the marks of n partitions. With fresh it makes the file anew.
func openMarks(name string, n int, fresh bool) (*marks, error) {
	flags := os.O_RDWR
	if fresh {
		flags |= os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: the file of acknowledged positions cannot be opened (%v); restore the journal's directory from a backup",
			journal.ErrDamaged, err)
	}
	m := &marks{file: f, parts: make([]mark, n)}
	if fresh { // real zeros, so that later writes need no space
		_, err = f.Write(make([]byte, 2*slotSize*n))
		err = errors.Join(err, f.Sync())
	} else {
		err = m.load()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m, nil
}

func (m *marks) load() error {
	buf := make([]byte, 2*slotSize)
	for p := range m.parts {
		if _, err := m.file.ReadAt(buf, int64(p*len(buf))); err != nil {
			return fmt.Errorf("%w: the file of acknowledged positions is too short: %v; restore the journal's directory from a backup",
				journal.ErrDamaged, err)
		}
		if !m.parts[p].decode(buf) {
			return fmt.Errorf("%w: the acknowledged position of partition %d is unreadable; restore the journal's directory from a backup",
				journal.ErrDamaged, p)
		}
	}
	return nil
}

// decode takes the newer of two slots; it reports false when there was something and none is sound.
func (k *mark) decode(buf []byte) bool {
	sound, empty := false, true
	for i := range 2 {
		s := buf[i*slotSize : (i+1)*slotSize]
		for _, b := range s {
			empty = empty && b == 0
		}
		gen := binary.LittleEndian.Uint64(s[16:])
		if gen == 0 || binary.LittleEndian.Uint32(s[24:]) != crc32.Checksum(s[:24], castagnoli) {
			continue
		}
		if sound = true; gen > k.generation {
			k.generation = gen
			k.last = journal.Position(binary.LittleEndian.Uint64(s))
			k.trim = journal.Position(binary.LittleEndian.Uint64(s[8:]))
		}
	}
	return sound || empty
}

// acked remembers that everything up to pos is on disk and acknowledged.
func (m *marks) acked(p journal.Partition, pos journal.Position) error {
	return m.raise(p, pos, 0)
}

// trimming remembers, durably, that records below pos may go.
func (m *marks) trimming(p journal.Partition, pos journal.Position) error {
	if err := m.raise(p, 0, pos); err != nil {
		return err
	}
	return m.sync()
}

func (m *marks) raise(p journal.Partition, last, trim journal.Position) error {
	k := &m.parts[p]
	k.mu.Lock()
	defer k.mu.Unlock()
	if last <= k.last && trim <= k.trim {
		return nil
	}
	k.last, k.trim = max(k.last, last), max(k.trim, trim)
	k.generation++
	var s [slotSize]byte
	binary.LittleEndian.PutUint64(s[0:], uint64(k.last))
	binary.LittleEndian.PutUint64(s[8:], uint64(k.trim))
	binary.LittleEndian.PutUint64(s[16:], k.generation)
	binary.LittleEndian.PutUint32(s[24:], crc32.Checksum(s[:24], castagnoli))
	k.dirty = true
	if _, err := m.file.WriteAt(s[:], int64(p)*2*slotSize+int64(k.generation%2)*slotSize); err != nil {
		return fmt.Errorf("jet: remembering an acknowledged position: %w", err)
	}
	return nil
}

// of returns what is remembered of p: the last acknowledged position, and the first position that must still be there.
func (m *marks) of(p journal.Partition) (last, first journal.Position) {
	k := &m.parts[p]
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last, max(k.trim, 1)
}

// sync makes what was remembered durable; it does nothing when nothing is new. It may be called on nil.
func (m *marks) sync() error {
	if m == nil {
		return nil
	}
	dirty := false
	for p := range m.parts {
		k := &m.parts[p]
		k.mu.Lock()
		dirty = dirty || k.dirty
		k.dirty = false
		k.mu.Unlock()
	}
	if !dirty {
		return nil
	}
	err := m.file.Sync()
	if err != nil {
		m.parts[0].mu.Lock()
		m.parts[0].dirty = true
		m.parts[0].mu.Unlock()
	}
	return err
}

// close may be called on nil.
func (m *marks) close() error {
	if m == nil {
		return nil
	}
	return errors.Join(m.sync(), m.file.Close())
}
