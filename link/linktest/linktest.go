// Package linktest links sites in one process, for tests of what talks over links: HTTP on the loopback interface without TLS, with
// faults.
//
// Invariant: without faults, what one site asks another is answered by what that one has registered.
package linktest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
)

// Network is some sites that are linked with each other.
type Network struct {
	mu    sync.Mutex // of all sites' faults and counts
	names []string
	sites map[string]*Site
}

// Site is one end. It has the methods of a link.Link that others need.
type Site struct {
	net    *Network
	name   string
	server *httptest.Server

	mux    *http.ServeMux
	down   bool
	meddle func(http.Handler) http.Handler
	asked  map[string]int
}

// New links sites until the end of the test.
func New(t testing.TB, names ...string) *Network {
	n := &Network{names: names, sites: map[string]*Site{}}
	for _, name := range names {
		s := &Site{net: n, name: name, mux: http.NewServeMux(), asked: map[string]int{}}
		s.server = httptest.NewServer(http.HandlerFunc(s.answer))
		n.sites[name] = s
		t.Cleanup(s.server.Close)
	}
	return n
}

// Site is the site of a name.
func (n *Network) Site(name string) *Site { return n.sites[name] }

// Name is the site's name.
func (s *Site) Name() string { return s.name }

// Down cuts the site off from all others, or connects it again.
func (s *Site) Down(down bool) { s.change(func() { s.down = down }) }

// Meddle puts a handler around what the site answers; nil removes it.
func (s *Site) Meddle(with func(http.Handler) http.Handler) { s.change(func() { s.meddle = with }) }

// Fresh is the site with nothing registered, as a new process of it finds the link.
func (s *Site) Fresh() *Site {
	s.change(func() { s.mux = http.NewServeMux() })
	return s
}

func (s *Site) change(do func()) {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	do()
}

// Asked is how many requests of a method the site has got.
func (s *Site) Asked(method string) int {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	return s.asked[method]
}

func (s *Site) answer(w http.ResponseWriter, r *http.Request) {
	s.net.mu.Lock()
	s.asked[r.Method]++
	var h http.Handler = s.mux
	if s.meddle != nil {
		h = s.meddle(h)
	}
	s.net.mu.Unlock()
	h.ServeHTTP(w, r)
}

// Handle is as link.Link has it.
func (s *Site) Handle(pattern string, h http.Handler) {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	s.mux.Handle(pattern, h)
}

// Peers is as link.Link has it.
func (s *Site) Peers() []string {
	var out []string
	for _, name := range s.net.names {
		if name != s.name {
			out = append(out, name)
		}
	}
	return out
}

// Do is as link.Link has it.
func (s *Site) Do(ctx context.Context, to string, req *http.Request) (*http.Response, error) {
	other := s.net.sites[to]
	s.net.mu.Lock()
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
