// Package roomstate decides what may happen in a room: the authorisation rules of room versions 6 to 12, with power
// levels and memberships.
//
// Invariant: the verdict on an event depends on the room's create, power-levels and join-rules events, the event, and the
// state that Check looks up; on nothing else. Rules are made once from the three events and never change, so they can be
// kept until one of the three is replaced.
//
// Limits: that an event is signed by its sender's server, and by the server of join_authorised_via_users_server, is for
// whoever takes events from other servers to check. There is no state resolution: the caller knows the one current state.
package roomstate

import (
	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
)

// Join rules. Any other value lets nobody join.
const (
	JoinPublic          = "public"
	JoinInvite          = "invite"
	JoinKnock           = "knock"
	JoinRestricted      = "restricted"
	JoinKnockRestricted = "knock_restricted"
	JoinPrivate         = "private" // reserved; lets nobody join
)

// Rules are the authorisation rules of one room at one point of its history.
type Rules struct {
	version  event.RoomVersion
	room     id.RoomID
	create   id.EventID
	sender   id.UserID   // of the create event
	creators []id.UserID // the first is the room's creator, the others additional_creators
	federate bool
	hasPower bool // there is a power-levels event
	power    levels
	joinRule string
	allowed  []id.RoomID
}

// NewRules reads the rules from the room's create, power-levels and join-rules events; the latter two may be nil.
//
// Errors are of kind Invalid: these are not events that the rules themselves would have let through.
func NewRules(v event.RoomVersion, create, powerLevels, joinRules *event.Event) (*Rules, error) {
	const op = "roomstate.NewRules"
	if create == nil || !create.Is(event.TypeCreate, "") {
		return nil, errs.New(op, errs.Invalid, errs.BadJSON, "a room begins with its create event")
	}
	if !v.Known() {
		return nil, errs.New(op, errs.Invalid, errs.UnsupportedVersion, "room version %q is not known here", v)
	}
	creators, err := creatorsOf(v, &create.Draft)
	if err != nil {
		return nil, errs.New(op, errs.Invalid, errs.BadJSON, "%s", err.Message)
	}
	r := &Rules{
		version: v, room: create.RoomID, create: create.ID, sender: create.Sender, creators: creators,
		federate: string(create.Content.Field("m.federate")) != "false",
		power:    defaultLevels(),
		joinRule: JoinInvite,
	}
	if powerLevels != nil {
		r.hasPower = true
		if r.power, err = parseLevels(v, powerLevels.Content); err != nil {
			return nil, errs.New(op, errs.Invalid, errs.BadJSON, "%s", err.Message)
		}
	}
	if joinRules != nil {
		r.joinRule, _ = joinRules.Content.String("join_rule")
		r.allowed = allowedRooms(joinRules.Content)
	}
	return r, nil
}

// creatorsOf are the creators of the room that a create event makes, its creator first.
func creatorsOf(v event.RoomVersion, create *event.Draft) ([]id.UserID, *errs.Error) {
	f := v.Features()
	creators := []id.UserID{create.Sender}
	if f.CreatorInContent {
		if !create.Content.Has("creator") {
			return nil, forbid("the create event names no creator")
		}
		creator, _ := create.Content.String("creator")
		creators[0] = id.UserID(creator)
	}
	more := create.Content.Field("additional_creators")
	if !f.CreatorPower || more == nil {
		return creators, nil
	}
	bad := forbid("additional_creators is not a list of user ids")
	if more[0] != '[' {
		return nil, bad
	}
	for v := range event.Elements(more) {
		s, ok := event.Text(v)
		if !ok {
			return nil, bad
		}
		u, err := id.ParseUserID(s)
		if err != nil {
			return nil, bad
		}
		creators = append(creators, u)
	}
	return creators, nil
}

// allowedRooms are the rooms whose members may join under the restricted join rules; what is malformed is left out.
// Source: m.room.join_rules, "allow".
func allowedRooms(content event.Object) []id.RoomID {
	var rooms []id.RoomID
	for v := range event.Elements(content.Field("allow")) {
		o := event.Object(v)
		if typ, _ := o.String("type"); typ != "m.room_membership" {
			continue
		}
		s, _ := o.String("room_id")
		if room, err := id.ParseRoomID(s); err == nil {
			rooms = append(rooms, room)
		}
	}
	return rooms
}

// Version of the room.
func (r *Rules) Version() event.RoomVersion { return r.version }

// Creators of the room: one up to version 11, from 12 on also additional_creators. The caller must not change the slice.
func (r *Rules) Creators() []id.UserID { return r.creators }

// JoinRule of the room; "invite" if it has no join-rules event, and "private", which lets nobody join, in place of one that its version
// does not have.
func (r *Rules) JoinRule() string {
	if !HasJoinRule(r.version, r.joinRule) {
		return JoinPrivate
	}
	return r.joinRule
}

// HasJoinRule reports whether rooms of version v know the join rule.
func HasJoinRule(v event.RoomVersion, rule string) bool {
	switch f := v.Features(); rule {
	case JoinPublic, JoinInvite, JoinPrivate:
		return true
	case JoinKnock:
		return f.Knocking
	case JoinRestricted:
		return f.Restricted
	case JoinKnockRestricted:
		return f.KnockRestricted
	}
	return false
}

// AllowedRooms are the rooms whose members may join under the rules "restricted" and "knock_restricted". The caller must
// not change the slice.
func (r *Rules) AllowedRooms() []id.RoomID { return r.allowed }
