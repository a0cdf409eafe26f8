package client

import (
	"encoding/json"
	"fmt"
	"net/url"
	"testing"
)

// question is a request and what should come of it.
type question struct {
	user, call, body string
	status           int
	errcode          string
}

func (s *roomSite) expectAll(t *testing.T, calls []question, in ...string) {
	t.Helper()
	for _, c := range calls {
		t.Run(c.user+" "+c.call+" "+c.body, func(t *testing.T) {
			t.Helper()
			expect(t, s.as(t, c.user, c.call, c.body, in...), c.status, c.errcode)
		})
	}
}

func TestRoomAliases(t *testing.T) {
	s := newRoomSite(t)
	room := s.create(t, "amy", `{"preset":"public_chat","room_alias_name":"봉수대"}`)
	s.expectAll(t, []question{
		{"amy", "PUT directory/room/%23a:h", `{"room_id":"$1"}`, 200, ""},
		{"amy", "PUT directory/room/%23봉수대:h", `{"room_id":"!x"}`, 403, "M_FORBIDDEN"},
		{"bob", "PUT directory/room/%23b:h", `{"room_id":"$1"}`, 403, "M_FORBIDDEN"},
		{"amy", "PUT directory/room/%23b:h", `{}`, 400, "M_MISSING_PARAM"},
		{"amy", "PUT directory/room/%23b:h", `{"room_id":5}`, 400, "M_BAD_JSON"},
		{"amy", "PUT directory/room/%23b:h", `{"room_id":"x"}`, 400, "M_INVALID_PARAM"},
		{"amy", "PUT directory/room/%23b:far", `{"room_id":"$1"}`, 400, "M_INVALID_PARAM"},
		{"amy", "PUT directory/room/b", `{"room_id":"$1"}`, 400, "M_INVALID_PARAM"},
		{"amy", "GET directory/room/b", ``, 400, "M_INVALID_PARAM"},
		{"amy", "GET directory/room/%23b:h", ``, 404, "M_NOT_FOUND"},
		{"amy", "DELETE directory/room/%23b:h", ``, 404, "M_NOT_FOUND"},
		{"bob", "DELETE directory/room/%23a:h", ``, 403, "M_FORBIDDEN"},
		{"bob", "GET rooms/$1/aliases", ``, 403, "M_FORBIDDEN"},
		{"amy", "GET rooms/!none/aliases", ``, 403, "M_FORBIDDEN"},
		{"amy", "POST createRoom", `{"room_alias_name":"a"}`, 400, "M_ROOM_IN_USE"},
		{"amy", "POST createRoom", `{"room_alias_name":"a:h"}`, 400, "M_INVALID_PARAM"},
		{"amy", "POST createRoom", `{"room_alias_name":"a b"}`, 400, "M_INVALID_PARAM"},
		{"amy", "PUT rooms/$1/state/m.room.canonical_alias", `{"alias":"#none:h"}`, 400, "M_BAD_ALIAS"},
		{"amy", "PUT rooms/$1/state/m.room.canonical_alias", `{"alias":"none"}`, 400, "M_INVALID_PARAM"},
		{"bob", "POST join/%23b:h", ``, 404, "M_NOT_FOUND"},
	}, room)
	// Who asks for nothing but the room behind a name needs no token.
	r := newRequest(t, "GET", "/_matrix/client/v3/directory/room/%23a:h", "")
	if w := s.do(r); w.Body.String() != `{"room_id":"`+room+`","servers":["h"]}` {
		t.Error(w.Body)
	}
	second := s.create(t, "amy", `{}`)
	expect(t, s.as(t, "amy", "PUT directory/room/%23a:h", `{"room_id":"$1"}`, second), 409, "M_UNKNOWN")
	if got := s.get(t, "bob", "POST join/$1", ``, "#봉수대:h")["room_id"]; got != room {
		t.Errorf("joined %v", got)
	}
	if got := fmt.Sprint(s.get(t, "bob", "GET rooms/$1/aliases", ``, room)["aliases"]); got != "[#a:h #봉수대:h]" {
		t.Error(got)
	}
	s.get(t, "amy", "DELETE directory/room/$1", ``, "#a:h")
	if got := fmt.Sprint(s.get(t, "amy", "GET rooms/$1/aliases", ``, room)["aliases"]); got != "[#봉수대:h]" {
		t.Error(got)
	}
}

func TestPublicRooms(t *testing.T) {
	s := newRoomSite(t)
	room := s.create(t, "amy", `{"visibility":"public","name":"봉수","room_alias_name":"fires"}`)
	for i := range 3 {
		s.create(t, "amy", fmt.Sprintf(`{"visibility":"public","name":"room %d","creation_content":{"type":"m.space"}}`, i))
	}
	s.get(t, "bob", "POST join/$1", ``, "#fires:h")
	s.expectAll(t, []question{
		{"amy", "GET directory/list/room/$1", ``, 200, ""},
		{"amy", "GET directory/list/room/!none", ``, 404, "M_NOT_FOUND"},
		{"amy", "PUT directory/list/room/!none", `{}`, 404, "M_NOT_FOUND"},
		{"bob", "PUT directory/list/room/$1", `{"visibility":"private"}`, 403, "M_FORBIDDEN"},
		{"amy", "PUT directory/list/room/$1", `{"visibility":"dim"}`, 400, "M_INVALID_PARAM"},
		{"amy", "PUT directory/list/room/$1", `{"visibility":5}`, 400, "M_BAD_JSON"},
		{"amy", "PUT directory/list/room/$1", `{}`, 200, ""},
		{"bob", "GET publicRooms?since=x", ``, 400, "M_INVALID_PARAM"},
		{"bob", "GET publicRooms?limit=-1", ``, 400, "M_INVALID_PARAM"},
		{"bob", "GET publicRooms?server=far", ``, 404, "M_NOT_FOUND"},
		{"nobody", "GET publicRooms", ``, 401, "M_UNKNOWN_TOKEN"},
		{"bob", "POST publicRooms", ``, 400, "M_NOT_JSON"},
		{"bob", "POST publicRooms", `{"limit":-1}`, 400, "M_INVALID_PARAM"},
		{"bob", "POST publicRooms", `{"filter":{"room_types":"m.space"}}`, 400, "M_BAD_JSON"},
		{"bob", "POST publicRooms", `{"include_all_networks":true,"third_party_instance_id":"irc"}`, 400, "M_INVALID_PARAM"},
		{"bob", "POST publicRooms", `{"third_party_instance_id":"irc"}`, 400, "M_INVALID_PARAM"},
	}, room)
	page := s.get(t, "bob", "GET publicRooms?limit=1", ``)
	first := page["chunk"].([]any)[0].(map[string]any) //nolint:errcheck // or the test panics
	if first["room_id"] != room || first["canonical_alias"] != "#fires:h" || first["num_joined_members"] != 2.0 || first["join_rule"] != "public" ||
		page["total_room_count_estimate"] != 4.0 || page["prev_batch"] != nil {
		t.Errorf("%v", page)
	}
	next := s.get(t, "bob", "GET publicRooms?server=h&limit=2&since="+page["next_batch"].(string), ``) //nolint:errcheck // as above
	if n := len(next["chunk"].([]any)); n != 2 || next["prev_batch"] == nil || next["next_batch"] == nil {
		t.Errorf("%v", next)
	}
	for body, want := range map[string]int{
		`{}`: 4, `{"limit":0}`: 4, `{"filter":{"generic_search_term":"봉"}}`: 1, `{"filter":{"room_types":[null]}}`: 1,
		`{"filter":{"room_types":["m.space"]}}`: 3, `{"filter":{"room_types":[null,"m.space"],"generic_search_term":"ROOM"}}`: 3,
	} {
		if n := len(s.get(t, "bob", "POST publicRooms", body)["chunk"].([]any)); n != want {
			t.Errorf("%s: %d rooms, want %d", body, n, want)
		}
	}
}

func TestSummaryAndHierarchy(t *testing.T) {
	s := newRoomSite(t)
	space := s.create(t, "amy", `{"preset":"public_chat","name":"top","creation_content":{"type":"m.space"},"room_alias_name":"top"}`)
	room := s.create(t, "amy", `{"name":"secret","room_version":"10"}`)
	s.get(t, "amy", "PUT rooms/$1/state/m.space.child/$2", `{"via":["h"]}`, space, room)
	one := func(user, path string, status int, errcode string) map[string]any {
		t.Helper()
		r := newRequest(t, "GET", "/_matrix/client/"+path, "")
		if user != "" {
			r.Header.Set("Authorization", "Bearer "+user)
		}
		w := s.do(r)
		expect(t, w, status, errcode)
		var out map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	secret := url.PathEscape(room)
	for _, path := range []string{"v1/room_summary/%23top:h", "v1/room_summary/" + url.PathEscape(space), "unstable/im.nheko.summary/rooms/%23top:h/summary"} {
		if got := one("bob", path, 200, ""); got["room_type"] != "m.space" || got["membership"] != "leave" || got["room_version"] != "12" {
			t.Errorf("%v", got)
		}
	}
	if got := one("", "v1/room_summary/%23top:h", 200, ""); got["membership"] != nil || got["name"] != "top" {
		t.Errorf("%v", got)
	}
	one("", "v1/room_summary/"+secret, 404, "M_NOT_FOUND")
	one("bob", "v1/room_summary/"+secret, 404, "M_NOT_FOUND")
	one("bob", "v1/room_summary/%23none:h", 404, "M_NOT_FOUND")
	one("bob", "v1/room_summary/none", 400, "M_INVALID_PARAM")
	if got := one("amy", "v1/room_summary/"+secret, 200, ""); got["membership"] != "join" || got["room_version"] != "10" {
		t.Errorf("%v", got)
	}

	in := "v1/rooms/" + url.PathEscape(space) + "/hierarchy"
	if got := one("amy", in, 200, ""); len(got["rooms"].([]any)) != 2 || got["next_batch"] != nil {
		t.Errorf("%v", got)
	}
	if got := one("bob", in, 200, ""); len(got["rooms"].([]any)) != 1 {
		t.Errorf("%v", got)
	}
	next := one("amy", in+"?limit=1", 200, "")["next_batch"].(string) //nolint:errcheck // or the test panics
	if got := one("amy", in+"?limit=1&from="+next, 200, ""); fmt.Sprint(got["rooms"].([]any)[0].(map[string]any)["name"]) != "secret" {
		t.Errorf("%v", got)
	}
	one("amy", in+"?max_depth=1&from="+next, 400, "M_INVALID_PARAM")
	one("amy", in+"?limit=0", 400, "M_INVALID_PARAM")
	one("amy", in+"?max_depth=-1", 400, "M_INVALID_PARAM")
	one("amy", in+"?suggested_only=maybe", 400, "M_INVALID_PARAM")
	one("bob", "v1/rooms/"+secret+"/hierarchy", 403, "M_FORBIDDEN")
	one("", in, 401, "M_MISSING_TOKEN")
}

func TestUpgradeRoom(t *testing.T) {
	s := newRoomSite(t)
	old := s.create(t, "amy", `{"preset":"public_chat","room_version":"9","room_alias_name":"old"}`)
	s.get(t, "bob", "POST join/$1", ``, old)
	s.expectAll(t, []question{
		{"amy", "POST rooms/$1/upgrade", `{}`, 400, "M_MISSING_PARAM"},
		{"amy", "POST rooms/$1/upgrade", `{"new_version":12}`, 400, "M_BAD_JSON"},
		{"amy", "POST rooms/$1/upgrade", `{"new_version":"1"}`, 400, "M_UNSUPPORTED_ROOM_VERSION"},
		{"amy", "POST rooms/$1/upgrade", `{"new_version":"12","additional_creators":["bob"]}`, 400, "M_INVALID_PARAM"},
		{"bob", "POST rooms/$1/upgrade", `{"new_version":"12"}`, 403, "M_FORBIDDEN"},
		{"cat", "POST rooms/$1/upgrade", `{"new_version":"12"}`, 403, "M_FORBIDDEN"},
		{"amy", "POST rooms/!none/upgrade", `{"new_version":"12"}`, 403, "M_FORBIDDEN"},
	}, old)
	next := s.get(t, "amy", "POST rooms/$1/upgrade", `{"new_version":"12","additional_creators":["@bob:h"]}`, old)["replacement_room"].(string) //nolint:errcheck // or the test panics
	if again := s.get(t, "amy", "POST rooms/$1/upgrade", `{"new_version":"12"}`, old)["replacement_room"]; again != next {
		t.Errorf("again: %v, not %s", again, next)
	}
	if got := s.get(t, "bob", "POST join/$1", ``, "#old:h")["room_id"]; got != next {
		t.Errorf("the alias leads to %v", got)
	}
	if got := s.get(t, "bob", "GET rooms/$1/state/m.room.tombstone", ``, old); got["replacement_room"] != next {
		t.Errorf("%v", got)
	}
}

func TestReporting(t *testing.T) {
	s := newRoomSite(t)
	room := s.create(t, "amy", `{"preset":"public_chat"}`)
	said := s.say(t, "amy", room, "1", "rude")
	s.get(t, "bob", "POST join/$1", ``, room)
	s.expectAll(t, []question{
		{"bob", "POST rooms/$1/report/$2", `{"reason":"spam","score":-100}`, 200, ""},
		{"bob", "POST rooms/$1/report/$2", `{}`, 200, ""},
		{"bob", "POST rooms/$1/report/$2", ``, 400, "M_NOT_JSON"},
		{"bob", "POST rooms/$1/report/$2", `{"reason":5}`, 400, "M_BAD_JSON"},
		{"bob", "POST rooms/$1/report/none", `{}`, 400, "M_INVALID_PARAM"},
		{"cat", "POST rooms/$1/report/$2", `{}`, 404, "M_NOT_FOUND"},
		{"bob", "POST rooms/$1/report/$none", `{}`, 404, "M_NOT_FOUND"},
		{"cat", "POST rooms/$1/report", `{"reason":""}`, 200, ""},
		{"cat", "POST rooms/$1/report", `{}`, 400, "M_MISSING_PARAM"},
		{"cat", "POST rooms/!none/report", `{"reason":""}`, 404, "M_NOT_FOUND"},
		{"cat", "POST users/@amy:h/report", `{"reason":"rude"}`, 200, ""},
		{"cat", "POST users/@nobody:h/report", `{"reason":""}`, 404, "M_NOT_FOUND"},
		{"cat", "POST users/amy/report", `{"reason":""}`, 400, "M_INVALID_PARAM"},
	}, room, said)
	if all, err := s.rooms.Reports(10); err != nil || len(all) != 4 {
		t.Errorf("%v, %v", all, err)
	}
}
