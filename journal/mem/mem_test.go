package mem_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"bongsu/journal"
	"bongsu/journal/journaltest"
	"bongsu/journal/mem"
)

// handles remembers the store behind each handle, for reopening.
type handles map[journal.Journal]*mem.Store

func (h handles) open(s *mem.Store, plan mem.Plan) journal.Journal {
	j := s.Open(plan)
	h[j] = s
	return j
}

func conform(t *testing.T, plan mem.Plan) {
	h := handles{}
	journaltest.Run(t, func(*testing.T) journal.Journal { return h.open(mem.NewStore(3), plan) }, journaltest.Options{
		Reopen: func(t *testing.T, j journal.Journal) journal.Journal {
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			return h.open(h[j], plan)
		},
		Wrap: synctest.Test,
	})
}

func TestContract(t *testing.T) { conform(t, nil) }

// The contract holds under faults too, for a caller that asks again.
func TestContractUnderFaults(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			conform(t, mem.Seeded(seed, mem.Rates{Fail: 0.2, LoseAck: 0.2, LosePush: 0.3, Delay: 5 * time.Millisecond, AckDelay: 5 * time.Millisecond}))
		})
	}
}

// script is a plan from message ids to their faults on the first attempt.
func script(m map[string]mem.Fault) mem.Plan {
	return func(a mem.Attempt) mem.Fault {
		if a.N > 1 {
			return mem.Fault{}
		}
		return m[a.MsgID]
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		fault  mem.Fault
		err    error // of the first attempt
		stored bool  // after the first attempt
		again  journal.Position
	}{
		{"nothing", mem.Fault{}, nil, true, 1},
		{"full", mem.Fault{Full: true}, journal.ErrFull, false, 1},
		{"failed", mem.Fault{Fail: true}, mem.ErrUncertain, false, 1},
		{"lost acknowledgement", mem.Fault{LoseAck: true}, mem.ErrUncertain, true, 1},
		{"duplicate", mem.Fault{LoseAck: true, Forget: true}, mem.ErrUncertain, true, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := mem.NewStore(1).Open(script(map[string]mem.Fault{"a": c.fault}))
			defer j.Close()
			ctx := t.Context()
			if _, err := j.Append(ctx, 0, "a", []byte("x")); !errors.Is(err, c.err) {
				t.Fatalf("first attempt: %v", err)
			}
			_, err := j.Read(ctx, 0, 1)
			if c.stored != (err == nil) {
				t.Fatalf("read: %v", err)
			}
			if pos, err := j.Append(ctx, 0, "a", []byte("x")); err != nil || pos != c.again {
				t.Fatalf("second attempt: position %d, %v", pos, err)
			}
		})
	}
}

func TestDelaysReorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := mem.NewStore(1).Open(script(map[string]mem.Fault{"slow": {Delay: time.Second}}))
		defer j.Close()
		done := make(chan journal.Position)
		go func() {
			pos, _ := j.Append(context.Background(), 0, "slow", nil)
			done <- pos
		}()
		synctest.Wait()
		if pos, err := j.Append(t.Context(), 0, "quick", nil); err != nil || pos != 1 {
			t.Fatalf("position %d, %v", pos, err)
		}
		if pos := <-done; pos != 2 {
			t.Fatalf("the slow one is at %d", pos)
		}
	})
}

// An append whose caller has gone may land all the same.
func TestLateLanding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := mem.NewStore(1).Open(script(map[string]mem.Fault{"slow": {Delay: time.Second}}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		data := []byte("slow")
		if _, err := j.Append(ctx, 0, "slow", data); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		data[0] = '!'
		if _, err := j.Read(t.Context(), 0, 1); !errors.Is(err, io.EOF) {
			t.Fatalf("got %v", err)
		}
		if err := j.Close(); err != nil { // waits for it
			t.Fatal(err)
		}
	})
}

func TestLostPushIsHealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := mem.NewStore(1).Open(script(map[string]mem.Fault{"a": {LosePush: true}}))
		defer j.Close()
		enough := errors.New("enough")
		start := time.Now()
		got := make(chan error)
		go func() { got <- j.Follow(t.Context(), 0, 0, func(journal.Entry) error { return enough }) }()
		synctest.Wait()
		if _, err := j.Append(t.Context(), 0, "a", nil); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != enough {
			t.Fatal(err)
		}
		if d := time.Since(start); d == 0 || d > time.Second {
			t.Fatalf("found after %v", d)
		}
	})
}

func TestDedupWindowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := mem.New(1)
		defer j.Close()
		for _, c := range []struct {
			wait time.Duration
			pos  journal.Position
		}{{0, 1}, {journal.DedupWindowSeconds * time.Second, 1}, {time.Millisecond, 2}, {time.Second, 2}} {
			time.Sleep(c.wait)
			if pos, err := j.Append(t.Context(), 0, "a", nil); err != nil || pos != c.pos {
				t.Fatalf("after %v: position %d, %v", c.wait, pos, err)
			}
		}
	})
}

func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.NewStore(1)
		j := store.Open(script(map[string]mem.Fault{"never": {Delay: time.Second}, "unheard": {AckDelay: time.Second}}))
		gone := make(chan error, 2)
		for _, id := range []string{"never", "unheard"} {
			go func() {
				_, err := j.Append(context.Background(), 0, id, []byte(id))
				gone <- err
			}()
		}
		synctest.Wait()
		j.Crash()
		for range 2 {
			if err := <-gone; !errors.Is(err, journal.ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
		j = store.Open(nil)
		defer j.Close()
		e, err := j.Read(t.Context(), 0, 1)
		if err != nil || string(e.Data) != "unheard" {
			t.Fatalf("got %q, %v", e.Data, err)
		}
		if _, last, _ := j.Bounds(t.Context(), 0); last != 1 {
			t.Fatalf("last is %d", last)
		}
	})
}

// Several handles on one store see each other's records, as sites do.
func TestSites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.NewStore(1)
		a, b := store.Open(nil), store.Open(nil)
		defer b.Close()
		enough := errors.New("enough")
		got := make(chan error)
		go func() { got <- b.Follow(t.Context(), 0, 0, func(journal.Entry) error { return enough }) }()
		if _, err := a.Append(t.Context(), 0, "a", nil); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != enough {
			t.Fatal(err)
		}
		a.Crash()
		if pos, err := b.Append(t.Context(), 0, "b", nil); err != nil || pos != 2 {
			t.Fatalf("position %d, %v", pos, err)
		}
	})
}

func TestCutAndReplace(t *testing.T) {
	store := mem.NewStore(1)
	j := store.Open(nil)
	defer j.Close()
	for i := range 5 {
		if _, err := j.Append(t.Context(), 0, fmt.Sprint(i), []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	store.Cut(0, 3)
	store.Replace(0, 2, []byte("other"))
	if e, err := j.Read(t.Context(), 0, 2); err != nil || string(e.Data) != "other" {
		t.Fatalf("got %q, %v", e.Data, err)
	}
	if pos, err := j.Append(t.Context(), 0, "4", nil); err != nil || pos != 4 {
		t.Fatalf("position %d, %v", pos, err)
	}
}

// The same seed gives the same faults, whatever the order of the calls.
func TestSeededIsRepeatable(t *testing.T) {
	rates := mem.Rates{Full: 0.1, Fail: 0.2, LoseAck: 0.2, Forget: 0.1, LosePush: 0.3, Delay: time.Second, AckDelay: time.Second}
	a, b, other := mem.Seeded(7, rates), mem.Seeded(7, rates), mem.Seeded(8, rates)
	var forth, diff []mem.Fault
	for i := range 100 {
		forth = append(forth, a(mem.Attempt{MsgID: fmt.Sprint(i), N: 1}))
		diff = append(diff, other(mem.Attempt{MsgID: fmt.Sprint(i), N: 1}))
	}
	same := 0
	for i := 99; i >= 0; i-- {
		if b(mem.Attempt{MsgID: fmt.Sprint(i), N: 1}) != forth[i] {
			t.Fatalf("attempt %d differs", i)
		}
		if forth[i] == diff[i] {
			same++
		}
	}
	if same > 10 {
		t.Fatalf("%d of 100 faults are the same with another seed", same)
	}
}
