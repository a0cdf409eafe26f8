package feed

import (
	"context"
	"testing"
	"time"

	"bongsu/errs"
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
