package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bongsu/clock"
	"bongsu/errs"
	"bongsu/freeport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logs collects what is logged.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) count(words string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), words)
}

// net3 is three sites on loopback, whose links may be opened and closed.
type net3 struct {
	t         *testing.T
	authority *Authority
	addrs     map[string]string
	logs      map[string]*logs
}

var names = []string{"busan", "chuncheon", "seoul"}

func newNet(t *testing.T) *net3 {
	t.Helper()
	a, err := NewAuthority("c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n := &net3{t: t, authority: a, addrs: map[string]string{}, logs: map[string]*logs{}}
	for _, name := range names {
		n.addrs[name], n.logs[name] = freeport.Addr(t), &logs{}
	}
	return n
}

func (n *net3) credentials(a *Authority, site string, now time.Time) *Credentials {
	n.t.Helper()
	cert, key, err := a.Issue(site, now)
	if err != nil {
		n.t.Fatal(err)
	}
	c, err := NewCredentials(a.Certificate(), cert, key, names, clock.Func(func() time.Time { return now.Add(time.Second) }))
	if err != nil {
		n.t.Fatal(err)
	}
	c.clock = clock.System{} // so that a test can make one that is not valid
	return c
}

func (n *net3) config(site string) Config {
	c := Config{Site: site, Cluster: n.authority.Cluster, Version: "test", Listen: n.addrs[site],
		Credentials: n.credentials(n.authority, site, time.Now()), Log: slog.New(slog.NewTextHandler(n.logs[site], nil))}
	for _, p := range names {
		if p != site {
			c.Peers = append(c.Peers, Peer{p, n.addrs[p]})
		}
	}
	return c
}

func (n *net3) open(site string, change ...func(*Config)) *Link {
	n.t.Helper()
	c := n.config(site)
	for _, f := range change {
		f(&c)
	}
	l, err := Open(c)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = l.Close() })
	return l
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

func (l *Link) hears(site string) bool { return l.peer(site).failing() == nil }

func request(t *testing.T, method, path string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// get is the answer of site to GET path.
func get(t *testing.T, l *Link, site, path string) (int, string, error) {
	t.Helper()
	resp, err := l.Do(t.Context(), site, request(t, http.MethodGet, path, nil))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

func TestRequests(t *testing.T) {
	n := newNet(t)
	seoul, busan := n.open("seoul"), n.open("busan", func(c *Config) { c.MaxBody = 1 << 20 })
	busan.Handle("GET /who/{name}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s asks for %s?%s", From(r.Context()), r.PathValue("name"), r.URL.RawQuery)
	}))
	busan.Handle("POST /broken", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "disk", http.StatusInternalServerError)
	}))
	busan.Handle("PUT /count", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, size, err)
	}))
	if code, text, err := get(t, seoul, "busan", "/who/me?a=b"); code != 200 || text != "seoul asks for me?a=b" || err != nil {
		t.Errorf("%d %q %v", code, text, err)
	}
	resp, err := seoul.Do(t.Context(), "busan", request(t, http.MethodPost, "/broken", nil))
	if err != nil || resp.StatusCode != 500 {
		t.Fatalf("an answer with a status is no error of the link: %v", err)
	}
	resp.Body.Close()
	for size, want := range map[int64]string{1 << 20: "1048576 <nil>", 1<<20 + 1: "1048576 http: request body too large"} {
		resp, err = seoul.Do(t.Context(), "busan", request(t, http.MethodPut, "/count", io.LimitReader(zeros{}, size)))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(text) != want {
			t.Errorf("%d bytes: %q", size, text)
		}
	}
	if _, _, err := get(t, seoul, "daegu", "/"); !errs.Is(err, errs.NotFound) {
		t.Errorf("a site that is none: %v", err)
	}
	if From(t.Context()) != "" {
		t.Error("a context of no request has a site")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestPeerIsDown(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	seoul := n.open("seoul")
	begin := time.Now()
	_, _, err := get(t, seoul, "busan", "/")
	if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "site busan at "+n.addrs["busan"]+": nothing listens there") {
		t.Errorf("%v", err)
	}
	// A machine that takes connections and says nothing, as a frozen one does.
	ln, err := net.Listen("tcp", n.addrs["chuncheon"])
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, _, err = get(t, seoul, "chuncheon", "/")
	if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "does not answer: it is down or frozen") {
		t.Errorf("%v", err)
	}
	if took := time.Since(begin); took > 10*dialTimeout {
		t.Errorf("it took %s to learn that two sites are down", took)
	}
	// Several heartbeats fail; the change is logged once, and so is the return.
	busanIsDown := `site is not reached" part=link peer=busan`
	eventually(t, "a heartbeat", func() bool { return n.logs["seoul"].count(busanIsDown) > 0 })
	busan := n.open("busan")
	eventually(t, "the return", func() bool { return seoul.hears("busan") })
	_ = busan.Close()
	eventually(t, "the second loss", func() bool { return !seoul.hears("busan") })
	if lost := n.logs["seoul"].count(busanIsDown); lost != 2 {
		t.Errorf("two losses were logged %d times", lost)
	}
	if found := n.logs["seoul"].count(`site is reached" part=link peer=busan`); found != 1 {
		t.Errorf("a return was logged %d times", found)
	}
}

// TestNoProgress plants handlers and callers that stop in the middle. It takes idleTimeout.
func TestNoProgress(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for the idle timeout")
	}
	n := newNet(t)
	seoul, busan := n.open("seoul"), n.open("busan")
	release := make(chan struct{})
	var cut atomic.Int32
	busan.Handle("GET /stall", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "begin")
		_ = http.NewResponseController(w).Flush()
		<-release
	}))
	busan.Handle("GET /flood", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := io.Copy(w, zeros{}); err != nil {
			cut.Add(1)
		}
	}))
	busan.Handle("PUT /slow", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			cut.Add(1)
		}
	}))
	defer close(release)
	var all sync.WaitGroup
	all.Go(func() { // the answer stops
		if _, _, err := get(t, seoul, "busan", "/stall"); !errors.Is(err, errIdle) {
			t.Errorf("an answer that stops: %v", err)
		}
	})
	all.Go(func() { // the reader stops
		resp, err := seoul.Do(t.Context(), "busan", request(t, http.MethodGet, "/flood", nil))
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		eventually(t, "the end of two connections without progress", func() bool { return cut.Load() == 2 })
	})
	all.Go(func() { // the sender stops
		body, w := io.Pipe()
		defer w.Close()
		go func() { _, _ = w.Write([]byte("begin")) }()
		ctx, cancel := context.WithTimeout(t.Context(), idleTimeout+5*time.Second)
		defer cancel()
		req := request(t, http.MethodPut, "/slow", body)
		if resp, err := seoul.Do(ctx, "busan", req); err == nil {
			resp.Body.Close()
		}
	})
	all.Wait()
}

func TestTooManyRequests(t *testing.T) {
	n := newNet(t)
	seoul, busan := n.open("seoul"), n.open("busan")
	const limit = 4
	busan.slots = make(chan struct{}, limit)
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	var working atomic.Int32
	busan.Handle("GET /wait", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		working.Add(1)
		<-release
	}))
	var all sync.WaitGroup
	for range limit {
		all.Go(func() {
			if code, _, err := get(t, seoul, "busan", "/wait"); code != 200 {
				t.Errorf("%d %v", code, err)
			}
		})
	}
	eventually(t, "so much work", func() bool { return working.Load() == limit })
	if code, text, err := get(t, seoul, "busan", "/wait"); code != 503 {
		t.Errorf("one too many: %d %q %v", code, text, err)
	}
	at := seoul.peer("busan")
	if _, err := seoul.ask(t.Context(), at); err != nil {
		t.Errorf("a heartbeat had to wait: %v", err)
	}
	free()
	all.Wait()
}

func TestCloseEndsRequests(t *testing.T) {
	n := newNet(t)
	seoul, busan := n.open("seoul"), n.open("busan")
	begun := make(chan struct{})
	busan.Handle("GET /wait", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	}))
	result := make(chan error)
	go func() {
		_, _, err := get(t, seoul, "busan", "/wait")
		result <- err
	}()
	<-begun
	if err := busan.Close(); err != nil {
		t.Error(err)
	}
	if err := <-result; !errs.Is(err, errs.Unavailable) {
		t.Errorf("the server closed: %v", err)
	}
	if err := errors.Join(seoul.Close(), seoul.Close()); err != nil {
		t.Error(err)
	}
	if _, _, err := get(t, seoul, "busan", "/"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("a closed link: %v", err)
	}
}

func TestOpenRefusesWrongConfigurations(t *testing.T) {
	n := newNet(t)
	for words, change := range map[string]func(*Config){
		`not that of site "busan"`:    func(c *Config) { c.Site = "busan" },
		`cluster "c2"`:                func(c *Config) { c.Cluster = "c2" },
		`"busan" is named twice`:      func(c *Config) { c.Peers = append(c.Peers, Peer{"busan", "127.0.0.1:1"}) },
		`"seoul" is named twice`:      func(c *Config) { c.Peers = append(c.Peers, Peer{"seoul", "127.0.0.1:1"}) },
		"listen":                      func(c *Config) { c.Listen = "127.0.0.1:99999" },
		"the certificate is not that": func(c *Config) { c.Credentials = nil },
	} {
		c := n.config("seoul")
		change(&c)
		if l, err := Open(c); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
			if l != nil {
				l.Close()
			}
		}
	}
}
