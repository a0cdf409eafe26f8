package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"bongsu/errs"
)

// Limits on what a server may answer.
const (
	maxBody    = 64 << 20
	maxHeaders = 200 // lines
	readBuffer = 4 << 10
)

// request is one HTTP request to whatever base URL.
type request struct {
	method  string
	token   string        // access token, or empty
	path    []byte        // with query, escaped
	body    []byte        // JSON, or nil
	timeout time.Duration // for the whole exchange
}

// response is one HTTP answer. Its body lives in the buffer given to roundTrip, or in a larger one that replaces it.
type response struct {
	status     int
	retryAfter time.Duration // of the header Retry-After in seconds, or 0
	body       []byte
}

// transport carries the requests of one client to one base URL, one at a time.
type transport interface {
	roundTrip(ctx context.Context, req *request, buf []byte) (response, error)
	close()
}

// wire is a minimal HTTP/1.1 client: one connection, one request at a time, no redirects, no compression, no pool. The
// generator shares its processors with the server under test, and net/http's Transport (two goroutines for each
// connection, header maps) takes almost four times the processor time: 28 against 7.5 µs (BenchmarkRoundTrip).
type wire struct {
	base         *url.URL
	loopbackOnly bool

	nc   net.Conn
	br   *bufio.Reader
	out  []byte
	stop func() bool // detaches nc from the context that it was dialled with
}

// newTransport is a wire for http and net/http for https.
func newTransport(base *url.URL, loopbackOnly bool) transport {
	if base.Scheme == "https" {
		return newTLSTransport(base)
	}
	return &wire{base: base, loopbackOnly: loopbackOnly}
}

// dial connects. The connection is closed when ctx ends, which ends a long poll at once.
func (w *wire) dial(ctx context.Context, timeout time.Duration) error {
	addr := w.base.Host
	if w.base.Port() == "" {
		addr = net.JoinHostPort(w.base.Hostname(), "80")
	}
	d := net.Dialer{Timeout: timeout}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); w.loopbackOnly && (!ok || !tcp.IP.IsLoopback()) {
		_ = nc.Close()
		return errs.New("bench.dial", errs.Forbidden, "", "%s is not on this machine", addr)
	}
	w.nc = nc
	w.stop = context.AfterFunc(ctx, func() { _ = nc.Close() })
	if w.br == nil {
		w.br = bufio.NewReaderSize(nc, readBuffer)
	} else {
		w.br.Reset(nc)
	}
	return nil
}

func (w *wire) close() {
	if w.nc != nil {
		w.stop()
		_ = w.nc.Close()
		w.nc = nil
	}
}

// roundTrip makes one exchange. A kept connection that turns out to be closed before a byte of the answer came is
// replaced once, as every HTTP client does; any other failure is the caller's to judge.
func (w *wire) roundTrip(ctx context.Context, req *request, buf []byte) (response, error) {
	for {
		kept := w.nc != nil
		if !kept {
			if err := w.dial(ctx, req.timeout); err != nil {
				return response{}, err
			}
		}
		resp, started, err := w.exchange(req, buf)
		if err == nil {
			return resp, nil
		}
		w.close()
		if ctx.Err() != nil {
			return response{}, ctx.Err()
		}
		if !kept || started || isTimeout(err) {
			return response{}, err
		}
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func (w *wire) exchange(req *request, buf []byte) (resp response, started bool, err error) {
	if err := w.nc.SetDeadline(time.Now().Add(req.timeout)); err != nil {
		return resp, false, err
	}
	w.appendRequest(req)
	if _, err := w.nc.Write(w.out); err != nil {
		return resp, false, err
	}
	if _, err := w.br.Peek(1); err != nil {
		return resp, false, err
	}
	resp, keep, err := readResponse(w.br, buf)
	if err == nil && !keep {
		w.close()
	}
	return resp, true, err
}

func (w *wire) appendRequest(req *request) {
	o := append(w.out[:0], req.method...)
	o = append(o, ' ')
	o = append(o, w.base.Path...)
	o = append(o, req.path...)
	o = append(o, " HTTP/1.1\r\nHost: "...)
	o = append(o, w.base.Host...)
	if req.token != "" {
		o = append(o, "\r\nAuthorization: Bearer "...)
		o = append(o, req.token...)
	}
	if req.method != http.MethodGet {
		o = append(o, "\r\nContent-Type: application/json\r\nContent-Length: "...)
		o = strconv.AppendInt(o, int64(len(req.body)), 10)
	}
	o = append(o, "\r\n\r\n"...)
	w.out = append(o, req.body...)
}

var errMalformed = errors.New("malformed HTTP response")

// readResponse reads one answer, passing over 1xx. keep says whether the connection can carry another request.
func readResponse(br *bufio.Reader, buf []byte) (resp response, keep bool, err error) {
	var h headers
	for {
		if h, err = readHeaders(br); err != nil {
			return resp, false, err
		}
		if h.status/100 != 1 {
			break
		}
	}
	resp = response{status: h.status, retryAfter: h.retryAfter, body: buf[:0]}
	switch {
	case h.status == http.StatusNoContent || h.status == http.StatusNotModified:
	case h.chunked:
		resp.body, err = readChunks(br, resp.body)
	case h.length >= 0:
		resp.body, err = readN(br, resp.body, h.length)
	default:
		h.close = true
		resp.body, err = readAll(br, resp.body)
	}
	return resp, !h.close, unexpected(err)
}

// unexpected makes an end of file inside an answer an error of its own.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

type headers struct {
	status     int
	length     int // -1 when absent
	chunked    bool
	close      bool
	retryAfter time.Duration
}

func readHeaders(br *bufio.Reader) (headers, error) {
	h := headers{length: -1}
	line, err := readLine(br)
	if err != nil {
		return h, err
	}
	proto, rest, _ := bytes.Cut(line, []byte(" "))
	code, _, _ := bytes.Cut(rest, []byte(" "))
	h.status, err = strconv.Atoi(string(code))
	if err != nil || len(code) != 3 || h.status < 100 || !bytes.HasPrefix(proto, []byte("HTTP/1.")) {
		return h, errMalformed
	}
	h.close = string(proto) == "HTTP/1.0"
	for range maxHeaders {
		if line, err = readLine(br); err != nil || len(line) == 0 {
			return h, unexpected(err)
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return h, errMalformed
		}
		if err := h.set(name, bytes.TrimSpace(value)); err != nil {
			return h, err
		}
	}
	return h, errMalformed
}

// set takes the headers that matter; the switch on the length spares comparisons.
func (h *headers) set(name, value []byte) error {
	is := func(s string) bool { return len(s) == len(name) && strings.EqualFold(s, string(name)) }
	switch {
	case is("content-length"):
		n, err := strconv.Atoi(string(value))
		if err != nil || n < 0 || n > maxBody {
			return errMalformed
		}
		h.length = n
	case is("transfer-encoding"):
		h.chunked = bytes.EqualFold(value, []byte("chunked"))
	case is("connection"):
		h.close = bytes.EqualFold(value, []byte("close"))
	case is("retry-after"):
		if n, err := strconv.Atoi(string(value)); err == nil && n >= 0 {
			h.retryAfter = time.Duration(n) * time.Second
		}
	}
	return nil
}

// readLine reads a line without its end. It is valid until the next read.
func readLine(br *bufio.Reader) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

func readN(br *bufio.Reader, buf []byte, n int) ([]byte, error) {
	if len(buf)+n > maxBody {
		return buf, errMalformed
	}
	at := len(buf)
	buf = slices.Grow(buf, n)[:at+n]
	_, err := io.ReadFull(br, buf[at:])
	return buf, err
}

func readChunks(br *bufio.Reader, buf []byte) ([]byte, error) {
	for {
		line, err := readLine(br)
		if err != nil {
			return buf, err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 31)
		if err != nil {
			return buf, errMalformed
		}
		if n > 0 {
			if buf, err = readN(br, buf, int(n)); err != nil {
				return buf, err
			}
		}
		// After a chunk stands an empty line; after the last one, trailers and an empty line.
		for range maxHeaders {
			if line, err = readLine(br); err != nil {
				return buf, err
			}
			if len(line) == 0 {
				break
			}
			if n > 0 {
				return buf, errMalformed
			}
		}
		if n == 0 {
			return buf, nil
		}
	}
}

func readAll(br *bufio.Reader, buf []byte) ([]byte, error) {
	b := bytes.NewBuffer(buf)
	n, err := b.ReadFrom(io.LimitReader(br, maxBody+1))
	if n > maxBody {
		return buf, errMalformed
	}
	return b.Bytes(), err
}

// tlsTransport is net/http, for https.
type tlsTransport struct {
	base *url.URL
	http *http.Client
}

func newTLSTransport(base *url.URL) *tlsTransport {
	rt := &http.Transport{
		MaxIdleConnsPerHost: 1,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		DisableCompression:  true,
	}
	noRedirects := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &tlsTransport{base: base, http: &http.Client{Transport: rt, CheckRedirect: noRedirects}}
}

func (t *tlsTransport) close() { t.http.CloseIdleConnections() }

func (t *tlsTransport) roundTrip(ctx context.Context, req *request, buf []byte) (response, error) {
	ctx, cancel := context.WithTimeout(ctx, req.timeout)
	defer cancel()
	u := t.base.Scheme + "://" + t.base.Host + t.base.Path + string(req.path)
	r, err := http.NewRequestWithContext(ctx, req.method, u, bytes.NewReader(req.body))
	if err != nil {
		return response{}, err
	}
	if req.token != "" {
		r.Header.Set("Authorization", "Bearer "+req.token)
	}
	if req.method != http.MethodGet {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := t.http.Do(r)
	if err != nil {
		return response{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	b := bytes.NewBuffer(buf[:0])
	if _, err := b.ReadFrom(io.LimitReader(resp.Body, maxBody)); err != nil {
		return response{}, err
	}
	out := response{status: resp.StatusCode, body: b.Bytes()}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n >= 0 {
		out.retryAfter = time.Duration(n) * time.Second
	}
	return out, nil
}
