package feed

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bongsu/event"
	"bongsu/id"
	"bongsu/replica"
	"bongsu/room"
	"bongsu/roomstate"
)

// copyOf is what a client holds of a room.
type copyOf struct {
	joined bool
	last   id.EventID            // of the timeline
	state  map[string]id.EventID // by type and key
}

func (c copyOf) clone() copyOf {
	s := make(map[string]id.EventID, len(c.state))
	for k, v := range c.state {
		s[k] = v
	}
	c.state = s
	return c
}

// saved is a client at one token.
type saved struct {
	token string
	rooms map[id.RoomID]copyOf
}

func (s saved) clone() saved {
	out := saved{s.token, map[id.RoomID]copyOf{}}
	for r, c := range s.rooms {
		out.rooms[r] = c.clone()
	}
	return out
}

// fataler is the part of testing.T and rapid.T that checks need.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// client takes in answers and checks them against the rows.
type client struct {
	st   *site
	name string
}

// history is the ids of a room's events in order.
func (st *site) history(r id.RoomID) []id.EventID {
	v, _ := room.Open(st.r.Rows(), r)
	var out []id.EventID
	for s := range v.Timeline(room.Place{}, replica.End(1<<60)) {
		out = append(out, s.ID)
	}
	return out
}

// run checks that a timeline is a run of the history that begins right after last, or anywhere after it if it is limited, and
// returns its last event.
func run(t fataler, what string, history []id.EventID, last id.EventID, events []eventJSON, limited bool) id.EventID {
	t.Helper()
	at := slices.Index(history, last) // -1 for a client that has nothing
	for i, e := range events {
		n := slices.Index(history, e.ID)
		switch {
		case n < 0:
			t.Fatalf("%s: %s is not in the room", what, e.ID)
		case n <= at:
			t.Fatalf("%s: event %d came after event %d", what, n, at)
		case n != at+1 && (i > 0 || !limited):
			t.Fatalf("%s: event %d came after event %d (limited: %v)", what, n, at, limited)
		}
		at, last = n, e.ID
	}
	return last
}

func (c copyOf) apply(events []eventJSON) {
	for _, e := range events {
		if e.StateKey != nil {
			c.state[e.Type+"\x00"+*e.StateKey] = e.ID
		}
	}
}

// take is the client after an answer.
func (c *client) take(t fataler, was saved, res *response) saved {
	t.Helper()
	now := was.clone()
	now.token = res.NextBatch
	for r, j := range res.Rooms.Join {
		mine := now.rooms[r]
		if mine.state == nil {
			mine.state = map[string]id.EventID{}
		}
		if j.After != nil {
			mine.apply(j.After.Events)
		} else {
			mine.apply(j.State.Events)
			mine.apply(j.Timeline.Events)
		}
		for _, e := range j.Timeline.Events {
			if mine.state[event.TypeMember+"\x00"+string(e.Sender)] == "" {
				t.Fatalf("%s does not know who %s is, who sent %s in %s", c.name, e.Sender, e.Type, r)
			}
		}
		mine.last = run(t, c.name+" in "+string(r), c.st.history(r), mine.last, j.Timeline.Events, j.Timeline.Limited)
		mine.joined = true
		now.rooms[r] = mine
	}
	for r, j := range res.Rooms.Leave {
		mine := now.rooms[r]
		events, mineToo := j.Timeline.Events, len(j.Timeline.Events)
		for i, e := range events {
			if e.Type == event.TypeMember && *e.StateKey == string(user(c.name)) && e.Content["membership"] != "join" {
				mineToo = i + 1
				break
			}
		}
		if mine.joined {
			mine.last = run(t, c.name+" leaving "+string(r), c.st.history(r), mine.last, events[:mineToo], j.Timeline.Limited)
		}
		mine.joined = false
		if len(events) > 0 {
			mine.last = events[len(events)-1].ID
		}
		if mine.state == nil {
			mine.state = map[string]id.EventID{}
		}
		now.rooms[r] = mine
	}
	for r := range res.Rooms.Invite {
		mine := now.rooms[r]
		mine.joined = false
		now.rooms[r] = mine.clone()
	}
	return now
}

// agrees checks that the client has all of the rooms that its user is in.
func (c *client) agrees(t fataler, s saved) {
	t.Helper()
	rows := c.st.r.Rows()
	for m := range room.Memberships(rows, c.st.r.Partitions(), user(c.name)) {
		mine := s.rooms[m.Room]
		if joined := m.State == roomstate.Join; joined != mine.joined {
			t.Fatalf("%s takes itself to be in %s: %v", c.name, m.Room, mine.joined)
		}
		if !mine.joined {
			continue
		}
		history := c.st.history(m.Room)
		if end := history[len(history)-1]; mine.last != end {
			t.Fatalf("%s lacks the end of %s", c.name, m.Room)
		}
		v, _ := room.Open(rows, m.Room)
		for row := range v.State() {
			if _, known := mine.state[row.Type+"\x00"+row.Key]; c.lazy() && row.Type == event.TypeMember && !known {
				continue
			}
			if mine.state[row.Type+"\x00"+row.Key] != row.Ref.ID {
				t.Fatalf("%s has %s for %s %q in %s, which is %s", c.name, mine.state[row.Type+"\x00"+row.Key], row.Type, row.Key, m.Room, row.Ref.ID)
			}
		}
	}
}

var names = []string{"amy", "bob", "cat", "dan"}

// lazy reports whether the client wants only those members that it needs.
func (c *client) lazy() bool { return c.name == "cat" || c.name == "dan" }

// TestRandom lets random users do random things, and syncs as them from random tokens that they once had, with and without what
// the feed remembers. At every moment what a client has put together must be what is in the rooms.
func TestRandom(t *testing.T) {
	st := newSite(t)
	rapid.Check(t, func(rt *rapid.T) {
		rooms := []id.RoomID{st.create("amy", room.Creation{Preset: "public_chat", Name: "named"}), st.create("bob", room.Creation{Preset: "public_chat"})}
		chains := map[string][]saved{}
		for _, n := range names {
			chains[n] = []saved{{rooms: map[id.RoomID]copyOf{}}}
		}
		for range rapid.IntRange(5, 60).Draw(rt, "steps") {
			name := rapid.SampledFrom(names).Draw(rt, "user")
			other := rapid.SampledFrom(names).Draw(rt, "other")
			r := rapid.SampledFrom(rooms).Draw(rt, "room")
			ctx := t.Context()
			// Most of this is refused now and then; that is part of it.
			switch op := rapid.SampledFrom([]string{"say", "say", "say", "join", "join", "leave", "invite", "kick", "ban", "unban", "topic",
				"redact", "receipt", "sync", "sync", "sync", "sync"}).Draw(rt, "op"); op {
			case "say":
				_, _ = st.rooms.Send(ctx, by(name), r, event.TypeMessage, fmt.Sprint(rand.Uint64()), []byte(`{"body":"x"}`))
			case "join":
				_ = st.rooms.Join(ctx, by(name), r, "")
			case "leave":
				_ = st.rooms.Leave(ctx, by(name), r, "")
			case "invite":
				_ = st.rooms.Invite(ctx, by(name), r, user(other), "")
			case "kick":
				_ = st.rooms.Kick(ctx, by(name), r, user(other), "")
			case "ban":
				_ = st.rooms.Ban(ctx, by(name), r, user(other), "")
			case "unban":
				_ = st.rooms.Unban(ctx, by(name), r, user(other), "")
			case "topic":
				_, _ = st.rooms.SendState(ctx, by(name), r, "m.room.topic", "", []byte(`{"topic":"`+fmt.Sprint(rand.Uint64())+`"}`))
			case "redact":
				h := st.history(r)
				_, _ = st.rooms.Redact(ctx, by(name), r, h[len(h)-1], fmt.Sprint(rand.Uint64()), "")
			case "receipt":
				h := st.history(r)
				_ = st.rooms.Receipt(ctx, user(name), r, room.Read, "", h[len(h)-1])
			case "sync":
				chain := chains[name]
				from := chain[len(chain)-1]
				if rapid.IntRange(0, 3).Draw(rt, "old") == 0 {
					from = rapid.SampledFrom(chain).Draw(rt, "token")
				}
				feed := st.Feed
				if rapid.IntRange(0, 7).Draw(rt, "restart") == 0 {
					feed = st.newFeed(2)
					defer feed.Close()
				}
				limit := rapid.SampledFrom([]int{0, 1, 2, 5, 100}).Draw(rt, "limit")
				c := &client{st, name}
				out, err := feed.Sync(ctx, Request{User: user(name), Since: from.token, StateAfter: rapid.Bool().Draw(rt, "after"),
					Filter: fmt.Sprintf(`{"room":{"timeline":{"limit":%d},"state":{"lazy_load_members":%v}}}`, max(limit, 1), c.lazy())})
				if err != nil {
					rt.Fatalf("%v", err)
				}
				now := c.take(rt, from, st.parse(out))
				// Rooms of earlier checks are there as well, and no longer change.
				c.agrees(rt, now)
				chains[name] = append(chain, now)
			}
		}
		for _, n := range names { // so that the next check begins with nobody anywhere
			for _, r := range rooms {
				_ = st.rooms.Leave(t.Context(), by(n), r, "")
				_ = st.rooms.Forget(t.Context(), by(n), r)
			}
		}
	})
}

// TestStream has clients that wait for news while others write: at the end each has everything, once and in order.
func TestStream(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	st := newSite(t)
	var rooms []id.RoomID
	for range 3 {
		r := st.create("amy", room.Creation{Preset: "public_chat"})
		st.join("bob", r)
		rooms = append(rooms, r)
	}
	const messages = 150
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for i, name := range []string{"amy", "bob", "cat"} {
		writers.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			for range messages {
				r := rooms[rnd.IntN(len(rooms))]
				if name != "cat" {
					st.say(name, r, "x")
				} else if err := st.rooms.Join(t.Context(), by(name), r, ""); err != nil || rnd.IntN(3) == 0 {
					_ = st.rooms.Leave(t.Context(), by(name), r, "")
				} else {
					st.say(name, r, "y")
				}
			}
		})
	}
	finals := make([]saved, 6)
	for i := range finals {
		readers.Go(func() {
			c := &client{st, []string{"amy", "bob", "cat"}[i%3]}
			at := saved{rooms: map[id.RoomID]copyOf{}}
			for last := false; ; {
				out, err := st.Sync(t.Context(), Request{User: user(c.name), Device: id.DeviceID(fmt.Sprint(i)), Since: at.token,
					Timeout: time.Minute, Draining: stop, Filter: `{"room":{"timeline":{"limit":7}}}`})
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
					return
				}
				at = c.take(errorer{t}, at, st.parse(out))
				if last {
					finals[i] = at
					return
				}
				select {
				case <-stop:
					last = true
				default:
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	for i, s := range finals {
		(&client{st, []string{"amy", "bob", "cat"}[i%3]}).agrees(t, s)
	}
}

// errorer lets goroutines of a test fail it.
type errorer struct{ *testing.T }

func (e errorer) Fatalf(format string, args ...any) { e.Helper(); e.Errorf(format, args...) }
