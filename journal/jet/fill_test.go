package jet

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/journal"
)

// BenchmarkFill empties a site of a cluster and waits until it holds all records again: those that its peers' logs hold since they were
// written one by one, as people write, or those that their snapshots stand for. There are as many as the engine keeps in its logs for
// two minutes. Run it with -benchtime 1x; the start of the site, half a second, is part of it.
func BenchmarkFill(b *testing.B) {
	const partitions = 4
	for _, f := range []struct{ size, each int }{{300, 10_000}, {4 << 10, 1800}} {
		for _, shorten := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dB/shortened=%v", f.size, shorten), func(b *testing.B) {
				b.StopTimer()
				for range b.N {
					c := startTrio(b, partitions, nil)
					site := c.sites[1]
					c.pour(c.sites[0], f.each, f.size, 1)
					c.empty(site)
					if shorten {
						c.shorten()
					}
					b.StartTimer()
					c.start(site)
					c.filled(site, f.each)
					b.StopTimer()
					b.ReportMetric(float64(c.longest(site)), "one-by-one")
					c.stopAll()
				}
				b.ReportMetric(float64(partitions*f.each*b.N)/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}

// pour appends n records to each partition at a site, by so many senders each.
func (c *trio) pour(site string, n, size, senders int) {
	c.t.Helper()
	var all sync.WaitGroup
	data := noise(size)
	for p := range journal.Partition(c.conf[site].Partitions) {
		var next atomic.Int64
		for range senders {
			all.Go(func() {
				for i := next.Add(1); i <= int64(n); i = next.Add(1) {
					if _, err := c.nodes[site].Append(c.t.Context(), p, fmt.Sprintf("%d-%d", senders, i), data); err != nil {
						c.t.Error(err)
						return
					}
				}
			})
		}
	}
	all.Wait()
}

// empty stops a site and takes away what it holds.
func (c *trio) empty(site string) {
	c.t.Helper()
	if c.nodes[site] != nil {
		c.stop(site)
	}
	if err := os.RemoveAll(c.conf[site].Dir); err != nil {
		c.t.Fatal(err)
	}
}

// shorten has all running sites of this process prepare for filling another, as each does when an emptied site asks it. It waits until they
// are current, which they are not while a new leader is elected.
func (c *trio) shorten() {
	c.t.Helper()
	for s, j := range c.nodes {
		for p := range journal.Partition(j.Partitions()) {
			c.until(fmt.Sprintf("%s is current in partition %d", s, p), func() bool { return j.seen(p).current })
		}
		if err := j.Shorten(c.t.Context()); err != nil {
			c.t.Fatalf("%s: %v", s, err)
		}
	}
}

// filled waits until a site's own replica holds n records of each partition.
func (c *trio) filled(site string, n int) {
	c.t.Helper()
	for p := range journal.Partition(c.conf[site].Partitions) {
		c.until(fmt.Sprintf("%s holds partition %d", site, p), func() bool { return int(c.nodes[site].Stored(p)) >= n })
	}
}

// longest is how many entries the longest log of a site holds.
func (c *trio) longest(site string) (n uint64) {
	j := c.nodes[site]
	for p := range journal.Partition(j.Partitions()) {
		n = max(n, j.present().logged(j.seen(p).group))
	}
	return n
}

// held is how many bytes of records a site's files hold, whether it runs or not.
func (c *trio) held(site string, p journal.Partition) (n int64) {
	names, _ := filepath.Glob(filepath.Join(blockDir(c.conf[site].Dir, p), "*"+blockExt)) // the pattern is sound
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			n += info.Size()
		}
	}
	return n
}

// A site is filled out of the others' snapshots, not entry by entry, when they have shortened their logs, also while records are
// appended. What they hold passes the check at start, as a crash leaves it.
func TestClusterShorten(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 1, nil)
	const n = 4 * shortLog
	stop := c.write(c.sites[2], 0, "w")
	site := c.sites[1]
	c.pour(c.sites[0], n, 300, 1)
	if l := c.longest(site); l < n {
		t.Skipf("the longest log holds %d entries: that took so long that the engine took a snapshot by itself", l)
	}
	c.empty(site)
	c.shorten()
	for s := range c.nodes {
		if l := c.longest(s); l > n/2 {
			t.Errorf("the longest log of %s holds %d entries after it was shortened", s, l)
		}
	}
	written, _ := stop()
	c.start(site)
	c.formed(site)
	c.filled(site, n)
	if l := c.longest(site); l > n/2 {
		t.Errorf("the emptied site was given %d entries one by one", l)
	}
	c.pour(c.sites[0], n, 300, 2)
	c.shorten()
	for s := range c.nodes {
		if state, err := Inspect(copyDir(t, c.conf[s].Dir), 1); err != nil || state != Formed {
			t.Errorf("%s in a crash: %v, %v", s, state, err)
		}
	}
	c.whole(0, "w", written)
}

// whole waits until all sites hold the same, of which n records named name must be there once and in order, and stops them; what they
// leave passes the check.
func (c *trio) whole(p journal.Partition, name string, n int) {
	c.t.Helper()
	for _, s := range c.sites {
		c.formed(s)
		c.wantWritten(s, p, name, n)
	}
	c.until("all sites hold the same", func() bool {
		least, most := journal.Position(math.MaxUint64), journal.Position(0)
		for _, j := range c.nodes {
			least, most = min(least, j.Stored(p)), max(most, j.Stored(p))
		}
		return least == most
	})
	c.stopAll()
	for _, s := range c.sites {
		if state, err := Inspect(c.conf[s].Dir, c.conf[s].Partitions); err != nil || state != Formed {
			c.t.Errorf("%s afterwards: %v, %v", s, state, err)
		}
	}
}

// The records that the tests below fill a site with, and how many bytes of them a site is to have when a fault strikes.
const (
	bulk      = 6000
	bulkSize  = 4 << 10
	bulkWhole = bulk * bulkSize
)

// A site that is being filled is killed, in the middle of it, again and again, goes on, and lacks nothing in the end.
func TestClusterFillKilled(t *testing.T) {
	unlessShort(t)
	t.Parallel()
	c := startTrio(t, 1, nil)
	site, writer := c.sites[1], c.sites[0]
	c.pour(writer, bulk, bulkSize, 64)
	c.empty(site)
	c.shorten()
	stop := c.write(writer, 0, "w")
	for i := range 3 {
		k := c.spawn(site)
		enough := int64(i+1) * bulkWhole / 5
		c.until(fmt.Sprintf("%s holds %d bytes", site, enough), func() bool { return c.held(site, 0) >= enough })
		k.kill()
		if state, err := Inspect(c.conf[site].Dir, 1); err != nil || state != Forming {
			t.Fatalf("killed at %d bytes: %v, %v", c.held(site, 0), state, err)
		}
	}
	c.start(site)
	c.filled(site, bulk)
	n, _ := stop()
	c.whole(0, "w", n)
}

// A site is emptied again while it is being filled.
func TestClusterFillEmptiedAgain(t *testing.T) {
	unlessShort(t)
	t.Parallel()
	c := startTrio(t, 1, nil)
	site, writer := c.sites[1], c.sites[0]
	c.pour(writer, bulk, bulkSize, 64)
	c.empty(site)
	c.shorten()
	stop := c.write(writer, 0, "w")
	for range 2 {
		k := c.spawn(site)
		c.until(site+" holds a third", func() bool { return c.held(site, 0) >= bulkWhole/3 })
		k.kill()
		c.empty(site)
		c.shorten()
	}
	c.start(site)
	c.filled(site, bulk)
	n, _ := stop()
	c.whole(0, "w", n)
}

// The site that fills another is killed in the middle of it. The one that is being filled and the third go on without it: they take
// writes, and the third fills. Only if the third lacks an entry that the other two have must they wait for it.
func TestClusterFillWithoutSource(t *testing.T) {
	unlessShort(t)
	t.Parallel()
	c := newTrio(t, 1, nil)
	source, site, writer := c.sites[0], c.sites[1], c.sites[2]
	k := c.spawn(source)
	c.start(site)
	c.start(writer)
	c.formed(writer)
	c.pour(writer, 2*bulk, bulkSize, 64) // of which the logs hold the last 8 MiB
	c.lead(source, 0)
	c.empty(site)
	stop := c.write(writer, 0, "w")
	c.start(site)
	c.until(site+" holds a part", func() bool { return c.nodes[site].Stored(0) >= bulk/2 })
	k.kill()
	at, begin := c.nodes[site].Stored(0), time.Now()
	const alone = 20 * time.Second // the engine notices after ten that it is filled no more
	c.until("it is filled, or that takes too long", func() bool {
		return c.nodes[site].Stored(0) >= 2*bulk || time.Since(begin) > alone
	})
	t.Logf("it held %d when its source was killed, and %d after %v", at, c.nodes[site].Stored(0), time.Since(begin))
	c.start(source)
	c.filled(site, 2*bulk)
	n, longest := stop()
	t.Logf("%d appends, the longest took %v", n, longest)
	c.whole(0, "w", n)
}
