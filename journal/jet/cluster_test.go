package jet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"bongsu/freeport"
	"bongsu/journal"
	"bongsu/journal/journaltest"
)

// patience bounds the wait for what must come; only a failing test reaches it.
const patience = 60 * time.Second

// trio is a cluster of three sites, or more, within the test's process.
type trio struct {
	t     testing.TB
	sites []string
	conf  map[string]Config
	nodes map[string]*Journal
}

var siteNames = []string{"seoul", "chuncheon", "busan", "daegu", "jeju"}

// unlessShort skips what takes long, in the short form of the tests.
func unlessShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in the short form")
	}
}

// newTrio prepares a cluster of three and starts nothing. change, if not nil, changes each site's configuration.
func newTrio(t testing.TB, partitions int, change func(*Config)) *trio {
	t.Helper()
	return newSites(t, 3, partitions, change)
}

// newSites is newTrio of n sites.
func newSites(t testing.TB, n, partitions int, change func(*Config)) *trio {
	t.Helper()
	c := &trio{t: t, sites: siteNames[:n], conf: map[string]Config{}, nodes: map[string]*Journal{}}
	addr := map[string]string{}
	for _, s := range c.sites {
		addr[s] = freeport.Addr(t)
	}
	for _, s := range c.sites {
		k := &Cluster{Name: "test", Site: s, Sites: c.sites, Listen: addr[s]}
		k.beat = func(*os.File) error { return nil } // on a busy machine disks are slow, which moves leaders
		for _, o := range c.sites {
			if o != s {
				k.Routes = append(k.Routes, addr[o])
			}
		}
		conf := quiet(Config{Dir: filepath.Join(t.TempDir(), s), Partitions: partitions, Cluster: k, Reserve: -1})
		conf.Log = conf.Log.With("site", s)
		if change != nil {
			change(&conf)
		}
		c.conf[s] = conf
	}
	t.Cleanup(c.stopAll)
	return c
}

// startTrio starts a cluster of three and waits until it is formed.
func startTrio(t testing.TB, partitions int, change func(*Config)) *trio {
	t.Helper()
	c := newTrio(t, partitions, change)
	c.startAll()
	return c
}

func (c *trio) start(site string) *Journal {
	c.t.Helper()
	j, err := Open(c.conf[site])
	if err != nil {
		c.t.Fatalf("%s: %v", site, err)
	}
	c.nodes[site] = j
	return j
}

// startAll starts all sites and waits until each has everything.
func (c *trio) startAll() {
	c.t.Helper()
	for _, s := range c.sites {
		c.start(s)
	}
	for _, s := range c.sites {
		c.formed(s)
	}
	c.ready()
}

func (c *trio) formed(site string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := c.nodes[site].Formed(ctx); err != nil {
		c.t.Fatalf("%s is not formed: %v", site, err)
	}
}

// ready waits until every running site says that it can append.
func (c *trio) ready() {
	c.t.Helper()
	for s, j := range c.nodes {
		c.until(s+" can append", func() bool { return j.Refusing() == nil })
	}
}

// stop closes a site in good order.
func (c *trio) stop(site string) {
	c.t.Helper()
	j := c.nodes[site]
	delete(c.nodes, site)
	if err := j.Close(); err != nil {
		c.t.Errorf("%s: %v", site, err)
	}
}

func (c *trio) stopAll() {
	var wg sync.WaitGroup
	for _, j := range c.nodes {
		wg.Go(func() {
			if err := j.Close(); err != nil {
				c.t.Error(err)
			}
		})
	}
	wg.Wait()
	clear(c.nodes)
}

// until waits for something.
func (c *trio) until(what string, is func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// others are the sites without one.
func (c *trio) others(site string) []string {
	return slices.DeleteFunc(slices.Clone(c.sites), func(s string) bool { return s == site })
}

// fill appends the samples from..to at a site; it waits out elections.
func (c *trio) fill(site string, p journal.Partition, from, to, size int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for i := from; i <= to; i++ {
		pos, err := c.nodes[site].Append(ctx, p, fmt.Sprintf("%d-%d", p, i), sample(p, i, size))
		if err != nil || int(pos) != i {
			c.t.Fatalf("append %d at %s: position %d, %v", i, site, pos, err)
		}
	}
}

// want waits until a site's own replica holds the samples from..to, and reads them there.
func (c *trio) want(site string, p journal.Partition, from, to, size int) {
	c.t.Helper()
	j := c.nodes[site]
	c.until(fmt.Sprintf("%s has partition %d up to %d", site, p, to), func() bool {
		ctx, cancel := context.WithTimeout(c.t.Context(), patience)
		defer cancel()
		f, l, err := j.Bounds(ctx, p)
		return err == nil && int(f) == from && int(l) == to
	})
	wantSamples(c.t, j, p, from, to, size)
}

func TestClusterForms(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 4, nil)
	for p := range journal.Partition(4) {
		for i, s := range c.sites {
			c.fill(s, p, i*10+1, i*10+10, 500)
		}
	}
	for p := range journal.Partition(4) {
		for _, s := range c.sites {
			c.want(s, p, 1, 30, 500)
		}
	}
	c.stopAll()
	c.startAll()
	for p := range journal.Partition(4) {
		for _, s := range c.sites {
			c.want(s, p, 1, 30, 500)
		}
	}
}

// The contract holds at each site of a cluster. Cases run side by side, since most of their time is elections.
func TestClusterContract(t *testing.T) {
	type at struct {
		c    *trio
		site string
	}
	var mu sync.Mutex
	of := map[journal.Journal]at{}
	n := 0
	journaltest.Run(t, func(t *testing.T) journal.Journal {
		c := startTrio(t, 2, nil)
		mu.Lock()
		defer mu.Unlock()
		n++
		site := c.sites[n%len(c.sites)]
		of[c.nodes[site]] = at{c, site}
		return c.nodes[site]
	}, journaltest.Options{
		Reopen: func(t *testing.T, j journal.Journal) journal.Journal {
			mu.Lock()
			defer mu.Unlock()
			o := of[j]
			o.c.stop(o.site)
			j = o.c.start(o.site)
			o.c.ready()
			of[j] = o
			return j
		},
		Wrap: func(t *testing.T, run func(*testing.T)) {
			t.Parallel()
			run(t)
		},
		Sites:   true,
		Appends: 100,
	})
}
