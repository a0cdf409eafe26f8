package jet

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/minio/highwayhash"

	"bongsu/journal"
)

// The engine's block files, read by ourselves and never written. A block is a sequence of records:
//
//	length of all of it (4, the top bit says that there is a header), sequence (8), time (8), length of the subject (2), subject,
//	[length of the header (4), header,] payload, HighwayHash-64 of sequence, time, subject, header and payload (8)
//
// little endian; the key of the hash is the SHA-256 of "stream-block". Sequences with bit 62 are tombstones of what was
// trimmed, with bit 63 erased records; neither counts. Blocks are numbered in order, N.blk. TestScanReadsTheEngine holds this
// against the engine in use.
const (
	blockExt     = ".blk"
	recordHeader = 22
	recordHash   = 8
	headerBit    = 1 << 31
	tombstoneBit = 1 << 62
	erasedBit    = 1 << 63
	// largestRecord bounds what is believed of a length: a batch of records in an entry of the engine's books, generously.
	largestRecord = 32 << 20
)

// extent is what a scan found of one partition.
type extent struct {
	first, last journal.Position // first is last+1 when there is nothing
	bytes       int64            // read
}

// scanAll reads and checks all partitions of a single node and holds them against the marks.
func scanAll(dir string, n int, m *marks) ([]extent, error) {
	found, err := scanPartitions(dir, n, m)
	if err != nil {
		return nil, err
	}
	for i, x := range found {
		p := journal.Partition(i)
		acked, first := m.of(p)
		switch {
		case x.last < acked:
			return nil, damaged(p, x.last+1, "the records from here to %d were acknowledged and are not there", acked)
		case x.first > max(first, 1):
			return nil, damaged(p, max(first, 1), "the records from here to %d were never trimmed and are not there", x.first-1)
		}
	}
	return found, nil
}

// scanCluster reads and checks the records and the books of a cluster's site; groups may be nil. The records are not held against the
// marks here: after a power loss the engine makes the last of them again from its books, and watch compares what comes of it.
func scanCluster(dir string, n int, groups []string, m *marks, b books) ([]extent, error) {
	ends, err := scanBooks(dir, groups, b)
	if err != nil {
		return nil, err
	}
	found, err := scanPartitions(dir, n, m)
	if err != nil {
		return nil, err
	}
	for i, x := range found {
		if i < len(ends) && x.last < ends[i] {
			return nil, damaged(journal.Partition(i), x.last+1, "the records from here to %d were kept and are not there", ends[i])
		}
	}
	return found, nil
}

// scanPartitions reads and checks all partitions, as many at a time as there are processors.
func scanPartitions(dir string, n int, m *marks) ([]extent, error) {
	found := make([]extent, n)
	errs := make([]error, n)
	next := make(chan int, n)
	for p := range n {
		next <- p
	}
	close(next)
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			var buf []byte // one block at a time
			for p := range next {
				found[p], buf, errs[p] = scanPartition(dir, journal.Partition(p), m, buf)
			}
		})
	}
	wg.Wait()
	return found, errors.Join(errs...)
}

// scanPartition reads and checks one partition. It uses buf for the blocks and returns it, perhaps grown.
func scanPartition(dir string, p journal.Partition, m *marks, buf []byte) (extent, []byte, error) {
	_, first := m.of(p)
	s := scanner{partition: p, stream: streamName(p), subject: []byte(subject(p)), kept: first}
	blocks, err := listBlocks(blockDir(dir, p))
	if err != nil {
		return extent{}, buf, damaged(p, 0, "its files cannot be read: %v", err)
	}
	for _, b := range blocks {
		if buf, err = readBlock(b.name, buf); err != nil {
			return extent{}, buf, damaged(p, s.last+1, "%s cannot be read: %v", b.name, err)
		}
		if err := s.block(b, buf); err != nil {
			return extent{}, buf, err
		}
	}
	if s.first == 0 { // nothing: a trim never removes the last record, so this is where the journal began
		s.first, s.last = first, first-1
	}
	return extent{first: s.first, last: s.last, bytes: s.bytes}, buf, nil
}

// Damage is an ErrDamaged that says where the damage begins, and what a person needs to know of it; remedy adds what to do.
type Damage struct {
	Partition journal.Partition
	Pos       journal.Position
	What      string
}

// Error implements error.
func (d *Damage) Error() string {
	return fmt.Sprintf("%v: partition %d at position %d: %s; the files were left as they are", journal.ErrDamaged, d.Partition, d.Pos, d.What)
}

// Unwrap returns journal.ErrDamaged.
func (d *Damage) Unwrap() error { return journal.ErrDamaged }

func damaged(p journal.Partition, pos journal.Position, format string, args ...any) error {
	return &Damage{Partition: p, Pos: pos, What: fmt.Sprintf(format, args...)}
}

// remedy adds to ErrDamaged what a person is to do.
func remedy(err error, cluster bool) error {
	switch {
	case !errors.Is(err, journal.ErrDamaged):
		return err
	case cluster:
		return fmt.Errorf("%w: this site's journal must be wiped; the other sites fill it again", err)
	}
	return fmt.Errorf("%w: copy the journal's directory aside and restore it from a backup", err)
}

type block struct {
	name  string
	index int
}

// listBlocks returns the blocks in order.
func listBlocks(dir string) ([]block, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil // then nothing was acknowledged, or the marks say so
		}
		return nil, err
	}
	var blocks []block
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), blockExt)
		index, err := strconv.Atoi(number)
		if ok && err == nil {
			blocks = append(blocks, block{filepath.Join(dir, e.Name()), index})
		}
	}
	slices.SortFunc(blocks, func(a, b block) int { return a.index - b.index })
	return blocks, nil
}

// readBlock reads a whole block into buf, grown as needed, and makes it durable: what a killed process had written and not yet
// synced is in the page cache only, and from now on it will be taken for kept.
func readBlock(name string, buf []byte) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return buf, err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return buf, err
	}
	info, err := f.Stat()
	if err != nil {
		return buf, err
	}
	buf = slices.Grow(buf[:0], int(info.Size()))[:info.Size()]
	_, err = io.ReadFull(f, buf)
	return buf, err
}

// scanner goes through the blocks of one partition.
type scanner struct {
	partition journal.Partition
	stream    string
	subject   []byte
	kept      journal.Position // records below may be missing

	first, last journal.Position
	bytes       int64
	torn        string // where an unfinished record was seen: it must be the end
}

// block checks one block.
func (s *scanner) block(b block, buf []byte) error {
	hh, err := blockHash(s.stream, b.index)
	if err != nil {
		return damaged(s.partition, s.last+1, "%v", err)
	}
	s.bytes += int64(len(buf))
	for off := 0; off < len(buf); {
		rec, err := parseRecord(buf[off:], hh)
		if err != nil {
			return s.bad(b, buf, off, hh, err)
		}
		off += rec.size
		if !rec.counts() {
			continue
		}
		if err := s.record(b, rec); err != nil {
			return err
		}
	}
	return nil
}

// record checks that rec is the one that comes next.
func (s *scanner) record(b block, rec record) error {
	if s.torn != "" {
		return damaged(s.partition, s.last+1, "%s, and records follow", s.torn)
	}
	want := s.last + 1
	pos := journal.Position(rec.seq)
	if s.first != 0 && pos != want && (pos < want || pos > s.kept) {
		return damaged(s.partition, want, "the next record in %s is at position %d", b.name, pos)
	}
	if _, err := unframe(s.partition, rec.payload); err != nil || !bytes.Equal(rec.subject, s.subject) {
		return damaged(s.partition, pos, "%v", errors.Join(err, fmt.Errorf("not a record of this partition in %s", b.name)))
	}
	if s.first == 0 || pos != want {
		s.first = pos
	}
	s.last = pos
	return nil
}

// bad decides what a bad record at off is. At the very end it is a write that a crash has torn, which nobody was told of: the
// engine cuts it off. Anywhere else it is damage.
func (s *scanner) bad(b block, buf []byte, off int, hh hash.Hash, cause error) error {
	if s.follows(buf[off+1:], hh) {
		return damaged(s.partition, s.last+1, "%v in %s at byte %d", cause, b.name, off)
	}
	s.torn = fmt.Sprintf("%v in %s at byte %d", cause, b.name, off)
	return nil
}

// follows reports whether a sound record of a later position is anywhere in buf.
func (s *scanner) follows(buf []byte, hh hash.Hash) bool {
	for {
		i := bytes.Index(buf, s.subject)
		if i < 0 {
			return false
		}
		if i >= recordHeader {
			rec, err := parseRecord(buf[i-recordHeader:], hh)
			if err == nil && rec.counts() && journal.Position(rec.seq) > s.last {
				return true
			}
		}
		buf = buf[i+1:]
	}
}

// record is one record of a block; its slices share the block's memory.
type record struct {
	seq     uint64
	subject []byte
	payload []byte
	size    int
}

// counts reports whether it is a record of the journal, not a tombstone or an erased one.
func (r record) counts() bool { return r.seq != 0 && r.seq&(tombstoneBit|erasedBit) == 0 }

var (
	errShort = errors.New("record cut short")
	errForm  = errors.New("record malformed")
	errHash  = errors.New("engine's checksum of the record does not match")
)

// parseRecord reads the record at the beginning of buf.
func parseRecord(buf []byte, hh hash.Hash) (record, error) {
	if len(buf) < recordHeader+recordHash {
		return record{}, errShort
	}
	length := binary.LittleEndian.Uint32(buf)
	subjectLen := int(binary.LittleEndian.Uint16(buf[20:]))
	size := int(length &^ headerBit)
	switch {
	case size > largestRecord || size < recordHeader+subjectLen+recordHash:
		return record{}, errForm
	case size > len(buf):
		return record{}, errShort
	}
	r := record{seq: binary.LittleEndian.Uint64(buf[4:]), size: size}
	r.subject = buf[recordHeader : recordHeader+subjectLen]
	body := buf[recordHeader+subjectLen : size-recordHash]
	headerLen := 0
	if length&headerBit != 0 {
		if len(body) < 4 || int64(binary.LittleEndian.Uint32(body)) > int64(len(body)-4) {
			return record{}, errForm
		}
		headerLen = int(binary.LittleEndian.Uint32(body))
		body = body[4:]
	}
	hh.Reset()
	hh.Write(buf[4:20])
	hh.Write(r.subject)
	hh.Write(body)
	var sum [recordHash]byte
	if !bytes.Equal(hh.Sum(sum[:0]), buf[size-recordHash:size]) {
		return record{}, errHash
	}
	r.payload = body[headerLen:]
	return r, nil
}

// blockHash is the hash that the engine uses in a block.
func blockHash(stream string, index int) (hash.Hash, error) {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, index))
	return highwayhash.New64(key[:])
}
