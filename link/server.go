package link

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// fromKey is the key of the calling site in a request's context.
type fromKey struct{}

// From is the site that sent the request whose context ctx is, "" if it is none of a link.
func From(ctx context.Context) string {
	site, _ := ctx.Value(fromKey{}).(string)
	return site
}

// The headers of every request: which process of the site sent it.
const (
	headerRun  = "Bongsu-Run"
	headerBoot = "Bongsu-Boot" // absent until the run takes part
	// headerRival marks the refusal of a second process of a site, and says why.
	headerRival = "Bongsu-Rival"
)

// serverTLS verifies whoever calls, and logs whom it refuses: once, though they try every half second.
func (l *Link) serverTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		from := hello.Conn.RemoteAddr()
		cfg := l.cfg.Credentials.tls(func(state tls.ConnectionState) error {
			_, err := l.cfg.Credentials.peer(state)
			if err != nil {
				l.logRefusal(from, err)
			}
			return err
		})
		return cfg, nil
	}}
}

// logRefusal logs an error about a caller unless the same was logged within the last minute.
func (l *Link) logRefusal(from net.Addr, err error) {
	host, _, _ := net.SplitHostPort(from.String()) // the port changes with every attempt
	words, now := host+": "+err.Error(), l.clock.Now()
	l.mu.Lock()
	for w, at := range l.refusals {
		if now.Sub(at) > time.Minute {
			delete(l.refusals, w)
		}
	}
	_, known := l.refusals[words]
	if !known && len(l.refusals) < 100 {
		l.refusals[words] = now
	}
	l.mu.Unlock()
	if !known {
		l.log.Error("a connection from another site was refused", "from", host, "err", err)
	}
}

// handle is what every request passes: who calls, whether that process is believed, how much may be at work.
func (l *Link) handle(w http.ResponseWriter, r *http.Request) {
	if !l.begin() {
		http.Error(w, "this site is stopping", http.StatusServiceUnavailable)
		return
	}
	defer l.work.Done()
	site, err := l.cfg.Credentials.peer(*r.TLS)
	p := l.peer(site)
	if err != nil || p == nil {
		http.Error(w, fmt.Sprintf("site %q is not linked with this one", site), http.StatusForbidden)
		return
	}
	boot, _ := strconv.ParseUint(r.Header.Get(headerBoot), 10, 64) // absent or wrong: takes no part
	if err := l.claim(p, r.Header.Get(headerRun), boot, r.RemoteAddr); err != nil {
		w.Header().Set(headerRival, err.why)
		http.Error(w, err.words, http.StatusConflict)
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), fromKey{}, site))
	idle := newWatch(func() { abort(w) })
	defer idle.stop()
	r.Body = &watchedReader{ReadCloser: http.MaxBytesReader(w, r.Body, l.cfg.MaxBody), watch: idle}
	if !strings.HasPrefix(r.URL.Path, "/link/") {
		select {
		case l.slots <- struct{}{}:
			defer func() { <-l.slots }()
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests are at work", http.StatusServiceUnavailable)
			return
		}
	}
	l.mux.ServeHTTP(&watchedWriter{ResponseWriter: w, watch: idle}, r)
}

// abort breaks the connection of a request that makes no progress. Deadlines in the past end reads and writes at once, whatever
// the clock says.
func abort(w http.ResponseWriter) {
	c := http.NewResponseController(w)
	past := time.Unix(1, 0)
	_ = c.SetReadDeadline(past)
	_ = c.SetWriteDeadline(past)
}

// watch calls a function when something takes longer than idleTimeout.
type watch struct{ timer *time.Timer }

func newWatch(late func()) *watch {
	w := &watch{time.AfterFunc(idleTimeout, late)}
	w.stop()
	return w
}

func (w *watch) start() { w.timer.Reset(idleTimeout) }
func (w *watch) stop()  { w.timer.Stop() }

// watchedReader watches each read.
type watchedReader struct {
	io.ReadCloser
	watch *watch
}

func (r *watchedReader) Read(p []byte) (int, error) {
	r.watch.start()
	defer r.watch.stop()
	return r.ReadCloser.Read(p)
}

// watchedWriter watches each write of an answer.
type watchedWriter struct {
	http.ResponseWriter
	watch *watch
}

func (w *watchedWriter) Write(p []byte) (int, error) {
	w.watch.start()
	defer w.watch.stop()
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
