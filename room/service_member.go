package room

import (
	"context"
	"encoding/json"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/roomstate"
)

// act proposes a change of target's membership.
func (s *Service) act(ctx context.Context, by By, room id.RoomID, target id.UserID, a Action, content event.Object) error {
	body := memberBody{Room: room, Sender: by.User, Device: by.Device, Target: target, Action: a, Content: json.RawMessage(content)}
	_, err := s.submit(ctx, kindMember, room, by.User, replica.Key{}, &body)
	return err
}

// memberContent is the content of a member event. Who comes or is asked to come is shown with name and picture.
func (s *Service) memberContent(membership string, user id.UserID, reason string) event.Object {
	c := object("membership", membership)
	if membership != "leave" && membership != "ban" {
		p, _ := s.cfg.Profile(s.cfg.Replica.Rows(), user)
		if p.DisplayName != "" {
			c = c.With("displayname", event.AppendString(nil, p.DisplayName))
		}
		if p.AvatarURL != "" {
			c = c.With("avatar_url", event.AppendString(nil, p.AvatarURL))
		}
	}
	if reason != "" {
		c = c.With("reason", event.AppendString(nil, reason))
	}
	return c
}

// Join lets the user into a room: an open one, one that the user is invited to, or a restricted one when the user is in a room that
// it names. Joining a room that the user is in does nothing.
//
// Errors: NotFound if there is no such room; Forbidden.
func (s *Service) Join(ctx context.Context, by By, room id.RoomID, reason string) error {
	content := s.memberContent("join", by.User, reason)
	rows := s.cfg.Replica.Rows()
	if v, ok := Open(rows, room); ok {
		voucher, err := s.voucher(&v, rows, by.User)
		if err != nil {
			return err
		}
		if voucher != "" {
			content = content.With("join_authorised_via_users_server", event.AppendString(nil, voucher))
		}
	}
	return s.act(ctx, by, room, by.User, actJoin, content)
}

// voucher is who lets the user into a restricted room; empty if nobody needs to. That the user is in a room which opens this
// one is a fact from elsewhere, read here; that the voucher may vouch is decided when the join is applied.
//
// Source: client-server API, "Restricted rooms".
func (s *Service) voucher(v *View, rows kv.Reader, user id.UserID) (id.UserID, error) {
	jr, ok := v.StateEvent(event.TypeJoinRules, "")
	if !ok {
		return "", nil
	}
	if r, _ := jr.Content.String("join_rule"); r != roomstate.JoinRestricted && r != roomstate.JoinKnockRestricted {
		return "", nil
	}
	switch v.Member(user).Membership {
	case roomstate.Join, roomstate.Invite, roomstate.Ban:
		return "", nil
	}
	rules := v.Rules()
	if !opens(rows, rules, user) {
		return "", errs.New("room.Join", errs.Forbidden, "", "the room is open to the invited and to members of certain rooms only")
	}
	for _, c := range rules.Creators() {
		if v.IsJoined(c) && rules.UserLevel(c) >= rules.InviteLevel() {
			return c, nil
		}
	}
	for m := range v.Members() {
		if u := id.UserID(m.Key); m.Membership == roomstate.Join && rules.UserLevel(u) >= rules.InviteLevel() {
			return u, nil
		}
	}
	return "", errs.New("room.Join", errs.Forbidden, "", "nobody is in the room who could let you in")
}

// Knock asks to be invited. Errors are those of Join.
func (s *Service) Knock(ctx context.Context, by By, room id.RoomID, reason string) error {
	return s.act(ctx, by, room, by.User, actKnock, s.memberContent("knock", by.User, reason))
}

// Leave leaves a room, rejects an invite or takes a knock back. Leaving again does nothing.
func (s *Service) Leave(ctx context.Context, by By, room id.RoomID, reason string) error {
	return s.act(ctx, by, room, by.User, actLeave, s.memberContent("leave", by.User, reason))
}

// Forget takes a room that was left out of the user's sight.
//
// Errors: Forbidden for a room that the user never was in; Invalid for one not left.
func (s *Service) Forget(ctx context.Context, by By, room id.RoomID) error {
	_, err := s.submit(ctx, kindForget, room, by.User, replica.Key{}, &forgetBody{Room: room, User: by.User})
	return err
}

// Invite asks target to come. Errors: Forbidden, with InviteBlocked if the user does not want that; NotFound if there is no such user.
func (s *Service) Invite(ctx context.Context, by By, room id.RoomID, target id.UserID, reason string) error {
	if err := s.invitable(by.User, target); err != nil {
		return err
	}
	return s.act(ctx, by, room, target, actInvite, s.memberContent("invite", target, reason))
}

// Kick removes target, or takes back an invite. Errors: Forbidden, also for somebody who is not in the room.
func (s *Service) Kick(ctx context.Context, by By, room id.RoomID, target id.UserID, reason string) error {
	return s.act(ctx, by, room, target, actKick, s.memberContent("leave", target, reason))
}

// Ban removes target and keeps them out.
func (s *Service) Ban(ctx context.Context, by By, room id.RoomID, target id.UserID, reason string) error {
	return s.act(ctx, by, room, target, actBan, s.memberContent("ban", target, reason))
}

// Unban lifts a ban. Errors: Forbidden, also if there is none.
func (s *Service) Unban(ctx context.Context, by By, room id.RoomID, target id.UserID, reason string) error {
	return s.act(ctx, by, room, target, actUnban, s.memberContent("leave", target, reason))
}
