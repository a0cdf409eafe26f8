package jet

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"bongsu/journal"
)

// A trim asked for at one site shortens all, and the files pass the scan afterwards, as they lie and as a crash leaves them.
func TestClusterTrim(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 2, nil)
	const n, first = 60, 35
	c.fill(c.sites[0], 0, 1, n, damagedSize)
	for _, s := range c.sites {
		c.want(s, 0, 1, n, damagedSize)
	}
	if err := c.nodes[c.sites[1]].Trim(limit(t), 0, first); err != nil {
		t.Fatal(err)
	}
	for _, s := range c.sites {
		c.want(s, 0, first, n, damagedSize)
	}
	site := c.sites[2]
	dir := c.conf[site].Dir
	crashed := copyDir(t, dir)
	c.stop(site)
	for _, d := range []string{dir, crashed} {
		if s, err := Inspect(d, 2); err != nil || s != Formed {
			t.Fatalf("after a trim: %v, %v", s, err)
		}
	}
	c.fill(c.sites[0], 0, n+1, n+5, damagedSize)
	c.start(site)
	for _, s := range c.sites {
		c.want(s, 0, first, n+5, damagedSize)
	}
}

// The journal is trimmed while an emptied site is being filled with it. What was trimmed in between never comes to that site, which is no damage.
func TestClusterTrimWhileFilling(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 1, nil)
	const n, size = 3000, 4000 // three times what is on its way to the site at a time
	other, site := c.sites[0], c.sites[2]
	var all sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for from := 1; from <= n; from += n / 10 { // in any order within a tenth
		for i := from; i < from+n/10; i++ {
			all.Go(func() {
				if _, err := c.nodes[other].Append(ctx, 0, fmt.Sprint(i), sample(0, i, size)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	c.stop(site)
	if err := Wipe(c.conf[site].Dir); err != nil {
		t.Fatal(err)
	}
	c.start(site)
	j := c.nodes[site]
	for trimmed := journal.Position(0); trimmed < n-100; {
		c.until("more is there", func() bool { return j.Stored(0) > trimmed })
		trimmed = min(n-100, j.Stored(0)+n/2)
		if err := c.nodes[other].Trim(limit(t), 0, trimmed); err != nil {
			t.Fatal(err)
		}
	}
	c.formed(site)
	c.until("the site has all that is left", func() bool {
		f, l, err := j.Bounds(limit(t), 0)
		return err == nil && f == n-100 && l == n
	})
	c.until("it can append", func() bool { return j.Refusing() == nil })
}

// A cluster that continues another begins where it was told, also after a restart and for a site that comes back empty.
func TestClusterFirst(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 2, func(conf *Config) { conf.Cluster.First = []journal.Position{101, 1} })
	for _, s := range c.sites {
		for p, want := range []journal.Position{101, 1} {
			if f, l, err := c.nodes[s].Bounds(limit(t), journal.Partition(p)); err != nil || f != want || l != want-1 {
				t.Errorf("%s begins partition %d with %d to %d, %v", s, p, f, l, err)
			}
		}
	}
	c.fill(c.sites[0], 0, 101, 120, 500)
	c.fill(c.sites[0], 1, 1, 3, 500)
	check := func() {
		t.Helper()
		for _, s := range c.sites {
			c.want(s, 0, 101, 120, 500)
			c.want(s, 1, 1, 3, 500)
		}
	}
	check()
	c.stopAll()
	c.startAll()
	check()
	site := c.sites[1]
	c.stop(site)
	if err := Wipe(c.conf[site].Dir); err != nil {
		t.Fatal(err)
	}
	c.start(site)
	c.formed(site)
	check()
}
