package replica

import "time"

// A record is owed although nobody proposes anything when time must move, when a site has been silent for too long, or when somebody
// waits for a record. What one site should do is done by the one that leads the partition; the others do it when it has not been
// done after a second.

const (
	// tickEvery is how long a quiet partition waits before a record without proposals moves its time; othersTick how long a site
	// that does not lead is silent. Its clock, its claim and its rules travel in its records.
	tickEvery  = 5 * time.Second
	othersTick = 15 * time.Second
	// minTick is the least time between a record and a tick. While a timer stays due in spite of ticks (this clock stands, runs back, or
	// has no say) they become rarer, down to one in maxPace.
	minTick = 20 * time.Millisecond
	maxPace = time.Second
	// lookEvery is how often a sender looks again at who leads.
	lookEvery = 5 * time.Second
)

// untilTick is how long until a record is owed.
func (pt *partition) untilTick() time.Duration {
	now, leads, stamps := pt.r.clock.Now(), pt.r.leads(pt.n), pt.r.stamps()
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if now.Before(pt.lastSent) {
		pt.lastSent = now // the clock was set back
	}
	silent := now.Sub(pt.lastSent)
	if pt.barrier != nil {
		return max(minTick-silent, 0)
	}
	if !pt.caught || pt.r.observer {
		return tickEvery
	}
	wait, due := tickEvery-silent, pt.untilDue(now.UnixMilli(), stamps)
	if !leads {
		wait, due = othersTick-silent, due+secondAfter
	}
	if pt.status.Wall == 0 && stamps {
		wait = min(wait, maxPace-silent) // the first time needs the word of a majority
	}
	pace := min(max(-due/2, minTick), maxPace)
	return max(min(wait, due), pace-silent, 0)
}

// untilDue is how long until the first timer is due; negative when it is overdue. A site whose clock has no say cannot move time up to
// it. pt.mu is held.
func (pt *partition) untilDue(now int64, stamps bool) time.Duration {
	if !stamps {
		now = pt.status.Wall
	}
	wait := ms(far)
	if at, ok := pt.dueAt[Wall]; ok {
		wait = min(wait, ms(at-now))
	}
	if at, ok := pt.dueAt[Live]; ok {
		// Live time goes with the wall, at most maxLive in a record; it stands where the last record left it.
		wait = min(wait, ms(at-pt.status.Live-(now-pt.status.Wall)))
	}
	return wait
}

// far is longer than any wait, in milliseconds.
const far = int64(24 * time.Hour / time.Millisecond)

// ms is n milliseconds, or at least what is longer than any wait: a timer may be further off than a Duration can say.
func ms(n int64) time.Duration {
	return time.Duration(min(max(n, -far), far)) * time.Millisecond
}
