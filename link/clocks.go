package link

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// MaxOffset is how far two clocks may be apart and still agree.
const MaxOffset = 500 * time.Millisecond

const (
	samplesKept = 8               // of each peer: the last four seconds
	freshFor    = 5 * time.Second // an older sample says nothing of a clock
)

// sample is what one heartbeat says of a peer's clock: it is ahead of ours by offset, give or take half of rtt.
type sample struct {
	at          time.Time
	offset, rtt time.Duration
}

func (s sample) low() time.Duration  { return s.offset - s.rtt/2 }
func (s sample) high() time.Duration { return s.offset + s.rtt/2 }

// offsets are the last samples of a peer, oldest first.
type offsets []sample

// add keeps a sample. If it cannot be true together with an earlier one, a clock was set meanwhile and the earlier one is void.
func (o *offsets) add(s sample) {
	kept := slices.DeleteFunc(*o, func(old sample) bool { return old.high() < s.low() || s.high() < old.low() })
	if len(kept) == samplesKept {
		kept = slices.Delete(kept, 0, 1)
	}
	*o = append(kept, s)
}

// best is the sample with the shortest round trip, which is the most certain one.
func (o offsets) best() (s sample, ok bool) {
	if len(o) == 0 {
		return sample{}, false
	}
	return slices.MinFunc(o, func(a, b sample) int { return cmp.Compare(a.rtt, b.rtt) }), true
}

// clocks is what was last said about clocks.
type clocks struct {
	off    map[string]bool // peers whose clocks differ from ours
	unsure bool            // our own may be the one that is off
}

// difference is a peer whose clock certainly differs from ours by more than MaxOffset.
type difference struct {
	site   string
	offset time.Duration
}

// differences compares with the peers that are heard.
func (l *Link) differences() (heard int, off []difference) {
	now := l.clock.Now()
	for _, p := range l.peers {
		p.mu.Lock()
		s, ok := p.clock.best()
		if ok && p.err == nil && now.Sub(p.last) < freshFor {
			heard++
			if s.low() > MaxOffset || s.high() < -MaxOffset {
				off = append(off, difference{p.Site, s.offset})
			}
		}
		p.mu.Unlock()
	}
	return heard, off
}

// agreed reports whether this site and the peers that agree with it are more than half of the sites that are heard.
func agreed(heard int, off []difference) bool { return 2*(1+heard-len(off)) > 1+heard }

// ClockSound reports whether this site's clock agrees within MaxOffset with those of a majority of the sites that are heard, itself
// included. With nobody heard it is true: there is nobody to disagree.
func (l *Link) ClockSound() bool { return agreed(l.differences()) }

// judgeClocks logs when a clock goes wrong or comes right.
func (l *Link) judgeClocks() {
	heard, off := l.differences()
	sound := agreed(heard, off)
	now := make(map[string]bool, len(off))
	for _, d := range off {
		now[d.site] = true
	}
	l.mu.Lock()
	was := l.clocks
	l.clocks = clocks{off: now, unsure: !sound}
	l.mu.Unlock()
	for _, d := range off {
		if sound && (!was.off[d.site] || was.unsure) {
			l.log.Error("the clock of another site is wrong", "peer", d.site, "clock", d.words())
		}
	}
	for site := range was.off {
		if !now[site] {
			l.log.Info("clocks agree again", "peer", site)
		}
	}
	if !sound && (!was.unsure || len(off) != len(was.off)) {
		l.log.Error("this machine's clock may be wrong: it gives no times to records until it agrees with a majority of the sites",
			"compared", compared(off))
	}
}

// words say how far a clock is ahead of ours, or behind.
func (d difference) words() string {
	precision := time.Millisecond
	if d.offset.Abs() > time.Minute {
		precision = time.Second
	}
	by := d.offset.Abs().Round(precision).String()
	if d.offset < 0 {
		return by + " behind this one"
	}
	return by + " ahead of this one"
}

func compared(off []difference) string {
	words := make([]string, len(off))
	for i, d := range off {
		words[i] = fmt.Sprintf("%s is %s", d.site, d.words())
	}
	return strings.Join(words, ", ")
}
