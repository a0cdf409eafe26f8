package feed

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"bongsu/event"
	"bongsu/id"
	"bongsu/room"
)

// TestRandomSent: a client that loads members lazily knows who said what it is shown, whichever of its tokens it comes with, here or
// elsewhere; and one that loses nothing is told of nobody twice.
func TestRandomSent(t *testing.T) {
	st := newSite(t)
	c := &client{st, "cat"}
	rapid.Check(t, func(rt *rapid.T) {
		r := st.create("amy", room.Creation{Preset: "public_chat", Name: "so that it has no heroes"})
		for _, n := range names[1:] {
			st.join(n, r)
		}
		chain := []saved{{rooms: map[id.RoomID]copyOf{}}}
		told, steady := map[string]int{}, true
		for range rapid.IntRange(10, 60).Draw(rt, "steps") {
			name := rapid.SampledFrom(names).Draw(rt, "user")
			switch rapid.SampledFrom([]string{"say", "say", "name", "sync", "sync", "sync"}).Draw(rt, "op") {
			case "say":
				st.say(name, r, "x")
			case "name":
				_, err := st.rooms.SendState(t.Context(), by(name), r, event.TypeMember, string(user(name)),
					[]byte(fmt.Sprintf(`{"membership":"join","displayname":"%d"}`, rapid.Int().Draw(rt, "name"))))
				st.must(err)
			case "sync":
				from, feed := chain[len(chain)-1], st.Feed
				if rapid.IntRange(0, 3).Draw(rt, "old") == 0 {
					from, steady = rapid.SampledFrom(chain).Draw(rt, "token"), false
				}
				if rapid.IntRange(0, 7).Draw(rt, "elsewhere") == 0 {
					feed, steady = st.newFeed(2), false
					defer feed.Close()
				}
				out, err := feed.Sync(t.Context(), Request{User: user("cat"), Since: from.token, StateAfter: rapid.IntRange(0, 4).Draw(rt, "after") == 0,
					Filter: fmt.Sprintf(`{"room":{"rooms":["%s"],"timeline":{"limit":1},"state":{"lazy_load_members":true}}}`, r)})
				st.must(err)
				res := st.parse(out)
				now := c.take(rt, from, res)
				chain = append(chain, now)
				if j := res.Rooms.Join[r]; j != nil && !j.Timeline.Limited {
					for _, e := range j.State.Events {
						told[string(e.ID)]++
					}
				}
			}
		}
		for e, n := range told {
			if steady && n > 1 {
				rt.Fatalf("%s was sent %d times", e, n)
			}
		}
		for _, n := range names {
			st.must(st.rooms.Leave(t.Context(), by(n), r, ""))
			st.must(st.rooms.Forget(t.Context(), by(n), r))
		}
	})
}

// TestSentIsBounded: what was sent to devices takes no more than its bounds, and nothing when the user is forgotten.
func TestSentIsBounded(t *testing.T) {
	st := newSite(t)
	r := st.create("amy", room.Creation{Preset: "public_chat"})
	const lazy = `{"room":{"state":{"lazy_load_members":true}}}`
	for i := range 3 * maxSentDevice {
		st.sync(t.Context(), Request{User: user("amy"), Device: id.DeviceID(fmt.Sprint(i)), Filter: lazy})
	}
	h := st.hub
	h.mu.Lock()
	if n := len(h.viewers[user("amy")].sent); n > maxSentDevice || n == 0 || h.remembered != n {
		t.Errorf("%d devices are remembered, with %d members", n, h.remembered)
	}
	h.mu.Unlock()
	h.fill(maxSentToAll)
	res := st.sync(t.Context(), Request{User: user("amy"), Device: "full", Filter: lazy})
	if token, err := ParseToken(res.NextBatch); err != nil || token.Sent != 0 || res.Rooms.Join[r] == nil {
		t.Errorf("%+v: %v", token, err)
	}
	h.fill(-maxSentToAll)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.viewers[user("amy")].used = st.now().Add(-2 * forgetAfter)
	h.sweep(st.now())
	if len(h.viewers) != 0 || h.remembered != 0 {
		t.Errorf("%d users, %d members are remembered", len(h.viewers), h.remembered)
	}
}

// fill makes as if more were remembered.
func (h *hub) fill(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remembered += n
}
