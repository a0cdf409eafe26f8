package room

import (
	"bongsu/event"
	"bongsu/id"
	"bongsu/roomstate"
)

// Erasure keeps what erased users have said from a reader who was not in the room then. The zero value keeps nothing back.
//
// It is a matter of reading: rows stay as they are, and those who were there go on seeing what they saw. State is the room's and is
// shown, but for member events, which say what people are called (docs/adr/0049-erased-users-are-redacted-for-readers.md).
//
// Source: client-server API, deactivateAccount, erase.
type Erasure struct {
	Erased func(id.UserID) bool             // whose account is closed and erased; nil: nobody's
	Was    func(Place) roomstate.Membership // what the reader was right after a place, as View.MembershipAt has it
}

// Shown is an event as the reader may see it: itself or, of an erased user, its redacted form.
func (e *Erasure) Shown(s Stored) Stored {
	if e.hides(&s) {
		s.Event = s.Redact()
	}
	return s
}

// hides looks first at what costs least: readers mostly were in the room, and hardly anybody is erased. An event that ended the
// reader's stay is one that the reader was there for.
func (e *Erasure) hides(s *Stored) bool {
	if e.Erased == nil || s.Redacted != (Place{}) || s.StateKey != nil && s.Type != event.TypeMember {
		return false
	}
	return e.Was(s.Place) != roomstate.Join && e.Erased(s.Sender) && e.Was(s.Place.Prev()) != roomstate.Join
}
