package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// joins measures many joins to one public room, cfg.Senders at a time.
func (b *bench) joins(ctx context.Context) error {
	users, err := b.users(ctx, b.cfg.Users)
	if err != nil {
		return err
	}
	owner := b.client(0, users[0].Token)
	defer owner.close()
	in := map[string]any{"preset": "public_chat", "name": "bench joins"}
	if b.cfg.RoomVersion != "" {
		in["room_version"] = b.cfg.RoomVersion
	}
	roomID, err := owner.createRoom(ctx, in)
	if err != nil {
		return err
	}
	b.endSetup()
	var mu sync.Mutex
	var latency hist
	var done atomic.Int64
	from := b.mark(ctx)
	err = b.each(ctx, b.cfg.Members, max(b.cfg.Senders, 1), func(ctx context.Context, c *client, i int) error {
		start := b.now()
		err := c.as(users[i+1]).join(ctx, roomID)
		mu.Lock()
		defer mu.Unlock()
		latency.record(b.now() - start)
		b.status.say("%d of %d joins", done.Add(1), b.cfg.Members)
		return err
	})
	if err != nil {
		return err
	}
	to := b.mark(ctx)
	b.measured(from, to)
	var members struct {
		Joined map[string]json.RawMessage `json:"joined"`
	}
	if err := owner.do(ctx, http.MethodGet, v3+"/rooms/"+esc(roomID)+"/joined_members", nil, &members, setupPatience); err != nil {
		return err
	}
	r := &JoinsReport{Joins: b.cfg.Members, Seconds: (to.at - from.at).Seconds(), Latency: latency.latency()}
	for _, u := range users {
		if _, ok := members.Joined[u.ID]; !ok {
			r.Missing++
		}
	}
	b.report.Joins = r
	return nil
}

// Rounds of the initial-sync scenario; the duration may end them sooner.
const (
	initialRounds     = 30
	incrementalRounds = 500
)

// initialSync measures the first sync of a user in many rooms, and the ones after it.
func (b *bench) initialSync(ctx context.Context) error {
	users, err := b.users(ctx, b.cfg.Users)
	if err != nil {
		return err
	}
	rooms, err := b.furnishedRooms(ctx, users)
	if err != nil {
		return err
	}
	b.endSetup()
	r := &SyncReport{Rooms: len(rooms)}
	b.report.InitialSync = r
	var initial, incremental, empty hist
	p := newPoller(b.client(0, users[0].Token), b.cfg)
	defer p.c.close()
	timed := func(h *hist) error {
		start := b.now()
		err := p.poll(ctx, 0)
		h.record(b.now() - start)
		return err
	}
	begin := b.mark(ctx)
	for n := 0; n < initialRounds && (n == 0 || b.now() < begin.at+b.cfg.Duration/2); n++ {
		b.status.say("initial sync %d", n)
		p.since = p.since[:0]
		if err := timed(&initial); err != nil {
			return err
		}
		r.Bytes = len(p.buf)
		r.MissingRooms += missing(rooms, &p.view)
	}
	p.advance()
	other := b.client(1, "")
	defer other.close()
	for n := 0; n < incrementalRounds && (n == 0 || b.now() < begin.at+b.cfg.Duration); n++ {
		b.status.say("incremental sync %d", n)
		rm := rooms[n%len(rooms)]
		eventID, err := other.as(users[rm.users[0]]).say(ctx, rm.id, fmt.Sprintf("%s.i.%d", b.run, n), b.cfg.Size)
		if err != nil {
			return err
		}
		if err := timed(&incremental); err != nil {
			return err
		}
		late, err := b.catchUp(ctx, &p, eventID)
		if err != nil {
			return err
		}
		r.Late += late
		if err := timed(&empty); err != nil {
			return err
		}
		p.advance()
	}
	b.measured(begin, b.mark(ctx))
	r.Initial, r.Incremental, r.Empty = initial.latency(), incremental.latency(), empty.latency()
	return nil
}

// furnishedRooms makes rooms that user 0 has joined and whose first member has said something.
func (b *bench) furnishedRooms(ctx context.Context, users []user) ([]*room, error) {
	memberships := make([][]int, b.cfg.Rooms)
	if b.cfg.Members > 1 {
		memberships = deal(b.cfg.Rooms, b.cfg.Members-1, b.cfg.Users-1, b.cfg.Seed)
	}
	for i, m := range memberships {
		for j := range m {
			m[j]++
		}
		memberships[i] = append(m, 0)
	}
	rooms, err := b.makeRooms(ctx, b.cfg, users, memberships, func(done int) { b.status.say("%d joins", done) })
	if err != nil {
		return nil, err
	}
	var done atomic.Int64
	err = b.each(ctx, len(rooms), b.cfg.SetupWorkers, func(ctx context.Context, c *client, i int) error {
		c.as(users[rooms[i].users[0]])
		for n := range b.cfg.Messages {
			if _, err := c.say(ctx, rooms[i].id, fmt.Sprintf("%s.f.%d", b.run, n), b.cfg.Size); err != nil {
				return err
			}
			b.status.say("%d messages", done.Add(1))
		}
		return nil
	})
	return rooms, err
}

// say sends one message and returns its event id.
func (c *client) say(ctx context.Context, roomID, txn string, size int) (string, error) {
	var out struct {
		EventID string `json:"event_id"`
	}
	in := map[string]string{"msgtype": "m.text", "body": string(filler(uint64(len(txn)), size))}
	path := fmt.Sprintf("%s/rooms/%s/send/m.room.message/%s", v3, esc(roomID), esc(txn))
	err := c.do(ctx, http.MethodPut, path, in, &out, setupPatience)
	return out.EventID, err
}

// catchUp checks that the answer just polled holds the event, and otherwise polls until one does. late is 1 if it had to.
func (b *bench) catchUp(ctx context.Context, p *poller, eventID string) (late int, err error) {
	for deadline := time.Now().Add(b.cfg.Drain); ; late = 1 {
		for _, e := range p.view.events {
			if string(e.id) == eventID {
				p.advance()
				return late, nil
			}
		}
		p.advance()
		if time.Now().After(deadline) {
			return late, fmt.Errorf("the acknowledged event %s did not come within %v", eventID, b.cfg.Drain)
		}
		if err := p.poll(ctx, time.Second); err != nil {
			return late, err
		}
	}
}

// missing counts the rooms that a sync lacks.
func missing(rooms []*room, v *syncView) int {
	have := map[string]bool{}
	for _, r := range v.rooms {
		have[string(r.id)] = true
	}
	n := 0
	for _, r := range rooms {
		if !have[r.id] {
			n++
		}
	}
	return n
}
