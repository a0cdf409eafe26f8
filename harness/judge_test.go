package harness_test

import (
	"bytes"
	"cmp"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"bongsu/spec"
)

// specification is read once for all tests.
var specification = sync.OnceValues(spec.Load)

// judge is a http.RoundTripper that holds every answer against the specification.
type judge struct {
	t    *testing.T
	base http.RoundTripper
}

// newJudge has connections of its own.
func newJudge(t *testing.T) *judge {
	return &judge{t, &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 4,
		DisableCompression:  true,
	}}
}

// RoundTrip implements http.RoundTripper.
func (j *judge) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := j.base.RoundTrip(r)
	if err != nil || r.Method == http.MethodHead {
		return resp, err
	}
	s, err := specification()
	if err != nil {
		return resp, err
	}
	op := s.Find(r.Method, r.URL.EscapedPath())
	if op == nil {
		return resp, nil
	}
	body, broken := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failing{broken}))
	if over := j.t.Context().Err() != nil; over || broken != nil { // broken: the server was killed, say
		return resp, nil //nolint:nilerr // whoever reads the body meets the error
	}
	for _, f := range op.CheckAnswer(resp.StatusCode, resp.Header, body) {
		if _, ok := spec.Known(f); !ok {
			j.t.Errorf("not as the specification says: %s\n%s %s: %.2000s", f, r.Method, r.URL.Path, body)
		}
	}
	return resp, nil
}

// CloseIdleConnections is what http.Client passes on.
func (j *judge) CloseIdleConnections() {
	if c, ok := j.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// failing is a reader that has only an error, or nothing.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, cmp.Or(f.err, io.EOF) }
