package account

import (
	"encoding/json"
	"slices"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/pushrule"
	"bongsu/replica"
)

// The account data by which users say from whom they want to hear.
const (
	typeIgnored        = "m.ignored_user_list"
	typeInvites        = "m.invite_permission_config"
	typeInvitesMSC4155 = "org.matrix.msc4155.invite_permission_config" // finer than the specification's
)

// Ignored are the users whom a user ignores, and the place of the last change of that. Nobody ignores themselves.
//
// Source: client-server API, "Ignoring Users".
func Ignored(r kv.Reader, user id.UserID) (map[id.UserID]bool, replica.Place) {
	e, ok := Data(r, user, "", typeIgnored)
	var list struct {
		Users map[id.UserID]json.RawMessage `json:"ignored_users"`
	}
	if !ok || json.Unmarshal(e.Content, &list) != nil || len(list.Users) == 0 {
		return nil, e.Place
	}
	out := make(map[id.UserID]bool, len(list.Users))
	for u := range list.Users {
		out[u] = true
	}
	delete(out, user)
	return out, e.Place
}

// Invites says whose invitations a user wants. The zero value wants all.
//
// Source: client-server API, "Invite permission"; MSC4155 for lists of users and servers.
type Invites struct {
	none    bool
	rules   []inviteRule // the first that matches decides
	changed replica.Place
}

type inviteRule struct {
	server   bool // the pattern is of the inviter's server
	patterns []string
	verdict  InviteVerdict
}

// InviteVerdict is what becomes of an invitation.
type InviteVerdict byte

// The verdicts.
const (
	InviteAllowed InviteVerdict = iota
	InviteHidden                // the inviter is told that all is well, and the invited user nothing
	InviteBlocked               // the inviter is told so
)

// maxInvitePatterns is how many patterns of one list are looked at.
const maxInvitePatterns = 1000

// InvitesOf is what a user has said about invitations.
func InvitesOf(r kv.Reader, user id.UserID) Invites {
	var in Invites
	if e, ok := Data(r, user, "", typeInvites); ok {
		var c struct {
			Default string `json:"default_action"`
		}
		in.none = json.Unmarshal(e.Content, &c) == nil && c.Default == "block"
		in.changed = e.Place
	}
	e, ok := Data(r, user, "", typeInvitesMSC4155)
	if !ok {
		return in
	}
	if in.changed.Before(e.Place) {
		in.changed = e.Place
	}
	var c struct {
		Enabled *bool  `json:"enabled"`
		Default string `json:"default_action"`
	}
	var lists map[string]json.RawMessage
	if json.Unmarshal(e.Content, &c) != nil || json.Unmarshal(e.Content, &lists) != nil || c.Enabled != nil && !*c.Enabled {
		return in
	}
	in.none = in.none || c.Default == "block"
	for _, kind := range []string{"users", "servers"} {
		for _, l := range []struct {
			name    string
			verdict InviteVerdict
		}{{"allowed_", InviteAllowed}, {"ignored_", InviteHidden}, {"blocked_", InviteBlocked}} {
			var list []string
			if json.Unmarshal(lists[l.name+kind], &list) == nil && len(list) > 0 {
				in.rules = append(in.rules, inviteRule{kind == "servers", list[:min(len(list), maxInvitePatterns)], l.verdict})
			}
		}
	}
	return in
}

// Changed is where the user has last said something about invitations.
func (in Invites) Changed() replica.Place { return in.changed }

// Verdict is what becomes of an invitation by a user.
func (in Invites) Verdict(by id.UserID) InviteVerdict {
	for _, r := range in.rules {
		name := string(by)
		if r.server {
			name = string(by.Server())
		}
		if slices.ContainsFunc(r.patterns, func(p string) bool { return pushrule.Glob(p, name) }) {
			return r.verdict
		}
	}
	if in.none {
		return InviteBlocked
	}
	return InviteAllowed
}

// MayInvite refuses an invitation that the invited user does not want: errs.Forbidden with errs.InviteBlocked.
func MayInvite(r kv.Reader, by, user id.UserID) error {
	if InvitesOf(r, user).Verdict(by) != InviteBlocked {
		return nil
	}
	return errs.New("account.MayInvite", errs.Forbidden, errs.InviteBlocked, "%s does not want to be invited", user)
}
