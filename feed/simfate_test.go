package feed

import (
	"errors"
	"time"

	"bongsu/journal"
	"bongsu/replica/replicatest"
)

// strike lets something happen to a site.
func (s *sim) strike(site *simSite) {
	if site.run == nil {
		s.start(site)
		return
	}
	switch s.rng.IntN(10) {
	case 0, 1, 2:
		s.crash(site)
		site.disk.Lose(s.t, s.rng)
	case 3, 4:
		site.j.Cut(true)
	case 5, 6:
		site.j.Cut(false)
	case 7:
		site.j.Lag(time.Duration(s.rng.IntN(2)*s.rng.IntN(1500)) * time.Millisecond)
	case 8:
		s.mu.Lock()
		site.skew = time.Duration(s.rng.IntN(60_000)-30_000) * time.Millisecond
		s.mu.Unlock()
	case 9:
		p := journal.Partition(s.rng.IntN(simParts))
		if s.rng.IntN(2) == 0 {
			site.run.r.Remake(p, errors.New("planted"))
			s.count(func(c *simCounts) { c.remade++ })
		} else {
			s.shelf.Trim(s.t.Context(), site.run.r, site.j, p)
		}
	}
}

// crash ends the site in the middle of what it does.
func (s *sim) crash(site *simSite) {
	s.mu.Lock()
	run := site.run
	site.run = nil
	s.mu.Unlock()
	if run == nil {
		return
	}
	s.counts.crashes++
	run.kill()
	site.j.Crash()
	run.r.Close()
	run.feed.Close()
	run.typing.Close()
	run.keys.Close()
	run.rooms.Close()
	run.requests.Wait()
	for _, f := range replicatest.Unsound(run.r) {
		s.fault("%s: %s", site.name, f)
	}
}

// calm ends what goes wrong.
func (s *sim) calm() {
	for _, site := range s.sites {
		if site.run == nil {
			s.start(site)
		}
		site.j.Cut(false)
		site.j.Lag(0)
	}
}
