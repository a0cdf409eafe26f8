package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client is a thin Matrix client: it says what it is told to say and hides nothing. It is safe for concurrent use once it
// has its token.
type Client struct {
	URL    string
	User   string
	Device string
	Token  string

	http *http.Client
}

// NewClient makes a client without an account. Its connections are its own.
func NewClient(base string) *Client {
	return NewClientOver(base, &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 4,
		DisableCompression:  true,
	})
}

// NewClientOver makes a client whose requests go through rt, such as a roam.Transport.
func NewClientOver(base string, rt http.RoundTripper) *Client {
	return &Client{URL: base, http: &http.Client{Transport: rt}}
}

// As is a client of the same device whose requests go to base, over connections of its own.
func (c *Client) As(base string) *Client {
	other := NewClient(base)
	other.User, other.Device, other.Token = c.User, c.Device, c.Token
	return other
}

// Close gives the idle connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Error is an answer of the server that is no success.
type Error struct {
	Status     int
	Code       string // errcode
	Message    string
	RetryAfter time.Duration
}

func (e *Error) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message) }

// passing reports whether err says nothing about the request: nobody was there to answer, or it was not the time: 503, or
// 429 for somebody who asked too often.
func passing(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests
	}
	return err != nil
}

// untilNext is how long to wait before something is tried again that failed with err for now.
func untilNext(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusTooManyRequests && e.RetryAfter > 0 {
		return e.RetryAfter
	}
	return 10 * time.Millisecond
}

// Path joins segments below /_matrix/client, each percent-encoded.
func Path(segments ...string) string {
	var b strings.Builder
	b.WriteString("/_matrix/client")
	for _, s := range segments {
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String()
}

// Do makes one request: in is sent as JSON (nil: no body; []byte: as it is), the answer is decoded into out (nil: not looked
// at; *[]byte: as it is). An answer that is no success is an *Error.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	switch in := in.(type) {
	case nil:
	case []byte:
		body = bytes.NewReader(in)
	default:
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, body)
	if err != nil {
		return err
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return asError(resp, text)
	}
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*out = text
		return nil
	default:
		return json.Unmarshal(text, out)
	}
}

func asError(resp *http.Response, text []byte) *Error {
	e := &Error{Status: resp.StatusCode}
	var body struct{ Errcode, Error string }
	if err := json.Unmarshal(text, &body); err != nil {
		e.Message = string(text)
	} else {
		e.Code, e.Message = body.Errcode, body.Error
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	return e
}

// Insist is Do until the server has answered: it repeats the same request while nobody answers, with 503, or with 429, after which it waits
// for as long as it is told. ctx bounds it.
func (c *Client) Insist(ctx context.Context, method, path string, in, out any) error {
	for {
		one, cancel := context.WithTimeout(ctx, 40*time.Second)
		err := c.Do(one, method, path, in, out)
		cancel()
		if !passing(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s %s: %w (last: %w)", method, path, ctx.Err(), err)
		case <-time.After(untilNext(err)):
		}
	}
}
