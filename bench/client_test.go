package bench

import (
	"errors"
	"testing"
	"time"

	"bongsu/errs"
)

func TestJudge(t *testing.T) {
	cases := []struct {
		name    string
		servers int
		status  int
		after   time.Duration // Retry-After
		body    string
		err     error
		wait    time.Duration
		at      int // which server is next
		limited int64
		counted string
	}{
		{name: "refused", servers: 2, status: 403, body: `{"errcode":"M_FORBIDDEN"}`, counted: "403 M_FORBIDDEN"},
		{name: "redirected", servers: 2, status: 302, counted: "302 "},
		{name: "busy", servers: 2, status: 503, body: `{"errcode":"M_UNAVAILABLE"}`, wait: firstPause, at: 1, counted: "503 M_UNAVAILABLE"},
		{name: "busy, by header", servers: 1, status: 503, after: 2 * time.Second, wait: 2 * time.Second, counted: "503 "},
		{name: "busy, by body", servers: 1, status: 503, body: `{"retry_after_ms":70}`, wait: 70 * time.Millisecond, counted: "503 "},
		{name: "busy for a year", servers: 1, status: 503, after: 365 * 24 * time.Hour, wait: longPause, counted: "503 "},
		{name: "busy for ever", servers: 1, status: 503, body: `{"retry_after_ms":1e300}`, wait: longPause, counted: "503 "},
		{name: "too fast", servers: 2, status: 429, body: `{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":9}`, wait: 9 * time.Millisecond, limited: 1, counted: "429 M_LIMIT_EXCEEDED"},
		{name: "no connection, and another server", servers: 2, err: errors.New("refused"), wait: time.Microsecond, at: 1, counted: "connection"},
		{name: "no connection", servers: 1, err: errors.New("refused"), wait: firstPause, counted: "connection"},
		{name: "not this machine", servers: 1, err: errs.New("x", errs.Forbidden, "", "no"), counted: "connection"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &servers{tally: &tally{}}
			for range c.servers {
				s.urls = append(s.urls, mustURL(t, "http://127.0.0.1"))
			}
			cl := s.client(0, "")
			wait, failure := cl.judge(response{status: c.status, retryAfter: c.after, body: []byte(c.body)}, c.err, 1, firstPause)
			if wait != c.wait || failure == nil || cl.at != c.at || s.tally.limited.Load() != c.limited {
				t.Errorf("wait %v, %v, server %d, limited %d", wait, failure, cl.at, s.tally.limited.Load())
			}
			if e := s.tally.takeErrors(); len(e) != 1 || e[c.counted] != 1 {
				t.Errorf("counted %v, want %q", e, c.counted)
			}
		})
	}
}
