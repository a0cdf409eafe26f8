package drill

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"bongsu/harness"
	"bongsu/roam"
)

// answers is a site that gives the same answer to everything of a kind.
func answers(t *testing.T, get, put int, header ...string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := get
		if r.Method != http.MethodGet {
			status = put
		}
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		if status == 200 {
			fmt.Fprint(w, `{"access_token":"t","user_id":"@a:x","event_id":"$1","chunk":[{"event_id":"$1"}]}`)
		} else {
			_ = json.NewEncoder(w).Encode(map[string]string{"errcode": "M_X", "error": "no"})
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// What one site has acknowledged may be unknown elsewhere for a moment, but it is never denied.
func TestDenialIsFound(t *testing.T) {
	for status, want := range map[int]bool{200: false, 503: false, 500: false, 401: true, 403: true, 404: true} {
		here, there := answers(t, 200, 200), answers(t, status, 200)
		c := &contest{guests: &guests{}, urls: []string{here.URL, there.URL}, ups: func(int) bool { return true }, room: "!r:x", rec: newRecorder(nil)}
		for range 3 {
			client := harness.NewClient(here.URL)
			t.Cleanup(client.Close)
			c.who = append(c.who, client)
		}
		c.owner = c.who[0]
		for n := range 2 { // a device, a piece of state
			c.askElsewhere(t.Context(), 0, n)
			if want && (len(c.findings) != n+1 || promiseOf(c.findings[n]) != 7) || !want && len(c.findings) > 0 {
				t.Errorf("status %d: %q", status, c.findings)
			}
		}
	}
}

func TestAnybody(t *testing.T) {
	c := &contest{urls: []string{"a", "b", "c"}, ups: func(i int) bool { return i == 2 }}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		if got := c.anybody(rng); got != 2 {
			t.Fatalf("site %d is asked, and only 2 is up", got)
		}
	}
	c.ups = func(int) bool { return false }
	if got := c.anybody(rng); got != -1 {
		t.Errorf("site %d is asked, and none is up", got)
	}
}

// What a survivor must do when a majority is gone, and what it must not.
func TestSurvivors(t *testing.T) {
	for name, c := range map[string]struct {
		site *httptest.Server
		want string
	}{
		"sound":             {answers(t, 200, 503, "Retry-After", "1"), ""},
		"does not read":     {answers(t, 503, 503, "Retry-After", "1"), "does not read"},
		"lies":              {answers(t, 200, 200), "acknowledged a write without a majority"},
		"denies":            {answers(t, 200, 403), "refuses a write with 403"},
		"does not say when": {answers(t, 200, 503), "retry after 0s"},
	} {
		_, text, err := net.SplitHostPort(strings.TrimPrefix(c.site.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		port, _ := strconv.Atoi(text)
		server, err := harness.New(harness.Config{Port: port})
		if err != nil {
			t.Fatal(err)
		}
		client := harness.NewClient(c.site.URL)
		t.Cleanup(client.Close)
		d := &drill{rec: newRecorder(nil), cluster: &Cluster{Sites: []*Site{{Name: "seoul", server: server, up: true}, {Name: "busan"}}},
			probes: &probes{writers: []*prober{{c: client, room: "!r:x"}}}}
		found := strings.Join(d.survivors(t.Context(), crash(1, 2)), "\n")
		if (c.want == "") != (found == "") || !strings.Contains(found, c.want) {
			t.Errorf("%s: %q, want %q", name, found, c.want)
		}
		if found := d.survivors(t.Context(), burn(0)); len(found) > 0 {
			t.Errorf("a site without data was asked: %q", found)
		}
	}
}

func TestRecorder(t *testing.T) {
	r := newRecorder([]string{"http://a", "http://b"})
	at := r.epoch.Add(time.Second)
	r.observe(roam.Attempt{Site: "http://b", Method: "GET", Path: "/_matrix/client/v3/sync", Began: at, Ended: at.Add(ms), Status: 200})
	r.observe(roam.Attempt{Site: "http://a", Method: "PUT", Path: "/x", Began: at, Ended: at.Add(ms), Err: io.ErrUnexpectedEOF})
	r.observe(roam.Attempt{Site: "http://a", Method: "PUT", Path: "/x", Began: at, Ended: at.Add(ms), Err: fmt.Errorf("x: %w", context.Canceled)})
	r.observe(roam.Attempt{Site: "http://c", Method: "GET", Path: "/x", Began: at, Ended: at.Add(ms), Status: 404})
	want := []call{{time.Second, ms, 1, "sync", 200}, {time.Second, ms, 0, "write", 0}, {time.Second, ms, -1, "read", 404}}
	if got := len(r.all()); got != len(want) {
		t.Fatalf("%d calls, want %d", got, len(want))
	}
	for i, got := range r.all() {
		if got != want[i] {
			t.Errorf("%+v, want %+v", got, want[i])
		}
	}
	if all := r.all(); !all[0].ok() || all[1].ok() || !all[2].ok() {
		t.Error("which calls worked")
	}
}
