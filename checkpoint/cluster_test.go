package checkpoint

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/clock"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/link/linktest"
	"bongsu/replica"
)

// ledger is a state machine that writes its body to a row of its own.
func ledger() replica.Machine {
	return replica.Machine{Name: "ledger", Byte: 'L', Kinds: map[string]replica.Kind{
		"ledger.add": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			tx.Set(ledgerRow(tx.Slot(), tx.Pos()), slices.Clone(body))
			return nil, nil
		}},
	}}
}

func ledgerRow(slot id.Slot, pos journal.Position) []byte {
	return kv.U64(replica.Row(slot, 'L', 'r'), uint64(pos))
}

const every = 10 * time.Second // of the state's time, between two checkpoints

// cluster is several sites over one journal, each with a replica and a keeper. The first site leads.
type cluster struct {
	t     testing.TB
	store *mem.Store
	links *linktest.Network
	names []string
	sites map[string]*site
	skew  atomic.Int64 // of all clocks, in nanoseconds
	said  int          // proposals so far
}

type site struct {
	c    *cluster
	name string
	dir  string
	boot uint64
	db   *kv.DB
	j    *mem.Journal
	r    *replica.Replica
	k    *Keeper
}

func newCluster(t testing.TB, names ...string) *cluster {
	c := &cluster{t: t, store: mem.NewStore(1), links: linktest.New(t, names...), names: names, sites: map[string]*site{}}
	for _, name := range names {
		c.sites[name] = &site{c: c, name: name, dir: t.TempDir()}
		c.sites[name].start(nil)
	}
	t.Cleanup(func() {
		for _, s := range c.sites {
			s.stop()
		}
	})
	for _, name := range names {
		c.sites[name].ready()
	}
	return c
}

func (c *cluster) now() time.Time { return time.Now().Add(time.Duration(c.skew.Load())) }

// start starts the site with the checkpoints that it has and no rows.
func (s *site) start(change func(*Config)) {
	s.c.t.Helper()
	s.boot++
	var err error
	if s.db, err = kv.Open(kv.Config{MemTable: 4 << 20}); err != nil {
		s.c.t.Fatal(err)
	}
	s.j = s.c.store.Open(nil)
	s.j.Lead(0, s.name == s.c.names[0])
	link := s.c.links.Site(s.name).Fresh()
	cfg := Config{Dir: s.dir, Site: s.name, Journal: s.j, Interval: time.Hour, Clock: clock.Func(s.c.now), Log: slog.New(slog.DiscardHandler),
		Remake: func(p journal.Partition, why error) { s.r.Remake(p, why) }}
	if len(s.c.names) > 1 {
		cfg.Link = link
	}
	if change != nil {
		change(&cfg)
	}
	if s.k, err = Open(cfg); err != nil {
		s.c.t.Fatal(err)
	}
	s.r, err = replica.Open(s.c.t.Context(), replica.Config{DB: s.db, Journal: s.j, Machines: []replica.Machine{ledger()}, Site: s.name,
		Sites: s.c.names, Boot: s.boot, Clock: clock.Func(s.c.now), CheckpointEvery: every, Checkpoint: s.k.Fetch, Snapshot: s.k.Take,
		Diverged: s.k.Distrust})
	if err == nil {
		err = s.r.Start(s.c.t.Context(), nil)
	}
	if err != nil {
		s.c.t.Fatal(err)
	}
}

func (s *site) ready() {
	s.c.t.Helper()
	ctx, cancel := context.WithTimeout(s.c.t.Context(), time.Minute)
	defer cancel()
	if err := s.r.Ready(ctx); err != nil {
		s.c.t.Fatal(err)
	}
}

func (s *site) stop() {
	if s.r == nil {
		return
	}
	s.r.Close()
	s.k.Close()
	if err := s.j.Close(); err != nil {
		s.c.t.Error(err)
	}
	if err := s.db.Close(); err != nil {
		s.c.t.Error(err)
	}
	s.r = nil
}

// burn empties the site's disk while it is stopped.
func (s *site) burn() {
	s.c.t.Helper()
	if err := os.RemoveAll(s.dir); err != nil {
		s.c.t.Fatal(err)
	}
}

// add writes n rows through a site.
func (c *cluster) add(name string, n int) {
	c.t.Helper()
	for range n {
		c.said++
		body := binary.BigEndian.AppendUint64(make([]byte, 200), uint64(c.said))
		_, err := c.sites[name].r.Submit(c.t.Context(), replica.Proposal{Kind: "ledger.add", Slot: id.Slot(c.said % id.Slots), Body: body})
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

// checkpoint lets time pass until a checkpoint is due, and waits until the sites have it. It returns its position.
func (c *cluster) checkpoint(names ...string) journal.Position {
	c.t.Helper()
	before := c.sites[names[0]].newest()
	c.skew.Add(int64(every + time.Second))
	c.add(names[0], 3)
	c.eventually("a new checkpoint is listed", func() bool { return c.sites[names[0]].newest() > before })
	pos := c.sites[names[0]].newest()
	for _, name := range names {
		c.eventually(name+" has it", func() bool { return c.sites[name].newest() == pos })
	}
	return pos
}

// newest is the position of the site's newest checkpoint.
func (s *site) newest() journal.Position {
	list := s.k.of(0)
	if len(list) == 0 {
		return 0
	}
	return list[len(list)-1].Pos
}

func (s *site) first() journal.Position {
	s.c.t.Helper()
	first, _, err := s.j.Bounds(s.c.t.Context(), 0)
	if err != nil {
		s.c.t.Fatal(err)
	}
	return first
}

// agree waits until the sites have the same state.
func (c *cluster) agree(names ...string) {
	c.t.Helper()
	c.eventually("all have one state", func() bool {
		first := c.sites[names[0]].r.Status(0)
		for _, name := range names {
			st := c.sites[name].r.Status(0)
			if st.Err != nil || c.sites[name].r.Serving() != nil || st.Applied != first.Applied || st.Digest != first.Digest {
				return false
			}
		}
		return true
	})
}

// rows are the state rows of the ledger at a site.
func (s *site) rows() string {
	out := ""
	lo, hi := replica.Row(0, 0, 0), []byte("t")
	for k, v := range s.db.Scan(lo, hi) {
		out += fmt.Sprintf("%x=%x\n", k, v)
	}
	return out
}

func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	limit := time.After(40 * time.Second)
	for !ok() {
		select {
		case <-limit:
			c.t.Fatalf("not in time: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
