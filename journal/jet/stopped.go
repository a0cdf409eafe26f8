package jet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"bongsu/journal"
)

// Stopped is the journal of a site that does not run, read from its files without an engine: for a site that is left alone for good.
// It holds what the engine had applied, and behind that what stands in its books only (salvage.go). It appends nothing and changes
// no file.
type Stopped struct {
	lock    *os.File
	parts   []stopped
	closing chan struct{}
}

var (
	_ journal.Journal = (*Stopped)(nil)

	errStoppedJournal = errors.New("jet: the journal of a stopped site can only be read")
)

// stopped is one partition.
type stopped struct {
	blocks      []heldBlock
	first, last journal.Position // of the records that the engine had applied
	tail        [][]byte         // frames of those behind, in the books
	end         journal.Position // what is shown ends here
	rests       journal.Position // rows hold everything up to here, and nothing else is shown; 0: there is no need
	damage      error            // why it does not go on
}

// heldBlock is a block and the last position in it.
type heldBlock struct {
	block
	last journal.Position
}

// OpenStopped reads the journal in dir, of so many partitions. Damage does not keep it from opening: a partition then ends before it,
// and Holds says why.
func OpenStopped(dir string, partitions int) (*Stopped, error) {
	m, err := readManifest(dir)
	switch {
	case err != nil:
		return nil, err
	case m == nil:
		return nil, fmt.Errorf("jet: %s holds no journal", dir)
	case m.Partitions != partitions:
		return nil, fmt.Errorf("jet: %s has %d partitions, %d were asked for; their number never changes", dir, m.Partitions, partitions)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &Stopped{lock: lock, parts: make([]stopped, partitions), closing: make(chan struct{})}
	s.scan(dir)
	if m.Mode == clustered {
		if err := s.salvage(dir); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	for p := range s.parts {
		s.parts[p].end = s.parts[p].all()
	}
	return s, nil
}

// scan finds what the engine had applied. Without the file of marks nothing counts as trimmed.
func (s *Stopped) scan(dir string) {
	kept := make([]journal.Position, len(s.parts))
	if m, err := openMarks(filepath.Join(dir, marksFile), len(s.parts), false); err == nil {
		for p := range kept {
			_, kept[p] = m.of(journal.Partition(p)) //nolint:gosec // at most 1024
		}
		_ = m.file.Close() // it was only read
	}
	for p := range s.parts {
		s.parts[p].read(dir, journal.Partition(p), max(kept[p], 1)) //nolint:gosec // at most 1024
	}
}

// read finds the records of partition p, up to the end or the first damage. Below kept some may be missing.
func (s *stopped) read(dir string, p journal.Partition, kept journal.Position) {
	scan := scanner{partition: p, stream: streamName(p), subject: []byte(subject(p)), kept: kept}
	blocks, err := listBlocks(blockDir(dir, p))
	var buf []byte
	for _, b := range blocks {
		if buf, err = readBlock(b.name, buf); err == nil {
			err = scan.block(b, buf)
		}
		s.blocks = append(s.blocks, heldBlock{b, scan.last})
		if err != nil {
			break
		}
	}
	s.damage = err
	if s.first, s.last = scan.first, scan.last; s.first == 0 {
		s.first, s.last = kept, kept-1
	}
}

// all is the last position that there is.
func (s *stopped) all() journal.Position { return s.last + journal.Position(len(s.tail)) }

// Holding is what a stopped site holds of a partition.
type Holding struct {
	First, Last journal.Position
	// Applied is the last record that the engine had applied, so that it is known to have been kept by a quorum. The records behind were
	// promised to another site that asked for them; whether a quorum kept them, and somebody was told, is not known.
	Applied journal.Position
	Damage  error // why it ends there although there was more; nil: it is the end
}

// Holds says what there is of p.
func (s *Stopped) Holds(p journal.Partition) Holding {
	pt := &s.parts[p]
	return Holding{First: pt.first, Last: pt.all(), Applied: pt.last, Damage: pt.damage}
}

// End makes p end at pos, as if there were nothing behind. No call may be under way.
func (s *Stopped) End(p journal.Partition, pos journal.Position) {
	pt := &s.parts[p]
	pt.end, pt.rests = min(pos, pt.all()), 0
}

// Rest makes p begin and end behind pos, empty: for rows that go further than what can be read here. A site may apply records that
// another one gave to it before its own engine has them. End undoes it.
func (s *Stopped) Rest(p journal.Partition, pos journal.Position) { s.parts[p].rests = pos }

// Partitions implements journal.Journal.
func (s *Stopped) Partitions() int { return len(s.parts) }

// Append implements journal.Journal: it fails.
func (s *Stopped) Append(context.Context, journal.Partition, string, []byte) (journal.Position, error) {
	return 0, errStoppedJournal
}

// Trim implements journal.Journal: it fails.
func (s *Stopped) Trim(context.Context, journal.Partition, journal.Position) error {
	return errStoppedJournal
}

// Leads implements journal.Journal.
func (s *Stopped) Leads(journal.Partition) bool { return false }

// Bounds implements journal.Journal.
func (s *Stopped) Bounds(_ context.Context, p journal.Partition) (first, last journal.Position, err error) {
	if err := journal.CheckPartition(len(s.parts), p); err != nil {
		return 0, 0, err
	}
	first, last = s.parts[p].shown()
	return first, last, nil
}

// shown is what is shown of the partition.
func (s *stopped) shown() (first, last journal.Position) {
	if s.rests > 0 {
		return s.rests + 1, s.rests
	}
	return s.first, s.end
}

var errFoundIt = errors.New("enough")

// Read implements journal.Journal.
func (s *Stopped) Read(ctx context.Context, p journal.Partition, pos journal.Position) (e journal.Entry, err error) {
	if err := journal.CheckPartition(len(s.parts), p); err != nil {
		return e, err
	}
	pt := &s.parts[p]
	switch first, last := pt.shown(); {
	case pos < first:
		return e, journal.ErrTrimmed
	case pos > last:
		return e, io.EOF
	}
	err = pt.walk(ctx, p, pos, func(got journal.Entry) error {
		e = got // of memory that nobody else has
		return errFoundIt
	})
	if errors.Is(err, errFoundIt) {
		return e, nil
	}
	return e, err
}

// Follow implements journal.Journal. At the end it waits for ctx.
func (s *Stopped) Follow(ctx context.Context, p journal.Partition, after journal.Position, fn func(journal.Entry) error) error {
	if err := journal.CheckPartition(len(s.parts), p); err != nil {
		return err
	}
	pt := &s.parts[p]
	switch first, last := pt.shown(); {
	case after+1 < first:
		return journal.ErrTrimmed
	case after < last:
		if err := pt.walk(ctx, p, after+1, fn); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return journal.ErrClosed
	}
}

// walk calls fn with every record from pos to the end.
func (s *stopped) walk(ctx context.Context, p journal.Partition, pos journal.Position, fn func(journal.Entry) error) error {
	return s.frames(p, pos, s.end, func(pos journal.Position, frame []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		data, err := unframe(p, frame)
		if err != nil {
			return damaged(p, pos, "%v", err)
		}
		return fn(journal.Entry{Pos: pos, Data: data})
	})
}

// frames calls fn with every record from pos to end as it is stored. fn may keep it.
func (s *stopped) frames(p journal.Partition, pos, end journal.Position, fn func(journal.Position, []byte) error) error {
	for _, b := range s.blocks {
		last := min(b.last, s.last, end)
		if last < pos {
			continue
		}
		buf, err := readBlock(b.name, nil)
		if err != nil {
			return err
		}
		hh, err := blockHash(streamName(p), b.index)
		if err != nil {
			return err
		}
		for off := 0; pos <= last; {
			rec, err := parseRecord(buf[off:], hh)
			if err != nil {
				return damaged(p, pos, "%v in %s at byte %d", err, b.name, off)
			}
			off += rec.size
			if !rec.counts() || journal.Position(rec.seq) != pos {
				continue
			}
			if err := fn(pos, rec.payload); err != nil {
				return err
			}
			pos++
		}
	}
	for ; pos > s.last && pos <= end; pos++ {
		if err := fn(pos, s.tail[pos-s.last-1]); err != nil {
			return err
		}
	}
	return nil
}

// Close implements journal.Journal.
func (s *Stopped) Close() error {
	select {
	case <-s.closing:
		return nil
	default:
		close(s.closing)
		return s.lock.Close()
	}
}
