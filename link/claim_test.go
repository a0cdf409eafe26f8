package link

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"bongsu/clock"
)

// TestClaim is the table of who is believed to be a site.
func TestClaim(t *testing.T) {
	type call struct {
		after   time.Duration
		run     string
		boot    uint64
		refused string // why
	}
	for name, calls := range map[string][]call{
		"first come":             {{0, "a", 0, ""}, {time.Second, "a", 1, ""}, {time.Second, "a", 0, ""}},
		"second while heard":     {{0, "a", 5, ""}, {time.Second, "b", 0, whyHeard}, {time.Second, "a", 5, ""}, {2 * time.Second, "b", 6, whyHeard}},
		"second after silence":   {{0, "a", 5, ""}, {rivalAfter, "b", 0, ""}, {0, "a", 5, ""}}, // a takes part, b does not yet
		"first after the second": {{0, "a", 5, ""}, {rivalAfter, "b", 6, ""}, {0, "a", 5, whyNewer}, {rivalAfter, "a", 5, whyNewer}},
		"member over applicant":  {{0, "b", 0, ""}, {0, "a", 5, ""}, {0, "b", 0, whyHeard}},
		"two applicants":         {{0, "a", 0, ""}, {0, "b", 0, whyHeard}, {rivalAfter, "b", 0, ""}},
		"goodbye":                {{0, "a", 5, ""}, {0, "goodbye", 0, ""}, {0, "b", 0, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1e9, 0)
			n := newNet(t)
			l := n.open("seoul", func(c *Config) { c.Clock = clock.Func(func() time.Time { return now }); c.Peers = nil })
			newest := uint64(0)
			l.Vet(func(_ string, boot uint64) error {
				if boot < newest {
					return errors.New("newer")
				}
				newest = boot
				return nil
			})
			p := &peer{Peer: Peer{Site: "busan"}}
			for i, c := range calls {
				now = now.Add(c.after)
				if c.run == "goodbye" {
					p.run, p.boot = "", 0
					continue
				}
				got := ""
				if err := l.claim(p, c.run, c.boot, "10.0.0.1"); err != nil {
					got = err.why
				}
				if got != c.refused {
					t.Errorf("call %d: %q, want %q", i, got, c.refused)
				}
			}
		})
	}
}

// TestTwoProcessesOfOneSite starts a second busan while the first is heard.
func TestTwoProcessesOfOneSite(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	seoul := n.open("seoul")
	first := n.open("busan")
	first.Join(7)
	eventually(t, "the first is known", func() bool { return seoul.Heard()[0].Boot == 7 })
	second := n.open("busan", func(c *Config) { c.Listen = "127.0.0.1:0" })
	_, _, err := get(t, second, "seoul", "/")
	if err == nil || !strings.Contains(err.Error(), "site seoul refuses this process: another process runs as site busan, from 127.0.0.1") {
		t.Errorf("%v", err)
	}
	if got := n.logs["seoul"].count("two processes run as one site"); got != 1 {
		t.Errorf("seoul logged it %d times", got)
	}
	if second.Rival() != nil {
		t.Error("a process that only applies has a rival")
	}
	// It takes part nevertheless: a mistake elsewhere. It is told to stop, and the first is not.
	second.Join(7)
	eventually(t, "the second learns of the first", func() bool { return second.Rival() != nil })
	if err := first.Rival(); err != nil {
		t.Errorf("the first was told to stop: %v", err)
	}
	// A process of a newer run is there: the older one learns it at once.
	seoul.Vet(func(site string, boot uint64) error {
		if site == "busan" && boot < 8 {
			return errors.New("site busan has been run since")
		}
		return nil
	})
	eventually(t, "the first learns that it was replaced", func() bool { return first.Rival() != nil })
	if err := first.Rival(); !strings.Contains(err.Error(), "site busan has been run since") {
		t.Error(err)
	}
}

// TestRestart: after a goodbye the next run is believed at once.
func TestRestart(t *testing.T) {
	n := newNet(t)
	seoul := n.open("seoul")
	for boot := range uint64(3) {
		busan := n.open("busan")
		if _, _, err := get(t, busan, "seoul", "/"); err != nil {
			t.Fatalf("run %d: %v", boot, err)
		}
		busan.Join(boot + 1)
		eventually(t, "the goodbye can be said", func() bool { return seoul.Heard()[0].Boot == boot+1 && busan.hears("seoul") })
		if err := busan.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRoutesNeedHeartbeats: no route before both sites have heard each other, and none for a process that was replaced.
func TestRoutesNeedHeartbeats(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	seoul := n.open("seoul")
	first := n.open("busan")
	eventually(t, "a route", func() bool { return route(t, seoul, first) == nil && route(t, first, seoul) == nil })
	second := n.open("busan", func(c *Config) { c.Listen = "127.0.0.1:0" })
	if err := route(t, second, seoul); err == nil || !strings.Contains(err.Error(), "have not heard each other") {
		t.Errorf("a second process of a site: %v", err)
	}
	_ = first.Close()
	eventually(t, "the end of routes", func() bool { return route(t, first, seoul) != nil })
}

// TestMeet: who has met the others can make routes at once; one that is down is waited for no longer than said.
func TestMeet(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	seoul, busan := n.open("seoul"), n.open("busan")
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if seoul.Meet(short); short.Err() == nil {
		t.Error("a site was met that is down")
	}
	chuncheon := n.open("chuncheon")
	seoul.Meet(t.Context())
	for _, l := range []*Link{busan, chuncheon} {
		if err := errors.Join(route(t, seoul, l), route(t, l, seoul)); err != nil {
			t.Error(err)
		}
	}
}

// route makes a connection as the engines of two sites do.
func route(t *testing.T, a, b *Link) error {
	client, server := pair(t)
	var all sync.WaitGroup
	var served error
	all.Go(func() { served = tls.Server(server, b.TLS()).Handshake(); _ = server.Close() })
	conn := tls.Client(client, a.TLS())
	err := conn.Handshake()
	_ = client.Close()
	all.Wait()
	return errors.Join(err, served)
}

// pair is the two ends of a connection.
func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("tcp", ln.Addr().String()); err == nil {
		server, err = ln.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{client, server} {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		t.Cleanup(func() { _ = c.Close() })
	}
	return client, server
}
