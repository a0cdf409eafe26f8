package replica_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bongsu/clock"
	"bongsu/errs"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
)

// cluster is several sites over one journal, in a bubble.
type cluster struct {
	t      *testing.T
	store  *mem.Store
	names  []string
	sites  map[string]*member
	config func(site string, cfg *replica.Config) // what a test says otherwise
}

// member is one site: its rows, its handle on the journal and the replica that runs on them.
type member struct {
	name string
	boot uint64
	db   *kv.DB
	j    *mem.Journal
	r    *replica.Replica
	plan atomic.Pointer[mem.Plan] // what goes wrong with its appends; nil: nothing

	mu      sync.Mutex
	commits []replica.Commit
}

var threeNames = []string{"busan", "jeju", "seoul"}

// inCluster runs a test on several sites, started and ready.
func inCluster(t *testing.T, partitions int, names []string, config func(string, *replica.Config), test func(t *testing.T, c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, store: mem.NewStore(partitions), names: names, sites: map[string]*member{}, config: config}
		for _, name := range names {
			c.sites[name] = &member{name: name, db: memoryDB(t)}
			c.start(name)
		}
		defer func() {
			for _, m := range c.sites {
				c.crash(m.name)
				m.db.Abandon()
			}
		}()
		for _, name := range names {
			c.ready(name)
		}
		for _, m := range c.sites {
			m.mu.Lock()
			m.commits = nil
			m.mu.Unlock()
		}
		test(t, c)
	})
}

// start starts a site on the rows that it has. The partitions are led by the sites in turn.
func (c *cluster) start(name string) *member {
	c.t.Helper()
	m := c.sites[name]
	m.boot++
	m.commits = nil
	m.j = c.store.Open(func(a mem.Attempt) mem.Fault {
		if plan := m.plan.Load(); plan != nil {
			return (*plan)(a)
		}
		return mem.Fault{}
	})
	for p := range m.j.Partitions() {
		m.j.Lead(journal.Partition(p), c.names[p%len(c.names)] == name)
	}
	c.run(m)
	return m
}

func (c *cluster) run(m *member) {
	c.t.Helper()
	cfg := replica.Config{DB: m.db, Journal: m.j, Machines: []replica.Machine{ledger()}, Rules: 2, Site: m.name, Boot: m.boot,
		Sites: c.names, Clock: clock.System{}}
	if c.config != nil {
		c.config(m.name, &cfg)
	}
	r, err := replica.Open(c.t.Context(), cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	m.r = r
	if err := r.Start(c.t.Context(), m.sink); err != nil {
		c.t.Fatal(err)
	}
}

func (m *member) sink(commit replica.Commit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commits = append(m.commits, commit)
}

// remade is how often subscribers were told that rows were discarded, or are there again.
func (m *member) remade() (gone, back int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, commit := range m.commits {
		switch {
		case commit.Remade && commit.Pos == 0:
			gone++
		case commit.Remade:
			back++
		}
	}
	return gone, back
}

// crash ends a site where it stands, if it runs.
func (c *cluster) crash(name string) {
	if m := c.sites[name]; m.r != nil {
		m.j.Crash()
		m.r.Close()
		m.r = nil
	}
}

// wipe takes a crashed site's rows.
func (c *cluster) wipe(name string) {
	c.sites[name].db.Abandon()
	c.sites[name].db = memoryDB(c.t)
}

func (c *cluster) ready(name string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	if err := c.sites[name].r.Ready(ctx); err != nil {
		c.t.Fatalf("%s: %v", name, err)
	}
}

// until waits, in virtual time, until ok.
func (c *cluster) until(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("still not: %s", what)
		}
	}
}

// alike waits until all running sites are at one position and fails unless their digests are equal there.
func (c *cluster) alike() {
	c.t.Helper()
	for p := range c.sites[c.names[0]].j.Partitions() {
		p := journal.Partition(p)
		c.until("the sites are at one position and alike", func() bool {
			var first *replica.PartitionStatus
			for _, m := range c.sites {
				if m.r == nil {
					continue
				}
				s := m.r.Status(p)
				if first == nil {
					first = &s
				}
				if s.Applied != first.Applied || s.Digest != first.Digest {
					return false
				}
			}
			return true
		})
	}
}

func (c *cluster) last(p journal.Partition) journal.Position {
	_, last := bounds(c.t, c.store, p)
	return last
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// A site that lags does not know what others have acknowledged; after CatchUp it does, and many callers cost few records.
func TestCatchUpSeesWhatOthersAcknowledged(t *testing.T) {
	inCluster(t, 2, threeNames, nil, func(t *testing.T, c *cluster) {
		seoul, busan := c.sites["seoul"], c.sites["busan"]
		busan.j.Lag(2 * time.Second)
		submit(t, seoul.r, propose("ledger.add", "amy"))
		if n := count(busan.r, "amy"); n != 0 {
			t.Fatalf("busan has %d already", n)
		}
		before := c.last(0) + c.last(1)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if err := busan.r.CatchUp(within(t, 10*time.Second)); err != nil {
					t.Error(err)
				}
				if n := count(busan.r, "amy"); n != 1 {
					t.Errorf("after catching up busan has %d", n)
				}
			})
		}
		all.Wait()
		if n := c.last(0) + c.last(1) - before; n > 8 {
			t.Errorf("a hundred callers cost %d records", n)
		}
	})
}

// A site that is cut off says soon that it cannot know, and since when it cannot write. It is started anew, and still reads what it had.
func TestLoneSurvivorReads(t *testing.T) {
	inCluster(t, 2, threeNames, nil, func(t *testing.T, c *cluster) {
		seoul := c.sites["seoul"]
		submit(t, seoul.r, propose("ledger.add", "amy"))
		for _, again := range []bool{false, true} {
			if again {
				c.crash("seoul")
				c.start("seoul")
			}
			seoul.j.Cut(true)
			if err := seoul.r.Serving(); err != nil || count(seoul.r, "amy") != 1 {
				t.Fatalf("again: %v: amy has %d, %v", again, count(seoul.r, "amy"), err)
			}
			if err := seoul.r.CatchUp(within(t, time.Second)); !errs.Is(err, errs.Unavailable) {
				t.Errorf("caught up with nobody: %v", err)
			}
			if _, err := seoul.r.Submit(within(t, 3*time.Second), propose("ledger.add", "bob")); !errs.Is(err, errs.Unavailable) {
				t.Errorf("wrote alone: %v", err)
			}
			var e *errs.Error
			if err := seoul.r.Writable(); !errors.As(err, &e) || e.Kind != errs.Unavailable ||
				!strings.Contains(e.Message, "can be read, not written (since") {
				t.Errorf("writable: %v", err)
			}
			begun := time.Now()
			if err := seoul.r.CatchUp(within(t, time.Second)); !errs.Is(err, errs.Unavailable) || time.Since(begun) > 0 {
				t.Errorf("after %v: %v", time.Since(begun), err)
			}
			seoul.j.Cut(false)
			c.until("seoul writes again", func() bool { return seoul.r.Writable() == nil })
			if err := seoul.r.CatchUp(within(t, 10*time.Second)); err != nil {
				t.Error(err)
			}
		}
		if seoul.r.Generation() != 0 {
			t.Error("rows that were right have been discarded")
		}
		c.alike()
	})
}

// An empty site is out of service until it has what it lacks: from the journal, or from a checkpoint when the journal was trimmed.
func TestEmptySiteIsFilled(t *testing.T) {
	for _, trimmed := range []bool{false, true} {
		t.Run(fmt.Sprintf("trimmed=%v", trimmed), func(t *testing.T) {
			dir := t.TempDir()
			files := map[journal.Partition]*replica.CheckpointFile{}
			get := func(_ context.Context, p journal.Partition, atLeast journal.Position) (*replica.CheckpointFile, error) {
				if f := files[p]; f != nil && f.Info.Pos >= atLeast {
					return replica.OpenCheckpoint(f.Path)
				}
				return nil, nil
			}
			inCluster(t, 2, threeNames, func(_ string, cfg *replica.Config) { cfg.Checkpoint = get }, func(t *testing.T, c *cluster) {
				for i := range 30 {
					submit(t, c.sites["seoul"].r, propose("ledger.add", fmt.Sprint("user", i)))
				}
				c.crash("jeju")
				c.wipe("jeju")
				for p := range journal.Partition(2) {
					if !trimmed {
						break
					}
					f, err := c.sites["seoul"].r.SaveCheckpoint(p, dir)
					if err != nil {
						t.Fatal(err)
					}
					if err := c.sites["seoul"].j.Trim(t.Context(), p, f.Info.Pos+1); err != nil {
						t.Fatal(err)
					}
					files[p] = f
				}
				for i := range 30 {
					submit(t, c.sites["seoul"].r, propose("ledger.add", fmt.Sprint("user", i)))
				}
				jeju := c.start("jeju")
				if err := jeju.r.Serving(); !errs.Is(err, errs.Unavailable) {
					t.Errorf("an empty site serves: %v", err)
				}
				if _, err := jeju.r.Submit(within(t, time.Second), propose("ledger.add", "x")); !errs.Is(err, errs.Unavailable) {
					t.Errorf("an empty site takes writes: %v", err)
				}
				c.ready("jeju")
				if err := jeju.r.Serving(); err != nil || count(jeju.r, "user7") != 2 {
					t.Errorf("user7 has %d, %v", count(jeju.r, "user7"), err)
				}
				if gone, back := jeju.remade(); gone != 0 || back != 2 {
					t.Errorf("subscribers were told %d and %d times", gone, back)
				}
				c.alike()
			})
		})
	}
}

// Without a checkpoint an empty site waits for one and says what it lacks; a site that has rows keeps them.
func TestNoCheckpointYet(t *testing.T) {
	var file atomic.Pointer[replica.CheckpointFile]
	get := func(context.Context, journal.Partition, journal.Position) (*replica.CheckpointFile, error) {
		if f := file.Load(); f != nil {
			return f, nil
		}
		return nil, errors.New("no site answers")
	}
	dir := t.TempDir()
	inCluster(t, 1, threeNames, func(_ string, cfg *replica.Config) { cfg.Checkpoint = get }, func(t *testing.T, c *cluster) {
		submit(t, c.sites["seoul"].r, propose("ledger.add", "amy"))
		c.alike()
		for _, name := range []string{"busan", "jeju"} {
			c.crash(name)
		}
		c.wipe("jeju")
		for range 5 {
			submit(t, c.sites["seoul"].r, propose("ledger.add", "amy"))
		}
		f, err := c.sites["seoul"].r.SaveCheckpoint(0, dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.sites["seoul"].j.Trim(t.Context(), 0, f.Info.Pos); err != nil {
			t.Fatal(err)
		}
		jeju, busan := c.start("jeju"), c.start("busan")
		time.Sleep(time.Minute)
		if err := jeju.r.Serving(); !errs.Is(err, errs.Unavailable) {
			t.Errorf("jeju serves nothing: %v", err)
		}
		if n := count(busan.r, "amy"); n != 1 || busan.r.Serving() != nil {
			t.Errorf("busan gave up what it had: %d, %v", n, busan.r.Serving())
		}
		file.Store(f)
		c.ready("jeju")
		c.ready("busan")
		c.alike()
	})
}
