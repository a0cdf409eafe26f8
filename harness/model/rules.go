package model

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// rules are the authorisation rules in one state of a room.
//
// Source: rooms/v6 to rooms/v12, "Authorisation rules".
type rules struct {
	version int
	state   map[Key]*Event
	levels  Content // of m.room.power_levels
	has     bool    // there are any
}

func (r *Room) rules() rules {
	u := rules{version: r.Version, state: r.Now()}
	if e := u.state[Key{"m.room.power_levels", ""}]; e != nil {
		u.levels, u.has = e.Content, true
	}
	return u
}

// Allowed reports whether the rules let an event into the room as it is now.
func (r *Room) Allowed(e *Event) bool {
	u := r.rules()
	if e.Type == "m.room.create" {
		return false
	}
	if e.Type == "m.room.member" && e.StateKey != nil {
		return u.member(e, *e.StateKey)
	}
	if u.membership(e.Sender) != "join" {
		return false
	}
	def := u.level("events_default", 0)
	if e.StateKey != nil {
		def = u.level("state_default", 50)
	}
	if u.user(e.Sender) < entry(u.levels, "events", e.Type, def) {
		return false
	}
	if e.StateKey != nil && strings.HasPrefix(*e.StateKey, "@") && *e.StateKey != e.Sender {
		return false
	}
	if e.Type == "m.room.power_levels" {
		return u.newLevels(e)
	}
	return true
}

// Level is a user's power level.
func (r *Room) Level(user string) float64 {
	u := r.rules()
	return u.user(user)
}

// MayRedact reports whether a user may redact an event of another. Source: redactEvent; m.room.power_levels, "redact".
func (r *Room) MayRedact(user string, target *Event) bool {
	u := r.rules()
	return user == target.Sender || u.user(user) >= u.level("redact", 50)
}

// number reads a power level; up to version 9 it may be a string.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, v == math.Trunc(v)
	case string:
		n, err := strconv.Atoi(v)
		return float64(n), err == nil
	}
	return 0, false
}

func (u *rules) level(name string, def float64) float64 {
	if n, ok := number(u.levels[name]); ok {
		return n
	}
	return def
}

// entry is a level in one of the tables in the power levels.
func entry(levels Content, table, key string, def float64) float64 {
	t, _ := levels[table].(Content)
	if n, ok := number(t[key]); ok {
		return n
	}
	return def
}

// creators of the room. Source: rooms/v11 (the sender, no longer content.creator), rooms/v12 (additional_creators).
func (u *rules) creators() []string {
	create := u.state[Key{"m.room.create", ""}]
	if u.version < 11 {
		return []string{create.text("creator")}
	}
	out := []string{create.Sender}
	if u.version >= 12 {
		more, _ := create.Content["additional_creators"].([]any)
		for _, m := range more {
			if s, ok := m.(string); ok {
				out = append(out, s)
			}
		}
	}
	return out
}

// user is a user's power level.
func (u *rules) user(user string) float64 {
	creator := slices.Contains(u.creators(), user)
	switch {
	case u.version >= 12 && creator:
		return math.Inf(1)
	case !u.has && creator:
		return 100
	}
	return entry(u.levels, "users", user, u.level("users_default", 0))
}

func (u *rules) membership(user string) string {
	if e := u.state[Key{"m.room.member", user}]; e != nil {
		return e.text("membership")
	}
	return ""
}

func (u *rules) joinRule() string {
	rule := "invite"
	if e := u.state[Key{"m.room.join_rules", ""}]; e != nil {
		rule = e.text("join_rule")
	}
	since := map[string]int{"public": 1, "invite": 1, "knock": 7, "restricted": 8, "knock_restricted": 10}
	if first, known := since[rule]; !known || u.version < first {
		return "" // lets nobody join
	}
	return rule
}

// member is the rule of m.room.member.
func (u *rules) member(e *Event, target string) bool {
	sender, was, own := e.Sender, u.membership(target), e.Sender == target
	in, power := u.membership(sender) == "join", u.user(sender)
	switch e.text("membership") {
	case "join":
		if !own || was == "ban" {
			return false
		}
		switch u.joinRule() {
		case "public":
			return true
		case "invite", "knock":
			return was == "join" || was == "invite"
		case "restricted", "knock_restricted":
			if was == "join" || was == "invite" {
				return true
			}
			by := e.text("join_authorised_via_users_server")
			return u.membership(by) == "join" && u.user(by) >= u.level("invite", 0)
		}
		return false
	case "invite":
		return in && was != "join" && was != "ban" && power >= u.level("invite", 0)
	case "leave":
		if own {
			return was == "join" || was == "invite" || was == "knock" && u.version >= 7
		}
		if !in || was == "ban" && power < u.level("ban", 50) {
			return false
		}
		return power >= u.level("kick", 50) && power > u.user(target)
	case "ban":
		return in && power >= u.level("ban", 50) && power > u.user(target)
	case "knock":
		rule := u.joinRule()
		return own && (rule == "knock" || rule == "knock_restricted") && was != "ban" && was != "invite" && was != "join"
	}
	return false
}

// newLevels is the rule of m.room.power_levels.
func (u *rules) newLevels(e *Event) bool {
	tables := []string{"events", "notifications", "users"}
	names := []string{"users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"}
	valid := func(v any) bool {
		_, text := v.(string)
		_, ok := number(v)
		return ok && (!text || u.version < 10)
	}
	for _, n := range names {
		if v, there := e.Content[n]; there && !valid(v) {
			return false
		}
	}
	for _, t := range tables {
		v, there := e.Content[t]
		table, ok := v.(Content)
		if there && !ok {
			return false
		}
		for _, v := range table {
			if !valid(v) {
				return false
			}
		}
	}
	if u.version >= 12 {
		users, _ := e.Content["users"].(Content)
		for _, c := range u.creators() {
			if _, there := users[c]; there {
				return false
			}
		}
	}
	if !u.has {
		return true
	}
	own := u.user(e.Sender)
	if !reaches(own, u.levels, e.Content, names, "") {
		return false
	}
	for _, t := range tables {
		was, _ := u.levels[t].(Content)
		is, _ := e.Content[t].(Content)
		keys := []string{}
		for k := range was {
			keys = append(keys, k)
		}
		for k := range is {
			keys = append(keys, k)
		}
		sender := ""
		if t == "users" {
			sender = e.Sender
		}
		if !reaches(own, was, is, keys, sender) {
			return false
		}
	}
	return true
}

// reaches reports whether the level own is enough for all changes: nobody touches or sets what is above their own level and, in the
// table of users, where sender is not empty, what others have at the same level.
func reaches(own float64, was, is Content, keys []string, sender string) bool {
	for _, k := range keys {
		a, before := number(was[k])
		b, after := number(is[k])
		if before == after && a == b {
			continue
		}
		if before && (a > own || sender != "" && k != sender && a >= own) || after && b > own {
			return false
		}
	}
	return true
}

// Vouchers are the users who could let somebody into a restricted room: those in it who may invite.
func (r *Room) Vouchers() []string {
	u := r.rules()
	return slices.DeleteFunc(r.Joined(), func(user string) bool { return u.user(user) < u.level("invite", 0) })
}

// NeedsVoucher reports whether the user's join must be vouched for.
func (r *Room) NeedsVoucher(user string) bool {
	u := r.rules()
	rule, m := u.joinRule(), u.membership(user)
	return (rule == "restricted" || rule == "knock_restricted") && m != "join" && m != "invite" && m != "ban"
}

// Opened reports whether the user is in one of the rooms whose members may join. Source: client-server API, "Restricted rooms".
func (w *World) Opened(r *Room, user string) bool {
	e := r.Now()[Key{"m.room.join_rules", ""}]
	if e == nil {
		return false
	}
	allow, _ := e.Content["allow"].([]any)
	for _, a := range allow {
		c, _ := a.(Content)
		id, _ := c["room_id"].(string)
		if other := w.Room(id); c["type"] == "m.room_membership" && other != nil && other.Membership(user) == "join" {
			return true
		}
	}
	return false
}
