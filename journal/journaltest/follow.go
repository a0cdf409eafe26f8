package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"bongsu/journal"
)

func (s suite) followFromEverywhere(t *testing.T) {
	j := s.start(t)
	n := s.Appends
	fill(t, j, 0, 1, n)
	for _, after := range []int{0, 1, n / 2, n - 1, n} {
		for i, rec := range collect(t, j, 0, journal.Position(after), n-after, nil) {
			wantRecord(t, after+i+1, rec)
		}
	}
}

// followLive lets the writer go on only when the follower has the last record: each one comes by itself, live.
func (s suite) followLive(t *testing.T) {
	j := s.start(t)
	ctx := limit(t)
	const n = 20
	fill(t, j, 0, 1, 3)
	next := make(chan struct{}, n)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for i := 4; i <= 3+n; i++ {
			select {
			case <-next:
			case <-ctx.Done():
				return
			}
			if pos, err := put(ctx, j, 0, fmt.Sprintf("live-%d", i), record(i)); err != nil || pos != journal.Position(i) {
				t.Errorf("append %d: position %d, %v", i, pos, err)
			}
		}
	})
	recs := collect(t, j, 0, 0, 3+n, func(have int) {
		if have >= 3 && have < 3+n {
			next <- struct{}{}
		}
	})
	for i, rec := range recs {
		wantRecord(t, i+1, rec)
	}
}

// followRacing has followers start at many moments while many senders append: each must see everything once, in one order.
func (s suite) followRacing(t *testing.T) {
	j := s.start(t)
	ctx := limit(t)
	const senders, followers = 8, 6
	each := max(1, s.Appends/senders)
	total := senders * each
	var acked atomic.Int64
	progress := make(chan struct{}, total)
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for n := range each {
				if _, err := put(ctx, j, 0, fmt.Sprintf("s%d-%d", i, n), fmt.Appendf(nil, "s%d-%d", i, n)); err != nil {
					t.Errorf("append: %v", err)
				}
				acked.Add(1)
				progress <- struct{}{}
			}
		})
	}
	seen := make([][][]byte, followers)
	for f := range followers {
		for range total / followers / 2 { // start later and later
			select {
			case <-progress:
			case <-ctx.Done():
			}
		}
		after := journal.Position(0)
		if f%2 == 1 { // at what is the end just now
			after = journal.Position(acked.Load())
		}
		wg.Go(func() {
			recs, err := gather(ctx, j, 0, after, total-int(after), nil)
			if err != nil {
				t.Errorf("follower %d: %v", f, err)
			}
			seen[f] = append(make([][]byte, after), recs...)
		})
	}
	wg.Wait()
	once := map[string]bool{}
	for i, rec := range seen[0] {
		if once[string(rec)] {
			t.Fatalf("%s twice", rec)
		}
		once[string(rec)] = true
		for f := range seen {
			if len(seen[f]) == total && seen[f][i] != nil && !bytes.Equal(seen[f][i], rec) {
				t.Fatalf("position %d: follower 0 saw %q, follower %d %q", i+1, rec, f, seen[f][i])
			}
		}
	}
	if len(once) != total {
		t.Fatalf("%d different records of %d", len(once), total)
	}
}

func (s suite) followBeyond(t *testing.T) {
	j := s.start(t)
	ctx := limit(t)
	fill(t, j, 0, 1, 2)
	var wg sync.WaitGroup
	wg.Go(func() {
		recs, err := gather(ctx, j, 0, 4, 1, nil)
		if err != nil || len(recs) != 1 || string(recs[0]) != string(record(5)) {
			t.Errorf("got %q, %v", recs, err)
		}
	})
	fill(t, j, 0, 3, 5)
	wg.Wait()
}

func (s suite) followCancelled(t *testing.T) {
	j := s.start(t)
	fill(t, j, 0, 1, 3)
	ctx, cancel := context.WithCancel(limit(t))
	defer cancel()
	n := 0
	err := j.Follow(ctx, 0, 0, func(journal.Entry) error {
		if n++; n == 2 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("while busy: %v", err)
	}
	if n != 2 {
		t.Fatalf("called %d times, cancelled at the second", n)
	}
	// And while it waits for more.
	ctx, cancel = context.WithCancel(limit(t))
	defer cancel()
	caught := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := j.Follow(ctx, 0, 0, func(e journal.Entry) error {
			if e.Pos == 3 {
				close(caught)
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("while idle: %v", err)
		}
	})
	<-caught
	cancel()
	wg.Wait()
}

func (s suite) followCallbackFails(t *testing.T) {
	j := s.start(t)
	fill(t, j, 0, 1, 5)
	boom := errors.New("boom")
	var last journal.Position
	err := j.Follow(limit(t), 0, 1, func(e journal.Entry) error {
		last = e.Pos
		if e.Pos == 3 {
			return boom
		}
		return nil
	})
	if !errors.Is(err, boom) || last != 3 {
		t.Fatalf("got %v at %d", err, last)
	}
	// The next follower is not affected.
	collect(t, j, 0, 3, 2, nil)
}

// followLarge has more history than an engine would hold in memory for one follower, in records of the largest size.
func (s suite) followLarge(t *testing.T) {
	j := s.start(t)
	ctx := limit(t)
	const n = 24
	data := make([]byte, journal.MaxRecord)
	for i := range n {
		data[0], data[len(data)-1] = byte(i), byte(i)
		if _, err := put(ctx, j, 0, fmt.Sprintf("large-%d", i), data); err != nil {
			t.Fatal(err)
		}
	}
	for i, rec := range collect(t, j, 0, 0, n, nil) {
		if len(rec) != len(data) || rec[0] != byte(i) || rec[len(rec)-1] != byte(i) {
			t.Fatalf("record %d came back different", i)
		}
	}
}
