package feed

import (
	"encoding/json"

	"bongsu/account"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/pushrule"
	"bongsu/replica"
	"bongsu/room"
)

// unread is what was counted in a room. It is kept, so that only what has come since needs to be looked at.
type unread struct {
	rules             *pushrule.Set    // by which it was counted; nil: nothing was
	upto              journal.Position // everything up to here was looked at
	read              room.Place       // events up to here are read
	notify, highlight int64
}

// maxUnread is how many events are looked at when counting from nothing.
const maxUnread = 100

// unread counts the events of a room that notify the user and come after what the user has read. Whoever writes has read what
// came before. t is the timeline just read, which has what is new more often than not.
func (a *answer) unread(v *room.View, s *seat, t timeline) (notify, highlight int64) {
	hub, at := a.f.hub, a.at(s.p)
	hub.mu.Lock()
	u := s.unread
	unmoved := u.rules != nil && a.vis.v.read[s.p] <= u.upto && u.upto <= at // the user has given no receipt since
	hub.mu.Unlock()
	rules, read := a.pushRules(), u.read
	if !unmoved || read.Before(s.Since) {
		read = a.readUpTo(v, s)
	}
	c := counter{a: a, v: v, u: &u}
	switch {
	case u.rules != rules || u.read.Before(read) || at < u.upto:
		u = unread{rules: rules, read: read}
		c.back(replica.End(at))
	case t.after == replica.End(u.upto) && !t.limited && a.filter.Room.Timeline.All():
		for _, ev := range t.events {
			c.count(ev)
		}
	default:
		n := 0
		for ev := range v.Timeline(replica.End(u.upto), replica.End(at)) {
			if n++; n > maxUnread {
				u.notify, u.highlight = 0, 0
				c.back(replica.End(at))
				break
			}
			c.count(ev)
		}
	}
	u.upto = at
	hub.mu.Lock()
	s.unread = u
	hub.mu.Unlock()
	return u.notify, u.highlight
}

// readUpTo is what the user's receipts say, and at least the user's own join.
func (a *answer) readUpTo(v *room.View, s *seat) room.Place {
	read := s.Since
	if v.LastReceipt == (room.Place{}) {
		return read
	}
	for r := range v.ReceiptsOf(a.rq.User) {
		if (r.Thread == "" || r.Thread == "main") && read.Before(r.At) {
			read = r.At
		}
	}
	return read
}

type counter struct {
	a *answer
	v *room.View
	u *unread
}

// back counts from a place back to what is read.
func (c *counter) back(upto room.Place) {
	n := 0
	for s := range c.v.TimelineBack(c.u.read, upto) {
		if n++; n > maxUnread {
			return
		}
		if s.Sender == c.a.rq.User {
			c.u.read = s.Place
			return
		}
		c.add(s)
	}
}

// count takes in the next event.
func (c *counter) count(s room.Stored) {
	if s.Sender == c.a.rq.User {
		c.u.read, c.u.notify, c.u.highlight = s.Place, 0, 0
		return
	}
	c.add(s)
}

func (c *counter) add(s room.Stored) {
	m := pushrule.Message{Event: s.Event, Members: c.v.Joined}
	m.MayNotify = func(key string) bool {
		rules := c.v.Rules()
		return rules.UserLevel(s.Sender) >= rules.NotificationLevel(key)
	}
	says := c.u.rules.Match(&m, pushrule.Reader{User: c.a.rq.User, Name: c.name})
	if says.Notify {
		c.u.notify++
	}
	if says.Highlight {
		c.u.highlight++
	}
}

// name is the user's name in the room.
func (c *counter) name() string {
	s, ok := c.v.StateEvent(event.TypeMember, string(c.a.rq.User))
	if !ok {
		return ""
	}
	name, _ := s.Content.String("displayname")
	return name
}

// pushRules are the user's rules, compiled once for each change of them.
func (a *answer) pushRules() *pushrule.Set {
	if a.rules != nil {
		return a.rules
	}
	v, upto := a.vis.v, a.at(a.vis.v.home)
	a.f.hub.mu.Lock()
	if v.rules != nil && v.account <= v.rulesUpto && v.rulesUpto <= upto {
		a.rules = v.rules // no account data has changed since
	}
	a.f.hub.mu.Unlock()
	if a.rules != nil {
		return a.rules
	}
	content, at := account.PushRules(a.view, v.user)
	a.f.hub.mu.Lock()
	if v.rules != nil && v.rulesAt == at {
		a.rules = v.rules
	}
	a.f.hub.mu.Unlock()
	if a.rules == nil {
		a.rules = a.f.compile(content, v.user)
	}
	a.f.hub.mu.Lock()
	defer a.f.hub.mu.Unlock()
	v.rules, v.rulesAt, v.rulesUpto = a.rules, at, upto
	return a.rules
}

// compile makes rules of the content of a user's m.push_rules; nil is what everybody has who has changed nothing.
func (f *Feed) compile(content json.RawMessage, user id.UserID) *pushrule.Set {
	var body struct {
		Global json.RawMessage `json:"global"`
	}
	if content == nil || json.Unmarshal(content, &body) != nil {
		return f.defaults
	}
	rs, err := pushrule.Parse(body.Global)
	if err != nil {
		return f.defaults
	}
	return pushrule.Compile(&rs, user)
}
