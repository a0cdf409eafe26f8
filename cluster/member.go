// Package cluster is what makes sites a cluster: the bundles of files with which they begin (bundle.go), their settings
// (settings.go), and the rule by which a site is let in (rule.go, admit.go).
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

// Config says what a Member is made of. All but Log are required.
type Config struct {
	Link  *link.Link
	Site  string
	Sites []string // all, this one included
	Dir   string   // the site's data directory, which exists
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
