package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"bongsu/clock"
	"bongsu/errs"
)

// fakeState is a site's state as a test wants it.
type fakeState struct {
	serving, writable error
	generation        uint64
}

func (s *fakeState) Serving() error     { return s.serving }
func (s *fakeState) Generation() uint64 { return s.generation }
func (s *fakeState) Writable() error    { return s.writable }

func TestNothingIsAnsweredFromRowsThatAreMade(t *testing.T) {
	state := &fakeState{}
	closed := false
	answers := map[string]func() (any, error){
		"value":  func() (any, error) { return "x", nil },
		"denied": func() (any, error) { return nil, errs.New("x", errs.NotFound, "", "no") },
		"wrong":  func() (any, error) { return nil, errors.New("broken") },
		"panic":  func() (any, error) { panic("half of a row") },
		"stream": func() (any, error) { return Stream{Body: closer{strings.NewReader("abc"), &closed}, Size: 3}, nil },
	}
	meta := Meta{Health: func(context.Context) error { return nil }, Status: func(context.Context) (any, error) { return "fine", nil }}
	ta := newTestAPI(t, func(c *Config) { c.State = state }, append(meta.Routes(),
		Route{Op: "x", Method: "GET", Path: "/x/{what}", Handle: func(_ context.Context, r *Request) (any, error) {
			if r.Path("what") != "denied" || state.generation == 0 {
				state.generation++ // meanwhile
			}
			return answers[r.Path("what")]()
		}})...)
	for what := range answers {
		state.generation = 0
		if w := ta.call(t, "GET", "/x/"+what, ""); !unavailable(w) || !strings.Contains(w.Body.String(), "made anew") {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	if !closed {
		t.Error("the stream that nobody got is open")
	}
	// What is wrong with the request itself is said, whatever the rows do.
	expect(t, ta.call(t, "GET", "/x/%ff", ""), 400, "M_INVALID_PARAM")

	state.serving = errs.New("replica", errs.Unavailable, "", "this site is fetching its data")
	for path, want := range map[string]int{
		"/x/value": 503, "/_matrix/client/v3/capabilities": 503, "/health": 503,
		"/_matrix/client/versions": 200, "/_bongsu/status": 200, "/_bongsu/sites": 200, "/nowhere": 404,
	} {
		if w := ta.call(t, "GET", path, ""); w.Code != want || want == 503 && !unavailable(w) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := ta.call(t, "GET", "/x/value", ""); !strings.Contains(w.Body.String(), "fetching its data") {
		t.Errorf("%s", w.Body)
	}
}

// TestWritesWaitAShortWhile lets writes in while a leader may be chosen, and refuses them at once when it takes longer.
func TestWritesWaitAShortWhile(t *testing.T) {
	now := time.Unix(1000, 0)
	state := &fakeState{}
	route := func(op, method string, local bool) Route {
		return Route{Op: op, Method: method, Path: "/" + op, Local: local, Handle: echo()}
	}
	ta := newTestAPI(t, func(c *Config) { c.State, c.Clock = state, clock.Func(func() time.Time { return now }) },
		route("read", "GET", false), route("write", "PUT", false), route("query", "POST", true))
	check := func(when string, write int) {
		t.Helper()
		expect(t, ta.call(t, "GET", "/read", ""), 200, "")
		expect(t, ta.call(t, "HEAD", "/read", ""), 200, "")
		expect(t, ta.call(t, "POST", "/query", "{}"), 200, "")
		w := ta.call(t, "PUT", "/write", "{}")
		if w.Code != write || write == 503 && (!unavailable(w) || !strings.Contains(w.Body.String(), "no majority since noon")) {
			t.Errorf("%s: %d %s", when, w.Code, w.Body)
		}
	}
	check("well", 200)
	state.writable = errs.New("replica", errs.Unavailable, "", "no majority since noon")
	check("just begun", 200)
	now = now.Add(grace - 1)
	check("a change of leader", 200)
	now = now.Add(1)
	check("longer", 503)
	state.writable = nil
	check("over", 200)
	state.writable = errors.New("no majority since noon")
	check("again", 200)
	now = now.Add(grace)
	check("again, longer", 503)
}
