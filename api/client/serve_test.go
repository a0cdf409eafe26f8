package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"bongsu/clock"
	"bongsu/errs"
	"bongsu/kv"
)

// shows checks that the metrics have these lines.
func (ta *testAPI) shows(t testing.TB, lines ...string) {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(ta.reg, promhttp.HandlerOpts{}).ServeHTTP(w, newRequest(t, "GET", "/metrics", ""))
	for _, line := range lines {
		if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
			t.Errorf("no %s in\n%s", line, w.Body)
		}
	}
}

func TestPanics(t *testing.T) {
	boom := func(p any) Handler { return func(context.Context, *Request) (any, error) { panic(p) } }
	ta := newTestAPI(t, nil,
		Route{Op: "bug", Method: "GET", Path: "/bug", Handle: boom("secret")},
		Route{Op: "disk", Method: "GET", Path: "/disk", Handle: boom(kv.Fault{Err: errors.New("EIO")})},
		Route{Op: "late", Method: "GET", Path: "/late", Handle: func(context.Context, *Request) (any, error) {
			return Stream{Body: io.MultiReader(strings.NewReader("half"), panicReader{}), Size: 8}, nil
		}},
		Route{Op: "cut", Method: "GET", Path: "/cut", Handle: func(context.Context, *Request) (any, error) {
			return Stream{Body: io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF)), Size: -1}, nil
		}},
		Route{Op: "abort", Method: "GET", Path: "/abort", Handle: boom(http.ErrAbortHandler)})

	w := ta.call(t, "GET", "/bug", "")
	expect(t, w, 500, "M_UNKNOWN")
	if strings.Contains(w.Body.String(), "secret") || !strings.Contains(ta.log.String(), "serve_test.go") ||
		strings.Count(ta.log.String(), "level=ERROR") != 1 {
		t.Errorf("%s\n%s", w.Body, ta.log)
	}
	w = ta.call(t, "GET", "/disk", "")
	expect(t, w, 503, "M_UNKNOWN")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	ta.shows(t, "bongsu_api_panics_total 2")

	// An answer that has begun must be seen to be broken.
	srv := httptest.NewServer(ta)
	defer srv.Close()
	for _, path := range []string{"/late", "/cut", "/abort"} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+path+"?access_token=amys", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := srv.Client().Do(r)
		if err == nil {
			_, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: taken for a whole answer", path)
		}
	}
	srv.Close() // waits for the handlers
	ta.shows(t, "bongsu_api_requests_in_flight 0")
	if n := ta.admit.working[Ordinary].Load(); n != 0 {
		t.Errorf("%d requests busy", n)
	}
}

type panicReader struct{}

func (panicReader) Read([]byte) (int, error) { panic("reader") }

func TestReplies(t *testing.T) {
	closed := false
	answers := map[string]any{
		"nil":     nil,
		"raw":     Raw(`{"raw":"<&>"}`),
		"value":   map[string]string{"a": "<&>"},
		"reply":   Reply{Status: 401, Header: http.Header{"X-Test": {"1"}}, Body: map[string]any{"flows": []string{}}},
		"created": Reply{Status: 201},
		"stream":  Stream{Header: http.Header{"Content-Type": {"image/png"}}, Body: closer{strings.NewReader("abc"), &closed}, Size: 3},
		"seek":    Stream{Header: http.Header{"Content-Type": {"text/plain"}, "Etag": {`"e"`}}, Body: strings.NewReader("abcdef")},
		"handler": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(418) }),
		"bad":     make(chan int),
	}
	ta := newTestAPI(t, nil, Route{Op: "x", Method: "GET", Path: "/{what}", Auth: None,
		Handle: func(_ context.Context, r *Request) (any, error) { return answers[r.Path("what")], nil }})
	for _, c := range []struct {
		what, typ, body string
		status          int
	}{
		{"nil", "application/json", "{}", 200},
		{"raw", "application/json", `{"raw":"<&>"}`, 200},
		{"value", "application/json", `{"a":"<&>"}`, 200},
		{"reply", "application/json", `{"flows":[]}`, 401},
		{"created", "application/json", `{}`, 201},
		{"stream", "image/png", "abc", 200},
		{"seek", "text/plain", "abcdef", 200},
		{"handler", "", "", 418},
		{"bad", "application/json", `{"errcode":"M_UNKNOWN","error":"internal error"}`, 500},
	} {
		w := ta.do(newRequest(t, "GET", "/"+c.what, ""))
		if w.Code != c.status || w.Body.String() != c.body || w.Header().Get("Content-Type") != c.typ {
			t.Errorf("%s: %d %v %s", c.what, w.Code, w.Header(), w.Body)
		}
	}
	if !closed {
		t.Error("the stream was not closed")
	}
	if ta.site.catchUps.Load() != 0 {
		t.Error("a Reply was taken for a denial")
	}
	r := newRequest(t, "GET", "/seek", "")
	r.Header.Set("Range", "bytes=2-3")
	if w := ta.do(r); w.Code != 206 || w.Body.String() != "cd" {
		t.Errorf("range: %d %s", w.Code, w.Body)
	}
	r = newRequest(t, "GET", "/seek", "")
	r.Header.Set("If-None-Match", `"e"`)
	if w := ta.do(r); w.Code != 304 {
		t.Errorf("condition: %d", w.Code)
	}
}

type closer struct {
	io.Reader
	closed *bool
}

func (c closer) Close() error { *c.closed = true; return nil }

func TestConcurrencyIsBounded(t *testing.T) {
	entered, leave := make(chan bool), make(chan bool)
	wait := func(context.Context, *Request) (any, error) { entered <- true; <-leave; return nil, nil }
	ta := newTestAPI(t, func(c *Config) { c.MaxConcurrent = 2 },
		Route{Op: "x", Method: "GET", Path: "/x", Handle: wait},
		Route{Op: "poll", Method: "GET", Path: "/poll", LongPoll: true, Handle: wait})
	done := make(chan *httptest.ResponseRecorder)
	start := func(path string) {
		go func() {
			done <- ta.do(httptest.NewRequestWithContext(t.Context(), "GET", path+"?access_token=amys", nil))
		}()
		<-entered
	}
	for range 5 {
		start("/poll")
	}
	start("/x")
	start("/x")
	w := ta.call(t, "GET", "/x", "")
	expect(t, w, 503, "M_UNKNOWN")
	ta.shows(t, "bongsu_api_requests_in_flight 7")
	close(leave)
	for range 7 {
		expect(t, <-done, 200, "")
	}
	go func() { <-entered }()
	expect(t, ta.call(t, "GET", "/x", ""), 200, "")
}

func TestDrain(t *testing.T) {
	entered := make(chan bool)
	ta := newTestAPI(t, nil, Route{Op: "poll", Method: "GET", Path: "/poll", LongPoll: true,
		Handle: func(ctx context.Context, r *Request) (any, error) {
			close(entered)
			select {
			case <-r.Draining():
				return map[string]string{"next_batch": "s1"}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}})
	done := make(chan *httptest.ResponseRecorder)
	go func() {
		done <- ta.do(httptest.NewRequestWithContext(t.Context(), "GET", "/poll?access_token=amys", nil))
	}()
	<-entered
	ta.Drain()
	ta.Drain() // twice is once
	expect(t, <-done, 200, "")
}

func TestRateLimits(t *testing.T) {
	now := time.Unix(1000, 0)
	limited := func(off bool) *testAPI {
		return newTestAPI(t, func(c *Config) {
			c.Clock = clock.Func(func() time.Time { return now })
			c.Limits = Limits{Off: off, Send: Rate{2, 3}, Login: Rate{1, 1}, Account: Rate{1, 2}, MaxKeys: 3}
		},
			Route{Op: "send", Method: "PUT", Path: "/send", Limit: LimitSend, Handle: echo()},
			Route{Op: "login", Method: "POST", Path: "/login", Auth: None, Limit: LimitLogin,
				Handle: func(_ context.Context, r *Request) (any, error) {
					return nil, r.Allow(LimitAccount, r.Header("X-Account"))
				}})
	}
	ta := limited(false)
	for range 3 {
		expect(t, ta.call(t, "PUT", "/send", ""), 200, "")
	}
	w := ta.call(t, "PUT", "/send", "")
	expect(t, w, 429, "M_LIMIT_EXCEEDED")
	if w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), `"retry_after_ms":500`) {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
	now = now.Add(500 * time.Millisecond)
	expect(t, ta.call(t, "PUT", "/send", ""), 200, "")
	expect(t, ta.call(t, "PUT", "/send", ""), 429, "M_LIMIT_EXCEEDED")

	login := func(addr, account string) int {
		r := newRequest(t, "POST", "/login", "")
		r.RemoteAddr = addr
		r.Header.Set("X-Account", account)
		return ta.do(r).Code
	}
	for _, c := range []struct {
		addr, account string
		want          int
	}{
		{"192.0.2.1:5", "a", 200}, {"192.0.2.1:6", "b", 429}, // one address
		{"192.0.2.2:5", "a", 200}, {"192.0.2.3:5", "a", 429}, // one account
	} {
		if got := login(c.addr, c.account); got != c.want {
			t.Errorf("%s %s: %d", c.addr, c.account, got)
		}
	}
	if n := ta.limiter.used.Len(); n != 3 || len(ta.limiter.index) != 3 {
		t.Errorf("%d buckets kept", n)
	}
	now = now.Add(time.Hour)
	if login("[2001:db8::1]:5", "v6") != 200 || login("[2001:db8::2]:5", "v6") != 429 || login("[2001:db8:0:1::2]:5", "v6") != 200 {
		t.Error("addresses of one IPv6 network are not counted together")
	}

	ta = limited(true)
	for range 50 {
		expect(t, ta.call(t, "PUT", "/send", ""), 200, "")
	}
}

func TestAddress(t *testing.T) {
	ta := newTestAPI(t, nil)
	for _, c := range []struct{ peer, forwarded, want string }{
		{"192.0.2.1:5", "", "192.0.2.1"},
		{"192.0.2.1:5", "198.51.100.1", "192.0.2.1"}, // not trusted
		{"127.0.0.1:5", "", "127.0.0.1"},
		{"127.0.0.1:5", "198.51.100.1", "198.51.100.1"},
		{"127.0.0.1:5", "6.6.6.6, 198.51.100.1", "198.51.100.1"}, // what the client made up is ignored
		{"127.0.0.1:5", "6.6.6.6, 198.51.100.1, 127.0.0.1", "198.51.100.1"},
		{"127.0.0.1:5", "nonsense", "127.0.0.1"},
		{"[::1]:5", "2001:db8::1", "2001:db8::1"},
		{"[::ffff:192.0.2.1]:5", "", "192.0.2.1"},
		{"@", "", "invalid IP"},
	} {
		r := newRequest(t, "GET", "/", "")
		r.RemoteAddr = c.peer
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		rq := &Request{api: ta.API, http: r}
		if got := rq.Address().String(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestMeta(t *testing.T) {
	var unwell error
	meta := Meta{
		PublicURL: "https://chat.example.org",
		Support:   Support{Contacts: []Contact{{"m.role.admin", "@amy:h", "amy@h"}}, Page: "https://h/help"},
		Health:    func(context.Context) error { return unwell },
		Status:    func(context.Context) (any, error) { return map[string]int{"applied": 7}, nil },
	}
	reg := prometheus.NewRegistry()
	meta.Metrics = promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
	ta := newTestAPI(t, func(c *Config) { c.Registry = reg }, Routes(Endpoints{Meta: meta})...)
	for path, want := range map[string]string{
		"/.well-known/matrix/client":      `{"m.homeserver":{"base_url":"https://chat.example.org"}}`,
		"/.well-known/matrix/support":     `{"contacts":[{"role":"m.role.admin","matrix_id":"@amy:h","email_address":"amy@h"}],"support_page":"https://h/help"}`,
		"/_bongsu/status":                 `{"applied":7}`,
		"/health":                         `{"status":"ok"}`,
		"/_matrix/client/v3/capabilities": `"m.room_versions":{"default":"12","available":{"10":"stable","11":"stable","12":"stable","6":"stable","7":"stable","8":"stable","9":"stable"}}`,
		"/_matrix/client/versions":        `"v1.11"`,
		"/metrics":                        `bongsu_api_request_seconds_bucket{op="getVersions"`,
	} {
		if w := ta.call(t, "GET", path, ""); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	unwell = errs.New("x", errs.Unavailable, "", "no quorum")
	expect(t, ta.call(t, "GET", "/health", ""), 503, "M_UNKNOWN")
	expect(t, ta.do(newRequest(t, "GET", "/_matrix/client/v3/capabilities", "")), 401, "M_MISSING_TOKEN")

	meta.PublicURL, meta.Support = "", Support{}
	ta = newTestAPI(t, nil, Routes(Endpoints{Meta: meta})...)
	expect(t, ta.call(t, "GET", "/.well-known/matrix/client", ""), 404, "M_NOT_FOUND")
	expect(t, ta.call(t, "GET", "/.well-known/matrix/support", ""), 404, "M_NOT_FOUND")
}

func TestMetricsAndLog(t *testing.T) {
	ta := newTestAPI(t, nil,
		Route{Op: "sendMessage", Method: "PUT", Path: "/x/{a}", Handle: echo()},
		Route{Op: "bad", Method: "GET", Path: "/bad", Handle: func(context.Context, *Request) (any, error) {
			return nil, errs.New("x", errs.Conflict, errs.UserInUse, "taken")
		}})
	ta.call(t, "PUT", "/x/secret-path?q=secret", "")
	ta.call(t, "GET", "/bad", "")
	ta.call(t, "GET", "/nowhere", "")
	for _, want := range []string{"op=sendMessage user=@amy:example.org status=200", "op=bad user=@amy:example.org status=400", "op=unrecognized"} {
		if !strings.Contains(ta.log.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, ta.log)
		}
	}
	if strings.Contains(ta.log.String(), "secret") || strings.Contains(ta.log.String(), "amys") {
		t.Errorf("the log tells too much:\n%s", ta.log)
	}
	ta.shows(t,
		`bongsu_api_errors_total{errcode="M_UNRECOGNIZED",op="unrecognized",status="404"} 1`,
		`bongsu_api_errors_total{errcode="M_USER_IN_USE",op="bad",status="400"} 1`,
		`bongsu_api_request_seconds_count{op="sendMessage"} 1`)
}

// TestClockIsWrong: a server whose clock is off answers all the same. Connections have real deadlines.
func TestClockIsWrong(t *testing.T) {
	ta := newTestAPI(t, func(c *Config) {
		c.Clock = clock.Func(func() time.Time { return time.Now().Add(-time.Hour) })
	}, Route{Op: "echo", Method: "POST", Path: "/echo", Auth: None, Handle: func(_ context.Context, rq *Request) (any, error) {
		body, err := rq.Body()
		return Raw(body), err
	}})
	srv := httptest.NewServer(ta.API)
	defer srv.Close()
	resp, err := http.Post(srv.URL+"/echo", "application/json", strings.NewReader(`{"a":1}`)) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(body) != `{"a":1}` {
		t.Errorf("%d %q %v", resp.StatusCode, body, err)
	}
}
