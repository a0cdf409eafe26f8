package roomstate

import (
	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
)

// Membership is a user's relation to a room. A user without a member event has the empty one, which the rules treat like
// Leave.
type Membership string

// The memberships.
const (
	Join   Membership = "join"
	Invite Membership = "invite"
	Leave  Membership = "leave"
	Ban    Membership = "ban"
	Knock  Membership = "knock"
)

// MembershipOf is the membership that a member event gives; empty for nil.
func MembershipOf(member *event.Event) Membership {
	if member == nil {
		return ""
	}
	m, _ := member.Content.String("membership")
	return Membership(m)
}

func membership(state Lookup, user id.UserID) Membership {
	return MembershipOf(state(event.TypeMember, string(user)))
}

// checkMember is rule 4.
func (r *Rules) checkMember(d *event.Draft, state Lookup) *errs.Error {
	if d.StateKey == nil {
		return forbid("a member event says of whom it is in its state key") // 4.1
	}
	m, _ := d.Content.String("membership")
	target := id.UserID(*d.StateKey)
	switch Membership(m) {
	case Join:
		return r.checkJoin(d, target, state)
	case Invite:
		if invite := d.Content.Field("third_party_invite"); invite != nil {
			return checkThirdParty(d, target, event.Object(invite), state)
		}
		return r.checkInvite(d.Sender, target, state)
	case Leave:
		return r.checkLeave(d.Sender, target, state)
	case Ban:
		return r.checkBan(d.Sender, target, state)
	case Knock:
		if r.version.Features().Knocking {
			return r.checkKnock(d.Sender, target, state)
		}
	}
	return forbid("%q is not a membership", m) // 4.1, 4.8
}

// checkJoin is rule 4.3.
func (r *Rules) checkJoin(d *event.Draft, target id.UserID, state Lookup) *errs.Error {
	if len(d.PrevEvents) == 1 && d.PrevEvents[0] == r.create && target == r.creators[0] {
		return nil // 4.3.1
	}
	if d.Sender != target {
		return forbid("nobody can join for %s", target) // 4.3.2
	}
	m := membership(state, d.Sender)
	if m == Ban {
		return forbid("you are banned from the room") // 4.3.3
	}
	here := m == Join || m == Invite
	switch r.JoinRule() {
	case JoinPublic:
		return nil // 4.3.6
	case JoinInvite, JoinKnock:
		if here {
			return nil // 4.3.4
		}
		return forbid("the room is open to the invited only")
	case JoinRestricted, JoinKnockRestricted:
		if here {
			return nil // 4.3.5.1
		}
		return r.checkAuthorised(d, state)
	}
	return forbid("the room's join rule lets nobody join") // 4.3.7
}

// checkAuthorised is rule 4.3.5.2: a member who may invite vouches for a restricted join.
func (r *Rules) checkAuthorised(d *event.Draft, state Lookup) *errs.Error {
	by, ok := d.Content.String("join_authorised_via_users_server")
	switch {
	case !ok:
		return forbid("the room is open to the invited and to members of certain rooms only")
	case membership(state, id.UserID(by)) != Join:
		return forbid("%s, who vouches for this join, is not in the room", by)
	case r.UserLevel(id.UserID(by)) < r.power.invite:
		return forbid("%s, who vouches for this join, may not invite", by)
	}
	return nil
}

// checkInvite is rule 4.4.2 to 4.4.5.
func (r *Rules) checkInvite(sender, target id.UserID, state Lookup) *errs.Error {
	if membership(state, sender) != Join {
		return forbid("you are not in the room") // 4.4.2
	}
	switch membership(state, target) { // 4.4.3
	case Join:
		return forbid("%s is already in the room", target)
	case Ban:
		return forbid("%s is banned from the room", target)
	}
	if r.UserLevel(sender) < r.power.invite {
		return forbid("your power level does not reach to invite") // 4.4.5
	}
	return nil
}

// checkLeave is rule 4.5: leaving, refusing an invite, taking a knock back, kicking, lifting a ban.
func (r *Rules) checkLeave(sender, target id.UserID, state Lookup) *errs.Error {
	m := membership(state, sender)
	if sender == target {
		switch m { // 4.5.1
		case Join, Invite, Knock:
			return nil
		case Ban:
			return forbid("you are banned from the room")
		}
		return forbid("you are not in the room")
	}
	if m != Join {
		return forbid("you are not in the room") // 4.5.2
	}
	level := r.UserLevel(sender)
	if membership(state, target) == Ban && level < r.power.ban {
		return forbid("your power level does not reach to lift a ban") // 4.5.3
	}
	if level < r.power.kick || level <= r.UserLevel(target) {
		return forbid("your power level does not reach to remove %s", target) // 4.5.5
	}
	return nil
}

// checkBan is rule 4.6.
func (r *Rules) checkBan(sender, target id.UserID, state Lookup) *errs.Error {
	if membership(state, sender) != Join {
		return forbid("you are not in the room") // 4.6.1
	}
	if level := r.UserLevel(sender); level < r.power.ban || level <= r.UserLevel(target) {
		return forbid("your power level does not reach to ban %s", target) // 4.6.3
	}
	return nil
}

// checkKnock is rule 4.7.
func (r *Rules) checkKnock(sender, target id.UserID, state Lookup) *errs.Error {
	if rule := r.JoinRule(); rule != JoinKnock && rule != JoinKnockRestricted {
		return forbid("the room does not take knocks") // 4.7.1
	}
	if sender != target {
		return forbid("nobody can knock for %s", target) // 4.7.2
	}
	switch membership(state, sender) { // 4.7.4
	case Ban:
		return forbid("you are banned from the room")
	case Invite:
		return forbid("you are invited already")
	case Join:
		return forbid("you are in the room already")
	}
	return nil
}
