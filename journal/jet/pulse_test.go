package jet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/harness"
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
	beat(slowSync + 1) // in the place of the first
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
	for i := range lastBeats {
		want(true, fmt.Sprint("after such a beat and ", i, " others"))
		beat(0)
	}
	want(false, "when all of the last five were fast")
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

// The disk of a site that leads everything hangs, and the site stays as it is. Every partition is led elsewhere, also one whose replica here
// has nothing to write and could go on telling the others that all is well; and what is appended at that site can be read there.
func TestClusterHangingDisk(t *testing.T) {
	unlessShort(t)
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a file system")
	}
	t.Parallel()
	disk, err := harness.NewDisk(t.TempDir(), 96<<20)
	if err != nil {
		t.Skipf("no file system to test on: %v", err)
	}
	t.Cleanup(func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	const partitions = 6
	c := newTrio(t, partitions, func(conf *Config) { conf.Cluster.beat, conf.Cluster.settle = beat, time.Hour })
	t.Cleanup(func() { // before the sites are stopped, which waits for their disks
		if err := disk.Slow(0); err != nil {
			t.Error(err)
		}
	})
	site, other := c.sites[0], c.sites[1]
	conf := c.conf[site]
	conf.Dir = filepath.Join(disk.Dir, "journal")
	c.conf[site] = conf
	c.startAll()
	for p := range journal.Partition(partitions) {
		c.lead(site, p)
	}

	hangs := make(chan struct{})
	var ends [partitions]int
	var begun, wg sync.WaitGroup
	for p := range journal.Partition(partitions) {
		begun.Add(1)
		wg.Go(func() { // some appends are in the books and some in the records when the disk stands still
			var err error
			ends[p], err = c.nodes[site].appendUntil(limit(t), p, hangs, begun.Done)
			if err == nil {
				err = c.nodes[site].followTo(limit(t), p, ends[p])
			}
			if err != nil {
				t.Errorf("partition %d: %v", p, err)
			}
		})
	}
	begun.Wait()
	if err := disk.Slow(time.Hour); err != nil {
		t.Fatal(err)
	}
	close(hangs)
	wg.Wait()
	for p := range journal.Partition(partitions) {
		c.fill(other, p, ends[p]+1, ends[p]+5, 100)
		if l := c.nodes[other].Leader(p); l == site || l == "" {
			t.Errorf("partition %d is led by %q", p, l)
		}
	}

	if err := disk.Slow(0); err != nil {
		t.Fatal(err)
	}
	c.ready()
	for p := range journal.Partition(partitions) {
		c.want(site, p, 1, ends[p]+5, 100)
	}
}

// appendUntil appends samples until the disk hangs, and five after that, and returns their number. It calls begun after the first.
func (j *Journal) appendUntil(ctx context.Context, p journal.Partition, hangs chan struct{}, begun func()) (n int, err error) {
	for left := 5; left > 0; {
		n++
		pos, err := j.Append(ctx, p, fmt.Sprintf("%d-%d", p, n), sample(p, n, 100))
		if err != nil || int(pos) != n {
			return n, fmt.Errorf("append %d: position %d, %w", n, pos, err)
		}
		if n == 1 {
			begun()
		}
		select {
		case <-hangs:
			left--
		default:
		}
	}
	return n, nil
}

// followTo reads the samples 1..to without asking this site's own engine how many there are.
func (j *Journal) followTo(ctx context.Context, p journal.Partition, to int) error {
	next := 1
	err := j.Follow(ctx, p, 0, func(e journal.Entry) error {
		if int(e.Pos) != next || !bytes.Equal(e.Data, sample(p, next, 100)) {
			return fmt.Errorf("position %d where %d was due, or another record", e.Pos, next)
		}
		if next++; next > to {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return fmt.Errorf("reading %d: %w", next, err)
}
