package room

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica/replicatest"
)

func TestPublishing(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room := st.create(t, amy, Creation{Visibility: "public", Name: "봉수"})
	hidden := st.create(t, amy, Creation{Preset: presetPublic})
	ok(t, st.Join(t.Context(), bob, room, ""))
	publish := func(by By, room id.RoomID, public bool) error { return st.SetPublic(t.Context(), by, room, public) }
	is := func(room id.RoomID, want bool) {
		t.Helper()
		if got, err := st.IsPublic(room); err != nil || got != want {
			t.Errorf("%v, %v", got, err)
		}
	}
	is(room, true)
	is(hidden, false)
	refused(t, publish(bob, room, false), errs.Forbidden, "")
	refused(t, publish(cat, room, false), errs.Forbidden, "")
	refused(t, publish(amy, "!none", true), errs.NotFound, "")
	ok(t, publish(amy, room, false))
	ok(t, publish(amy, room, false))
	ok(t, publish(amy, hidden, true))
	is(room, false)
	is(hidden, true)
	st.cfg.Admin = func(_ kv.Reader, u id.UserID) bool { return u == cat.User }
	ok(t, publish(cat, hidden, false))
	is(hidden, false)
	if _, err := st.IsPublic("!none"); !errs.Is(err, errs.NotFound) {
		t.Error(err)
	}
}

func TestDirectorySearch(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	for _, c := range []Creation{
		{Name: "Seoul Cyclists", Topic: "Rides along the Han", Alias: "wheels"},
		{Name: "서울 자전거", Topic: "한강을 따라"},
		{Name: "Everything", CreationContent: []byte(`{"type":"m.space"}`)},
		{Name: "Cafe\u0301"},
	} {
		c.Visibility = "public"
		st.create(t, amy, c)
	}
	for _, c := range []struct {
		words string
		types []string
		want  string
	}{
		{"", nil, "4"},
		{"seoul", nil, "Seoul Cyclists"},
		{"HAN cyclists", nil, "Seoul Cyclists"},
		{"wheels:h", nil, "Seoul Cyclists"},
		{"자전", nil, "서울 자전거"},
		{"\u1112\u1161\u11ab강", nil, "서울 자전거"}, // 한, put together from its letters
		{"ｓｅｏｕｌ", nil, "Seoul Cyclists"},
		{"café", nil, "Cafe\u0301"},
		{"seoul busan", nil, ""},
		{"", []string{"m.space"}, "Everything"},
		{"", []string{}, ""},
		{"", []string{"", "m.space"}, "4"},
		{"cyclists", []string{"m.space"}, ""},
	} {
		p, err := st.PublicRooms(PublicQuery{Limit: 10, Words: c.words, Types: c.types})
		ok(t, err)
		var names []string
		for _, r := range p.Rooms {
			names = append(names, r.Name)
		}
		if got := strings.Join(names, ", "); got != c.want && fmt.Sprint(len(names)) != c.want || p.Total != 4 {
			t.Errorf("%q %q: %s of %d, want %s", c.words, c.types, got, p.Total, c.want)
		}
	}
}

// TestCardIsFresh: what the directory remembers of a room follows the room.
func TestCardIsFresh(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room := st.create(t, amy, Creation{Visibility: "public", Name: "first", Topic: "t", Alias: "a", InitialState: []InitialState{
		{Type: event.TypeAvatar, Content: []byte(`{"url":"mxc://h/x"}`)},
		{Type: event.TypeHistoryVisibility, Content: []byte(`{"history_visibility":"world_readable"}`)},
		{Type: event.TypeGuestAccess, Content: []byte(`{"guest_access":"can_join"}`)},
	}})
	card := func() Card {
		p, err := st.PublicRooms(PublicQuery{Limit: 1})
		ok(t, err)
		return p.Rooms[0]
	}
	want := Card{Room: room, Alias: "#a:h", Name: "first", Topic: "t", Avatar: "mxc://h/x", Joined: 1, WorldReadable: true, GuestCanJoin: true, JoinRule: "public"}
	if got := card(); got != want {
		t.Errorf("%+v", got)
	}
	ok(t, st.Join(t.Context(), bob, room, ""))
	named := st.open(t, room)
	s, _ := named.StateEvent(event.TypeName, "")
	_, err := st.Redact(t.Context(), amy, room, s.ID, "1", "")
	ok(t, err)
	_, err = st.SendState(t.Context(), amy, room, event.TypeTopic, "",
		[]byte(`{"topic":"x","m.topic":{"m.text":[{"mimetype":"text/html","body":"<b>"},{"body":"plain"}]}}`))
	ok(t, err)
	want.Joined, want.Name, want.Topic = 2, "", "plain"
	if got := card(); got != want {
		t.Errorf("%+v", got)
	}
}

// TestDirectoryPages pages to and fro while other rooms come, go and grow: rooms that stay as they are are seen once, in order.
func TestDirectoryPages(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	var still []id.RoomID
	for i := range 12 {
		room := st.create(t, amy, Creation{Visibility: "public"})
		for j := range i / 3 {
			ok(t, st.Join(t.Context(), By{User: user(j)}, room, ""))
		}
		still = append(still, room)
	}
	moving := []id.RoomID{}
	for range 4 {
		moving = append(moving, st.create(t, bob, Creation{Visibility: "public"}))
	}
	n := 100
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.IntRange(1, 5).Draw(rt, "limit")
		seen, order := map[id.RoomID]int{}, []id.RoomID{}
		token, back := "", ""
		for {
			p, err := st.PublicRooms(PublicQuery{Since: token, Limit: limit})
			ok(t, err)
			for _, c := range p.Rooms {
				seen[c.Room]++
				order = append(order, c.Room)
			}
			if back != "" && rapid.Bool().Draw(rt, "look back") {
				if b, err := st.PublicRooms(PublicQuery{Since: p.Prev, Limit: limit}); p.Prev != "" && (err != nil || len(b.Rooms) == 0) {
					rt.Fatalf("back from %d rooms: %v", len(seen), err)
				}
			}
			if token, back = p.Next, p.Prev; token == "" {
				break
			}
			room := rapid.SampledFrom(moving).Draw(rt, "moving")
			switch rapid.IntRange(0, 2).Draw(rt, "what") {
			case 0:
				n++
				ok(t, st.Join(t.Context(), By{User: user(n)}, room, ""))
			case 1:
				ok(t, st.SetPublic(t.Context(), bob, room, false))
			default:
				ok(t, st.SetPublic(t.Context(), bob, room, true))
			}
		}
		for _, room := range still {
			if seen[room] != 1 {
				rt.Fatalf("%s was seen %d times", room, seen[room])
			}
		}
		size := func(room id.RoomID) int64 { v := st.open(t, room); return v.Joined }
		last := int64(1 << 60)
		for _, room := range order {
			if strings.Contains(fmt.Sprint(moving), string(room)) {
				continue
			}
			if size(room) > last {
				rt.Fatalf("the directory is not in order: %v", order)
			}
			last = size(room)
		}
	})
	// And back to the first page, over the same rooms.
	p, err := st.PublicRooms(PublicQuery{Limit: 7})
	ok(t, err)
	next, err := st.PublicRooms(PublicQuery{Since: p.Next, Limit: 7})
	ok(t, err)
	prev, err := st.PublicRooms(PublicQuery{Since: next.Prev, Limit: 7})
	ok(t, err)
	if fmt.Sprint(prev.Rooms) != fmt.Sprint(p.Rooms) || prev.Prev != "" || prev.Next != p.Next {
		t.Errorf("there and back: %v, %v", prev, p)
	}
}

func TestPublicTokens(t *testing.T) {
	for _, token := range []publicToken{{publicMark{3, "!a:h"}, false}, {publicMark{0, "!한"}, true}} {
		if got, err := parsePublicToken(token.String()); err != nil || got != token {
			t.Errorf("%v, %v", got, err)
		}
	}
	for _, s := range []string{"x", "bg", "bgE", "bgEh", "bgMhYTp", "!", "bgMhYTpo=", "p12", "s12_3"} {
		if _, err := parsePublicToken(s); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzPublicToken(f *testing.F) {
	f.Add(publicToken{publicMark{3, "!a:h"}, false}.String())
	f.Fuzz(func(t *testing.T, s string) {
		if token, err := parsePublicToken(s); err == nil && s != "" && token.String() != s {
			t.Errorf("%q is read as %v", s, token)
		}
	})
}
