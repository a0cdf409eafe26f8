package model_test

import (
	"fmt"
	"slices"
	"strconv"

	"bongsu/harness/model"
)

// create makes a room, and reads what the server has chosen.
//
// Source: createRoom. The order of events is the one given there; where a preset and initial_state set the same, initial_state stands
// alone.
func (x *run) create(u *user) {
	version := pick(x.dice, x.versions)
	n, _ := strconv.Atoi(version)
	body := model.Content{"room_version": version}
	preset := pick(x.dice, []string{"", "private_chat", "trusted_private_chat", "public_chat", "public_chat"})
	if preset != "" {
		body["preset"] = preset
	}
	if x.chance(3) {
		body["visibility"] = pick(x.dice, []string{"public", "private"})
	}
	if preset == "" {
		preset = "private_chat"
		if body["visibility"] == "public" {
			preset = "public_chat"
		}
	}
	c := &creation{x: x, u: u, n: n, preset: preset, body: body}
	c.choose()
	a := x.call(u, "POST", "/createRoom", body)
	out := read[struct {
		ID string `json:"room_id"`
	}](a)
	r := x.w.NewRoom(out.ID, version)
	for _, e := range c.events() {
		if e.Type != "m.room.create" && !c.first(r) && !r.Allowed(e) {
			fail("%v is not allowed", e)
		}
		x.w.Add(r, e)
	}
	state := *read[[]model.Seen](x.call(u, "GET", path("rooms", r.ID, "state"), nil))
	must(x.w.All(r.Now(), state, u.viewer()))
}

// creation is a room in the making.
type creation struct {
	x       *run
	u       *user
	n       int // the version
	preset  string
	body    model.Content
	invited []*user
	initial []model.Content
	levels  model.Content
}

// first reports whether the room has no rules yet: the creator's join and the power levels come by themselves.
func (*creation) first(r *model.Room) bool { return len(r.Events) < 3 }

// choose fills in the rest of the request.
func (c *creation) choose() {
	x := c.x
	if x.chance(2) {
		c.body["name"] = fmt.Sprintf("Room %d", x.step)
	}
	if x.chance(3) {
		c.body["topic"] = fmt.Sprintf("Topic %d", x.step)
	}
	for range x.dice.IntN(4) {
		if o := x.other(); o != c.u && !slices.Contains(c.invited, o) {
			c.invited = append(c.invited, o)
		}
	}
	slices.SortFunc(c.invited, func(a, b *user) int { return slices.Index(x.users, a) - slices.Index(x.users, b) })
	ids := []string{}
	for _, o := range c.invited {
		ids = append(ids, o.id)
	}
	c.body["invite"] = ids
	if x.chance(4) {
		c.body["is_direct"] = true
	}
	for _, typ := range []string{"m.room.history_visibility", "m.room.join_rules", "org.example.color"} {
		if x.chance(2) {
			content := x.content(typ)
			c.initial = append(c.initial, model.Content{"type": typ, "state_key": "", "content": content})
		}
	}
	c.body["initial_state"] = c.initial
	if x.chance(2) {
		c.levels = model.Content{"events_default": x.dice.IntN(2) * 10, "invite": x.dice.IntN(2) * 50, "users_default": x.dice.IntN(3) * 25,
			"events": map[string]any{"m.room.name": 0, "m.room.topic": 25}}
		c.body["power_level_content_override"] = c.levels
	}
}

// events are what the room must begin with.
func (c *creation) events() []*model.Event {
	event := func(typ, key string, content model.Content) *model.Event {
		return &model.Event{Type: typ, StateKey: ptr(key), Sender: c.u.id, Content: model.Plain(content)}
	}
	member := func(o *user, as string) *model.Event {
		content := o.shown()
		content["membership"] = as
		if as == "invite" && c.body["is_direct"] == true {
			content["is_direct"] = true
		}
		return event("m.room.member", o.id, content)
	}
	free := func(e *model.Event, check func(model.Content) bool) *model.Event {
		e.Free = func(seen model.Content) error {
			if !check(seen) {
				return fmt.Errorf("%w: %s", errFirst, model.JSON(seen))
			}
			return nil
		}
		return e
	}
	first := model.Content{"room_version": c.body["room_version"], "creator": c.u.id}
	if c.trustedCreators() {
		first["additional_creators"] = c.body["invite"]
	}
	out := []*model.Event{
		free(event("m.room.create", "", first), c.goodCreate),
		member(c.u, "join"),
		free(event("m.room.power_levels", "", c.guess()), c.goodLevels),
	}
	rule, guests := "invite", "can_join"
	if c.preset == "public_chat" {
		rule, guests = "public", "forbidden"
	}
	for _, p := range [][3]string{{"m.room.join_rules", "join_rule", rule}, {"m.room.history_visibility", "history_visibility", "shared"},
		{"m.room.guest_access", "guest_access", guests}} {
		if !slices.ContainsFunc(c.initial, func(s model.Content) bool { return s["type"] == p[0] }) {
			out = append(out, event(p[0], "", model.Content{p[1]: p[2]}))
		}
	}
	for _, s := range c.initial {
		typ, _ := s["type"].(string)
		content, _ := s["content"].(model.Content)
		out = append(out, event(typ, "", content))
	}
	if name, ok := c.body["name"]; ok {
		out = append(out, event("m.room.name", "", model.Content{"name": name}))
	}
	if topic, ok := c.body["topic"]; ok { // newer clients read it from m.topic as well
		out = append(out, free(event("m.room.topic", "", model.Content{"topic": topic}),
			func(seen model.Content) bool { return seen["topic"] == topic }))
	}
	for _, o := range c.invited {
		out = append(out, member(o, "invite"))
	}
	return out
}

// trustedCreators reports whether the invited become creators: the preset gives them the creator's power, which in version 12 only
// creators have.
func (c *creation) trustedCreators() bool {
	return c.n >= 12 && c.preset == "trusted_private_chat" && len(c.invited) > 0
}

func (c *creation) goodCreate(seen model.Content) bool {
	creators, _ := seen["additional_creators"].([]any)
	want := 0
	if c.trustedCreators() {
		want = len(c.invited)
	}
	for _, o := range c.invited {
		if want > 0 && !slices.Contains(creators, any(o.id)) {
			return false
		}
	}
	return seen["room_version"] == c.body["room_version"] && len(creators) == want && (c.n >= 11) == (seen["creator"] == nil) &&
		(c.n >= 11 || seen["creator"] == c.u.id)
}

// guess are power levels that let the rest of the room begin; the server's are learned at once.
func (c *creation) guess() model.Content {
	out := model.Content{}
	if c.n < 12 {
		out["users"] = map[string]any{c.u.id: 100}
	}
	return out
}

// goodLevels: what the request wants stands there as it is, the creator may everything, and with the preset for those who are trusted the
// invited as well.
func (c *creation) goodLevels(seen model.Content) bool {
	for k, v := range model.Plain(c.levels) {
		if want, ok := v.(model.Content); ok { // of events, the server may add what the version needs
			got, _ := seen[k].(model.Content)
			for typ, level := range want {
				if got[typ] != level {
					return false
				}
			}
		} else if seen[k] != v {
			return false
		}
	}
	users, _ := seen["users"].(model.Content)
	powerful := []*user{c.u}
	if c.preset == "trusted_private_chat" {
		powerful = append(powerful, c.invited...)
	}
	if c.n >= 12 {
		return len(users) == 0
	}
	for _, o := range powerful {
		if users[o.id] != 100.0 {
			return false
		}
	}
	return len(users) == len(powerful)
}

// content is some content for a type of state.
func (x *run) content(typ string) model.Content {
	one := func(field string, all ...string) model.Content { return model.Content{field: pick(x.dice, all)} }
	switch typ {
	case "m.room.history_visibility":
		return one("history_visibility", "world_readable", "shared", "invited", "joined")
	case "m.room.join_rules":
		c := one("join_rule", "public", "public", "public", "public", "public", "invite", "knock", "restricted", "knock_restricted", "private")
		if x.chance(2) && len(x.w.Rooms) > 0 {
			c["allow"] = []any{map[string]any{"type": "m.room_membership", "room_id": pick(x.dice, x.w.Rooms).ID}}
		}
		return c
	case "m.room.name":
		return one("name", fmt.Sprintf("Room %d", x.step), "", "Lobby")
	case "m.room.topic":
		return one("topic", fmt.Sprintf("Topic %d", x.step))
	}
	return one("color", "red", "green", "blue")
}

// someState is a piece of state that a user might set.
func (x *run) someState(r *model.Room, u *user) (typ, key string, content model.Content) {
	typ = pick(x.dice, []string{"m.room.name", "m.room.name", "m.room.topic", "m.room.topic", "m.room.join_rules", "m.room.join_rules",
		"m.room.history_visibility", "m.room.history_visibility", "m.room.power_levels", "m.room.power_levels", "org.example.color",
		"org.example.color", "m.room.create"})
	switch typ {
	case "org.example.color":
		key = pick(x.dice, []string{"", "k", u.id, x.other().id})
	case "m.room.power_levels":
		return typ, key, x.newLevels(r, u)
	}
	return typ, key, x.content(typ)
}

// newLevels are the room's power levels with one change, which the rules may or may not allow.
func (x *run) newLevels(r *model.Room, u *user) model.Content {
	out := model.Content{}
	if e := r.Now()[model.Key{Type: "m.room.power_levels"}]; e != nil {
		out = model.Plain(e.Content)
	}
	level := pick(x.dice, []int{0, 10, 25, 50, 50, 99, 100, 101})
	table := func(name, key string) {
		t, _ := out[name].(model.Content)
		if t == nil {
			t = model.Content{}
		}
		if x.chance(5) {
			delete(t, key)
		} else {
			t[key] = level
		}
		out[name] = t
	}
	switch x.dice.IntN(8) {
	case 0, 1, 2:
		table("users", x.other().id)
	case 3:
		table("users", u.id)
	case 4:
		table("events", pick(x.dice, []string{"m.room.name", "m.room.topic", "m.room.redaction", "org.example.note", "m.room.message"}))
	case 5:
		table("notifications", "room")
	case 6:
		out[pick(x.dice, []string{"users_default", "events_default", "ban", "kick", "redact", "invite", "state_default"})] = min(level, 50)
	default:
		if r.Version >= 10 { // before, a level might be a string
			out["ban"] = "fifty"
		}
	}
	return out
}
