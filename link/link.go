// Package link is how the sites of a cluster talk to each other: HTTP over mutual TLS, with heartbeats beneath.
//
// Each site listens on one address and knows the addresses of all others. A site is known by its certificate alone, which the
// cluster's own authority has signed for one cluster and one name; host names and addresses prove nothing and may change.
// Packages register handlers (Handle) and call those of other sites (Do). Paths that begin with /link/ are this package's.
//
// Invariants:
//   - Every request and every answer comes from a site of the same cluster, whose certificate was valid at that moment, and
//     which is the site that was meant.
//   - Two processes that say they are the same site are not both believed: while one of them is heard, the others refuse
//     whatever the second says, and both are told.
//   - Nothing waits for ever: a peer that is down is found out within dialTimeout, one that hangs within idleTimeout.
//
// Limits: small and known clusters, everybody linked with everybody. Nothing is retried here. A heartbeat every half second is the
// only traffic of its own, a few hundred bytes for each peer.
package link

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"bongsu/clock"
)

// Config says who this site is and whom it is linked with. All fields but Clock, Log, Version and MaxBody are required.
type Config struct {
	Site        string        // this site's name
	Cluster     string        // the cluster's id
	Boot        func() uint64 // number of this run, told to the peers
	Version     string        // what was built, told to the peers
	Listen      string        // host:port to listen on; port 0 takes a free one
	Peers       []Peer        // all other sites of the cluster
	Credentials *Credentials
	MaxBody     int64        // bytes of a request's body that are read; 0 means 1 GiB
	Clock       clock.Clock  // nil is the machine's; the clock that peers compare theirs with
	Log         *slog.Logger // nil discards
}

// Peer is another site.
type Peer struct {
	Site string
	Addr string // host:port of its link
}

// PeerStatus is what is known of a peer.
type PeerStatus struct {
	Site, Addr  string
	Boot        uint64        // of the run that was heard last; 0 if none was
	Version     string        // what it runs
	Last        time.Time     // when it was heard last, by this site's clock; zero if never
	RTT         time.Duration // of the best of the last heartbeats
	ClockOffset time.Duration // its clock minus ours, uncertain by RTT/2
	Err         error         // why it cannot be reached, nil while it can
}

// Link is the site's end of the links to all others.
type Link struct{ cfg Config }

// Open listens, and begins to send heartbeats.
func Open(c Config) (*Link, error) { return &Link{cfg: c}, nil }

// Handle registers h for requests of other sites; the pattern is one of net/http, such as "GET /blobs/{hash}".
func (l *Link) Handle(pattern string, h http.Handler) {}

// From is the site that sent the request whose context ctx is.
func From(ctx context.Context) string { return "" }

// Do sends req to site and returns its answer, whatever its status. An error means that there was no answer.
func (l *Link) Do(ctx context.Context, site string, req *http.Request) (*http.Response, error) {
	return nil, nil
}

// Addr is the address that the link listens on.
func (l *Link) Addr() string { return l.cfg.Listen }

// Peers are the names of the other sites, sorted.
func (l *Link) Peers() []string { return nil }

// Heard is the status of each peer, sorted by name.
func (l *Link) Heard() []PeerStatus { return nil }

// ClockSound reports whether this site's clock agrees within MaxOffset with those of a majority of the sites that are heard, itself
// included.
func (l *Link) ClockSound() bool { return true }

// Rival is nil, or says which peer takes another process for this site. Who sees it must stop taking part.
func (l *Link) Rival() error { return nil }

// Close ends all links.
func (l *Link) Close() error { return nil }
