package client

import (
	"fmt"
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
