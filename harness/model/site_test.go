package model_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bongsu/account"
	"bongsu/api/client"
	"bongsu/auth"
	"bongsu/ephemeral"
	"bongsu/feed"
	"bongsu/id"
	"bongsu/keys"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
	"bongsu/room"
)

// site is the server in one process: the API over the real domains, with the journal in memory.
type site struct {
	feed     *feed.Feed
	sessions *account.Sessions
}

// rules are the rules that the site knows.
const rules = 3

func newSite(t testing.TB) http.Handler {
	t.Helper()
	s, sink := &site{}, &replicatest.Sink{}
	r := replicatest.New(t, replicatest.Options{Rules: rules, Sink: sink.Committed,
		Machines: []replica.Machine{account.Machine(), room.Machine(), keys.Machine()}})
	typing := ephemeral.New(ephemeral.Config{Changed: func(r id.RoomID) { s.feed.TypingChanged(r) }})
	rooms := room.New(room.Config{Replica: r, Server: "h", ReceiptDelay: time.Microsecond, MayInvite: account.MayInvite,
		Profile: func(r kv.Reader, u id.UserID) (room.Profile, bool) {
			_, ok := account.Find(r, u)
			p := account.ProfileOf(r, u)
			return room.Profile{DisplayName: p.Displayname, AvatarURL: p.AvatarURL}, ok
		}})
	accounts := account.New(account.Config{Replica: r, Server: "h", Passwords: auth.NewPasswords(auth.Config{Memory: 8, Passes: 1}),
		// The herald does this a moment later; one request at a time needs it done.
		ProfileChanged: func(ctx context.Context, user id.UserID) {
			if err := rooms.ShowProfile(ctx, user); err != nil {
				t.Error(err)
			}
		}})
	s.sessions = account.NewSessions(accounts)
	s.feed = feed.New(feed.Config{Replica: r, Typing: typing, Site: "site", Boot: 1})
	sink.Tell(func(c replica.Commit) {
		s.sessions.Committed(c)
		s.feed.Committed(c)
	})
	devices := keys.New(keys.Config{Replica: r, Server: "h", Devices: func(kv.Reader, id.UserID) []keys.Device { return nil }})
	t.Cleanup(func() {
		rooms.Close()
		s.feed.Close()
		devices.Close()
		typing.Close()
	})
	api, err := client.New(client.Config{Sessions: s, Fresh: r, State: r, Limits: client.Limits{Off: true}, Deadline: time.Minute},
		client.Routes(client.Endpoints{
			Meta:     client.Meta{Server: "h"},
			Accounts: client.Accounts{Service: accounts, Registration: client.Registration{Open: true}},
			Rooms:    client.Rooms{Rooms: rooms, Account: accounts, SyncPlace: s.feed.Place},
			Keys:     client.Keys{Service: devices, Changes: s.feed.KeyChanges},
			Sync:     client.Sync{Feed: s.feed, Typing: typing, Rows: r.Rows()},
		}))
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// Authenticate implements client.Sessions.
func (s *site) Authenticate(ctx context.Context, token string) (client.Session, error) {
	ses, err := s.sessions.Authenticate(ctx, token)
	return client.Session(ses), err
}

// answer is what came back.
type answer struct {
	status  int
	errcode string
	body    []byte
}

func (a *answer) String() string { return fmt.Sprintf("%d %s", a.status, a.errcode) }

// ask makes a request; the path is below /_matrix/client/v3.
func ask(ctx context.Context, api http.Handler, token, method, path, body string) *answer {
	r := httptest.NewRequestWithContext(ctx, method, "/_matrix/client/v3"+path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	a := &answer{status: w.Code, body: w.Body.Bytes()}
	var e struct{ Errcode string }
	if a.status != http.StatusOK && json.Unmarshal(a.body, &e) == nil {
		a.errcode = e.Errcode
	}
	return a
}
