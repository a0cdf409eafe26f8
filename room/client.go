package room

import (
	"strconv"

	"bongsu/event"
	"bongsu/id"
	"bongsu/roomstate"
)

// Viewer is for whom events are written down.
type Viewer struct {
	User     id.UserID
	Device   id.DeviceID
	Now      int64 // Unix milliseconds, for the age of events; 0 leaves it out
	NoRoomID bool  // the room is known from where the event stands
	// Membership is what the user was in the room right after a place, as View.MembershipAt has it; nil leaves it out.
	Membership func(Place) roomstate.Membership
	// Sight is what the user may see of the events that relate to those that are written; nil: nothing is said of them.
	Sight   *Sight
	Ignored map[id.UserID]bool // whose events do not count there

	inThread bool // what is written is itself part of what is said of a thread
}

// AppendClient writes a stored event as the viewer sees it, with what the server adds: the age, the transaction id for the device
// that sent it, what state it replaced, why it was redacted, what relates to it, what the viewer was in the room then.
//
// Source: client-server API, ClientEvent and UnsignedData.
func (v *View) AppendClient(dst []byte, s Stored, to Viewer) []byte {
	var space [256]byte
	u := space[:0]
	if to.Now > 0 {
		u = strconv.AppendInt(append(u, `"age":`...), max(to.Now-s.OriginServerTS, 0), 10)
	}
	u = v.appendRelations(u, &s, to)
	if to.Membership != nil {
		u = event.AppendString(append(comma(u), `"membership":`...), to.Membership(s.Place))
	}
	if s.Replaces != (Place{}) {
		was := v.must(s.Replaces)
		u = append(append(comma(u), `"prev_content":`...), was.Content...)
		u = event.AppendString(append(u, `,"prev_sender":`...), was.Sender)
		u = event.AppendString(append(u, `,"replaces_state":`...), was.ID)
	}
	if s.Redacted != (Place{}) {
		because := v.must(s.Redacted)
		u = because.AppendClient(append(comma(u), `"redacted_because":`...), event.ClientFormat{})
	}
	if s.Txn != "" && s.Sender == to.User && s.Device == to.Device {
		u = event.AppendString(append(comma(u), `"transaction_id":`...), s.Txn)
	}
	return s.Event.AppendClient(dst, event.ClientFormat{NoRoomID: to.NoRoomID, Unsigned: u})
}

// MembershipAt says what a user was in the room right after a place; who never had to do with the room has left it. It reads the
// user's row once.
//
// Source: client-server API, UnsignedData, membership.
func (v *View) MembershipAt(user id.UserID) func(Place) roomstate.Membership {
	now := v.Member(user)
	return func(p Place) roomstate.Membership {
		m := now
		if m.Membership != "" && p.Before(now.Since) {
			m, _ = v.StateRowAt(p, event.TypeMember, string(user))
		}
		if m.Membership == "" {
			return roomstate.Leave
		}
		return m.Membership
	}
}

func comma(u []byte) []byte {
	if len(u) > 0 {
		return append(u, ',')
	}
	return u
}

// strippedTypes is the state that tells an invited or knocking user what room it is. Source: client-server API, "Stripped
// state".
var strippedTypes = [...]string{event.TypeCreate, event.TypeName, event.TypeAvatar, event.TypeTopic, event.TypeJoinRules,
	event.TypeCanonicalAlias, event.TypeEncryption}

// Stripped is the state that an invited or knocking user is shown: what room it is, the user's own membership and, of an invite,
// the member who made it.
func (v *View) Stripped(user id.UserID) []*event.Event {
	var out []*event.Event
	for _, typ := range strippedTypes {
		if s, ok := v.StateEvent(typ, ""); ok {
			out = append(out, s.Event)
		}
	}
	own, ok := v.StateEvent(event.TypeMember, string(user))
	if !ok {
		return out
	}
	if own.Sender != user {
		if s, ok := v.StateEvent(event.TypeMember, string(own.Sender)); ok {
			out = append(out, s.Event)
		}
	}
	return append(out, own.Event)
}
