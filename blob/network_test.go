package blob

import (
	"context"
	"iter"
	"sync"
	"testing"
	"time"

	"bongsu/link/linktest"
)

// network is some sites, each with a store and a mirror.
type network struct {
	t     testing.TB
	names []string
	sites map[string]*site
}

type site struct {
	*Mirror
	link *linktest.Site
}

// newNetwork makes sites whose records are named.
func newNetwork(t testing.TB, named *catalogue, change func(*MirrorConfig), names ...string) *network {
	links := linktest.New(t, names...)
	n := &network{t: t, names: names, sites: map[string]*site{}}
	for _, name := range names {
		store, err := Open(Config{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		cfg := MirrorConfig{Store: store, Link: links.Site(name), Named: named.read, SurveyEvery: 20 * time.Millisecond}
		if change != nil {
			change(&cfg)
		}
		s := &site{OpenMirror(cfg), links.Site(name)}
		n.sites[name] = s
		t.Cleanup(s.Close)
	}
	return n
}

// catalogue is what records name.
type catalogue struct {
	mu    sync.Mutex
	names []Named
	err   error
	reads int
}

func (c *catalogue) add(h Hash, created int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = append(c.names, Named{h, created})
}

func (c *catalogue) read(context.Context) iter.Seq2[Named, error] {
	c.mu.Lock()
	defer c.mu.Unlock()
	names, err := append([]Named(nil), c.names...), c.err
	return func(yield func(Named, error) bool) {
		for _, n := range names {
			if !yield(n, nil) {
				return
			}
		}
		if err != nil {
			yield(Named{}, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.reads++
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-limit:
			t.Fatalf("not in time: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
