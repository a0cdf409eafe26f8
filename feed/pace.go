package feed

import (
	"sync"
	"time"
)

// pace decides how often one user is answered. Each answer costs about the same whether it brings one event or ten, so when very many
// answers are given, a user who has just been answered waits a little, and gets more at once. While few are given, nobody waits.
type pace struct {
	mu    sync.Mutex
	since time.Time // when the count began
	count int
	rate  int // answers per second in the last window
}

const (
	paceWindow = 100 * time.Millisecond
	freeRate   = 1000 // answers per second at which nobody waits
	maxGap     = 40 * time.Millisecond
)

// note counts an answer.
func (p *pace) note(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.roll(now)
	p.count++
}

// roll begins a new window when the last one is over; p.mu is held.
func (p *pace) roll(now time.Time) {
	took := now.Sub(p.since)
	if took < paceWindow {
		return
	}
	p.rate = 0
	if took < 10*paceWindow { // else there was a pause
		p.rate = int(float64(p.count) / took.Seconds())
	}
	p.since, p.count = now, 0
}

// gap is how long one user is not answered again: 10 ms for every thousand answers per second above the first. A longer gap makes
// fewer answers, so it settles where the two meet.
func (p *pace) gap(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.roll(now)
	return min(max(time.Duration(p.rate-freeRate)*10*time.Microsecond, 0), maxGap)
}
