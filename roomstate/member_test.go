package roomstate

import (
	"fmt"
	"strings"
	"testing"

	"bongsu/errs"
	"bongsu/event"
)

// verdict compares an error of Check with the words that it should have; no words mean that it is allowed.
func verdict(t *testing.T, name string, err error, words string) {
	t.Helper()
	switch {
	case words == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case words != "" && err == nil:
		t.Errorf("%s: allowed, want %q", name, words)
	case words != "" && (!errs.Is(err, errs.Forbidden) || !strings.Contains(err.Error(), words)):
		t.Errorf("%s: %v, want %q", name, err, words)
	}
}

var memberships = []Membership{"", Invite, Join, Leave, Ban, Knock}

// TestOwnMembership: what a user of each membership may do with it, under each join rule.
func TestOwnMembership(t *testing.T) {
	const (
		invited = "open to the invited"
		banned  = "banned"
		nobody  = "lets nobody join"
		noKnock = "does not take knocks"

		noMember = "is not a membership"
	)
	joins := map[string]map[Membership]string{
		JoinPublic:          {Ban: banned},
		JoinInvite:          {"": invited, Leave: invited, Knock: invited, Ban: banned},
		"":                  {"": invited, Leave: invited, Knock: invited, Ban: banned}, // no join rules
		JoinKnock:           {"": invited, Leave: invited, Knock: invited, Ban: banned},
		JoinRestricted:      {"": invited, Leave: invited, Knock: invited, Ban: banned},
		JoinKnockRestricted: {"": invited, Leave: invited, Knock: invited, Ban: banned},
		JoinPrivate:         {"": nobody, Leave: nobody, Knock: nobody, Ban: banned, Join: nobody, Invite: nobody},
		"something":         {"": nobody, Leave: nobody, Knock: nobody, Ban: banned, Join: nobody, Invite: nobody},
	}
	knocks := map[Membership]string{Ban: banned, Invite: "invited already", Join: "in the room already"}
	leaves := map[Membership]string{"": "not in the room", Leave: "not in the room", Ban: banned}
	for _, v := range event.Versions() {
		for rule, join := range joins {
			for _, m := range memberships {
				p := settled(t, v, nil)
				if rule != "" {
					p.set(t, event.TypeJoinRules, object{"join_rule": rule})
				}
				p.be(t, cat, m)
				name := fmt.Sprintf("version %s, rule %q, %q to ", v, rule, m)
				known := rule == "" || HasJoinRule(v, rule)
				wantJoin := join[m]
				if !known {
					wantJoin = joins["something"][m]
				}
				verdict(t, name+"join", p.check(t, p.member(t, cat, cat, object{"membership": Join})), wantJoin)
				verdict(t, name+"leave", p.check(t, p.member(t, cat, cat, object{"membership": Leave})), leaves[m])
				want := knocks[m]
				switch {
				case !v.Features().Knocking:
					want = noMember
				case !known || rule != JoinKnock && rule != JoinKnockRestricted:
					want = noKnock
				}
				verdict(t, name+"knock", p.check(t, p.member(t, cat, cat, object{"membership": Knock})), want)
				if want != noKnock && want != noMember {
					want = "nobody can knock for"
				}
				verdict(t, name+"knock for another", p.check(t, p.member(t, bob, cat, object{"membership": Knock})), want)
				verdict(t, name+"join for another", p.check(t, p.member(t, amy, cat, object{"membership": Join})), "nobody can join for")
			}
		}
	}
}

// TestPower: inviting, kicking, banning and lifting bans, for each membership of sender and target and for levels of the
// sender below, at and above what it takes and the target's.
func TestPower(t *testing.T) {
	for _, v := range event.Versions() {
		for _, from := range memberships {
			for _, to := range memberships {
				for _, level := range []int{9, 10, 20, 29, 30, 31, 40} {
					for _, targetLevel := range []int{0, 20, 30} {
						p := settled(t, v, object{
							"invite": 10, "kick": 20, "ban": 30, "users": powers{bob: level, cat: targetLevel},
						})
						p.be(t, bob, from)
						p.be(t, cat, to)
						name := fmt.Sprintf("version %s, sender %q at %d, target %q at %d: ", v, from, level, to, targetLevel)
						in := from == Join
						for next, ok := range map[Membership]bool{
							Invite: in && to != Join && to != Ban && level >= 10,
							Leave:  in && level >= 20 && level > targetLevel && (to != Ban || level >= 30),
							Ban:    in && level >= 30 && level > targetLevel,
						} {
							err := p.check(t, p.member(t, bob, cat, object{"membership": next}))
							if (err == nil) != ok || err != nil && !errs.Is(err, errs.Forbidden) {
								t.Errorf("%s%s: %v", name, next, err)
							}
						}
					}
				}
			}
		}
	}
}

// TestCreatorPower: from version 12 on the creators stand above every level, below it the creator has what is written.
func TestCreatorPower(t *testing.T) {
	for _, v := range event.Versions() {
		p := found(t, v, object{"additional_creators": []any{cat}})
		p.be(t, amy, Join)
		p.be(t, bob, Join)
		p.be(t, cat, Join)
		p.set(t, event.TypePowerLevels, object{"users": powers{bob: event.MaxInt}, "ban": event.MaxInt, "events": object{"x": event.MaxInt}})
		infinite := v == event.V12
		for name, c := range map[string]struct {
			d  event.Draft
			ok bool
		}{
			"a creator bans the highest":         {p.member(t, amy, bob, object{"membership": Ban}), infinite},
			"another creator bans the highest":   {p.member(t, cat, bob, object{"membership": Ban}), infinite},
			"the highest bans a creator":         {p.member(t, bob, amy, object{"membership": Ban}), !infinite},
			"a creator bans another":             {p.member(t, amy, cat, object{"membership": Ban}), false},
			"a creator sends what takes most":    {p.draft(t, "x", amy, nil, object{}), infinite},
			"the highest sends what takes most":  {p.draft(t, "x", bob, nil, object{}), true},
			"another creator sets all levels":    {p.draft(t, event.TypePowerLevels, cat, ptr(""), object{"users": powers{bob: 0}}), infinite},
			"the highest gives a creator levels": {p.draft(t, event.TypePowerLevels, bob, ptr(""), object{"users": powers{bob: event.MaxInt, cat: 1}}), !infinite},
		} {
			if err := p.check(t, c.d); (err == nil) != c.ok {
				t.Errorf("version %s: %s: %v", v, name, err)
			}
		}
		if got := p.rules(t).UserLevel(amy); (got == Infinite) != infinite {
			t.Errorf("version %s: amy has %d", v, got)
		}
		if got := len(p.rules(t).Creators()); got != map[bool]int{true: 2, false: 1}[infinite] {
			t.Errorf("version %s: %d creators", v, got)
		}
	}
}

func TestRestrictedJoin(t *testing.T) {
	for _, v := range event.Versions() {
		for _, rule := range []string{JoinRestricted, JoinKnockRestricted} {
			p := settled(t, v, object{"invite": 50})
			p.set(t, event.TypeJoinRules, object{"join_rule": rule, "allow": []any{
				object{"type": "m.room_membership", "room_id": "!a:h"}, object{"type": "other", "room_id": "!b:h"},
				object{"type": "m.room_membership", "room_id": 5}, object{"type": "m.room_membership", "room_id": "!c:h"}, "x",
			}})
			p.be(t, bob, Join)
			p.be(t, dan, Join)
			if !HasJoinRule(v, rule) {
				d := p.member(t, cat, cat, object{"membership": Join, "join_authorised_via_users_server": bob})
				verdict(t, "version "+string(v), p.check(t, d), "lets nobody join")
				continue
			}
			for name, c := range map[string]struct {
				by    any
				words string
			}{
				"by who may invite":        {bob, ""},
				"by a creator":             {amy, ""},
				"by who may not":           {dan, "may not invite"},
				"by who is not there":      {"@x:h", "not in the room"},
				"by something else":        {5, "open to the invited and to members"},
				"by the joining one alone": {cat, "not in the room"},
			} {
				d := p.member(t, cat, cat, object{"membership": Join, "join_authorised_via_users_server": c.by})
				verdict(t, name, p.check(t, d), c.words)
			}
			r := p.rules(t)
			if r.JoinRule() != rule || fmt.Sprint(r.AllowedRooms()) != "[!a:h !c:h]" {
				t.Errorf("%s, %v", r.JoinRule(), r.AllowedRooms())
			}
		}
	}
}

// TestFirstJoin: the creator joins right after the create event whatever the join rule is, and then no more.
func TestFirstJoin(t *testing.T) {
	for _, v := range event.Versions() {
		p := found(t, v, nil)
		d := p.member(t, amy, amy, object{"membership": Join})
		verdict(t, "first", p.check(t, d), "")
		verdict(t, "another", p.check(t, p.member(t, bob, bob, object{"membership": Join})), "open to the invited")
		p.add(t, d)
		p.be(t, amy, Leave)
		verdict(t, "again", p.check(t, p.member(t, amy, amy, object{"membership": Join})), "open to the invited")
	}
}

func TestMalformedMember(t *testing.T) {
	for _, v := range event.Versions() {
		p := settled(t, v, nil)
		p.set(t, event.TypeJoinRules, object{"join_rule": JoinPublic})
		for name, c := range map[string]any{
			"none": object{}, "null": object{"membership": nil}, "number": object{"membership": 5},
			"unknown": object{"membership": "owner"}, "object": object{"membership": object{}},
		} {
			verdict(t, name, p.check(t, p.member(t, amy, amy, c)), "not a membership")
		}
		d := p.draft(t, event.TypeMember, amy, nil, object{"membership": Join})
		verdict(t, "no state key", p.check(t, d), "state key")
	}
}

func TestFederate(t *testing.T) {
	for _, v := range event.Versions() {
		for _, c := range []struct {
			federate any
			words    string
		}{{false, "users of h only"}, {true, ""}, {"false", ""}, {nil, ""}} {
			p := found(t, v, object{"m.federate": c.federate})
			p.be(t, amy, Join)
			p.set(t, event.TypeJoinRules, object{"join_rule": JoinPublic})
			verdict(t, fmt.Sprint(c.federate), p.check(t, p.member(t, dan, dan, object{"membership": Join})), c.words)
			verdict(t, fmt.Sprint(c.federate), p.check(t, p.member(t, bob, bob, object{"membership": Join})), "")
		}
	}
}

func TestAuthKeys(t *testing.T) {
	for _, v := range event.Versions() {
		p := settled(t, v, nil)
		for name, c := range map[string]struct {
			d    event.Draft
			want string
		}{
			"message": {p.draft(t, "m.room.message", bob, nil, object{}), "power_levels/ member/@bob:h"},
			"state":   {p.draft(t, "m.room.name", bob, ptr(""), object{}), "power_levels/ member/@bob:h"},
			"join":    {p.member(t, bob, bob, object{"membership": Join}), "power_levels/ member/@bob:h join_rules/"},
			"knock":   {p.member(t, bob, bob, object{"membership": Knock}), "power_levels/ member/@bob:h join_rules/"},
			"leave":   {p.member(t, bob, bob, object{"membership": Leave}), "power_levels/ member/@bob:h"},
			"kick":    {p.member(t, amy, bob, object{"membership": Leave}), "power_levels/ member/@amy:h member/@bob:h"},
			"ban":     {p.member(t, amy, bob, object{"membership": Ban}), "power_levels/ member/@amy:h member/@bob:h"},
			"invite":  {p.member(t, amy, bob, object{"membership": Invite}), "power_levels/ member/@amy:h member/@bob:h join_rules/"},
			"restricted": {p.member(t, bob, bob, object{"membership": Join, "join_authorised_via_users_server": amy}),
				"power_levels/ member/@bob:h join_rules/ member/@amy:h"},
			"third party": {p.member(t, amy, bob, object{"membership": Invite, "third_party_invite": object{"signed": object{"token": "t"}}}),
				"power_levels/ member/@amy:h member/@bob:h join_rules/ third_party_invite/t"},
			"create": {event.Draft{Type: event.TypeCreate, Sender: amy, StateKey: ptr("")}, ""},
		} {
			var got []string
			for _, k := range AuthKeys(v, &c.d) {
				got = append(got, strings.TrimPrefix(k.Type, "m.room.")+"/"+k.StateKey)
			}
			want := c.want
			if name == "restricted" && !v.Features().Restricted {
				want = strings.TrimSuffix(want, " member/@amy:h")
			}
			if v != event.V12 && want != "" {
				want = "create/ " + want
			}
			if s := strings.Join(got, " "); s != want {
				t.Errorf("version %s, %s: %s, want %s", v, name, s, want)
			}
		}
	}
}

func TestMembershipOf(t *testing.T) {
	p := found(t, event.V12, nil)
	if m := MembershipOf(nil); m != "" {
		t.Errorf("of nobody: %q", m)
	}
	if m := MembershipOf(p.add(t, p.member(t, amy, amy, object{"membership": Join}))); m != Join {
		t.Errorf("got %q", m)
	}
}
