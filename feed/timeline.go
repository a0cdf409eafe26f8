package feed

import (
	"slices"

	"bongsu/event"
	"bongsu/filter"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/replica"
	"bongsu/room"
	"bongsu/roomstate"
)

// timeline is a part of a room's history.
type timeline struct {
	after   room.Place    // it begins after this
	start   room.Place    // the events do: the gap, if it is limited, is between the two
	upto    room.Place    // it ends there
	events  []room.Stored // in order
	limited bool          // there are more events in the gap
	own     room.Stored   // what has become of a user since the timeline's end, when they left; zero: nothing
}

// maxScan is how many events are looked at for those that a filter lets through.
const maxScan = 1000

// read fills a timeline with the last events up to a place that a filter and the user's sight let through, without what ignored users
// say; the state that they set is the room's. A nil sight sees everything.
func (t *timeline) read(v *room.View, filter *filter.Events, ignored map[id.UserID]bool, upto room.Place, sight *room.Sight) {
	t.start, t.upto = upto, upto
	if !filter.Room(v.ID) {
		return
	}
	limit, looked := filter.Count(defaultLimit, maxLimit), 0
	for s := range v.TimelineBack(t.after, upto) {
		if looked++; looked > maxScan || len(t.events) == limit || sight != nil && !sight.Sees(s.Place) {
			t.limited = true
			break
		}
		if filter.Passes(s.Event) && (s.StateKey != nil || !ignored[s.Sender]) {
			t.events = append(t.events, s)
		}
		t.start = s.Place.Prev()
	}
	slices.Reverse(t.events)
}

// add appends an event that came after the others. Where the filter wants no more, the first one makes room for it.
func (t *timeline) add(s room.Stored, filter *filter.Events) {
	limit := filter.Count(defaultLimit, maxLimit)
	if limit == 0 || !filter.Room(s.RoomID) || !filter.Passes(s.Event) {
		return
	}
	if len(t.events) == limit {
		t.start, t.limited = t.events[0].Place, true
		t.events = t.events[1:]
	}
	t.events = append(t.events, s)
}

func (a *answer) partition(v *room.View) journal.Partition {
	return replica.PartitionOf(id.SlotOf(v.ID), len(a.next.Positions))
}

// cut is the part of a joined room's timeline that is new to the client. Somebody who was never in the room before the token has
// seen nothing of it, and gets the end of what they may see; somebody who has come back gets what happened since.
func (a *answer) cut(v *room.View, s *seat, entered bool) timeline {
	t := timeline{after: a.from(s.p)}
	var sight *room.Sight
	switch {
	case !entered:
	case a.since != nil && wasIn(v, a.rq.User, a.from(s.p)):
		t.after, t.limited = s.Since.Prev(), true
	default:
		t.after = room.Place{}
		sees := v.Sight(a.rq.User)
		sight = &sees
	}
	t.read(v, &a.filter.Room.Timeline, a.prefs().ignored, replica.End(a.at(s.p)), sight)
	return t
}

// wasIn reports whether the user has ever been in the room up to a place.
func wasIn(v *room.View, user id.UserID, upto room.Place) bool {
	for m := range v.StateChanges(event.TypeMember, string(user), room.Place{}, upto) {
		if m.Membership == roomstate.Join {
			return true
		}
	}
	return false
}

// stateAndTimeline writes a timeline with the state that comes before it, or for a client that wants it so, at its end: all of it, or what
// changed.
func (a *answer) stateAndTimeline(v *room.View, t timeline, full bool) {
	members := full || t.limited
	for _, s := range t.events {
		members = members || memberOf(s) != ""
	}
	var heroes []id.UserID
	if members {
		heroes = a.summary(v)
	}
	name := "state"
	if a.rq.StateAfter {
		name = "state_after"
	}
	some := a.filter.Room.State.Room(v.ID) && a.events(name, func() { a.state(v, t, full, heroes) })
	if a.rq.StateAfter && !some {
		a.key(name, `{"events":[]}`) // that it is there tells the client to take no state from the timeline
	}
	a.writeTimeline(v, t)
}

func (a *answer) writeTimeline(v *room.View, t timeline) {
	a.key("timeline", `{"events":[`)
	to := a.to
	if !t.limited { // the client has seen, or sees here, all that relates to these events
		to.Sight = nil
	}
	for _, s := range t.events {
		a.elem()
		a.b = v.AppendClient(a.b, s, to)
		if memberOf(s) != "" && !a.rq.StateAfter {
			a.sent.add(v.ID, s.Place)
		}
	}
	a.close("]")
	if t.limited {
		a.key("limited", "true")
	} else {
		a.key("limited", "false")
	}
	a.key("prev_batch", "")
	a.str(room.PageToken(t.start))
	a.close("}")
}

func (a *answer) event(v *room.View, s room.Stored) {
	a.elem()
	a.b = v.AppendClient(a.b, s, a.to)
}

// viewer is for whom the events of a room are written. What the user may see of it changes with its state only, and is kept.
func (a *answer) viewer(v *room.View, s *seat) room.Viewer {
	a.f.hub.mu.Lock()
	sight, at := s.sight, s.sightAt
	a.f.hub.mu.Unlock()
	if sight == nil || at != v.LastState {
		sees := v.Sight(a.rq.User)
		sight = &sees
		a.f.hub.mu.Lock()
		s.sight, s.sightAt = sight, v.LastState
		a.f.hub.mu.Unlock()
	}
	erasure := v.Erasure(a.rq.User, a.erased)
	return room.Viewer{User: a.rq.User, Device: a.rq.Device, Now: a.now, NoRoomID: true, Sight: sight, Ignored: a.prefs().ignored,
		Membership: erasure.Was, Erasure: erasure}
}

// move notes a change of membership, for what it means to who shares rooms with whom.
func (a *answer) move(r id.RoomID, user id.UserID, now roomstate.Membership) {
	if user != a.rq.User && a.since != nil {
		a.moved = append(a.moved, member{r, user, now})
	}
}

const (
	maxHeroes   = 5
	maxHeroScan = 500 // members among whom heroes are looked for
)

// summary writes how many members there are and, for a room without a name, after whom to call it. It returns those.
//
// Source: client-server API, RoomSummary.
func (a *answer) summary(v *room.View) []id.UserID {
	a.key("summary", "{")
	var heroes []id.UserID
	if v.Text(event.TypeName, "name") == "" && v.Text(event.TypeCanonicalAlias, "alias") == "" {
		heroes = a.heroes(v)
		a.key("m.heroes", "[")
		for _, u := range heroes {
			a.elem()
			a.str(string(u))
		}
		a.close("]")
	}
	a.key("m.invited_member_count", "")
	a.int(v.Invited)
	a.key("m.joined_member_count", "")
	a.int(v.Joined)
	a.close("}")
	return heroes
}

// heroes are the first members of a room other than the user; without any, those who have left.
func (a *answer) heroes(v *room.View) []id.UserID {
	var here, gone []room.StateRow
	scanned := 0
	for m := range v.Members() {
		if scanned++; scanned > maxHeroScan {
			break
		}
		switch {
		case m.Key == string(a.rq.User):
		case m.Membership == roomstate.Join || m.Membership == roomstate.Invite:
			here = append(here, m)
		case m.Membership == roomstate.Leave || m.Membership == roomstate.Ban:
			gone = append(gone, m)
		}
	}
	if len(here) == 0 {
		here = gone
	}
	slices.SortFunc(here, func(x, y room.StateRow) int {
		if x.Since.Before(y.Since) {
			return -1
		}
		return 1
	})
	out := make([]id.UserID, 0, maxHeroes)
	for _, m := range here[:min(len(here), maxHeroes)] {
		out = append(out, id.UserID(m.Key))
	}
	return out
}
