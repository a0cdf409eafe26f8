package client

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"bongsu/clock"
	"bongsu/errs"
)

// Raw is an answer that is JSON already.
type Raw []byte

// Reply is an answer with a status or headers of its own. Body is as a Handler returns it: a value, Raw or nil. A Reply is never
// taken for a denial: it serves for the 401 that asks for the next stage of user-interactive authentication.
type Reply struct {
	Status int // default 200
	Header http.Header
	Body   any
}

// Stream is an answer of bytes that are not JSON.
type Stream struct {
	Header  http.Header // Content-Type and others
	Body    io.Reader   // an io.ReadSeeker gets ranges and conditional requests; an io.Closer is closed
	Size    int64       // bytes, or -1; not looked at for an io.ReadSeeker
	ModTime time.Time   // for an io.ReadSeeker, or zero
}

// reply writes what the handler returned: a Reply, Raw, Stream, an http.Handler that takes over, or a value to be marshalled.
func (a *API) reply(rq *Request, res any) error {
	status := http.StatusOK
	if r, ok := res.(Reply); ok {
		for k, v := range r.Header {
			rq.w.Header()[k] = v
		}
		if r.Status != 0 {
			status = r.Status
		}
		res = r.Body
	}
	switch r := res.(type) {
	case nil:
		return rq.writeRaw(status, []byte("{}"))
	case Raw:
		return rq.writeRaw(status, r)
	case Stream:
		return rq.writeStream(r)
	case http.Handler:
		rq.status = status
		r.ServeHTTP(rq.w, rq.http)
		return nil
	}
	return rq.writeJSON(status, res)
}

// discard frees what a handler returned and nobody gets.
func discard(res any) {
	if r, ok := res.(Reply); ok {
		res = r.Body
	}
	if s, ok := res.(Stream); ok {
		if c, ok := s.Body.(io.Closer); ok {
			c.Close() //nolint:errcheck // it was only read
		}
	}
}

// encoder is a buffer and the encoder that writes to it.
type encoder struct {
	buf bytes.Buffer
	enc *json.Encoder
}

var encoders = sync.Pool{New: func() any {
	e := new(encoder)
	e.enc = json.NewEncoder(&e.buf)
	e.enc.SetEscapeHTML(false) // <, > and & are themselves: nobody puts this into a page
	return e
}}

func (rq *Request) writeJSON(status int, v any) error {
	e := encoders.Get().(*encoder) //nolint:errcheck // the pool has nothing else
	defer func() {
		if e.buf.Cap() <= keepBuffer {
			e.buf.Reset()
			encoders.Put(e)
		}
	}()
	if err := e.enc.Encode(v); err != nil {
		return errs.Wrap("api.reply", err)
	}
	return rq.writeRaw(status, bytes.TrimSuffix(e.buf.Bytes(), []byte("\n")))
}

func (rq *Request) writeRaw(status int, body []byte) error {
	h := rq.w.Header()
	if h["Content-Type"] == nil {
		h["Content-Type"] = typeJSON
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	rq.begin(status, int64(len(body)))
	if _, err := rq.w.Write(body); err != nil {
		return rq.gone(err)
	}
	return nil
}

func (rq *Request) writeStream(s Stream) error {
	if c, ok := s.Body.(io.Closer); ok {
		defer c.Close() //nolint:errcheck // it was only read
	}
	h := rq.w.Header()
	for k, v := range s.Header {
		h[k] = v
	}
	if seeker, ok := s.Body.(io.ReadSeeker); ok {
		size, err := seeker.Seek(0, io.SeekEnd)
		if err != nil {
			return errs.Wrap("api.reply", err)
		}
		rq.status = http.StatusOK
		rq.writeDeadline(size)
		http.ServeContent(rq.w, rq.http, "", s.ModTime, seeker)
		return nil
	}
	if s.Size >= 0 {
		h.Set("Content-Length", strconv.FormatInt(s.Size, 10))
	}
	rq.begin(http.StatusOK, s.Size)
	if rq.http.Method == http.MethodHead {
		return nil
	}
	n, err := io.Copy(rq.w, patient{rq, s})
	if err == nil && s.Size >= 0 && n != s.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return rq.gone(err)
	}
	return nil
}

// patient gives a client more time with each part of an answer whose size is not known.
type patient struct {
	rq *Request
	s  Stream
}

func (p patient) Read(b []byte) (int, error) {
	n, err := p.s.Body.Read(b)
	if p.s.Size < 0 {
		p.rq.writeDeadline(int64(n))
	}
	return n, err
}

// begin sends status and headers. From here on the answer cannot be taken back.
func (rq *Request) begin(status int, size int64) {
	rq.status = status
	rq.writeDeadline(size)
	rq.w.WriteHeader(status)
}

// writeDeadline bounds how long a client may take to fetch the answer.
func (rq *Request) writeDeadline(size int64) {
	if size < 0 {
		size = rq.route.MaxBody
	}
	_ = http.NewResponseController(rq.w).SetWriteDeadline(clock.Deadline(patienceFor(size))) // a recorder in a test has none
}

// gone is the error of an answer that could not be written to its end.
func (rq *Request) gone(err error) error {
	return &errs.Error{Op: "api.reply", Kind: errs.Internal, Message: "the answer was cut", Err: err}
}
