package bench

import (
	"context"
	"fmt"
	"hash/maphash"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"bongsu/errs"
)

// load is a run of the scenarios send, sync, steady and idle: senders, syncers and idle clients together.
type load struct {
	*bench
	ledger  ledger
	byUser  [][]*room
	senders []*sender
	syncers []*syncer
	idle    *idlers
	taken   atomic.Int64  // messages begun, where their number is limited
	begin   time.Duration // of the load
	from    atomic.Int64  // ns: beginning of the measurement; syncers are at work when it is set
	end     time.Duration // of the measurement
}

// load makes the run and fills the report.
func (b *bench) load(ctx context.Context) error {
	l := &load{bench: b, ledger: ledger{run: b.run, seed: maphash.MakeSeed()}}
	users, err := b.users(ctx, max(b.cfg.Users, min(b.cfg.IdleUsers, b.cfg.Idle)))
	if err != nil {
		return err
	}
	if err := l.prepare(ctx, users); err != nil {
		return err
	}
	syncing, stop := context.WithCancel(ctx)
	defer stop()
	var loops sync.WaitGroup
	defer loops.Wait()
	defer stop()
	if err := l.startSyncers(ctx, syncing, &loops); err != nil {
		return err
	}
	if b.cfg.Idle > 0 {
		if l.idle, err = l.startIdle(ctx, syncing, &loops, users); err != nil {
			return err
		}
	}
	b.endSetup()
	loops.Go(func() { b.meter.watch(syncing) })
	if err := l.measure(ctx); err != nil {
		return err
	}
	ended := b.now()
	drained := l.drain(ctx)
	stop()
	loops.Wait()
	return l.check(ctx, drained, ended)
}

// prepare makes the rooms and decides who sends where.
func (l *load) prepare(ctx context.Context, users []user) error {
	memberships := deal(l.cfg.Rooms, l.cfg.Members, l.cfg.Users, l.cfg.Seed)
	joins := l.cfg.Rooms * (l.cfg.Members - 1)
	var err error
	l.ledger.rooms, err = l.makeRooms(ctx, l.cfg, users, memberships, func(done int) { l.status.say("%d of %d joins", done, joins) })
	if err != nil {
		return err
	}
	l.byUser = make([][]*room, len(users))
	var inRooms []int // users with a room to send to
	for _, r := range l.ledger.rooms {
		for _, u := range r.users {
			l.byUser[u] = append(l.byUser[u], r)
		}
	}
	for u, rooms := range l.byUser {
		if len(rooms) > 0 {
			inRooms = append(inRooms, u)
		}
	}
	// The lanes of a room have neighbouring numbers, so that a stream can hold them in a slice.
	bySender := make([][]*lane, l.cfg.Senders)
	inRoom := map[*room][]int{}
	for s := range l.cfg.Senders {
		for _, r := range l.byUser[inRooms[s%len(inRooms)]] {
			inRoom[r] = append(inRoom[r], s)
		}
	}
	lanes := 0
	for _, r := range l.ledger.rooms {
		r.firstLane = lanes
		for _, s := range inRoom[r] {
			ln := &lane{room: r, number: lanes}
			r.lanes = append(r.lanes, ln)
			bySender[s] = append(bySender[s], ln)
			lanes++
		}
	}
	for s, lanes := range bySender {
		l.senders = append(l.senders, l.newSender(s, users[inRooms[s%len(inRooms)]], lanes))
	}
	for i := range l.cfg.Syncers {
		u := i * l.cfg.Users / l.cfg.Syncers
		l.syncers = append(l.syncers, l.newSyncer(i, users[u], l.byUser[u]))
	}
	return nil
}

// startSyncers brings every syncer up to date before the first message and starts the loops.
func (l *load) startSyncers(ctx, syncing context.Context, loops *sync.WaitGroup) error {
	err := l.each(ctx, len(l.syncers), l.cfg.SetupWorkers, func(ctx context.Context, _ *client, i int) error {
		defer l.syncers[i].c.close() // the loop has another context
		l.status.say("initial syncs")
		return l.syncers[i].start(ctx)
	})
	if err != nil {
		return fmt.Errorf("initial sync: %w", err)
	}
	for _, s := range l.syncers {
		loops.Go(func() { s.loop(syncing) })
		if s.receipts != nil {
			loops.Go(func() { s.receipts.loop(syncing) })
		}
	}
	return nil
}

// measure runs the senders (or, without any, just waits) and reports on the time between warm-up and end.
func (l *load) measure(ctx context.Context) error {
	from := l.mark(ctx) // before the first message, or again after the warm-up
	l.begin = l.now()
	start := l.begin + l.cfg.Warmup
	l.from.Store(int64(start))
	l.end = start + l.cfg.Duration
	sent := make(chan struct{})
	var sending sync.WaitGroup
	for _, s := range l.senders {
		sending.Go(func() { s.loop(ctx) })
	}
	if len(l.senders) > 0 {
		go func() {
			sending.Wait()
			close(sent)
		}()
		defer func() { <-sent }()
	}
	if l.cfg.Warmup > 0 {
		l.wait(ctx, sent, start, "warm-up")
		from = l.mark(ctx)
	}
	l.wait(ctx, sent, l.end, "load")
	to := l.mark(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.measured(from, to)
	if l.idle != nil {
		l.idle.report(ctx, from, to)
	}
	return nil
}

// wait lasts until the time t or until all senders have ended.
func (l *load) wait(ctx context.Context, sent <-chan struct{}, t time.Duration, phase string) {
	end := time.NewTimer(t - l.now())
	defer end.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := l.tally.snapshot()
	for {
		select {
		case <-end.C:
			return
		case <-sent:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
			now := l.tally.snapshot()
			l.status.say("%s: %d messages/s, %d deliveries/s, %.0f s left", phase, now.acked-last.acked, now.deliveries-last.deliveries, (t - l.now()).Seconds())
			last = now
		}
	}
}

// drain waits until every syncer has everything that was acknowledged, and reports whether that came to pass in time.
func (l *load) drain(ctx context.Context) bool {
	deadline := time.Now().Add(l.cfg.Drain)
	for _, s := range l.syncers {
		for !s.complete() {
			l.status.say("waiting for deliveries")
			if time.Now().After(deadline) || !sleep(ctx, 10*time.Millisecond) {
				return false
			}
		}
	}
	return true
}

// check judges what the syncers saw, after one last look, and what the rooms' histories say.
func (l *load) check(ctx context.Context, drained bool, ended time.Duration) error {
	r := l.report
	for _, s := range l.syncers {
		s.c.close() // its context has ended
	}
	finish := func(ctx context.Context, _ *client, i int) error {
		s := l.syncers[i]
		defer s.c.close()
		if err := s.finish(ctx); err != nil && s.err == nil {
			s.err = err
		}
		return ctx.Err()
	}
	if err := l.each(ctx, len(l.syncers), l.cfg.SetupWorkers, finish); err != nil {
		return err
	}
	histories, unread := l.readBack(ctx)
	if unread != nil {
		histories = nil // the members' streams are judged all the same
	}
	members := map[*room][]*stream{}
	var send, service, delivery hist
	for _, s := range l.syncers {
		for _, st := range s.streams {
			members[st.room] = append(members[st.room], st)
		}
		delivery.merge(&s.latency)
		if s.err != nil && len(r.Stalled) < 5 {
			r.Stalled = append(r.Stalled, fmt.Sprintf("a sync loop was failing at the end: %v", s.err))
		}
	}
	for _, s := range l.senders {
		send.merge(&s.latency)
		service.merge(&s.service)
		r.Unsent += int64(s.unsent)
		if s.err != nil && len(r.Notes) < 5 {
			r.Notes = append(r.Notes, fmt.Sprintf("a message was given up: %v", s.err))
		}
	}
	r.Send, r.Service, r.Delivery = send.latency(), service.latency(), delivery.latency()
	for i, rm := range l.ledger.rooms {
		var history []*stream
		if histories != nil {
			history = histories[i : i+1]
		}
		judge(members[rm], history, &r.Delivered, &r.History)
	}
	r.Drain = (l.now() - ended).Seconds()
	if !drained {
		r.Notes = append(r.Notes, fmt.Sprintf("not everything was delivered within %v", l.cfg.Drain))
	}
	return unread
}

// readBack reads the rooms' histories from their beginning; nil if that is not wanted or nothing was sent.
func (l *load) readBack(ctx context.Context) ([]*stream, error) {
	if l.cfg.NoReadBack || len(l.senders) == 0 {
		return nil, nil
	}
	histories := make([]*stream, len(l.ledger.rooms))
	err := l.each(ctx, len(histories), l.cfg.SetupWorkers, func(ctx context.Context, c *client, i int) error {
		l.status.say("reading back room %d of %d", i, len(histories))
		r := l.ledger.rooms[i]
		histories[i] = newStream(r, "history")
		histories[i].verify = true
		if len(r.lanes) == 0 {
			return nil
		}
		c.token = l.tokenIn(r)
		return l.readRoom(ctx, c, histories[i])
	})
	return histories, err
}

// tokenIn is the token of somebody who sends in the room and so is a member of it.
func (l *load) tokenIn(r *room) string {
	for _, s := range l.senders {
		for _, ln := range s.lanes {
			if ln.room == r {
				return s.c.token
			}
		}
	}
	return ""
}

func (l *load) readRoom(ctx context.Context, c *client, st *stream) error {
	var v pageView
	var buf []byte
	from := ""
	for pages := 0; ; pages++ {
		path := fmt.Sprintf("%s/rooms/%s/messages?dir=f&limit=500", v3, esc(st.room.id))
		if from != "" {
			path += "&from=" + url.QueryEscape(from)
		}
		resp, err := c.call(ctx, &request{method: http.MethodGet, path: []byte(path), timeout: c.timeout}, buf, l.cfg.GiveUp)
		if err != nil {
			return fmt.Errorf("reading back %s: %w", st.room.id, err)
		}
		buf = resp.body
		if err := scanMessages(resp.body, &v); err != nil {
			return fmt.Errorf("reading back %s: %w", st.room.id, err)
		}
		for _, e := range v.events {
			if d := l.ledger.read(e); d.known {
				st.add(d)
			}
		}
		if len(v.end) == 0 || len(v.events) == 0 {
			return nil
		}
		if string(v.end) == from || pages > 1_000_000 {
			return errs.New("bench.readRoom", errs.Internal, "", "the pages of %s do not end", st.room.id)
		}
		from = string(v.end)
	}
}
