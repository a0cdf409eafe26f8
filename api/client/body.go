package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"bongsu/clock"
	"bongsu/errs"
	"bongsu/event"
)

// A body may take this long, and longer for each byte at slowest, before the connection is given up.
const (
	patience = 30 * time.Second
	slowest  = 16 << 10 // bytes per second
)

func patienceFor(size int64) time.Duration {
	return patience + time.Duration(max(size, 0)/slowest)*time.Second
}

// bodies are the buffers that bodies are read into. Large ones are not kept.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const keepBuffer = 64 << 10

func release(b *bytes.Buffer) {
	if b.Cap() <= keepBuffer {
		b.Reset()
		bodies.Put(b)
	}
}

// Stream is the body as it arrives, for uploads: at most the route's MaxBody bytes, then errs.TooLarge from Read. size is what
// the client announced, or -1. After Stream the handler cannot be run again, so a handler checks what may be denied first.
func (rq *Request) Stream() (body io.Reader, size int64, err error) {
	rq.streamed = true
	limit := rq.route.MaxBody
	size = rq.http.ContentLength
	if size > limit {
		return nil, 0, tooLarge(limit)
	}
	return &boundedBody{rq: rq, r: rq.arriving(limit), limit: limit}, size, nil
}

// boundedBody is a body whose errors are already ours.
type boundedBody struct {
	rq    *Request
	r     io.Reader
	limit int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil {
		b.rq.readDeadline(0)
	}
	if err != nil && err != io.EOF { //nolint:errorlint // readers return io.EOF itself
		err = bodyError(err, b.limit)
	}
	return n, err
}

// arriving is the body with a bound on its size and on how long it may take.
func (rq *Request) arriving(limit int64) io.Reader {
	expected := rq.http.ContentLength
	if expected < 0 {
		expected = limit
	}
	rq.readDeadline(patienceFor(expected))
	return http.MaxBytesReader(rq.w, rq.http.Body, limit)
}

// readDeadline bounds reading from the connection; 0 lifts the bound. net/http watches an idle connection for the client's going
// away, and would take a deadline that is left standing for that.
func (rq *Request) readDeadline(d time.Duration) {
	var at time.Time
	if d > 0 {
		at = clock.Deadline(d)
	}
	_ = http.NewResponseController(rq.w).SetReadDeadline(at) // a recorder in a test has none
}

func tooLarge(limit int64) error {
	return errs.New("api.body", errs.TooLarge, "", "the body is larger than %d bytes", limit)
}

func bodyError(err error, limit int64) error {
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errs.New("api.body", errs.Invalid, "", "the body arrived too slowly")
	}
	return &errs.Error{Op: "api.body", Kind: errs.Invalid, Message: "the body did not arrive", Err: err}
}

// load reads the body into rq.body, once.
func (rq *Request) load() error {
	if rq.read {
		return nil
	}
	limit := rq.route.MaxBody
	if rq.http.ContentLength > limit {
		return tooLarge(limit)
	}
	if rq.http.Body == nil || rq.http.ContentLength == 0 {
		rq.read = true
		return nil
	}
	buf := bodies.Get().(*bytes.Buffer) //nolint:errcheck // the pool has nothing else
	defer release(buf)
	_, err := buf.ReadFrom(rq.arriving(limit))
	rq.readDeadline(0)
	if err != nil {
		return bodyError(err, limit)
	}
	rq.body, rq.read = bytes.Clone(buf.Bytes()), true
	return nil
}

// Body is the body as it was sent, at most the route's MaxBody bytes; nothing was checked. The handler may keep it, and must
// not change it.
func (rq *Request) Body() ([]byte, error) {
	if err := rq.load(); err != nil {
		return nil, err
	}
	return rq.body, nil
}

// Object is the body, checked to be a JSON object as Matrix wants it: valid UTF-8, no key twice, not too deep. An empty body
// is errs.NotJSON. Numbers are not checked to be canonical. The handler may keep it, and must not change it.
func (rq *Request) Object() ([]byte, error) {
	if err := rq.load(); err != nil {
		return nil, err
	}
	body := trim(rq.body)
	if len(body) == 0 {
		return nil, errs.New("api.body", errs.Invalid, errs.NotJSON, "the body is empty")
	}
	if err := event.Check(body); err != nil {
		return nil, err
	}
	if body[0] != '{' {
		return nil, errs.New("api.body", errs.Invalid, errs.BadJSON, "the body is not a JSON object")
	}
	return body, nil
}

// trim cuts off what JSON takes for space, which is less than Unicode does.
func trim(body []byte) []byte { return bytes.Trim(body, " \t\r\n") }

// Decode reads the body, a JSON object, into v. It is errs.NotJSON if it is no JSON and errs.BadJSON if it is not of v's shape.
// Members that v does not know are ignored. The Content-Type is not looked at: clients have always got it wrong.
func (rq *Request) Decode(v any) error {
	body, err := rq.Object()
	if err != nil {
		return err
	}
	return unmarshal(body, v)
}

// DecodeOptional is Decode, but an empty body leaves v as it is.
func (rq *Request) DecodeOptional(v any) error {
	if err := rq.load(); err != nil {
		return err
	}
	if len(trim(rq.body)) == 0 {
		return nil
	}
	return rq.Decode(v)
}

func unmarshal(body []byte, v any) error {
	err := json.Unmarshal(body, v)
	if err == nil {
		return nil
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return errs.New("api.body", errs.Invalid, errs.BadJSON, "%q has the wrong type: %s", wrong.Field, wrong.Value)
	}
	var ours *errs.Error
	if errors.As(err, &ours) && ours.Kind != errs.Internal {
		return ours // a type that parses itself, such as an identifier
	}
	return errs.New("api.body", errs.Invalid, errs.BadJSON, "the body does not have the right shape")
}
