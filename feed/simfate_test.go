package feed

import (
	"context"
	"errors"
	"time"

	"bongsu/journal"
	"bongsu/replica"
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
		s.lose(site)
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
			s.trim(site, p)
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
	for p := range run.r.Partitions() {
		if st := run.r.Status(journal.Partition(p)); st.Divergence != nil || st.Err != nil {
			s.fault("%s, partition %d: %v, %v", site.name, p, st.Divergence, st.Err)
		}
	}
	if n := run.r.Failures() + run.r.Refused(); n != 0 {
		s.fault("%s: %d proposals or messages failed", site.name, n)
	}
}

// lose takes rows of a site that is down: none, the latest, or all.
func (s *sim) lose(site *simSite) {
	switch s.rng.IntN(3) {
	case 0: // a process that died with its rows on disk
		if s.rng.IntN(2) == 0 {
			if site.past != nil {
				site.past.Abandon()
			}
			site.past = replicatest.CopyRows(s.t, site.db)
		}
	case 1: // a power loss that took the latest commits
		if site.past != nil {
			site.db.Abandon()
			site.db, site.past = site.past, nil
		}
	case 2: // an empty disk
		site.db.Abandon()
		site.db = replicatest.MemoryDB(s.t)
	}
}

// trim takes a checkpoint at a site that is in service, and trims the journal below it.
func (s *sim) trim(site *simSite, p journal.Partition) {
	if site.run.r.Serving() != nil {
		return
	}
	f, err := site.run.r.SaveCheckpoint(p, s.dir)
	if err != nil {
		return // it has no state yet
	}
	s.mu.Lock()
	if old := s.files[p]; old == nil || old.Info.Pos < f.Info.Pos {
		s.files[p] = f
	}
	s.mu.Unlock()
	_ = site.j.Trim(s.t.Context(), p, f.Info.Pos) // a site that is cut off cannot
}

func (s *sim) checkpoint(_ context.Context, p journal.Partition, atLeast journal.Position) (*replica.CheckpointFile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.files[p]; f != nil && f.Info.Pos >= atLeast {
		return f, nil
	}
	return nil, nil //nolint:nilnil // there is none
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
