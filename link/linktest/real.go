package linktest

import (
	"testing"
	"time"

	"bongsu/clock"
	"bongsu/freeport"
	"bongsu/link"
)

// Open links sites by real links, with certificates of an authority that is made for it, until the end of the test.
func Open(t testing.TB, names ...string) map[string]*link.Link {
	t.Helper()
	authority, err := link.NewAuthority("test", clock.System{}.Now())
	if err != nil {
		t.Fatal(err)
	}
	addrs := map[string]string{}
	for _, name := range names {
		addrs[name] = freeport.Addr(t)
	}
	links := map[string]*link.Link{}
	for _, name := range names {
		cert, key, err := authority.Issue(name, clock.System{}.Now().Add(-time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		credentials, err := link.NewCredentials(authority.Certificate(), cert, key, names, clock.System{})
		if err != nil {
			t.Fatal(err)
		}
		cfg := link.Config{Site: name, Cluster: "test", Listen: addrs[name], Credentials: credentials}
		for _, other := range names {
			if other != name {
				cfg.Peers = append(cfg.Peers, link.Peer{Site: other, Addr: addrs[other]})
			}
		}
		l, err := link.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Errorf("link of %s: %v", name, err)
			}
		})
		links[name] = l
	}
	return links
}
