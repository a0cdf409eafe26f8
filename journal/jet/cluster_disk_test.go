package jet

import (
	"errors"
	"io"
	"path/filepath"
	"testing"
	"time"

	"bongsu/journal"
)

// One site's disk fills up while it leads: the others go on, it says so, and heals when there is space again.
func TestClusterFullDisk(t *testing.T) {
	unlessShort(t)
	t.Parallel()
	mount, _ := mounted(t, 96<<20)
	c := newTrio(t, 2, nil)
	site, other := c.sites[0], c.sites[1]
	conf := c.conf[site]
	conf.Dir = filepath.Join(mount, "journal")
	c.conf[site] = conf
	c.startAll()
	for p := range journal.Partition(2) {
		c.lead(site, p)
	}
	c.fill(other, 0, 1, 5, 100_000)
	free := fillUp(t, mount)
	c.fill(other, 0, 6, 40, 100_000)
	c.fill(other, 1, 1, 10, 100_000)
	c.until("the full site says so", func() bool { return errors.Is(c.nodes[site].Refusing(), journal.ErrFull) })
	if _, err := c.nodes[site].Append(limit(t), 0, "no", nil); !errors.Is(err, journal.ErrFull) {
		t.Errorf("an append at the full site: %v", err)
	}
	for p := range journal.Partition(2) {
		if l := c.nodes[other].Leader(p); l == site {
			t.Errorf("the full site still leads partition %d", p)
		}
	}
	free()
	c.ready()
	c.fill(site, 0, 41, 45, 100_000)
	c.want(site, 0, 1, 45, 100_000)
	c.want(site, 1, 1, 10, 100_000)
}

// After a write error that is not a full disk, the engine of that site stays stopped until the process is started again; the others
// go on.
func TestClusterWriteError(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 1, nil)
	site, other := c.sites[0], c.sites[1]
	c.lead(site, 0)
	c.fill(other, 0, 1, 5, 500)
	c.want(site, 0, 1, 5, 500)
	c.nodes[site].present().srv.Errorf("JetStream stream '%s' critical write error: %v", "p0", io.ErrShortWrite)
	c.until("its engine has stopped", func() bool { return c.nodes[site].present() == nil })
	if err := c.nodes[site].Refusing(); !errors.Is(err, errWrite) || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("it refuses with %v", err)
	}
	if _, _, err := c.nodes[site].Bounds(limit(t), 0); !errors.Is(err, errWrite) {
		t.Errorf("bounds: %v", err)
	}
	c.fill(other, 0, 6, 20, 500)
	c.stop(site)
	c.start(site)
	c.want(site, 0, 1, 20, 500)
}

// What must never be in an engine's view is found while it runs, and its engine stopped before it could lead.
func TestClusterHoleSeen(t *testing.T) {
	m, err := openMarks(filepath.Join(t.TempDir(), marksFile), 1, true)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	now := time.Now()
	sound := sight{here: true, current: true, leader: "seoul", first: 1, last: 9}
	hole, filling, leading, short, behind := sound, sound, sound, sound, sound
	hole.missing = 1
	filling.missing, filling.current = 1, false
	leading.missing, leading.leader = 1, "busan"
	short.last = 5
	behind.last, behind.current = 5, false
	if err := m.acked(0, 9); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		first sight
		then  sight
		later time.Duration
		bad   bool
	}{
		{name: "sound", first: sound, then: sound, later: time.Hour},
		{name: "hole for a moment", first: hole, then: hole, later: holeFor / 2},
		{name: "hole for good", first: hole, then: hole, later: 2 * holeFor, bad: true},
		{name: "hole and then not", first: hole, then: sound, later: time.Hour},
		{name: "hole while it is filled", first: filling, then: filling, later: time.Hour},
		{name: "leads with a hole", first: sound, then: leading, bad: true},
		{name: "no replica yet", first: sight{}, then: sight{}, later: time.Hour},
		{name: "behind", first: behind, then: behind, later: time.Hour},
		{name: "short for a moment", first: short, then: short, later: shortFor / 2},
		{name: "short for good", first: short, then: short, later: 2 * shortFor, bad: true},
		{name: "short and then not", first: short, then: sound, later: 2 * shortFor},
	} {
		w := newWatcher(nil, "busan", m, 1)
		if err := w.check([]sight{c.first}, now); err != nil {
			t.Errorf("%s: at first: %v", c.name, err)
		}
		if err := w.check([]sight{c.then}, now.Add(c.later)); errors.Is(err, journal.ErrDamaged) != c.bad {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
