package replica_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/errs"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// fickle is a machine that makes another state at one site while odd names it.
func fickle(site string, odd *atomic.Value) replica.Machine {
	return replica.Machine{Name: "fickle", Byte: 'F', Kinds: map[string]replica.Kind{
		"fickle.set": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			row := string(body)
			if name, _ := odd.Load().(string); name == site {
				row += " as seen at " + site
			}
			tx.Set(replica.Row(tx.Slot(), 'F', 'x'), []byte(row))
			return nil, nil
		}},
	}}
}

// A site whose state differs from what the others agree on notices, makes its rows anew and agrees again. The others say which site
// it is, and go on.
func TestOddSiteIsMadeAnew(t *testing.T) {
	for _, names := range [][]string{threeNames, fiveNames} {
		t.Run(fmt.Sprint(len(names), " sites"), func(t *testing.T) {
			var odd atomic.Value
			var agreed atomic.Uint64
			config := func(site string, cfg *replica.Config) {
				cfg.Machines = []replica.Machine{fickle(site, &odd)}
				cfg.Diverged = func(_ journal.Partition, at journal.Position) { agreed.Store(uint64(at)) }
			}
			inCluster(t, 1, names, config, func(t *testing.T, c *cluster) {
				set := func(site string, n int) {
					for i := range n {
						submit(t, c.sites[site].r, replica.Proposal{Kind: "fickle.set", Body: fmt.Append(nil, i), Lane: "test"})
					}
				}
				set("seoul", 3)
				c.alike()
				sound := c.last(0)
				odd.Store("jeju")
				set("seoul", 1)
				c.until("jeju has applied it", func() bool { return c.sites["jeju"].r.Status(0).Applied >= c.last(0) })
				odd.Store("")
				generation := c.sites["jeju"].r.Generation()
				set("jeju", 1) // claims what it has
				c.until("jeju has made its rows anew", func() bool {
					s := c.sites["jeju"].r.Status(0)
					return c.sites["jeju"].r.Generation() > generation && s.Out == nil
				})
				c.alike()
				if s := c.sites["jeju"].r.Status(0); s.Err != nil || s.Divergence == nil {
					t.Errorf("jeju: %+v", s)
				}
				if n := journal.Position(agreed.Load()); n == 0 || n > sound {
					t.Errorf("agreed up to %d, sound up to %d", n, sound)
				}
				if gone, back := c.sites["jeju"].remade(); gone != 1 || back == 0 {
					t.Errorf("subscribers were told %d and %d times", gone, back)
				}
				for _, name := range names {
					s := c.sites[name].r.Status(0)
					if name != "jeju" && (s.Divergence == nil || s.Divergence.Site != "jeju" || c.sites[name].r.Generation() > uint64(1)) {
						t.Errorf("%s: %v, generation %d", name, s.Divergence, c.sites[name].r.Generation())
					}
				}
				c.until("everybody sees that they agree again", func() bool {
					for _, name := range names {
						for _, s := range c.sites[name].r.Status(0).Sites {
							if s.Differs != 0 {
								return false
							}
						}
					}
					return true
				})
			})
		})
	}
}

// A site that differs again and again has a fault that making its rows anew does not mend: it stops, and the others go on.
func TestOddSiteStopsInTheEnd(t *testing.T) {
	var odd atomic.Value
	config := func(site string, cfg *replica.Config) { cfg.Machines = []replica.Machine{fickle(site, &odd)} }
	inCluster(t, 1, threeNames, config, func(t *testing.T, c *cluster) {
		odd.Store("jeju")
		submit(t, c.sites["seoul"].r, replica.Proposal{Kind: "fickle.set", Lane: "test"})
		c.until("jeju has stopped", func() bool { return c.sites["jeju"].r.Status(0).Err != nil })
		if err := c.sites["jeju"].r.Serving(); !errs.Is(err, errs.Unavailable) {
			t.Errorf("it serves: %v", err)
		}
		submit(t, c.sites["busan"].r, replica.Proposal{Kind: "fickle.set", Lane: "test"})
		if err := c.sites["busan"].r.CatchUp(within(t, 10*time.Second)); err != nil {
			t.Error(err)
		}
	})
}

// Three sites with three states: nobody is in the right, all say so, and nobody gives up what it has.
func TestNobodyIsOutvotedByTwoThatDiffer(t *testing.T) {
	config := func(site string, cfg *replica.Config) {
		var odd atomic.Value
		odd.Store(site)
		cfg.Machines = []replica.Machine{fickle(site, &odd)}
	}
	inCluster(t, 1, threeNames, config, func(t *testing.T, c *cluster) {
		submit(t, c.sites["seoul"].r, replica.Proposal{Kind: "fickle.set", Lane: "test"})
		for _, name := range threeNames {
			c.until("it is noticed", func() bool { return c.sites[name].r.Status(0).Divergence != nil })
		}
		time.Sleep(10 * time.Minute)
		for _, name := range threeNames {
			if m := c.sites[name]; m.r.Serving() != nil || m.r.Status(0).Err != nil {
				t.Errorf("%s: %v, %v", name, m.r.Serving(), m.r.Status(0).Err)
			}
		}
	})
}

// A site whose next record was trimmed while it was away, and one whose rows are found damaged, are filled while they run.
func TestRowsAreMadeAnewWhileRunning(t *testing.T) {
	dir := t.TempDir()
	var file atomic.Pointer[replica.CheckpointFile]
	get := func(_ context.Context, _ journal.Partition, atLeast journal.Position) (*replica.CheckpointFile, error) {
		if f := file.Load(); f != nil && f.Info.Pos >= atLeast {
			return f, nil
		}
		return nil, nil
	}
	inCluster(t, 1, threeNames, func(_ string, cfg *replica.Config) { cfg.Checkpoint = get }, func(t *testing.T, c *cluster) {
		seoul, jeju := c.sites["seoul"], c.sites["jeju"]
		submit(t, seoul.r, propose("ledger.add", "amy"))
		c.alike()
		jeju.j.Cut(true)
		for range 10 {
			submit(t, seoul.r, propose("ledger.add", "amy"))
		}
		f, err := seoul.r.SaveCheckpoint(0, dir)
		if err != nil {
			t.Fatal(err)
		}
		file.Store(f)
		if err := seoul.j.Trim(t.Context(), 0, f.Info.Pos); err != nil {
			t.Fatal(err)
		}
		jeju.j.Cut(false)
		had := jeju.r.Status(0).Applied
		c.until("jeju has what was trimmed", func() bool { return jeju.r.Serving() == nil && count(jeju.r, "amy") == 11 })
		if had >= f.Info.Pos {
			t.Fatalf("nothing was trimmed that jeju lacked: %d, %d", had, f.Info.Pos)
		}
		c.alike()

		generation, at := jeju.r.Generation(), jeju.r.Status(0).Applied
		jeju.r.Remake(0, errors.New("a row does not match its checksum"))
		c.until("jeju is filled again", func() bool { return jeju.r.Generation() > generation && jeju.r.Serving() == nil })
		if now := jeju.r.Status(0).Applied; now < at {
			t.Errorf("back in service at %d, was at %d", now, at)
		}
		submit(t, jeju.r, propose("ledger.add", "amy"))
		c.alike()
	})
}

// Whoever waits at a partition whose rows are made anew is sent away, and comes again.
func TestWaitersAreSentAway(t *testing.T) {
	inCluster(t, 1, threeNames, nil, func(t *testing.T, c *cluster) {
		jeju := c.sites["jeju"]
		jeju.j.Lag(10 * time.Second)
		write, caught := make(chan error), make(chan error)
		go func() {
			_, err := jeju.r.Submit(t.Context(), propose("ledger.add", "amy"))
			write <- err
		}()
		go func() { caught <- jeju.r.CatchUp(t.Context()) }()
		time.Sleep(time.Second)
		jeju.r.Remake(0, errors.New("damaged"))
		for _, ch := range []chan error{write, caught} {
			if err := <-ch; !errs.Is(err, errs.Unavailable) {
				t.Errorf("got %v", err)
			}
		}
		jeju.j.Lag(0)
		c.ready("jeju")
		c.until("the write is there", func() bool { return count(jeju.r, "amy") == 1 })
	})
}

// A site that is far behind loads a checkpoint instead of applying what led to it.
func TestFarBehindLoadsACheckpoint(t *testing.T) {
	dir := t.TempDir()
	var file *replica.CheckpointFile
	asked := 0
	get := func(_ context.Context, _ journal.Partition, atLeast journal.Position) (*replica.CheckpointFile, error) {
		asked++
		if file == nil || file.Info.Pos < atLeast {
			return nil, nil
		}
		return file, nil
	}
	inCluster(t, 1, threeNames, func(_ string, cfg *replica.Config) { cfg.Checkpoint = get }, func(t *testing.T, c *cluster) {
		submit(t, c.sites["seoul"].r, propose("ledger.add", "amy"))
		c.alike()
		c.crash("jeju")
		for i := range 21_000 {
			rec := replica.Record{Site: "old", Boot: 1, N: uint64(i + 1), Rules: 2, Proposals: []replica.Proposal{propose("ledger.add", "amy")}}
			if _, err := c.sites["seoul"].j.Append(t.Context(), 0, fmt.Sprint("old-", i), rec.Encode(nil)); err != nil {
				t.Fatal(err)
			}
		}
		c.until("seoul has applied it", func() bool { return count(c.sites["seoul"].r, "amy") == 21_001 })
		var err error
		if file, err = c.sites["seoul"].r.SaveCheckpoint(0, dir); err != nil {
			t.Fatal(err)
		}
		asked = 0
		jeju := c.start("jeju")
		c.until("jeju is filled", func() bool { return jeju.r.Serving() == nil && count(jeju.r, "amy") == 21_001 })
		if asked == 0 || jeju.r.Generation() == 0 {
			t.Error("jeju applied history instead of loading the checkpoint")
		}
		c.alike()
	})
}

// A store that cannot be read at one site is filled from the others, once; when it fails again the partition stops.
func TestFaultOfTheStoreIsMendedOnce(t *testing.T) {
	var faults atomic.Int32
	config := func(site string, cfg *replica.Config) {
		cfg.Machines = []replica.Machine{{Name: "brittle", Byte: 'B', Kinds: map[string]replica.Kind{
			"brittle.set": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
				if site == "jeju" && faults.Load() > 0 {
					faults.Add(-1)
					panic(kv.Fault{Err: errors.New("checksum mismatch")})
				}
				tx.Set(replica.Row(tx.Slot(), 'B', 'x'), body)
				return nil, nil
			}},
		}}}
	}
	inCluster(t, 1, threeNames, config, func(t *testing.T, c *cluster) {
		set := func() { submit(t, c.sites["seoul"].r, replica.Proposal{Kind: "brittle.set", Lane: "test"}) }
		jeju := c.sites["jeju"]
		set()
		c.alike()
		generation := jeju.r.Generation()
		faults.Store(1)
		set()
		c.until("jeju is mended", func() bool { return jeju.r.Generation() > generation && jeju.r.Serving() == nil })
		c.alike()
		faults.Store(1)
		set()
		c.until("jeju has stopped", func() bool { return jeju.r.Status(0).Err != nil })
		if err := jeju.r.Serving(); !errs.Is(err, errs.Unavailable) {
			t.Errorf("it serves: %v", err)
		}
		set()
	})
}

// A machine that remembers what its row says is told to forget before it meets rows that were made anew.
func TestMachinesForgetRowsThatAreMadeAnew(t *testing.T) {
	config := func(_ string, cfg *replica.Config) {
		remembered := -1
		cfg.Machines = []replica.Machine{{Name: "counter", Byte: 'C', Forget: func() { remembered = -1 }, Kinds: map[string]replica.Kind{
			"counter.count": {Apply: func(tx *replica.Tx, _ []byte) ([]byte, error) {
				key := replica.Row(tx.Slot(), 'C', 'x')
				if n := len(tx.Get(key)); remembered < 0 {
					remembered = n
				} else if n != remembered {
					panic(fmt.Sprintf("the row says %d, and %d is remembered", n, remembered))
				}
				remembered++
				tx.Set(key, make([]byte, remembered))
				return nil, nil
			}},
		}}}
	}
	inCluster(t, 1, threeNames, config, func(t *testing.T, c *cluster) {
		count := func() { submit(t, c.sites["seoul"].r, replica.Proposal{Kind: "counter.count", Lane: "test"}) }
		for range 5 {
			count()
		}
		c.alike()
		jeju := c.sites["jeju"]
		generation := jeju.r.Generation()
		jeju.r.Remake(0, errors.New("damaged"))
		c.until("jeju is filled again", func() bool { return jeju.r.Generation() > generation && jeju.r.Serving() == nil })
		count()
		c.alike()
		if n := jeju.r.Failures(); n != 0 {
			t.Errorf("%d proposals met a memory of rows that are gone", n)
		}
	})
}
