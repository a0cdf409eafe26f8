package client

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bongsu/errs"
)

// Auth says whether a route wants an access token.
type Auth uint8

// The sorts of authentication.
const (
	Required Auth = iota // a known access token
	Optional             // a token if there is one; then it must be known
	None                 // tokens are not looked at
)

// Handler does the work of a route. What it returns is written as JSON, except for the types in reply.go; nil is {}.
//
// A handler that denies (401, 403, 404) from what it read locally may be run a second time, after the site has caught
// up: so until its first write it only reads, and after a write it denies only with what the write's verdict says.
type Handler func(ctx context.Context, r *Request) (any, error)

// Route is one endpoint.
type Route struct {
	Op     string // the specification's operationId, or a name of ours
	Method string
	// Path is a pattern of net/http.ServeMux without method or host: "/_matrix/client/v3/rooms/{roomId}/leave". A segment
	// in braces matches any one segment, not empty, whatever is encoded in it. An empty last segment is "{$}".
	//
	// A path under /_matrix/client/v3/ or /_matrix/media/v3/ also answers at r0 (and media at v1), for old clients.
	Path string
	Also []string // further paths of the same endpoint

	Auth      Auth
	Class     Class         // what is refused first under overload; default Ordinary
	Limit     Limit         // the rate limit that applies; default none
	MaxBody   int64         // bytes; default Config.MaxBody
	Deadline  time.Duration // default Config.Deadline; longer where the handler itself reads an upload from a slow line
	LongPoll  bool          // waits by itself: no deadline, and outside of the bound on concurrent requests
	Moderated bool          // it works for a locked account, too
	Static    bool          // the answer does not come from state: a denial needs no confirmation
	Local     bool          // although it is no GET it proposes nothing: it works while the site cannot write

	Handle Handler
}

// route is a Route as it is served.
type route struct {
	Route
	seconds prometheus.Observer
}

// readsRows reports whether the rows of this site have a part in the answer.
func (r *Route) readsRows() bool { return !r.Static || r.Auth != None }

// proposes reports whether the journal must take something for the answer.
func (r *Route) proposes() bool { return r.Method != http.MethodGet && !r.Local }

// paths are all the paths of r.
func (r Route) paths() []string {
	paths := append([]string{r.Path}, r.Also...)
	if rest, ok := strings.CutPrefix(r.Path, "/_matrix/client/v3/"); ok {
		paths = append(paths, "/_matrix/client/r0/"+rest)
	}
	if rest, ok := strings.CutPrefix(r.Path, "/_matrix/media/v3/"); ok {
		paths = append(paths, "/_matrix/media/r0/"+rest, "/_matrix/media/v1/"+rest)
	}
	return paths
}

// endpoint is all that is offered at one path. The mux knows paths only; methods are matched here, because the mux answers a
// wrong one in plain text.
type endpoint struct {
	api     *API
	methods []string
	routes  []*route
	wrong   *route
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	i := slices.Index(e.methods, method)
	if i < 0 && method == http.MethodHead {
		i = slices.Index(e.methods, http.MethodGet)
	}
	if i < 0 {
		w.Header().Set("Allow", strings.Join(e.methods, ", ")+", OPTIONS")
		e.api.serve(w, r, e.wrong)
		return
	}
	e.api.serve(w, r, e.routes[i])
}

// build makes the mux of the table.
func (a *API) build(table []Route) (mux *http.ServeMux, err error) {
	var at string
	defer func() { // the mux panics on patterns that are malformed or ambiguous
		if p := recover(); p != nil {
			err = fmt.Errorf("api/client: route %s: %v", at, p)
		}
	}()
	mux = http.NewServeMux()
	endpoints := map[string]*endpoint{}
	for _, r := range table {
		at = r.Op
		if r.Op == "" || r.Method == "" || r.Handle == nil || !strings.HasPrefix(r.Path, "/") {
			return nil, fmt.Errorf("api/client: route %q %s %q is incomplete", r.Op, r.Method, r.Path)
		}
		served := &route{Route: r, seconds: a.metrics.seconds.WithLabelValues(r.Op)}
		if served.MaxBody == 0 {
			served.MaxBody = a.cfg.MaxBody
		}
		if served.Deadline == 0 {
			served.Deadline = a.cfg.Deadline
		}
		for _, path := range r.paths() {
			e := endpoints[path]
			if e == nil {
				e = &endpoint{api: a, wrong: a.wrongMethod()}
				endpoints[path] = e
				mux.Handle(path, e)
			}
			if slices.Contains(e.methods, r.Method) {
				return nil, fmt.Errorf("api/client: two routes for %s %s", r.Method, path)
			}
			e.methods = append(e.methods, r.Method)
			e.routes = append(e.routes, served)
		}
	}
	unknown := a.unrecognized()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, unknown) })
	return mux, nil
}

// refusal is a route that only says err.
func (a *API) refusal(op string, err error) *route {
	return &route{
		Route: Route{Op: op, Auth: None, Static: true, Deadline: a.cfg.Deadline,
			Handle: func(context.Context, *Request) (any, error) { return nil, err }},
		seconds: a.metrics.seconds.WithLabelValues(op),
	}
}

// unrecognized answers what is no endpoint. Specification: Client-Server API, "Common error codes", M_UNRECOGNIZED.
func (a *API) unrecognized() *route {
	return a.refusal("unrecognized", errs.New("api.route", errs.NotFound, errs.Unrecognized, "there is no such endpoint"))
}

func (a *API) wrongMethod() *route {
	return a.refusal("unrecognized",
		errs.New("api.route", errs.Unsupported, errs.MethodNotAllowed, "this endpoint does not take that method"))
}

// routable prepares the path for the mux, which would answer paths that it finds unclean with a redirect to another path: a
// wrong answer to an API call. A path with an empty segment in the middle is no path of ours. A segment "." or ".." is a
// value like any other (a state key can be "."), so it is encoded, which the mux leaves alone.
func routable(r *http.Request) (*http.Request, bool) {
	path := r.URL.EscapedPath()
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") {
		return r, false
	}
	if !strings.Contains(path, "/.") {
		return r, true
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if s == "." || s == ".." {
			segments[i] = strings.ReplaceAll(s, ".", "%2E")
		}
	}
	r2, u := *r, *r.URL
	u.RawPath = strings.Join(segments, "/")
	r2.URL = &u
	return &r2, true
}
