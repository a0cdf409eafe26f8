package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bongsu/account"
	"bongsu/auth"
	"bongsu/ephemeral"
	"bongsu/feed"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/keys"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/room"
)

// cluster is three sites over one journal, each with all domains and the API.
type cluster struct {
	t     *testing.T
	store *mem.Store
	sites []*clusterSite
	wants []func(*Accounts)
	sends func(ctx context.Context, to, subject, text string) error // nil: no mail
}

// mail has all sites, which have been empty so far, send messages.
func (c *cluster) mail(send func(ctx context.Context, to, subject, text string) error) {
	c.sends = send
	for i := range c.sites {
		c.burn(i, 10)
		c.settled()
	}
}

// clusterSite is a run of one site.
type clusterSite struct {
	*API
	name     string
	journal  *mem.Journal
	db       *kv.DB
	replica  *replica.Replica
	feed     *feed.Feed
	typing   *ephemeral.Typing
	presence *ephemeral.Presence
	accounts *account.Service
	sessions *account.Sessions
	herald   *account.Herald
	watcher  *account.Watcher
	rooms    *room.Service
	keys     *keys.Keys
}

var siteNames = []string{"a", "b", "c"}

func newCluster(t *testing.T, wants ...func(*Accounts)) *cluster {
	t.Helper()
	c := &cluster{t: t, store: mem.NewStore(4), wants: wants}
	for i, name := range siteNames {
		s := c.open(name, 1)
		for p := range s.journal.Partitions() {
			s.journal.Lead(partition(p), p%len(siteNames) == i)
		}
		c.sites = append(c.sites, s)
	}
	for _, s := range c.sites {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := s.replica.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	t.Cleanup(func() {
		for _, s := range c.sites {
			s.close(t)
		}
	})
	return c
}

// open starts a site with empty rows.
func (c *cluster) open(name string, boot uint64) *clusterSite {
	t := c.t
	t.Helper()
	s := &clusterSite{name: name, journal: c.store.Open(nil)}
	var err error
	if s.db, err = kv.Open(kv.Config{MemTable: 4 << 20}); err != nil {
		t.Fatal(err)
	}
	s.replica, err = replica.Open(t.Context(), replica.Config{DB: s.db, Journal: s.journal, Site: name, Boot: boot, Sites: siteNames, Rules: 3,
		Machines: []replica.Machine{account.Machine(), room.Machine(), keys.Machine()}})
	if err != nil {
		t.Fatal(err)
	}
	s.typing = ephemeral.New(ephemeral.Config{Bus: s.journal, Origin: fmt.Sprint(name, "/", boot),
		Changed: func(in id.RoomID) { s.feed.TypingChanged(in) }})
	s.accounts = account.New(account.Config{Replica: s.replica, Server: "h", Mail: c.sends, PublicURL: "https://h", Passwords: auth.NewPasswords(auth.Config{Memory: 8, Passes: 1}),
		ProfileChanged: func(_ context.Context, user id.UserID) { s.herald.Tell(user) }})
	s.sessions = account.NewSessions(s.accounts)
	s.watcher = account.NewWatcher(s.accounts, time.Now)
	s.keys = keys.New(keys.Config{Replica: s.replica, Server: "h", CatchUp: s.replica.CatchUp,
		Devices: func(r kv.Reader, u id.UserID) (out []keys.Device) {
			for _, d := range account.Devices(r, u) {
				out = append(out, keys.Device{ID: d.ID, Name: d.Name})
			}
			return out
		}})
	s.rooms = room.New(room.Config{Replica: s.replica, Server: "h", ReceiptDelay: time.Millisecond,
		Profile: func(r kv.Reader, u id.UserID) (room.Profile, bool) {
			_, ok := account.Find(r, u)
			p := account.ProfileOf(r, u)
			return room.Profile{DisplayName: p.Displayname}, ok
		}})
	s.herald = account.NewHerald(account.HeraldConfig{Replica: s.replica, Show: s.show, Patience: 100 * time.Millisecond})
	s.presence = ephemeral.NewPresence(ephemeral.PresenceConfig{Bus: s.journal, Origin: fmt.Sprint(name, "/", boot),
		Changed: func(u id.UserID) { s.feed.PresenceChanged(u) }})
	s.feed = feed.New(feed.Config{Replica: s.replica, Typing: s.typing, Presence: s.presence, Site: name, Boot: boot, Acked: s.keys.Acked})
	accounts := Accounts{Service: s.accounts, Registration: Registration{Open: true}}
	for _, want := range c.wants {
		want(&accounts)
	}
	s.API, err = New(Config{Sessions: s, Seen: s.watcher.See, Fresh: s.replica, State: s.replica, Site: name, Deadline: 4 * time.Second, Limits: Limits{Off: true}},
		Routes(Endpoints{
			Meta:     Meta{Server: "h", Moderates: s.accounts.IsAdmin, Health: func(context.Context) error { return nil }, Status: func(context.Context) (any, error) { return nil, nil }},
			Accounts: accounts,
			Rooms:    Rooms{Rooms: s.rooms, Account: s.accounts, SyncPlace: s.feed.Place},
			Keys:     Keys{Service: s.keys, Changes: s.feed.KeyChanges, Confirm: accounts.Confirm},
			Sync:     Sync{Feed: s.feed, Typing: s.typing, Presence: s.presence, Rows: s.replica.Rows()},
		}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.replica.Start(t.Context(), func(cm replica.Commit) {
		s.sessions.Committed(cm)
		s.feed.Committed(cm)
	}); err != nil {
		t.Fatal(err)
	}
	s.presence.Start()
	return s
}

// show is what the server does in rooms when an account has changed.
func (s *clusterSite) show(ctx context.Context, user id.UserID) error {
	if a, _ := account.Find(s.replica.Rows(), user); a.Deactivated {
		return s.rooms.LeaveAll(ctx, user)
	}
	return s.rooms.ShowProfile(ctx, user)
}

// Authenticate implements Sessions.
func (s *clusterSite) Authenticate(ctx context.Context, token string) (Session, error) {
	ses, err := s.sessions.Authenticate(ctx, token)
	return Session(ses), err
}

// close stops a site as a graceful end would.
func (s *clusterSite) close(t *testing.T) {
	t.Helper()
	s.watcher.Close()
	s.herald.Close()
	s.rooms.Close()
	s.feed.Close()
	s.keys.Close()
	s.presence.Close()
	s.typing.Close()
	s.replica.Close()
	if err := s.journal.Close(); err != nil {
		t.Error(err)
	}
	if err := s.db.Close(); err != nil {
		t.Error(err)
	}
}

// burn ends a site at once and puts an empty one in its place.
func (c *cluster) burn(i int, boot uint64) {
	c.t.Helper()
	old := c.sites[i]
	old.journal.Crash()
	old.close(c.t)
	c.sites[i] = c.open(old.name, boot)
}

// call asks site i; the path is below /_matrix/client/v3 unless it begins with another root.
func (c *cluster) call(i int, token, method, path, body string) *httptest.ResponseRecorder {
	if !strings.HasPrefix(path, "/_") && path != "/health" && path != "/health?write" {
		path = "/_matrix/client/v3" + path
	}
	var r = httptest.NewRequestWithContext(c.t.Context(), method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	judged(c.t, c.sites[i].API, w, r)
	return w
}

// must is call for what has to succeed, answer decoded.
func (c *cluster) must(i int, token, method, path, body string, out any) {
	c.t.Helper()
	w := c.call(i, token, method, path, body)
	expect(c.t, w, 200, "")
	if out != nil {
		if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
			c.t.Fatal(err)
		}
	}
}

// user registers somebody and returns the access token.
func (c *cluster) user(i int, name, device string) string {
	c.t.Helper()
	var out struct {
		Token string `json:"access_token"`
	}
	c.must(i, "", "POST", "/register", `{"username":"`+name+`","password":"long enough","device_id":"`+device+`","auth":{"type":"m.login.dummy"}}`, &out)
	return out.Token
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-limit:
			t.Fatalf("never: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// settled waits until all sites have what any of them has acknowledged.
func (c *cluster) settled() {
	c.t.Helper()
	for _, s := range c.sites {
		eventually(c.t, "site "+s.name+" catches up", func() bool { return s.replica.CatchUp(c.t.Context()) == nil })
	}
}

func unavailable(w *httptest.ResponseRecorder) bool {
	return w.Code == 503 && w.Header().Get("Retry-After") != ""
}

func partition(i int) journal.Partition { return journal.Partition(i) } //nolint:gosec // a few
