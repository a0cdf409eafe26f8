package jet

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/journal"
)

func TestPulse(t *testing.T) {
	t.Parallel()
	var p pulse
	now := time.Now()
	beat := func(took time.Duration) bool {
		p.begin(now)
		now = now.Add(took)
		return p.end(now)
	}
	want := func(weak bool, when string) {
		t.Helper()
		if p.weak(now) != weak {
			t.Errorf("weak is %v %s", !weak, when)
		}
	}
	want(false, "before the first beat")
	for i, took := range []time.Duration{0, slowSync + 1, slowSync, slowSync + 1, 0} {
		if slow := beat(took); slow != (took > slowSync) {
			t.Errorf("a beat of %v is slow: %v", took, slow)
		}
		want(false, fmt.Sprint("after beat ", i))
	}
	beat(time.Second) // in the place of the first
	want(true, "with three of the last five slow")
	beat(0)
	want(false, "with two of the last five slow")
	for range lastBeats {
		beat(0)
	}
	p.begin(now)
	now = now.Add(hangs)
	want(false, "while a beat is under way")
	now = now.Add(1)
	want(true, "when a beat takes too long")
	p.end(now)
	want(false, "when that beat is over")
}

// A site whose disk is slow gives up what it leads, and is given nothing until the disk is fast again; when all disks are slow, nobody
// gives up anything.
func TestClusterSlowDisk(t *testing.T) {
	t.Parallel()
	slow := map[string]*atomic.Bool{}
	c := newTrio(t, 2, func(conf *Config) {
		mine := &atomic.Bool{}
		slow[conf.Cluster.Site] = mine
		conf.Cluster.settle = 500 * time.Millisecond
		conf.Cluster.beat = func(*os.File) error {
			if mine.Load() {
				time.Sleep(2 * slowSync) // this is the disk
			}
			return nil
		}
	})
	c.startAll()
	site := c.nodes[c.sites[0]].sites[0] // partition 0 belongs to it
	other := c.nodes[c.others(site)[0]]
	j := c.nodes[site]
	c.until("the leaders are where they belong", func() bool { return j.Leads(0) && other.Leader(1) == other.sites[1] })

	slow[site].Store(true)
	c.until("the slow site leads nothing", func() bool { return other.Leader(0) != site && other.Leader(0) != "" && !j.Leads(0) && !j.Leads(1) })
	c.until("the others know that it takes no leader", func() bool { return !other.peers.complete() })
	for p := range journal.Partition(2) {
		c.fill(site, p, 1, 5, 100)
	}

	for _, s := range c.sites {
		slow[s].Store(true)
	}
	c.until("all disks are slow", func() bool {
		for _, j := range c.nodes {
			if !j.pulse.weak(time.Now()) || j.peers.willing() {
				return false
			}
		}
		return true
	})
	for s, j := range c.nodes {
		if why := j.unfit(time.Now()); why != "" {
			t.Errorf("%s would give up what it leads although all are slow: %s", s, why)
		}
	}
	for _, s := range c.sites {
		slow[s].Store(false)
	}
	c.until("every site may lead again", func() bool { return j.peers.complete() && other.peers.complete() })
}
