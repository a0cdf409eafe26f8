package link

import (
	"sync/atomic"
	"testing"
	"time"

	"bongsu/clock"
)

func TestBestOffset(t *testing.T) {
	ms := time.Millisecond
	var o offsets
	if _, ok := o.best(); ok {
		t.Error("no samples, and one is the best")
	}
	for _, s := range []sample{{offset: 9 * ms, rtt: 30 * ms}, {offset: 2 * ms, rtt: 4 * ms}, {offset: -5 * ms, rtt: 20 * ms}} {
		o.add(s)
	}
	if s, _ := o.best(); s.offset != 2*ms {
		t.Errorf("%v", s)
	}
	for range 2 * samplesKept {
		o.add(sample{offset: 3 * ms, rtt: 8 * ms})
	}
	if s, _ := o.best(); s.offset != 3*ms || len(o) != samplesKept {
		t.Errorf("%v of %d", s, len(o))
	}
	o.add(sample{offset: time.Hour, rtt: 50 * ms}) // a clock was set: what was measured before is void
	if s, _ := o.best(); s.offset != time.Hour || len(o) != 1 {
		t.Errorf("%v of %d", s, len(o))
	}
}

func TestWordsOfClocks(t *testing.T) {
	for offset, want := range map[time.Duration]string{
		time.Hour + 3*time.Millisecond: "1h0m0s ahead of this one",
		-1234567 * time.Microsecond:    "1.235s behind this one",
		-time.Hour:                     "1h0m0s behind this one",
	} {
		if got := (difference{offset: offset}).words(); got != want {
			t.Errorf("%s: %s", offset, got)
		}
	}
}

func TestAgreed(t *testing.T) {
	for _, c := range []struct {
		heard, off int
		want       bool
	}{{0, 0, true}, {1, 0, true}, {1, 1, false}, {2, 0, true}, {2, 1, true}, {2, 2, false}, {4, 2, true}, {4, 3, false}, {3, 2, false}} {
		if got := agreed(c.heard, make([]difference, c.off)); got != c.want {
			t.Errorf("%d of %d heard differ: %v", c.off, c.heard, got)
		}
	}
}

// TestClockIsOff sets one site's clock an hour ahead, and right again.
func TestClockIsOff(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	var ahead atomic.Int64
	busan := n.open("busan", func(c *Config) {
		c.Clock = clock.Func(func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	})
	if !busan.ClockSound() {
		t.Error("alone, and unsound")
	}
	seoul, chuncheon := n.open("seoul"), n.open("chuncheon")
	all := []*Link{busan, chuncheon, seoul}
	sound := func(b, c, s bool) func() bool {
		return func() bool {
			for _, l := range all {
				for _, p := range l.Heard() {
					if p.Err != nil {
						return false
					}
				}
			}
			return busan.ClockSound() == b && chuncheon.ClockSound() == c && seoul.ClockSound() == s
		}
	}
	eventually(t, "agreement", sound(true, true, true))
	for _, p := range seoul.Heard() {
		if p.RTT <= 0 || p.ClockOffset > p.RTT || p.ClockOffset < -p.RTT || p.Version != "test" || p.Last.IsZero() {
			t.Errorf("%+v", p)
		}
	}
	ahead.Store(int64(time.Hour))
	eventually(t, "the alarm", sound(false, true, true))
	eventually(t, "words at the site that is off", func() bool {
		return n.logs["busan"].count(`this machine's clock may be wrong`) > 0 && n.logs["busan"].count("seoul is 1h0m0s behind this one") > 0
	})
	eventually(t, "words at the others", func() bool {
		return n.logs["seoul"].count(`the clock of another site is wrong" part=link peer=busan clock="1h0m0s ahead of this one"`) == 1
	})
	if off := seoul.Heard()[0].ClockOffset; off < 59*time.Minute || off > 61*time.Minute {
		t.Errorf("busan is %s ahead", off)
	}
	// Two that are alone and differ cannot know who is right.
	_ = chuncheon.Close()
	eventually(t, "doubt", func() bool { return !seoul.ClockSound() && !busan.ClockSound() })
	ahead.Store(0)
	eventually(t, "agreement of two", func() bool { return seoul.ClockSound() && busan.ClockSound() })
}
