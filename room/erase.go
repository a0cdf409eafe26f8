package room

import (
	"bongsu/event"
	"bongsu/id"
	"bongsu/replica"
	"bongsu/roomstate"
)

// Erasure keeps what erased users have said from a reader who was not in the room then. The zero value keeps nothing back.
//
// It is a matter of reading: rows stay as they are, and those who were there go on seeing what they saw. State is the room's and is
// shown, but for member events, which say what people are called (docs/adr/0049-erased-users-are-redacted-for-readers.md).
//
// Source: client-server API, deactivateAccount, erase.
type Erasure struct {
	Was    func(Place) roomstate.Membership // what the reader was right after a place; see View.MembershipAt
	erased func(id.UserID) bool             // whose account is closed and erased; nil: nobody's
	here   Place                            // from here on the reader has been in the room without a break
}

// Erasure is for a reader of this room. erased says whose accounts are closed and erased; it is asked of those senders only whose events
// come from before the reader's present stay.
func (v *View) Erasure(reader id.UserID, erased func(id.UserID) bool) Erasure {
	now := v.Member(reader)
	e := Erasure{Was: v.membershipAt(reader, now), erased: erased, here: replica.Forever}
	if now.Membership == roomstate.Join {
		e.here = now.Since
	}
	return e
}

// Shown is an event as the reader may see it: itself or, of an erased user, its redacted form.
func (e *Erasure) Shown(s Stored) Stored {
	if e.hides(&s) {
		s.Event = s.Redact()
	}
	return s
}

// hides asks first what costs least: readers mostly are where they were, and hardly anybody is erased. An event that ended a stay of the
// reader is one that the reader was there for.
func (e *Erasure) hides(s *Stored) bool {
	if e.erased == nil || !s.Place.Before(e.here) || s.Redacted != (Place{}) || s.StateKey != nil && s.Type != event.TypeMember {
		return false
	}
	return e.erased(s.Sender) && e.Was(s.Place) != roomstate.Join && e.Was(s.Place.Prev()) != roomstate.Join
}
