package journaltest

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"bongsu/journal"
)

func (s suite) read(t *testing.T) {
	j := s.start(t)
	ctx := limit(t)
	if _, err := j.Read(ctx, 0, 1); !errors.Is(err, io.EOF) {
		t.Fatalf("of an empty partition: %v", err)
	}
	fill(t, j, 0, 1, 10)
	wantBounds(t, j, 0, 1, 10)
	for _, i := range []int{1, 5, 10} {
		e, err := j.Read(ctx, 0, journal.Position(i))
		if err != nil || e.Pos != journal.Position(i) {
			t.Fatalf("read %d: %+v, %v", i, e, err)
		}
		wantRecord(t, i, e.Data)
	}
	if _, err := j.Read(ctx, 0, 11); !errors.Is(err, io.EOF) {
		t.Fatalf("above the end: %v", err)
	}
	if _, err := j.Read(ctx, 0, 0); !errors.Is(err, journal.ErrTrimmed) {
		t.Fatalf("at 0: %v", err)
	}
}

func (s suite) trim(t *testing.T) {
	j := s.start(t)
	ctx := limit(t)
	if err := j.Trim(ctx, 0, 5); err != nil { // an empty partition has nothing to trim
		t.Fatal(err)
	}
	wantBounds(t, j, 0, 1, 0)
	fill(t, j, 0, 1, 10)
	for _, c := range []struct{ at, first journal.Position }{{0, 1}, {1, 1}, {4, 4}, {2, 4}, {7, 7}, {100, 10}} {
		if err := j.Trim(ctx, 0, c.at); err != nil {
			t.Fatalf("trim %d: %v", c.at, err)
		}
		wantBounds(t, j, 0, c.first, 10)
		s.wantTrimmed(t, j, c.first-1)
		recs := collect(t, j, 0, c.first-1, int(10-c.first+1), nil)
		wantRecord(t, int(c.first), recs[0])
	}
	fill(t, j, 0, 11, 12) // positions go on as before
	wantBounds(t, j, 0, 10, 12)
	wantBounds(t, j, 1, 1, 0)
}

// wantTrimmed wants the record at pos of partition 0 to be gone, for readers and followers.
func (s suite) wantTrimmed(t *testing.T, j journal.Journal, pos journal.Position) {
	t.Helper()
	ctx := limit(t)
	for {
		_, err := j.Read(ctx, 0, pos)
		if errors.Is(err, journal.ErrTrimmed) && pos > 0 {
			err = j.Follow(ctx, 0, pos-1, func(journal.Entry) error { return errEnough })
		}
		if errors.Is(err, journal.ErrTrimmed) {
			return
		}
		if !s.Sites {
			t.Fatalf("position %d was trimmed: %v", pos, err)
		}
		select {
		case <-time.After(boundsPause):
		case <-ctx.Done():
			t.Fatalf("position %d was trimmed: %v", pos, err)
		}
	}
}

// trimUnderFollower trims what a slow follower has not read: it must learn of it and never skip.
func (s suite) trimUnderFollower(t *testing.T) {
	j := s.start(t)
	ctx := limit(t)
	const n = 40
	data := make([]byte, journal.MaxRecord) // so large that no engine reads all of them ahead
	for i := range n {
		if _, err := put(ctx, j, 0, fmt.Sprintf("large-%d", i), data); err != nil {
			t.Fatal(err)
		}
	}
	want := journal.Position(1)
	err := j.Follow(ctx, 0, 0, func(e journal.Entry) error {
		if e.Pos != want {
			return fmt.Errorf("position %d where %d was due", e.Pos, want)
		}
		want++
		if e.Pos > 1 {
			return nil
		}
		err := j.Trim(ctx, 0, n)
		if err == nil {
			wantBounds(t, j, 0, n, n)
		}
		return err
	})
	if !errors.Is(err, journal.ErrTrimmed) || want > n {
		t.Fatalf("got %v, before position %d", err, want)
	}
}

func (s suite) closed(t *testing.T) {
	j := s.start(t)
	ctx := limit(t)
	fill(t, j, 0, 1, 3)
	caught := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := j.Follow(ctx, 0, 0, func(e journal.Entry) error {
			if e.Pos == 3 {
				close(caught)
			}
			return nil
		})
		if !errors.Is(err, journal.ErrClosed) {
			t.Errorf("a follower at close: %v", err)
		}
	})
	<-caught
	for w := range 4 { // appends that race the close end either way, and do end
		wg.Go(func() {
			for i := 0; ; i++ {
				if _, err := put(ctx, j, 1, fmt.Sprintf("race-%d-%d", w, i), nil); err != nil {
					if !errors.Is(err, journal.ErrClosed) {
						t.Errorf("an append at close: %v", err)
					}
					return
				}
			}
		})
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := j.Close(); err != nil {
		t.Fatalf("closing again: %v", err)
	}
	for _, err := range []error{
		second(j.Append(ctx, 0, "x", nil)),
		second(j.Read(ctx, 0, 1)),
		j.Follow(ctx, 0, 0, func(journal.Entry) error { return nil }),
		j.Trim(ctx, 0, 1),
		func() error { _, _, err := j.Bounds(ctx, 0); return err }(),
	} {
		if !errors.Is(err, journal.ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	}
}

func (s suite) reopen(t *testing.T) {
	j := s.start(t)
	for round := range 3 {
		fill(t, j, 0, round*10+1, round*10+10)
		j = s.reopened(t, j)
		wantBounds(t, j, 0, 1, journal.Position(round*10+10))
		wantBounds(t, j, 1, 1, 0)
		for i, rec := range collect(t, j, 0, 0, round*10+10, nil) {
			wantRecord(t, i+1, rec)
		}
		// Message ids are remembered across the reopening.
		pos, err := put(limit(t), j, 0, fmt.Sprintf("fill-%d", round*10+10), nil)
		if err != nil || pos != journal.Position(round*10+10) {
			t.Fatalf("repeat after reopening: position %d, %v", pos, err)
		}
	}
}

func (s suite) reopenTrimmed(t *testing.T) {
	j := s.start(t)
	fill(t, j, 0, 1, 10)
	if err := j.Trim(limit(t), 0, 10); err != nil {
		t.Fatal(err)
	}
	j = s.reopened(t, j)
	wantBounds(t, j, 0, 10, 10)
	fill(t, j, 0, 11, 12)
	j = s.reopened(t, j)
	wantBounds(t, j, 0, 10, 12)
	s.wantTrimmed(t, j, 9)
	for i, rec := range collect(t, j, 0, 9, 3, nil) {
		wantRecord(t, 10+i, rec)
	}
}
