// Package cluster is what makes sites a cluster: the bundles of files with which they begin (bundle.go), their settings
// (settings.go), and the rule by which a site is let in (rule.go, member.go).
//
// Invariant: a site takes part in the journal (opens its routes) only when that cannot cost an acknowledged record. A site that
// has lost what it promised, because its disk is empty, damaged or a stale copy, first has a quorum of the others show that they
// hold all that was acknowledged before (docs/adr/0022-admission.md).
//
// Limits: three or five sites, fixed when the cluster is made. What a site remembers of the others is a file of a few hundred bytes,
// rewritten by every site for every site each ten seconds. It knows nothing of the journal's engine; that comes as functions.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"bongsu/link"
)

const (
	askTimeout  = 2 * time.Second        // for a peer to answer a question
	askEvery    = 250 * time.Millisecond // while waiting to be let in
	gossipEvery = 30 * time.Second       // even when nothing has changed
	growEvery   = 10 * time.Second       // a copy of the data that is older than this is known for one
	// barrierTimeout is how long a peer tries to pass a barrier; less than a request may be silent on a link.
	barrierTimeout = 8 * time.Second
)

// Config says what a Member is made of. All but Epoch and Log are required.
type Config struct {
	Link  *link.Link
	Site  string
	Sites []string // all, this one included
	Dir   string   // the site's data directory, which exists
	Epoch uint64   // raised by a recovery of the whole cluster
	Boot  uint64   // number of this run: above that of every earlier run of this directory, and on stable storage

	// RaiseBoot takes and keeps another number for this run, above the given one. It is called by Admit when this site's former
	// disk had higher numbers.
	RaiseBoot func(above uint64) (uint64, error)
	// Wipe makes the journal directory Empty, on stable storage. It is called by Admit.
	Wipe func() error
	Log  *slog.Logger // nil discards
}

// Engine is the running journal and what is made from it, as far as other sites ask for it.
type Engine struct {
	// Formed returns when this site's engine has its replica of every partition.
	Formed func(ctx context.Context) error
	// Barrier appends a record to every partition after it was called, and returns nil when this site's own replicas hold
	// everything up to these records on stable storage. It may share records between calls, never with an earlier one.
	Barrier func(ctx context.Context) error
	// Routed reports whether this site's engine is connected with site's. Nil: never.
	Routed func(site string) bool
	// SeenBoot is the newest boot of site that the journal has shown. Nil: none.
	SeenBoot func(site string) uint64
}

// Member is this site's standing in its cluster.
type Member struct {
	cfg Config
	log *slog.Logger
	mem *memory

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	loops  sync.WaitGroup

	mu      sync.Mutex
	state   State
	boot    uint64 // of this run; final when joined
	prior   uint64 // boot under which the directory took part before this run
	kept    bool   // it took part again with what it had
	engine  *Engine
	waiting string
	failed  error
	told    map[string]uint64 // newest boot of this site that a peer has kept
	changed chan struct{}     // closed and replaced when something above changes
}

// Open reads what the site remembers, and answers the other sites' questions from then on.
func Open(c Config) (*Member, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Boot == 0 || !slices.Contains(c.Sites, c.Site) {
		return nil, fmt.Errorf("cluster: a boot and site %q among %v are needed", c.Site, c.Sites)
	}
	log := c.Log.With("part", "cluster")
	mem, err := openMemory(c.Dir, log)
	if err != nil {
		return nil, err
	}
	m := &Member{cfg: c, log: log, mem: mem, boot: c.Boot, prior: mem.now().Admitted, told: map[string]uint64{},
		changed: make(chan struct{})}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	c.Link.Vet(m.vet)
	m.register()
	return m, nil
}

// Close ends what runs in the background. The link must still be open, or closed before.
func (m *Member) Close() error {
	m.cancel()
	m.loops.Wait()
	return nil
}

// vet is what the link asks about a process that says it takes part: whether a newer one has been there.
func (m *Member) vet(site string, boot uint64) error {
	if newest := m.mem.now().Boots[site]; newest > boot {
		return fmt.Errorf("site %s has been run %d since: this process, run %d, is of a stale copy of its data or was replaced; "+
			"stop it", site, runNumber(newest), runNumber(boot))
	}
	return nil
}

// Admit blocks until this site's journal engine may open its routes; s is what the journal directory is now. An error other than
// ctx's means that an operator must act. The routes must be closed until it returns, and no engine may run on the directory.
func (m *Member) Admit(ctx context.Context, s State) error {
	m.update(func() { m.state = s })
	for {
		v := m.look(ctx)
		next := decide(v)
		var err error
		switch next.do {
		case refuse:
			return fmt.Errorf("cluster: %s", next.words)
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
	v := view{self: m.cfg.Site, sites: m.cfg.Sites, state: m.state, epoch: m.cfg.Epoch, rec: rec, peers: map[string]hello{},
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
	if newest := v.known(); newest >= boot {
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

// Boot is the number of this run; it is final when Admit has returned.
func (m *Member) Boot() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boot
}

// Waiting says what the site waits for before it can take part, or "".
func (m *Member) Waiting() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.waiting
}

// Err is nil, or says why this process must stop taking part at once: another one is this site, or its data turned out to be a
// stale copy. Starting it again puts it right.
func (m *Member) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(m.failed, m.cfg.Link.Rival())
}

// say notes what is waited for, and logs it when it changes.
func (m *Member) say(words string) {
	m.mu.Lock()
	changed := m.waiting != words
	m.waiting = words
	m.mu.Unlock()
	if changed && words != "" {
		m.log.Warn("not part of the cluster yet", "why", words)
	}
}

// setLost shows the others that this site has no journal to count on.
func (m *Member) setLost() {
	m.update(func() {
		if m.state != Empty {
			m.state = Damaged
		}
	})
}

// update changes the state under mu, and wakes who waits for it.
func (m *Member) update(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	close(m.changed)
	m.changed = make(chan struct{})
}

// until waits for a condition, which is evaluated under mu.
func (m *Member) until(ctx context.Context, done func() (ok bool, words string)) error {
	for {
		m.mu.Lock()
		ok, words := done()
		changed := m.changed
		m.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("cluster: %s: %w", words, ctx.Err())
		case <-m.ctx.Done():
			return errors.New("cluster: closed")
		}
	}
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
