package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"bongsu/errs"
)

// apiError is an answer that is final: retrying would not help.
type apiError struct {
	status int
	code   string // the Matrix errcode, if the body had one
	body   string // its beginning
}

func (e *apiError) Error() string {
	return fmt.Sprintf("the server answered %d %s: %.200s", e.status, e.code, e.body)
}

// servers is what all clients share: where to go and what to count.
type servers struct {
	urls         []*url.URL
	loopbackOnly bool
	timeout      time.Duration // of one attempt
	tally        *tally
}

// client is one user's connection, used by one goroutine at a time. It stays with one base URL until that fails.
type client struct {
	*servers
	at    int // index of the URL in use
	token string
	tr    transport
}

func (s *servers) client(n int, token string) *client {
	return &client{servers: s, at: n % len(s.urls), token: token}
}

func (c *client) close() {
	if c.tr != nil {
		c.tr.close()
		c.tr = nil
	}
}

// move leaves a server that failed for the next one.
func (c *client) move() {
	c.close()
	c.at = (c.at + 1) % len(c.urls)
}

// Pauses between attempts, when the server does not name one.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
	longPause  = 30 * time.Second // however long the server asks for
)

// call makes a request until it has a final answer, at most for patience: a connection that fails, a time-out and an answer of
// 5xx move on to the next server, 429 waits, both with the same request, so that a transaction id does its work. It
// returns the answer when that is 2xx and otherwise an *apiError, the context's error or the last failure.
func (c *client) call(ctx context.Context, req *request, buf []byte, patience time.Duration) (response, error) {
	start := time.Now()
	pause := firstPause
	for attempt := 1; ; attempt++ {
		resp, err := c.attempt(ctx, req, buf)
		if err == nil && resp.status/100 == 2 {
			return resp, nil
		}
		if ctx.Err() != nil {
			return response{}, ctx.Err()
		}
		wait, failure := c.judge(resp, err, attempt, pause)
		if wait == 0 || time.Since(start)+wait > patience {
			return response{}, failure
		}
		if !sleep(ctx, wait) {
			return response{}, ctx.Err()
		}
		c.tally.retries.Add(1)
		if attempt%len(c.urls) == 0 {
			pause = min(2*pause, lastPause)
		}
	}
}

// judge counts a failed attempt and says how long to wait before the next (0: there is no point) and what the failure
// was.
func (c *client) judge(resp response, err error, attempt int, pause time.Duration) (wait time.Duration, failure error) {
	if err != nil {
		c.tally.count(describe(err))
		c.move()
		if errs.Is(err, errs.Forbidden) {
			return 0, err
		}
		if attempt%len(c.urls) != 0 {
			pause = time.Microsecond // another server may be there right now
		}
		return pause, err
	}
	e, asked := readError(resp)
	c.tally.count(fmt.Sprintf("%d %s", e.status, e.code))
	switch {
	case resp.status == http.StatusTooManyRequests:
		c.tally.limited.Add(1)
	case resp.status/100 == 5:
		c.move()
	default:
		return 0, e
	}
	if asked > 0 {
		pause = min(asked, longPause)
	}
	return pause, e
}

func describe(err error) string {
	if isTimeout(err) {
		return "time-out"
	}
	return "connection"
}

// readError reads a Matrix error and how long the server wants to be left alone.
func readError(resp response) (*apiError, time.Duration) {
	var e struct {
		Code       string  `json:"errcode"`
		RetryAfter float64 `json:"retry_after_ms"`
	}
	_ = json.Unmarshal(resp.body, &e) // a proxy's answer need not be JSON; then the status has to do
	after := resp.retryAfter
	if after == 0 && e.RetryAfter > 0 {
		after = time.Duration(min(e.RetryAfter, 1e9)) * time.Millisecond
	}
	return &apiError{status: resp.status, code: e.Code, body: string(resp.body[:min(len(resp.body), 4096)])}, after
}

func (c *client) attempt(ctx context.Context, req *request, buf []byte) (response, error) {
	if c.tr == nil {
		c.tr = newTransport(c.urls[c.at], c.loopbackOnly)
	}
	req.token = c.token
	resp, err := c.tr.roundTrip(ctx, req, buf)
	c.tally.bytesOut.Add(int64(len(req.body)))
	c.tally.bytesIn.Add(int64(len(resp.body)))
	return resp, err
}

// do is call for requests outside the hot path: in and out are encoded and decoded, either may be nil.
func (c *client) do(ctx context.Context, method, path string, in, out any, patience time.Duration) error {
	req := request{method: method, path: []byte(path), timeout: c.timeout}
	if method != http.MethodGet {
		body, err := json.Marshal(in)
		if err != nil {
			return err
		}
		req.body = body
	}
	resp, err := c.call(ctx, &req, nil, patience)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(resp.body, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// esc escapes an identifier for a path.
func esc(s string) string { return url.PathEscape(s) }

const v3 = "/_matrix/client/v3"
