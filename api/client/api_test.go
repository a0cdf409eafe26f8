package client

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bongsu/errs"
	"bongsu/id"
)

// fakeSite is Sessions and Fresh: it knows the tokens in its current state, which CatchUp replaces by the latest.
type fakeSite struct {
	tokens   map[string]Session
	latest   map[string]Session // after CatchUp; nil: the same
	fail     error              // of CatchUp
	catchUps atomic.Int32
}

func (s *fakeSite) Authenticate(_ context.Context, token string) (Session, error) {
	if ses, ok := s.tokens[token]; ok {
		return ses, nil
	}
	return Session{}, errs.New("fake", errs.Unauthenticated, errs.UnknownToken, "the access token is not known")
}

func (s *fakeSite) CatchUp(context.Context) error {
	s.catchUps.Add(1)
	if s.fail == nil && s.latest != nil {
		s.tokens = s.latest
	}
	return s.fail
}

type testAPI struct {
	*API
	t    testing.TB
	site *fakeSite
	log  *bytes.Buffer
	reg  *prometheus.Registry
}

func newTestAPI(t testing.TB, change func(*Config), routes ...Route) *testAPI {
	t.Helper()
	amy := map[string]Session{"amys": {User: "@amy:example.org", Device: "PHONE"}}
	ta := &testAPI{t: t, site: &fakeSite{tokens: amy}, log: &bytes.Buffer{}, reg: prometheus.NewRegistry()}
	cfg := Config{
		Sessions: ta.site, Fresh: ta.site, Registry: ta.reg,
		Log: slog.New(slog.NewTextHandler(ta.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	api, err := New(cfg, routes)
	if err != nil {
		t.Fatal(err)
	}
	ta.API = api
	return ta
}

// ServeHTTP serves a request of a test.
func (ta *testAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) { judged(ta.t, ta.API, w, r) }

// call sends a request as amy; path is put into the request line as it is.
func (ta *testAPI) call(t testing.TB, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := newRequest(t, method, path, body)
	r.Header.Set("Authorization", "Bearer amys")
	return ta.do(r)
}

func newRequest(t testing.TB, method, path, body string) *http.Request {
	t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	return httptest.NewRequestWithContext(t.Context(), method, path, in)
}

func (ta *testAPI) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	ta.ServeHTTP(w, r)
	return w
}

// expect checks status and errcode ("" for none).
func expect(t testing.TB, w *httptest.ResponseRecorder, status int, errcode string) {
	t.Helper()
	var body struct{ Errcode, Error string }
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatalf("the answer is not JSON: %q", w.Body)
		}
	}
	if w.Code != status || body.Errcode != errcode {
		t.Fatalf("got %d %s, want %d %s: %s", w.Code, body.Errcode, status, errcode, w.Body)
	}
	if errcode != "" && body.Error == "" {
		t.Fatal("an error without words")
	}
	if got := w.Header().Get("Access-Control-Allow-Origin"); got != "*" {
		t.Fatalf("no CORS header: %q", got)
	}
}

// echo answers with the names of the path.
func echo(names ...string) Handler {
	return func(_ context.Context, r *Request) (any, error) {
		out := map[string]string{"op": r.Op()}
		for _, n := range names {
			out[n] = r.Path(n)
		}
		return out, nil
	}
}

func TestRouteTable(t *testing.T) {
	meta := Meta{
		Health: func(context.Context) error { return nil },
		Status: func(context.Context) (any, error) { return map[string]int{"applied": 7}, nil },
	}
	ta := newTestAPI(t, nil, Routes(Endpoints{Meta: meta})...)
	for _, path := range []string{
		"/_matrix/client/versions", "/_matrix/client/v3/capabilities", "/_matrix/client/r0/capabilities", "/health",
		"/_bongsu/status",
	} {
		expect(t, ta.call(t, "GET", path, ""), 200, "")
		expect(t, ta.call(t, "HEAD", path, ""), 200, "")
		w := ta.call(t, "POST", path, "{}")
		expect(t, w, 405, "M_UNRECOGNIZED")
		if got := w.Header().Get("Allow"); got != "GET, OPTIONS" {
			t.Errorf("Allow: %q", got)
		}
	}
	for _, path := range []string{"/", "/_matrix", "/_matrix/client/v3/", "/_matrix/client/v9/capabilities", "/health/"} {
		expect(t, ta.call(t, "GET", path, ""), 404, "M_UNRECOGNIZED")
	}
	if ta.site.catchUps.Load() != 0 {
		t.Error("an unknown endpoint was confirmed")
	}
}

func TestTableIsChecked(t *testing.T) {
	h := echo()
	for name, routes := range map[string][]Route{
		"twice":      {{Op: "a", Method: "GET", Path: "/a", Handle: h}, {Op: "b", Method: "GET", Path: "/a", Handle: h}},
		"no op":      {{Method: "GET", Path: "/a", Handle: h}},
		"no handler": {{Op: "a", Method: "GET", Path: "/a"}},
		"no slash":   {{Op: "a", Method: "GET", Path: "a", Handle: h}},
		"malformed":  {{Op: "a", Method: "GET", Path: "/{a", Handle: h}},
		"ambiguous":  {{Op: "a", Method: "GET", Path: "/{a}/b", Handle: h}, {Op: "b", Method: "GET", Path: "/a/{b}", Handle: h}},
	} {
		if _, err := New(Config{Sessions: &fakeSite{}, Fresh: &fakeSite{}}, routes); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Config{}, nil); err == nil {
		t.Error("no Sessions: accepted")
	}
}

func TestPaths(t *testing.T) {
	state := Route{Op: "state", Method: "GET", Auth: None,
		Path: "/_matrix/client/v3/rooms/{roomId}/state/{type}/{key}", Handle: echo("roomId", "type", "key")}
	empty := state
	empty.Path, empty.Also = "/_matrix/client/v3/rooms/{roomId}/state/{type}", []string{"/_matrix/client/v3/rooms/{roomId}/state/{type}/{$}"}
	empty.Handle = echo("roomId", "type")
	ta := newTestAPI(t, nil, state, empty)
	const root = "/_matrix/client/v3/rooms/"
	for path, want := range map[string]string{
		"!a:b/state/m.x":                            "!a:b|m.x|",
		"!a:b/state/m.x/":                           "!a:b|m.x|",
		"!a:b/state/m.x/k":                          "!a:b|m.x|k",
		"%21a%3Ab/state/m.x/k":                      "!a:b|m.x|k",
		"!a%2Fb:c/state/m%2Fx/k%2f":                 "!a/b:c|m/x|k/",
		"!a/state/m.x/%2525":                        "!a|m.x|%25", // once
		"!a/state/m.x/%252e%252e":                   "!a|m.x|%2e%2e",
		"!a/state/m.x/.":                            "!a|m.x|.",
		"!a/state/m.x/..":                           "!a|m.x|..",
		"!a/state/m.x/%2e%2E":                       "!a|m.x|..",
		"!a/state/m.x/...":                          "!a|m.x|...",
		"!a/state/m.x/..a":                          "!a|m.x|..a",
		"../state/./..":                             "..|.|..",
		"!a%2F..%2Fb/state/m.x/k":                   "!a/../b|m.x|k",
		"!a/state/m.x/a+b":                          "!a|m.x|a+b",
		"!a/state/m.x/%20":                          "!a|m.x| ",
		"!a/state/m.x/%ED%95%9C":                    "!a|m.x|한",
		"!a/state/m.x/{key}":                        "!a|m.x|{key}",
		"!a/state/m.x/k;x=1":                        "!a|m.x|k;x=1",
		"!a/state/m.x/%3F%23":                       "!a|m.x|?#",
		"!a/state/m.x/" + strings.Repeat("a", 4000): "!a|m.x|" + strings.Repeat("a", 4000),
	} {
		w := ta.call(t, "GET", root+path, "")
		var got map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
			continue
		}
		if s := got["roomId"] + "|" + got["type"] + "|" + got["key"]; s != want {
			t.Errorf("%s: %s, want %s", path, s, want)
		}
	}
	for _, path := range []string{
		"/state/m.x/k", "!a//m.x", "!a/state//", "!a/state//k", "!a/state/m.x//", "!a/state/m.x/k/", "!a/state/m.x/k/l",
		"../../rooms/!a/state/m.x/k",
	} {
		w := ta.call(t, "GET", root+path, "")
		expect(t, w, 404, "M_UNRECOGNIZED")
	}
	for _, path := range []string{"!a/state/m.x/%ff", "!a/state/m.x/%00", "%c3%28/state/m.x/k", "!a/state/m.x/%ED%A0%80"} {
		expect(t, ta.call(t, "GET", root+path, ""), 400, "M_INVALID_PARAM")
	}
}

// TestRequestTargets sends forms of the request line that httptest does not make.
func TestRequestTargets(t *testing.T) {
	ta := newTestAPI(t, nil, Route{Op: "x", Method: "GET", Path: "/x", Auth: None, Handle: echo()})
	srv := httptest.NewServer(ta)
	defer srv.Close()
	for _, c := range []struct{ method, target, want string }{
		{"GET", "/x", "200"},
		{"GET", "http://other.example/x", "200"},
		{"GET", "http://other.example", "404"},
		{"GET", "//x", "404"},
		{"GET", "/x/", "404"},
		{"GET", "/./x", "404"},
		{"CONNECT", "/x", "405"},
		{"CONNECT", "other.example:443", "404"},
		{"PRI", "/x", "405"},
		{"GET", "/%zz", "400"}, // net/http's own
		{"OPTIONS", "/nowhere", "204"},
	} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, c.method+" "+c.target+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		all, _ := io.ReadAll(conn)
		conn.Close()
		if got := string(all); !strings.HasPrefix(got, "HTTP/1.1 "+c.want) {
			t.Errorf("%s %s: %.60q, want %s", c.method, c.target, got, c.want)
		}
	}
}

func TestCORS(t *testing.T) {
	ta := newTestAPI(t, nil, Route{Op: "x", Method: "PUT", Path: "/_matrix/x", Handle: echo()})
	for _, path := range []string{"/_matrix/x", "/_matrix/none", "/"} {
		w := ta.do(newRequest(t, "OPTIONS", path, ""))
		h := w.Header()
		if w.Code != 204 || w.Body.Len() != 0 || h.Get("Access-Control-Allow-Origin") != "*" ||
			h.Get("Access-Control-Allow-Methods") != "GET, HEAD, POST, PUT, DELETE, OPTIONS" ||
			h.Get("Access-Control-Allow-Headers") != "X-Requested-With, Content-Type, Authorization, Date" {
			t.Errorf("%s: %d %v", path, w.Code, h)
		}
	}
}

func TestAuthentication(t *testing.T) {
	who := func(_ context.Context, r *Request) (any, error) { return r.User() + "/" + id.UserID(r.Device()), nil }
	ta := newTestAPI(t, nil,
		Route{Op: "must", Method: "GET", Path: "/must", Handle: who},
		Route{Op: "may", Method: "GET", Path: "/may", Auth: Optional, Handle: who},
		Route{Op: "no", Method: "GET", Path: "/no", Auth: None, Handle: who})
	for _, c := range []struct {
		path, header string
		status       int
		errcode      string
	}{
		{"/must", "", 401, "M_MISSING_TOKEN"},
		{"/must", "Bearer amys", 200, ""},
		{"/must", "bearer amys", 200, ""},
		{"/must", "Bearer ", 401, "M_MISSING_TOKEN"},
		{"/must", "Basic YTpi", 401, "M_MISSING_TOKEN"},
		{"/must", "Bearer bobs", 401, "M_UNKNOWN_TOKEN"},
		{"/must?access_token=amys", "", 200, ""},
		{"/must?access_token=bobs", "", 401, "M_UNKNOWN_TOKEN"},
		{"/must?access_token=amys", "Bearer bobs", 401, "M_UNKNOWN_TOKEN"}, // the header wins
		{"/must?access_token=%ff", "", 400, "M_INVALID_PARAM"},
		{"/may", "", 200, ""},
		{"/may", "Bearer amys", 200, ""},
		{"/may", "Bearer bobs", 401, "M_UNKNOWN_TOKEN"},
		{"/no", "Bearer bobs", 200, ""},
	} {
		r := newRequest(t, "GET", c.path, "")
		if c.header != "" {
			r.Header.Set("Authorization", c.header)
		}
		w := ta.do(r)
		t.Run(c.path+" "+c.header, func(t *testing.T) {
			if w.Code != c.status || c.errcode != "" {
				expect(t, w, c.status, c.errcode)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	wait := func(ctx context.Context, _ *Request) (any, error) {
		<-ctx.Done()
		return nil, errs.Wrap("x", ctx.Err())
	}
	ta := newTestAPI(t, func(c *Config) { c.Deadline = time.Millisecond },
		Route{Op: "x", Method: "GET", Path: "/x", Handle: wait},
		Route{Op: "slow", Method: "GET", Path: "/slow", Deadline: time.Hour, Handle: func(ctx context.Context, r *Request) (any, error) {
			if end, ok := ctx.Deadline(); !ok || end.Sub(r.Started()) < time.Minute {
				return nil, errs.New("x", errs.Internal, "", "the route's deadline is not kept")
			}
			return nil, nil
		}},
		Route{Op: "poll", Method: "GET", Path: "/poll", LongPoll: true, Handle: func(ctx context.Context, _ *Request) (any, error) {
			if _, ok := ctx.Deadline(); ok {
				return nil, errs.New("x", errs.Internal, "", "a long poll has a deadline")
			}
			return nil, nil
		}})
	w := ta.call(t, "GET", "/x", "")
	expect(t, w, 503, "M_UNKNOWN")
	if w.Header().Get("Retry-After") != "1" {
		t.Error("no Retry-After")
	}
	expect(t, ta.call(t, "GET", "/poll", ""), 200, "")
	expect(t, ta.call(t, "GET", "/slow", ""), 200, "")
}
