package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"bongsu/errs"
)

// errIdle ends a request that makes no progress.
var errIdle = fmt.Errorf("no progress for %s", idleTimeout)

// newTransport makes the connections to one peer.
func (l *Link) newTransport(p Peer) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Protocols:             protocols,
		DialTLSContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx, p) },
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       time.Minute,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,
	}
}

// dial connects with a peer and makes sure that it is that one.
func (l *Link) dial(ctx context.Context, p Peer) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout+handshakeTimeout)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)() // the transport dials on when the request has ended
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", p.Addr)
	if err != nil {
		return nil, err
	}
	secure := tls.Client(conn, l.cfg.Credentials.tls(func(state tls.ConnectionState) error {
		site, err := l.cfg.Credentials.peer(state)
		if err == nil && site != p.Site {
			err = refuse("it is site %q, not %q: the address of one of them is wrong", site, p.Site)
		}
		return err
	}))
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secure, nil
}

// Do sends req to site and returns its answer, whatever its status; the caller closes its body. req.URL holds path and query only. An
// error is of kind Unavailable and means that there was no answer: whether the request took effect is then unknown. ctx bounds
// the whole exchange; besides, it ends when nothing moves for 10 s.
func (l *Link) Do(ctx context.Context, site string, req *http.Request) (*http.Response, error) {
	const op = "link.Do"
	p := l.peer(site)
	if p == nil {
		return nil, errs.New(op, errs.NotFound, "", "there is no other site %q", site)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	unlink := context.AfterFunc(l.ctx, func() { cancel(errors.New("the link is closed")) })
	idle := newWatch(func() { cancel(errIdle) })
	end := func() { idle.stop(); unlink(); cancel(nil) }

	out := req.Clone(ctx)
	out.URL.Scheme, out.URL.Host, out.Host = "https", site, site
	out.Header.Set(headerRun, l.run)
	l.mu.Lock()
	if l.boot != 0 {
		out.Header.Set(headerBoot, strconv.FormatUint(l.boot, 10))
	}
	l.mu.Unlock()
	if out.Body != nil && out.Body != http.NoBody {
		source := &sourceReader{ReadCloser: out.Body, watch: idle}
		out.Body = source
		context.AfterFunc(ctx, func() { _ = source.Close() }) // the transport waits for a read that goes on
	}
	idle.start()
	resp, err := p.transport.RoundTrip(out)
	if err != nil {
		err = p.explain(ctx, err)
		end()
		return nil, &errs.Error{Op: op, Kind: errs.Unavailable, Message: err.Error(), Err: err}
	}
	idle.stop()
	if why := resp.Header.Get(headerRival); resp.StatusCode == http.StatusConflict && why != "" {
		words, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // what was read will do
		_ = resp.Body.Close()
		end()
		err := &rivalError{why, fmt.Sprintf("site %s refuses this process: %s", site, bytes.TrimSpace(words))}
		return nil, &errs.Error{Op: op, Kind: errs.Unavailable, Message: err.Error(), Err: err}
	}
	resp.Body = &answerBody{watchedReader: watchedReader{ReadCloser: resp.Body, watch: idle}, end: end}
	return resp, nil
}

// post sends a small body.
func (l *Link) post(ctx context.Context, site, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return l.Do(ctx, site, req)
}

// sourceReader is a request's body: the watch runs while the connection takes what was read, not while the source makes it.
type sourceReader struct {
	io.ReadCloser
	watch *watch
}

func (r *sourceReader) Read(p []byte) (int, error) {
	r.watch.stop()
	defer r.watch.start()
	return r.ReadCloser.Read(p)
}

// answerBody is an answer's body, whose end is the end of the exchange.
type answerBody struct {
	watchedReader
	end func()
}

func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

// explain puts an error of the transport into words.
func (p *peer) explain(ctx context.Context, err error) error {
	at := fmt.Sprintf("site %s at %s", p.Site, p.Addr)
	var op *net.OpError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", at, context.Cause(ctx))
	case errors.As(err, new(refusal)):
		return fmt.Errorf("%s: %w", at, err)
	case errors.As(err, &op) && op.Op == "remote error":
		return fmt.Errorf("%s refuses this site's certificate, and its log says why: %w", at, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s: nothing listens there: it is down, or the address is wrong: %w", at, err)
	case isTimeout(err):
		return fmt.Errorf("%s does not answer: it is down or frozen, or no network leads there: %w", at, err)
	}
	return fmt.Errorf("%s: %w", at, err)
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
