package feed

import (
	"slices"

	"bongsu/event"
	"bongsu/id"
	"bongsu/replica"
	"bongsu/room"
	"bongsu/roomstate"
)

// joined writes the rooms that the user is in and that have something new.
func (a *answer) joined() {
	for _, s := range a.seats {
		if s.State != roomstate.Join || !a.filter.Room.Room(s.Room) {
			continue
		}
		entered := a.since == nil || a.from(s.p).Before(s.Since)
		if entered && a.since != nil {
			a.entered = append(a.entered, s)
		}
		if !entered && !a.rq.FullState && !a.mayHaveNews(s) {
			continue
		}
		mark := a.mark()
		a.name(string(s.Room), "{")
		if !a.joinedRoom(s, entered) {
			a.back(mark)
			continue
		}
		a.close("}")
		if !a.spill() {
			return
		}
	}
}

// mayHaveNews reports whether it is worth looking at a room that the client knows.
func (a *answer) mayHaveNews(s *seat) bool {
	since := uint64(a.since.Positions[s.p])
	return s.watch.event.Load() > since || s.watch.receipt.Load() > since || len(a.data[s.Room]) > 0 || a.newTyping(s.Room)
}

// newTyping reports whether somebody has begun or stopped to type in a room.
func (a *answer) newTyping(r id.RoomID) bool {
	if !a.typing {
		return false
	}
	users, seq := a.f.cfg.Typing.In(r)
	if a.since == nil {
		return len(users) > 0
	}
	// To a client that comes from another site (Ephemeral is 0 then) also that nobody types is news, where somebody has lately.
	return seq > a.since.Ephemeral
}

// joinedRoom writes what is new in a joined room, or nothing and false.
func (a *answer) joinedRoom(s *seat, entered bool) bool {
	v, ok := room.Open(a.view, s.Room)
	if !ok {
		return false // the list of rooms is derived from the room: it is there
	}
	full := entered || a.rq.FullState
	after := a.from(s.p)
	a.to = a.viewer(&v, s)
	if !entered {
		a.movesBetween(&v, after, replica.End(a.at(s.p)))
	}
	begin := a.mark()
	var t timeline
	if full || after.Before(v.LastEvent) {
		t = a.cut(&v, s, entered)
		// Who wants the state at the end of the timeline is also told of what the timeline's filter hides.
		if full || len(t.events) > 0 || t.limited || a.rq.StateAfter && after.Before(v.LastState) {
			a.stateAndTimeline(&v, t, full)
		}
	}
	seen := after
	if full {
		seen = room.Place{}
	}
	a.events("ephemeral", func() { a.ephemeral(&v, s, seen) })
	entries := a.data[s.Room]
	if full {
		entries = a.everything(s.Room)
	}
	a.events("account_data", func() { a.accountEvents(entries) })
	if a.grown(begin) == 0 {
		return false
	}
	a.unreadCounts(a.unread(&v, s, t))
	return true
}

// ephemeral writes receipts that were given after a place, and who types.
func (a *answer) ephemeral(v *room.View, s *seat, after room.Place) {
	filter := &a.filter.Room.Ephemeral
	if !filter.Room(s.Room) {
		return
	}
	if after.Before(v.LastReceipt) && filter.Type("m.receipt") {
		a.receipts(v, after)
	}
	full := after == room.Place{}
	if filter.Type("m.typing") && (a.newTyping(s.Room) || full) {
		users, _ := a.f.cfg.Typing.In(s.Room)
		if full && len(users) == 0 {
			return
		}
		a.elem()
		a.b = append(a.b, `{"content":{"user_ids":[`...)
		for _, u := range users {
			if !a.prefs().ignored[u] {
				a.elem()
				a.str(string(u))
			}
		}
		a.close(`]},"type":"m.typing"}`)
	}
}

// receipts writes the receipts that were given after a place; private ones are for their user alone. A user can have read one event in
// several threads, which is said in events of their own, since the form has place for one.
func (a *answer) receipts(v *room.View, after room.Place) {
	var list []room.Receipt
	for r := range v.Receipts(after, replica.End(a.at(a.partition(v)))) {
		if r.User == a.rq.User || r.Type != room.ReadPrivate && !a.prefs().ignored[r.User] {
			list = append(list, r)
		}
	}
	slices.SortStableFunc(list, func(x, y room.Receipt) int {
		if c := compare(x.Event, y.Event); c != 0 {
			return c
		}
		if c := compare(x.Type, y.Type); c != 0 {
			return c
		}
		return compare(x.User, y.User)
	})
	for len(list) > 0 {
		list = a.receiptEvent(list)
	}
}

// receiptEvent writes one event of sorted receipts and returns those that have no place in it.
func (a *answer) receiptEvent(list []room.Receipt) (rest []room.Receipt) {
	a.elem()
	a.b = append(a.b, `{"content":{`...)
	var last room.Receipt
	for i, r := range list {
		switch {
		case i > 0 && r.Event == last.Event && r.Type == last.Type && r.User == last.User:
			rest = append(rest, r)
			continue
		case i == 0 || r.Event != last.Event:
			if i > 0 {
				a.close("}}")
			}
			a.name(string(r.Event), "{")
			a.name(r.Type, "{")
		case r.Type != last.Type:
			a.close("}")
			a.name(r.Type, "{")
		}
		last = r
		a.name(string(r.User), `{"ts":`)
		a.int(r.TS)
		if r.Thread != "" {
			a.key("thread_id", "")
			a.str(r.Thread)
		}
		a.close("}")
	}
	a.close(`}}},"type":"m.receipt"}`)
	return rest
}

func compare[T ~string](x, y T) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// invited writes the rooms that the user has been invited to, or has knocked at, since the token; but not those to which somebody invited
// from whom the user wants no invitation. When the user changes their mind about that, all are told again.
func (a *answer) invited(state roomstate.Membership, name string) {
	for _, s := range a.seats {
		if s.State != state || !a.filter.Room.Room(s.Room) {
			continue
		}
		if a.since != nil && !a.rq.FullState && !a.from(s.p).Before(s.Place) &&
			!(state == roomstate.Invite && a.prefs().changedSince(a.since.Positions[a.vis.v.home])) {
			continue
		}
		v, ok := room.Open(a.view, s.Room)
		if !ok || state == roomstate.Invite && a.unwanted(&v) {
			continue
		}
		a.name(string(s.Room), "{")
		a.events(name, func() {
			for _, ev := range v.Stripped(a.rq.User) {
				a.elem()
				a.b = ev.AppendStripped(a.b)
			}
		})
		a.close("}")
	}
}

// unwanted reports whether the user has been invited to a room by somebody from whom they want no invitation.
func (a *answer) unwanted(v *room.View) bool {
	own, ok := v.StateEvent(event.TypeMember, string(a.rq.User))
	return ok && a.prefs().hides(own.Sender)
}

// left writes the rooms that the user has left since the token: what happened until then. From the beginning, and with the full
// state, they are written only if the filter wants them. Rooms that were forgotten are written once more to a client that has not heard
// that they were left, against the letter of the specification: else the user's other devices would show them for ever.
func (a *answer) left() {
	for _, s := range a.seats {
		if s.State != roomstate.Leave && s.State != roomstate.Ban || !a.filter.Room.Room(s.Room) {
			continue
		}
		if a.since == nil {
			if !a.filter.Room.IncludeLeave || s.Forgotten {
				continue
			}
		} else if !a.from(s.p).Before(s.Place) {
			continue
		}
		if v, ok := room.Open(a.view, s.Room); ok {
			a.name(string(s.Room), "{")
			a.leftRoom(&v, s)
			a.close("}")
			if !a.spill() {
				return
			}
		}
	}
}

// stay is a user's last time in a room, as far as it lies after a place.
type stay struct {
	from  room.Place // of the join; zero if the user was in the room at that place
	until room.Place // of what ended it
	any   bool       // there was one
	known bool       // the user was in the room at that place
}

func lastStay(v *room.View, user id.UserID, after, upto room.Place) stay {
	was, ok := v.StateRowAt(after, event.TypeMember, string(user))
	in := ok && was.Membership == roomstate.Join
	st := stay{known: in, any: in}
	for m := range v.StateChanges(event.TypeMember, string(user), after, upto) {
		joined := m.Membership == roomstate.Join
		switch {
		case joined && !in:
			st.from, st.any = m.Ref.Place, true
		case !joined && in:
			st.until = m.Ref.Place
		}
		in = joined
	}
	return st
}

func (a *answer) leftRoom(v *room.View, s *seat) {
	after := a.from(s.p)
	a.to = a.viewer(v, s)
	st := lastStay(v, a.rq.User, after, s.Place)
	if !st.any || s.Forgotten { // an invitation that was refused or taken back, a ban: that is all there is to see
		own, ok := v.At(s.Place)
		if ok {
			if a.rq.StateAfter {
				a.events("state_after", func() { a.stateEvent(v, own) })
			}
			t := timeline{start: s.Place.Prev()}
			t.add(own, &a.filter.Room.Timeline)
			a.writeTimeline(v, t)
		}
		return
	}
	full := !st.known
	t := timeline{after: after}
	if full && a.since != nil {
		t.after, t.limited = st.from.Prev(), true
	}
	if st.known {
		a.movesBetween(v, after, st.until)
	}
	sight := v.Sight(a.rq.User)
	t.read(v, &a.filter.Room.Timeline, a.prefs().ignored, st.until, &sight)
	if own, ok := v.At(s.Place); ok && st.until.Before(s.Place) { // a ban or another change after it
		t.add(own, &a.filter.Room.Timeline)
		t.own = own
	}
	a.stateAndTimeline(v, t, full)
	entries := a.data[s.Room]
	if full {
		entries = a.everything(s.Room)
	}
	a.events("account_data", func() { a.accountEvents(entries) })
}
