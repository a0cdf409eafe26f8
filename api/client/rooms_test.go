package client

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"bongsu/account"
	"bongsu/auth"
	"bongsu/ephemeral"
	"bongsu/feed"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
	"bongsu/room"
)

// roomSite is the API with rooms and /sync over a real replica; amy, bob, cat and dan are logged in.
type roomSite struct {
	*testAPI
	rooms    *room.Service
	accounts *account.Service
	rows     func() kv.Reader
}

func newRoomSite(t testing.TB) *roomSite {
	t.Helper()
	var sink replicatest.Sink
	r := replicatest.New(t, replicatest.Options{Rules: 3, Machines: []replica.Machine{room.Machine(), account.Machine()}, Sink: sink.Committed})
	rooms := room.New(room.Config{Replica: r, Server: "h", ReceiptDelay: time.Millisecond, MayInvite: account.MayInvite,
		Profile: func(_ kv.Reader, u id.UserID) (room.Profile, bool) {
			return room.Profile{DisplayName: u.Localpart()}, !strings.HasPrefix(string(u), "@nobody")
		}})
	var f *feed.Feed
	typing := ephemeral.New(ephemeral.Config{Changed: func(in id.RoomID) { f.TypingChanged(in) }})
	f = feed.New(feed.Config{Replica: r, Typing: typing, Site: "site", Boot: 1})
	sink.Tell(f.Committed)
	t.Cleanup(func() {
		rooms.Close()
		f.Close()
		typing.Close()
	})
	accounts := account.New(account.Config{Replica: r, Server: "h", Passwords: auth.NewPasswords(auth.Config{Memory: 8, Passes: 1})})
	if _, err := accounts.AddUser(t.Context(), "amy", "a long password", false); err != nil {
		t.Fatal(err)
	}
	routes := slices.Concat(Rooms{Rooms: rooms, Account: accounts, SyncPlace: f.Place}.Routes(), Sync{Feed: f, Typing: typing, Rows: r.Rows()}.Routes())
	s := &roomSite{testAPI: newTestAPI(t, func(c *Config) {
		c.Fresh = r
		tokens := map[string]Session{}
		for _, u := range []string{"amy", "bob", "cat", "dan"} {
			tokens[u] = Session{User: id.UserID("@" + u + ":h"), Device: id.DeviceID(strings.ToUpper(u))}
		}
		c.Sessions, c.Limits.Off = &fakeSite{tokens: tokens}, true
	}, routes...), rooms: rooms, accounts: accounts, rows: r.Rows}
	return s
}

// as sends a request; $1, $2 … in path and body stand for the last arguments.
func (s *roomSite) as(t testing.TB, user, call, body string, in ...string) *httptest.ResponseRecorder {
	t.Helper()
	method, path, _ := strings.Cut(call, " ")
	var plain, escaped []string
	for i, v := range in {
		name := fmt.Sprintf("$%d", i+1)
		plain, escaped = append(plain, name, v), append(escaped, name, url.PathEscape(v))
	}
	path, body = strings.NewReplacer(escaped...).Replace(path), strings.NewReplacer(plain...).Replace(body)
	if !strings.HasPrefix(path, "v1/") && !strings.HasPrefix(path, "unstable/") {
		path = "v3/" + path
	}
	r := newRequest(t, method, "/_matrix/client/"+path, body)
	r.Header.Set("Authorization", "Bearer "+user)
	return s.do(r)
}

// get is as for what must succeed, decoded.
func (s *roomSite) get(t testing.TB, user, call, body string, in ...string) map[string]any {
	t.Helper()
	w := s.as(t, user, call, body, in...)
	var out map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 200 {
		t.Fatalf("%s: %d %s", call, w.Code, w.Body)
	}
	return out
}

func (s *roomSite) create(t testing.TB, user, body string) string {
	t.Helper()
	return s.get(t, user, "POST createRoom", body)["room_id"].(string) //nolint:errcheck // or the test panics
}

func (s *roomSite) say(t testing.TB, user, in, txn, text string) string {
	t.Helper()
	return s.get(t, user, "PUT rooms/$1/send/m.room.message/"+txn, `{"body":"`+text+`"}`, in)["event_id"].(string) //nolint:errcheck // as above
}

// said are the bodies of the messages in a list of events; other events are called by their type.
func said(events any) string {
	var out []string
	for _, ev := range events.([]any) { //nolint:errcheck // or the test panics
		e := ev.(map[string]any)                    //nolint:errcheck // as above
		content, _ := e["content"].(map[string]any) //nolint:errcheck // as above
		if b, ok := content["body"].(string); ok {
			out = append(out, b)
		} else {
			out = append(out, strings.TrimPrefix(e["type"].(string), "m.room.")) //nolint:errcheck // as above
		}
	}
	return strings.Join(out, " ")
}

func TestRoomErrors(t *testing.T) {
	s := newRoomSite(t)
	in := s.create(t, "amy", `{"name":"n"}`)
	e := s.say(t, "amy", in, "1", "x")
	open := s.create(t, "amy", `{"preset":"public_chat"}`)
	for _, c := range []struct {
		user, call, body string
		status           int
		errcode          string
	}{
		{"amy", "POST createRoom", `{"room_version":"1"}`, 400, "M_UNSUPPORTED_ROOM_VERSION"},
		{"amy", "POST createRoom", `{"preset":"x"}`, 400, "M_INVALID_PARAM"},
		{"amy", "POST createRoom", `{"name":1}`, 400, "M_BAD_JSON"},
		{"amy", "POST createRoom", `{"invite":["x"]}`, 400, "M_INVALID_PARAM"},
		{"amy", "POST createRoom", `{"invite":["@nobody:h"]}`, 404, "M_NOT_FOUND"},
		{"amy", "POST createRoom", `{`, 400, "M_NOT_JSON"},
		{"amy", "POST createRoom", ``, 400, "M_NOT_JSON"},
		{"amy", "POST createRoom", `{"initial_state":[{"type":"m.room.power_levels","content":{"users":{"@amy:h":100}}}]}`, 400, "M_INVALID_ROOM_STATE"},

		{"bob", "POST rooms/$1/join", ``, 403, "M_FORBIDDEN"},
		{"bob", "POST rooms/$1/join", `{"reason":1}`, 400, "M_BAD_JSON"},
		{"bob", "POST rooms/x/join", ``, 400, "M_INVALID_PARAM"},
		{"bob", "POST join/!none", ``, 404, "M_NOT_FOUND"},
		{"bob", "POST join/%23none:h", ``, 404, "M_NOT_FOUND"},
		{"bob", "POST join/%23none", ``, 400, "M_INVALID_PARAM"},
		{"bob", "POST join/none", ``, 400, "M_INVALID_PARAM"},
		{"bob", "POST knock/$1", ``, 403, "M_FORBIDDEN"},
		{"bob", "POST rooms/$1/leave", ``, 403, "M_FORBIDDEN"},
		{"bob", "POST rooms/!none/leave", ``, 403, "M_FORBIDDEN"},
		{"bob", "POST rooms/$1/forget", ``, 403, "M_FORBIDDEN"},
		{"amy", "POST rooms/$1/forget", ``, 400, "M_INVALID_PARAM"},
		{"bob", "POST rooms/$1/invite", `{"user_id":"@cat:h"}`, 403, "M_FORBIDDEN"},
		{"amy", "POST rooms/$1/invite", `{"user_id":"@amy:h"}`, 403, "M_FORBIDDEN"},
		{"amy", "POST rooms/$1/invite", `{}`, 400, "M_MISSING_PARAM"},
		{"amy", "POST rooms/$1/invite", `{"user_id":7}`, 400, "M_BAD_JSON"},
		{"amy", "POST rooms/$1/invite", `{"user_id":"bob"}`, 400, "M_INVALID_PARAM"},
		{"amy", "POST rooms/$1/invite", `{"user_id":"@bob:elsewhere"}`, 403, "M_FORBIDDEN"},
		{"amy", "POST rooms/$1/invite", `{"medium":"email","address":"a@b","id_server":"x"}`, 400, "M_UNKNOWN"},
		{"amy", "POST rooms/$1/kick", `{"user_id":"@bob:h"}`, 403, "M_FORBIDDEN"},
		{"amy", "POST rooms/$1/unban", `{"user_id":"@bob:h"}`, 403, "M_FORBIDDEN"},
		{"bob", "POST rooms/$1/ban", `{"user_id":"@amy:h"}`, 403, "M_FORBIDDEN"},

		{"bob", "PUT rooms/$1/send/m.room.message/1", `{}`, 403, "M_FORBIDDEN"},
		{"bob", "PUT rooms/!none/send/m.room.message/1", `{}`, 403, "M_FORBIDDEN"},
		{"amy", "PUT rooms/$1/send/m.room.message/2", `[]`, 400, "M_BAD_JSON"},
		{"amy", "PUT rooms/$1/send/m.room.message/2", `{"a":1.5}`, 400, "M_BAD_JSON"},
		{"amy", "PUT rooms/$1/send/m.room.message/2", `{"a":9007199254740992}`, 400, "M_BAD_JSON"},
		{"amy", "PUT rooms/$1/send/m.room.message/2", `{"a":1,"a":2}`, 400, "M_BAD_JSON"},
		{"amy", "PUT rooms/$1/send/m.room.message/2", "{\"a\":\"\xff\"}", 400, "M_NOT_JSON"},
		{"amy", "PUT rooms/$1/send/m.room.message/2", ``, 400, "M_NOT_JSON"},
		{"amy", "PUT rooms/$1/send/m.room.message/2", `{"a":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`, 400, "M_BAD_JSON"},
		{"amy", "PUT rooms/$1/send/m.room.message/2", `{"a":"` + strings.Repeat("x", 65536) + `"}`, 413, "M_TOO_LARGE"},
		{"amy", "PUT rooms/$1/send/m.room.message/" + strings.Repeat("x", 256), `{}`, 400, "M_INVALID_PARAM"},
		{"amy", "PUT rooms/$1/send/" + strings.Repeat("x", 256) + "/1", `{}`, 413, "M_TOO_LARGE"},
		{"amy", "PUT rooms/$1/redact/$none/1", `{}`, 404, "M_NOT_FOUND"},
		{"amy", "PUT rooms/$1/redact/none/1", `{}`, 400, "M_INVALID_PARAM"},
		{"bob", "PUT rooms/$1/redact/$2/1", `{}`, 403, "M_FORBIDDEN"},
		{"amy", "PUT rooms/$1/state/m.room.create", `{}`, 403, "M_FORBIDDEN"},
		{"amy", "PUT rooms/$1/state/m.room.member/bob", `{"membership":"invite"}`, 400, "M_INVALID_PARAM"},
		{"amy", "PUT rooms/$1/state/m.room.member/@bob:h", `{"membership":"join"}`, 403, "M_FORBIDDEN"},

		{"bob", "GET rooms/$1/state", ``, 403, "M_FORBIDDEN"},
		{"bob", "GET rooms/!none/state", ``, 403, "M_FORBIDDEN"},
		{"amy", "GET rooms/$1/state/none", ``, 404, "M_NOT_FOUND"},
		{"bob", "GET rooms/$1/state/m.room.name", ``, 403, "M_FORBIDDEN"},
		{"amy", "GET rooms/$1/state/m.room.name?format=x", ``, 400, "M_INVALID_PARAM"},
		{"bob", "GET rooms/$1/members", ``, 403, "M_FORBIDDEN"},
		{"amy", "GET rooms/$1/members?membership=x", ``, 400, "M_INVALID_PARAM"},
		{"amy", "GET rooms/$1/members?at=x", ``, 400, "M_INVALID_PARAM"},
		{"bob", "GET rooms/$1/joined_members", ``, 403, "M_FORBIDDEN"},
		{"bob", "GET rooms/$1/messages?dir=b", ``, 403, "M_FORBIDDEN"},
		{"amy", "GET rooms/$1/messages", ``, 400, "M_MISSING_PARAM"},
		{"amy", "GET rooms/$1/messages?dir=x", ``, 400, "M_INVALID_PARAM"},
		{"amy", "GET rooms/$1/messages?dir=b&limit=-1", ``, 400, "M_INVALID_PARAM"},
		{"amy", "GET rooms/$1/messages?dir=b&from=zzz", ``, 400, "M_INVALID_PARAM"},
		{"amy", "GET rooms/$1/messages?dir=b&from=p", ``, 400, "M_INVALID_PARAM"},
		{"amy", "GET rooms/$1/messages?dir=b&filter=x", ``, 400, "M_NOT_JSON"},
		{"amy", "GET rooms/$1/messages?dir=b&filter=%7B%22limit%22:-1%7D", ``, 400, "M_BAD_JSON"},
		{"bob", "GET rooms/$1/event/$2", ``, 404, "M_NOT_FOUND"},
		{"amy", "GET rooms/$1/event/$none", ``, 404, "M_NOT_FOUND"},
		{"amy", "GET rooms/$3/event/$2", ``, 404, "M_NOT_FOUND"},
		{"bob", "GET rooms/$1/context/$2", ``, 404, "M_NOT_FOUND"},
		{"amy", "GET rooms/$1/context/$2?limit=-1", ``, 400, "M_INVALID_PARAM"},

		{"amy", "POST rooms/$1/receipt/x/$2", `{}`, 400, "M_INVALID_PARAM"},
		{"amy", "POST rooms/$1/receipt/m.read/$2", `{"thread_id":""}`, 400, "M_INVALID_PARAM"},
		{"amy", "POST rooms/$1/receipt/m.read/$2", `{"thread_id":1}`, 400, "M_BAD_JSON"},
		{"amy", "POST rooms/$1/receipt/m.fully_read/$2", `{"thread_id":"main"}`, 400, "M_INVALID_PARAM"},
		{"bob", "POST rooms/$1/receipt/m.read/$2", `{}`, 403, "M_FORBIDDEN"},
		{"bob", "POST rooms/$1/receipt/m.fully_read/$2", `{}`, 403, "M_FORBIDDEN"},
		{"amy", "POST rooms/$1/receipt/m.read/$none", `{}`, 404, "M_NOT_FOUND"},
		{"amy", "POST rooms/$1/read_markers", `{"m.read":"x"}`, 400, "M_INVALID_PARAM"},
		{"amy", "POST rooms/$1/read_markers", ``, 400, "M_NOT_JSON"},
		{"amy", "POST rooms/$1/read_markers", `{"m.fully_read":"$none"}`, 404, "M_NOT_FOUND"},
		{"amy", "POST rooms/$1/receipt/m.fully_read/$none", `{}`, 404, "M_NOT_FOUND"},
		{"amy", "POST rooms/$1/receipt/m.read/$2", `{"thread_id":"$elsewhere"}`, 400, "M_INVALID_PARAM"},
	} {
		t.Run(c.user+" "+c.call[:min(len(c.call), 60)]+" "+c.body[:min(len(c.body), 30)], func(t *testing.T) {
			expect(t, s.as(t, c.user, c.call, c.body, in, e, open), c.status, c.errcode)
		})
	}
}

func TestKnock(t *testing.T) {
	s := newRoomSite(t)
	in := s.create(t, "amy", `{"initial_state":[{"type":"m.room.join_rules","state_key":"","content":{"join_rule":"knock"}}]}`)
	if got := s.get(t, "bob", "POST knock/$1", `{"reason":"me too"}`, in)["room_id"]; got != in {
		t.Error(got)
	}
	if got := s.get(t, "amy", "GET rooms/$1/state/m.room.member/@bob:h", "", in); got["membership"] != "knock" || got["reason"] != "me too" {
		t.Error(got)
	}
	s.get(t, "amy", "POST rooms/$1/invite", `{"user_id":"@bob:h"}`, in)
	s.get(t, "bob", "POST rooms/$1/join", "", in)
	expect(t, s.as(t, "bob", "POST knock/$1", "", in), 403, "M_FORBIDDEN")
}

func TestRoomLife(t *testing.T) {
	s := newRoomSite(t)
	in := s.create(t, "amy", `{"name":"n","invite":["@bob:h"],"is_direct":true}`)
	if got := s.get(t, "bob", "GET joined_rooms", ""); len(got["joined_rooms"].([]any)) != 0 { //nolint:errcheck // or the test panics
		t.Error(got)
	}
	s.get(t, "bob", "POST join/$1?server_name=h", `{"reason":"hi"}`, in)
	if got := fmt.Sprint(s.get(t, "bob", "GET joined_rooms", "")); got != "map[joined_rooms:["+in+"]]" {
		t.Error(got)
	}
	if got := fmt.Sprint(s.get(t, "bob", "GET rooms/$1/joined_members", "", in)); got !=
		"map[joined:map[@amy:h:map[display_name:amy] @bob:h:map[display_name:bob]]]" {
		t.Error(got)
	}
	e := s.say(t, "amy", in, "1", "hello")
	ev := s.get(t, "amy", "GET rooms/$1/event/$2", "", in, e)
	if u := ev["unsigned"].(map[string]any); u["transaction_id"] != "1" || u["age"] == nil || ev["room_id"] != in || ev["sender"] != "@amy:h" { //nolint:errcheck // as above
		t.Errorf("%v", ev)
	}
	if ev := s.get(t, "bob", "GET rooms/$1/event/$2", "", in, e); ev["unsigned"].(map[string]any)["transaction_id"] != nil { //nolint:errcheck // as above
		t.Errorf("another's transaction id: %v", ev)
	}
	s.get(t, "amy", "PUT rooms/$1/redact/$2/1", `{"reason":"oops"}`, in, e)
	ev = s.get(t, "bob", "GET rooms/$1/event/$2", "", in, e)
	because := ev["unsigned"].(map[string]any)["redacted_because"].(map[string]any)                                                 //nolint:errcheck // as above
	if len(ev["content"].(map[string]any)) != 0 || because["redacts"] != e || because["content"].(map[string]any)["redacts"] != e { //nolint:errcheck // as above
		t.Errorf("%v", ev)
	}

	one := s.get(t, "amy", "PUT rooms/$1/state/m.room.topic/", `{"topic":"t"}`, in)
	two := s.get(t, "amy", "PUT rooms/$1/state/m.room.topic", `{"topic":"t"}`, in)
	if one["event_id"] != two["event_id"] {
		t.Error("the same state is another event")
	}
	if got := fmt.Sprint(s.get(t, "bob", "GET rooms/$1/state/m.room.topic", "", in)); got != "map[topic:t]" {
		t.Error(got)
	}
	if got := s.get(t, "bob", "GET rooms/$1/state/m.room.topic/?format=event", "", in); got["event_id"] != one["event_id"] {
		t.Error(got)
	}
	if got := s.get(t, "bob", "GET rooms/$1/state/m.room.member/@bob:h", "", in); got["membership"] != "join" || got["reason"] != "hi" {
		t.Error(got)
	}

	s.get(t, "amy", "POST rooms/$1/kick", `{"user_id":"@bob:h","reason":"bye"}`, in)
	s.get(t, "amy", "PUT rooms/$1/state/m.room.topic/", `{"topic":"secret"}`, in)
	if got := fmt.Sprint(s.get(t, "bob", "GET rooms/$1/state/m.room.topic", "", in)); got != "map[topic:t]" {
		t.Errorf("after leaving: %v", got)
	}
	chunk := s.get(t, "bob", "GET rooms/$1/members?membership=leave", "", in)["chunk"].([]any) //nolint:errcheck // as above
	if len(chunk) != 1 || !strings.Contains(fmt.Sprint(chunk), "bye") {
		t.Error(chunk)
	}
	if got := said(s.get(t, "bob", "GET rooms/$1/messages?dir=b&limit=2", "", in)["chunk"]); got != "member topic" {
		t.Errorf("after leaving: %s", got)
	}
	s.get(t, "bob", "POST rooms/$1/forget", `{}`, in)
	expect(t, s.as(t, "bob", "GET rooms/$1/messages?dir=b", "", in), 403, "M_FORBIDDEN")
	expect(t, s.as(t, "bob", "GET rooms/$1/state", "", in), 403, "M_FORBIDDEN")

	s.get(t, "amy", "POST rooms/$1/ban", `{"user_id":"@cat:h"}`, in)
	s.get(t, "amy", "POST rooms/$1/unban", `{"user_id":"@cat:h"}`, in)
	s.get(t, "amy", "POST rooms/$1/invite", `{"user_id":"@cat:h"}`, in)
	s.get(t, "cat", "POST rooms/$1/leave", ``, in)
	s.get(t, "cat", "POST rooms/$1/leave", ``, in)
	w := s.as(t, "amy", "GET rooms/$1/state", "", in)
	var state []any
	if err := json.Unmarshal(w.Body.Bytes(), &state); err != nil || len(state) != 10 {
		t.Errorf("%d pieces of state: %s", len(state), w.Body)
	}
}

func TestMessagesPages(t *testing.T) {
	s := newRoomSite(t)
	in := s.create(t, "amy", `{"preset":"public_chat"}`)
	var want []string
	for i := range 25 {
		s.say(t, "amy", in, fmt.Sprint(i), fmt.Sprint(i))
		want = append(want, fmt.Sprint(i))
	}
	only := "&filter=" + url.QueryEscape(`{"types":["m.room.mess*"]}`)
	for _, dir := range []string{"f", "b"} {
		var got []string
		from, pages := "", 0
		for {
			page := s.get(t, "amy", "GET rooms/$1/messages?limit=7&dir="+dir+from+only, "", in)
			if b := said(page["chunk"]); b != "" {
				got = append(got, strings.Fields(b)...)
			}
			pages++
			end, more := page["end"].(string)
			if !more {
				break
			}
			from = "&from=" + end
		}
		if dir == "b" {
			slices.Reverse(got)
		}
		if !slices.Equal(got, want) || pages < 4 {
			t.Errorf("dir %s: %v in %d pages", dir, got, pages)
		}
	}
	// There and back again, and up to a bound.
	page := s.get(t, "amy", "GET rooms/$1/messages?dir=b&limit=3", "", in)
	end := page["end"].(string) //nolint:errcheck // or the test panics
	forward := s.get(t, "amy", "GET rooms/$1/messages?dir=f&from="+end, "", in)
	if said(forward["chunk"]) != "22 23 24" || forward["start"] != end || forward["end"] != nil {
		t.Error(forward)
	}
	if got := said(s.get(t, "amy", "GET rooms/$1/messages?dir=b&to="+end, "", in)["chunk"]); got != "24 23 22" {
		t.Error(got)
	}
	lazy := s.get(t, "amy", "GET rooms/$1/messages?dir=b&filter="+url.QueryEscape(`{"lazy_load_members":true,"limit":2}`), "", in)
	if said(lazy["chunk"]) != "24 23" || said(lazy["state"]) != "member" {
		t.Error(lazy)
	}
	for filter, want := range map[string]string{
		`{"not_types":["m.room.message"]}`: "guest_access history_visibility join_rules",
		`{"senders":["@bob:h"]}`:           "",
		`{"not_senders":["@amy:h"]}`:       "",
		`{"contains_url":true}`:            "",
		`{"not_rooms":["` + in + `"]}`:     "",
		`{"types":[]}`:                     "",
		`{"types":["m.*.name","m*x*age"]}`: "",
	} {
		page := s.get(t, "amy", "GET rooms/$1/messages?dir=b&limit=3&filter="+url.QueryEscape(filter), "", in)
		if got := said(page["chunk"]); got != want {
			t.Errorf("%s: %s", filter, got)
		}
	}
}

func TestContext(t *testing.T) {
	s := newRoomSite(t)
	in := s.create(t, "amy", `{}`)
	var events []string
	for i := range 9 {
		events = append(events, s.say(t, "amy", in, fmt.Sprint(i), fmt.Sprint(i)))
	}
	c := s.get(t, "amy", "GET rooms/$1/context/$2?limit=5", "", in, events[4])
	if said(c["events_before"]) != "3 2" || said(c["events_after"]) != "5 6 7" || said([]any{c["event"]}) != "4" {
		t.Error(c)
	}
	if got := said(s.get(t, "amy", "GET rooms/$1/messages?dir=b&limit=2&from="+c["start"].(string), "", in)["chunk"]); got != "1 0" { //nolint:errcheck // or the test panics
		t.Error(got)
	}
	if got := said(s.get(t, "amy", "GET rooms/$1/messages?dir=f&from="+c["end"].(string), "", in)["chunk"]); got != "8" { //nolint:errcheck // as above
		t.Error(got)
	}
	if len(c["state"].([]any)) != 6 { //nolint:errcheck // as above
		t.Error(c["state"])
	}
	c = s.get(t, "amy", "GET rooms/$1/context/$2?limit=0", "", in, events[0])
	if said(c["events_before"]) != "" || said(c["events_after"]) != "" {
		t.Error(c)
	}
}

// TestBlockedInvites: whoever does not want invitations gets none, on any of the ways.
func TestBlockedInvites(t *testing.T) {
	s := newRoomSite(t)
	if err := s.accounts.SetData(t.Context(), "@amy:h", "", "m.invite_permission_config", json.RawMessage(`{"default_action":"block"}`)); err != nil {
		t.Fatal(err)
	}
	in := s.create(t, "bob", `{}`)
	for _, c := range []struct{ call, body string }{
		{"POST rooms/$1/invite", `{"user_id":"@amy:h"}`},
		{"PUT rooms/$1/state/m.room.member/@amy:h", `{"membership":"invite"}`},
		{"POST createRoom", `{"invite":["@amy:h"]}`},
		{"POST createRoom", `{"initial_state":[{"type":"m.room.member","state_key":"@amy:h","content":{"membership":"invite"}}]}`},
	} {
		expect(t, s.as(t, "bob", c.call, c.body, in), 403, "M_INVITE_BLOCKED")
	}
	s.get(t, "bob", "POST rooms/$1/invite", `{"user_id":"@cat:h"}`, in)
}

func TestReadMarkers(t *testing.T) {
	s := newRoomSite(t)
	in := s.create(t, "amy", `{}`)
	one, two := s.say(t, "amy", in, "1", "one"), s.say(t, "amy", in, "2", "two")
	s.get(t, "amy", "POST rooms/$1/receipt/m.read/$2", ``, in, one)
	s.get(t, "amy", "POST rooms/$1/receipt/m.read/$2", `{"thread_id":"main"}`, in, one)
	s.get(t, "amy", "POST rooms/$1/read_markers", `{"m.fully_read":"$2","m.read.private":"$2"}`, in, two)
	v, ok := room.Open(s.rows(), id.RoomID(in))
	if !ok {
		t.Fatal("no room")
	}
	var got []string
	for rc := range v.ReceiptsOf("@amy:h") {
		got = append(got, rc.Type+" "+rc.Thread+" "+map[id.EventID]string{id.EventID(one): "one", id.EventID(two): "two"}[rc.Event])
	}
	slices.Sort(got)
	if fmt.Sprint(got) != "[m.read  one m.read main one m.read.private  two]" {
		t.Errorf("%q", got)
	}
	e, ok := account.Data(s.rows(), "@amy:h", id.RoomID(in), "m.fully_read")
	if !ok || string(e.Content) != `{"event_id":"`+two+`"}` {
		t.Errorf("%s", e.Content)
	}
	three := s.say(t, "amy", in, "3", "three")
	for _, step := range []struct{ to, want, why string }{{one, two, "it does not go back"}, {three, three, "it goes on"}} {
		s.get(t, "amy", "POST rooms/$1/receipt/m.fully_read/$2", ``, in, step.to)
		if e, _ := account.Data(s.rows(), "@amy:h", id.RoomID(in), "m.fully_read"); string(e.Content) != `{"event_id":"`+step.want+`"}` {
			t.Errorf("%s: %s", step.why, e.Content)
		}
	}
}

// TestRetriedSend: a repeated PUT has one effect and the same answer.
func TestRetriedSend(t *testing.T) {
	s := newRoomSite(t)
	in := s.create(t, "amy", `{}`)
	if a, b := s.say(t, "amy", in, "t%2F1", "x"), s.say(t, "amy", in, "t%2F1", "x"); a != b {
		t.Error("two events")
	}
	if got := said(s.get(t, "amy", "GET rooms/$1/messages?dir=b&limit=2", "", in)["chunk"]); got != "x guest_access" {
		t.Error(got)
	}
}
