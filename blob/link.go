package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"

	"bongsu/errs"
)

// What sites ask each other: PUT stores the body under its hash, and the answer 204 says that it is on stable storage; GET answers
// with the whole blob, and breaks off before its last bytes if they turn out not to be those of its name; 404 says that it is not here.
const route = "/blobs/{hash}"

func pathOf(h Hash) string { return "/blobs/" + string(h) }

var errAbsent = errors.New("blob: not there")

func (m *Mirror) serve() {
	m.cfg.Link.Handle("GET "+route, m.handler(m.serveGet))
	m.cfg.Link.Handle("PUT "+route, m.handler(m.servePut))
}

// handler parses the name.
func (m *Mirror) handler(do func(http.ResponseWriter, *http.Request, Hash)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, err := ParseHash(r.PathValue("hash"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		do(w, r, h)
	})
}

func (m *Mirror) servePut(w http.ResponseWriter, r *http.Request, h Hash) {
	err := m.store.PutAs(r.Context(), h, r.Body, m.cfg.Limit)
	status := http.StatusNoContent
	switch {
	case err == nil:
	case errors.Is(err, ErrOther):
		status = http.StatusUnprocessableEntity
	case errs.Is(err, errs.TooLarge):
		status = http.StatusRequestEntityTooLarge
	case isFull(err):
		status = http.StatusInsufficientStorage
	default:
		status = http.StatusInternalServerError
	}
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	w.WriteHeader(status)
}

// serveGet also answers HEAD, for which nothing is read.
func (m *Mirror) serveGet(w http.ResponseWriter, r *http.Request, h Hash) {
	f, err := m.store.open(h)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	if r.Method == http.MethodHead {
		return
	}
	if err := m.copyRight(w, f, h); err != nil {
		panic(http.ErrAbortHandler) // whoever reads must not take it for the end
	}
}

// copyRight copies a blob, its last part only if the whole is right; otherwise it has the copy here replaced.
func (m *Mirror) copyRight(w io.Writer, f io.Reader, h Hash) error {
	sum := sha256.New()
	held, next := make([]byte, 0, servePart), make([]byte, servePart)
	for {
		n, err := io.ReadFull(f, next)
		if n > 0 {
			sum.Write(next[:n])
			if _, err := w.Write(held); err != nil {
				return err
			}
			held, next = next[:n], held[:servePart]
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			if hex.EncodeToString(sum.Sum(nil)) == string(h) {
				_, err := w.Write(held)
				return err
			}
			err = fmt.Errorf("%w: %s", ErrDecayed, h)
			fallthrough
		case err != nil:
			m.replace(h, err)
			return err
		}
	}
}

// servePart is how much is read and sent at a time.
const servePart = 64 << 10

// send puts a blob of this site to another, adding to moved what has left.
func (m *Mirror) send(ctx context.Context, site string, h Hash, moved *atomic.Int64) (err error) {
	defer func() {
		if ctx.Err() == nil {
			m.judge(site, err)
		}
	}()
	f, err := m.store.open(h)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var body io.Reader = http.NoBody // a length of 0 with another reader would mean "unknown"
	if info.Size() > 0 {
		body = counted{f, moved}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, pathOf(h), body)
	if err != nil {
		return err
	}
	req.ContentLength = info.Size()
	resp, err := m.cfg.Link.Do(ctx, site, req)
	if err != nil {
		return fmt.Errorf("%s: %w", site, err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s: %s", site, answerOf(resp))
	}
	return nil
}

// counted counts what is read of a file.
type counted struct {
	f *os.File
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.f.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// answerOf is what a site said, for a log.
func answerOf(resp *http.Response) string {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // as much as could be read
	return fmt.Sprintf("%s: %s", resp.Status, text)
}

// fetchFrom takes a blob from a site, if it is there: errAbsent otherwise.
func (m *Mirror) fetchFrom(ctx context.Context, site string, h Hash, leave func(context.Context, int) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, pathOf(h), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := m.cfg.Link.Do(ctx, site, req)
	if err == nil && resp.StatusCode >= http.StatusInternalServerError {
		err = errors.New(answerOf(resp))
		_ = resp.Body.Close()
	}
	if ctx.Err() == nil {
		m.judge(site, err)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return errAbsent
	default:
		return errors.New(answerOf(resp))
	}
	var body io.Reader = resp.Body
	if leave != nil {
		body = &paced{ctx, resp.Body, leave}
	}
	err = m.store.PutAs(ctx, h, body, m.cfg.Limit)
	if errors.Is(err, ErrOther) {
		m.cfg.Log.Error("blob: a site sent a file with other content; it was not taken", "site", site, "hash", h)
	}
	return err
}

// paced asks for leave before it reads.
type paced struct {
	ctx   context.Context
	r     io.Reader
	leave func(context.Context, int) error
}

func (p *paced) Read(b []byte) (int, error) {
	b = b[:min(len(b), chunk)]
	n, err := p.r.Read(b)
	if n > 0 {
		if late := p.leave(p.ctx, n); late != nil {
			return 0, late
		}
	}
	return n, err
}
