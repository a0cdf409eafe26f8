package room

import (
	"bongsu/event"
	"bongsu/id"
	"bongsu/replica"
	"bongsu/roomstate"
)

// History visibilities. Source: client-server API, "Room History Visibility".
const (
	worldReadable = "world_readable"
	shared        = "shared"
	invited       = "invited"
	joined        = "joined"
)

// Sight is what a user may see of a room's events.
type Sight struct{ spans []span } // in order

// span is a run of places, both ends in it.
type span struct{ from, to Place }

// Sees reports whether the event at p is visible.
func (s Sight) Sees(p Place) bool {
	for _, sp := range s.spans {
		if !p.Before(sp.from) && !sp.to.Before(p) {
			return true
		}
	}
	return false
}

// seesAllFrom reports whether everything from p on is visible, and will be as long as nothing changes.
func (s Sight) seesAllFrom(p Place) bool {
	n := len(s.spans)
	return n > 0 && s.spans[n-1].to == replica.Forever && !p.Before(s.spans[n-1].from)
}

// All reports whether everything is visible.
func (s Sight) All() bool { return s.seesAllFrom(Place{}) }

// Nothing reports whether no event at all is visible.
func (s Sight) Nothing() bool { return len(s.spans) == 0 }

// Sight is what the user may see now, as the room's history visibility was when each event happened:
//
//   - world_readable: everybody sees it;
//   - shared: whoever was in the room then or later; so somebody who left sees what came before the leave;
//   - invited: whoever was invited or in the room then;
//   - joined: whoever was in the room then.
//
// A room without the setting is shared. An event that changes the membership of the user or the visibility is judged by both
// what was before and what is after, whichever shows it. Who has forgotten the room is a stranger to it.
//
// Source: client-server API, "Room History Visibility".
func (v *View) Sight(user id.UserID) Sight {
	var (
		members    []StateRow
		visibility []StateRow
		lastJoined Place // the end of the user's last time in the room
	)
	if !v.Member(user).Forgotten {
		for s := range v.StateChanges(event.TypeMember, string(user), Place{}, replica.Forever) {
			if n := len(members); n > 0 && members[n-1].Membership == s.Membership {
				continue // a new name is no new membership
			}
			if n := len(members); n > 0 && members[n-1].Membership == roomstate.Join {
				lastJoined = s.Ref.Place
			}
			members = append(members, s)
		}
		if n := len(members); n > 0 && members[n-1].Membership == roomstate.Join {
			lastJoined = replica.Forever
		}
	}
	for s := range v.StateChanges(event.TypeHistoryVisibility, "", Place{}, replica.Forever) {
		visibility = append(visibility, s)
	}
	return v.sight(members, visibility, lastJoined)
}

// sight goes through the intervals between the changes of membership and visibility.
func (v *View) sight(members, visibility []StateRow, lastJoined Place) Sight {
	var s Sight
	at, member, seen := Place{}, roomstate.Membership(""), shared
	for {
		next := replica.Forever
		if len(members) > 0 {
			next = members[0].Ref.Place
		}
		byMember := len(members) > 0
		if len(visibility) > 0 && visibility[0].Ref.Place.Before(next) {
			next, byMember = visibility[0].Ref.Place, false
		}
		if visible(seen, member, at.Before(lastJoined)) {
			s.add(span{at, next})
		}
		switch {
		case next == replica.Forever:
			return s
		case byMember:
			member, members = members[0].Membership, members[1:]
		default:
			seen, _ = v.Load(visibility[0]).Content.String("history_visibility")
			visibility = visibility[1:]
		}
		at = next
	}
}

func visible(visibility string, member roomstate.Membership, joinsLater bool) bool {
	switch visibility {
	case worldReadable:
		return true
	case joined:
		return member == roomstate.Join
	case invited:
		return member == roomstate.Join || member == roomstate.Invite
	}
	return joinsLater // shared, and what is not known is read as shared
}

func (s *Sight) add(sp span) {
	if n := len(s.spans); n > 0 && s.spans[n-1].to == sp.from {
		s.spans[n-1].to = sp.to
		return
	}
	s.spans = append(s.spans, sp)
}

// StateSight is the place as of which the user may read the room's state: now for its members and, in a room that the world
// may read, for everybody; the leave for whoever has left. ok is false for all others.
func (v *View) StateSight(user id.UserID) (at Place, ok bool) {
	m := v.Member(user)
	switch {
	case m.Membership == roomstate.Join:
		return replica.Forever, true
	case v.visibility() == worldReadable:
		return replica.Forever, true
	case m.Forgotten:
		return Place{}, false
	case m.Membership == roomstate.Leave || m.Membership == roomstate.Ban:
		return v.leftAt(user)
	}
	return Place{}, false
}

// leftAt is where a user who is not in the room was removed from it last; ok is false for one who never was in it.
func (v *View) leftAt(user id.UserID) (at Place, ok bool) {
	wasJoined := false
	for s := range v.StateChanges(event.TypeMember, string(user), Place{}, replica.Forever) {
		isJoined := s.Membership == roomstate.Join
		if wasJoined && !isJoined {
			at, ok = s.Ref.Place, true
		}
		wasJoined = isJoined
	}
	return at, ok
}

func (v *View) visibility() string {
	s, ok := v.StateEvent(event.TypeHistoryVisibility, "")
	if !ok {
		return shared
	}
	h, _ := s.Content.String("history_visibility")
	return h
}
