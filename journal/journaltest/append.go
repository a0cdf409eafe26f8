package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"bongsu/errs"
	"bongsu/journal"
)

func (s suite) appendContiguous(t *testing.T) {
	j := s.start(t)
	wantBounds(t, j, 0, 1, 0)
	fill(t, j, 0, 1, 20)
	wantBounds(t, j, 0, 1, 20)
	for i, rec := range collect(t, j, 0, 0, 20, nil) {
		wantRecord(t, i+1, rec)
	}
}

func (s suite) appendConcurrent(t *testing.T) {
	j := s.start(t)
	const senders = 8
	each := max(1, s.Appends/senders)
	ctx := limit(t)
	var mu sync.Mutex
	at := map[journal.Position]string{}
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for n := range each {
				id := fmt.Sprintf("s%d-%d", i, n)
				pos, err := put(ctx, j, 0, id, []byte(id))
				mu.Lock()
				if err != nil || at[pos] != "" {
					t.Errorf("append %s: position %d (taken by %q), %v", id, pos, at[pos], err)
				}
				at[pos] = id
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	wantBounds(t, j, 0, 1, journal.Position(senders*each))
	for i, rec := range collect(t, j, 0, 0, senders*each, nil) {
		if want := at[journal.Position(i+1)]; string(rec) != want {
			t.Fatalf("position %d was acknowledged to %q and holds %q", i+1, want, rec)
		}
	}
}

func (s suite) appendSameID(t *testing.T) {
	j := s.start(t)
	ctx := limit(t)
	fill(t, j, 0, 1, 3)
	for i := 3; i >= 1; i-- {
		pos, err := put(ctx, j, 0, fmt.Sprintf("fill-%d", i), []byte("something else"))
		if err != nil || pos != journal.Position(i) {
			t.Fatalf("repeat of %d: position %d, %v", i, pos, err)
		}
	}
	// The same id in another partition is another record.
	if pos, err := put(ctx, j, 1, "fill-3", []byte("other")); err != nil || pos != 1 {
		t.Fatalf("position %d, %v", pos, err)
	}
	wantBounds(t, j, 0, 1, 3)
	for i, rec := range collect(t, j, 0, 0, 3, nil) {
		wantRecord(t, i+1, rec)
	}
}

func (s suite) appendSameIDConcurrently(t *testing.T) {
	j := s.start(t)
	ctx := limit(t)
	const rounds, callers = 5, 8
	for r := 1; r <= rounds; r++ {
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				pos, err := put(ctx, j, 0, fmt.Sprintf("round-%d", r), record(r))
				if err != nil || pos != journal.Position(r) {
					t.Errorf("round %d: position %d, %v", r, pos, err)
				}
			})
		}
		wg.Wait()
	}
	wantBounds(t, j, 0, 1, rounds)
}

func (s suite) appendSizes(t *testing.T) {
	j := s.start(t)
	ctx := limit(t)
	rng := rand.New(rand.NewPCG(1, 2))
	var want [][]byte
	for i, n := range []int{0, 1, 7, 8, 9, 4095, 4096, 4097, 65536, journal.MaxRecord - 1, journal.MaxRecord} {
		data := make([]byte, n)
		for k := range data {
			data[k] = byte(rng.Uint32())
		}
		want = append(want, bytes.Clone(data))
		if _, err := put(ctx, j, 0, fmt.Sprintf("size-%d", i), data); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		clear(data) // the journal must not depend on the caller's bytes any more
	}
	if _, err := j.Append(ctx, 0, "over", make([]byte, journal.MaxRecord+1)); !errors.Is(err, journal.ErrTooLarge) {
		t.Fatalf("one byte over: %v", err)
	}
	wantBounds(t, j, 0, 1, journal.Position(len(want)))
	for i, rec := range collect(t, j, 0, 0, len(want), nil) {
		if !bytes.Equal(rec, want[i]) {
			t.Fatalf("the record of %d bytes came back with %d, different", len(want[i]), len(rec))
		}
	}
	// The longest message id goes through.
	if _, err := put(ctx, j, 0, strings.Repeat("~", journal.MaxMsgID), nil); err != nil {
		t.Fatal(err)
	}
}

func (s suite) appendMalformed(t *testing.T) {
	j := s.start(t)
	ctx := limit(t)
	none := journal.Partition(j.Partitions())
	for _, err := range []error{
		second(j.Append(ctx, none, "id", nil)),
		second(j.Append(ctx, 0, "", nil)),
		second(j.Append(ctx, 0, "a\r\nb", nil)),
		second(j.Append(ctx, 0, strings.Repeat("x", journal.MaxMsgID+1), nil)),
		second(j.Read(ctx, none, 1)),
		j.Follow(ctx, none, 0, func(journal.Entry) error { return nil }),
		j.Trim(ctx, none, 1),
		func() error { _, _, err := j.Bounds(ctx, none); return err }(),
	} {
		if err == nil || !errs.Is(err, errs.Invalid) {
			t.Errorf("got %v, want an error of kind invalid", err)
		}
	}
	wantBounds(t, j, 0, 1, 0)
}

func second[T any](_ T, err error) error { return err }

func (s suite) appendContext(t *testing.T) {
	j := s.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Append(ctx, 0, "late", record(1)); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	// Whatever became of it, asking again with the same id settles it, and it is there once.
	pos, err := put(limit(t), j, 0, "late", record(1))
	if err != nil || pos != 1 {
		t.Fatalf("position %d, %v", pos, err)
	}
	wantBounds(t, j, 0, 1, 1)
}

func (s suite) partitionsApart(t *testing.T) {
	j := s.start(t)
	ctx := limit(t)
	n := j.Partitions()
	var wg sync.WaitGroup
	for p := range n {
		wg.Go(func() {
			for i := 1; i <= 20; i++ {
				pos, err := put(ctx, j, journal.Partition(p), fmt.Sprintf("m%d", i), fmt.Appendf(nil, "%d/%d", p, i))
				if err != nil || pos != journal.Position(i) {
					t.Errorf("partition %d append %d: position %d, %v", p, i, pos, err)
				}
			}
		})
	}
	wg.Wait()
	for p := range n {
		recs := collect(t, j, journal.Partition(p), 0, 20, nil)
		for i, rec := range recs {
			if want := fmt.Sprintf("%d/%d", p, i+1); string(rec) != want {
				t.Fatalf("partition %d position %d: %q", p, i+1, rec)
			}
		}
	}
}
