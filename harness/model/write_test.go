package model_test

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"

	"bongsu/harness/model"
)

// act lets a user do something.
func (x *run) act(u *user) {
	if len(x.w.Rooms) == 0 || x.chance(40) && x.wantsRoom() {
		x.counts["create"]++
		x.did[x.step] = deed{u, false}
		x.create(u)
		return
	}
	r := x.roomOf(u)
	for n, i := x.dice.IntN(total), 0; ; i++ {
		if n -= actions[i].weight; n < 0 {
			if actions[i].power && !x.chance(3) {
				u = x.powerful(r, u)
			}
			x.counts[actions[i].name]++
			x.did[x.step] = deed{u, actions[i].light}
			actions[i].do(x, u, r)
			return
		}
	}
}

// wantsRoom reports whether there are too few rooms in which two might meet: some close for good.
func (x *run) wantsRoom() bool {
	living := 0
	for _, r := range x.w.Rooms {
		if len(r.Joined()) > 1 {
			living++
		}
	}
	return living < x.rooms && len(x.w.Rooms) < 10*x.rooms
}

// roomOf is a room, most often one that the user is in.
func (x *run) roomOf(u *user) *model.Room {
	if x.chance(8) {
		return pick(x.dice, x.w.Rooms)
	}
	return x.roomWhere(u, "join")
}

// roomWhere is a room in which the user's membership is of a kind, if there is one.
func (x *run) roomWhere(u *user, membership string) *model.Room {
	first := x.dice.IntN(len(x.w.Rooms))
	for i := range x.w.Rooms {
		if r := x.w.Rooms[(first+i)%len(x.w.Rooms)]; r.Membership(u.id) == membership {
			return r
		}
	}
	return x.w.Rooms[first]
}

// powerful is somebody in the room who has some power there; u if there is nobody.
func (x *run) powerful(r *model.Room, u *user) *user {
	in := r.Joined()
	if len(in) == 0 {
		return u
	}
	first := x.dice.IntN(len(in))
	for i := range in {
		if id := in[(first+i)%len(in)]; r.Level(id) >= 50 {
			return x.named(id)
		}
	}
	return u
}

func (x *run) named(id string) *user {
	return x.users[slices.IndexFunc(x.users, func(u *user) bool { return u.id == id })]
}

// toEnter is a room that the user might come into: one that the user is invited to, or any.
func (x *run) toEnter(u *user) *model.Room {
	if x.chance(2) {
		return x.roomWhere(u, "invite")
	}
	return pick(x.dice, x.w.Rooms)
}

// action is something that users do, the more often the greater the weight.
type action struct {
	name   string
	weight int
	light  bool // see deed
	power  bool // most often somebody with power does it
	do     func(*run, *user, *model.Room)
}

var actions = []action{
	{"message", 400, true, false, (*run).message},
	{"state", 70, false, true, (*run).state},
	{"member state", 10, false, false, (*run).memberState},
	{"redact", 40, true, true, (*run).redact},
	{"join", 90, false, false, func(x *run, u *user, _ *model.Room) { x.join(u, x.toEnter(u)) }},
	{"invite", 60, false, true, func(x *run, u *user, r *model.Room) { x.target(u, r, "invite") }},
	{"leave", 18, false, false, (*run).leave},
	{"kick", 12, false, true, func(x *run, u *user, r *model.Room) { x.target(u, r, "kick") }},
	{"ban", 12, false, true, func(x *run, u *user, r *model.Room) { x.target(u, r, "ban") }},
	{"unban", 15, false, true, func(x *run, u *user, r *model.Room) { x.target(u, r, "unban") }},
	{"knock", 30, false, false, func(x *run, u *user, _ *model.Room) { x.knock(u, pick(x.dice, x.w.Rooms)) }},
	{"forget", 15, false, false, func(x *run, u *user, _ *model.Room) { x.forget(u, pick(x.dice, x.w.Rooms)) }},
	{"receipt", 30, true, false, (*run).receipt},
	{"account data", 20, true, false, (*run).accountData},
	{"ignore", 6, true, false, (*run).ignore},
	{"profile", 4, false, false, (*run).profile},
	{"sync", 130, true, false, (*run).sync},
	{"messages", 60, true, false, (*run).messages},
	{"read state", 15, true, false, (*run).readState},
	{"read one state", 10, true, false, (*run).readOneState},
	{"members", 15, true, false, (*run).members},
	{"joined members", 5, true, false, (*run).joinedMembers},
	{"event", 20, true, false, (*run).event},
	{"context", 15, true, false, (*run).context},
	{"joined rooms", 5, true, false, (*run).joinedRooms},
}

var total = func() (n int) {
	for _, a := range actions {
		n += a.weight
	}
	return n
}()

func ptr[T any](v T) *T { return &v }

// txn is a transaction id; a step has several at most.
func (x *run) txn(n int) string { return fmt.Sprintf("t%d.%d", x.step, n) }

type eventID struct {
	ID string `json:"event_id"`
}

// message sends something that is not state, and now and then repeats the request, which must change nothing.
func (x *run) message(u *user, r *model.Room) {
	typ, content := "m.room.message", model.Content{"msgtype": "m.text", "body": fmt.Sprintf("hello %d", x.step)}
	if x.chance(5) {
		typ = "org.example.note"
	}
	if x.chance(5) {
		content["url"] = "mxc://h/picture"
	}
	e := &model.Event{Type: typ, Sender: u.id, Device: u.device, Txn: x.txn(0), Content: content}
	where := path("rooms", r.ID, "send", typ, e.Txn)
	a := x.call(u, "PUT", where, content)
	if !r.Allowed(e) {
		refused(a, 403, forbidden, "the rules do not let this in")
		return
	}
	e.ID = read[eventID](a).ID
	x.w.Add(r, e)
	x.sent++
	if x.chance(20) {
		if again := read[eventID](x.call(u, "PUT", where, content)).ID; again != e.ID {
			fail("the repeated request made another event, %s after %s", again, e.ID)
		}
	}
}

// state sets a piece of state.
func (x *run) state(u *user, r *model.Room) {
	typ, key, content := x.someState(r, u)
	where := path("rooms", r.ID, "state", typ)
	if key != "" {
		where += path(key)
	}
	x.setState(r, &model.Event{Type: typ, StateKey: &key, Sender: u.id, Content: model.Plain(content)}, x.call(u, "PUT", where, content))
}

// setState is what PUT .../state must have done. Setting what is set already by the same user may make no new event.
func (x *run) setState(r *model.Room, e *model.Event, a *answer) {
	if !r.Allowed(e) {
		refused(a, 403, forbidden, "the rules do not let this in")
		return
	}
	id := read[eventID](a).ID
	if was := same(r, e); was != nil && (was.ID == id || was.ID == "") {
		must(x.w.Same(was, &model.Seen{ID: id, Type: e.Type, Sender: e.Sender, StateKey: e.StateKey, Content: e.Content,
			Unsigned: unsignedOf(was)}, model.Viewer{}))
		return
	}
	e.ID = id
	x.w.Add(r, e)
}

// unsignedOf is what is known of an event that only its id is wanted of.
func unsignedOf(e *model.Event) (u struct {
	Txn         *string       `json:"transaction_id"`
	PrevContent model.Content `json:"prev_content"`
	Replaces    *string       `json:"replaces_state"`
	Because     *model.Seen   `json:"redacted_because"`
}) {
	if e.Redactions != nil {
		u.Because = &model.Seen{ID: e.Redactions[0].ID}
	}
	return u
}

// same is the piece of state that says what e would, by the same user.
func same(r *model.Room, e *model.Event) *model.Event {
	was := r.Now()[model.Key{Type: e.Type, StateKey: *e.StateKey}]
	if was == nil || was.Sender != e.Sender || !(len(was.Content)+len(e.Content) == 0 || reflect.DeepEqual(was.Content, e.Content)) {
		return nil
	}
	return was
}

// memberState changes a membership the long way, by setting state.
func (x *run) memberState(u *user, r *model.Room) {
	target := u
	if x.chance(2) {
		target = x.other()
	}
	content := model.Content{"membership": pick(x.dice, []string{"join", "leave", "invite", "ban", "knock"})}
	if x.chance(3) {
		content["displayname"] = fmt.Sprintf("called %d", x.step)
	}
	e := &model.Event{Type: "m.room.member", StateKey: &target.id, Sender: u.id, Content: content}
	x.setState(r, e, x.call(u, "PUT", path("rooms", r.ID, "state", "m.room.member", target.id), content))
}

// redact takes back an event of somebody.
func (x *run) redact(u *user, r *model.Room) {
	target := &model.Event{ID: "$nobody-has-sent-this"}
	if i := max(0, len(r.Events)-1-x.dice.IntN(40)); !x.chance(12) && r.Events[i].ID != "" {
		target = r.Events[i]
	}
	e := &model.Event{Type: "m.room.redaction", Sender: u.id, Device: u.device, Txn: x.txn(0), Redacts: target.ID, Content: model.Content{}}
	if x.chance(2) {
		e.Content["reason"] = "a mistake"
	}
	a := x.call(u, "PUT", path("rooms", r.ID, "redact", target.ID, e.Txn), e.Content)
	if r.Version >= 11 {
		e.Content = model.Plain(e.Content)
		e.Content["redacts"] = target.ID
	}
	switch {
	case !r.Allowed(e):
		refused(a, 403, forbidden, "the rules do not let the redaction in")
		return
	case target.Type == "":
		refused(a, 404, "M_NOT_FOUND", "there is no such event")
		return
	case target.Type == "m.room.create": // the specification leaves this open
		refused(a, 403, forbidden, "rooms need their create event")
		return
	case !r.MayRedact(u.id, target):
		refused(a, 403, forbidden, "the event is of somebody else")
		return
	}
	e.ID = read[eventID](a).ID
	x.w.Add(r, e)
	r.Redact(target, e)
}

// change is what a change of a membership must have done: an event, unless it is so already.
func (x *run) change(u *user, r *model.Room, target *user, as string, content model.Content, a *answer) *model.Event {
	e := &model.Event{Type: "m.room.member", Sender: u.id, StateKey: ptr(target.id), Content: content}
	content["membership"] = as
	if !r.Allowed(e) {
		refused(a, 403, forbidden, "the rules do not let this in")
		return nil
	}
	read[struct{}](a)
	if same(r, e) != nil {
		return nil
	}
	x.w.Add(r, e)
	return e
}

// shown is the content of a member event with what a user is called.
func (u *user) shown() model.Content {
	c := model.Content{}
	if u.display != "" {
		c["displayname"] = u.display
	}
	if u.avatar != "" {
		c["avatar_url"] = u.avatar
	}
	return c
}

// reason is the body of a request, and what it adds to the event.
func (x *run) reason(c model.Content) model.Content {
	if x.chance(4) {
		c["reason"] = fmt.Sprintf("because %d", x.step)
		return model.Content{"reason": c["reason"]}
	}
	return model.Content{}
}

// join enters a room. Who is in it already stays; for a restricted room the server finds somebody who vouches.
func (x *run) join(u *user, r *model.Room) {
	content := u.shown()
	body := x.reason(content)
	where := path("rooms", r.ID, "join")
	if x.chance(2) {
		where = path("join", r.ID)
	}
	a := x.call(u, "POST", where, body)
	if r.Membership(u.id) == "join" {
		read[struct{}](a)
		return
	}
	if !r.NeedsVoucher(u.id) {
		x.change(u, r, u, "join", content, a)
		return
	}
	vouchers := r.Vouchers()
	if !x.w.Opened(r, u.id) || len(vouchers) == 0 {
		refused(a, 403, forbidden, "nothing opens the room to the user")
		return
	}
	const by = "join_authorised_via_users_server"
	content[by] = vouchers[0]
	e := x.change(u, r, u, "join", content, a)
	e.Free = func(seen model.Content) error {
		voucher, _ := seen[by].(string)
		content[by] = voucher
		if !slices.Contains(vouchers, voucher) || !reflect.DeepEqual(seen, content) {
			return fmt.Errorf("%s is not who could vouch: %v", model.JSON(seen), vouchers)
		}
		return nil
	}
	x.learnMember(u, r, e)
}

// learnMember reads the user's own member event.
func (x *run) learnMember(u *user, r *model.Room, e *model.Event) {
	seen := read[model.Seen](x.call(u, "GET", path("rooms", r.ID, "state", "m.room.member", u.id)+"?format=event", nil))
	must(x.w.Same(e, seen, u.viewer()))
}

// leave leaves a room, refuses an invite or takes a knock back. Leaving again does nothing.
func (x *run) leave(u *user, r *model.Room) {
	content := model.Content{}
	body := x.reason(content)
	a := x.call(u, "POST", path("rooms", r.ID, "leave"), body)
	if r.Membership(u.id) == "leave" {
		read[struct{}](a)
		return
	}
	x.change(u, r, u, "leave", content, a)
}

// target does something to somebody. Whoever is not in the room cannot be kicked, nor unbanned who is not banned.
func (x *run) target(u *user, r *model.Room, what string) {
	target := x.other()
	if in := r.Joined(); what != "invite" && len(in) > 0 && x.chance(2) {
		target = x.named(pick(x.dice, in))
	}
	content := model.Content{}
	if what == "invite" {
		content = target.shown()
	}
	body := x.reason(content)
	body["user_id"] = target.id
	a := x.call(u, "POST", path("rooms", r.ID, what), body)
	m := r.Membership(target.id)
	if what == "kick" && m != "join" && m != "invite" && m != "knock" || what == "unban" && m != "ban" {
		refused(a, 403, forbidden, "the user's membership is "+m)
		return
	}
	x.change(u, r, target, map[string]string{"invite": "invite", "kick": "leave", "ban": "ban", "unban": "leave"}[what], content, a)
}

func (x *run) knock(u *user, r *model.Room) {
	content := u.shown()
	body := x.reason(content)
	x.change(u, r, u, "knock", content, x.call(u, "POST", path("knock", r.ID), body))
}

// forget takes a room that was left out of sight.
func (x *run) forget(u *user, r *model.Room) {
	a := x.call(u, "POST", path("rooms", r.ID, "forget"), model.Content{})
	switch r.Membership(u.id) {
	case "leave", "ban":
		read[struct{}](a)
		r.Forgotten[u.id] = true
	case "":
		if a.status != http.StatusForbidden { // not in the specification, as it seems
			fail("a stranger has forgotten a room: %v", a)
		}
	default:
		if a.status != http.StatusBadRequest {
			fail("a room was forgotten that was not left: %v", a)
		}
	}
}

// receipt says how far the user has read, in one way or another.
func (x *run) receipt(u *user, r *model.Room) {
	e := r.Events[max(0, len(r.Events)-1-x.dice.IntN(15))]
	if e.ID == "" {
		return
	}
	typ := pick(x.dice, []string{"m.read", "m.read", "m.read.private"})
	markers := x.chance(4)
	var a *answer
	if markers {
		a = x.call(u, "POST", path("rooms", r.ID, "read_markers"), model.Content{typ: e.ID, "m.fully_read": e.ID})
	} else {
		a = x.call(u, "POST", path("rooms", r.ID, "receipt", typ, e.ID), model.Content{})
	}
	if r.Membership(u.id) != "join" {
		refused(a, 403, forbidden, "the user is not in the room")
		return
	}
	read[struct{}](a)
	x.w.Read(r, u.id, typ, e)
	if markers {
		x.w.Mark(r, u.id, e)
	}
}

func (x *run) accountData(u *user, r *model.Room) {
	typ, content := fmt.Sprintf("org.example.%d", x.dice.IntN(4)), model.Plain(model.Content{"is": x.step})
	in, where := "", path("user", u.id, "account_data", typ)
	if x.chance(2) {
		in, where = r.ID, path("user", u.id, "rooms", r.ID, "account_data", typ)
	}
	read[struct{}](x.call(u, "PUT", where, content))
	x.w.SetData(u.id, in, typ, content)
	if got := read[model.Content](x.call(u, "GET", where, nil)); !reflect.DeepEqual(*got, content) {
		fail("account data %s is %s", typ, model.JSON(got))
	}
}

// ignore says whom the user wants to hear no more: two at most, in place of those before.
func (x *run) ignore(u *user, _ *model.Room) {
	list := model.Content{}
	for range x.dice.IntN(3) {
		list[x.other().id] = model.Content{}
	}
	const typ = "m.ignored_user_list"
	content := model.Plain(model.Content{"ignored_users": list})
	read[struct{}](x.call(u, "PUT", path("user", u.id, "account_data", typ), content))
	x.w.SetData(u.id, "", typ, content)
}

// profile gives the user a new name or picture, which is shown in all rooms that let the user in.
func (x *run) profile(u *user, _ *model.Room) {
	field, value := "displayname", fmt.Sprintf("Name %d", x.step)
	if x.chance(3) {
		field, value = "avatar_url", fmt.Sprintf("mxc://h/%d", x.step)
		u.avatar = value
	} else {
		u.display = value
	}
	read[struct{}](x.call(u, "PUT", path("profile", u.id, field), model.Content{field: value}))
	for _, r := range x.w.Rooms {
		content := u.shown()
		content["membership"] = "join"
		e := &model.Event{Type: "m.room.member", Sender: u.id, StateKey: ptr(u.id), Content: content}
		if r.Membership(u.id) == "join" && r.Allowed(e) && same(r, e) == nil {
			x.w.Add(r, e)
		}
	}
}

var errFirst = errors.New("this is not how the room should begin")
