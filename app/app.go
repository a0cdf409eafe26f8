// Package app is the one composition root: it builds a server from its parts in order, runs it, and closes it in reverse.
//
// Invariant: nothing else wires; a test that wants a server calls Run or Open and gets the same program.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"bongsu/api/client"
	"bongsu/clock"
	"bongsu/config"
	"bongsu/journal/jet"
	"bongsu/kv"
	"bongsu/obs"
	"bongsu/replica"
	"bongsu/seed"
)

// rulesVersion is the newest version of the state machines' rules that this build knows. Raise it with every change of what
// apply does, and keep the old behaviour under the old number.
const rulesVersion = 2

// gcPercent is how much the heap may grow between two collections unless GOGC says otherwise.
const gcPercent = 50

// Run serves until ctx ends, then finishes what is in flight. When the server is ready it writes one line to stdout.
func Run(ctx context.Context, cfg config.Config, stdout io.Writer) error {
	log, err := obs.NewLogger(os.Stderr, obs.LogConfig{Level: cfg.Log.Level, Format: cfg.Log.Format})
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		// Most of the heap is the cache and the write buffers of the rows, which cost the collector nothing to pass over: so
		// it may run twice as often as usual, and the process stays small.
		debug.SetGCPercent(gcPercent)
	}
	s, err := Open(ctx, cfg, log)
	if err != nil {
		return err
	}
	ctx = s.running
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	srv := client.NewHTTPServer(s.Handler, log)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	if _, err := fmt.Fprintf(stdout, "bongsu is ready on http://%s\n", ln.Addr()); err != nil {
		log.Warn("standard output is closed", "err", err)
	}
	log.Info("ready", "listen", ln.Addr().String(), "server", cfg.ServerName, "data", cfg.Data)

	select {
	case err = <-served: // the listener broke
	case <-ctx.Done():
		log.Info("stopping: finishing what is in flight", "limit", cfg.API.ShutdownTimeout)
		s.api.Drain()
		end, cancel := context.WithTimeout(context.Background(), cfg.API.ShutdownTimeout)
		defer cancel()
		err = srv.Shutdown(end)
		if errors.Is(err, context.DeadlineExceeded) {
			log.Warn("some requests did not finish in time")
			err = srv.Close()
		}
		if closed := <-served; err == nil && !errors.Is(closed, http.ErrServerClosed) {
			err = closed
		}
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, s.Close())
}

// Server is a built server, without a listener.
type Server struct {
	Handler http.Handler

	cfg     config.Config
	log     *slog.Logger
	clock   clock.Clock
	started time.Time
	api     *client.API
	journal *jet.Journal
	rows    *kv.DB
	replica *replica.Replica
	disk    *diskWatch
	first   *seed.First // how the data directory begins that was made from a backup
	begun   atomic.Bool // that has been done; clients may be served
	running context.Context
	stop    context.CancelFunc // ends running, and with it the server, as a signal would
	domains
	closers []func() error // in the order of opening
}

// Open builds a server and waits until its state has caught up with its journal.
func Open(ctx context.Context, cfg config.Config, log *slog.Logger) (s *Server, err error) {
	s = &Server{cfg: cfg, log: log, clock: clock.System{}}
	s.running, s.stop = context.WithCancel(ctx)
	s.onClose(func() error { s.stop(); return nil })
	s.started = s.clock.Now()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
			s = nil
		}
	}()
	data, err := openData(cfg.Data, format{ServerName: cfg.ServerName, Site: cfg.Site, Partitions: cfg.Disk.Partitions})
	if err != nil {
		return s, err
	}
	s.onClose(func() error { data.close(); return nil })
	if err := s.readFirst(data); err != nil {
		return s, err
	}

	registry := obs.NewRegistry()
	if s.journal, err = jet.Open(jet.Config{Dir: data.join("journal"), ServerName: cfg.Site, Partitions: cfg.Disk.Partitions, First: s.first.Journal(),
		Reserve: journalReserve(cfg.Disk), Budget: int64(cfg.Disk.DiskBudget), Log: log}); err != nil {
		return s, err
	}
	s.onClose(s.journal.Close)
	if s.rows, err = kv.Open(kv.Config{Dir: data.join("rows"), Cache: int64(cfg.Disk.Cache), Log: log}); err != nil {
		return s, err
	}
	s.onClose(s.rows.Close)
	if err := s.openDomains(ctx, data); err != nil {
		return s, err
	}
	s.disk = watchDisk(cfg.Data, int64(cfg.Disk.DiskReserve), s.journal.Refusing, log)
	s.onClose(s.disk.close)
	if err := s.serveAdmin(ctx, data); err != nil {
		return s, err
	}
	return s, s.openAPI(registry)
}

// journalReserve is the setting as the journal takes it: there, 0 means the default, and a negative number no reserve.
func journalReserve(cfg config.Disk) int64 {
	if cfg.DiskReserve == 0 {
		return -1
	}
	return int64(cfg.DiskReserve)
}

func (s *Server) onClose(f func() error) { s.closers = append(s.closers, f) }

// openAPI builds the edge.
func (s *Server) openAPI(registry *prometheus.Registry) error {
	proxies, err := s.cfg.API.Proxies()
	if err != nil {
		return err
	}
	if err := registry.Register(s.collector()); err != nil {
		return err
	}
	accounts := client.Accounts{Service: s.accounts, Open: s.cfg.OpenRegistration}
	s.api, err = client.New(client.Config{
		Sessions: sessions{s.accounts}, Fresh: s.replica,
		Deadline: s.cfg.API.RequestTimeout, MaxConcurrent: s.cfg.API.MaxRequests, TrustedProxies: proxies,
		Limits: client.Limits{Off: s.cfg.API.RateLimits == "off"},
		Clock:  s.clock, Log: s.log, Registry: registry,
	}, client.Routes(client.Endpoints{
		Meta: client.Meta{PublicURL: s.cfg.PublicURL, Health: s.health, Status: s.status,
			Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{})},
		Accounts: accounts,
		Rooms:    client.Rooms{Rooms: s.rooms, Account: s.accounts, SyncPlace: s.feed.Place},
		Keys:     client.Keys{Service: s.keys, Changes: s.feed.KeyChanges, Confirm: accounts.Confirm},
		Media:    client.Media{Service: s.media, MaxUpload: s.media.MaxUpload()},
		Sync:     client.Sync{Feed: s.feed, Typing: s.typing, Rows: s.replica.Rows()},
	}))
	s.Handler = s.held(s.api)
	return err
}

// Close closes everything in reverse order.
func (s *Server) Close() error {
	var all error
	for i := len(s.closers) - 1; i >= 0; i-- {
		all = errors.Join(all, s.closers[i]())
	}
	s.closers = nil
	return all
}
