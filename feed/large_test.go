package feed

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"bongsu/id"
	"bongsu/room"
)

// fill has users u1 … un join a room, many at a time.
func (st *site) fill(r id.RoomID, n int) {
	st.t.Helper()
	var wg sync.WaitGroup
	gate := make(chan struct{}, 256)
	for i := 1; i <= n; i++ {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			if err := st.rooms.Join(context.Background(), by(fmt.Sprintf("u%d", i)), r, ""); err != nil {
				st.t.Error(err)
			}
		})
	}
	wg.Wait()
}

// least is the shortest of n times that do takes: what it costs, whatever else the machine does.
func least(n int, do func()) time.Duration {
	var out time.Duration
	for i := range n {
		began := time.Now()
		do()
		if took := time.Since(began); i == 0 || took < out {
			out = took
		}
	}
	return out
}

// TestLargeRoom: what is said in a large room costs no more than in a small one, nor does hearing of it. BONGSU_LARGE_ROOM is how many
// members a large room has.
func TestLargeRoom(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands join")
	}
	members := 2000
	if s := os.Getenv("BONGSU_LARGE_ROOM"); s != "" {
		members, _ = strconv.Atoi(s)
	}
	st := newSite(t)
	const lazy = `{"room":{"rooms":["%s"],"state":{"lazy_load_members":true}}}`
	type costs struct{ say, sync, first time.Duration }
	measure := func(n int) (c costs) {
		r := st.create("u0", room.Creation{Preset: "public_chat", Name: "named, so that nobody looks for heroes"})
		began := time.Now()
		st.fill(r, n-1)
		t.Logf("%d joined in %v", n-1, time.Since(began))
		filter := fmt.Sprintf(lazy, r)
		for range 20 { // the timeline of a first answer
			st.say("u1", r, "hello")
		}
		rq := Request{User: user("u1"), Device: "u1", Filter: filter}
		c.first = least(50, func() { st.sync(context.Background(), rq) })
		c.say, c.sync = time.Hour, time.Hour
		for range 100 {
			rq.Since = st.sync(context.Background(), rq).NextBatch
			c.say = min(c.say, least(1, func() { st.say("u2", r, "hello") }))
			c.sync = min(c.sync, least(1, func() { st.sync(context.Background(), rq) }))
		}
		return c
	}
	small, large := measure(20), measure(members)
	t.Logf("20 members: %+v; %d members: %+v", small, members, large)
	for what, c := range map[string][2]time.Duration{"a message": {small.say, large.say}, "a sync": {small.sync, large.sync},
		"a first sync": {small.first, large.first}} {
		if c[1] > 3*c[0] {
			t.Errorf("%s takes %v in a room of 20, and %v in one of %d", what, c[0], c[1], members)
		}
	}
}
