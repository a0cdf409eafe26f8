package replica_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"bongsu/clock"
	"bongsu/errs"
	"bongsu/journal"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// Quiet sites speak rarely: who leads every five seconds, the others every fifteen; also when nobody knows who leads.
func TestQuietSitesSpeakRarely(t *testing.T) {
	for name, leads := range map[string]func(site string, p journal.Partition) bool{
		"one leads":    func(site string, _ journal.Partition) bool { return site == "seoul" },
		"nobody leads": func(string, journal.Partition) bool { return false },
		"all lead":     func(string, journal.Partition) bool { return true },
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 2, threeNames, nil, func(t *testing.T, c *cluster) {
				for site, m := range c.sites {
					for p := range journal.Partition(2) {
						m.j.Lead(p, leads(site, p))
					}
				}
				time.Sleep(time.Minute) // they notice
				before := c.last(0)
				time.Sleep(10 * time.Minute)
				n := c.last(0) - before
				if n > 3*10*12+3 || n < 3*10*4-3 {
					t.Errorf("%d records in ten quiet minutes", n)
				}
				if name == "one leads" && n > 10*(12+2*4)+3 {
					t.Errorf("%d records in ten quiet minutes", n)
				}
				for _, s := range c.sites["busan"].r.Status(0).Sites {
					if s.Pos+20 < c.last(0) || s.Checked == 0 || s.Differs != 0 || s.Boot != 1 || s.Rules != 2 || s.Stamp == 0 {
						t.Errorf("busan knows of %s: %+v", s.Site, s)
					}
				}
			})
		})
	}
}

// What one site should do is done by another when that one is gone: messages are forwarded, timers fire, once each.
func TestDutiesPassOn(t *testing.T) {
	inCluster(t, 3, threeNames, nil, func(t *testing.T, c *cluster) {
		jeju := c.sites["jeju"]
		for i := range 6 {
			switch i {
			case 2:
				c.crash("seoul")
			case 4:
				c.start("seoul")
				c.crash("busan")
			}
			for range 5 {
				submit(t, jeju.r, propose("ledger.add", "amy"))
				submit(t, jeju.r, propose("ledger.give", "amy bob"))
				submit(t, jeju.r, propose("ledger.later", "cleo"))
			}
			begun := time.Now()
			want := int64(5 * (i + 1))
			c.until("messages and timers have arrived", func() bool { return count(jeju.r, "bob") == want && count(jeju.r, "cleo") == want })
			if d := time.Since(begun); d > 6*time.Second {
				t.Errorf("round %d took %v", i, d)
			}
		}
		if n := count(jeju.r, "amy"); n != 0 {
			t.Errorf("amy has %d", n)
		}
		c.start("busan")
		c.alike()
		if n := jeju.r.Failures() + jeju.r.Refused(); n != 0 {
			t.Errorf("%d failed", n)
		}
	})
}

// Of several sites one forwards: as long as it does, the others are silent.
func TestOneSiteForwards(t *testing.T) {
	inCluster(t, 1, threeNames, nil, func(t *testing.T, c *cluster) {
		submit(t, c.sites["seoul"].r, propose("ledger.add", "amy"))
		before := c.last(0)
		submit(t, c.sites["jeju"].r, propose("ledger.give", "amy bob"))
		c.until("it arrives", func() bool { return count(c.sites["jeju"].r, "bob") == 1 })
		time.Sleep(3 * time.Second)
		if n := c.last(0) - before; n > 3+4 { // the write, its delivery, its receipt; a few ticks
			t.Errorf("one message took %d records", n)
		}
	})
}

// skewed gives each site a clock of its own.
type skewed struct {
	mu  sync.Mutex
	off map[string]time.Duration
	no  map[string]bool // may not stamp
}

func (s *skewed) config(site string, cfg *replica.Config) {
	cfg.Clock = clock.Func(func() time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return time.Now().Add(s.off[site])
	})
	cfg.Stamps = func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return !s.no[site]
	}
}

func (s *skewed) set(site string, off time.Duration, no bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off[site], s.no[site] = off, no
}

func newSkewed() *skewed { return &skewed{off: map[string]time.Duration{}, no: map[string]bool{}} }

func wall(m *member) time.Duration {
	return time.Until(time.UnixMilli(m.r.Status(0).Wall)).Abs()
}

// The first time of a cluster is not one wild clock's word, nor does that clock move time later.
func TestWildClockHasNoSay(t *testing.T) {
	for _, off := range []time.Duration{-10 * 365 * 24 * time.Hour, 10 * 365 * 24 * time.Hour} {
		s := newSkewed()
		s.set("busan", off, false) // which comes first
		inCluster(t, 1, threeNames, s.config, func(t *testing.T, c *cluster) {
			c.until("time is set", func() bool { return c.sites["seoul"].r.Status(0).Wall != 0 })
			time.Sleep(20 * time.Second)
			if d := wall(c.sites["seoul"]); d > 20*time.Second {
				t.Errorf("time is off by %v", d)
			}
			for range 20 {
				submit(t, c.sites["busan"].r, propose("ledger.add", "amy"))
			}
			if d := wall(c.sites["seoul"]); d > 20*time.Second {
				t.Errorf("later it is off by %v", d)
			}
		})
	}
}

// A site that may not stamp moves nothing, fires no timer by itself, and makes no storm of ticks.
func TestSiteThatMayNotStamp(t *testing.T) {
	s := newSkewed()
	inCluster(t, 1, threeNames, s.config, func(t *testing.T, c *cluster) {
		time.Sleep(10 * time.Second)
		for _, name := range threeNames {
			s.set(name, 30*time.Second, true)
		}
		seoul := c.sites["seoul"]
		submit(t, seoul.r, propose("ledger.later", "amy"))
		before, last := seoul.r.Status(0).Wall, c.last(0)
		time.Sleep(40 * time.Second)
		if now := seoul.r.Status(0).Wall; now != before {
			t.Errorf("time moved by %d ms", now-before)
		}
		if n := c.last(0) - last; n > 30 {
			t.Errorf("%d records in forty seconds", n)
		}
		s.set("jeju", 0, false)
		c.until("the timer fires", func() bool { return count(seoul.r, "amy") == 1 })
	})
}

// A leap of more than a minute takes the word of a majority; a clock that was wrong once is forgotten.
func TestLeapTakesAMajority(t *testing.T) {
	s := newSkewed()
	inCluster(t, 1, threeNames, s.config, func(t *testing.T, c *cluster) {
		time.Sleep(10 * time.Second)
		seoul := c.sites["seoul"]
		for _, name := range []string{"busan", "jeju"} { // one after the other
			s.set(name, time.Hour, false)
			submit(t, c.sites[name].r, propose("ledger.add", "amy"))
			s.set(name, 0, false)
			submit(t, c.sites[name].r, propose("ledger.add", "amy"))
		}
		if d := wall(seoul); d > 10*time.Second {
			t.Errorf("time is off by %v", d)
		}
		live := seoul.r.Status(0).Live
		for _, name := range threeNames[:2] {
			s.set(name, time.Hour, false)
		}
		c.until("two of three agree", func() bool { return wall(seoul) > 59*time.Minute })
		if now := seoul.r.Status(0).Live; now-live > 60_000 {
			t.Errorf("live time leapt by %d ms", now-live)
		}
	})
}

// While a clock is off, timers do not make it tick without end.
func TestStandingClockMakesNoStorm(t *testing.T) {
	s := newSkewed()
	inCluster(t, 1, threeNames, s.config, func(t *testing.T, c *cluster) {
		time.Sleep(10 * time.Second)
		submit(t, c.sites["seoul"].r, propose("ledger.later", "amy"))
		for _, name := range []string{"jeju", "seoul"} {
			c.crash(name)
		}
		s.set("busan", time.Hour, false) // alone with the word of one
		before := c.last(0)
		time.Sleep(time.Minute)
		if n := c.last(0) - before; n > 90 {
			t.Errorf("%d records in a minute", n)
		}
	})
}

// Every site takes its snapshots at the same positions and finds the same state in them, also one that applies history later.
func TestSnapshotsAreAtTheSamePositions(t *testing.T) {
	type shot struct {
		p   journal.Partition
		pos journal.Position
	}
	var mu sync.Mutex
	taken := map[string]map[shot]replica.Digest{}
	for _, name := range threeNames {
		taken[name] = map[shot]replica.Digest{}
	}
	config := func(site string, cfg *replica.Config) {
		cfg.CheckpointEvery = 30 * time.Second
		cfg.Snapshot = func(s *replica.Snapshot) {
			defer s.Close()
			info, err := s.Write(discard{})
			if err != nil || info.Pos != s.Pos() || info.Partition != s.Partition() {
				t.Errorf("%s: %+v, %v", site, info, err)
			}
			mu.Lock()
			defer mu.Unlock()
			taken[site][shot{info.Partition, info.Pos}] = info.StateHash
		}
	}
	inCluster(t, 2, threeNames, config, func(t *testing.T, c *cluster) {
		for i := range 100 {
			submit(t, c.sites[threeNames[i%3]].r, propose("ledger.add", threeNames[i%2]))
			time.Sleep(3 * time.Second)
		}
		c.alike()
		c.crash("jeju")
		c.wipe("jeju")
		c.start("jeju")
		c.ready("jeju")
		time.Sleep(time.Minute)
		c.alike()
		mu.Lock()
		defer mu.Unlock()
		if n := len(taken["seoul"]); n < 16 || n > 28 {
			t.Errorf("%d snapshots of two partitions in six minutes", n)
		}
		for _, name := range threeNames {
			for at, hash := range taken["seoul"] {
				if taken[name][at] != hash {
					t.Errorf("%s at %+v: %x, seoul: %x", name, at, taken[name][at], hash)
				}
			}
		}
	})
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// The journal knows the runs of each site.
func TestBootsAreKnown(t *testing.T) {
	inCluster(t, 2, threeNames, nil, func(t *testing.T, c *cluster) {
		for range 3 {
			c.crash("jeju")
			c.start("jeju")
			c.ready("jeju")
		}
		if err := c.sites["jeju"].r.CatchUp(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		c.alike()
		c.crash("seoul")
		seoul := c.start("seoul")
		if n := seoul.r.Boot("jeju"); n != 4 {
			t.Errorf("from its rows seoul knows of boot %d", n)
		}
		if n := c.sites["busan"].r.Boot("jeju"); n != 4 {
			t.Errorf("busan knows of boot %d", n)
		}
		if n := c.sites["busan"].r.Boot("nowhere"); n != 0 {
			t.Errorf("boot %d of a site that is none", n)
		}
	})
}

// A site that runs on an old copy of its data stops as soon as it sees what it has written since.
func TestOldCopyStops(t *testing.T) {
	inCluster(t, 1, threeNames, nil, func(t *testing.T, c *cluster) {
		jeju := c.sites["jeju"]
		old := replicatest.CopyRows(t, jeju.db)
		for range 2 {
			c.crash("jeju")
			c.start("jeju")
			submit(t, jeju.r, propose("ledger.add", "amy"))
		}
		c.crash("jeju")
		jeju.db.Abandon()
		jeju.db, jeju.boot = old, 1 // as its copy says: the next one would be run 2
		c.start("jeju")
		c.until("it has stopped", func() bool { return jeju.r.Status(0).Err != nil })
		if err := jeju.r.Status(0).Err; !strings.Contains(err.Error(), "run 3 of this site") || !strings.Contains(err.Error(), "old copy") {
			t.Error(err)
		}
		if err := jeju.r.Serving(); !errs.Is(err, errs.Unavailable) || jeju.r.Boot("jeju") != 3 {
			t.Errorf("it serves: %v; knows of run %d", err, jeju.r.Boot("jeju"))
		}
	})
}
