package roomstate

import (
	"fmt"
	"strings"
	"testing"

	"bongsu/errs"
	"bongsu/event"
)

func TestLevels(t *testing.T) {
	for _, v := range event.Versions() {
		p := found(t, v, nil)
		p.be(t, amy, Join)
		r := p.rules(t)
		creator := int64(100)
		if v == event.V12 {
			creator = Infinite
		}
		got := []int64{r.UserLevel(amy), r.UserLevel(bob), r.EventLevel("x"), r.StateLevel("x"), r.InviteLevel(), r.KickLevel(), r.BanLevel(), r.RedactLevel(), r.NotificationLevel("room")}
		if want := []int64{creator, 0, 0, 50, 0, 50, 50, 50, 50}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("version %s without power levels: %v, want %v", v, got, want)
		}

		p.set(t, event.TypePowerLevels, object{})
		r = p.rules(t)
		if v != event.V12 {
			creator = 0
		}
		got = []int64{r.UserLevel(amy), r.UserLevel(bob), r.EventLevel("x"), r.StateLevel("x"), r.InviteLevel(), r.KickLevel(), r.BanLevel(), r.RedactLevel(), r.NotificationLevel("room")}
		if want := []int64{creator, 0, 0, 50, 0, 50, 50, 50, 50}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("version %s with empty power levels: %v, want %v", v, got, want)
		}

		p.set(t, event.TypePowerLevels, object{
			"users": powers{bob: -3}, "users_default": 1, "events": object{"y": 2}, "events_default": 3, "state_default": 4,
			"invite": 5, "kick": 6, "ban": 7, "redact": 8, "notifications": object{"room": 9},
		})
		r = p.rules(t)
		got = []int64{
			r.UserLevel(bob), r.UserLevel(cat), r.EventLevel("y"), r.StateLevel("y"), r.EventLevel("x"), r.StateLevel("x"),
			r.InviteLevel(), r.KickLevel(), r.BanLevel(), r.RedactLevel(), r.NotificationLevel("room"), r.NotificationLevel("other"),
		}
		if want := []int64{-3, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 50}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("version %s: %v, want %v", v, got, want)
		}
		if r.Version() != v || r.JoinRule() != JoinInvite || r.AllowedRooms() != nil {
			t.Errorf("%s %s %v", r.Version(), r.JoinRule(), r.AllowedRooms())
		}
	}
}

// TestLevelsForm: what a power-levels event must look like, be it the first or not.
func TestLevelsForm(t *testing.T) {
	for _, v := range event.Versions() {
		for _, first := range []bool{true, false} {
			p := found(t, v, nil)
			p.be(t, amy, Join)
			if !first {
				p.set(t, event.TypePowerLevels, object{"users": powers{bob: 1}})
				if v != event.V12 {
					p.set(t, event.TypePowerLevels, object{"users": powers{amy: 100}})
				}
			}
			cases := map[string]struct {
				c     any
				words string
			}{
				"a malformed user id":    {object{"users": object{"bob": 1}}, "malformed user id"},
				"an empty user id":       {object{"users": object{"": 1}}, "malformed user id"},
				"a level as text":        {object{"users": powers{bob: "1"}}, "not an integer"},
				"a level null":           {object{"users": powers{bob: nil}}, "not an integer"},
				"users are a list":       {object{"users": []any{}}, "not an object"},
				"users are null":         {object{"users": nil}, "not an object"},
				"events are text":        {object{"events": "x"}, "not an object"},
				"an event's as text":     {object{"events": object{"x": "50"}}, "not an integer"},
				"notifications a number": {object{"notifications": 5}, "not an object"},
				"a notification's true":  {object{"notifications": object{"room": true}}, "not an integer"},
				"unknown members":        {object{"historical": "x", "users": object{}, "events": object{}}, ""},
			}
			for _, name := range named {
				cases[name+" as text"] = struct {
					c     any
					words string
				}{object{name: "50"}, name + " is not an integer"}
				cases[name+" null"] = struct {
					c     any
					words string
				}{object{name: nil}, name + " is not an integer"}
				cases[name] = struct {
					c     any
					words string
				}{object{name: -5}, ""}
			}
			for name, c := range cases {
				if strings.HasSuffix(name, "as text") && !v.Features().IntegerLevels {
					c.words = "" // text that is an integer was allowed once
				}
				err := p.check(t, p.draft(t, event.TypePowerLevels, amy, ptr(""), c.c))
				verdict(t, fmt.Sprintf("version %s, first %v: %s", v, first, name), err, c.words)
			}
		}
	}
}

func TestCreatorHasNoLevel(t *testing.T) {
	p := found(t, event.V12, object{"additional_creators": []any{cat}})
	p.be(t, amy, Join)
	verdict(t, "the creator's", p.check(t, p.draft(t, event.TypePowerLevels, amy, ptr(""), object{"users": powers{amy: 100}})), "is a creator")
	verdict(t, "another's", p.check(t, p.draft(t, event.TypePowerLevels, amy, ptr(""), object{"users": powers{cat: 100}})), "is a creator")
	verdict(t, "a member's", p.check(t, p.draft(t, event.TypePowerLevels, amy, ptr(""), object{"users": powers{bob: 100}})), "")
}

// TestChangeLevels: bob, with 50, changes levels.
func TestChangeLevels(t *testing.T) {
	const no = "does not reach to change the level of"
	type levels = map[string]any
	type change struct {
		old, new any // nil: not there
		words    string
	}
	edges := []change{
		{nil, 50, ""}, {nil, 51, no}, {nil, -5, ""},
		{50, nil, ""}, {51, nil, no}, {49, nil, ""},
		{50, 49, ""}, {49, 50, ""}, {50, 51, no}, {51, 50, no}, {60, 61, no},
		{51, 51, ""}, {1000, 1000, ""}, {nil, nil, ""},
	}
	others := []change{
		{nil, 50, ""}, {nil, 51, no},
		{49, nil, ""}, {50, nil, no}, {51, nil, no},
		{49, 50, ""}, {49, 51, no}, {50, 49, no}, {50, 51, no}, {51, 49, no},
		{50, 50, ""}, {51, 51, ""},
	}
	own := []change{
		{50, 49, ""}, {50, 50, ""}, {50, 51, no}, {50, nil, ""}, {50, -1, ""},
	}
	run := func(v event.RoomVersion, what string, c change, put func(levels, any)) {
		build := func(val any) levels {
			l := levels{"events": object{event.TypePowerLevels: 0, "m.room.name": 1000}, "users": object{string(bob): 50}, "notifications": object{"all": 1000}}
			if val != nil {
				put(l, val)
			}
			return l
		}
		p := found(t, v, nil)
		p.be(t, amy, Join)
		p.be(t, bob, Join)
		p.set(t, event.TypePowerLevels, build(c.old))
		next := build(c.new)
		if what == "own" && c.new == nil {
			delete(next["users"].(object), string(bob))
		}
		err := p.check(t, p.draft(t, event.TypePowerLevels, bob, ptr(""), next))
		verdict(t, fmt.Sprintf("version %s, %s from %v to %v", v, what, c.old, c.new), err, c.words)
	}
	for _, v := range event.Versions() {
		for _, c := range edges {
			for _, name := range named {
				run(v, name, c, func(l levels, val any) { l[name] = val })
			}
			run(v, "events.x", c, func(l levels, val any) { l["events"].(object)["x"] = val })
			run(v, "notifications.room", c, func(l levels, val any) { l["notifications"].(object)["room"] = val })
		}
		for _, c := range others {
			run(v, "another's", c, func(l levels, val any) { l["users"].(object)[string(cat)] = val })
		}
		for _, c := range own {
			run(v, "own", c, func(l levels, val any) { l["users"].(object)[string(bob)] = val })
		}
	}
}

func TestMayRedact(t *testing.T) {
	for _, v := range event.Versions() {
		p := settled(t, v, object{"redact": 50})
		r := p.rules(t)
		if !r.MayRedact(cat, cat) || !r.MayRedact(bob, cat) || !r.MayRedact(amy, bob) || r.MayRedact(cat, bob) {
			t.Errorf("version %s", v)
		}
	}
}

func TestNewRulesRefuses(t *testing.T) {
	p := settled(t, event.V12, nil)
	create := p.state[Key{event.TypeCreate, ""}]
	bad := *p.state[Key{event.TypePowerLevels, ""}]
	bad.Content = event.Object(`{"ban":"50"}`)
	badCreate := *create
	badCreate.Content = event.Object(`{"additional_creators":"cat"}`)
	for name, err := range map[string]error{
		"no create event": second(NewRules(event.V12, nil, nil, nil)),
		"another event":   second(NewRules(event.V12, &bad, nil, nil)),
		"version":         second(NewRules("9", create, nil, nil)),
		"power levels":    second(NewRules(event.V12, create, &bad, nil)),
		"creators":        second(NewRules(event.V12, &badCreate, nil, nil)),
	} {
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second(_ *Rules, err error) error { return err }

// TestLevelsAsText: up to version 9 a level may be the text of an integer, and counts as one.
func TestLevelsAsText(t *testing.T) {
	for _, v := range event.Versions() {
		for text, want := range map[string]int64{"50": 50, " +7\t": 7, "-3": -3, "0007": 7} {
			p := found(t, v, nil)
			p.be(t, amy, Join)
			d := p.draft(t, event.TypePowerLevels, amy, ptr(""), object{"users": powers{bob: text}, "invite": text})
			if v.Features().IntegerLevels {
				verdict(t, string(v), p.check(t, d), "not an integer")
				continue
			}
			p.set(t, event.TypePowerLevels, object{"users": powers{bob: text}, "invite": text})
			if r := p.rules(t); r.UserLevel(bob) != want || r.InviteLevel() != want {
				t.Errorf("version %s: %q is %d and %d", v, text, r.UserLevel(bob), r.InviteLevel())
			}
		}
		for _, text := range []string{"", "x", "1.5", "1e3", "0x10", "1_000", "9007199254740992", "--1", "1 2"} {
			p := found(t, v, nil)
			p.be(t, amy, Join)
			verdict(t, string(v)+": "+text, p.check(t, p.draft(t, event.TypePowerLevels, amy, ptr(""), object{"kick": text})), "not an integer")
		}
	}
}
