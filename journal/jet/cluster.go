package jet

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"bongsu/journal"
)

// Cluster says how the engines of the sites find each other. All sites are given the same Name, Sites, First and Timers.
type Cluster struct {
	Name   string   // of the cluster; 1 to 64 of a-z, 0-9, '-'
	Site   string   // this site's name, one of Sites; of the same letters
	Sites  []string // all sites, this one included: three or five
	Listen string   // host:port where the routes of the other sites arrive
	Routes []string // host:port of the other sites' Listen, as seen from here

	// TLS is for the routes in both directions. It must verify the peer by itself with VerifyConnection, and ask for its
	// certificate. Nil means no encryption and no proof of who calls, for tests only.
	TLS *tls.Config

	// First is where each partition begins when the cluster is made, for one that continues another; nil means 1. It has no
	// effect later.
	First []journal.Position

	Timers Timers

	settle time.Duration        // of quiet before a leader is moved; 0 means balanceAfter, tests are shorter
	beat   func(*os.File) error // see pulse; nil means to write and sync, tests take their time
}

// Timers of the engine's elections. They are the same for all engines of a process. The zero value means the defaults.
type Timers struct {
	// A follower that hears nothing from its leader stands for election after a random time between these two. The loss of a
	// leader stops its partitions for about that long; a follower that is merely slow to hear costs an election for nothing.
	ElectionMin, ElectionMax time.Duration
	// Heartbeat is how often an idle leader speaks.
	Heartbeat time.Duration
}

const (
	tlsTimeout = 5 // seconds for a handshake of a route

	// A route that answers no ping for this long is taken for broken. Elections do not wait for it; what was sent into it does, and so
	// does the admission of a site that runs again.
	routePing   = time.Second
	routeSilent = 3 // pings

	// catchupBytes is how much a site that refills others sends before they have taken it. Pings wait behind it: with more, a slow
	// route would be taken for a broken one. It bounds the refill to this much in a round trip.
	catchupBytes = 4 << 20

	siteTag = "site:"
)

// check refuses what cannot work. It says which setting it is.
func (c *Cluster) check(partitions int) error {
	switch {
	case !isName(c.Name):
		return fmt.Errorf("jet: a cluster's name has 1 to 64 of a-z, 0-9 and '-', not %q", c.Name)
	case len(c.Sites) != 3 && len(c.Sites) != 5:
		return fmt.Errorf("jet: a cluster has three or five sites, not %d", len(c.Sites))
	case !slices.Contains(c.Sites, c.Site):
		return fmt.Errorf("jet: this site, %q, is not among the cluster's %q", c.Site, c.Sites)
	case len(c.Routes) != len(c.Sites)-1:
		return fmt.Errorf("jet: %d routes were given for %d other sites", len(c.Routes), len(c.Sites)-1)
	case c.First != nil && len(c.First) != partitions:
		return fmt.Errorf("jet: %d first positions were given for %d partitions", len(c.First), partitions)
	}
	for i, site := range c.Sites {
		if !isName(site) || slices.Contains(c.Sites[:i], site) {
			return fmt.Errorf("jet: site %q: a site's name has 1 to 64 of a-z, 0-9 and '-', and no two are the same", site)
		}
	}
	for _, addr := range append([]string{c.Listen}, c.Routes...) {
		if _, _, err := splitAddr(addr); err != nil {
			return err
		}
	}
	return c.Timers.withDefaults().check()
}

func isName(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func splitAddr(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err == nil {
		port, err = strconv.Atoi(p)
	}
	if err == nil && (port < 1 || port > 65535) {
		err = errors.New("no such port")
	}
	if err != nil {
		return "", 0, fmt.Errorf("jet: address %q of a route is not host:port: %w", addr, err)
	}
	return host, port, nil
}

// quorum is how many sites decide.
func (c *Cluster) quorum() int { return len(c.Sites)/2 + 1 }

// first is where partition p begins.
func (c *Cluster) first(p journal.Partition) journal.Position {
	if c.First == nil {
		return 1
	}
	return max(c.First[p], 1)
}

// apply adds to the engine's options what makes it one of several.
func (c *Cluster) apply(o *server.Options) error {
	host, port, err := splitAddr(c.Listen)
	if err != nil {
		return err
	}
	// The engine opens its routes only after it has a port for clients. That one is on the loopback interface, and who has not made
	// this engine does not know its password.
	o.DontListen, o.Host, o.Port = false, "127.0.0.1", server.RANDOM_PORT
	o.Username, o.Password = "journal", rand.Text()
	o.ServerName = c.Site // the engine knows its peers by a hash of it
	o.NoSystemAccount = false
	o.Tags = []string{siteTag + c.Site}
	o.JetStreamUniqueTag = siteTag
	o.JetStreamMaxCatchup = catchupBytes
	o.Cluster = server.ClusterOpts{
		Name: c.Name, Host: host, Port: port,
		NoAdvertise:  true, // all routes are given; a site may have other addresses inside
		PingInterval: routePing,
		MaxPingsOut:  routeSilent,
		TLSConfig:    c.TLS,
		TLSTimeout:   tlsTimeout,
	}
	for _, addr := range c.Routes {
		u := &url.URL{Scheme: "nats-route", Host: addr}
		o.Routes = append(o.Routes, u)
	}
	return nil
}
