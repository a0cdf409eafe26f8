package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	beatEvery   = 500 * time.Millisecond
	beatTimeout = 2 * time.Second
)

// peer is what is known of a peer.
type peer struct {
	Peer
	transport *http.Transport

	mu sync.Mutex
	// What it says when it calls: see claim.go.
	run     string
	boot    uint64
	from    string    // address
	claimed time.Time // when it called last
	rival   string    // run that was refused last
	refused time.Time // since when it refuses this process; zero if it does not
	// What it answers when it is called.
	last    time.Time
	version string
	err     error // why the last heartbeat failed
	tried   bool
	clock   offsets
}

func (l *Link) newPeer(p Peer) *peer { return &peer{Peer: p, transport: l.newTransport(p)} }

// errNotTried is the state of a peer before the first heartbeat.
var errNotTried = errors.New("not tried yet")

// failing is why the peer cannot be reached, nil while it can.
func (p *peer) failing() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.tried {
		return errNotTried
	}
	return p.err
}

// answer is the answer to a heartbeat.
type answer struct {
	Version  string        `json:"version"`
	Received int64         `json:"received"` // when the question came, Unix nanoseconds by the peer's clock
	Held     time.Duration `json:"held"`     // from then to the answer
}

// beat sends heartbeats to p until ctx ends.
func (l *Link) beat(ctx context.Context, p *peer) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		l.beatOnce(ctx, p)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// beatOnce sends one heartbeat and notes what came of it.
func (l *Link) beatOnce(ctx context.Context, p *peer) {
	sent := l.clock.Now()
	a, err := l.ask(ctx, p)
	now := l.clock.Now()
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	changed := !p.tried || (err == nil) != (p.err == nil)
	p.tried, p.err = true, err
	if err == nil {
		p.last, p.version = now, a.Version
		p.clock.add(sample{at: now, rtt: now.Sub(sent) - a.Held,
			// The middle of the exchange by both clocks. The end is reckoned from the start, so that a step of our clock in between
			// does no harm.
			offset: time.Unix(0, a.Received).Add(a.Held / 2).Sub(sent.Add(now.Sub(sent) / 2))})
	}
	p.mu.Unlock()
	switch {
	case changed && err == nil:
		l.log.Info("site is reached", "peer", p.Site, "addr", p.Addr)
	case changed:
		l.log.Warn("site is not reached", "peer", p.Site, "err", err)
	}
	l.judgeRefusal(p, err, now)
	l.judgeClocks()
}

// ask sends a heartbeat and reads the answer.
func (l *Link) ask(ctx context.Context, p *peer) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	resp, err := l.post(ctx, p.Site, "/link/heartbeat", nil)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("site %s at %s takes connections and does not answer: it is frozen or overloaded", p.Site, p.Addr)
		}
		return a, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	switch {
	case err != nil:
		return a, fmt.Errorf("site %s: %w", p.Site, err)
	case resp.StatusCode != http.StatusOK:
		return a, fmt.Errorf("site %s answers a heartbeat with %s", p.Site, resp.Status)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, fmt.Errorf("site %s answers a heartbeat with something else: %w", p.Site, err)
	}
	return a, nil
}

// heartbeat answers one.
func (l *Link) heartbeat(w http.ResponseWriter, _ *http.Request) {
	now := l.clock.Now()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer{Version: l.cfg.Version, Received: now.UnixNano(), Held: l.clock.Now().Sub(now)}) // it went away
}

// goodbye notes that the calling run has ended: the next one is believed at once.
func (l *Link) goodbye(_ http.ResponseWriter, r *http.Request) {
	p := l.peer(From(r.Context()))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run, p.boot = "", 0
}

// PeerStatus is what is known of a peer.
type PeerStatus struct {
	Site, Addr  string
	Boot        uint64        // of the run that called last; 0 if none did, or it takes no part yet
	Version     string        // what it runs, "" if unknown
	Last        time.Time     // when it answered last, by this site's clock; zero if never
	RTT         time.Duration // of the best among the last heartbeats
	ClockOffset time.Duration // its clock minus ours, uncertain by RTT/2
	Err         error         // why it cannot be reached, nil while it can
}

// Heard is the status of each peer, sorted by name.
func (l *Link) Heard() []PeerStatus {
	all := make([]PeerStatus, len(l.peers))
	for i, p := range l.peers {
		err := p.failing()
		p.mu.Lock()
		best, _ := p.clock.best()
		all[i] = PeerStatus{Site: p.Site, Addr: p.Addr, Boot: p.boot, Version: p.version, Last: p.last, RTT: best.rtt,
			ClockOffset: best.offset, Err: err}
		p.mu.Unlock()
	}
	return all
}
