// Package client is the edge where Matrix clients arrive: it turns HTTP requests of the Client-Server API into calls of the
// domains, and their answers and errors into HTTP.
//
// Every endpoint is one Route in the table that Routes (routes.go) joins; nothing is registered anywhere else. The file of a
// Route's area holds its handlers, named after the specification's operationIds. A handler is a function of a Request
// that returns a value or an error; method, path, authentication, limits, strict JSON, errors, metrics and logs are
// the framework's.
//
// Invariants:
//   - An answer 401, 403 or 404 about state is given only from state that has caught up with the journal (fresh.go).
//   - Only the table in errors.go turns an errs.Kind and errs.Code into a status and an errcode.
//   - Path segments are percent-decoded exactly once, and no path is cleaned or redirected (route.go).
//   - Nothing is answered from rows that are being made anew, or were meanwhile (state.go).
//   - What a client sends can make an error of the 400s; a 500 is a fault of ours and is logged with its request id.
//
// Limits: bodies up to the route's MaxBody; one deadline for each request (long polls set their own); a bound on requests at
// work at a time, by class, and under overload a class after the other is refused (admit.go); rate limits for each user or address,
// counted at this site alone.
package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bongsu/clock"
	"bongsu/id"
)

// Session is whose request it is.
type Session struct {
	User      id.UserID
	Device    id.DeviceID
	Locked    bool // the account is: nothing but logging out is done for it
	Suspended bool // the account is: it may read and leave, not take part
}

// Sessions knows the access tokens.
type Sessions interface {
	// Authenticate is the session of an access token. A token that is not known is errs.Unauthenticated with
	// errs.UnknownToken.
	Authenticate(ctx context.Context, token string) (Session, error)
}

// Config is what the edge needs. Sessions and Fresh are required; other zero values are useful.
type Config struct {
	Sessions Sessions
	Fresh    Fresh
	// Seen is told of the long polls of a session, and does not block; default: nobody is.
	Seen  func(user id.UserID, device id.DeviceID, address, userAgent string)
	State State  // whether rows can be read and written; default: always
	Site  string // this site's name, which every answer carries in the header Bongsu-Site; empty: none does

	Deadline       time.Duration  // for a request that is no long poll; default 10 s
	MaxBody        int64          // bytes of a JSON body where the route has no bound of its own; default 1 MiB
	MaxConcurrent  int            // requests at work at a time, long polls apart; of each class a share of it (admit.go); default 1024
	Limits         Limits         // rate limits
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed; default: loopback

	Clock    clock.Clock           // default the system's
	Log      *slog.Logger          // default discards
	Registry prometheus.Registerer // default: metrics are kept and not shown
}

func (c *Config) fill() error {
	if c.Sessions == nil || c.Fresh == nil {
		return fmt.Errorf("api/client: Sessions and Fresh are required")
	}
	if c.Deadline == 0 {
		c.Deadline = 10 * time.Second
	}
	if c.MaxBody == 0 {
		c.MaxBody = 1 << 20
	}
	if c.Seen == nil {
		c.Seen = func(id.UserID, id.DeviceID, string, string) {}
	}
	if c.State == nil {
		c.State = steady{}
	}
	if c.MaxConcurrent == 0 {
		c.MaxConcurrent = 1024
	}
	if c.TrustedProxies == nil {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// API serves the routes. It is safe for concurrent use.
type API struct {
	cfg     Config
	mux     *http.ServeMux
	metrics *metrics
	limiter *limiter

	admit      *admission
	site       []string      // of the header
	unwritable atomic.Int64  // since when the site was seen not to write, Unix nanoseconds; 0: it does
	draining   chan struct{} // closed by Drain
	drained    atomic.Bool
	boot       string        // prefix of the request ids of this process
	requests   atomic.Uint64 // number of the last request
}

// New makes the handler of routes. A table that is wrong (two routes for one method and path, a path that does not begin
// with a slash) is an error.
func New(cfg Config, routes []Route) (*API, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	a := &API{cfg: cfg, draining: make(chan struct{}), limiter: newLimiter(cfg.Limits, cfg.Clock), admit: newAdmission(cfg.MaxConcurrent)}
	if cfg.Site != "" {
		a.site = []string{cfg.Site}
	}
	var boot [4]byte
	if _, err := rand.Read(boot[:]); err != nil {
		return nil, fmt.Errorf("api/client: %w", err)
	}
	a.boot = hex.EncodeToString(boot[:])
	var err error
	if a.metrics, err = newMetrics(cfg.Registry, a.admit); err != nil {
		return nil, err
	}
	if a.mux, err = a.build(routes); err != nil {
		return nil, err
	}
	return a, nil
}

// Drain asks the long polls to return what they have (see Request.Draining). It is called before http.Server.Shutdown.
func (a *API) Drain() {
	if a.drained.CompareAndSwap(false, true) {
		close(a.draining)
	}
}

// ServeHTTP finds the route and serves it.
//
// path 1/7: the route table. Every request enters here and leaves through serve.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	allowOrigins(h)
	if a.site != nil {
		h[headerSite] = a.site
	}
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	r, ok := routable(r)
	if !ok {
		a.serve(w, r, a.unrecognized())
		return
	}
	a.mux.ServeHTTP(w, r)
}

// headerSite says which site answered.
const headerSite = "Bongsu-Site"

// The header values that never change are shared; net/http only reads them.
var (
	corsOrigin  = []string{"*"}
	corsMethods = []string{"GET, HEAD, POST, PUT, DELETE, OPTIONS"}
	corsHeaders = []string{"X-Requested-With, Content-Type, Authorization, Date"}
	corsExpose  = []string{"Retry-After, ETag, Content-Disposition, " + headerSite}
	corsMaxAge  = []string{"86400"}
	typeJSON    = []string{"application/json"}
)

// allowOrigins sets the CORS headers, on errors as well: a browser hides an error without them from the client.
// Specification: Client-Server API, "Web Browser Clients".
func allowOrigins(h http.Header) {
	h["Access-Control-Allow-Origin"] = corsOrigin
	h["Access-Control-Allow-Methods"] = corsMethods
	h["Access-Control-Allow-Headers"] = corsHeaders
	h["Access-Control-Expose-Headers"] = corsExpose
	h["Access-Control-Max-Age"] = corsMaxAge
}
