package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small is a load that takes a moment: 300 messages of 6 senders in 5 rooms of 4, everybody syncing.
func small(url ...string) Config {
	return Config{
		Scenario: "send", URLs: url, Senders: 6, Rooms: 5, Members: 4, Users: 10, Syncers: 10, Warmup: -1, Messages: 300,
		Duration: time.Minute, SyncTimeout: time.Second, Drain: 10 * time.Second, RequestTimeout: 10 * time.Second,
	}
}

// perMessage is how many members see each message.
const perMessage = 4

func run(t *testing.T, cfg Config) *Report {
	t.Helper()
	var out bytes.Buffer
	r, err := Run(t.Context(), cfg, &out)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", out.String())
	return r
}

func TestGoodServers(t *testing.T) {
	cases := map[string]func(f *fake, cfg *Config){
		"closed loop":      func(*fake, *Config) {},
		"open loop":        func(_ *fake, c *Config) { c.Rate = 2000 },
		"nobody syncs":     func(_ *fake, c *Config) { c.Syncers = 0 },
		"limited by one":   func(f *fake, _ *Config) { f.limit = 1 },
		"limited by three": func(f *fake, _ *Config) { f.limit = 3 },
		"receipts":         func(_ *fake, c *Config) { c.Receipts = 0.5 },
		"warm-up":          func(_ *fake, c *Config) { c.Warmup = 50 * time.Millisecond },
		"idle clients":     func(_ *fake, c *Config) { c.Idle, c.IdleUsers = 30, 3 },
		"sessions":         func(f *fake, _ *Config) { f.uia = true },
		"more senders than users": func(_ *fake, c *Config) {
			c.Senders = 23
		},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			cfg := small(f.serve())
			change(f, &cfg)
			r := run(t, cfg)
			if r.Faults() != 0 || r.Delivered.Uncertain != 0 || r.Failed != 0 || len(r.Errors) != 0 || len(r.Stalled) != 0 {
				t.Errorf("found faults: %+v %+v, errors %v", r.Delivered, r.History, r.Errors)
			}
			if cfg.Warmup < 0 && int(r.Acknowledged) != cfg.Messages || r.Acknowledged == 0 || int(r.Total) != f.sends || r.History.Events != r.Total {
				t.Errorf("acknowledged %d of %d, in histories %d, at the server %d", r.Acknowledged, r.Total, r.History.Events, f.sends)
			}
			if cfg.Syncers > 0 && (r.Delivered.Events != perMessage*r.Total || r.Delivery.Count == 0 || r.Delivery.Max <= 0) {
				t.Errorf("delivered %d, latencies %d", r.Delivered.Events, r.Delivery.Count)
			}
			if r.Server == nil || r.Send.Count != uint64(cfg.Messages) {
				t.Errorf("server %+v, send latencies %d", r.Server, r.Send.Count)
			}
			if f.limit == 1 && r.Backfills == 0 {
				t.Error("nothing was backfilled")
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if cfg.Receipts > 0 && len(f.receipts) == 0 {
				t.Error("no receipts")
			}
			if (r.Idle != nil) != (cfg.Idle > 0) || r.Idle != nil && (r.Idle.Clients != 30 || r.Idle.MostPerClient == 0) {
				t.Errorf("idle %+v", r.Idle)
			}
		})
	}
}

// TestPlantedFaults: each fault of the server is found, and is not taken for another.
func TestPlantedFaults(t *testing.T) {
	var victim string // the first member that is asked about; always the same one afterwards
	at := func(user string, n, when int) bool {
		if n == when && victim == "" {
			victim = user
		}
		return n == when && user == victim
	}
	held := []fakeEvent{}
	lane := func(e fakeEvent) string {
		parts := strings.Split(e.body, "/")
		return parts[2]
	}
	// swap holds message 100 of the victim back until one of the same sender follows in the same room, or holds whatever is the
	// last back until one of another sender follows.
	swap := func(sameSender bool) func(string, int, fakeEvent) []fakeEvent {
		return func(user string, n int, e fakeEvent) []fakeEvent {
			if at(user, n, 100) {
				held = append(held, e)
				return nil
			}
			if user != victim || len(held) == 0 || held[0].room != e.room {
				return []fakeEvent{e}
			}
			out := []fakeEvent{e, held[0]}
			switch {
			case (lane(held[0]) == lane(e)) == sameSender:
				held = nil
				return out
			case sameSender:
				return out[:1]
			}
			held = []fakeEvent{e}
			return out[1:]
		}
	}
	type want struct{ delivered, history StreamChecks }
	cases := []struct {
		name  string
		plant func(f *fake)
		want
	}{
		{"a member misses one", func(f *fake) {
			f.onView = func(u string, n int, e fakeEvent) []fakeEvent {
				if at(u, n, 100) {
					return nil
				}
				return []fakeEvent{e}
			}
		}, want{delivered: StreamChecks{Lost: 1}}},
		{"a member misses the last", func(f *fake) {
			f.onView = func(u string, n int, e fakeEvent) []fakeEvent {
				if at(u, n, 300) {
					return nil
				}
				return []fakeEvent{e}
			}
		}, want{delivered: StreamChecks{Lost: 1}}},
		{"a member sees one twice", func(f *fake) {
			f.onView = func(u string, n int, e fakeEvent) []fakeEvent {
				if at(u, n, 100) {
					return []fakeEvent{e, e}
				}
				return []fakeEvent{e}
			}
		}, want{delivered: StreamChecks{Duplicated: 1}}},
		{"a member sees one again, later", func(f *fake) {
			f.onView = func(u string, n int, e fakeEvent) []fakeEvent {
				if at(u, n, 100) {
					held = append(held, e)
				} else if u == victim && len(held) == 1 && e.room == held[0].room {
					out := []fakeEvent{e, held[0]}
					held = nil
					return out
				}
				return []fakeEvent{e}
			}
		}, want{delivered: StreamChecks{Duplicated: 1}}},
		{"two of one sender swapped", func(f *fake) {
			f.onView = swap(true)
		}, want{delivered: StreamChecks{Reordered: 1, Diverged: 1}}},
		{"two of different senders swapped", func(f *fake) {
			f.onView = swap(false)
		}, want{delivered: StreamChecks{Diverged: 1}}},
		{"delivered in another room", func(f *fake) {
			f.onView = func(u string, n int, e fakeEvent) []fakeEvent {
				if !at(u, n, 100) {
					return []fakeEvent{e}
				}
				for id, rm := range f.rooms {
					for _, m := range rm.members {
						if m == u && id != e.room {
							return []fakeEvent{e, {room: id, id: e.id, body: e.body}}
						}
					}
				}
				t.Error("the victim has no second room")
				return nil
			}
		}, want{delivered: StreamChecks{Misplaced: 1}}},
		{"delivered, and gone from the history", func(f *fake) {
			f.onLog = func(n int, e fakeEvent) []fakeEvent {
				if n == 100 {
					return nil
				}
				return []fakeEvent{e}
			}
		}, want{history: StreamChecks{Lost: 1}}},
		{"twice in the history", func(f *fake) {
			f.onLog = func(n int, e fakeEvent) []fakeEvent {
				if n == 100 {
					return []fakeEvent{e, e}
				}
				return []fakeEvent{e}
			}
		}, want{history: StreamChecks{Duplicated: 1}}},
		{"acknowledged, and forgotten", func(f *fake) {
			f.onLog = func(n int, e fakeEvent) []fakeEvent {
				if n == 100 {
					return nil
				}
				return []fakeEvent{e}
			}
			f.onView = func(_ string, n int, e fakeEvent) []fakeEvent {
				if n == 100 {
					return nil
				}
				return []fakeEvent{e}
			}
		}, want{delivered: StreamChecks{Lost: perMessage}, history: StreamChecks{Lost: 1}}},
		{"acknowledged under another id", func(f *fake) {
			f.onSend = func(w http.ResponseWriter, n int) bool {
				if n == 100 {
					reply(w, 200, map[string]any{"event_id": "$other"})
				}
				return n == 100
			}
		}, want{history: StreamChecks{WrongID: 1}}},
		{"a retry taken for a new message", func(f *fake) {
			f.forgetful = true
			f.onSend = func(w http.ResponseWriter, n int) bool {
				if n == 100 {
					fail(w, 500, "M_UNKNOWN")
				}
				return n == 100
			}
		}, want{delivered: StreamChecks{Duplicated: perMessage}, history: StreamChecks{Duplicated: 1}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			victim, held = "", nil
			f := newFake(t)
			c.plant(f)
			cfg := small(f.serve())
			cfg.Senders = 10         // every room has messages of several
			cfg.TimelineLimit = 1000 // a backfill would heal the members' views
			if c.want.delivered.Lost > 0 {
				cfg.Drain = 200 * time.Millisecond
			}
			r := run(t, cfg)
			got := want{r.Delivered, r.History}
			for _, s := range []*StreamChecks{&got.delivered, &got.history} {
				s.Streams, s.Events = 0, 0
			}
			if got != c.want {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
			if r.Faults() == 0 {
				t.Error("the report is content")
			}
		})
	}
}

// once answers the n-th request that suits with answer.
func once(n int, suits func(*http.Request) bool, answer func(w http.ResponseWriter)) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !suits(r) {
			return false
		}
		if n--; n != 0 {
			return false
		}
		answer(w)
		return true
	}
}

func isSend(r *http.Request) bool { return strings.Contains(r.URL.Path, "/send/") }
func isSync(r *http.Request) bool {
	return strings.HasSuffix(r.URL.Path, "/sync") && r.URL.Query().Get("since") != ""
}

// TestTroubles: what a server may do in a bad hour costs time and is counted, but is no broken promise.
func TestTroubles(t *testing.T) {
	abort := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	slow := func(status int, code string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			reply(w, status, map[string]any{"errcode": code, "retry_after_ms": 5})
		}
	}
	cases := []struct {
		name   string
		plant  func(f *fake, cfg *Config)
		errors string
		check  func(r *Report) bool
	}{
		{"429 to a send", func(f *fake, _ *Config) { f.onRequest = once(50, isSend, slow(429, "M_LIMIT_EXCEEDED")) },
			"429 M_LIMIT_EXCEEDED", func(r *Report) bool { return r.Limited == 1 && r.Retries == 1 && r.Failed == 0 }},
		{"503 to a send", func(f *fake, _ *Config) { f.onRequest = once(50, isSend, slow(503, "M_UNAVAILABLE")) },
			"503 M_UNAVAILABLE", func(r *Report) bool { return r.Limited == 0 && r.Retries == 1 && r.Failed == 0 }},
		{"a page of a proxy", func(f *fake, _ *Config) {
			f.onRequest = once(50, isSend, func(w http.ResponseWriter) { http.Error(w, "<h1>bad gateway", http.StatusBadGateway) })
		}, "502 ", func(r *Report) bool { return r.Retries == 1 && r.Failed == 0 }},
		{"the connection breaks before a send", func(f *fake, _ *Config) { f.onRequest = twice(50, isSend, abort) },
			"connection", func(r *Report) bool { return r.Retries == 1 && r.Failed == 0 }},
		{"the acknowledgement is lost", func(f *fake, _ *Config) {
			f.onSend = func(w http.ResponseWriter, n int) bool {
				if n == 100 {
					fail(w, 500, "M_UNKNOWN")
				}
				return n == 100
			}
		}, "500 M_UNKNOWN", func(r *Report) bool { return r.Retries == 1 && r.Failed == 0 }},
		{"503 to a sync", func(f *fake, _ *Config) { f.onRequest = once(20, isSync, slow(503, "M_UNAVAILABLE")) },
			"503 M_UNAVAILABLE", func(r *Report) bool { return r.Failed == 0 }},
		{"half an answer to a sync", func(f *fake, _ *Config) {
			f.onRequest = once(20, isSync, func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"next_batch":"s99999","rooms":{"join":{`)) })
		}, "", func(r *Report) bool { return r.Failed == 0 }},
		{"a send is refused", func(f *fake, _ *Config) {
			f.onRequest = once(50, isSend, func(w http.ResponseWriter) { fail(w, 403, "M_FORBIDDEN") })
		}, "403 M_FORBIDDEN", func(r *Report) bool { return r.Failed == 1 && r.Total == 299 }},
		{"a send takes effect and is given up", func(f *fake, c *Config) {
			c.GiveUp = -1
			f.onSend = func(w http.ResponseWriter, n int) bool {
				if n == 100 {
					fail(w, 500, "M_UNKNOWN")
				}
				return n == 100
			}
		}, "500 M_UNKNOWN", func(r *Report) bool { return r.Failed == 1 && r.History.Events == 300 }},
		{"one of two servers is down", func(_ *fake, c *Config) { c.URLs = append(c.URLs, "http://127.0.0.1:1") },
			"", func(r *Report) bool { return r.Failed == 0 && r.Total == 300 }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			cfg := small(f.serve())
			c.plant(f, &cfg)
			r := run(t, cfg)
			if r.Faults() != 0 || r.Delivered.Uncertain+r.History.Uncertain != 0 || !c.check(r) {
				t.Errorf("delivered %+v\nhistory %+v\nfailed %d, retries %d, limited %d", r.Delivered, r.History, r.Failed, r.Retries, r.Limited)
			}
			if c.errors != "" && r.Errors[c.errors] != 1 {
				t.Errorf("errors %v, want one %q", r.Errors, c.errors)
			}
		})
	}
}

// twice is once for two requests on end: a kept connection is replaced silently the first time.
func twice(n int, suits func(*http.Request) bool, answer func(w http.ResponseWriter)) func(http.ResponseWriter, *http.Request) bool {
	path := ""
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !suits(r) {
			return false
		}
		if n--; n == 0 {
			path = r.URL.Path
			answer(w)
		} else if r.URL.Path == path {
			path = ""
			answer(w)
		}
		return false
	}
}

// TestNoCoordinatedOmission: one stall of the server delays every message that was due during it.
func TestNoCoordinatedOmission(t *testing.T) {
	f := newFake(t)
	stall := 400 * time.Millisecond
	f.onRequest = once(20, isSend, func(w http.ResponseWriter) {
		time.Sleep(stall) // with the lock held: nobody is served
		reply(w, 503, map[string]any{"retry_after_ms": 1})
	})
	cfg := small(f.serve())
	cfg.Rate, cfg.Senders, cfg.Messages, cfg.Duration, cfg.Syncers = 100, 1, 0, time.Second, 0
	r := run(t, cfg)
	if r.Total != 100 || r.Unsent != 0 {
		t.Errorf("%d messages, want 100; %d unsent", r.Total, r.Unsent)
	}
	// 40 messages were due during the stall, so that 20 waited for more than half of it.
	if r.Send.P95 < stall/2 {
		t.Errorf("the p95 %v hides the stall", r.Send.P95)
	}
	if r.Service.P50 > r.Send.P50 || r.Faults() != 0 {
		t.Errorf("service %v, send %v", r.Service, r.Send)
	}
}

func TestAnOpenLoopSaysWhatItNeverSent(t *testing.T) {
	f := newFake(t)
	f.onRequest = func(_ http.ResponseWriter, r *http.Request) bool {
		if isSend(r) {
			time.Sleep(20 * time.Millisecond)
		}
		return false
	}
	cfg := small(f.serve())
	cfg.Rate, cfg.Senders, cfg.Messages, cfg.Duration, cfg.Syncers, cfg.GiveUp = 1000, 1, 0, 200*time.Millisecond, 0, 50*time.Millisecond
	r := run(t, cfg)
	if r.Unsent == 0 || r.Unsent+r.Total != 200 {
		t.Errorf("%d sent, %d unsent, want 200 together", r.Total, r.Unsent)
	}
}

func TestInitialSync(t *testing.T) {
	cfg := Config{Scenario: "initial-sync", Rooms: 6, Members: 4, Users: 8, Messages: 5, Duration: 300 * time.Millisecond}
	f := newFake(t)
	cfg.URLs = []string{f.serve()}
	r := run(t, cfg)
	s := r.InitialSync
	if s == nil || s.Rooms != 6 || s.MissingRooms != 0 || s.Late != 0 || s.Initial.Count == 0 || s.Incremental.Count == 0 || s.Empty.Count != s.Incremental.Count {
		t.Errorf("got %+v", s)
	}
	dropped := false
	f.onSync = func(_ string, rooms map[string]any) {
		if len(rooms) == 6 && !dropped {
			dropped = true
			for id := range rooms {
				delete(rooms, id)
				return
			}
		}
	}
	cfg.Seed = 7
	if r := run(t, cfg); r.Faults() != 1 {
		t.Errorf("the missing room was not found: %+v", r.InitialSync)
	}
}

func TestJoins(t *testing.T) {
	cfg := Config{Scenario: "joins", Members: 50, Senders: 5}
	f := newFake(t)
	cfg.URLs = []string{f.serve()}
	r := run(t, cfg)
	if j := r.Joins; j == nil || j.Joins != 50 || j.Missing != 0 || j.Latency.Count != 50 || r.Faults() != 0 {
		t.Errorf("got %+v", j)
	}
	f.onRequest = once(10, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/join") }, func(w http.ResponseWriter) { reply(w, 200, map[string]any{}) })
	if r := run(t, cfg); r.Joins.Missing != 1 || r.Faults() != 1 {
		t.Errorf("the join that was only pretended was not found: %+v", r.Joins)
	}
}

func TestUsersAreUsedAgain(t *testing.T) {
	f := newFake(t)
	registered := 0
	f.onRequest = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/register") || strings.HasSuffix(r.URL.Path, "/login") {
			registered++
		}
		return false
	}
	cfg := small(f.serve())
	cfg.Messages, cfg.Seed, cfg.UsersFile = 20, 42, filepath.Join(t.TempDir(), "users.json")
	steps := []struct {
		name            string
		change          func()
		requests, users int
	}{
		{"first", func() {}, 10, 10},
		{"from the file, with another seed", func() { cfg.Seed = 0 }, 0, 10},
		{"more", func() { cfg.Users, cfg.Rooms = 12, 6 }, 2, 12},
		{"fewer", func() { cfg.Users, cfg.Rooms = 10, 5 }, 0, 12},
		{"by login, when the file is gone", func() { cfg.Seed = 42; _ = os.Remove(cfg.UsersFile) }, 20, 12},
		{"tokens that the server forgot", func() { f.mu.Lock(); clear(f.users); f.mu.Unlock() }, 20, 12},
	}
	for _, s := range steps {
		s.change()
		registered = 0
		if r := run(t, cfg); r.Faults() != 0 || r.Seed != 42 {
			t.Errorf("%s: %d faults, seed %d", s.name, r.Faults(), r.Seed)
		}
		if registered != s.requests || len(f.passwords) != s.users {
			t.Errorf("%s: %d requests, %d users; want %d and %d", s.name, registered, len(f.passwords), s.requests, s.users)
		}
	}
}

func TestReportAsJSON(t *testing.T) {
	f := newFake(t)
	cfg := small(f.serve())
	cfg.JSON = filepath.Join(t.TempDir(), "report.json")
	cfg.ServerPIDs = []int{os.Getpid()}
	want := run(t, cfg)
	b, err := os.ReadFile(cfg.JSON)
	if err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.Total != want.Total || got.Delivered != want.Delivered || got.Server == nil || got.Server.Source != "proc" || got.Server.RSSMax < 1<<20 {
		t.Errorf("got %s", b)
	}
}

func TestHistoriesThatCannotBeRead(t *testing.T) {
	f := newFake(t)
	f.onRequest = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/messages") {
			fail(w, 403, "M_FORBIDDEN")
			return true
		}
		return false
	}
	cfg := small(f.serve())
	cfg.TimelineLimit = 1000
	r, err := Run(t.Context(), cfg, &bytes.Buffer{})
	if err == nil || r == nil || r.Delivered.Events != perMessage*r.Total || r.History.Streams != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestARunEndsWithItsContext(t *testing.T) {
	f := newFake(t)
	cfg := small(f.serve())
	cfg.Messages, cfg.Warmup = 0, time.Hour
	ctx, cancel := contextWithCancel(t)
	f.onSend = func(_ http.ResponseWriter, n int) bool {
		if n == 50 {
			cancel()
		}
		return false
	}
	if _, err := Run(ctx, cfg, &bytes.Buffer{}); err == nil {
		t.Error("a run that was called off has a result")
	}
}

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}
