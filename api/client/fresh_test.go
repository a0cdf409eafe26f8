package client

import (
	"context"
	"errors"
	"testing"

	"bongsu/errs"
)

type verdict struct{ error }

func (verdict) Decided()        {}
func (v verdict) Unwrap() error { return v.error }

func TestDenialsAreConfirmed(t *testing.T) {
	deny := func(k errs.Kind, c errs.Code) error { return errs.New("x", k, c, "no") }
	for name, c := range map[string]struct {
		first, second error
		behind        error // CatchUp fails with it
		body          bool
		stream        bool
		static        bool
		ownCatchUp    bool
		runs          int
		catchUps      int32
		status        int
		errcode       string
	}{
		"ok":                   {runs: 1, status: 200},
		"denied, still":        {first: deny(errs.NotFound, ""), second: deny(errs.NotFound, ""), runs: 2, catchUps: 1, status: 404, errcode: "M_NOT_FOUND"},
		"denied, not any more": {first: deny(errs.Forbidden, ""), runs: 2, catchUps: 1, status: 200},
		"denied otherwise":     {first: deny(errs.Forbidden, ""), second: deny(errs.NotFound, ""), runs: 2, catchUps: 1, status: 404, errcode: "M_NOT_FOUND"},
		"behind":               {first: deny(errs.Forbidden, ""), behind: errors.New("no quorum"), runs: 1, catchUps: 1, status: 503, errcode: "M_UNKNOWN"},
		"late":                 {first: deny(errs.Forbidden, ""), behind: context.DeadlineExceeded, runs: 1, catchUps: 1, status: 503, errcode: "M_UNKNOWN"},
		"with a body":          {first: deny(errs.Forbidden, ""), body: true, runs: 2, catchUps: 1, status: 200},
		"with a stream":        {first: deny(errs.Forbidden, ""), stream: true, runs: 1, status: 503, errcode: "M_UNKNOWN"},
		"decided":              {first: verdict{deny(errs.Forbidden, "")}, runs: 1, status: 403, errcode: "M_FORBIDDEN"},
		"decided inside":       {first: errs.Wrap("y", verdict{deny(errs.NotFound, "")}), runs: 1, status: 404, errcode: "M_NOT_FOUND"},
		"own":                  {first: deny(errs.Forbidden, ""), ownCatchUp: true, runs: 1, catchUps: 1, status: 403, errcode: "M_FORBIDDEN"},
		"static":               {first: deny(errs.NotFound, ""), static: true, runs: 1, status: 404, errcode: "M_NOT_FOUND"},
		"401":                  {first: deny(errs.Unauthenticated, ""), runs: 2, catchUps: 1, status: 200},
		"unrecognized":         {first: deny(errs.NotFound, errs.Unrecognized), runs: 1, status: 404, errcode: "M_UNRECOGNIZED"},
		"invalid":              {first: deny(errs.Invalid, ""), runs: 1, status: 400, errcode: "M_INVALID_PARAM"},
		"internal":             {first: errors.New("?"), runs: 1, status: 500, errcode: "M_UNKNOWN"},
	} {
		t.Run(name, func(t *testing.T) {
			runs := 0
			ta := newTestAPI(t, nil, Route{Op: "x", Method: "PUT", Path: "/x", Static: c.static,
				Handle: func(ctx context.Context, r *Request) (any, error) {
					runs++
					if c.body {
						var v struct{ A int }
						if err := r.Decode(&v); err != nil || v.A != 1 {
							t.Errorf("run %d: the body is gone: %v", runs, err)
						}
					}
					if c.stream {
						if _, _, err := r.Stream(); err != nil {
							t.Error(err)
						}
					}
					if c.ownCatchUp {
						if err := r.CatchUp(ctx); err != nil {
							t.Error(err)
						}
					}
					if runs == 1 {
						return nil, c.first
					}
					return nil, c.second
				}})
			ta.site.fail = c.behind
			expect(t, ta.call(t, "PUT", "/x", `{"A":1}`), c.status, c.errcode)
			if runs != c.runs || ta.site.catchUps.Load() != c.catchUps {
				t.Errorf("%d runs, %d catch-ups; want %d, %d", runs, ta.site.catchUps.Load(), c.runs, c.catchUps)
			}
		})
	}
}

// A token that this site has not seen yet must work; one that nobody has seen must be refused; and where nobody can say, it is
// 503, because a client that is told M_UNKNOWN_TOKEN wipes its keys.
func TestTokensAreConfirmed(t *testing.T) {
	ta := newTestAPI(t, nil, Route{Op: "x", Method: "GET", Path: "/x",
		Handle: func(_ context.Context, r *Request) (any, error) { return r.User(), nil }})
	ask := func() (status int, errcode string) {
		w := ta.do(newRequest(t, "GET", "/x?access_token=new", ""))
		if w.Code == 200 {
			return w.Code, ""
		}
		return w.Code, w.Body.String()
	}
	ta.site.fail = errors.New("no quorum")
	if status, body := ask(); status != 503 {
		t.Fatal(status, body)
	}
	ta.site.fail = nil
	if status, body := ask(); status != 401 {
		t.Fatal(status, body)
	}
	ta.site.latest = map[string]Session{"new": {User: "@bob:example.org"}}
	if status, body := ask(); status != 200 {
		t.Fatal(status, body)
	}
	if n := ta.site.catchUps.Load(); n != 3 {
		t.Errorf("%d catch-ups", n)
	}
}
