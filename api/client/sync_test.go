package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"bongsu/account"
	"bongsu/ephemeral"
	"bongsu/feed"
	"bongsu/id"
	"bongsu/journal/mem"
	"bongsu/keys"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/room"
)

// syncAPI serves rooms and syncs to amy and ben; users need no accounts.
type syncAPI struct {
	*testAPI
	feed *feed.Feed
}

func newSyncAPI(t *testing.T) *syncAPI {
	t.Helper()
	db, err := kv.Open(kv.Config{MemTable: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	j := mem.NewStore(4).Open(nil)
	r, err := replica.Open(t.Context(), replica.Config{DB: db, Journal: j, Site: "site", Boot: 1, Rules: 3,
		Machines: []replica.Machine{account.Machine(), room.Machine(), keys.Machine()}})
	if err != nil {
		t.Fatal(err)
	}
	sa := &syncAPI{}
	typing := ephemeral.New(ephemeral.Config{Changed: func(in id.RoomID) { sa.feed.TypingChanged(in) }})
	presence := ephemeral.NewPresence(ephemeral.PresenceConfig{Changed: func(u id.UserID) { sa.feed.PresenceChanged(u) }})
	sa.feed = feed.New(feed.Config{Replica: r, Typing: typing, Presence: presence, Site: "site", Boot: 1})
	if err := r.Start(t.Context(), sa.feed.Committed); err != nil {
		t.Fatal(err)
	}
	rooms := room.New(room.Config{Replica: r, Server: "example.org", ReceiptDelay: time.Millisecond,
		Profile: func(kv.Reader, id.UserID) (room.Profile, bool) { return room.Profile{}, true }})
	accounts := account.New(account.Config{Replica: r, Server: "example.org"})
	sa.testAPI = newTestAPI(t, nil, append(
		Rooms{Rooms: rooms, Account: accounts, SyncPlace: sa.feed.Place}.Routes(),
		Sync{Feed: sa.feed, Typing: typing, Presence: presence, Rows: r.Rows()}.Routes()...)...)
	sa.site.tokens["bens"] = Session{User: "@ben:example.org", Device: "TABLET"}
	t.Cleanup(func() {
		rooms.Close()
		sa.feed.Close()
		typing.Close()
		presence.Close()
		r.Close()
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return sa
}

// as calls with a token; the path is below /_matrix/client/v3.
func (sa *syncAPI) as(t *testing.T, token, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := newRequest(t, method, "/_matrix/client/v3"+path, body)
	r.Header.Set("Authorization", "Bearer "+token)
	return sa.do(r)
}

func decode(t *testing.T, w *httptest.ResponseRecorder, v any) {
	t.Helper()
	expect(t, w, 200, "")
	if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
		t.Fatal(err)
	}
}

type syncJSON struct {
	NextBatch string `json:"next_batch"`
	Rooms     struct {
		Join map[string]struct {
			Timeline struct {
				Events    []struct{ Content struct{ Body string } }
				Limited   bool
				PrevBatch string `json:"prev_batch"`
			}
			Ephemeral struct {
				Events []struct {
					Type    string
					Content json.RawMessage
				}
			}
		}
	}
}

func TestSyncEndpoints(t *testing.T) {
	sa := newSyncAPI(t)
	var made struct {
		RoomID string `json:"room_id"`
	}
	decode(t, sa.as(t, "amys", "POST", "/createRoom", `{"preset":"public_chat"}`), &made)
	in := "/rooms/" + url.PathEscape(made.RoomID)
	expect(t, sa.as(t, "bens", "POST", in+"/join", `{}`), 200, "")
	var first syncJSON
	decode(t, sa.as(t, "bens", "GET", "/sync", ""), &first)

	typing := in + "/typing/@ben:example.org"
	stranger := "/rooms/!nowhere:example.org/typing/@ben:example.org"
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		errcode                  string
	}{
		{"since that is none", "GET", "/sync?since=x", "", 400, "M_INVALID_PARAM"},
		{"since that is a page", "GET", "/sync?since=" + url.QueryEscape("pAAA"), "", 400, "M_INVALID_PARAM"},
		{"since with more", "GET", "/sync?since=" + first.NextBatch + "A", "", 400, "M_INVALID_PARAM"},
		{"since of NUL", "GET", "/sync?since=%00", "", 400, "M_INVALID_PARAM"},
		{"negative timeout", "GET", "/sync?timeout=-1", "", 400, "M_INVALID_PARAM"},
		{"timeout that is no number", "GET", "/sync?timeout=soon", "", 400, "M_INVALID_PARAM"},
		{"full_state", "GET", "/sync?full_state=maybe", "", 400, "M_INVALID_PARAM"},
		{"set_presence", "GET", "/sync?set_presence=asleep", "", 400, "M_INVALID_PARAM"},
		{"presence", "GET", "/sync?set_presence=offline", "", 200, ""},
		{"filter that is not there", "GET", "/sync?filter=abc", "", 400, "M_INVALID_PARAM"},
		{"filter that is no JSON", "GET", "/sync?filter=" + url.QueryEscape(`{"room"`), "", 400, "M_NOT_JSON"},
		{"filter of wrong types", "GET", "/sync?filter=" + url.QueryEscape(`{"room":{"timeline":{"limit":"x"}}}`), "", 400, "M_BAD_JSON"},
		{"negative limit", "GET", "/sync?filter=" + url.QueryEscape(`{"room":{"timeline":{"limit":-1}}}`), "", 400, "M_BAD_JSON"},
		{"deep filter", "GET", "/sync?filter=" + url.QueryEscape(strings.Repeat(`{"a":`, 200)+`1`+strings.Repeat(`}`, 200)), "", 400, "M_BAD_JSON"},
		{"method", "POST", "/sync", `{}`, 405, "M_UNRECOGNIZED"},
		{"full state", "GET", "/sync?full_state=true&timeout=100000&since=" + first.NextBatch, "", 200, ""},
		{"nothing new", "GET", "/sync?timeout=1&since=" + first.NextBatch, "", 200, ""},

		{"typing", "PUT", typing, `{"typing":true,"timeout":30000}`, 200, ""},
		{"typing for as long as usual", "PUT", typing, `{"typing":true}`, 200, ""},
		{"typing for ever", "PUT", typing, `{"typing":true,"timeout":9007199254740991}`, 200, ""},
		{"typing no longer", "PUT", typing, `{"typing":false}`, 200, ""},
		{"typing of another", "PUT", in + "/typing/@amy:example.org", `{"typing":true}`, 403, "M_FORBIDDEN"},
		{"typing elsewhere", "PUT", stranger, `{"typing":true}`, 403, "M_FORBIDDEN"},
		{"typing, or not", "PUT", typing, `{}`, 400, "M_MISSING_PARAM"},
		{"typing, wrong", "PUT", typing, `{"typing":1}`, 400, "M_BAD_JSON"},
		{"typing, not JSON", "PUT", typing, `{"typing"`, 400, "M_NOT_JSON"},
		{"typing for a negative time", "PUT", typing, `{"typing":true,"timeout":-1}`, 400, "M_INVALID_PARAM"},
		{"typing of nobody", "PUT", in + "/typing/ben", `{"typing":true}`, 400, "M_INVALID_PARAM"},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, sa.as(t, "bens", c.method, c.path, c.body), c.status, c.errcode) })
	}
	expect(t, sa.do(newRequest(t, "GET", "/_matrix/client/v3/sync", "")), 401, "M_MISSING_TOKEN")
}

// TestSyncAndPages waits for a message, and pages from what /sync says: from prev_batch and from next_batch.
func TestSyncAndPages(t *testing.T) {
	sa := newSyncAPI(t)
	var made struct {
		RoomID string `json:"room_id"`
	}
	decode(t, sa.as(t, "amys", "POST", "/createRoom", `{"preset":"public_chat"}`), &made)
	in := "/rooms/" + url.PathEscape(made.RoomID)
	expect(t, sa.as(t, "bens", "POST", in+"/join", `{}`), 200, "")
	var got syncJSON
	decode(t, sa.as(t, "bens", "GET", "/sync", ""), &got)

	arrived := make(chan syncJSON, 1)
	since := got.NextBatch
	go func() {
		var res syncJSON
		decode(t, sa.as(t, "bens", "GET", "/sync?timeout=60000&since="+since, ""), &res)
		arrived <- res
	}()
	for sa.feed.Waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	expect(t, sa.as(t, "amys", "PUT", in+"/send/m.room.message/1", `{"msgtype":"m.text","body":"1"}`), 200, "")
	got = <-arrived
	if j := got.Rooms.Join[made.RoomID]; len(j.Timeline.Events) != 1 || j.Timeline.Events[0].Content.Body != "1" {
		t.Fatalf("%+v", got)
	}
	for _, n := range []string{"2", "3", "4", "5"} {
		expect(t, sa.as(t, "amys", "PUT", in+"/send/m.room.message/"+n, `{"msgtype":"m.text","body":"`+n+`"}`), 200, "")
	}
	before := got.NextBatch
	decode(t, sa.as(t, "bens", "GET", "/sync?since="+before+"&filter="+url.QueryEscape(`{"room":{"timeline":{"limit":2}}}`), ""), &got)
	j := got.Rooms.Join[made.RoomID]
	if len(j.Timeline.Events) != 2 || !j.Timeline.Limited {
		t.Fatalf("%+v", got)
	}
	bodies := func(query string) string {
		var page struct {
			Chunk []struct{ Content struct{ Body string } }
		}
		decode(t, sa.as(t, "bens", "GET", in+"/messages?"+query, ""), &page)
		var out []string
		for _, e := range page.Chunk {
			out = append(out, e.Content.Body)
		}
		return strings.Join(out, " ")
	}
	for query, want := range map[string]string{
		"dir=b&limit=3&from=" + j.Timeline.PrevBatch:                   "3 2 1",
		"dir=b&limit=9&from=" + j.Timeline.PrevBatch + "&to=" + before: "3 2",
		"dir=f&limit=9&from=" + before:                                 "2 3 4 5",
		"dir=b&limit=2&from=" + got.NextBatch:                          "5 4",
	} {
		if got := bodies(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// TestSyncDrains: a process that is about to stop sends those who wait home.
func TestSyncDrains(t *testing.T) {
	sa := newSyncAPI(t)
	var got syncJSON
	decode(t, sa.as(t, "bens", "GET", "/sync", ""), &got)
	done := make(chan int, 1)
	go func() { done <- sa.as(t, "bens", "GET", "/sync?timeout=60000&since="+got.NextBatch, "").Code }()
	for sa.feed.Waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	sa.Drain()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	select {
	case code := <-done:
		if code != 200 {
			t.Error(code)
		}
	case <-ctx.Done():
		t.Error("still waiting")
	}
}

func TestPresenceEndpoints(t *testing.T) {
	sa := newSyncAPI(t)
	var made struct {
		ID string `json:"room_id"`
	}
	decode(t, sa.as(t, "amys", "POST", "/createRoom", `{"preset":"public_chat"}`), &made)
	decode(t, sa.as(t, "bens", "POST", "/join/"+url.PathEscape(made.ID), `{}`), &made)
	const amy = "/presence/@amy:example.org/status"
	get := func(want string) {
		t.Helper()
		w := sa.as(t, "bens", "GET", amy, "")
		var got map[string]any
		decode(t, w, &got)
		delete(got, "last_active_ago")
		if out, err := json.Marshal(got); err != nil || string(out) != want {
			t.Errorf("%s, want %s", out, want)
		}
	}
	get(`{"currently_active":false,"presence":"offline"}`)
	expect(t, sa.as(t, "amys", "GET", "/sync?set_presence=offline", ""), 200, "")
	get(`{"currently_active":false,"presence":"offline"}`)
	expect(t, sa.as(t, "amys", "GET", "/sync", ""), 200, "")
	get(`{"currently_active":true,"presence":"online"}`)
	expect(t, sa.as(t, "amys", "PUT", amy, `{"presence":"unavailable","status_msg":"away"}`), 200, "")
	get(`{"currently_active":false,"presence":"unavailable","status_msg":"away"}`)
	expect(t, sa.as(t, "amys", "PUT", amy, `{"presence":"online"}`), 200, "")
	get(`{"currently_active":true,"presence":"online"}`)
	for _, c := range []struct {
		method, path, body string
		status             int
		errcode            string
	}{
		{"PUT", amy, `{}`, 400, "M_MISSING_PARAM"},
		{"PUT", amy, `{"presence":"busy"}`, 400, "M_INVALID_PARAM"},
		{"PUT", amy, `{"presence":1}`, 400, "M_BAD_JSON"},
		{"PUT", amy, `{"presence":"online","status_msg":"` + strings.Repeat("x", ephemeral.MaxStatus+1) + `"}`, 400, "M_INVALID_PARAM"},
		{"PUT", "/presence/@ben:example.org/status", `{"presence":"online"}`, 403, "M_FORBIDDEN"},
		{"GET", "/presence/@eve:example.org/status", ``, 403, "M_FORBIDDEN"},
		{"GET", "/presence/eve/status", ``, 400, "M_INVALID_PARAM"},
		{"GET", "/sync?set_presence=busy", ``, 400, "M_INVALID_PARAM"},
	} {
		expect(t, sa.as(t, "amys", c.method, c.path, c.body), c.status, c.errcode)
	}
}

// TestLongSync: an answer of several parts is what it should be, without a length that nobody knows in advance.
func TestLongSync(t *testing.T) {
	sa := newSyncAPI(t)
	var made struct {
		ID string `json:"room_id"`
	}
	for i := range 2 {
		decode(t, sa.as(t, "amys", "POST", "/createRoom", `{"preset":"public_chat"}`), &made)
		for k := range 10 {
			body := `{"body":"` + strings.Repeat("long ", 10_000) + `"}`
			expect(t, sa.as(t, "amys", "PUT", fmt.Sprintf("/rooms/%s/send/m.room.message/%d-%d", url.PathEscape(made.ID), i, k), body), 200, "")
		}
	}
	var out struct {
		NextBatch string `json:"next_batch"`
		Rooms     struct {
			Join map[string]struct{ Timeline struct{ Events []any } }
		}
	}
	w := sa.as(t, "amys", "GET", "/sync", "")
	decode(t, w, &out)
	if w.Body.Len() < 1_000_000 || w.Header().Get("Content-Length") != "" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d bytes, %v", w.Body.Len(), w.Header())
	}
	for r, j := range out.Rooms.Join {
		if len(j.Timeline.Events) < 16 {
			t.Errorf("%d events in %s", len(j.Timeline.Events), r)
		}
	}
	if _, err := feed.ParseToken(out.NextBatch); err != nil || len(out.Rooms.Join) != 2 {
		t.Errorf("%d rooms, %v", len(out.Rooms.Join), err)
	}
}
