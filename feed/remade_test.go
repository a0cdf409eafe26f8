package feed

import (
	"context"
	"testing"
	"time"

	"bongsu/account"
	"bongsu/errs"
	"bongsu/filter"
	"bongsu/journal"
	"bongsu/replica"
	"bongsu/room"
)

// TestRemade discards the rows of all partitions, as far as the feed is told: nothing is answered from what was remembered, who
// waits looks again, and who has read before and after is sent away.
func TestRemade(t *testing.T) {
	st := newSite(t)
	r := st.create("amy", room.Creation{Preset: "public_chat"})
	since := st.token("amy")
	remade := func(pos func(p journal.Partition) journal.Position) {
		for i := range st.r.Partitions() {
			p := journal.Partition(i)
			st.Committed(replica.Commit{Partition: p, Pos: pos(p), Remade: true})
		}
	}
	gone := func(journal.Partition) journal.Position { return 0 }
	back := func(p journal.Partition) journal.Position { return st.r.Status(p).Applied }

	answers := make(chan error, 2)
	ask := func(rq Request) {
		_, err := st.Sync(context.Background(), rq)
		answers <- err
	}
	go ask(Request{User: user("amy"), Since: since, Timeout: time.Minute})
	for st.Waiting() == 0 {
		<-time.After(time.Millisecond)
	}
	remade(gone)
	go ask(Request{User: user("amy")})
	for limit := time.Now().Add(20 * time.Second); st.looking() < 2; { // both look, and wait for notes of what they see
		if time.Now().After(limit) || len(answers) > 0 {
			t.Fatal("answered from rows that are being made")
		}
		<-time.After(time.Millisecond)
	}
	remade(back)
	for range 2 {
		if err := <-answers; !errs.Is(err, errs.Unavailable) {
			t.Errorf("an answer across the change: %v", err)
		}
	}
	st.say("amy", r, "after")
	if res := st.sync(context.Background(), Request{User: user("amy"), Since: since}); len(res.Rooms.Join) != 1 {
		t.Errorf("%+v", res)
	}
}

// looking is how many looks at the rows are under way.
func (f *Feed) looking() int { return len(f.looks) }

// TestRemadeFilter: a stored filter that was read from rows that turned out to be wrong is read anew.
func TestRemadeFilter(t *testing.T) {
	st := newSite(t)
	_, err := st.accounts.Register(t.Context(), account.Registration{Localpart: "amy", Password: "correct horse"})
	st.must(err)
	name, err := st.accounts.DefineFilter(t.Context(), user("amy"), []byte(`{"room":{"timeline":{"limit":7}}}`))
	st.must(err)
	wrong := &filter.Filter{}
	st.filters.parsed[string(user("amy"))+"\x00"+name] = wrong
	ask := func() *filter.Filter {
		f, err := st.filter(t.Context(), user("amy"), name)
		st.must(err)
		return f
	}
	if ask() != wrong {
		t.Fatal("nothing is remembered, so this test shows nothing")
	}
	st.Committed(replica.Commit{Pos: st.r.Status(0).Applied, Remade: true})
	read := ask()
	if n := read.Room.Timeline.Count(defaultLimit, maxLimit); n != 7 {
		t.Errorf("the limit is %d", n)
	}
	if ask() != read {
		t.Error("the filter is read again and again")
	}
}
