package room

import (
	"fmt"
	"strings"
	"testing"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/replica/replicatest"
	"bongsu/roomstate"
)

// space makes a space of amy's.
func (st *site) space(t testing.TB, name string) id.RoomID {
	t.Helper()
	return st.create(t, amy, Creation{Name: name, Preset: presetPublic, CreationContent: []byte(`{"type":"m.space"}`)})
}

// child puts a room into a space, with further members of the content.
func (st *site) child(t testing.TB, space, room id.RoomID, more string) {
	t.Helper()
	_, err := st.SendState(t.Context(), amy, space, typeSpaceChild, string(room), []byte(`{"via":["h"]`+more+`}`))
	ok(t, err)
}

// walk reads all pages of a space: the names of its rooms.
func (st *site) walk(t testing.TB, u id.UserID, top id.RoomID, q HierarchyQuery) string {
	t.Helper()
	var names []string
	for {
		p, err := st.Hierarchy(u, top, q)
		if err != nil {
			return err.Error()
		}
		if len(p.Rooms) > q.Limit || len(p.Rooms) == 0 {
			t.Errorf("a page of %d rooms", len(p.Rooms))
		}
		for _, r := range p.Rooms {
			names = append(names, r.Name)
		}
		if q.From = p.Next; q.From == "" {
			return strings.Join(names, " ")
		}
	}
}

func TestChildOrder(t *testing.T) {
	long := strings.Repeat("x", 51)
	for order, want := range map[string]string{`"a"`: "a", `" "`: " ", `"~"`: "~", `""`: "", `"é"`: "", `"\u007f"`: "", `5`: "", `"` + long + `"`: "", `"` + long[1:] + `"`: long[1:]} {
		if got := childOrder(event.Object(`{"order":` + order + `}`)); got != want {
			t.Errorf("%s: %q", order, got)
		}
	}
	// The specification's example, and what it says of equals.
	in := []step{{" ", 1640341000000, "!b"}, {"aaaa", 1640141000000, "!a"}, {"first", 1640841000000, "!c"}, {"first", 1640841000001, "!a"},
		{"", 1640641000000, "!e"}, {"", 1640741000000, "!d"}, {"", 1640741000000, "!f"}}
	for i := range in[1:] {
		if in[i].compare(in[i+1]) >= 0 || in[i+1].compare(in[i]) <= 0 || in[i].compare(in[i]) != 0 {
			t.Errorf("%v is not before %v", in[i], in[i+1])
		}
	}
}

func TestHierarchy(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room := func(name string, c Creation) id.RoomID {
		c.Name = name
		return st.create(t, amy, c)
	}
	public := Creation{Preset: presetPublic}
	top, sub, deep := st.space(t, "top"), st.space(t, "sub"), st.space(t, "deep")
	a, b, c, d := room("a", public), room("b", public), room("c", public), room("d", public)
	private := room("private", Creation{})
	st.child(t, top, b, `,"order":"b"`)
	st.child(t, top, a, `,"order":"a","suggested":true`)
	st.child(t, top, sub, `,"order":"c","suggested":true`)
	st.child(t, top, private, ``)
	st.child(t, sub, c, `,"order":"c"`)
	st.child(t, sub, deep, `,"suggested":true`)
	st.child(t, sub, top, ``) // a ring
	st.child(t, sub, a, ``)   // met before
	st.child(t, deep, d, ``)
	st.child(t, top, "!none", ``)
	st.child(t, a, d, ``) // no space: it holds nothing
	for _, content := range []string{`{}`, `{"via":[]}`, `{"via":"h"}`} {
		_, err := st.SendState(t.Context(), amy, top, typeSpaceChild, string(d), []byte(content))
		ok(t, err)
	}
	ask := HierarchyQuery{Limit: 100, MaxDepth: MaxSpaceDepth}
	for _, q := range []struct {
		user      id.UserID
		depth     int
		suggested bool
		want      string
	}{
		{amy.User, MaxSpaceDepth, false, "top a b sub c deep d private"},
		{bob.User, MaxSpaceDepth, false, "top a b sub c deep d"},
		{amy.User, MaxSpaceDepth, true, "top a sub deep"},
		{amy.User, 0, false, "top"},
		{amy.User, 1, false, "top a b sub private"},
		{bob.User, 2, false, "top a b sub c deep"},
	} {
		ask.MaxDepth, ask.Suggested = q.depth, q.suggested
		for limit := range 9 {
			ask.Limit = limit + 1
			if got := st.walk(t, q.user, top, ask); got != q.want {
				t.Errorf("%s, depth %d, suggested %v, %d a page: %s, want %s", q.user, q.depth, q.suggested, ask.Limit, got, q.want)
			}
		}
	}
	p, err := st.Hierarchy(bob.User, top, HierarchyQuery{Limit: 4, MaxDepth: 1})
	ok(t, err)
	if n := len(p.Rooms[0].Children); n != 5 || p.Next != "" || len(p.Rooms[1].Children) != 0 {
		t.Errorf("%d children of the top, %s", n, p.Next)
	}
	if o := event.Object(p.Rooms[0].Children[0]); !o.Has("origin_server_ts") || !strings.HasPrefix(string(o), `{"content":{"order":"a",`) {
		t.Errorf("the first child is %s", o)
	}
	if _, err := st.Hierarchy(bob.User, private, ask); !errs.Is(err, errs.Forbidden) {
		t.Error(err)
	}
	if _, err := st.Hierarchy(bob.User, "!none", ask); !errs.Is(err, errs.Forbidden) {
		t.Error(err)
	}
}

// TestHierarchyUnderChange: the rooms that stay are seen once although the last one of the page before is taken out and others come.
func TestHierarchyUnderChange(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	top := st.space(t, "top")
	rooms := map[string]id.RoomID{}
	for _, name := range []string{"b", "d", "f", "h"} {
		rooms[name] = st.create(t, amy, Creation{Name: name, Preset: presetPublic})
		st.child(t, top, rooms[name], `,"order":"`+name+`"`)
	}
	q := HierarchyQuery{Limit: 3, MaxDepth: 5}
	p, err := st.Hierarchy(bob.User, top, q)
	ok(t, err)
	_, err = st.SendState(t.Context(), amy, top, typeSpaceChild, string(rooms["d"]), []byte(`{}`))
	ok(t, err)
	for _, name := range []string{"a", "e"} {
		st.child(t, top, st.create(t, amy, Creation{Name: name, Preset: presetPublic}), `,"order":"`+name+`"`)
	}
	q.From = p.Next
	if got := st.walk(t, bob.User, top, q); got != "e f h" {
		t.Error(got)
	}
	for _, bad := range map[string]HierarchyQuery{
		"depth":     {From: p.Next, Limit: 1, MaxDepth: 4},
		"suggested": {From: p.Next, Limit: 1, MaxDepth: 5, Suggested: true},
		"malformed": {From: "x", Limit: 1, MaxDepth: 5},
		"no JSON":   {From: "eA", Limit: 1, MaxDepth: 5},
	} {
		_, err := st.Hierarchy(bob.User, top, bad)
		refused(t, err, errs.Invalid, errs.InvalidParam)
	}
}

func FuzzHierarchyToken(f *testing.F) {
	f.Add(hierarchyToken{Path: []step{{"a", 1, "!a:h"}}, MaxDepth: 3}.String())
	f.Fuzz(func(_ *testing.T, s string) {
		_, _ = parseHierarchyToken(HierarchyQuery{From: s, MaxDepth: 3})
	})
}

// TestShown: to whom a room is shown, by join rule and membership. Letters: S summary and hierarchy, J may join at once.
func TestShown(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	other := st.create(t, amy, Creation{Preset: presetPublic})
	inOther := By{User: "@inother:h"}
	ok(t, st.Join(t.Context(), inOther, other, ""))
	want := map[string]string{ // in other, invited, left, banned, knocked, stranger, no account
		roomstate.JoinPublic:          "SJ SJ SJ - SJ SJ S",
		roomstate.JoinInvite:          "- SJ - - S - -",
		roomstate.JoinKnock:           "S SJ S - S S S",
		roomstate.JoinRestricted:      "SJ SJ - - S - -",
		roomstate.JoinKnockRestricted: "SJ SJ S - S S S",
		roomstate.JoinPrivate:         "- S - - S - -",
	}
	for rule, row := range want {
		t.Run(rule, func(t *testing.T) {
			rules := fmt.Sprintf(`{"join_rule":%q,"allow":[{"type":"m.room_membership","room_id":%q}]}`, rule, other)
			var got []string
			for _, who := range []string{"inother", "invited", "left", "banned", "knocked", "stranger", ""} {
				room := st.create(t, amy, Creation{InitialState: []InitialState{{Type: event.TypeJoinRules, Content: []byte(`{"join_rule":"knock"}`)}}})
				u := By{User: id.UserID("@" + who + ":h")}
				switch who {
				case "invited":
					ok(t, st.Invite(t.Context(), amy, room, u.User, ""))
				case "left":
					ok(t, st.Invite(t.Context(), amy, room, u.User, ""))
					ok(t, st.Leave(t.Context(), u, room, ""))
				case "banned":
					ok(t, st.Ban(t.Context(), amy, room, u.User, ""))
				case "knocked":
					ok(t, st.Knock(t.Context(), u, room, ""))
				}
				_, err := st.SendState(t.Context(), amy, room, event.TypeJoinRules, "", []byte(rules))
				ok(t, err)
				if who == "" {
					u.User = ""
				}
				cell := ""
				if _, _, err := st.Summarize(u.User, room); err == nil {
					cell = "S"
				}
				if who != "" && st.Join(t.Context(), u, room, "") == nil {
					cell += "J"
				}
				if cell == "" {
					cell = "-"
				}
				got = append(got, cell)
			}
			if s := strings.Join(got, " "); s != row {
				t.Errorf("%s, want %s", s, row)
			}
		})
	}
}

// TestRestrictedVersions: in which room versions members of another room are let in, and by whom.
func TestRestrictedVersions(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	other := st.create(t, amy, Creation{Preset: presetPublic})
	ok(t, st.Join(t.Context(), bob, other, ""))
	for _, v := range event.Versions() {
		for _, rule := range []string{roomstate.JoinRestricted, roomstate.JoinKnockRestricted} {
			room := st.create(t, amy, Creation{Version: v, InitialState: []InitialState{{Type: event.TypeJoinRules,
				Content: []byte(`{"join_rule":"` + rule + `","allow":[{"type":"m.room_membership","room_id":"` + string(other) + `"}]}`)}}})
			err := st.Join(t.Context(), cat, room, "")
			refused(t, err, errs.Forbidden, "")
			err = st.Join(t.Context(), bob, room, "")
			if want := roomstate.HasJoinRule(v, rule); (err == nil) != want {
				t.Errorf("version %s, %s: %v", v, rule, err)
			}
			if err == nil {
				member := st.stateOf(t, room, event.TypeMember, string(bob.User))
				if !strings.Contains(member, `"join_authorised_via_users_server":"@amy:h"`) {
					t.Errorf("version %s: %s", v, member)
				}
			}
			if err = st.Knock(t.Context(), cat, room, ""); (err == nil) != (rule == roomstate.JoinKnockRestricted && roomstate.HasJoinRule(v, rule)) {
				t.Errorf("version %s, %s: knock: %v", v, rule, err)
			}
		}
	}
}
