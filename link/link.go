// Package link is how the sites of a cluster talk to each other: HTTP over mutual TLS, with heartbeats beneath.
//
// Each site listens on one address and knows the addresses of all others. A site is known by its certificate alone, which the
// cluster's own authority has signed for one cluster and one name; host names and addresses prove nothing and may change.
// Packages register handlers (Handle) and call those of other sites (Do). Paths that begin with /link/ are this package's.
//
// Invariants:
//   - Every request and every answer comes from a site of the same cluster, whose certificate was valid when the connection was
//     made, and which is the site that was meant.
//   - Two processes that say they are the same site are not both believed (claim.go): while one of them is heard the others
//     refuse whatever the second says, and both are told.
//   - Nothing waits for ever: a peer that is down is found out within dialTimeout, one that is frozen within handshakeTimeout, one that
//     hangs in the middle within idleTimeout.
//
// Limits: small and known clusters, everybody linked with everybody. HTTP/1.1, so that a long transfer holds up nobody else.
// Nothing is retried here. A heartbeat every half second is the only traffic of its own, a few hundred bytes for each peer.
package link

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"bongsu/clock"
)

const (
	dialTimeout      = time.Second      // to connect
	handshakeTimeout = 2 * time.Second  // to shake hands once connected: computing, which a busy machine does late
	idleTimeout      = 10 * time.Second // without a byte of progress a request is given up
	closeTimeout     = time.Second      // for saying goodbye
	maxConcurrent    = 256              // requests at work at a time; heartbeats are apart
	expiresSoon      = 30 * 24 * time.Hour
)

// Config says who this site is and whom it is linked with. All fields but Version, MaxBody, Clock and Log are required.
type Config struct {
	Site        string // this site's name
	Cluster     string // the cluster's id
	Version     string // what was built; told to the peers
	Listen      string // host:port to listen on; port 0 takes a free one
	Peers       []Peer // all other sites of the cluster
	Credentials *Credentials
	MaxBody     int64        // bytes of a request's body that are read; 0 means 1 GiB
	Clock       clock.Clock  // the one that peers compare theirs with; nil is the machine's
	Log         *slog.Logger // nil discards
}

// Peer is another site.
type Peer struct {
	Site string
	Addr string // host:port of its link
}

// Link is this site's end of the links to all others.
type Link struct {
	cfg   Config
	log   *slog.Logger
	clock clock.Clock
	run   string // random: tells this process from any other that says it is this site
	ln    net.Listener
	srv   *http.Server
	mux   *http.ServeMux
	slots chan struct{}
	peers []*peer // sorted by name

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	quiet  context.CancelFunc // ends the heartbeats
	beats  sync.WaitGroup
	work   sync.WaitGroup // handlers and the server

	mu       sync.Mutex
	boot     uint64 // 0 until Join
	joined   time.Time
	rival    error
	vet      func(site string, boot uint64) error
	refusals map[string]time.Time // words of refusals that were logged, and when
	clocks   clocks
	closed   bool
}

// Open listens, and begins to send heartbeats.
func Open(c Config) (*Link, error) {
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxBody == 0 {
		c.MaxBody = 1 << 30
	}
	if c.Credentials == nil || c.Credentials.Cluster != c.Cluster || c.Credentials.Site != c.Site {
		return nil, fmt.Errorf("link: the certificate is not that of site %q of cluster %q", c.Site, c.Cluster)
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	l := &Link{cfg: c, log: c.Log.With("part", "link"), clock: c.Clock, run: hex.EncodeToString(id[:]), mux: http.NewServeMux(),
		slots: make(chan struct{}, maxConcurrent), refusals: map[string]time.Time{}}
	for _, p := range c.Peers {
		if p.Site == c.Site || slices.ContainsFunc(l.peers, func(o *peer) bool { return o.Site == p.Site }) {
			return nil, fmt.Errorf("link: site %q is named twice", p.Site)
		}
		l.peers = append(l.peers, l.newPeer(p))
	}
	slices.SortFunc(l.peers, func(a, b *peer) int { return cmp.Compare(a.Site, b.Site) })
	var lc net.ListenConfig
	var err error
	if l.ln, err = lc.Listen(context.Background(), "tcp", c.Listen); err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.mux.HandleFunc("POST /link/heartbeat", l.heartbeat)
	l.mux.HandleFunc("POST /link/goodbye", l.goodbye)
	if left := c.Credentials.Until.Sub(l.clock.Now()); left < expiresSoon {
		l.log.Warn("this site's certificate ends soon: renew it with bongsu cluster certificate", "until", stamp(c.Credentials.Until))
	}
	l.serve()
	beating, quiet := context.WithCancel(l.ctx)
	l.quiet = quiet
	for _, p := range l.peers {
		l.beats.Go(func() { l.beat(beating, p) })
	}
	return l, nil
}

// serve starts the server.
func (l *Link) serve() {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	l.srv = &http.Server{
		Handler:           http.HandlerFunc(l.handle),
		TLSConfig:         l.serverTLS(),
		Protocols:         protocols,
		ReadHeaderTimeout: idleTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return l.ctx },
		ErrorLog:          log.New(io.Discard, "", 0), // refusals are logged by serverTLS, once
	}
	l.work.Go(func() {
		if err := l.srv.ServeTLS(l.ln, "", ""); !errors.Is(err, http.ErrServerClosed) {
			l.log.Error("the link to other sites has stopped listening", "err", err)
		}
	})
}

// Addr is the address that the link listens on.
func (l *Link) Addr() string { return l.ln.Addr().String() }

// Handle registers h for requests of other sites; the pattern is one of net/http, such as "GET /blobs/{hash}". It may be called at any
// time; until then, such requests are answered 404. A handler's body is limited to Config.MaxBody, and an answer that makes no
// progress for 10 s is cut off; one that thinks for longer than that should answer in between, for the caller gives up.
func (l *Link) Handle(pattern string, h http.Handler) { l.mux.Handle(pattern, h) }

// Peers are the names of the other sites, sorted.
func (l *Link) Peers() []string {
	names := make([]string, len(l.peers))
	for i, p := range l.peers {
		names[i] = p.Site
	}
	return names
}

// peer is the peer called site, or nil.
func (l *Link) peer(site string) *peer {
	for _, p := range l.peers {
		if p.Site == site {
			return p
		}
	}
	return nil
}

// Close tells the peers that this run ends, so that the next one need not wait for them to forget it, and ends all links. It waits
// for handlers, whose contexts end.
func (l *Link) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	l.quiet() // a heartbeat after the goodbye would take it back
	l.beats.Wait()
	l.sayGoodbye()
	err := l.srv.Close() // first, so that a handler that is told to end cannot answer as if it had finished
	l.cancel()
	l.work.Wait()
	for _, p := range l.peers {
		p.transport.CloseIdleConnections()
	}
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return nil
}

// begin counts a request in, unless the link is closed.
func (l *Link) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.work.Add(1)
	}
	return !l.closed
}

// sayGoodbye tells all peers at once, within closeTimeout.
func (l *Link) sayGoodbye() {
	ctx, cancel := context.WithTimeout(l.ctx, closeTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, p := range l.peers {
		if p.failing() != nil {
			continue
		}
		all.Go(func() {
			if resp, err := l.post(ctx, p.Site, "/link/goodbye", nil); err == nil {
				_ = resp.Body.Close() // it is told, or will find out
			}
		})
	}
	all.Wait()
}
