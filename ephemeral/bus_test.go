package ephemeral

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bongsu/id"
)

// wire is a bus on which everybody hears everything at once, or nobody anything while it is cut.
type wire struct {
	mu   sync.Mutex
	cut  bool
	fns  map[int]func([]byte)
	n    int // of messages
	next int
}

func (w *wire) Publish(_ string, data []byte) error {
	w.mu.Lock()
	w.n++
	cut, fns := w.cut, slices.Collect(maps.Values(w.fns))
	w.mu.Unlock()
	if cut {
		return errors.New("cut")
	}
	for _, fn := range fns {
		fn(data)
	}
	return nil
}

func (w *wire) Subscribe(_ string, fn func([]byte)) (func(), error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fns == nil {
		w.fns = map[int]func([]byte){}
	}
	n := w.next
	w.next++
	w.fns[n] = fn
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.fns, n)
	}, nil
}

// who is who types in room !a, as a site sees it.
func who(ty *Typing) []id.UserID {
	synctest.Wait()
	users, _ := ty.In("!a:x")
	return users
}

func TestTypingIsSeenAtOtherSites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		a := New(Config{Bus: w, Origin: "a/1"})
		b := New(Config{Bus: w, Origin: "b/1"})
		defer b.Close()
		expect := func(when string, want ...id.UserID) {
			t.Helper()
			for i, ty := range []*Typing{a, b} {
				if got := who(ty); !slices.Equal(got, want) {
					t.Errorf("%s, site %d: %v, want %v", when, i, got, want)
				}
			}
		}
		a.Start("!a:x", amy, 30*time.Second)
		time.Sleep(tellEvery)
		expect("begun at a", amy)
		b.Start("!a:x", bob, 10*time.Second)
		time.Sleep(tellEvery)
		expect("and at b", amy, bob)
		b.Stop("!a:x", amy) // amy's client has moved to b
		time.Sleep(tellEvery)
		expect("stopped at the other", bob)

		before := w.n
		for range 1000 {
			a.Start("!a:x", amy, time.Minute)
			a.Stop("!a:x", amy)
		}
		time.Sleep(tellEvery)
		synctest.Wait()
		if w.n != before+1 {
			t.Errorf("%d messages for one typist in %v", w.n-before, tellEvery)
		}
		expect("a nervous one", bob)

		w.cut = true
		a.Start("!a:x", amy, 20*time.Second)
		time.Sleep(tellEvery)
		if got := who(b); !slices.Equal(got, []id.UserID{bob}) {
			t.Errorf("heard over a cut: %v", got)
		}
		w.cut = false
		a.Start("!a:x", amy, 20*time.Second) // as clients do
		time.Sleep(tellEvery)
		expect("after the cut", amy, bob)
		a.Close() // the site burns: its typists end by themselves
		time.Sleep(20 * time.Second)
		if got := who(b); len(got) != 0 {
			t.Errorf("typing at a burnt site: %v", got)
		}
	})
}

// TestALotOfTypingIsBounded has more people type than are told at once.
func TestALotOfTypingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		a, b := New(Config{Bus: w, Origin: "a/1"}), New(Config{Bus: w, Origin: "b/1"})
		defer a.Close()
		defer b.Close()
		for i := range 3 * maxTold {
			a.Start("!a:x", id.UserID(fmt.Sprintf("@u%d:x", i)), time.Minute)
		}
		time.Sleep(tellEvery)
		if n := len(who(b)); n != maxTold || w.n != 1 {
			t.Errorf("%d were told in %d messages", n, w.n)
		}
	})
}

func FuzzHeard(f *testing.F) {
	good, err := json.Marshal(telling{"b/1", []change{{"!a:x", amy, time.Second}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"changes":[{"room":"!a:x","user":"@b:x","for":-9223372036854775808},{"room":"","user":null}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		ty := New(Config{Bus: &wire{}, Origin: "a/1"})
		defer ty.Close()
		ty.heard(data)
		for room, r := range ty.rooms {
			for user, until := range r.until {
				if user == "" || room == "" || time.Until(until) > MaxTyping {
					t.Errorf("%q types in %q until %v", user, room, until)
				}
			}
		}
	})
}
