package client

import (
	"slices"

	"bongsu/account"
	"bongsu/errs"
	"bongsu/id"
	"bongsu/room"
)

// takingPart are the operations that a suspended account may not use: it may read, leave, redact what it said itself, verify devices,
// log out and close itself. What is neither here nor refused by its handler is allowed. Specification: "Account suspension".
var takingPart = [...]string{
	"createRoom", "joinRoom", "joinRoomById", "knockRoom", "inviteUser", "kick", "ban", "unban",
	"sendMessage", "setRoomStateWithKey", "setTyping",
	"setRoomAlias", "deleteRoomAlias", "setRoomVisibilityOnDirectory", "upgradeRoom",
	"setProfileField", "deleteProfileField", "setPresence",
	"uploadContent", "createContent", "uploadContentToMXC",
}

// moderated refuses what a moderator has taken from the account of the session.
func (rq *Request) moderated() error {
	switch {
	case rq.session.Locked && !rq.route.Moderated:
		return errs.New("api.auth", errs.Unauthenticated, errs.UserLocked, "this account has been locked by an administrator")
	case rq.session.Suspended && slices.Contains(takingPart[:], rq.route.Op):
		return suspended("api.auth")
	}
	return nil
}

func suspended(op string) error {
	return errs.New(op, errs.Forbidden, errs.UserSuspended, "this account has been suspended by an administrator: it can read and leave rooms, not take part")
}

// mayRedact refuses a suspended account to redact what others said.
func (a Rooms) mayRedact(rq *Request, in id.RoomID, target id.EventID) error {
	if !rq.session.Suspended {
		return nil
	}
	if v, ok := room.Open(a.Account.Rows(), in); ok {
		if ev, ok := v.Event(target); ok && ev.Sender == rq.User() {
			return nil
		}
	}
	return suspended("api.redactEvent")
}

// mayDelayed refuses to send what a suspended account has left to be sent later, or to put it off, whoever asks: the id is enough to do that.
// To cancel it is to say less. What nobody touches is sent in its time: it was said before.
func (a Rooms) mayDelayed(delay, action string) error {
	user, ok := a.Rooms.DelayedBy(delay)
	if !ok || action == "cancel" {
		return nil
	}
	if by, _ := account.Find(a.Account.Rows(), user); by.Suspended {
		return suspended("api.updateDelayedEvent")
	}
	return nil
}

// moderates is the account in the path, if it may be moderated by the user of the request, who must be an administrator: that is checked before anything
// is said of the account.
func (a Accounts) moderates(rq *Request, op string) (id.UserID, account.Account, error) {
	if me, _ := account.Find(a.Service.Rows(), rq.User()); !me.Admin {
		return "", account.Account{}, errs.New(op, errs.Forbidden, "", "only administrators of this server may do that")
	}
	user, err := rq.UserID("userId")
	if err != nil {
		return "", account.Account{}, err
	}
	if user.Server() != a.Service.Server() {
		return "", account.Account{}, errs.New(op, errs.Invalid, errs.InvalidParam, "the user is not of this server")
	}
	target, ok := account.Find(a.Service.Rows(), user)
	switch {
	case !ok || target.Deactivated:
		return "", target, errs.New(op, errs.NotFound, "", "there is no such account")
	case target.Admin && user != rq.User():
		return "", target, errs.New(op, errs.Forbidden, "", "the user is an administrator, too")
	}
	return user, target, nil
}
