package roam

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config says where the sites are. Only Sites is required.
type Config struct {
	// Sites are the base URLs, such as https://seoul.example.org. Requests to any of their hosts go to whichever site is
	// there; requests to other hosts pass through untouched.
	Sites []string
	// Base makes the requests. Default: a transport of its own that gives up a connection attempt after SignOfLife.
	Base http.RoundTripper
	// SignOfLife is how long a request waits until its site is asked for a sign of life, and how long that may take; again and
	// again while the request waits. Default 3 s.
	SignOfLife time.Duration
	// GiveUp is how long a request is repeated; then the last answer or error is the outcome. A request's context may end it
	// sooner. Default 1 min.
	GiveUp time.Duration
	// MinPause and MaxPause bound the pause after a round in which no site answered. It doubles, and varies by half. Defaults
	// 50 ms and 2 s.
	MinPause, MaxPause time.Duration
	// RaceEvery is how often the sites race again. Default 5 min.
	RaceEvery time.Duration
	// Buffer is up to how many bytes of an answer are read before it is handed out. Default 1 MiB.
	Buffer int64
	// Observe is told of every attempt when it has ended. It is called by many goroutines and must not block.
	Observe func(Attempt)
}

// Attempt is one try of a request at one site.
type Attempt struct {
	Site         string // base URL
	Method, Path string
	Began, Ended time.Time // with monotonic part
	Status       int       // 0: there was no answer
	Err          error
}

// Transport is an http.RoundTripper over several sites. It is safe for concurrent use and has no goroutines beyond its requests.
type Transport struct {
	cfg   Config
	hosts map[string]bool // of the sites that were ever known

	mu      sync.Mutex
	sites   []*url.URL
	kept    *url.URL // where requests go first
	pinned  *url.URL // or nil
	avoided []string
	raced   time.Time
}

// New makes a transport. A base URL that is none is an error.
func New(cfg Config) (*Transport, error) {
	orDefault(&cfg.SignOfLife, 3*time.Second)
	orDefault(&cfg.GiveUp, time.Minute)
	orDefault(&cfg.MinPause, 50*time.Millisecond)
	orDefault(&cfg.MaxPause, 2*time.Second)
	orDefault(&cfg.RaceEvery, 5*time.Minute)
	if cfg.Buffer == 0 {
		cfg.Buffer = 1 << 20
	}
	if cfg.Base == nil {
		cfg.Base = &http.Transport{
			DialContext:         (&net.Dialer{Timeout: cfg.SignOfLife}).DialContext,
			TLSHandshakeTimeout: cfg.SignOfLife,
			MaxIdleConnsPerHost: 4,
			IdleConnTimeout:     time.Minute,
			ForceAttemptHTTP2:   true,
		}
	}
	t := &Transport{cfg: cfg, hosts: map[string]bool{}}
	if err := t.set(cfg.Sites); err != nil {
		return nil, err
	}
	return t, nil
}

func orDefault(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}

// set replaces the sites.
func (t *Transport) set(sites []string) error {
	if len(sites) == 0 {
		return errors.New("roam: name the base URL of at least one site")
	}
	all := make([]*url.URL, len(sites))
	for i, s := range sites {
		u, err := url.Parse(strings.TrimSuffix(s, "/"))
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("roam: %q is no base URL such as https://seoul.example.org", s)
		}
		all[i] = u
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.kept
	t.sites, t.kept, t.pinned = all, all[0], nil
	for _, u := range all {
		t.hosts[u.Host] = true
		if kept != nil && u.String() == kept.String() {
			t.kept = u
		}
	}
	return nil
}

// CloseIdleConnections gives idle connections back.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.cfg.Base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip sends req to a site that answers it. When the time to give up has come it returns the last answer, be it a 503, or
// else the last error.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.ours(req.URL.Host) {
		return t.cfg.Base.RoundTrip(req)
	}
	ctx := req.Context()
	t.raceIfDue(ctx)
	end := time.Now().Add(t.cfg.GiveUp)
	r := round{pause: t.cfg.MinPause}
	for first := true; ; first = false {
		site := t.choose(r.tried)
		if site == nil {
			wait := r.over(t.cfg)
			if time.Now().Add(wait).After(end) || !sleep(ctx, wait) {
				return r.resp, r.err
			}
			continue
		}
		again, err := copyOf(req, site, first)
		if err != nil {
			return nil, err
		}
		resp, err := t.attempt(again, site)
		if err == nil && !unavailable(resp.StatusCode) {
			if !first {
				t.answered(site)
			}
			return resp, nil
		}
		t.failed(site)
		if ctx.Err() != nil || !mayRepeat(req, err) {
			return resp, err
		}
		r.add(site, resp, err)
	}
}

func (t *Transport) ours(host string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hosts[host]
}

// unavailable reports whether a status says that the site, or the proxy before it, cannot answer now.
func unavailable(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

func mayRepeat(req *http.Request, err error) bool {
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return false
	}
	return Repeatable(req) || err != nil && neverLeft(err)
}

// copyOf is req as it goes to a site; the first copy has the body of req, later ones a new one.
func copyOf(req *http.Request, site *url.URL, first bool) (*http.Request, error) {
	again := req.Clone(req.Context())
	again.URL.Scheme, again.URL.Host, again.Host = site.Scheme, site.Host, ""
	if site.Path != "" {
		raw := site.EscapedPath() + req.URL.EscapedPath()
		again.URL.Path, again.URL.RawPath = site.Path+req.URL.Path, raw
	}
	if !first && req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, fmt.Errorf("roam: the body cannot be read again: %w", err)
		}
		again.Body = body
	}
	return again, nil
}

// errSilent is why an attempt was given up.
var errSilent = errors.New("roam: the site shows no sign of life")

// attempt tries once. A site that falls silent ends it, even in the middle of the answer.
func (t *Transport) attempt(req *http.Request, site *url.URL) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	watching, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() { t.watch(watching, site, cancel) })
	began := time.Now()
	resp, err := t.cfg.Base.RoundTrip(req.WithContext(ctx))
	if err == nil {
		err = t.buffer(resp, cancel)
	}
	stop()
	watcher.Wait()
	a := Attempt{Site: site.String(), Method: req.Method, Path: req.URL.Path, Began: began, Ended: time.Now()}
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
			err = cause
		}
		a.Err, resp = err, nil
		cancel(err)
	} else {
		a.Status = resp.StatusCode
	}
	if t.cfg.Observe != nil {
		t.cfg.Observe(a)
	}
	return resp, err
}

// watch asks the site for signs of life until ctx ends; when there is none it calls off the attempt.
func (t *Transport) watch(ctx context.Context, site *url.URL, callOff context.CancelCauseFunc) {
	for sleep(ctx, t.cfg.SignOfLife) {
		one, release := context.WithTimeout(ctx, t.cfg.SignOfLife)
		_, err := t.ask(one, site)
		release()
		if err != nil && ctx.Err() == nil {
			callOff(errSilent)
			return
		}
	}
}

// buffer reads the answer up to the limit; the rest, if any, streams. release is called when the body is closed.
func (t *Transport) buffer(resp *http.Response, release context.CancelCauseFunc) error {
	head, err := io.ReadAll(io.LimitReader(resp.Body, t.cfg.Buffer))
	if err != nil {
		resp.Body.Close()
		return err
	}
	resp.Body = &body{Reader: io.MultiReader(bytes.NewReader(head), resp.Body), rest: resp.Body, release: release}
	return nil
}

// body is an answer's body: what was read already, then the rest.
type body struct {
	io.Reader
	rest    io.Closer
	release context.CancelCauseFunc
}

func (b *body) Close() error {
	err := b.rest.Close()
	b.release(nil)
	return err
}

// round is one turn through all sites.
type round struct {
	tried []*url.URL
	there int           // sites that answered, if only to say that they cannot
	after time.Duration // what the last of them asks for
	pause time.Duration // after the next round

	resp *http.Response // the last outcome
	err  error
}

func (r *round) add(site *url.URL, resp *http.Response, err error) {
	if r.resp != nil {
		r.resp.Body.Close()
	}
	r.tried, r.resp, r.err = append(r.tried, site), resp, err
	if resp != nil {
		r.there++
		r.after = 0
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
			r.after = time.Duration(s) * time.Second
		}
	}
}

// over begins the next round and says after which pause. A single site that is left knows best when to come back; of several,
// the next may be ready sooner than this one says.
func (r *round) over(cfg Config) time.Duration {
	wait := r.pause/2 + rand.N(r.pause/2+1)
	if r.there == 1 && r.after > 0 {
		wait = r.after + rand.N(r.pause/2+1)
	}
	r.pause = min(2*r.pause, cfg.MaxPause)
	r.tried, r.there, r.after = nil, 0, 0
	return wait
}

// sleep waits, and reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
