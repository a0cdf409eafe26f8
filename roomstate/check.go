package roomstate

import (
	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
)

// Lookup returns the current state event of a type under a state key, or nil. Check asks it for members and third-party
// invites only.
type Lookup func(typ, stateKey string) *event.Event

// Check reports whether the event that d would become is allowed in the room's current state. d needs all but
// AuthEvents: PrevEvents matter for the creator's first join.
//
// Errors are of kind Forbidden and say which rule is broken, in words for the sender.
//
// Source: rooms/v6 to rooms/v12, "Authorisation rules". The numbers of rules in this package are those of versions 10 and
// 11; from rule 2 on, version 12 has the next number, and older ones lack some.
func (r *Rules) Check(d *event.Draft, state Lookup) error {
	if err := r.check(d, state); err != nil {
		err.Op = "roomstate.Check"
		return err
	}
	return nil
}

func forbid(format string, args ...any) *errs.Error {
	return errs.New("", errs.Forbidden, "", format, args...)
}

func (r *Rules) check(d *event.Draft, state Lookup) *errs.Error {
	if d.Type == event.TypeCreate {
		return forbid("the room is there already") // 1.1: a create event has no prev_events
	}
	if d.RoomID != r.room {
		return forbid("the event is for another room") // 2.5; in version 12: 2
	}
	if !r.federate && d.Sender.Server() != r.sender.Server() {
		return forbid("the room is for users of %s only", r.sender.Server()) // 3
	}
	if d.Type == event.TypeMember {
		return r.checkMember(d, state) // 4
	}
	if membership(state, d.Sender) != Join {
		return forbid("you are not in the room") // 5
	}
	level := r.UserLevel(d.Sender)
	if d.Type == event.TypeThirdPartyInvite {
		if level < r.power.invite {
			return forbid("your power level does not reach to invite") // 6
		}
		return nil
	}
	required := r.EventLevel(d.Type)
	if d.StateKey != nil {
		required = r.StateLevel(d.Type)
	}
	if level < required {
		return forbid("your power level %d does not reach to send %s, which takes %d", level, d.Type, required) // 7
	}
	if d.StateKey != nil && len(*d.StateKey) > 0 && (*d.StateKey)[0] == '@' && *d.StateKey != string(d.Sender) {
		return forbid("state under a user's id is that user's alone to set") // 8
	}
	if d.Type == event.TypePowerLevels {
		return r.checkLevels(d) // 9
	}
	return nil
}

// CheckCreate reports whether d may be the first event of a room: rule 1. d is as given to event.Build: where the room id
// is a hash it has none, though the event that is built from it does.
//
// Errors are of kind Forbidden and say which rule is broken.
func CheckCreate(v event.RoomVersion, d *event.Draft) error {
	if err := checkCreate(v, d); err != nil {
		err.Op = "roomstate.CheckCreate"
		return err
	}
	return nil
}

func checkCreate(v event.RoomVersion, d *event.Draft) *errs.Error {
	if !d.Is(event.TypeCreate, "") {
		return forbid("a room begins with its create event")
	}
	if len(d.PrevEvents) > 0 {
		return forbid("the create event comes first") // 1.1
	}
	if v.Features().RoomIDIsHash {
		if d.RoomID != "" {
			return forbid("the create event of this room version has no room_id") // 1.2
		}
	} else if server(d.RoomID) != d.Sender.Server() {
		return forbid("the room id is not of the creator's server") // 1.2
	}
	// 1.3 asks that the version be recognised. It must also be the one that the event is checked by; a content without one
	// means version 1, which is not known here.
	if named, _ := d.Content.String("room_version"); !v.Known() || named != string(v) {
		return forbid("the create event is not of room version %s", v)
	}
	_, err := creatorsOf(v, d) // 1.4
	return err
}

// server is what stands behind the first colon of a room id of the older form.
func server(room id.RoomID) id.ServerName {
	for i := range len(room) {
		if room[i] == ':' {
			return id.ServerName(room[i+1:])
		}
	}
	return ""
}

// Key names a piece of room state.
type Key struct{ Type, StateKey string }

// AuthKeys are the keys of the state that an event of room version v has in its auth_events, where there is such state.
//
// Source: server-server API, "Auth events selection".
func AuthKeys(v event.RoomVersion, d *event.Draft) []Key {
	if d.Type == event.TypeCreate {
		return nil
	}
	keys := make([]Key, 0, 6)
	if !v.Features().RoomIDIsHash {
		keys = append(keys, Key{event.TypeCreate, ""})
	}
	keys = append(keys, Key{event.TypePowerLevels, ""}, Key{event.TypeMember, string(d.Sender)})
	if d.Type != event.TypeMember || d.StateKey == nil {
		return keys
	}
	if *d.StateKey != string(d.Sender) {
		keys = append(keys, Key{event.TypeMember, *d.StateKey})
	}
	m, _ := d.Content.String("membership")
	switch Membership(m) {
	case Join:
		keys = append(keys, Key{event.TypeJoinRules, ""})
		by, ok := d.Content.String("join_authorised_via_users_server")
		if ok && v.Features().Restricted && by != string(d.Sender) && by != *d.StateKey {
			keys = append(keys, Key{event.TypeMember, by})
		}
	case Invite:
		keys = append(keys, Key{event.TypeJoinRules, ""})
		if token, ok := d.Content.Object("third_party_invite").Object("signed").String("token"); ok {
			keys = append(keys, Key{event.TypeThirdPartyInvite, token})
		}
	case Knock:
		keys = append(keys, Key{event.TypeJoinRules, ""})
	}
	return keys
}
