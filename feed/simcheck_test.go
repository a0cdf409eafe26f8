package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/replica"
	"bongsu/room"
)

// check compares what there is with what there must be, when nothing goes wrong any more.
func (s *sim) check(clients []*simClient) {
	rng := rand.New(rand.NewPCG(s.seed, 2000))
	for _, c := range clients {
		c.drain(rng)
	}
	for _, site := range s.sites {
		s.ring(rng, site, clients)
	}
	for _, c := range clients {
		c.drain(rng)
	}
	time.Sleep(time.Minute) // acknowledgements arrive
	s.alike()
	run := s.sites[0].run
	rows := run.r.Rows()
	histories := map[id.RoomID][]id.EventID{}
	history := func(r id.RoomID) []id.EventID {
		if histories[r] == nil {
			v, _ := room.Open(rows, r)
			for e := range v.Timeline(room.Place{}, replica.Forever) {
				histories[r] = append(histories[r], e.ID)
			}
		}
		return histories[r]
	}
	for r, events := range s.kept {
		for e := range events {
			if !slices.Contains(history(r), e) {
				s.fault("%s was acknowledged, and is not in %s", e, r)
			}
		}
		s.once(r)
	}
	for _, c := range clients {
		for r, mine := range c.rooms {
			c.compare(r, mine, history(r))
		}
		if want, got := slices.Sorted(slices.Values(s.sent[c.name+"/"+string(c.device)])), slices.Sorted(slices.Values(c.inbox)); !slices.Equal(want, got) {
			s.fault("%s/%s got %v, and was sent %v", c.name, c.device, got, want)
		}
		c.ordered()
		for _, name := range names {
			d, _ := run.keys.Query(s.t.Context(), user(c.name), map[id.UserID][]id.DeviceID{user(name): nil})
			if want := string(d.DeviceKeys[user(name)]["A"]); c.keys[user(name)] != want {
				s.fault("%s/%s takes %s for the keys of %s, which are %s", c.name, c.device, c.keys[user(name)], name, want)
			}
		}
		c.anew(rng)
	}
}

// alike waits until the sites are at one position, and compares them there.
func (s *sim) alike() {
	for _, site := range s.sites {
		for p := range journal.Partition(simParts) {
			var a, b replica.PartitionStatus
			for range 200 { // a record may be on its way between the two
				if a, b = s.sites[0].run.r.Status(p), site.run.r.Status(p); a.Applied == b.Applied {
					break
				}
				time.Sleep(37 * time.Millisecond)
			}
			if a.Applied != b.Applied || a.Digest != b.Digest {
				s.fault("partition %d: %s is at %d %x, %s at %d %x", p, s.sites[0].name, a.Applied, a.Digest[:4], site.name, b.Applied, b.Digest[:4])
			}
		}
	}
}

// once finds messages that happened more than once.
func (s *sim) once(r id.RoomID) {
	v, _ := room.Open(s.sites[0].run.r.Rows(), r)
	said := map[string]bool{}
	for e := range v.Timeline(room.Place{}, replica.Forever) {
		body, ok := e.Content.String("body")
		if ok && said[body] {
			s.fault("%q is in %s twice", body, r)
		}
		said[body] = ok
	}
}

// drain syncs at each site until there is nothing new.
func (c *simClient) drain(rng *rand.Rand) {
	for _, site := range c.s.sites {
		quiet := false
		for tries := 0; !quiet && tries < 50; tries++ {
			res, ok := c.sync(rng, site, 0)
			if !ok {
				time.Sleep(100 * time.Millisecond)
				continue
			}
			c.take(rng, res)
			quiet = len(res.Rooms.Join)+len(res.Rooms.Leave)+len(res.ToDevice.Events) == 0
		}
		if !quiet {
			c.s.fault("%s/%s finds no end at %s", c.name, c.device, site.name)
		}
	}
}

// soon is how long somebody waits at most for what has happened.
const soon = 5 * time.Second

// ring has all clients wait at a site and sends a message: each must be woken.
func (s *sim) ring(rng *rand.Rand, site *simSite, clients []*simClient) {
	in := s.home[rng.IntN(len(s.home))]
	heard := make([]time.Time, len(clients))
	var waiters sync.WaitGroup
	for i, c := range clients {
		waiters.Go(func() {
			rng := rand.New(rand.NewPCG(s.seed, uint64(i)+3000))
			mine := c.room(in)
			before := len(mine.events)
			for begun := time.Now(); len(mine.events) == before && time.Since(begun) < 2*time.Minute; {
				if res, ok := c.sync(rng, site, 20*time.Second); ok {
					c.take(rng, res)
					heard[i] = time.Now()
				} else {
					time.Sleep(100 * time.Millisecond)
				}
			}
		})
	}
	time.Sleep(time.Second) // they wait
	s.say(rng, in, names[rng.IntN(len(names))], "bell "+site.name)
	rung := time.Now()
	waiters.Wait()
	for i, c := range clients {
		if late := heard[i].Sub(rung); late > soon {
			s.fault("%s/%s waits at %s, and hears after %v", c.name, c.device, site.name, late)
		}
	}
}

// compare compares a client's copy of a room with the room's history.
func (c *simClient) compare(r id.RoomID, mine *simRoom, history []id.EventID) {
	if !mine.joined && len(mine.events) < len(history) {
		history = history[:len(mine.events)]
	}
	if slices.Equal(mine.events, history) {
		return
	}
	for i := range max(len(history), len(mine.events)) {
		if i < min(len(history), len(mine.events)) && history[i] == mine.events[i] {
			continue
		}
		c.s.fault("%s/%s has %d events of %d in %s (joined: %v); event %d is another one, or lacking\nhas %v\nnot %v", c.name, c.device,
			len(mine.events), len(history), r, mine.joined, i, mine.events, history)
		return
	}
}

// ordered checks that the messages of each sender came in the order of sending.
func (c *simClient) ordered() {
	last := map[string]int{}
	for _, n := range c.inbox {
		var i int
		name, _, _ := strings.Cut(n, "-")
		if _, err := fmt.Sscanf(n, name+"-%d", &i); err != nil || i < last[name] {
			c.s.fault("%s/%s got message %s after %d (%v)", c.name, c.device, n, last[name], err)
		}
		last[name] = i
	}
}

// passing is what two answers to the same question may differ in.
var passing = regexp.MustCompile(`"age":\d+,?|"next_batch":"[^"]*"`)

// anew begins anew at every site: all say the same, and it is what the client has put together.
func (c *simClient) anew(rng *rand.Rand) {
	var first string
	for _, site := range c.s.sites {
		var out []byte
		for tries := 0; out == nil && tries < 100; tries++ {
			_ = c.s.ask(site, 20*time.Second, func(ctx context.Context, run *simRun) (err error) { // no answer is noticed below
				out, err = run.feed.Sync(ctx, Request{User: user(c.name), Device: c.device, Filter: c.filter})
				return err
			})
		}
		said := passing.ReplaceAllString(string(out), "")
		if first == "" {
			first = said
			c.agrees(rng, out)
		}
		if said != first {
			c.s.fault("%s/%s hears at %s\n%s\nand at %s\n%s", c.name, c.device, c.s.sites[0].name, first, site.name, said)
		}
	}
}

// agrees compares what somebody hears who begins anew with what the client has.
func (c *simClient) agrees(rng *rand.Rand, out []byte) {
	var res response
	if err := json.Unmarshal(out, &res); err != nil {
		c.s.fault("%s begins anew: %v: %s", c.name, err, out)
		return
	}
	fresh := newSimClient(c.s, c.name, c.device)
	fresh.take(rng, &res)
	if !maps.Equal(c.data, fresh.data) {
		c.s.fault("%s/%s has account data %v, and it is %v", c.name, c.device, c.data, fresh.data)
	}
	for r, mine := range c.rooms {
		theirs := fresh.rooms[r]
		switch {
		case mine.joined != (theirs != nil):
			c.s.fault("%s/%s takes itself to be in %s: %v", c.name, c.device, r, mine.joined)
		case !mine.joined:
		case !slices.Equal(mine.events, theirs.events):
			c.s.fault("%s/%s has %d events of %s, and somebody who begins anew finds %d", c.name, c.device, len(mine.events), r, len(theirs.events))
		case !maps.Equal(mine.state, theirs.state):
			c.s.fault("%s/%s takes the state of %s for %v, and it is %v", c.name, c.device, r, mine.state, theirs.state)
		case !maps.Equal(mine.receipts, theirs.receipts):
			c.s.fault("%s/%s has receipts %v in %s, and there are %v", c.name, c.device, mine.receipts, r, theirs.receipts)
		}
		delete(fresh.rooms, r)
	}
	for r := range fresh.rooms {
		c.s.fault("%s/%s does not know of %s", c.name, c.device, r)
	}
}
