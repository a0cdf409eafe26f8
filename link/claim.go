package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// rivalAfter is how long a site's process must have been silent before another one is believed to be that site.
const rivalAfter = 3 * time.Second

// Why a process of a site is refused: another one is heard, or a newer one has been there.
const (
	whyHeard = "heard"
	whyNewer = "newer"
)

// rivalError refuses a process of a site because of another one.
type rivalError struct{ why, words string }

func (e *rivalError) Error() string { return e.words }

// claim decides whether a request that says it is from a process (run) of p's site is believed. The certificate has proved the site;
// what it cannot prove is that there is one process of it. A disk that was copied, or a machine that was thought dead and
// replaced, makes two, and if both took part in the journal each would keep promises that the other does not know.
//
// So: the run that is heard is the site, until it says goodbye or is silent for rivalAfter. A run that takes part wins over one
// that only applies (boot 0). A run that takes part must also pass what Vet registered.
func (l *Link) claim(p *peer, run string, boot uint64, from string) *rivalError {
	now := l.clock.Now()
	l.mu.Lock()
	vet := l.vet
	l.mu.Unlock()
	if boot != 0 && vet != nil {
		if err := vet(p.Site, boot); err != nil {
			return &rivalError{whyNewer, err.Error()}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	silent := now.Sub(p.claimed)
	if run != p.run && p.run != "" && silent < rivalAfter && (boot == 0 || p.boot != 0) {
		if p.rival != run {
			p.rival = run
			l.log.Error("two processes run as one site: stop one of them; the first is believed until it is silent",
				"peer", p.Site, "first", p.from, "second", from)
		}
		return &rivalError{whyHeard, fmt.Sprintf("another process runs as site %s, from %s, heard %s ago: stop one of the two "+
			"(after a restart this passes by itself within %s)", p.Site, p.from, silent.Round(time.Millisecond), rivalAfter)}
	}
	if run == p.run {
		boot = max(boot, p.boot) // a request may have been on its way while the run joined
	}
	p.run, p.boot, p.from, p.claimed = run, boot, from, now
	return nil
}

// Vet registers what else decides whether a run that takes part is believed: fn returns nil, or why not. It must not block.
func (l *Link) Vet(fn func(site string, boot uint64) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.vet = fn
}

// Join says that this run takes part in the cluster from now on, as number boot.
func (l *Link) Join(boot uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.boot, l.joined = boot, l.clock.Now()
}

// Rival is nil, or says why a peer does not believe that this run, which has joined, is its site: another process is. Who sees it must
// stop taking part. Once seen it stays.
func (l *Link) Rival() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rival
}

// judgeRefusal notes whether p refused this process in a heartbeat. A newer run is final. One that is heard may be the former run
// of this very site, whose last words some peer has heard later than others: it is final when it stays.
func (l *Link) judgeRefusal(p *peer, err error, now time.Time) {
	var rival *rivalError
	p.mu.Lock()
	if !errors.As(err, &rival) {
		p.refused = time.Time{}
		p.mu.Unlock()
		return
	}
	if p.refused.IsZero() {
		p.refused = now
	}
	since := p.refused
	p.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if since.Before(l.joined) {
		since = l.joined
	}
	if l.boot != 0 && l.rival == nil && (rival.why == whyNewer || now.Sub(since) > 2*rivalAfter) {
		l.rival = rival
		l.log.Error("this process must stop: another one is this site", "err", rival)
	}
}

// met reports whether this site and a peer have believed each other's process lately.
func (p *peer) met(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused.IsZero() && now.Sub(p.last) <= rivalAfter && p.run != "" && now.Sub(p.claimed) <= rivalAfter
}

// Meet returns when this site and all others have believed each other's process, so that TLS lets them connect, or when ctx ends: some
// may be down.
func (l *Link) Meet(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		all := true
		for _, p := range l.peers {
			all = all && p.met(l.clock.Now())
		}
		if all {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// TLS is Credentials.TLS for the journal engine's routes. It refuses a connection, besides, unless both sites have believed each
// other's process within the last rivalAfter: a process that was cut off while another took its place gets no route when the
// network heals, before it has been told.
func (l *Link) TLS() *tls.Config {
	return l.cfg.Credentials.tls(func(state tls.ConnectionState) error {
		site, err := l.cfg.Credentials.peer(state)
		if err != nil {
			return err
		}
		p, now := l.peer(site), l.clock.Now()
		if p == nil {
			return refuse("site %q is not linked with this one", site)
		}
		if !p.met(now) {
			return refuse("sites %s and %s have not heard each other on their link within %s: the route must wait for that", l.cfg.Site, site, rivalAfter)
		}
		return nil
	})
}
