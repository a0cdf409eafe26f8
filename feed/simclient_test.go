package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"bongsu/account"
	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/room"
)

// client is a device that follows what happens, and what it has put together.
type simClient struct {
	s      *sim
	name   string
	device id.DeviceID
	filter string // the id of one that was stored
	token  string
	last   *simSite // that answered
	rooms  map[id.RoomID]*simRoom
	inbox  []string
	got    map[string]bool // what is in inbox
	data   map[string]string
	keys   map[id.UserID]string // of those whose devices have changed
}

// simRoom is a client's copy of a room.
type simRoom struct {
	copyOf
	events   []id.EventID // all that there ever was
	has      map[id.EventID]bool
	receipts map[string]id.EventID // by type, user and thread
}

func newSimClient(s *sim, name string, device id.DeviceID) *simClient {
	return &simClient{s: s, name: name, device: device, rooms: map[id.RoomID]*simRoom{}, got: map[string]bool{}, data: map[string]string{},
		keys: map[id.UserID]string{}}
}

// settle makes accounts, rooms in which everybody stays, and clients.
func (s *sim) settle() []*simClient {
	rng := rand.New(rand.NewPCG(s.seed, 1000))
	for _, name := range names {
		s.insist(rng, "register "+name, func(ctx context.Context, run *simRun) error {
			_, err := run.accounts.Register(ctx, account.Registration{Localpart: name, Password: "correct horse", InhibitLogin: true})
			return err
		}, errs.Conflict) // a repetition: the first try came through
	}
	for _, name := range names {
		home := s.create(rng, name)
		s.home = append(s.home, home)
		for _, name := range names {
			s.insist(rng, name+" joins", func(ctx context.Context, run *simRun) error { return run.rooms.Join(ctx, by(name), home, "") })
		}
	}
	s.lobby = append(s.lobby, s.create(rng, names[0]))
	var out []*simClient
	for i, name := range append([]string{"amy"}, names...) { // amy has two
		c := newSimClient(s, name, "A")
		if i == 0 {
			c.device = "B"
		}
		s.insist(rng, "a filter", func(ctx context.Context, run *simRun) (err error) {
			c.filter, err = run.accounts.DefineFilter(ctx, user(name), fmt.Appendf(nil, `{"room":{"timeline":{"limit":%d}}}`, 1+i))
			return err
		})
		out = append(out, c)
	}
	return out
}

// follow syncs at one site after the other, until stop.
func (c *simClient) follow(rng *rand.Rand, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		at := c.s.any(rng)
		if c.last != nil && rng.IntN(3) > 0 {
			at = c.last // moving is not all that can go wrong
		}
		timeout := []time.Duration{0, 100 * time.Millisecond, 3 * time.Second}[rng.IntN(3)]
		res, ok := c.sync(rng, at, timeout)
		if !ok {
			time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
			c.last = nil
			continue
		}
		if rng.IntN(8) == 0 {
			continue // the answer was lost on the way
		}
		c.take(rng, res)
	}
}

// sync asks once, and again when the answer cannot be given now; ok: there is one.
func (c *simClient) sync(rng *rand.Rand, at *simSite, timeout time.Duration) (res *response, ok bool) {
	filter := c.filter
	if rng.IntN(2) == 0 {
		filter = fmt.Sprintf(`{"room":{"timeline":{"limit":%d}}}`, 1+rng.IntN(4))
	}
	err := c.s.ask(at, 30*time.Second, func(ctx context.Context, run *simRun) error {
		out, err := run.feed.Sync(ctx, Request{User: user(c.name), Device: c.device, Since: c.token, Timeout: timeout, Filter: filter})
		if err != nil {
			return err
		}
		if err := event.Check(out); err != nil {
			return err
		}
		res = &response{}
		return json.Unmarshal(out, res)
	})
	switch {
	case err == nil:
		c.s.plant.answer(rng, res)
		c.s.count(func(n *simCounts) {
			n.syncs++
			if c.last != at && c.token != "" {
				n.moves++
			}
		})
		c.last = at
		return res, true
	case !errs.Is(err, errs.Unavailable):
		c.s.fault("%s/%s at %s: %v", c.name, c.device, at.name, err)
	}
	return nil, false
}

// take takes in an answer.
func (c *simClient) take(rng *rand.Rand, res *response) {
	for r, j := range res.Rooms.Join {
		mine := c.room(r)
		c.timeline(rng, r, mine, j)
		mine.apply(j.State.Events)
		mine.apply(j.Timeline.Events)
		mine.read(j.Ephemeral.Events)
		mine.joined = true
	}
	for r, j := range res.Rooms.Leave {
		mine := c.room(r)
		c.timeline(rng, r, mine, j)
		mine.joined = false
	}
	for _, e := range res.ToDevice.Events {
		n, _ := e.Content["n"].(string)
		if c.got[n] {
			c.s.fault("%s/%s got message %s twice", c.name, c.device, n)
		}
		c.got[n] = true
		c.inbox = append(c.inbox, n)
	}
	for _, e := range res.AccountData.Events {
		c.data[e.Type] = fmt.Sprint(e.Content)
	}
	if c.token == "" {
		for _, name := range names { // whom it will be told of from now on
			c.query(rng, user(name))
		}
	}
	for _, u := range res.DeviceLists.Changed {
		c.query(rng, id.UserID(u))
	}
	c.s.count(func(n *simCounts) { n.messages += len(res.ToDevice.Events) })
	c.token = res.NextBatch
}

// query asks for the keys of somebody whose devices have changed, at whichever site answers.
func (c *simClient) query(rng *rand.Rand, of id.UserID) {
	c.s.insist(rng, c.name+" queries keys", func(ctx context.Context, run *simRun) error {
		q, err := run.keys.Query(ctx, user(c.name), map[id.UserID][]id.DeviceID{of: nil})
		if err == nil {
			c.keys[of] = string(q.DeviceKeys[of]["A"])
		}
		return err
	})
}

func (c *simClient) room(r id.RoomID) *simRoom {
	if c.rooms[r] == nil {
		c.rooms[r] = &simRoom{copyOf: copyOf{state: map[string]id.EventID{}}, has: map[id.EventID]bool{}, receipts: map[string]id.EventID{}}
	}
	return c.rooms[r]
}

// read takes in receipts.
func (r *simRoom) read(events []eventJSON) {
	for _, e := range events {
		for at, types := range e.Content {
			types, _ := types.(map[string]any)
			for typ, users := range types {
				users, _ := users.(map[string]any)
				for u := range users {
					r.receipts[typ+" "+u] = id.EventID(at)
				}
			}
		}
	}
}

// timeline puts what is new behind what is there, after what was left out between the two.
func (c *simClient) timeline(rng *rand.Rand, r id.RoomID, mine *simRoom, j *roomJSON) {
	var events []id.EventID
	if j.Timeline.Limited {
		events = c.back(rng, r, mine, j.Timeline.PrevBatch)
	}
	paged := len(events)
	for _, e := range j.Timeline.Events {
		events = append(events, e.ID)
	}
	for _, e := range events {
		if mine.has[e] {
			c.s.fault("%s/%s got %s twice in %s", c.name, c.device, e, r)
		}
		mine.has[e] = true
		mine.events = append(mine.events, e)
	}
	c.s.count(func(n *simCounts) {
		n.events += len(events) - paged
		n.paged += paged
	})
}

// back pages back from a token to what is there already, or to the beginning.
func (c *simClient) back(rng *rand.Rand, r id.RoomID, mine *simRoom, token string) (events []id.EventID) {
	from, err := room.ParsePageToken(token)
	if err != nil {
		c.s.fault("prev_batch: %v", err)
		return nil
	}
	for more := true; more; {
		var page room.Page
		if !c.s.insist(rng, c.name+" pages back", func(ctx context.Context, run *simRun) (err error) {
			page, err = c.page(ctx, run, r, from, 1+rng.IntN(6))
			return err
		}) {
			return events
		}
		more, from = page.More, page.End
		for _, e := range page.Events {
			if mine.has[e.ID] {
				more = false
				break
			}
			events = append(events, e.ID)
		}
	}
	slices.Reverse(events)
	return events
}

// page is what /messages does: what may not be seen is looked at again when the site has caught up.
func (c *simClient) page(ctx context.Context, run *simRun, r id.RoomID, from room.Place, limit int) (page room.Page, err error) {
	defer kv.Recover(&err)
	if err := run.rooms.Reach(ctx, r, from); err != nil {
		return page, err
	}
	for caughtUp := false; ; caughtUp = true {
		view := run.rooms.View()
		v, known := room.Open(view, r)
		var sight room.Sight
		if known {
			sight = v.Sight(user(c.name))
			page = v.Page(room.PageQuery{From: from, Back: true, Limit: limit, Sight: sight})
		}
		view.Close()
		switch {
		case known && !sight.Nothing() && (!page.Hidden || c.s.plant.stale):
			return page, nil
		case caughtUp && (!known || sight.Nothing()):
			return page, errs.New("sim.page", errs.Forbidden, "", "%s is not in %s", c.name, r)
		case caughtUp:
			return page, nil
		}
		if err := run.r.CatchUp(ctx); err != nil {
			return page, err
		}
	}
}
