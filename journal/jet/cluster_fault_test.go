package jet

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bongsu/journal"
)

// With siteConfig set the test binary plays one site of a cluster, until it is killed or its input ends.
const siteConfig = "JET_SITE"

// childConfig is what of a Config gets to another process.
type childConfig struct {
	Dir                string
	Partitions         int
	Name, Site, Listen string
	Sites, Routes      []string
	Timers             Timers
}

func playSite(config string) error {
	var c childConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	j, err := Open(quiet(Config{Dir: c.Dir, Partitions: c.Partitions, Reserve: -1,
		Cluster: &Cluster{Name: c.Name, Site: c.Site, Sites: c.Sites, Listen: c.Listen, Routes: c.Routes, Timers: c.Timers}}))
	if err != nil {
		return err
	}
	if err := j.Formed(context.Background()); err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent closes it
	return j.Close()
}

// child is a site in a process of its own.
type child struct {
	cmd   *exec.Cmd
	in    io.Closer     // its end stops the site in good order
	ready chan struct{} // closed when it has all partitions, or was killed before

	killed atomic.Bool
}

// spawn starts a site in a process of its own; others must run too if the cluster is new. It does not wait.
func (c *trio) spawn(site string) *child {
	c.t.Helper()
	conf := c.conf[site]
	k := conf.Cluster
	b, err := json.Marshal(childConfig{conf.Dir, conf.Partitions, k.Name, k.Site, k.Listen, k.Sites, k.Routes, k.Timers})
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), siteConfig+"="+string(b))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	process := &child{cmd: cmd, in: in, ready: make(chan struct{})}
	c.t.Cleanup(process.kill)
	go func() {
		if s := bufio.NewScanner(out); (!s.Scan() || s.Text() != "ready") && !process.killed.Load() {
			c.t.Errorf("%s did not get ready", site)
		}
		close(process.ready)
	}()
	return process
}

// kill is kill -9.
func (k *child) kill() {
	k.killed.Store(true)
	_ = k.cmd.Process.Kill()
	_ = k.cmd.Wait()
}

// signal is kill -s.
func (k *child) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := k.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// lead waits until a site of this process leads p, or one of another process does, having asked for it.
func (c *trio) lead(site string, p journal.Partition) {
	c.t.Helper()
	var asked time.Time
	c.until(fmt.Sprintf("%s leads partition %d", site, p), func() bool {
		all := true
		for _, j := range c.nodes {
			all = all && j.Leader(p) == site
			if j.Leads(p) && j.Leader(p) != site && time.Since(asked) > time.Second {
				asked = time.Now()
				if err := j.present().moveLeader(c.t.Context(), p, site); err != nil {
					c.t.Logf("asked again: %v", err)
				}
			}
		}
		return all
	})
}

// write appends without end at a site until stop is called; stop returns how many were acknowledged, in order, and the longest time
// that one took.
func (c *trio) write(site string, p journal.Partition, name string) (stop func() (n int, longest time.Duration)) {
	ctx, cancel := context.WithCancel(c.t.Context())
	j, done := c.nodes[site], make(chan struct{})
	var n int
	var longest atomic.Int64
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			begin := time.Now()
			if _, err := j.Append(ctx, p, fmt.Sprintf("%s-%d", name, n), fmt.Appendf(nil, "%s-%d", name, n)); err != nil {
				if ctx.Err() == nil {
					c.t.Errorf("append at %s: %v", site, err)
				}
				return
			}
			n++
			longest.Store(max(longest.Load(), int64(time.Since(begin))))
		}
	}()
	return func() (int, time.Duration) {
		cancel()
		<-done
		return n, time.Duration(longest.Load())
	}
}

// wantWritten reads p at a site: each of the n records of that name must be there once and in order. One more may be, unacknowledged.
func (c *trio) wantWritten(site string, p journal.Partition, name string, n int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	next := 0
	err := c.nodes[site].Follow(ctx, p, 0, func(e journal.Entry) error {
		var i int
		if k, _ := fmt.Sscanf(string(e.Data), name+"-%d", &i); k != 1 {
			return nil
		}
		if i != next {
			return fmt.Errorf("%s-%d at %d where %d was due", name, i, e.Pos, next)
		}
		if next++; next == n {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		c.t.Fatalf("at %s, %d of %d: %v", site, next, n, err)
	}
}

// The leader of both partitions is killed under load: nothing acknowledged is lost, writes go on within seconds; it returns, and is
// frozen, and returns again.
func TestClusterKillAndFreeze(t *testing.T) {
	unlessShort(t)
	t.Parallel()
	c := newTrio(t, 2, nil)
	victim, a, b := c.sites[0], c.sites[1], c.sites[2]
	k := c.spawn(victim)
	c.start(a)
	c.start(b)
	c.formed(a)
	c.formed(b)
	for p := range journal.Partition(2) {
		c.lead(victim, p)
	}
	stops := []func() (int, time.Duration){c.write(a, 0, "a"), c.write(b, 1, "b")}
	grow := func(j *Journal, p journal.Partition) {
		t.Helper()
		_, last, err := j.Bounds(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		c.until("more is written", func() bool { _, now, err := j.Bounds(t.Context(), p); return err == nil && now > last+20 })
	}
	both := func() { t.Helper(); grow(c.nodes[a], 0); grow(c.nodes[b], 1) }
	both()
	k.kill()
	both()
	for p := range journal.Partition(2) {
		c.until("nobody is said to be led by the dead", func() bool { return c.nodes[a].Leader(p) != victim })
	}
	k = c.spawn(victim)
	for p := range journal.Partition(2) {
		c.lead(victim, p)
	}
	both()
	k.signal(t, syscall.SIGSTOP)
	both()
	c.until("the routes to it are given up", func() bool { return !c.nodes[a].Routed(victim) && !c.nodes[b].Routed(victim) })
	k.signal(t, syscall.SIGCONT)
	both()
	c.until("it is connected again", func() bool { return c.nodes[a].Routed(victim) && c.nodes[b].Routed(victim) })
	k.kill()
	n0, long0 := stops[0]()
	n1, long1 := stops[1]()
	t.Logf("%d and %d appends, the longest took %v and %v", n0, n1, long0, long1)
	j := c.start(victim) // its own copy, in this process
	c.until("it has caught up", func() bool {
		_, l0, err0 := j.Bounds(t.Context(), 0)
		_, l1, err1 := j.Bounds(t.Context(), 1)
		return err0 == nil && err1 == nil && int(l0) >= n0 && int(l1) >= n1
	})
	for _, s := range c.sites {
		c.wantWritten(s, 0, "a", n0)
		c.wantWritten(s, 1, "b", n1)
	}
}

// A site that has vanished may be asked for history as long as the route to it is there: readers do not wait for it.
func TestClusterReadsPastTheSilent(t *testing.T) {
	unlessShort(t)
	t.Parallel()
	c := newTrio(t, 1, nil)
	victim, a, b := c.sites[0], c.sites[1], c.sites[2]
	k := c.spawn(victim)
	c.start(a)
	c.start(b)
	c.formed(a)
	c.ready()
	if c.nodes[a].Leader(0) == victim { // which only it could hand over
		k.kill()
		c.until("another leads", func() bool { return c.nodes[a].Leader(0) != victim })
		k = c.spawn(victim)
	}
	c.lead(a, 0)
	c.lead(victim, 0) // now both are among those who are asked, which a follower is only after a while
	c.fill(a, 0, 1, 3, 500)
	c.want(a, 0, 1, 3, 500)
	<-k.ready
	k.signal(t, syscall.SIGSTOP)
	n, begin := 0, time.Now()
	for ; c.nodes[a].Routed(victim); n++ {
		if _, err := c.nodes[a].Read(limit(t), 0, 2); err != nil {
			t.Fatal(err)
		}
		wantSamples(t, c.nodes[a], 0, 1, 3, 500)
	}
	t.Logf("%d reads in %v", n, time.Since(begin))
	// One in three requests goes there.
	if enough := 4; n < enough {
		t.Errorf("%d reads until the route was given up, %d were to be expected at least", n, enough)
	}
}

// A lone survivor says why it cannot write, still tells what it has, and goes on when the others return.
func TestClusterMinority(t *testing.T) {
	unlessShort(t)
	t.Parallel()
	c := startTrio(t, 1, nil)
	lone := c.sites[0]
	j := c.nodes[lone]
	c.fill(lone, 0, 1, 20, 500)
	c.want(lone, 0, 1, 20, 500)
	for _, s := range c.others(lone) {
		c.stop(s)
	}
	for _, s := range c.others(lone) {
		c.until("it says that it cannot write because it does not hear "+s, func() bool {
			err := j.Refusing()
			return errors.Is(err, errNoQuorum) && strings.Contains(err.Error(), s)
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := j.Append(ctx, 0, "0-21", sample(0, 21, 500)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an append without a quorum: %v", err)
	}
	c.want(lone, 0, 1, 20, 500)
	// Started anew, it still tells what it has.
	c.stop(lone)
	j = c.start(lone)
	c.until("it tells the bounds", func() bool { _, l, err := j.Bounds(t.Context(), 0); return err == nil && l == 20 })
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := j.Read(ctx, 0, 5); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reading: %v", err)
	}
	for _, s := range c.others(lone) {
		c.start(s)
	}
	c.ready()
	c.fill(lone, 0, 21, 30, 500)
	for _, s := range c.sites {
		c.want(s, 0, 1, 30, 500)
	}
}

// A site whose files are damaged is found out before its routes open, wiped, and filled by the others.
func TestClusterDamage(t *testing.T) {
	unlessShort(t)
	t.Parallel()
	damages := []struct {
		name string
		do   func(t *testing.T, dir string)
	}{
		{"flipped bit in a record", func(t *testing.T, dir string) {
			edit(t, blocksOf(t, dir, 0)[0], func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}},
		{"hole", func(t *testing.T, dir string) {
			if err := os.Remove(blocksOf(t, dir, 0)[1]); err != nil {
				t.Fatal(err)
			}
		}},
		{"end gone", func(t *testing.T, dir string) {
			b := blocksOf(t, dir, 0)
			if err := os.Remove(b[len(b)-1]); err != nil {
				t.Fatal(err)
			}
		}},
		{"flipped bit in a log of the books", func(t *testing.T, dir string) {
			edit(t, biggest(t, filepath.Join(raftDir(dir), "S-*", "msgs", "*.blk")), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}},
		{"log of the books ends too early", func(t *testing.T, dir string) {
			name := biggest(t, filepath.Join(raftDir(dir), "S-*", "msgs", "*.blk"))
			if err := errors.Join(os.Truncate(name, 0), os.RemoveAll(filepath.Join(filepath.Dir(filepath.Dir(name)), "snapshots"))); err != nil {
				t.Fatal(err)
			}
		}},
		{"flipped bit in a snapshot of the books", func(t *testing.T, dir string) {
			edit(t, biggest(t, filepath.Join(raftDir(dir), "*", "snapshots", "*")), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}},
		{"vote cut short", func(t *testing.T, dir string) {
			edit(t, biggest(t, filepath.Join(raftDir(dir), metaGroup, "tav.idx")), func(b []byte) []byte { return b[:5] })
		}},
		{"term of another time", func(t *testing.T, dir string) {
			edit(t, biggest(t, filepath.Join(raftDir(dir), metaGroup, "tav.idx")), func(b []byte) []byte { b[0] = 0; return b })
		}},
		{"group gone", func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(raftDir(dir), metaGroup)); err != nil {
				t.Fatal(err)
			}
		}},
		{"marks gone", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, marksFile)); err != nil {
				t.Fatal(err)
			}
		}},
		{"manifest gone", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, manifestFile)); err != nil {
				t.Fatal(err)
			}
		}},
	}
	c := startTrio(t, 2, nil)
	site := c.sites[1]
	dir := c.conf[site].Dir
	const n = 60
	c.fill(site, 0, 1, n, damagedSize)
	for _, s := range c.sites {
		c.want(s, 0, 1, n, damagedSize)
	}
	crashed := copyDir(t, dir) // as kill -9 leaves it: the logs are long
	c.stop(site)
	for _, d := range []string{dir, crashed} {
		if s, err := Inspect(d, 2); err != nil || s != Formed {
			t.Fatalf("sound: %v, %v", s, err)
		}
	}
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			from := dir
			if strings.Contains(d.name, "log") {
				from = crashed
			}
			dir := copyDir(t, from)
			d.do(t, dir)
			if s, err := Inspect(dir, 2); !errors.Is(err, journal.ErrDamaged) {
				t.Fatalf("got %v, %v", s, err)
			}
		})
	}
	damages[0].do(t, dir)
	if _, err := Open(c.conf[site]); !errors.Is(err, journal.ErrDamaged) {
		t.Fatalf("opened: %v", err)
	}
	for range 2 { // the second has nothing to keep and leaves the copy of the first
		if err := Wipe(dir); err != nil {
			t.Fatal(err)
		}
		if s, err := Inspect(dir, 2); err != nil || s != Empty {
			t.Fatalf("wiped: %v, %v", s, err)
		}
	}
	if m, err := readManifest(dir + damagedSuffix); err != nil || m == nil {
		t.Errorf("what was damaged was not kept: %v", err)
	}
	c.fill(c.sites[0], 0, n+1, n+5, damagedSize)
	c.start(site)
	c.formed(site)
	if s, err := Inspect(dir, 2); err == nil {
		t.Fatalf("inspected while it is in use: %v", s)
	}
	c.want(site, 0, 1, n+5, damagedSize)
	c.stopAll()
	var extents []extent
	for _, s := range c.sites {
		x, err := scanPartitions(c.conf[s].Dir, 2, c.marks(s))
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		extents = append(extents, x[0])
	}
	for _, x := range extents {
		if x.first != 1 || x.last != n+5 {
			t.Errorf("the files of the sites hold %+v", extents)
		}
	}
}

// marks are those of a site that is stopped.
func (c *trio) marks(site string) *marks {
	c.t.Helper()
	m, err := openMarks(filepath.Join(c.conf[site].Dir, marksFile), c.conf[site].Partitions, false)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = m.close() })
	return m
}

// biggest is the largest file that fits the pattern.
func biggest(t *testing.T, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("nothing fits %s: %v", pattern, err)
	}
	size := func(name string) int64 {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	return slices.MaxFunc(names, func(a, b string) int { return cmp.Compare(size(a), size(b)) })
}
