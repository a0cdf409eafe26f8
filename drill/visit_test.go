package drill

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/errs"
)

// somebody is a server that answers some paths, with what is made JSON.
func somebody(t *testing.T, answers map[string]any) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		if status, is := answer.(int); is {
			w.WriteHeader(status)
			answer = map[string]string{"errcode": map[int]string{400: "M_USER_IN_USE", 401: "M_UNKNOWN_TOKEN", 403: "M_FORBIDDEN"}[status], "error": "no"}
		} else if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// bongsu is what a site answers, and what is changed of that; nil leaves a path out.
func bongsu(server, cluster, site string, change map[string]any) map[string]any {
	answers := map[string]any{
		versionsPath: map[string]any{"versions": []string{"v1.1"}}, healthPath: map[string]string{"status": "ok"},
		"/_bongsu/status":                     Status{Server: server, Cluster: cluster, Site: site, Partitions: []PartitionStatus{{Applied: 1}}},
		"/_bongsu/sites":                      map[string]any{},
		"/_matrix/client/v3/register":         map[string]string{"access_token": "t", "user_id": "@a:x"},
		"/_matrix/client/v3/account/whoami":   map[string]string{"user_id": "@a:x"},
		"/_matrix/client/v3/joined_rooms":     map[string]any{"joined_rooms": []string{"!r:x"}},
		"/_matrix/client/v3/rooms/!r:x/leave": map[string]any{}, "/_matrix/client/v3/rooms/!r:x/forget": map[string]any{},
		"/_matrix/client/v3/account/deactivate": map[string]any{},
	}
	for path, answer := range change {
		if answers[path] = answer; answer == nil {
			delete(answers, path)
		}
	}
	return answers
}

func TestVisit(t *testing.T) {
	seoul, busan := somebody(t, bongsu("x", "c", "seoul", nil)), somebody(t, bongsu("x", "c", "busan", nil))
	hidden := map[string]any{"/_bongsu/status": nil, healthPath: nil}
	c, err := visit(t.Context(), []string{seoul + "/", busan, somebody(t, bongsu("x", "c", "daegu", hidden))})
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Sites[0]; s.Name != "seoul" || s.URL() != seoul || s.alive != healthPath || s.opaque || !s.Up() {
		t.Errorf("%+v", s)
	}
	if s := c.Sites[2]; !strings.HasPrefix(s.Name, "127.0.0.1:") || s.alive != versionsPath || !s.opaque {
		t.Errorf("behind a proxy: %+v", s)
	}
	if n := len(c.telling().Sites); n != 2 || c.partitions(t.Context()) != 1 {
		t.Errorf("%d sites tell their status, of %d partitions", n, c.partitions(t.Context()))
	}
	if n := (&Cluster{}).partitions(t.Context()); n != 4 {
		t.Errorf("nobody tells: %d partitions", n)
	}
	nobody := httptest.NewServer(nil)
	nobody.Close()
	for _, c := range []struct {
		what string
		urls []string
		kind errs.Kind
		want string
	}{
		{"no URL", []string{"seoul.example.org"}, errs.Invalid, "is no base URL of a site, such as"},
		{"a path to something", []string{"https://seoul.example.org/?x"}, errs.Invalid, "is no base URL"},
		{"nobody", []string{nobody.URL}, errs.Unavailable, "Is the address right"},
		{"a web server", []string{somebody(t, nil)}, errs.Unavailable, "no Matrix server answers at"},
		{"another Matrix server", []string{somebody(t, map[string]any{versionsPath: map[string]any{"versions": []string{"v1.1"}}})}, errs.Invalid, "does not look like a Bongsu"},
		{"one site twice", []string{seoul, busan, seoul}, errs.Invalid, "are both the site seoul"},
		{"another cluster", []string{seoul, somebody(t, bongsu("x", "other", "busan", nil))}, errs.Invalid, "not of one cluster"},
		{"another server", []string{seoul, somebody(t, bongsu("y", "c", "busan", nil))}, errs.Invalid, "not of one cluster"},
	} {
		if _, err := visit(t.Context(), c.urls); !errs.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
}

// What does not begin as it should is said, and what was begun is cleaned up.
func TestWelcome(t *testing.T) {
	const register, whoami, gone = "/_matrix/client/v3/register", "/_matrix/client/v3/account/whoami", "/_matrix/client/v3/account/deactivate"
	for name, c := range map[string]struct {
		here, there map[string]any
		kind        errs.Kind
		want        string
	}{
		"closed":            {map[string]any{register: 403}, nil, errs.Forbidden, "--open-registration"},
		"a name in use":     {map[string]any{register: 400}, nil, errs.Invalid, "choose another --user-prefix"},
		"another cluster":   {nil, map[string]any{"/_bongsu/status": nil, whoami: 401}, errs.Invalid, "does not know an account"},
		"one is not well":   {nil, map[string]any{whoami: 503}, errs.Unavailable, "Begin when all sites are well"},
		"cannot be removed": {map[string]any{gone: 403}, map[string]any{whoami: 503}, errs.Unavailable, "could not be removed, their names begin with guest-"},
	} {
		t.Run(name, func(t *testing.T) {
			urls := []string{somebody(t, bongsu("x", "c", "seoul", c.here)), somebody(t, bongsu("x", "c", "busan", c.there))}
			_, err := Run(t.Context(), Config{Against: urls, UserPrefix: "guest-"}, &strings.Builder{})
			if err == nil || !strings.Contains(err.Error(), c.want) || name != "cannot be removed" && !errs.Is(err, c.kind) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// A drill that is broken off leaves no account behind.
func TestBrokenOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := bongsu("x", "c", "seoul", nil)
	var left, gone atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/_matrix/client/v3/account/whoami":
			cancel() // the operator has seen enough
		case "/_matrix/client/v3/rooms/!r:x/forget":
			left.Add(1)
		case "/_matrix/client/v3/account/deactivate":
			gone.Add(1)
		}
		_ = json.NewEncoder(w).Encode(answers[r.URL.Path])
	}))
	t.Cleanup(s.Close)
	if report, err := Run(ctx, Config{Against: []string{s.URL}}, io.Discard); err == nil || report != nil {
		t.Errorf("it was broken off: %v, %v", report, err)
	}
	if left.Load() != 1 || gone.Load() != 1 {
		t.Errorf("%d rooms were left, and %d accounts are gone", left.Load(), gone.Load())
	}
}

// A site that does not answer well for a second is away, from its first bad answer to its first good one.
func TestWatcher(t *testing.T) {
	var down atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(s.Close)
	c := &Cluster{Sites: []*Site{{Name: "seoul", url: s.URL, alive: healthPath}}}
	rec := newRecorder(c.URLs())
	c.Sites[0].setUp(true)
	w := newWatcher(c, rec)
	t.Cleanup(w.end)
	until := func(away bool) presence {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		for w.at(0).away != away {
			if rest(ctx, 10*time.Millisecond) != nil {
				t.Fatalf("it is not seen that the site's absence is %v", away)
			}
		}
		return w.at(0)
	}
	began := rec.now()
	down.Store(true)
	is := until(true)
	if is.since < began || rec.now()-is.since < awayAfter || c.Sites[0].Up() || len(w.away()) != 1 {
		t.Errorf("away since %v, it is %v, and down since %v", is.since, rec.now(), began)
	}
	back := rec.now()
	down.Store(false)
	if is = until(false); is.since < back || !c.Sites[0].Up() || len(w.away()) != 0 {
		t.Errorf("back since %v, and up since %v", is.since, back)
	}
}
