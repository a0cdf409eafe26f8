package feed

import (
	"maps"
	"slices"

	"bongsu/event"
	"bongsu/journal"
	"bongsu/pushrule"
	"bongsu/replica"
	"bongsu/room"
)

// unread is what was counted in a room, by thread. It is kept, so that only what has come since needs to be looked at. What it points
// to is never changed, only replaced: several syncs of a user may go on from it.
type unread struct {
	prefs *prefs           // by which it was counted; nil: nothing was
	upto  journal.Position // everything up to here was looked at
	reads reads
	main  tally
	other map[string]tally // of threads with something unread, by the id of their root
}

type tally struct{ notify, highlight int64 }

// reads is up to where a user has read.
type reads struct {
	whole room.Place            // everything
	main  room.Place            // in the main thread; not before whole
	other map[string]room.Place // in other threads, beyond whole
}

func (r *reads) of(thread string) room.Place {
	switch p, ok := r.other[thread]; {
	case thread == room.MainThread:
		return r.main
	case ok:
		return p
	}
	return r.whole
}

// advance notes that a thread was read up to a place.
func (r *reads) advance(thread string, p room.Place) {
	if !r.of(thread).Before(p) {
		return
	}
	if thread == room.MainThread {
		r.main = p
		return
	}
	r.other = with(r.other, thread, p)
}

// with is a map that differs from m in one entry.
func with[V any](m map[string]V, key string, v V) map[string]V {
	out := make(map[string]V, len(m)+1)
	maps.Copy(out, m)
	out[key] = v
	return out
}

// maxUnread is how many events are looked at when counting from nothing, and the most that is said to be unread. Up to it counts are
// exact: the same at every site.
const maxUnread = 500

// unread counts the events of a room that notify the user and come after what the user has read in their thread. Whoever writes has
// read what came before in that thread. t is the timeline just read, which has what is new more often than not.
//
// Source: client-server API, "Receiving notifications".
func (a *answer) unread(v *room.View, s *seat, t timeline) unread {
	hub, at := a.f.hub, a.at(s.p)
	hub.mu.Lock()
	u := s.unread
	unmoved := u.prefs != nil && a.vis.v.read[s.p] <= u.upto && u.upto <= at // the user has given no receipt since
	hub.mu.Unlock()
	p := a.prefs()
	c := counter{a: a, v: v, u: &u}
	switch {
	case !p.countLike(u.prefs) || at < u.upto || u.reads.whole.Before(s.Since):
		c.anew(p, s)
	case !c.forward(t):
		c.anew(p, s)
	case !unmoved:
		c.receipts(a.readUpTo(v, s))
	}
	u.upto = at
	hub.mu.Lock()
	s.unread = u
	hub.mu.Unlock()
	return u
}

// readUpTo is what the user's receipts say, and at least the user's own join.
func (a *answer) readUpTo(v *room.View, s *seat) reads {
	r := reads{whole: s.Since}
	if v.LastReceipt == (room.Place{}) {
		r.main = r.whole
		return r
	}
	threads := map[string]room.Place{}
	for rc := range v.ReceiptsOf(a.rq.User) {
		if threads[rc.Thread].Before(rc.At) {
			threads[rc.Thread] = rc.At
		}
	}
	if r.whole.Before(threads[""]) {
		r.whole = threads[""]
	}
	r.main = r.whole
	delete(threads, "")
	for thread, at := range threads {
		r.advance(thread, at)
	}
	return r
}

type counter struct {
	a *answer
	v *room.View
	u *unread
}

// anew counts everything.
func (c *counter) anew(p *prefs, s *seat) {
	*c.u = unread{prefs: p, reads: c.a.readUpTo(c.v, s)}
	c.back(c.u.reads.whole, nil)
}

// forward goes on from what was counted. It reports whether it could: too much may have come since, or something been redacted.
func (c *counter) forward(t timeline) bool {
	from, upto := replica.End(c.u.upto), replica.End(c.a.at(c.a.partition(c.v)))
	if t.after == from && !t.limited && c.a.filter.Room.Timeline.All() {
		for _, ev := range t.events {
			if !c.next(ev) {
				return false
			}
		}
		return true
	}
	n := 0
	for ev := range c.v.Timeline(from, upto) {
		if n++; n > maxUnread || !c.next(ev) {
			return false
		}
	}
	return true
}

// receipts takes in what receipts say. Threads in which they say nothing new keep their counts.
func (c *counter) receipts(says reads) {
	u := c.u
	if u.reads.whole.Before(says.whole) {
		u.main, u.other, u.reads = tally{}, nil, says
		c.back(says.whole, nil)
		return
	}
	var from room.Place // the first event that counts
	only := map[string]bool{}
	moved := func(thread string, p room.Place) {
		if !u.reads.of(thread).Before(p) {
			return
		}
		u.reads.advance(thread, p)
		c.set(thread, tally{})
		if len(only) == 0 || p.Before(from) {
			from = p
		}
		only[thread] = true
	}
	moved(room.MainThread, says.main)
	for thread, p := range says.other {
		moved(thread, p)
	}
	if len(only) > 0 {
		c.back(from, only)
	}
}

// back counts from the end of the view back to a place, in some threads or, for nil, in all.
func (c *counter) back(to room.Place, only map[string]bool) {
	n := 0
	for s := range c.v.TimelineBack(to, replica.End(c.a.at(c.a.partition(c.v)))) {
		if n++; n > maxUnread {
			return
		}
		thread := c.v.ThreadOf(s.Event)
		switch {
		case only != nil && !only[thread] || !c.u.reads.of(thread).Before(s.Place):
		case s.Sender == c.a.rq.User:
			c.u.reads.advance(thread, s.Place)
		default:
			c.add(thread, s)
		}
	}
}

// next takes in the next event; false: what came before must be counted anew.
func (c *counter) next(s room.Stored) bool {
	if s.Type == event.TypeRedaction {
		return false
	}
	thread := c.v.ThreadOf(s.Event)
	if s.Sender == c.a.rq.User {
		c.u.reads.advance(thread, s.Place)
		c.set(thread, tally{})
		return true
	}
	c.add(thread, s)
	return true
}

// add counts an event, unless it was redacted, for then there is nothing to read, or comes from somebody ignored.
func (c *counter) add(thread string, s room.Stored) {
	if s.Redacted != (room.Place{}) || c.u.prefs.ignored[s.Sender] {
		return
	}
	m := pushrule.Message{Event: s.Event, Members: c.v.Joined}
	m.MayNotify = func(key string) bool {
		rules := c.v.Rules()
		return rules.UserLevel(s.Sender) >= rules.NotificationLevel(key)
	}
	says := c.u.prefs.rules.Match(&m, pushrule.Reader{User: c.a.rq.User, Name: c.name})
	if !says.Notify {
		return
	}
	t := c.u.of(thread)
	t.notify++
	if says.Highlight {
		t.highlight++
	}
	c.set(thread, t)
}

func (u *unread) of(thread string) tally {
	if thread == room.MainThread {
		return u.main
	}
	return u.other[thread]
}

func (c *counter) set(thread string, t tally) {
	switch {
	case thread == room.MainThread:
		c.u.main = t
	case c.u.other[thread] != t:
		c.u.other = with(c.u.other, thread, t)
	}
}

// all is the sum over all threads.
func (u *unread) all() tally {
	sum := u.main
	for _, t := range u.other {
		sum.notify += t.notify
		sum.highlight += t.highlight
	}
	return sum
}

// unreadCounts writes the counts of a room, and of its threads if the client wants to know them apart.
func (a *answer) unreadCounts(u unread) {
	write := func(t tally) {
		a.key("highlight_count", "")
		a.int(min(t.highlight, maxUnread))
		a.key("notification_count", "")
		a.int(min(t.notify, maxUnread))
		a.close("}")
	}
	byThread := a.filter.Room.Timeline.ByThread
	a.key("unread_notifications", "{")
	if !byThread {
		write(u.all())
		return
	}
	write(u.main)
	a.section("unread_thread_notifications", "{", "}", func() {
		for _, thread := range slices.Sorted(maps.Keys(u.other)) {
			if t := u.other[thread]; t != (tally{}) {
				a.name(thread, "{")
				write(t)
			}
		}
	})
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
