package account

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// board is where profiles are shown.
type board struct {
	s     *service
	mu    sync.Mutex
	shown []string
	fail  int    // how many times it fails first
	then  func() // called once, after the profile was read
}

func (b *board) show(_ context.Context, user id.UserID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail > 0 {
		b.fail--
		return errs.New("board", errs.Unavailable, "", "no")
	}
	name := ProfileOf(b.s.Rows(), user).Displayname
	if then := b.then; then != nil {
		b.then = nil
		then()
	}
	b.shown = append(b.shown, name)
	return nil
}

func (b *board) names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.shown)
}

// owed are the users whose profiles are still to be shown.
func (b *board) owed() (out []id.UserID) {
	for i := range b.s.cfg.Replica.Partitions() {
		prefix := replica.Derived(journal.Partition(i), machineByte, tableOwed)
		for k := range b.s.Rows().Scan(prefix, kv.End(prefix)) {
			d := decoder{v: k[len(prefix):]}
			out = append(out, id.UserID(d.str()))
		}
	}
	return out
}

func (b *board) name(t *testing.T, name string) {
	t.Helper()
	if err := b.s.SetProfile(t.Context(), "@amy:example.org", Displayname, json.RawMessage(fmt.Sprintf("%q", name))); err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(limit) {
			t.Fatal("never: " + what)
		}
		<-time.After(time.Millisecond)
	}
}

func newBoard(t *testing.T, rules uint16) *board {
	t.Helper()
	b := &board{s: newService(t, replicatest.Options{Rules: rules})}
	b.s.register(t, "amy")
	return b
}

func (b *board) herald(t *testing.T, patience time.Duration) *Herald {
	h := NewHerald(HeraldConfig{Replica: b.s.cfg.Replica, Show: b.show, Patience: patience})
	t.Cleanup(h.Close)
	return h
}

func TestProfilesAreShown(t *testing.T) {
	b := newBoard(t, 2)
	h := b.herald(t, time.Hour)
	b.name(t, "Amy")
	if got := b.owed(); len(got) != 1 {
		t.Fatalf("owed: %v", got)
	}
	h.Tell("@amy:example.org")
	within(t, "it is shown", func() bool { return len(b.owed()) == 0 })
	// It changes while it is shown, so that what is shown is old.
	b.mu.Lock()
	b.then = func() { b.name(t, "Amelia") }
	b.mu.Unlock()
	b.name(t, "Amy B.")
	h.Tell("@amy:example.org")
	within(t, "the latest is shown", func() bool { return len(b.owed()) == 0 })
	if got := fmt.Sprint(b.names()); got != "[Amy Amy B. Amelia]" {
		t.Error(got)
	}
}

// TestAProfileOutlivesItsSite lets another herald do what nobody told it, because the site that knew of it is gone.
func TestAProfileOutlivesItsSite(t *testing.T) {
	b := newBoard(t, 2)
	b.fail = 1 // also the first attempt of the heir
	b.name(t, "Amy")
	b.herald(t, 5*time.Millisecond)
	within(t, "it is shown", func() bool {
		b.s.site.now.Add(1000)                                                                                                                  // the state's time goes on with its records
		b.s.submit(t.Context(), "@amy:example.org", kindData, dataBody{User: "@amy:example.org", Type: "tick", Content: json.RawMessage("{}")}) //nolint:errcheck // a tick
		return len(b.owed()) == 0
	})
	if got := b.names(); len(got) == 0 || got[len(got)-1] != "Amy" {
		t.Error(got)
	}
}

// TestProfilesUnderOldRules leaves no row, and shows what it is told of.
func TestProfilesUnderOldRules(t *testing.T) {
	b := newBoard(t, 1)
	b.name(t, "Amy")
	if got := b.owed(); len(got) != 0 {
		t.Errorf("rules 1 leave rows: %v", got)
	}
	b.herald(t, time.Hour).Tell("@amy:example.org")
	within(t, "it is shown", func() bool { return len(b.names()) == 1 })
}
