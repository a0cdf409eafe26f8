package jet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"bongsu/journal"
)

const (
	damagedRecords = 60
	damagedSize    = 300_000 // so that there are several blocks
)

// original makes a journal of several blocks in partition 0 and a few records in partition 1.
func original(t *testing.T) string {
	dir := t.TempDir()
	j := open(t, Config{Dir: dir, Partitions: 2})
	fill(t, j, 0, 1, damagedRecords, damagedSize)
	fill(t, j, 0, damagedRecords+1, damagedRecords+40, damagedSize/100)
	fill(t, j, 1, 1, 5, 100)
	closed(t, j)
	if len(blocksOf(t, dir, 0)) < 2 {
		t.Fatal("one block only")
	}
	return dir
}

func wantOriginal(t *testing.T, j *Journal) {
	t.Helper()
	f, l, err := j.Bounds(limit(t), 0)
	if err != nil || f != 1 || l != damagedRecords+40 {
		t.Fatalf("%d to %d, %v", f, l, err)
	}
	next := 1
	err = j.Follow(limit(t), 0, 0, func(e journal.Entry) error {
		size := damagedSize
		if next > damagedRecords {
			size /= 100
		}
		if string(e.Data) != string(sample(0, next, size)) {
			return fmt.Errorf("another record at %d", next)
		}
		if next++; next > damagedRecords+40 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	wantSamples(t, j, 1, 1, 5, 100)
}

func blocksOf(t *testing.T, dir string, p journal.Partition) []string {
	t.Helper()
	blocks, err := listBlocks(blockDir(dir, p))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range blocks {
		names = append(names, b.name)
	}
	return names
}

func edit(t *testing.T, name string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, f(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Any flipped bit in a block is found before the engine touches the files: either the journal is refused and the files are as
// they were, or all records are there. Never fewer.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	dir := original(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	names := append(blocksOf(t, dir, 0), blocksOf(t, dir, 1)...)
	refused := 0
	const rounds = 30
	for range rounds {
		name := names[rng.IntN(len(names))]
		var at int
		bit := byte(1) << rng.IntN(8)
		flip := func(b []byte) []byte {
			at = rng.IntN(len(b))
			if rng.IntN(2) == 0 {
				at = len(b) - 1 - rng.IntN(min(len(b), 9000)) // where the last, smaller records are
			}
			b[at] ^= bit
			return b
		}
		edit(t, name, flip)
		before := hashTree(t, dir)
		j, err := Open(quiet(Config{Dir: dir, Partitions: 2}))
		switch {
		case err == nil:
			wantOriginal(t, j)
			closed(t, j)
			t.Fatalf("%s byte %d bit %#x: not noticed", name, at, bit)
		case !errors.Is(err, journal.ErrDamaged):
			t.Fatalf("%s byte %d: %v", name, at, err)
		case hashTree(t, dir) != before:
			t.Fatalf("%s byte %d: refused, but the files were changed", name, at)
		}
		refused++
		edit(t, name, func(b []byte) []byte { b[at] ^= bit; return b })
	}
	t.Logf("%d of %d refused", refused, rounds)
	j := open(t, Config{Dir: dir, Partitions: 2}) // the bits are back, and so is everything
	wantOriginal(t, j)
}

// hashTree sums up names and contents of the files under dir.
func hashTree(t *testing.T, dir string) string {
	t.Helper()
	s := ""
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		s += fmt.Sprintln(name, len(b), crcOf(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDamage(t *testing.T) {
	t.Parallel()
	dir := original(t)
	engineFile := func(parts ...string) func(string) string {
		return func(dir string) string {
			return filepath.Join(append([]string{filepath.Dir(blockDir(dir, 0))}, parts...)...)
		}
	}
	blk := func(i int) func(string) string {
		return func(dir string) string { b := blocksOf(t, dir, 0); return b[(i+len(b))%len(b)] }
	}
	own := func(name string) func(string) string {
		return func(dir string) string { return filepath.Join(dir, name) }
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 4; return b }
	half := func(b []byte) []byte { return b[:len(b)/2] }
	empty := func([]byte) []byte { return nil }
	for _, c := range []struct {
		name string
		file func(dir string) string
		edit func([]byte) []byte // nil: the file is removed
		fine bool                // nothing is lost by it
	}{
		{name: "first block gone", file: blk(0)},
		{name: "middle block gone", file: blk(1)},
		{name: "last block gone", file: blk(-1)},
		{name: "middle block empty", file: blk(1), edit: empty},
		{name: "last block cut in half", file: blk(-1), edit: half},
		{name: "last block without its last record", file: blk(-1), edit: withoutLast},
		{name: "last byte gone", file: blk(-1), edit: func(b []byte) []byte { return b[:len(b)-1] }},
		{name: "zeros over the end", file: blk(-1), edit: func(b []byte) []byte { clear(b[len(b)-100:]); return b }},
		{name: "block of another place", file: blk(1), edit: func([]byte) []byte { b, _ := os.ReadFile(blk(0)(dir)); return b }},
		{name: "index damaged", file: engineFile("msgs", "index.db"), edit: flip, fine: true},
		{name: "index gone", file: engineFile("msgs", "index.db"), fine: true},
		{name: "stream's meta damaged", file: engineFile("meta.inf"), edit: flip},
		{name: "stream's meta gone", file: engineFile("meta.inf")},
		{name: "stream's sum gone", file: engineFile("meta.sum")},
		{name: "stream gone", file: func(dir string) string { return filepath.Dir(blockDir(dir, 0)) }},
		{name: "store gone", file: storeDir},
		{name: "marks gone", file: own(marksFile)},
		{name: "marks short", file: own(marksFile), edit: half},
		{name: "marks damaged in both slots", file: own(marksFile), edit: func(b []byte) []byte { b[0] ^= 1; b[slotSize] ^= 1; return b }},
		{name: "manifest gone", file: own(manifestFile)},
		{name: "manifest damaged", file: own(manifestFile), edit: func([]byte) []byte { return []byte("{") }},
		{name: "a torn write", file: blk(-1), edit: func(b []byte) []byte { return append(b, b[:1000]...) }, fine: true},
		{name: "a torn write of zeros", file: blk(-1), edit: func(b []byte) []byte { return append(b, make([]byte, 5000)...) }, fine: true},
		{name: "a torn write of a few bytes", file: blk(-1), edit: func(b []byte) []byte { return append(b, 1, 2, 3) }, fine: true},
		{name: "a torn write in the middle", file: blk(0), edit: func(b []byte) []byte { return append(b, 1, 2, 3) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copyDir(t, dir)
			name := c.file(dir)
			if c.edit != nil {
				edit(t, name, c.edit)
			} else if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
			j, err := Open(quiet(Config{Dir: dir, Partitions: 2}))
			if !c.fine {
				if !errors.Is(err, journal.ErrDamaged) {
					t.Fatalf("got %v", err)
				}
				t.Log(err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer closed(t, j)
			wantOriginal(t, j)
			if pos, err := j.Append(limit(t), 0, "next", nil); err != nil || pos != damagedRecords+41 {
				t.Fatalf("the next record: position %d, %v", pos, err)
			}
		})
	}
}

// withoutLast cuts a block exactly before its last record.
func withoutLast(b []byte) []byte {
	end := 0
	for off := 0; off < len(b); off += int(binary.LittleEndian.Uint32(b[off:]) &^ headerBit) {
		end = off
	}
	return b[:end]
}

// One damaged slot of the marks leaves the other, which is one step older and still a true bound.
func TestMarksSurviveOneSlot(t *testing.T) {
	t.Parallel()
	dir := original(t)
	for slot := range 2 {
		c := copyDir(t, dir)
		edit(t, filepath.Join(c, marksFile), func(b []byte) []byte { b[slot*slotSize] ^= 1; return b })
		j := open(t, Config{Dir: c, Partitions: 2})
		wantOriginal(t, j)
	}
}

func TestMarks(t *testing.T) {
	name := filepath.Join(t.TempDir(), marksFile)
	m, err := openMarks(name, 3, true)
	if err != nil {
		t.Fatal(err)
	}
	want := func(p journal.Partition, last, first journal.Position) {
		t.Helper()
		if l, f := m.of(p); l != last || f != first {
			t.Fatalf("partition %d: %d, %d; want %d, %d", p, l, f, last, first)
		}
	}
	want(0, 0, 1)
	for _, pos := range []journal.Position{1, 7, 5, 7} { // acknowledgements overtake each other
		if err := m.acked(1, pos); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(m.trimming(1, 4), m.trimming(1, 3), m.acked(2, 9)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		want(0, 0, 1)
		want(1, 7, 4)
		want(2, 9, 1)
		if err := m.close(); err != nil {
			t.Fatal(err)
		}
		if m, err = openMarks(name, 3, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
}

// The scan understands the engine's files: it finds what the engine was given, with trims, tombstones and rewritten blocks.
func TestScanReadsTheEngine(t *testing.T) {
	dir := t.TempDir()
	c := Config{Dir: dir, Partitions: 1}
	j := open(t, c)
	last := 0
	for _, step := range []struct{ add, size, trim int }{
		{0, 0, 0}, {1, 10, 0}, {40, 400_000, 0}, {200, 100, 0}, {0, 0, 5}, {0, 0, 30}, {3, 500_000, 0}, {0, 0, 100}, {0, 0, 244}, {50, 1000, 250},
	} {
		for i := last + 1; i <= last+step.add; i++ {
			fill(t, j, 0, i, i, max(step.size, 2))
		}
		last += step.add
		if err := j.Trim(limit(t), 0, journal.Position(step.trim)); err != nil {
			t.Fatal(err)
		}
		first, l, err := j.Bounds(limit(t), 0)
		if err != nil || int(l) != last {
			t.Fatalf("last %d, %v", l, err)
		}
		for _, how := range []string{"running", "stopped"} {
			if how == "stopped" {
				closed(t, j)
			}
			found, err := scanAll(dir, 1, j.marks)
			if err != nil {
				t.Fatalf("%+v, %s: %v", step, how, err)
			}
			if x := found[0]; x.last != l || x.first > first {
				t.Fatalf("%+v, %s: the engine says %d to %d, the scan %+v", step, how, first, l, x)
			}
		}
		j = open(t, c)
	}
}

// A trim that a crash has cut short is finished at the next start.
func TestInterruptedTrim(t *testing.T) {
	dir := original(t)
	m, err := openMarks(filepath.Join(dir, marksFile), 2, false)
	if err == nil {
		err = errors.Join(m.trimming(0, 33), m.close())
	}
	if err != nil {
		t.Fatal(err)
	}
	gone := blocksOf(t, dir, 0)[0] // as far as the engine got
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		j := open(t, Config{Dir: dir, Partitions: 2})
		if f, l, err := j.Bounds(limit(t), 0); err != nil || f != 33 || l != damagedRecords+40 {
			t.Fatalf("%d to %d, %v", f, l, err)
		}
		closed(t, j)
	}
}

func TestFrame(t *testing.T) {
	for _, n := range []int{0, 1, 7, 1000} {
		data := sample(0, n, max(n, 2))[:min(n, 1)*n/2]
		b := frame(3, data)
		got, err := unframe(3, b)
		if err != nil || !slices.Equal(got, data) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if _, err := unframe(4, b); err == nil {
			t.Error("passed for a record of another partition")
		}
		for i := range min(len(b), 100) * 8 {
			b[i/8] ^= 1 << (i % 8)
			if _, err := unframe(3, b); err == nil {
				t.Errorf("bit %d of %d bytes was flipped unnoticed", i, n)
			}
			b[i/8] ^= 1 << (i % 8)
		}
		for cut := range len(b) {
			if _, err := unframe(3, b[:cut]); err == nil {
				t.Errorf("cut to %d of %d bytes unnoticed", cut, len(b))
			}
		}
	}
}

// No bytes make the parser panic or read outside of them.
func FuzzParseRecord(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, recordHeader+recordHash))
	f.Add(slices.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		hh, err := blockHash("p0", 1)
		if err != nil {
			t.Fatal(err)
		}
		r, err := parseRecord(b, hh)
		if err == nil && (r.size < recordHeader+recordHash || r.size > len(b)) {
			t.Fatalf("a record of %d bytes in %d", r.size, len(b))
		}
	})
}
