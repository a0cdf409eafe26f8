package client

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// idleBytes opens n connections, parks each in a long poll and returns the memory of the process for each: heap and stacks,
// with the clients' sockets, which cost next to nothing here.
func idleBytes(t testing.TB, n int) float64 {
	t.Helper()
	var parked atomic.Int64
	all, leave := make(chan bool), make(chan bool)
	site := &fakeSite{tokens: map[string]Session{"amys": {User: "@amy:example.org"}}}
	api, err := New(Config{Sessions: site, Fresh: site, Registry: prometheus.NewRegistry()}, []Route{{
		Op: "sync", Method: "GET", Path: "/_matrix/client/v3/sync", LongPoll: true,
		Handle: func(ctx context.Context, r *Request) (any, error) {
			if _, err := r.Query("since"); err != nil {
				return nil, err
			}
			if parked.Add(1) == int64(n) {
				close(all)
			}
			select {
			case <-leave:
			case <-ctx.Done():
			}
			return Raw("{}"), nil
		}}})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := NewHTTPServer(api, api.cfg.Log)
	served := make(chan error)
	go func() { served <- srv.Serve(listener) }()

	before := memory()
	conns := make([]net.Conn, n)
	request := []byte("GET /_matrix/client/v3/sync?since=s1_2_3_4&timeout=30000 HTTP/1.1\r\nHost: example.org\r\n" +
		"Authorization: Bearer amys\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n" +
		"Accept: application/json\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: ko,en\r\nOrigin: https://app.example.org\r\n\r\n")
	for i := range conns {
		if conns[i], err = (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String()); err != nil {
			t.Fatal(err)
		}
		if _, err := conns[i].Write(request); err != nil {
			t.Fatal(err)
		}
	}
	<-all
	each := float64(memory()-before) / float64(n)
	close(leave)
	for _, c := range conns {
		c.Close()
	}
	srv.Close()
	<-served
	return each
}

// memory is the bytes of heap and stacks in use.
func memory() int64 {
	runtime.GC()
	runtime.GC() // the first one shrinks stacks
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse) //nolint:gosec // memory fits
}

// TestIdleLongPoll bounds what a waiting client costs in the edge; what feed adds is its own.
func TestIdleLongPoll(t *testing.T) {
	if testing.Short() {
		t.Skip("opens hundreds of connections")
	}
	each := idleBytes(t, 500)
	t.Logf("%.0f bytes for each waiting client", each)
	if each > 30_000 {
		t.Errorf("a waiting client costs %.0f bytes", each)
	}
}

func BenchmarkIdleLongPoll(b *testing.B) {
	const clients = 8000
	var each float64
	for b.Loop() {
		each = idleBytes(b, clients)
	}
	b.ReportMetric(each, "B/client")
}

// nothing is a ResponseWriter that drops the answer.
type nothing struct{ h http.Header }

func (n nothing) Header() http.Header         { return n.h }
func (n nothing) Write(b []byte) (int, error) { return len(b), nil }
func (n nothing) WriteHeader(int)             {}

// BenchmarkOverhead compares a request that does nothing with the bare mux: the difference is the price of the framework.
func BenchmarkOverhead(b *testing.B) {
	const path = "/_matrix/client/v3/rooms/!abcdefghijklmnop:example.org/send/m.room.message/m1234567.8"
	const pattern = "/_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}"
	const body = `{"msgtype":"m.text","body":"hello there, this is a message of an ordinary length"}`
	site := &fakeSite{tokens: map[string]Session{"amys": {User: "@amy:example.org"}}}
	api := func(h Handler) http.Handler {
		a, err := New(Config{Sessions: site, Fresh: site, Registry: prometheus.NewRegistry()},
			[]Route{{Op: "sendMessage", Method: "PUT", Path: pattern, Handle: h, Limit: LimitSend}})
		if err != nil {
			b.Fatal(err)
		}
		a.limiter.rates = map[Limit]Rate{LimitSend: {1e9, 1e9}}
		return a
	}
	answer := Raw(`{"event_id":"$abc"}`)
	mux := http.NewServeMux()
	mux.HandleFunc("PUT "+pattern, func(w http.ResponseWriter, _ *http.Request) { w.Write(answer) })
	for _, c := range []struct {
		name    string
		handler http.Handler
	}{
		{"bare", mux},
		{"raw", api(func(context.Context, *Request) (any, error) { return answer, nil })},
		{"body", api(func(_ context.Context, r *Request) (any, error) { _, err := r.Body(); return answer, err })},
		{"object", api(func(_ context.Context, r *Request) (any, error) { _, err := r.Object(); return answer, err })},
		{"decode", api(func(_ context.Context, r *Request) (any, error) {
			var v struct{ Msgtype, Body string }
			return struct {
				EventID string `json:"event_id"`
			}{"$abc"}, r.Decode(&v)
		})},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(context.Background(), "PUT", path, strings.NewReader(body))
				r.Header.Set("Authorization", "Bearer amys")
				c.handler.ServeHTTP(nothing{http.Header{}}, r)
			}
		})
	}
}
