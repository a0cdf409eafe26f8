package client

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"bongsu/errs"
	"bongsu/id"
)

// Request is one call of an endpoint. It belongs to its handler and must not be used after the handler returned.
type Request struct {
	api        *API
	route      *route
	http       *http.Request
	w          http.ResponseWriter
	number     uint64
	started    time.Time
	session    Session
	generation uint64              // of the rows when it was let in
	query      map[string][]string // nil until asked for
	body       []byte              // what was read of the body
	result     any                 // what the handler returned
	status     int                 // of the answer, 0 until it begins

	read     bool // the body has been read whole, into body
	streamed bool // the body was handed out as a stream: the handler cannot be run again
	caughtUp bool // the state has been brought up to date since the request arrived
	logged   bool // the error has been logged
	aborted  bool // the answer has begun and cannot be finished
}

// Op is the route's operationId.
func (rq *Request) Op() string { return rq.route.Op }

// ID names the request in logs.
func (rq *Request) ID() string { return fmt.Sprintf("%s-%d", rq.api.boot, rq.number) }

// User is who asks; empty without authentication.
func (rq *Request) User() id.UserID { return rq.session.User }

// Device is the device that asks; empty without authentication.
func (rq *Request) Device() id.DeviceID { return rq.session.Device }

// Started is when the request arrived.
func (rq *Request) Started() time.Time { return rq.started }

// Header is a header of the request, or "".
func (rq *Request) Header(name string) string { return rq.http.Header.Get(name) }

// Draining is closed when the process is about to stop: a long poll then returns what it has.
func (rq *Request) Draining() <-chan struct{} { return rq.api.draining }

// Path is the segment of the path that the route calls name, decoded. It is valid UTF-8 without NUL, or the handler is not
// run.
func (rq *Request) Path(name string) string { return rq.http.PathValue(name) }

// RoomID is the room id in the path's segment name.
func (rq *Request) RoomID(name string) (id.RoomID, error) { return id.ParseRoomID(rq.Path(name)) }

// EventID is the event id in the path's segment name.
func (rq *Request) EventID(name string) (id.EventID, error) { return id.ParseEventID(rq.Path(name)) }

// UserID is the user id in the path's segment name.
func (rq *Request) UserID(name string) (id.UserID, error) { return id.ParseUserID(rq.Path(name)) }

// Address is where the request comes from: the peer, or what the nearest proxy that is trusted says.
func (rq *Request) Address() netip.Addr {
	peer, err := netip.ParseAddrPort(rq.http.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := peer.Addr().Unmap()
	// Each proxy appends whom it saw; from the right, the first that is not ours is the client.
	hops := strings.Split(strings.Join(rq.http.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && rq.api.trusts(addr); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = hop.Unmap()
	}
	return addr
}

func (a *API) trusts(addr netip.Addr) bool {
	for _, p := range a.cfg.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// authenticate finds the session. Specification: "Using access tokens".
func (rq *Request) authenticate(ctx context.Context) error {
	token, err := rq.token()
	if err != nil {
		return err
	}
	if token == "" {
		if rq.route.Auth == Optional {
			return nil
		}
		return errs.New("api.auth", errs.Unauthenticated, errs.MissingToken, "no access token was sent")
	}
	if rq.session, err = rq.api.cfg.Sessions.Authenticate(ctx, token); err != nil {
		return errs.Wrap("api.auth", err)
	}
	return rq.moderated()
}

// seen tells of a long poll, which all clients send again and again: nothing is spent on other requests.
func (rq *Request) seen() {
	if rq.session.User != "" {
		rq.api.cfg.Seen(rq.session.User, rq.session.Device, rq.Address().String(), rq.Header("User-Agent"))
	}
}

func (rq *Request) token() (string, error) {
	if h := rq.http.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return "", nil
		}
		return strings.TrimSpace(token), nil
	}
	if rq.http.URL.RawQuery == "" {
		return "", nil
	}
	return rq.Query("access_token")
}

// checkPath refuses path values that no identifier, type or key can have.
func (rq *Request) checkPath() error {
	path := rq.http.URL.Path
	if !utf8.ValidString(path) || strings.IndexByte(path, 0) >= 0 {
		return errs.New("api.path", errs.Invalid, errs.InvalidParam, "the path is not valid UTF-8, or has a NUL")
	}
	return nil
}
