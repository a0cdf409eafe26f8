package jet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server"

	"bongsu/journal"
)

// A site writes a record to its log, promises it to the leader, and hears only with the next message that a quorum has it; then it
// applies it to the stream. So a record that was acknowledged to a client may stand, at a site that is left alone, in the log
// only. Behind the last record of the stream the log's entries are taken, in their order: all that were acknowledged and
// promised here are among them. Some may never have been acknowledged; their clients were told that the outcome is open, and for
// them it is now that they happened.
//
// An entry of a log is: leader (8), term (8), commit (8), term and index of the entry before (8 each), number of parts (2), and for each
// part its length (4), its type (1) and its data; little endian. A part of type 0 is an operation of the stream: its kind (1), and for
// a record, kind 4, or 14 when what follows is compressed (S2): last sequence (8), time (8), length of the subject (2), subject, of the
// reply (2), reply, of the header (2), header, of the payload (4), payload. TestSalvage holds this against the engine in use.
const (
	partNormal      = 0
	opRecord        = 4
	opRecordPacked  = 14
	largestUnpacked = 2 * largestRecord
	entryParts      = 40 // where their number is
	entryPartsBegin = 42
)

// salvage finds, for each partition, the records in the log behind those in the stream.
func (s *Stopped) salvage(dir string) error {
	groups, err := os.ReadDir(raftDir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("jet: reading the engine's books: %w", err)
	}
	for _, g := range groups {
		if g.Name() == metaGroup {
			continue
		}
		log := heldLog{group: group{name: g.Name(), dir: filepath.Join(raftDir(dir), g.Name())}, frames: map[string][][]byte{}}
		if err := log.read(); err != nil {
			return fmt.Errorf("jet: reading the engine's books of %s: %w", g.Name(), err)
		}
		for p := range s.parts {
			s.parts[p].behind(journal.Partition(p), &log) //nolint:gosec // at most 1024
		}
	}
	return nil
}

// behind takes what the log holds behind the last record of the stream. The engine cuts its log only below what it has applied, so
// if that record is not in the log any more, all of the log is behind it; unless the stream was being filled by another site
// and has not come as far as the log begins.
func (s *stopped) behind(p journal.Partition, log *heldLog) {
	frames := log.frames[subject(p)]
	if len(frames) == 0 || s.damage != nil {
		return
	}
	if s.last < log.ends {
		s.damage = damaged(p, s.last+1, "the records from here to %d were still being fetched from another site", log.ends)
		return
	}
	var last []byte
	if s.last >= s.first {
		if err := s.frames(p, s.last, s.last, func(_ journal.Position, b []byte) error { last = b; return nil }); err != nil {
			s.damage = err
			return
		}
	}
	if i := slices.IndexFunc(frames, func(b []byte) bool { return bytes.Equal(b, last) }); i >= 0 {
		frames = frames[i+1:]
	}
	s.damage = log.damage
	for _, b := range frames {
		if _, err := unframe(p, b); err != nil {
			s.damage = damaged(p, s.all()+1, "%v in the engine's books", err)
			break
		}
		s.tail = append(s.tail, b)
	}
}

// heldLog is what the files show of the log of one group.
type heldLog struct {
	group
	ends   journal.Position    // where the stream ended when the log was last cut
	frames map[string][][]byte // the records in it, by subject
	damage error               // why they end although there was more
}

// read reads the log up to its end or the first damage.
func (l *heldLog) read() error {
	if l.damage = l.scanSnapshots(); l.damage == nil && l.state != nil {
		state, err := server.DecodeStreamState(l.state)
		if err != nil {
			l.damage = err
		} else {
			l.ends = journal.Position(state.LastSeq)
		}
	}
	blocks, err := listBlocks(filepath.Join(l.dir, "msgs"))
	if err != nil {
		return err
	}
	for _, b := range blocks {
		buf, err := readBlock(b.name, nil) // what is found refers to it
		if err != nil {
			return err
		}
		if whole, err := l.block(b, buf); err != nil || !whole {
			l.damage = errors.Join(l.damage, err)
			return nil
		}
	}
	return nil
}

// block reads one block; it reports false when it is torn.
func (l *heldLog) block(b block, buf []byte) (whole bool, err error) {
	hh, err := blockHash(l.name, b.index)
	if err != nil {
		return false, err
	}
	for off := 0; off < len(buf); {
		rec, err := parseRecord(buf[off:], hh)
		if err != nil {
			if l.follows(buf[off+1:], hh) {
				return false, fmt.Errorf("%w in %s at byte %d", err, b.name, off)
			}
			return false, nil // what a crash cut off was never promised
		}
		off += rec.size
		if !rec.counts() {
			continue
		}
		if l.last != 0 && rec.seq != l.last+1 {
			return false, fmt.Errorf("entry %d follows %d in %s", rec.seq, l.last, b.name)
		}
		l.last = rec.seq
		if err := readEntry(rec.payload, l.frames); err != nil {
			return false, fmt.Errorf("entry %d in %s: %w", rec.seq, b.name, err)
		}
	}
	return true, nil
}

var errEntry = errors.New("malformed entry")

// readEntry adds the records of one entry to those of their subjects.
func readEntry(b []byte, frames map[string][][]byte) error {
	if len(b) < entryPartsBegin {
		return errEntry
	}
	n, rest := int(binary.LittleEndian.Uint16(b[entryParts:])), b[entryPartsBegin:]
	for range n {
		part, after, ok := cut32(rest)
		if !ok || len(part) == 0 {
			return errEntry
		}
		rest = after
		if part[0] != partNormal || len(part) < 2 {
			continue
		}
		op, body := part[1], part[2:]
		if op == opRecordPacked {
			if size, err := s2.DecodedLen(body); err != nil || size > largestUnpacked {
				return errEntry
			}
			var err error
			if body, err = s2.Decode(nil, body); err != nil {
				return errors.Join(errEntry, err)
			}
		}
		if op != opRecord && op != opRecordPacked {
			continue
		}
		subject, payload, ok := readOperation(body)
		if !ok {
			return errEntry
		}
		frames[subject] = append(frames[subject], payload)
	}
	return nil
}

// readOperation reads a record's operation.
func readOperation(b []byte) (subject string, payload []byte, ok bool) {
	if len(b) < 16 {
		return "", nil, false
	}
	name, b, ok1 := cut16(b[16:])
	_, b, ok2 := cut16(b) // reply
	_, b, ok3 := cut16(b) // header
	payload, _, ok4 := cut32(b)
	return string(name), payload, ok1 && ok2 && ok3 && ok4
}

// cut16 and cut32 take a part off the front that follows its length.
func cut16(b []byte) (part, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.LittleEndian.Uint16(b))
	if b = b[2:]; n > len(b) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}

func cut32(b []byte) (part, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if b = b[4:]; n > int64(len(b)) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}
