package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// sender sends messages as one user, one at a time, taking its rooms in turn.
type sender struct {
	*load
	c       *client
	number  int
	lanes   []*lane
	paths   []string // by lane: up to the transaction id
	filler  []byte
	latency hist // from when the message was due to its acknowledgement
	service hist // from when it was sent
	unsent  int  // due, and never sent because the run was over
	err     error
	path    []byte
	body    []byte
	buf     []byte
}

func (l *load) newSender(number int, u user, lanes []*lane) *sender {
	s := &sender{load: l, c: l.client(number, u.Token), number: number, lanes: lanes}
	for _, ln := range lanes {
		s.paths = append(s.paths, fmt.Sprintf("%s/rooms/%s/send/m.room.message/%s.%d.", v3, esc(ln.room.id), l.run, number))
	}
	s.filler = filler(l.cfg.Seed+uint64(number), 2*l.cfg.Size)
	return s
}

// filler is text that does not compress, so that the server's disk is not flattered.
func filler(seed uint64, n int) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -"
	rng := rand.New(rand.NewPCG(seed, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rng.IntN(len(letters))]
	}
	return b
}

// loop sends until the load is over. In an open loop a message is due at its scheduled time however late its predecessors
// are, and its latency counts from then.
func (s *sender) loop(ctx context.Context) {
	defer s.c.close()
	rate := s.cfg.Rate
	var period, due time.Duration
	if rate > 0 {
		period = time.Duration(float64(s.cfg.Senders) / rate * float64(time.Second))
		due = s.begin + period*time.Duration(s.number)/time.Duration(s.cfg.Senders)
	}
	for n := 0; ; n++ {
		if rate == 0 {
			due = s.now()
		} else if !sleep(ctx, due-s.now()) {
			return
		}
		if due >= s.end || ctx.Err() != nil || !s.take(due) {
			return
		}
		if rate > 0 && s.now() > s.end+s.cfg.GiveUp {
			s.unsent += int((s.end - due + period - 1) / period)
			return
		}
		if err := s.send(ctx, n%len(s.lanes), due); err != nil {
			s.err = err
			if !sleep(ctx, firstPause) { // never spin on refusals
				return
			}
		}
		due += period
	}
}

// take asks for leave to send one more message. Those of the warm-up are not counted.
func (s *sender) take(due time.Duration) bool {
	return s.cfg.Messages == 0 || int64(due) < s.from.Load() || s.taken.Add(1) <= int64(s.cfg.Messages)
}

func (s *sender) send(ctx context.Context, n int, due time.Duration) error {
	ln := s.lanes[n]
	m := message{lane: ln.number, seq: len(ln.acked) + 1, sent: int64(due)}
	s.path = strconv.AppendInt(append(s.path[:0], s.paths[n]...), int64(m.seq), 10)
	s.body = append(s.body[:0], `{"msgtype":"m.text","body":"`...)
	start := len(s.body)
	s.body = appendText(s.body, s.ledger.run, m)
	if rest := s.cfg.Size - (len(s.body) - start); rest > 0 {
		at := m.seq % s.cfg.Size
		s.body = append(s.body, s.filler[at:at+rest]...)
	}
	s.body = append(s.body, `"}`...)

	began := s.now()
	resp, err := s.c.call(ctx, &request{method: http.MethodPut, path: s.path, body: s.body, timeout: s.c.timeout}, s.buf, s.cfg.GiveUp)
	ended := s.now()
	var id []byte
	if err == nil {
		s.buf = resp.body
		id, err = scanEventID(resp.body)
	}
	if err != nil {
		ln.acked = append(ln.acked, 0)
		s.c.tally.failed.Add(1)
		return err
	}
	ln.acked = append(ln.acked, s.ledger.hashID(id))
	s.c.tally.acked.Add(1)
	if int64(due) >= s.from.Load() {
		s.latency.record(ended - due)
		s.service.record(ended - began)
	}
	return nil
}

// scanEventID reads {"event_id": …}.
func scanEventID(b []byte) (id []byte, err error) {
	s := scanner{b: b}
	for key := range s.object {
		if string(key) == "event_id" {
			id = s.text()
		} else {
			s.skip()
		}
	}
	if s.err == nil && len(id) == 0 {
		s.err = fmt.Errorf("an answer to a send without event_id: %.100q", b)
	}
	return id, s.err
}

// receipter sends a syncer's read receipts beside its sync loop, as apps do.
type receipter struct {
	c     *client
	queue chan receipt
}

type receipt struct{ room, event string }

func (r *receipter) loop(ctx context.Context) {
	defer r.c.close()
	for {
		var rc receipt
		select {
		case rc = <-r.queue:
		case <-ctx.Done():
			return
		}
		path := fmt.Sprintf("%s/rooms/%s/receipt/m.read/%s", v3, esc(rc.room), esc(rc.event))
		if err := r.c.do(ctx, http.MethodPost, path, json.RawMessage("{}"), nil, r.c.timeout); err == nil {
			r.c.tally.receipts.Add(1)
		}
	}
}
