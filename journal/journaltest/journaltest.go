// Package journaltest is the contract of package journal as tests: one suite, run on every engine.
//
// Invariant: every clause of the contract that can be seen from outside has a case here; an engine's own tests hold only what is
// the engine's own. Nothing waits by sleeping: cases wait for positions.
//
// Limits: what needs a crash, a full disk or damage is the engine's own to test.
package journaltest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"bongsu/journal"
)

// patience bounds the wait for anything that must come; only a failing test reaches it.
const patience = 60 * time.Second

// boundsPause is between looks at the bounds.
const boundsPause = 5 * time.Millisecond

// Options fit the suite to an engine.
type Options struct {
	// Reopen closes j and opens its data again. Nil: the cases that need it are skipped.
	Reopen func(t *testing.T, j journal.Journal) journal.Journal
	// Wrap runs each case, for instance synctest.Test. Nil: cases run plainly.
	Wrap func(*testing.T, func(*testing.T))
	// Sites says that there are other sites, which may answer as well and for a moment still hold what was trimmed here.
	Sites bool
	// Appends is how many records the larger cases write; 0 means 300.
	Appends int
}

type suite struct {
	open func(*testing.T) journal.Journal
	Options
}

// Run runs the suite. open gives a new, empty journal of at least two partitions; the suite closes it.
func Run(t *testing.T, open func(*testing.T) journal.Journal, o Options) {
	t.Helper()
	if o.Wrap == nil {
		o.Wrap = func(t *testing.T, f func(*testing.T)) { f(t) }
	}
	if o.Appends == 0 {
		o.Appends = 300
	}
	s := suite{open, o}
	for _, c := range []struct {
		name string
		run  func(suite, *testing.T)
	}{
		{"append/contiguous", suite.appendContiguous},
		{"append/concurrent", suite.appendConcurrent},
		{"append/same id", suite.appendSameID},
		{"append/same id concurrently", suite.appendSameIDConcurrently},
		{"append/sizes", suite.appendSizes},
		{"append/malformed", suite.appendMalformed},
		{"append/context", suite.appendContext},
		{"follow/from everywhere", suite.followFromEverywhere},
		{"follow/live", suite.followLive},
		{"follow/racing appends", suite.followRacing},
		{"follow/beyond the end", suite.followBeyond},
		{"follow/cancelled", suite.followCancelled},
		{"follow/callback fails", suite.followCallbackFails},
		{"follow/large records", suite.followLarge},
		{"read", suite.read},
		{"partitions are apart", suite.partitionsApart},
		{"trim", suite.trim},
		{"trim/under a follower", suite.trimUnderFollower},
		{"close", suite.closed},
		{"reopen", suite.reopen},
		{"reopen/trimmed", suite.reopenTrimmed},
	} {
		t.Run(c.name, func(t *testing.T) { o.Wrap(t, func(t *testing.T) { c.run(s, t) }) })
	}
}

// start opens a journal that is closed when the case ends.
func (s suite) start(t *testing.T) journal.Journal {
	t.Helper()
	j := s.open(t)
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	if j.Partitions() < 2 {
		t.Fatalf("the suite needs two partitions, got %d", j.Partitions())
	}
	return j
}

func (s suite) reopened(t *testing.T, j journal.Journal) journal.Journal {
	t.Helper()
	if s.Reopen == nil {
		t.Skip("this engine does not reopen")
	}
	j = s.Reopen(t, j)
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return j
}

// limit is a context that a failing test runs into.
func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// put appends as a careful caller does: after an uncertain outcome again, with the same message id.
func put(ctx context.Context, j journal.Journal, p journal.Partition, id string, data []byte) (journal.Position, error) {
	for {
		pos, err := j.Append(ctx, p, id, data)
		if err == nil || ctx.Err() != nil || errors.Is(err, journal.ErrClosed) || errors.Is(err, journal.ErrFull) {
			return pos, err
		}
	}
}

// fill appends the records record(from) to record(to) in order to partition p, which must end at from-1.
func fill(t *testing.T, j journal.Journal, p journal.Partition, from, to int) {
	t.Helper()
	ctx := limit(t)
	for i := from; i <= to; i++ {
		pos, err := put(ctx, j, p, fmt.Sprintf("fill-%d", i), record(i))
		if err != nil || pos != journal.Position(i) {
			t.Fatalf("append %d: position %d, %v", i, pos, err)
		}
	}
}

func record(i int) []byte { return fmt.Appendf(nil, "record %d", i) }

// collect follows p from "after" until it has n records and checks that their positions are contiguous. more, if not nil, is
// called after each record with how many there are.
func collect(t *testing.T, j journal.Journal, p journal.Partition, after journal.Position, n int, more func(int)) [][]byte {
	t.Helper()
	got, err := gather(limit(t), j, p, after, n, more)
	if err != nil {
		t.Fatalf("follow of partition %d after %d: %v", p, after, err)
	}
	return got
}

var errEnough = errors.New("enough")

// gather is collect for other goroutines than the test's.
func gather(ctx context.Context, j journal.Journal, p journal.Partition, after journal.Position, n int, more func(int)) ([][]byte, error) {
	if n == 0 {
		return nil, nil
	}
	var got [][]byte
	want := after + 1
	err := j.Follow(ctx, p, after, func(e journal.Entry) error {
		if e.Pos != want {
			return fmt.Errorf("position %d where %d was due", e.Pos, want)
		}
		want++
		got = append(got, append([]byte(nil), e.Data...))
		if more != nil {
			more(len(got))
		}
		if len(got) == n {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		return got, fmt.Errorf("ended after %d of %d records: %w", len(got), n, err)
	}
	return got, nil
}

// wantBounds waits until these are the bounds: over several sites a site learns of them a little later.
func wantBounds(t *testing.T, j journal.Journal, p journal.Partition, first, last journal.Position) {
	t.Helper()
	ctx := limit(t)
	for {
		f, l, err := j.Bounds(ctx, p)
		if err == nil && f == first && l == last {
			return
		}
		select {
		case <-time.After(boundsPause):
		case <-ctx.Done():
			t.Fatalf("bounds of partition %d: %d to %d, %v; want %d to %d", p, f, l, err, first, last)
		}
	}
}

func wantRecord(t *testing.T, i int, got []byte) {
	t.Helper()
	if string(got) != string(record(i)) {
		t.Fatalf("at position %d: %q", i, got)
	}
}
