package auth

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/clock"
)

func TestGuard(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	g := NewGuard(clock.Func(func() time.Time { return now }))
	for i := range freeGuesses + 1 {
		if wait := g.Try("amy"); wait != 0 {
			t.Fatalf("guess %d waits %v", i, wait)
		}
	}
	for _, seconds := range []int{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		want := time.Duration(seconds) * time.Second
		if wait := g.Try("amy"); wait != want {
			t.Errorf("waits %v, want %v", wait, want)
		}
		now = now.Add(want - time.Millisecond)
		if wait := g.Try("amy"); wait != time.Millisecond {
			t.Errorf("waits %v shortly before", wait)
		}
		now = now.Add(time.Millisecond)
		if wait := g.Try("amy"); wait != 0 {
			t.Errorf("waits %v after the wait", wait)
		}
	}
	if g.Try("bob") != 0 {
		t.Error("another account waits")
	}
	g.Right("amy")
	if first, second := g.Try("amy"), g.Try("amy"); first+second != 0 {
		t.Error("waits after the right one")
	}
	for range freeGuesses {
		g.Try("amy")
	}
	now = now.Add(-time.Hour)
	if wait := g.Try("amy"); wait > maxDelay {
		t.Errorf("waits %v after the clock was set back", wait)
	}
	now = now.Add(3 * time.Hour)
	if first, second := g.Try("amy"), g.Try("amy"); first+second != 0 {
		t.Error("waits for what is long ago")
	}
	var none *Guard
	if none.Try("amy") != 0 {
		t.Error("nothing guards")
	}
	none.Right("amy")
}

// TestGuardManyAtOnce has guesses that arrive together.
func TestGuardManyAtOnce(t *testing.T) {
	g := NewGuard(clock.Func(func() time.Time { return time.Unix(1_000_000, 0) }))
	var through atomic.Int32
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if g.Try("amy") == 0 {
				through.Add(1)
			}
		})
	}
	wg.Wait()
	if through.Load() != freeGuesses+1 {
		t.Errorf("%d guesses went through", through.Load())
	}
	for i := range maxGuarded + 10 {
		g.Try(fmt.Sprint(i))
	}
	if g.used.Len() != maxGuarded || len(g.index) != maxGuarded {
		t.Errorf("%d accounts are remembered", g.used.Len())
	}
}
