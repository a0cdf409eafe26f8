package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"
)

// poller is a position in a user's sync stream.
type poller struct {
	c        *client
	filter   string // the query's filter, escaped
	timeout  time.Duration
	patience time.Duration
	since    []byte
	path     []byte
	buf      []byte
	view     syncView
}

func newPoller(c *client, cfg Config) poller {
	filter := fmt.Sprintf(`{"room":{"timeline":{"limit":%d}}}`, cfg.TimelineLimit)
	return poller{c: c, filter: url.QueryEscape(filter), timeout: cfg.SyncTimeout, patience: cfg.GiveUp}
}

// poll makes one /sync that waits for news at most for wait; view then holds the answer, until the next poll. The position does not
// move before advance.
func (p *poller) poll(ctx context.Context, wait time.Duration) error {
	o := append(p.path[:0], v3+"/sync?filter="...)
	o = append(o, p.filter...)
	o = append(o, "&timeout="...)
	o = strconv.AppendInt(o, wait.Milliseconds(), 10)
	if len(p.since) > 0 {
		o = append(o, "&since="...)
		o = append(o, p.since...)
	}
	p.path = o
	req := request{method: http.MethodGet, path: o, timeout: wait + p.c.timeout}
	resp, err := p.c.call(ctx, &req, p.buf, p.patience)
	if err != nil {
		return err
	}
	p.buf = resp.body
	p.c.tally.syncs.Add(1)
	return scanSync(resp.body, &p.view)
}

// advance makes the answer's position the next one.
func (p *poller) advance() {
	p.since = append(p.since[:0], url.QueryEscape(string(p.view.nextBatch))...)
}

// syncer runs a user's sync loop and checks what it brings.
type syncer struct {
	*load
	poller
	receipts *receipter // nil: it sends none
	credit   float64    // receipts owed
	page     []byte
	batch    []roomBatch
	all      []delivered

	mu      sync.Mutex // guards what follows against the drain
	streams map[string]*stream
	latency hist
	err     error // of the last poll, nil when it went well
}

// roomBatch is what one response, with its backfill, brings of one room: all[first:last] of the syncer.
type roomBatch struct {
	stream      *stream
	first, last int
	lastID      []byte
	anchored    bool
}

func (l *load) newSyncer(number int, u user, rooms []*room) *syncer {
	s := &syncer{load: l, poller: newPoller(l.client(number, u.Token), l.cfg), streams: map[string]*stream{}}
	for _, r := range rooms {
		s.streams[r.id] = newStream(r, u.ID)
	}
	if l.cfg.Receipts > 0 {
		s.receipts = &receipter{c: l.client(number, u.Token), queue: make(chan receipt, 16)}
	}
	return s
}

// start makes the initial sync, from which the loop goes on.
func (s *syncer) start(ctx context.Context) error {
	if err := s.poll(ctx, 0); err != nil {
		return err
	}
	found := 0
	for _, r := range s.view.rooms {
		st := s.streams[string(r.id)]
		if st == nil {
			continue
		}
		found++
		if r.last > r.first {
			st.last = string(s.view.events[r.last-1].id)
		}
	}
	if found != len(s.streams) {
		return fmt.Errorf("the initial sync has %d of the user's %d rooms", found, len(s.streams))
	}
	s.advance()
	s.buf = slices.Clip(s.buf[:0])
	return nil
}

// loop syncs until ctx ends.
func (s *syncer) loop(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.step(ctx, s.timeout)
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
		if err != nil && !sleep(ctx, firstPause) {
			return
		}
	}
}

// step polls once and takes in the answer. On an error nothing is taken and the position stays.
func (s *syncer) step(ctx context.Context, wait time.Duration) error {
	if err := s.poll(ctx, wait); err != nil {
		return err
	}
	arrived := s.now()
	s.batch, s.all = s.batch[:0], s.all[:0]
	for _, r := range s.view.rooms {
		st := s.streams[string(r.id)]
		if st == nil || r.first == r.last && !r.limited {
			continue
		}
		b := roomBatch{stream: st, first: len(s.all)}
		if r.limited {
			var err error
			if b.anchored, err = s.backfill(ctx, st, r); err != nil {
				return fmt.Errorf("completing a limited timeline: %w", err)
			}
			s.c.tally.backfills.Add(1)
		}
		for _, e := range s.view.events[r.first:r.last] {
			s.all = append(s.all, s.ledger.read(e))
		}
		if r.last > r.first {
			b.lastID = s.view.events[r.last-1].id
		}
		b.anchored = b.anchored || !r.limited
		b.last = len(s.all)
		s.batch = append(s.batch, b)
	}
	s.take(arrived)
	s.acknowledge()
	s.advance()
	return nil
}

// take puts the collected events into their streams.
func (s *syncer) take(arrived time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, b := range s.batch {
		for _, d := range s.all[b.first:b.last] {
			if !d.known {
				continue
			}
			n++
			if !b.anchored && b.stream.seen(d.message) {
				continue // read again from the room's beginning
			}
			if b.stream.add(d) && d.sent >= s.from.Load() {
				s.latency.record(arrived - time.Duration(d.sent))
			}
		}
		if len(b.lastID) > 0 {
			b.stream.last = string(b.lastID)
		}
	}
	s.c.tally.deliveries.Add(int64(n))
}

// maxPages bounds a backfill.
const maxPages = 10_000

// backfill reads back from a limited timeline to the last event known, so that what the server left out is not taken for
// lost. anchored is false if the history ended without meeting that event.
func (s *syncer) backfill(ctx context.Context, st *stream, r roomView) (anchored bool, err error) {
	if len(r.prevBatch) == 0 {
		return false, nil
	}
	first := len(s.all)
	from := string(r.prevBatch)
	var v pageView
	for range maxPages {
		path := fmt.Sprintf("%s/rooms/%s/messages?dir=b&limit=100&from=%s", v3, esc(st.room.id), url.QueryEscape(from))
		resp, err := s.c.call(ctx, &request{method: http.MethodGet, path: []byte(path), timeout: s.c.timeout}, s.page, s.cfg.GiveUp)
		if err != nil {
			return false, err
		}
		s.page = resp.body
		if err := scanMessages(resp.body, &v); err != nil {
			return false, err
		}
		for _, e := range v.events {
			if anchored = string(e.id) == st.last; anchored {
				break
			}
			s.all = append(s.all, s.ledger.read(e))
		}
		if anchored || len(v.end) == 0 || string(v.end) == from {
			break
		}
		from = string(v.end)
	}
	slices.Reverse(s.all[first:])
	return anchored, nil
}

// acknowledge queues read receipts for the share of deliveries that the configuration asks for.
func (s *syncer) acknowledge() {
	if s.receipts == nil {
		return
	}
	for _, r := range s.view.rooms {
		if s.streams[string(r.id)] == nil {
			continue
		}
		for _, e := range s.view.events[r.first:r.last] {
			if _, ok := parseText(e.body, s.ledger.run); ok {
				s.credit += s.cfg.Receipts
			}
			if s.credit < 1 {
				continue
			}
			s.credit--
			select {
			case s.receipts.queue <- receipt{string(r.id), string(e.id)}:
			default:
				s.c.tally.receiptsSkipped.Add(1)
			}
		}
	}
}

// finish polls without waiting until nothing more comes, so that a late duplicate is noticed.
func (s *syncer) finish(ctx context.Context) error {
	for range 100 {
		if err := s.step(ctx, 0); err != nil {
			return err
		}
		if len(s.batch) == 0 {
			return nil
		}
	}
	return nil
}

// complete reports whether everything acknowledged has come. Valid when the senders have ended.
func (s *syncer) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		if st.lost() > 0 {
			return false
		}
	}
	return true
}
