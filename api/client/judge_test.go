package client

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"bongsu/spec"
)

// specification is read once for all tests.
var specification = sync.OnceValues(spec.Load)

func theSpec(t testing.TB) *spec.Spec {
	t.Helper()
	s, err := specification()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// record is what the tests of this run have seen.
type record struct {
	mu         sync.Mutex
	asked      map[string]map[string]int // operation -> test -> how often the test had it answered with success
	deviations map[string]bool           // of spec.Deviations, those that were met
}

var seen = record{asked: map[string]map[string]int{}, deviations: map[string]bool{}}

// TestMain judges the whole run at its end: only then is it known which test calls what.
func TestMain(m *testing.M) {
	flag.Parse()
	status := m.Run()
	if status == 0 && wholeRun() {
		for _, finding := range seen.judge() {
			fmt.Fprintln(os.Stderr, finding)
			status = 1
		}
	}
	os.Exit(status)
}

// wholeRun reports whether all tests have run.
func wholeRun() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return !testing.Short()
}

// judge says what is wrong after a whole run, or with -coverage-page writes the page that is right.
func (r *record) judge() (findings []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range spec.Deviations {
		if !r.deviations[d.Finding] && d.Where == "api/client" {
			findings = append(findings, "spec/deviations.go: nothing deviates so any more: "+d.Finding)
		}
	}
	return append(findings, r.judgePage()...)
}

// judged serves a request of a test and holds the answer against the specification, if the route is one of it. Test servers
// call it in place of the API.
func judged(t testing.TB, api *API, w http.ResponseWriter, r *http.Request) {
	rt := routeOf(api, r)
	if rt == nil {
		api.ServeHTTP(w, r)
		return
	}
	tee, ok := w.(*httptest.ResponseRecorder)
	if ok {
		api.ServeHTTP(tee, r)
	} else {
		tee = httptest.NewRecorder()
		api.ServeHTTP(&copied{ResponseWriter: w, copy: tee}, r)
	}
	seen.answer(t, rt, r, tee)
}

// routeOf is the route of r, or nil if it has none, or one that a test made up.
func routeOf(api *API, r *http.Request) *route {
	r, ok := routable(r)
	if !ok {
		return nil
	}
	h, _ := api.mux.Handler(r)
	e, ok := h.(*endpoint)
	if !ok {
		return nil
	}
	i := slices.Index(e.methods, r.Method)
	if i < 0 || !slices.Contains(genuine(), e.routes[i].Op+" "+e.routes[i].Path) {
		return nil
	}
	return e.routes[i]
}

// genuine are the operations and paths of the real route table.
var genuine = sync.OnceValue(func() (all []string) {
	for _, r := range Routes(Endpoints{}) {
		all = append(all, r.Op+" "+r.Path)
	}
	return all
})

// answer takes note of an answer and judges it.
func (r *record) answer(t testing.TB, rt *route, hr *http.Request, w *httptest.ResponseRecorder) {
	if w.Code < 400 {
		test, _, _ := strings.Cut(t.Name(), "/")
		r.mu.Lock()
		if r.asked[rt.Op] == nil {
			r.asked[rt.Op] = map[string]int{}
		}
		r.asked[rt.Op][test]++
		r.mu.Unlock()
	}
	op := theSpec(t).Operation(rt.Op)
	if op == nil || hr.Method == http.MethodHead || hr.URL.Query().Has(msc4140+".delay") { // which is a proposal, and answers otherwise
		return
	}
	if w.Code < 400 && strings.Contains(hr.URL.RawQuery, "org.matrix.msc") {
		return // a proposal's parameter may change what is answered
	}
	for _, f := range op.CheckAnswer(w.Code, w.Header(), w.Body.Bytes()) {
		if d, ok := spec.Known(f); ok {
			r.mu.Lock()
			r.deviations[d.Finding] = true
			r.mu.Unlock()
			continue
		}
		t.Errorf("not as the specification says: %s\n%s %s: %.2000s", f, hr.Method, hr.URL.Path, w.Body)
	}
}

// copied passes an answer on and keeps a copy.
type copied struct {
	http.ResponseWriter
	copy *httptest.ResponseRecorder
}

func (c *copied) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *copied) WriteHeader(status int) {
	for k, v := range c.Header() {
		c.copy.Header()[k] = v
	}
	c.copy.WriteHeader(status)
	c.ResponseWriter.WriteHeader(status)
}

func (c *copied) Write(p []byte) (int, error) {
	c.copy.Body.Write(bytes.Clone(p))
	return c.ResponseWriter.Write(p)
}

// TestJudgeFindsDeviations plants an answer that is not as the specification says.
func TestJudgeFindsDeviations(t *testing.T) {
	var r record
	r.asked = map[string]map[string]int{}
	rt := &route{Route: Route{Op: "getTokenOwner"}}
	for body, want := range map[string]bool{`{"user_id":"@a:b"}`: false, `{"user":"@a:b"}`: true, `{"user_id":"a"}`: true} {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", "application/json")
		w.Body.WriteString(body)
		mock := &mockT{TB: t}
		r.answer(mock, rt, newRequest(t, "GET", "/x", ""), w)
		if mock.failed != want {
			t.Errorf("%s: found %v, want %v", body, mock.failed, want)
		}
	}
	if r.asked["getTokenOwner"][t.Name()] != 3 {
		t.Error(r.asked)
	}
}

// mockT notes that a test would have failed.
type mockT struct {
	testing.TB
	failed bool
}

func (m *mockT) Errorf(string, ...any) { m.failed = true }
