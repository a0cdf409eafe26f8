package roomstate

import (
	"encoding/json"

	"bongsu/event"
	"bongsu/id"
)

// failer is the part of testing.TB that a property check has too.
type failer interface {
	Helper()
	Fatal(...any)
}

// The people of the tests. Amy makes the rooms.
const (
	amy id.UserID = "@amy:h"
	bob id.UserID = "@bob:h"
	cat id.UserID = "@cat:h"
	dan id.UserID = "@dan:elsewhere"
)

// place is a room: state, and the end of its history.
type place struct {
	v     event.RoomVersion
	room  id.RoomID
	state map[Key]*event.Event
	last  *event.Event
}

type (
	object = map[string]any
	powers = map[id.UserID]any
)

func content(tb failer, v any) event.Object {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := event.Canonical(nil, b)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// found makes a room that has nothing but its create event.
func found(tb failer, v event.RoomVersion, more object) *place {
	tb.Helper()
	c := object{"room_version": string(v)}
	if v.Features().CreatorInContent {
		c["creator"] = amy
	}
	for key, val := range more {
		c[key] = val
	}
	p := &place{v: v, state: map[Key]*event.Event{}}
	d := event.Draft{Type: event.TypeCreate, Sender: amy, StateKey: new(string), Content: content(tb, c)}
	if !v.Features().RoomIDIsHash {
		d.RoomID = "!room:h"
	}
	if err := CheckCreate(v, &d); err != nil {
		tb.Fatal(err)
	}
	p.add(tb, d)
	p.room = p.last.RoomID
	return p
}

// draft of an event at the end of the room; a nil key makes a message.
func (p *place) draft(tb failer, typ string, sender id.UserID, key *string, c any) event.Draft {
	tb.Helper()
	d := event.Draft{RoomID: p.room, Type: typ, Sender: sender, StateKey: key, Content: content(tb, c), Depth: p.last.Depth + 1}
	d.PrevEvents = []id.EventID{p.last.ID}
	for _, k := range AuthKeys(p.v, &d) {
		if ev := p.state[k]; ev != nil {
			d.AuthEvents = append(d.AuthEvents, ev.ID)
		}
	}
	return d
}

// add builds the event and makes it the end of the room, whatever the rules say.
func (p *place) add(tb failer, d event.Draft) *event.Event {
	tb.Helper()
	ev, err := event.Build(p.v, d)
	if err != nil {
		tb.Fatal(err)
	}
	p.last = ev
	if d.StateKey != nil {
		p.state[Key{d.Type, *d.StateKey}] = ev
	}
	return ev
}

func (p *place) rules(tb failer) *Rules {
	tb.Helper()
	r, err := NewRules(p.v, p.state[Key{event.TypeCreate, ""}], p.state[Key{event.TypePowerLevels, ""}], p.state[Key{event.TypeJoinRules, ""}])
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func (p *place) lookup(typ, key string) *event.Event { return p.state[Key{typ, key}] }

func (p *place) check(tb failer, d event.Draft) error {
	tb.Helper()
	return p.rules(tb).Check(&d, p.lookup)
}

// be gives a user a membership, past the rules.
func (p *place) be(tb failer, user id.UserID, m Membership) {
	tb.Helper()
	key := Key{event.TypeMember, string(user)}
	if m == "" {
		delete(p.state, key)
		return
	}
	p.add(tb, p.draft(tb, event.TypeMember, user, ptr(string(user)), object{"membership": m}))
}

// set puts state with an empty key, past the rules.
func (p *place) set(tb failer, typ string, c any) {
	tb.Helper()
	p.add(tb, p.draft(tb, typ, amy, ptr(""), c))
}

func (p *place) member(tb failer, sender, target id.UserID, c any) event.Draft {
	tb.Helper()
	return p.draft(tb, event.TypeMember, sender, ptr(string(target)), c)
}

func ptr[T any](v T) *T { return &v }

// settled is a room with amy in it and power levels: amy 100 where she has no power as its creator.
func settled(tb failer, v event.RoomVersion, levels object) *place {
	tb.Helper()
	p := found(tb, v, nil)
	p.be(tb, amy, Join)
	c := object{"users": powers{amy: 100, bob: 50}}
	if v.Features().CreatorPower {
		c["users"] = powers{bob: 50}
	}
	for key, val := range levels {
		c[key] = val
	}
	p.set(tb, event.TypePowerLevels, c)
	return p
}
