package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bongsu/errs"
)

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestReadResponse(t *testing.T) {
	long := strings.Repeat("x", 3*readBuffer)
	cases := []struct {
		name, in string
		status   int
		body     string
		keep     bool
		after    time.Duration
		bad      bool
	}{
		{name: "length", in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", status: 200, body: "{}", keep: true},
		{name: "no reason", in: "HTTP/1.1 200\r\ncontent-length:2\r\n\r\n{}", status: 200, body: "{}", keep: true},
		{name: "bare newlines", in: "HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", status: 200, body: "{}", keep: true},
		{name: "close", in: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", status: 200, body: "{}"},
		{name: "until the end", in: "HTTP/1.1 200 OK\r\n\r\n{}", status: 200, body: "{}"},
		{name: "old", in: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", status: 200, body: "{}"},
		{name: "empty", in: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, keep: true},
		{name: "continue first", in: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", status: 200, keep: true},
		{name: "chunked", in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\nA;ext=1\r\n123456789}\r\n0\r\nTrail: er\r\n\r\n", status: 200, body: "{123456789}", keep: true},
		{name: "long chunk", in: fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(long), long), status: 200, body: long, keep: true},
		{name: "retry", in: "HTTP/1.1 503 Slow\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n", status: 503, keep: true, after: 3 * time.Second},
		{name: "retry by date", in: "HTTP/1.1 503 Slow\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n", status: 503, keep: true},
		{name: "short body", in: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", bad: true},
		{name: "short headers", in: "HTTP/1.1 200 OK\r\nContent-Le", bad: true},
		{name: "no last chunk", in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", bad: true},
		{name: "chunk too short", in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n", bad: true},
		{name: "negative length", in: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", bad: true},
		{name: "huge length", in: "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", bad: true},
		{name: "huge chunk", in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n", bad: true},
		{name: "another protocol", in: "SSH-2.0-OpenSSH_9\r\n\r\n", bad: true},
		{name: "endless line", in: "HTTP/1.1 200 OK\r\nX: " + long, bad: true},
		{name: "endless headers", in: "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", maxHeaders+1), bad: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			resp, keep, err := readResponse(bufio.NewReaderSize(strings.NewReader(c.in), readBuffer), nil)
			if c.bad {
				if err == nil || errors.Is(err, io.EOF) && err != io.ErrUnexpectedEOF {
					t.Fatalf("took it: %+v, %v", resp, err)
				}
				return
			}
			if err != nil || resp.status != c.status || string(resp.body) != c.body || keep != c.keep || resp.retryAfter != c.after {
				t.Errorf("got %d %q keep=%v after=%v, %v", resp.status, resp.body, keep, resp.retryAfter, err)
			}
		})
	}
}

// FuzzReadResponse: whatever the server writes, reading ends without a panic, and an answer that Go's own client
// understands is understood alike.
func FuzzReadResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		resp, _, err := readResponse(bufio.NewReaderSize(bytes.NewReader(in), readBuffer), nil)
		if err != nil {
			return
		}
		ref, refErr := http.ReadResponse(bufio.NewReader(bytes.NewReader(in)), nil)
		if refErr != nil {
			return
		}
		body, refErr := io.ReadAll(ref.Body)
		if refErr == nil && ref.StatusCode == resp.status && len(ref.TransferEncoding) == 0 && ref.ContentLength > 0 && !bytes.Equal(body, resp.body) {
			t.Errorf("read %q, net/http reads %q", resp.body, body)
		}
	})
}

func TestWireRoundTrip(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.URL.Query().Get("big") != "" {
			_, _ = w.Write(bytes.Repeat([]byte("y"), 100_000)) // chunked
		}
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL, r.Header.Get("Authorization"), b)
	}))
	defer srv.Close()
	tls := httptest.NewTLSServer(srv.Config.Handler)
	defer tls.Close()
	tt := newTLSTransport(mustURL(t, tls.URL))
	tt.http.Transport.(*http.Transport).TLSClientConfig = tls.Client().Transport.(*http.Transport).TLSClientConfig
	for _, tr := range []transport{newTransport(mustURL(t, srv.URL), true), tt} {
		var buf []byte
		for i := range 3 {
			big := strings.Repeat("b", i%2)
			req := &request{method: "PUT", token: "tok", path: []byte("/a?big=" + big), body: []byte("hello"), timeout: time.Second}
			resp, err := tr.roundTrip(t.Context(), req, buf)
			if err != nil || resp.status != 200 || !strings.HasSuffix(string(resp.body), "PUT /a?big="+big+" Bearer tok hello") {
				t.Errorf("%T: %d %q %v", tr, resp.status, resp.body, err)
			}
			buf = resp.body
		}
		tr.close()
	}
}

// A server that closes its kept connections (a restart, an idle limit) is not a failure; the one that closes in
// mid-answer is.
func TestWireReplacesAKeptConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var conns atomic.Int32
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			n := conns.Add(1)
			_, _ = bufio.NewReader(nc).ReadString('\n')
			if n == 3 {
				_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok")
			} else {
				_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
			_ = nc.Close()
		}
	}()
	w := newTransport(mustURL(t, "http://"+l.Addr().String()), true)
	defer w.close()
	req := &request{method: "GET", path: []byte("/"), timeout: time.Second}
	for range 2 {
		if _, err := w.roundTrip(t.Context(), req, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.roundTrip(t.Context(), req, nil); err == nil {
		t.Error("half an answer was taken for one")
	}
	if conns.Load() != 3 {
		t.Errorf("%d connections, want 3", conns.Load())
	}
}

func TestWireEndsWithItsContext(t *testing.T) {
	entered := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	w := newTransport(mustURL(t, srv.URL), true)
	_, err := w.roundTrip(ctx, &request{method: "GET", path: []byte("/"), timeout: time.Minute}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestWireRefusesToLeaveTheMachine(t *testing.T) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		ip := a.(*net.IPNet).IP
		if ip.IsLoopback() || ip.To4() == nil {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(ip.String(), "0"))
		if err != nil {
			continue
		}
		defer l.Close()
		w := newTransport(mustURL(t, "http://"+l.Addr().String()), true)
		_, err = w.roundTrip(t.Context(), &request{method: "GET", path: []byte("/"), timeout: time.Second}, nil)
		if !errs.Is(err, errs.Forbidden) {
			t.Errorf("%s: %v", l.Addr(), err)
		}
		return
	}
	t.Skip("this machine has only the loopback interface")
}

// BenchmarkRoundTrip compares the processor time of this process for one small request through wire and through
// net/http. The server is another process, so that only the client is counted.
func BenchmarkRoundTrip(b *testing.B) {
	base := mustURL(b, child(b, "echo"))
	body := []byte(`{"msgtype":"m.text","body":"` + strings.Repeat("x", 100) + `"}`)
	for _, c := range []struct {
		name string
		tr   func() transport
	}{
		{"wire", func() transport { return newTransport(base, true) }},
		{"nethttp", func() transport { return newTLSTransport(base) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetParallelism(32) // 64 clients on two processors
			before := cpuOf(b)
			b.RunParallel(func(pb *testing.PB) {
				tr := c.tr()
				defer tr.close()
				var buf []byte
				for pb.Next() {
					resp, err := tr.roundTrip(b.Context(), &request{method: "PUT", token: "tok", path: []byte("/a"), body: body, timeout: time.Minute}, buf)
					if err != nil {
						b.Error(err)
						return
					}
					buf = resp.body
				}
			})
			b.ReportMetric(float64((cpuOf(b)-before).Nanoseconds())/float64(b.N)/1000, "cpu-µs/op")
		})
	}
}

// child starts one of the servers of TestServer in another process and gives its URL.
func child(b *testing.B, server string) string {
	cmd := exec.Command(os.Args[0], "-test.run=^TestServer$", "-test.count=1")
	cmd.Env = append(os.Environ(), "BENCH_SERVER="+server)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func cpuOf(b *testing.B) time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// TestServer is the other process of the benchmarks; it ends with its standard input.
func TestServer(t *testing.T) {
	var url string
	switch os.Getenv("BENCH_SERVER") {
	case "echo":
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, `{"event_id":"$0123456789012345678901234567890123456789012"}`)
		}))
		defer srv.Close()
		url = srv.URL
	case "fake":
		url = newFake(t).serve()
	default:
		t.Skip("only as a child of a benchmark")
	}
	fmt.Println(url)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// BenchmarkGenerator measures what the generator itself takes of the processor, against the fake server in another process: for each
// message when nobody syncs, and for each request when every message goes to 20 members.
func BenchmarkGenerator(b *testing.B) {
	for _, c := range []struct {
		name string
		cfg  Config
	}{
		{"send", Config{Scenario: "send"}},
		{"steady", Config{Scenario: "steady", Rate: 150}},
	} {
		b.Run(c.name, func(b *testing.B) {
			c.cfg.URLs, c.cfg.Duration, c.cfg.Warmup = []string{child(b, "fake")}, 3*time.Second, 500*time.Millisecond
			for b.Loop() {
				var out bytes.Buffer
				r, err := Run(b.Context(), c.cfg, &out)
				if err != nil {
					b.Fatal(err)
				}
				b.Log("\n" + out.String())
				b.ReportMetric(r.Generator.PerMessage, "cpu-µs/message")
				b.ReportMetric(r.Generator.PerSync, "cpu-µs/request")
			}
		})
	}
}
