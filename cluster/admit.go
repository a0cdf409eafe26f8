package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Admit blocks until this site's journal engine may open its routes; s is what the journal directory is now. An error other than
// ctx's means that an operator must act. The routes must be closed until it returns, and no engine may run on the directory.
func (m *Member) Admit(ctx context.Context, s State) error {
	m.update(func() { m.state = s })
	for {
		v := m.look(ctx)
		next := decide(v)
		var err error
		switch next.do {
		case open:
			err = m.join(ctx, v, false)
		case found:
			m.log.Info("all sites are there: the cluster begins")
			err = m.join(ctx, v, v.state != Empty)
		case barrier:
			m.setLost()
			if next.words, err = m.refilled(ctx, v, next); err == nil && next.words != "" {
				next.do = wait
			}
		case wait:
			if v.lost() != "" {
				m.setLost()
			}
		}
		if err != nil {
			return err
		}
		if next.do != wait {
			m.say("")
			return nil
		}
		m.say(next.words)
		if !pause(ctx, askEvery) {
			return fmt.Errorf("cluster: %s: %w", next.words, ctx.Err())
		}
	}
}

// look asks all peers at once and puts together what is known.
func (m *Member) look(ctx context.Context) view {
	rec := m.mem.now()
	m.mu.Lock()
	v := view{self: m.cfg.Site, sites: m.cfg.Sites, state: m.state, rec: rec, peers: map[string]hello{},
		missing: map[string]string{}}
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, site := range m.cfg.Link.Peers() {
		all.Go(func() {
			h, err := m.greet(ctx, site)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				v.missing[site] = err.Error()
				return
			}
			v.peers[site] = h
		})
	}
	all.Wait()
	return v
}

// refilled has the peers pass a barrier, and joins with an empty journal. Words mean that it must be tried again.
func (m *Member) refilled(ctx context.Context, v view, s step) (words string, err error) {
	m.say(s.words + ": asking " + strings.Join(s.ask, " and ") + " whether they hold all that was acknowledged")
	passed := 0
	var mu sync.Mutex
	var all sync.WaitGroup
	var why []string
	for _, site := range s.ask {
		all.Go(func() {
			err := m.askBarrier(ctx, site)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				passed++
			} else {
				why = append(why, err.Error())
			}
		})
	}
	all.Wait()
	if passed < quorum(len(m.cfg.Sites)) {
		slices.Sort(why)
		return s.words + "; the other sites cannot show yet that they hold all that was acknowledged: " + strings.Join(why, "; "), nil
	}
	m.log.Info("the other sites hold all that was acknowledged: this one joins and is filled by them", "why", s.words)
	return "", m.join(ctx, v, v.state != Empty)
}

// join makes this run one that takes part: the own directory says so first, then a majority of the sites. Were it the other way
// round, a crash in between would make a good directory look like a stale copy.
func (m *Member) join(ctx context.Context, v view, wipe bool) error {
	if wipe {
		m.log.Warn("the journal directory is emptied", "was", string(v.state))
		if err := m.cfg.Wipe(); err != nil {
			return fmt.Errorf("cluster: emptying the journal directory: %w", err)
		}
	}
	boot := m.cfg.Boot
	if newest := v.known(); runNumber(newest) >= runNumber(boot) {
		var err error
		if boot, err = m.cfg.RaiseBoot(newest); err != nil {
			return fmt.Errorf("cluster: %w", err)
		}
		if boot <= newest {
			return fmt.Errorf("cluster: run %d was to be raised above %d", boot, newest)
		}
	}
	if _, err := m.mem.change(func(r *record) bool {
		r.Admitted, r.Age, r.Stale = boot, v.age()+1, false
		r.merge(map[string]uint64{m.cfg.Site: boot}, map[string]uint64{m.cfg.Site: r.Age}, v.everFounded())
		return true
	}); err != nil {
		return err
	}
	m.update(func() {
		m.boot, m.kept = boot, v.lost() == ""
		if wipe || m.state != Formed {
			m.state = Forming // or about to be; at any rate, not to be counted on
		}
	})
	for _, site := range m.cfg.Link.Peers() {
		m.loops.Go(func() { m.gossip(site) })
	}
	m.loops.Go(m.grow)
	m.say("a majority of the sites must have noted that this site runs again")
	if err := m.until(ctx, func() (bool, string) {
		kept := 0
		for _, b := range m.told {
			if b >= boot {
				kept++
			}
		}
		return kept >= quorum(len(m.cfg.Sites))-1, "a majority of the sites must have noted that this site runs again"
	}); err != nil {
		return err
	}
	m.cfg.Link.Join(boot)
	return nil
}

// grow counts the directory's age, so that the others know a copy of it for what it is.
func (m *Member) grow() {
	for pause(m.ctx, growEvery) {
		if err := m.growOlder(); err != nil {
			m.log.Error("cannot note that this site takes part; a copy of its data may be taken for the data itself", "err", err)
		}
	}
}

func (m *Member) growOlder() error {
	_, err := m.mem.change(func(r *record) bool {
		r.Age++
		r.Ages[m.cfg.Site] = r.Age
		return true
	})
	return err
}

// Serve says that the journal is open: questions about it are answered from now on.
func (m *Member) Serve(e Engine) {
	m.update(func() { m.engine = &e })
	m.loops.Go(func() {
		for e.Formed(m.ctx) != nil {
			if !pause(m.ctx, askEvery) {
				return
			}
		}
		m.update(func() { m.state = Formed })
		m.foundedByAll()
	})
}

// foundedByAll waits until every site has its part of a new cluster, and notes it.
func (m *Member) foundedByAll() {
	for !m.mem.now().Founded {
		all := true
		v := m.look(m.ctx)
		for _, site := range m.cfg.Link.Peers() {
			h := v.peers[site]
			if h.Founded {
				all = true
				break
			}
			all = all && h.State == Formed
		}
		if all {
			if err := m.note(hello{Founded: true}); err != nil {
				m.log.Error("cannot note that the cluster is complete", "err", err)
			}
		}
		if !pause(m.ctx, askEvery) {
			return
		}
	}
}

// Founded blocks until every site has had its part of the cluster once. Before, nothing may be acknowledged to a client: a site that
// burns while the cluster is being made is taken for new. It returns at once ever after.
func (m *Member) Founded(ctx context.Context) error {
	return m.until(ctx, func() (bool, string) {
		return m.mem.now().Founded, "a new cluster is complete when every site has its part"
	})
}

// setLost shows the others that this site has no journal to count on.
func (m *Member) setLost() {
	m.update(func() {
		if m.state != Empty {
			m.state = Damaged
		}
	})
}
