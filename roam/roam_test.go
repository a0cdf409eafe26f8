package roam_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/roam"
)

// site is a server that can be told how to behave.
type site struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc] // of everything but signs of life
	dead   atomic.Bool                      // nothing is answered, not even signs of life
	hold   chan struct{}                    // closed at the end of the test

	mu  sync.Mutex
	got []string // requests, as method, path and body
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{hold: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.dead.Load() {
			select {
			case <-s.hold:
			case <-r.Context().Done():
			}
			return
		}
		if strings.HasSuffix(r.URL.Path, "/client/versions") {
			return
		}
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.got = append(s.got, r.Method+" "+r.URL.RequestURI()+" "+string(body))
		s.mu.Unlock()
		(*s.answer.Load())(w, r)
	}))
	s.says(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s.URL) })
	t.Cleanup(func() { close(s.hold); s.Close() })
	return s
}

func (s *site) says(h http.HandlerFunc) { s.answer.Store(&h) }

func (s *site) status(code int, retryAfter string) {
	s.says(func(w http.ResponseWriter, _ *http.Request) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(code)
	})
}

func (s *site) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// roamer is a client over sites, at home at the first.
func roamer(t *testing.T, cfg roam.Config, sites ...*site) (*http.Client, *roam.Transport) {
	t.Helper()
	for _, s := range sites {
		cfg.Sites = append(cfg.Sites, s.URL)
	}
	if cfg.SignOfLife == 0 {
		cfg.SignOfLife = 10 * time.Second
	}
	if cfg.MinPause == 0 {
		cfg.MinPause = time.Millisecond
	}
	rt, err := roam.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Move(sites[0].URL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rt.CloseIdleConnections)
	return &http.Client{Transport: rt}, rt
}

// do makes one request to the first site by name and returns status and body.
func do(t *testing.T, c *http.Client, method, url, body string, header ...string) (int, string, error) {
	t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, in)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

const sendPath = "/_matrix/client/v3/rooms/%21r%3Ax/send/m.room.message/txn1"

func TestMovesAtOnce(t *testing.T) {
	for name, break_ := range map[string]func(*site){
		"refused":  func(s *site) { s.Listener.Close(); s.CloseClientConnections() },
		"502":      func(s *site) { s.status(502, "") },
		"503":      func(s *site) { s.status(503, "30") },
		"504":      func(s *site) { s.status(504, "") },
		"cut off":  func(s *site) { s.says(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }) },
		"in half":  func(s *site) { s.says(halfAnAnswer) },
		"bad HTTP": func(s *site) { s.says(noHTTP) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newSite(t), newSite(t)
			break_(a)
			c, rt := roamer(t, roam.Config{}, a, b)
			status, text, err := do(t, c, "PUT", a.URL+sendPath+"?x=%2F", `{"body":"hi"}`)
			if err != nil || status != 200 || text != b.URL {
				t.Fatalf("%d %q %v, want the answer of %s", status, text, err, b.URL)
			}
			want := []string{"PUT " + sendPath + `?x=%2F {"body":"hi"}`}
			if got := b.requests(); !slices.Equal(got, want) {
				t.Errorf("the second site got %q, want %q", got, want)
			}
			if rt.Site() != b.URL {
				t.Errorf("stays at %s, want %s", rt.Site(), b.URL)
			}
			before := len(a.requests())
			if _, text, err := do(t, c, "GET", a.URL+"/x", ""); err != nil || text != b.URL || len(a.requests()) != before {
				t.Errorf("the next request: %q, %v; the broken site got %q", text, err, a.requests()[before:])
			}
		})
	}
}

func halfAnAnswer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	fmt.Fprint(w, "half")
}

func noHTTP(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		io.WriteString(conn, "what?\r\n\r\n")
		conn.Close()
	}
}

// A long poll leaves a site that has frozen, and waits as long as it likes at one that has not.
func TestLongPoll(t *testing.T) {
	const life = 50 * time.Millisecond
	a, b := newSite(t), newSite(t)
	c, rt := roamer(t, roam.Config{SignOfLife: life}, a, b)
	a.says(func(w http.ResponseWriter, r *http.Request) { // many signs of life long
		select {
		case <-time.After(10 * life):
			fmt.Fprint(w, "news")
		case <-r.Context().Done():
		}
	})
	if _, text, err := do(t, c, "GET", a.URL+"/sync", ""); err != nil || text != "news" {
		t.Fatalf("a sound long poll: %q %v", text, err)
	}
	asked := make(chan struct{})
	a.says(func(_ http.ResponseWriter, r *http.Request) { // freezes while the request waits
		a.dead.Store(true)
		close(asked)
		<-r.Context().Done()
	})
	if _, text, err := do(t, c, "GET", a.URL+"/sync", ""); err != nil || text != b.URL {
		t.Fatalf("a long poll at a site that freezes: %q %v", text, err)
	}
	<-asked
	if rt.Site() != b.URL {
		t.Errorf("stays at the frozen site")
	}
}

// What might have had an effect is not sent again, and the caller is told.
func TestUnsafeIsNotRepeated(t *testing.T) {
	a, b := newSite(t), newSite(t)
	c, rt := roamer(t, roam.Config{}, a, b)
	a.status(503, "")
	if status, _, err := do(t, c, "POST", a.URL+"/_matrix/client/v3/createRoom", "{}"); err != nil || status != 503 {
		t.Errorf("createRoom: %d %v, want 503", status, err)
	}
	if len(b.requests()) != 0 || rt.Site() != b.URL {
		t.Errorf("the second site got %q; the next request goes to %s", b.requests(), rt.Site())
	}
	rt.Move(a.URL)
	a.says(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if _, _, err := do(t, c, "POST", a.URL+"/_matrix/client/v3/createRoom", "{}"); err == nil {
		t.Error("createRoom that was cut off: no error")
	}
	rt.Move(a.URL)
	if status, _, err := do(t, c, "POST", a.URL+"/_bongsu/x", "{}", "Idempotency-Key", "k"); err != nil || status != 200 {
		t.Errorf("with a key: %d %v", status, err)
	}
	// Where no connection came about, nothing can have happened.
	rt.Move(a.URL)
	a.Listener.Close()
	a.CloseClientConnections()
	if status, _, err := do(t, c, "POST", a.URL+"/_matrix/client/v3/createRoom", "{}"); err != nil || status != 200 {
		t.Errorf("createRoom at a site that is gone: %d %v", status, err)
	}
	// A body that cannot be read again goes out once.
	rt.Move(a.URL)
	req, _ := http.NewRequestWithContext(t.Context(), "PUT", a.URL+sendPath, io.NopCloser(strings.NewReader("x")))
	if resp, err := c.Do(req); err == nil {
		resp.Body.Close()
		t.Error("a body that is gone was sent again")
	}
}

func TestRepeatable(t *testing.T) {
	for line, want := range map[string]bool{
		"GET /_matrix/client/v3/sync":                           true,
		"PUT /_matrix/client/v3/rooms/!r/send/m.room.message/t": true,
		"DELETE /_matrix/client/v3/room_keys/version/1":         true,
		"PATCH /_matrix/client/v3/x":                            false,
		"POST /_matrix/client/v3/keys/query":                    true,
		"POST /_matrix/client/v3/keys/claim":                    false,
		"POST /_matrix/client/v3/rooms/!r/join":                 true,
		"POST /_matrix/client/v3/rooms/!r/invite":               false,
		"POST /_matrix/client/v3/rooms/!r/receipt/m.read/$e":    true,
		"POST /_matrix/client/v3/login":                         false,
		"POST /_matrix/client/v3/register":                      false,
		"POST /_matrix/client/v3/createRoom":                    false,
		"POST /_matrix/media/v3/upload":                         false,
		"POST /_matrix/client/":                                 false,
		"POST /elsewhere":                                       false,
	} {
		method, path, _ := strings.Cut(line, " ")
		req, err := http.NewRequestWithContext(t.Context(), method, "http://x"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := roam.Repeatable(req); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

// When nobody answers, rounds follow with pauses until somebody does; a single site that is left is waited for as it asks.
func TestAllFail(t *testing.T) {
	a, b := newSite(t), newSite(t)
	var tries atomic.Int64
	recovering := func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) < 9 {
			w.WriteHeader(503)
		}
	}
	a.says(recovering)
	b.says(recovering)
	c, _ := roamer(t, roam.Config{MaxPause: 4 * time.Millisecond}, a, b)
	if status, _, err := do(t, c, "GET", a.URL+"/x", ""); err != nil || status != 200 || tries.Load() != 9 {
		t.Errorf("%d %v after %d tries, want 200 after 9", status, err, tries.Load())
	}

	b.Listener.Close()
	b.CloseClientConnections()
	began := time.Now()
	first := true
	a.says(func(w http.ResponseWriter, _ *http.Request) {
		if first {
			first = false
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(503)
		}
	})
	if status, _, err := do(t, c, "GET", a.URL+"/x", ""); err != nil || status != 200 || time.Since(began) < time.Second {
		t.Errorf("%d %v after %v, want 200 after the second that was asked for", status, err, time.Since(began))
	}
}

// Giving up hands out the last answer, or the last error; a context ends it all at once.
func TestGivesUp(t *testing.T) {
	a, b := newSite(t), newSite(t)
	a.status(503, "")
	b.status(503, "")
	c, _ := roamer(t, roam.Config{GiveUp: 20 * time.Millisecond}, a, b)
	if status, _, err := do(t, c, "GET", a.URL+"/x", ""); err != nil || status != 503 {
		t.Errorf("%d %v, want the 503", status, err)
	}
	for _, s := range []*site{a, b} {
		s.Listener.Close()
		s.CloseClientConnections()
	}
	var op *net.OpError
	if _, _, err := do(t, c, "GET", a.URL+"/x", ""); !errors.As(err, &op) {
		t.Errorf("%v, want why the connection failed", err)
	}
	patient, _ := roamer(t, roam.Config{MinPause: time.Hour, MaxPause: time.Hour, GiveUp: 10 * time.Hour}, a, b)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", a.URL+"/x", nil)
	if _, err := patient.Do(req); err == nil {
		t.Error("no error when the context ended")
	}
}

// Clients under load survive a site that comes and goes: no request fails.
func TestFlapping(t *testing.T) {
	a, b := newSite(t), newSite(t)
	var n atomic.Int64
	flap := func(phase int64) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if n.Add(1)/10%2 == phase {
				panic(http.ErrAbortHandler)
			}
		}
	}
	a.says(flap(0))
	b.says(flap(1))
	var moves atomic.Int64
	c, _ := roamer(t, roam.Config{Observe: func(a roam.Attempt) {
		if a.Err != nil {
			moves.Add(1)
		}
	}}, a, b)
	for range 100 {
		if status, _, err := do(t, c, "PUT", a.URL+sendPath, "{}"); err != nil || status != 200 {
			t.Fatalf("%d %v", status, err)
		}
	}
	if moves.Load() < 5 {
		t.Errorf("only %d attempts failed: the sites did not flap", moves.Load())
	}
}

func TestRace(t *testing.T) {
	dead, fast := newSite(t), newSite(t)
	dead.dead.Store(true)
	release := make(chan struct{})
	held := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer held.Close()
	defer close(release)
	rt, err := roam.New(roam.Config{Sites: []string{held.URL, dead.URL, fast.URL}})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.CloseIdleConnections()
	c := &http.Client{Transport: rt}
	if _, text, err := do(t, c, "GET", held.URL+"/x", ""); err != nil || text != fast.URL || rt.Site() != fast.URL {
		t.Errorf("the first request went to %q, %v", text, err)
	}

	nobody, err := roam.New(roam.Config{Sites: []string{dead.URL}, SignOfLife: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := nobody.Race(t.Context()); err == nil || !strings.Contains(err.Error(), "none of 1 sites") {
		t.Errorf("a race that nobody finishes: %v", err)
	}
}

func TestPins(t *testing.T) {
	a, b, d := newSite(t), newSite(t), newSite(t)
	c, rt := roamer(t, roam.Config{GiveUp: 20 * time.Millisecond}, a, b, d)
	if err := rt.Pin(b.URL); err != nil {
		t.Fatal(err)
	}
	b.status(503, "")
	if status, _, err := do(t, c, "GET", a.URL+"/x", ""); err != nil || status != 503 || len(a.requests())+len(d.requests()) > 0 {
		t.Errorf("pinned to a site that is unavailable: %d %v; others got %q %q", status, err, a.requests(), d.requests())
	}
	if err := rt.Pin(""); err != nil {
		t.Fatal(err)
	}
	rt.Avoid(b.URL, d.URL)
	for range 10 {
		if _, text, err := do(t, c, "GET", a.URL+"/x", ""); err != nil || text != a.URL {
			t.Errorf("avoiding two of three: %q %v", text, err)
		}
	}
	rt.Avoid(a.URL, b.URL, d.URL) // all there is
	if status, _, err := do(t, c, "GET", a.URL+"/x", ""); err != nil || status != 200 {
		t.Errorf("avoiding all: %d %v", status, err)
	}
	for _, err := range []error{rt.Pin("http://else"), rt.Move("http://else")} {
		if err == nil || !strings.Contains(err.Error(), "none of the sites") {
			t.Errorf("a site that is none: %v", err)
		}
	}
}

func TestLearn(t *testing.T) {
	a, b, stranger := newSite(t), newSite(t), newSite(t)
	c, rt := roamer(t, roam.Config{}, a)
	list := fmt.Sprintf(`{"sites":[{"name":"seoul","url":%q},{"name":"busan","url":"%s/"}]}`, a.URL, b.URL)
	a.says(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, list) })
	if err := rt.Learn(t.Context()); err != nil || !slices.Equal(rt.Sites(), []string{a.URL, b.URL}) || rt.Site() != a.URL {
		t.Fatalf("%v, sites %q, at %s", err, rt.Sites(), rt.Site())
	}
	for _, list = range []string{`{"sites":[]}`, `{"sites":[{"url":"x"}]}`, `nonsense`} {
		if err := rt.Learn(t.Context()); err == nil || len(rt.Sites()) != 2 {
			t.Errorf("%s: %v, sites %q", list, err, rt.Sites())
		}
	}
	a.status(404, "")
	if err := rt.Learn(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("no list: %v", err)
	}
	if _, text, err := do(t, c, "GET", stranger.URL+"/x", ""); err != nil || text != stranger.URL {
		t.Errorf("a request to another host: %q %v", text, err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, sites := range [][]string{nil, {"seoul"}, {"ftp://x"}, {"http://"}, {"http://a b"}} {
		if _, err := roam.New(roam.Config{Sites: sites}); err == nil {
			t.Errorf("%q: no error", sites)
		}
	}
}

// Answers beyond the buffer stream, and a base path is kept.
func TestLongAnswersAndBasePaths(t *testing.T) {
	a := newSite(t)
	long := strings.Repeat("x", 10_000)
	a.says(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, long) })
	rt, err := roam.New(roam.Config{Sites: []string{a.URL + "/base"}, Buffer: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.CloseIdleConnections()
	if _, text, err := do(t, &http.Client{Transport: rt}, "GET", a.URL+"/x%2Fy", ""); err != nil || text != long {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if got := a.requests(); !slices.Equal(got, []string{"GET /base/x%2Fy "}) {
		t.Errorf("asked for %q", got)
	}
}
