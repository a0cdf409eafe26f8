package jet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"bongsu/journal"
)

// openStopped opens a stopped directory until the end of the test.
func openStopped(t *testing.T, dir string, partitions int) *Stopped {
	t.Helper()
	s, err := OpenStopped(dir, partitions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// cutStream removes the records behind pos from the files of partition p, as if they had not been applied yet.
func cutStream(t *testing.T, dir string, p journal.Partition, pos journal.Position) {
	t.Helper()
	blocks, err := listBlocks(blockDir(dir, p))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		buf, err := os.ReadFile(b.name)
		if err != nil {
			t.Fatal(err)
		}
		hh, err := blockHash(streamName(p), b.index)
		if err != nil {
			t.Fatal(err)
		}
		for off := 0; off < len(buf); {
			rec, err := parseRecord(buf[off:], hh)
			if err != nil {
				t.Fatal(err)
			}
			if rec.counts() && journal.Position(rec.seq) > pos {
				if err := os.Truncate(b.name, int64(off)); err != nil {
					t.Fatal(err)
				}
				break
			}
			off += rec.size
		}
	}
}

// sampleAll reads the samples from..to.
func (s *Stopped) sampleAll(t *testing.T, p journal.Partition, from, to, size int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	next := from
	err := s.Follow(ctx, p, journal.Position(from-1), func(e journal.Entry) error {
		if int(e.Pos) != next || !bytes.Equal(e.Data, sample(p, next, size)) {
			t.Fatalf("partition %d: record %d at %d", p, next, e.Pos)
		}
		if next++; next > to {
			return errFoundIt
		}
		return nil
	})
	if !errors.Is(err, errFoundIt) {
		t.Fatalf("partition %d ended before %d: %v", p, next, err)
	}
}

// TestSalvage reads a site that is left alone from its files. Records that it had promised and not applied yet are taken from the
// engine's books.
// It runs alone: an engine that runs for long takes a snapshot, and its books no longer go back to the beginning.
func TestSalvage(t *testing.T) {
	const n, small, large = 120, 300, 20_000 // the engine compresses the large ones in its books
	c := startTrio(t, 3, nil)
	for p, size := range []int{small, large} {
		c.fill("seoul", journal.Partition(p), 1, n, size)
	}
	for p, size := range []int{small, large} {
		c.want("busan", journal.Partition(p), 1, n, size)
	}
	dir := copyDir(t, c.conf["busan"].Dir)
	if _, err := OpenStopped(c.conf["busan"].Dir, 3); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a site that runs: %v", err)
	}
	if _, err := OpenStopped(dir, 4); err == nil || !strings.Contains(err.Error(), "3 partitions") {
		t.Errorf("other partitions: %v", err)
	}
	if _, err := OpenStopped(t.TempDir(), 3); err == nil || !strings.Contains(err.Error(), "no journal") {
		t.Errorf("an empty directory: %v", err)
	}
	for _, applied := range []journal.Position{n, n - 1, n / 2, 1, 0} {
		dir := copyDir(t, dir)
		for p := range journal.Partition(2) {
			cutStream(t, dir, p, applied)
		}
		s := openStopped(t, dir, 3)
		for p, size := range []int{small, large} {
			p := journal.Partition(p)
			if h := s.Holds(p); h.First != 1 || h.Last != n || h.Applied != applied || h.Damage != nil {
				t.Errorf("applied %d: partition %d holds %+v", applied, p, h)
			}
			s.sampleAll(t, p, 1, n, size)
			s.sampleAll(t, p, n/2, n, size)
			e, err := s.Read(t.Context(), p, n-1)
			if err != nil || !bytes.Equal(e.Data, sample(p, n-1, size)) {
				t.Errorf("partition %d: read: %v", p, err)
			}
			s.End(p, n-10)
			if _, last, err := s.Bounds(t.Context(), p); last != n-10 || err != nil {
				t.Errorf("ended at %d, %v", last, err)
			}
			if _, err := s.Read(t.Context(), p, n-9); !errors.Is(err, io.EOF) {
				t.Errorf("read beyond the end: %v", err)
			}
			s.sampleAll(t, p, 1, n-10, size)
		}
		if h := s.Holds(2); h.First != 1 || h.Last != 0 || h.Damage != nil {
			t.Errorf("an empty partition: %+v", h)
		}
		if _, err := s.Append(t.Context(), 0, "m", nil); err == nil {
			t.Error("a stopped journal was written to")
		}
	}

	// A flipped bit in a record ends the partition before it.
	flipped := copyDir(t, dir)
	blocks, err := listBlocks(blockDir(flipped, 0))
	if err != nil {
		t.Fatal(err)
	}
	buf, err := os.ReadFile(blocks[0].name)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(buf, sample(0, 50, small))
	buf[i+10] ^= 1
	if err := os.WriteFile(blocks[0].name, buf, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openStopped(t, flipped, 3)
	if h := s.Holds(0); h.Last != 49 || !errors.Is(h.Damage, journal.ErrDamaged) {
		t.Errorf("with a flipped bit: %+v", h)
	}
	s.sampleAll(t, 0, 1, 49, small)
}

// TestSalvageLive copies a site's files again and again while records are appended elsewhere: what was acknowledged before the copy,
// with this site's promise, is in it.
func TestSalvageLive(t *testing.T) {
	unlessShort(t)
	const size = 500
	c := startTrio(t, 1, nil)
	c.fill("seoul", 0, 1, 20, size)
	// With one of three gone, every acknowledged record was promised by both others.
	c.stop("chuncheon")
	c.fill("seoul", 0, 21, 21, size)
	for round := range 5 {
		from := 22 + round*20
		for i := from; i < from+20; i++ {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			pos, err := c.nodes["seoul"].Append(ctx, 0, fmt.Sprint("m", i), sample(0, i, size))
			cancel()
			if err != nil || int(pos) != i {
				t.Fatalf("at %d: %v", pos, err)
			}
		}
		for _, site := range []string{"seoul", "busan"} { // the copy begins at once: busan may not have applied the last ones
			dir := copyDir(t, c.conf[site].Dir)
			s := openStopped(t, dir, 1)
			h := s.Holds(0)
			if int(h.Last) != from+19 || h.Damage != nil {
				t.Fatalf("%s holds %+v, acknowledged were %d", site, h, from+19)
			}
			s.sampleAll(t, 0, 1, from+19, size)
		}
	}
}

// FuzzReadEntry: whatever stands in the books, reading it ends.
func FuzzReadEntry(f *testing.F) {
	op := append([]byte{partNormal, opRecord}, make([]byte, 16)...)
	op = append(op, 1, 0, 's', 0, 0, 0, 0, 1, 0, 0, 0, 'x')
	entry := append(make([]byte, entryParts), 1, 0, byte(len(op)), 0, 0, 0)
	f.Add(append(entry, op...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		frames := map[string][][]byte{}
		if err := readEntry(b, frames); err != nil {
			return
		}
		for subject, list := range frames {
			for _, frame := range list {
				if len(frame)+len(subject) > largestUnpacked {
					t.Errorf("a record of %d bytes", len(frame))
				}
			}
		}
	})
}
