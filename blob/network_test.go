package blob

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// network is some sites, each with a store and a mirror, that talk over HTTP on the loopback interface.
type network struct {
	t     testing.TB
	mu    sync.Mutex
	names []string
	sites map[string]*site
}

// site is one of them. Its faults may be changed while it runs.
type site struct {
	*Mirror
	net    *network
	name   string
	dir    string
	mux    *http.ServeMux
	server *httptest.Server

	down   bool                            // nobody reaches it
	meddle func(http.Handler) http.Handler // changes what it answers
	asked  map[string]int                  // method -> requests that it got
}

// newNetwork makes sites whose records are named.
func newNetwork(t testing.TB, named *catalogue, change func(*MirrorConfig), names ...string) *network {
	n := &network{t: t, names: names, sites: map[string]*site{}}
	for _, name := range names {
		s := &site{net: n, name: name, dir: t.TempDir(), mux: http.NewServeMux(), asked: map[string]int{}}
		s.server = httptest.NewServer(http.HandlerFunc(s.answer))
		n.sites[name] = s
		t.Cleanup(s.server.Close)
	}
	for _, s := range n.sites {
		store, err := Open(Config{Dir: s.dir})
		if err != nil {
			t.Fatal(err)
		}
		cfg := MirrorConfig{Store: store, Link: s, Named: named.read, SurveyEvery: 20 * time.Millisecond}
		if change != nil {
			change(&cfg)
		}
		s.Mirror = OpenMirror(cfg)
		t.Cleanup(s.Close)
	}
	return n
}

func (n *network) set(name string, change func(*site)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n.sites[name])
}

func (s *site) answer(w http.ResponseWriter, r *http.Request) {
	s.net.mu.Lock()
	s.asked[r.Method]++
	var h http.Handler = s.mux
	if s.meddle != nil {
		h = s.meddle(h)
	}
	s.net.mu.Unlock()
	h.ServeHTTP(w, r)
}

func (s *site) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

func (s *site) Peers() []string {
	var out []string
	for _, name := range s.net.names {
		if name != s.name {
			out = append(out, name)
		}
	}
	return out
}

func (s *site) Do(ctx context.Context, to string, req *http.Request) (*http.Response, error) {
	s.net.mu.Lock()
	other := s.net.sites[to]
	down := s.down || other.down
	s.net.mu.Unlock()
	if down {
		return nil, errors.New("no route to " + to)
	}
	base, err := url.Parse(other.server.URL)
	if err != nil {
		return nil, err
	}
	req = req.Clone(ctx)
	req.URL = base.ResolveReference(req.URL)
	return other.server.Client().Do(req)
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
