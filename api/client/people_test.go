package client

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"bongsu/account"
	"bongsu/auth"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
	"bongsu/room"
)

// TestSearchUserDirectory: amy shares a room with bob, cat is in a public room, dan in a room that the world may read and does not want
// to be found, eve and fay are in rooms of their own.
func TestSearchUserDirectory(t *testing.T) {
	r := replicatest.New(t, replicatest.Options{Machines: []replica.Machine{room.Machine(), account.Machine()}})
	rooms := room.New(room.Config{Replica: r, Server: "h", Profile: func(kv.Reader, id.UserID) (room.Profile, bool) { return room.Profile{}, true }})
	t.Cleanup(rooms.Close)
	accounts := account.New(account.Config{Replica: r, Server: "h", Passwords: auth.NewPasswords(auth.Config{Memory: 8, Passes: 1})})
	sessions := map[string]Session{}
	for _, u := range []string{"amy", "bob", "cat", "dan", "eve", "fay"} {
		user, err := accounts.AddUser(t.Context(), u, "a long password", false)
		if err == nil {
			err = accounts.SetProfile(t.Context(), user, account.Displayname, replica.Marshal(strings.ToUpper(u[:1])+u[1:]+" Kim"))
		}
		if err != nil {
			t.Fatal(err)
		}
		sessions[u] = Session{User: user}
	}
	create := func(u string, c room.Creation) id.RoomID {
		t.Helper()
		in, err := rooms.Create(t.Context(), room.By{User: sessions[u].User}, c)
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	shared := create("amy", room.Creation{Preset: "public_chat"})
	if err := rooms.Join(t.Context(), room.By{User: "@bob:h"}, shared, ""); err != nil {
		t.Fatal(err)
	}
	create("cat", room.Creation{Preset: "public_chat"})
	create("dan", room.Creation{InitialState: []room.InitialState{{Type: "m.room.history_visibility", Content: json.RawMessage(`{"history_visibility":"world_readable"}`)}}})
	create("eve", room.Creation{Preset: "private_chat"})
	if err := accounts.SetData(t.Context(), "@dan:h", "", TypeDirectory, json.RawMessage(`{"listed":false}`)); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		people     People
		body, want string
		status     int
		errcode    string
	}{
		{"", `{}`, "", 400, "M_MISSING_PARAM"},
		{"", `{"search_term":5}`, "", 400, "M_BAD_JSON"},
		{"", `{"search_term":"kim","limit":-1}`, "", 400, "M_INVALID_PARAM"},
		{"", `{"search_term":""}`, "[] false", 200, ""},
		{"", `{"search_term":"kim"}`, "[@amy:h @bob:h @cat:h] false", 200, ""},
		{"", `{"search_term":"cat kim"}`, "[@cat:h] false", 200, ""},
		{"", `{"search_term":"@eve:h"}`, "[] false", 200, ""},
		{"", `{"search_term":"kim","limit":2}`, "[@amy:h @bob:h] true", 200, ""},
		{"", `{"search_term":"kim","limit":0}`, "[] true", 200, ""},
		{PeopleAll, `{"search_term":"kim"}`, "[@amy:h @bob:h @cat:h @eve:h @fay:h] false", 200, ""},
		{PeopleAll, `{"search_term":"Fay Kim"}`, "[@fay:h] false", 200, ""},
		{PeopleOff, `{"search_term":"kim"}`, "[] false", 200, ""},
	} {
		ta := newTestAPI(t, func(cfg *Config) {
			cfg.Fresh, cfg.Sessions, cfg.Limits.Off = r, &fakeSite{tokens: sessions}, true
		}, Rooms{Rooms: rooms, Account: accounts, People: c.people}.Routes()...)
		rq := newRequest(t, "POST", "/_matrix/client/v3/user_directory/search", c.body)
		rq.Header.Set("Authorization", "Bearer amy")
		w := ta.do(rq)
		expect(t, w, c.status, c.errcode)
		if c.status != 200 {
			continue
		}
		var out struct {
			Results []struct {
				User id.UserID `json:"user_id"`
				Name string    `json:"display_name"`
			}
			Limited bool
		}
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			t.Fatal(err)
		}
		users := []id.UserID{}
		for _, p := range out.Results {
			users = append(users, p.User)
			if !strings.HasSuffix(p.Name, " Kim") {
				t.Errorf("%+v", p)
			}
		}
		if got := fmt.Sprint(users, out.Limited); got != c.want {
			t.Errorf("%s of %q: %s, want %s", c.body, c.people, got, c.want)
		}
	}
}

// TestMutualRooms: amy shares more rooms with bob than one page has, one with cat, who has left another, and none with dan.
func TestMutualRooms(t *testing.T) {
	s := newRoomSite(t)
	var all []string
	for i := range maxMutual + 3 {
		in := s.create(t, "amy", `{"preset":"public_chat"}`)
		s.get(t, "bob", "POST rooms/$1/join", "", in)
		if i < 2 {
			s.get(t, "cat", "POST rooms/$1/join", "", in)
			s.get(t, "amy", "POST rooms/$1/invite", `{"user_id":"@dan:h"}`, in)
		}
		all = append(all, in)
	}
	s.get(t, "cat", "POST rooms/$1/leave", "", all[0])
	slices.Sort(all)
	shared := func(with, from string, want []string, next bool) string {
		t.Helper()
		got := s.get(t, "amy", "GET v1/mutual_rooms?user_id="+with+"&from="+from, "")
		token, more := got["next_batch"].(string)
		if fmt.Sprint(got["joined"]) != fmt.Sprint(want) || more != next {
			t.Errorf("with %s: %v, want %v", with, got, want)
		}
		return token
	}
	next := shared("@bob:h", "", all[:maxMutual], true)
	shared("@bob:h", next, all[maxMutual:], false)
	if n := s.get(t, "amy", "GET v1/mutual_rooms?user_id=@bob:h&from="+next, "")["count"]; n != float64(len(all)) {
		t.Errorf("count %v", n)
	}
	shared("@dan:h", "", []string{}, false)
	shared("@nobody:elsewhere", "", []string{}, false)
	if got := s.get(t, "cat", "GET v1/mutual_rooms?user_id=@amy:h", ""); got["count"] != 1.0 {
		t.Errorf("cat: %v", got)
	}
	for query, errcode := range map[string]string{
		"": "M_MISSING_PARAM", "?user_id=": "M_MISSING_PARAM", "?user_id=bob": "M_INVALID_PARAM", "?user_id=@amy:h": "M_INVALID_PARAM",
		"?user_id=@bob:h&from=x!": "M_INVALID_PARAM", "?user_id=@bob:h&from=YQ": "M_INVALID_PARAM",
	} {
		expect(t, s.as(t, "amy", "GET v1/mutual_rooms"+query, ""), 400, errcode)
	}
}
