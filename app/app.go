// Package app is the one composition root: it builds a server from its parts in order, runs it, and closes it in reverse.
//
// Invariant: nothing else wires; a test that wants a server calls Run or Open and gets the same program.
package app

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"bongsu/api/client"
	"bongsu/auth"
	"bongsu/clock"
	"bongsu/config"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/jet"
	"bongsu/kv"
	"bongsu/obs"
	"bongsu/replica"
	"bongsu/seed"
)

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
	for damages := 0; ; stdout = io.Discard { // the ready line is written once
		err := serve(ctx, cfg, log, stdout)
		switch {
		case errors.Is(err, kv.ErrDamaged):
			if damages++; damages > maxDamages {
				return fmt.Errorf("the rows were damaged %d times in one run, the disk cannot be relied on: %w", damages, err)
			}
		case errors.Is(err, journal.ErrStuck):
			log.Error("starting anew", "why", err)
			return startAnew()
		case !errors.Is(err, errReopen):
			return err
		}
		log.Warn("opening anew", "why", err)
	}
}

// startAnew puts a new run of this program in the place of this one, with the same process id, arguments and environment. It returns only if
// that cannot be done: then the process has to end, and whoever looks after it starts it again.
func startAnew() error {
	self, err := os.Executable()
	if err == nil {
		err = syscall.Exec(self, os.Args, os.Environ()) //nolint:gosec // what was started before
	}
	return fmt.Errorf("starting the program anew: %w", err)
}

// errReopen ends a server that has to be opened anew: what it found out when it was opened is so no more.
var errReopen = errors.New("the server has to be opened anew")

// failedTimeout is how long a server that cannot go on lets requests finish: most only read.
const failedTimeout = time.Second

// maxDamages is how often the rows are made anew in one run of the program.
const maxDamages = 3

// serve opens a server and serves until ctx ends or the server has failed.
func serve(ctx context.Context, cfg config.Config, log *slog.Logger, stdout io.Writer) error {
	s, err := Open(ctx, cfg, log)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	srv := client.NewHTTPServer(s.Handler, log)
	served := make(chan error, 1)
	go func() {
		err := srv.Serve(ln)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		served <- err
	}()
	if _, err := fmt.Fprintf(stdout, "bongsu is ready on http://%s\n", ln.Addr()); err != nil {
		log.Warn("standard output is closed", "err", err)
	}
	log.Info("ready", "listen", ln.Addr().String(), "server", cfg.ServerName, "data", cfg.Data)

	select {
	case err = <-served: // the listener broke
	case err = <-s.failed:
		err = errors.Join(err, s.finish(srv, failedTimeout), <-served)
	case <-s.running.Done():
		log.Info("stopping: finishing what is in flight", "limit", cfg.API.ShutdownTimeout)
		err = errors.Join(s.finish(srv, cfg.API.ShutdownTimeout), <-served)
	}
	return errors.Join(err, s.Close())
}

// finish ends a listener when what is in flight has been answered, or after the limit.
func (s *Server) finish(srv *http.Server, limit time.Duration) error {
	s.api.Drain()
	end, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := srv.Shutdown(end)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("some requests did not finish in time")
		err = srv.Close()
	}
	return err
}

// Server is a built server, without a listener.
type Server struct {
	Handler http.Handler

	cfg     config.Config
	log     *slog.Logger
	clock   clock.Clock
	started time.Time
	failed  chan error // gets why the server cannot go on, once
	api     *client.API
	journal engine
	rows    *kv.DB
	replica *replica.Replica
	disk    *diskWatch
	first   *seed.First // how the data directory begins that was made from a backup
	begun   atomic.Bool // that has been done; clients may be served
	running context.Context
	stop    context.CancelFunc         // ends running, and with it the server, as a signal would
	site    *site                      // nil on a single node
	plant   plant                      // a weakness, in drills only
	hole    atomic.Pointer[jet.Damage] // what that overlooks in the journal
	drained atomic.Bool                // by the operator: clients should go elsewhere
	domains
	closers []func() error // in the order of opening
}

// engine is the journal as the server needs it: that of a single node, or of a site that may still be on its way in.
type engine interface {
	journal.Journal
	journal.Bus
	Leader(p journal.Partition) string // the site that leads p, "" when it is not known
	Stored(p journal.Partition) journal.Position
	Refusing() error                 // why an append would be refused now, or nil
	Drain(ctx context.Context) error // gives up what this site leads, and leads nothing more
	Undrain()                        // lets it lead again
	SlowDisk() bool                  // so that this site leads nothing while another one would
}

// Open builds a server and waits until its state has caught up with its journal.
func Open(ctx context.Context, cfg config.Config, log *slog.Logger) (s *Server, err error) {
	s = &Server{cfg: cfg, log: log, failed: make(chan error, 1)}
	if s.clock, err = machineClock(log); err != nil {
		return nil, err
	}
	s.running, s.stop = context.WithCancel(ctx)
	s.onClose(func() error { s.stop(); return nil })
	s.started = s.clock.Now()
	defer func() {
		if err != nil {
			select {
			case why := <-s.failed: // damage that was found meanwhile is why
				err = errors.Join(why, err)
			default:
			}
			err = errors.Join(err, s.Close())
			s = nil
		}
	}()
	data, err := openData(cfg.Data, format{ServerName: cfg.ServerName, Site: cfg.Site, Cluster: cfg.Cluster.ID, Partitions: cfg.Disk.Partitions})
	if err != nil {
		return s, err
	}
	s.onClose(func() error { data.close(); return nil })
	if err := s.readFirst(data); err != nil {
		return s, err
	}

	if s.plant, err = planted(log); err != nil {
		return s, err
	}
	registry := obs.NewRegistry()
	if err := s.openJournal(data); err != nil {
		return s, err
	}
	s.journal = s.plant.journal(s.journal, cfg.Site, &s.hole)
	if err := s.openRows(data); err != nil {
		return s, err
	}
	s.onClose(s.rows.Close)
	if err := s.openDomains(ctx, data); err != nil {
		return s, err
	}
	s.disk = watchDisk(cfg.Data, int64(cfg.Disk.DiskReserve), s.journal.Refusing, log)
	s.onClose(s.disk.close)
	s.serveSites()
	if err := s.serveAdmin(ctx, data); err != nil {
		return s, err
	}
	return s, s.openAPI(registry)
}

// openRows opens the state. Damaged rows are marked, and made anew from the journal the next time.
func (s *Server) openRows(data *dataDir) error {
	if err := data.discardDamagedRows(s.log); err != nil {
		return err
	}
	damaged := func(err error) {
		if mark := data.markDamagedRows(); mark != nil {
			s.log.Error("damaged rows could not be marked", "err", mark)
		}
		s.fail(err)
	}
	var err error
	s.rows, err = kv.Open(kv.Config{Dir: data.join("rows"), Cache: int64(s.cfg.Disk.Cache), Log: s.log, OnDamage: damaged})
	if errors.Is(err, kv.ErrDamaged) {
		err = errors.Join(err, data.markDamagedRows())
	}
	return err
}

// openJournal opens the journal, and in a cluster the links to the other sites first.
func (s *Server) openJournal(data *dataDir) error {
	cfg := jet.Config{Dir: data.join("journal"), ServerName: s.cfg.Site, Partitions: s.cfg.Disk.Partitions, First: s.first.Journal(),
		Reserve: journalReserve(s.cfg.Disk), Budget: int64(s.cfg.Disk.DiskBudget), Log: s.log}
	if s.cfg.Cluster.ID != "" {
		return s.openSite(data, cfg)
	}
	j, err := jet.Open(cfg)
	if err != nil {
		return err
	}
	s.journal = j
	s.onClose(j.Close)
	s.watchStanding(j)
	return nil
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
	meta, err := s.meta()
	if err != nil {
		return err
	}
	meta.Metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	accounts := client.Accounts{Service: s.accounts, Registration: registration(s.cfg)}
	if s.cfg.API.RateLimits != "off" {
		accounts.Guard = auth.NewGuard(s.clock)
	}
	s.api, err = client.New(client.Config{
		Sessions: sessions{s.sessions}, Seen: s.watcher.See, Fresh: s.replica, State: state{s.replica, s.disk}, Site: s.cfg.Site,
		Deadline: s.cfg.API.RequestTimeout, MaxConcurrent: s.cfg.API.MaxRequests, TrustedProxies: proxies,
		Limits: client.Limits{Off: s.cfg.API.RateLimits == "off"},
		Clock:  s.clock, Log: s.log, Registry: registry,
	}, client.Routes(client.Endpoints{
		Meta:     meta,
		Accounts: accounts,
		Rooms:    client.Rooms{Rooms: s.rooms, Account: s.accounts, SyncPlace: s.feed.Place, People: client.People(s.cfg.UserDirectory)},
		Keys:     client.Keys{Service: s.keys, Changes: s.feed.KeyChanges, Confirm: accounts.Confirm},
		Media:    client.Media{Service: s.media, MaxUpload: s.media.MaxUpload()},
		Sync:     client.Sync{Feed: s.feed, Typing: s.typing, Presence: s.presence, Rows: s.replica.Rows()},
	}))
	s.Handler = s.held(s.api)
	return err
}

// meta is what the server says of itself and of the other sites.
func (s *Server) meta() (client.Meta, error) {
	m := client.Meta{Server: id.ServerName(s.cfg.ServerName), PublicURL: s.cfg.PublicURL, Site: s.cfg.Site, Health: s.health, Status: s.status,
		LoginToken: true, ThreePID: s.accounts.SendsMail(), Moderates: s.accounts.IsAdmin, Support: support(s.cfg)}
	if s.site == nil {
		return m, nil
	}
	m.SiteState = s.siteState
	for _, o := range s.site.settings.Sites {
		if o.URL != "" {
			m.Sites = append(m.Sites, client.Site{Name: o.Name, BaseURL: o.URL})
		}
	}
	seed, err := s.site.settings.Secret("signing key")
	if err != nil {
		return m, err
	}
	m.Signer = ed25519.NewKeyFromSeed(seed)
	return m, nil
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
