package feed

import (
	"encoding/json"

	"bongsu/account"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/pushrule"
	"bongsu/replica"
)

// prefs are what a user's account data say of what the user wants to hear. They never change; newer ones take their place.
type prefs struct {
	rules     *pushrule.Set // compiled
	rulesAt   replica.Place // the change that made them, and so on
	ignored   map[id.UserID]bool
	ignoredAt replica.Place
	invites   account.Invites
}

// countLike reports whether what was counted by other prefs counts by these.
func (p *prefs) countLike(other *prefs) bool {
	return other != nil && p.rules == other.rules && p.ignoredAt == other.ignoredAt
}

// prefs are those of the user, read once for each change of account data.
func (a *answer) prefs() *prefs {
	if a.prefers != nil {
		return a.prefers
	}
	v, upto := a.vis.v, a.at(a.vis.v.home)
	a.f.hub.mu.Lock()
	known, fresh := v.prefs, v.prefs != nil && v.account <= v.prefsUpto && v.prefsUpto <= upto
	a.f.hub.mu.Unlock()
	if fresh { // no account data has changed since
		a.prefers = known
		return known
	}
	a.prefers = a.readPrefs(known)
	a.f.hub.mu.Lock()
	defer a.f.hub.mu.Unlock()
	v.prefs, v.prefsUpto = a.prefers, upto
	return a.prefers
}

// readPrefs reads what has changed since some were known; nil: none are.
func (a *answer) readPrefs(known *prefs) *prefs {
	content, at := account.PushRules(a.view, a.rq.User)
	p := &prefs{rulesAt: at, invites: account.InvitesOf(a.view, a.rq.User)}
	p.ignored, p.ignoredAt = account.Ignored(a.view, a.rq.User)
	if known != nil && known.rulesAt == at {
		p.rules = known.rules
	} else {
		p.rules = a.f.compile(content, a.rq.User)
	}
	return p
}

// hides reports whether an invitation is kept from the user.
func (p *prefs) hides(by id.UserID) bool {
	return p.ignored[by] || p.invites.Verdict(by) != account.InviteAllowed
}

// changedSince reports whether the user has, since a token, changed whose invitations are hidden: some may come to light.
func (p *prefs) changedSince(home journal.Position) bool {
	return p.ignoredAt.Pos > home || p.invites.Changed().Pos > home
}

// compile makes rules of the content of a user's m.push_rules; nil is what everybody has who has changed nothing.
func (f *Feed) compile(content json.RawMessage, user id.UserID) *pushrule.Set {
	var body struct {
		Global json.RawMessage `json:"global"`
	}
	if content == nil || json.Unmarshal(content, &body) != nil {
		return f.defaults
	}
	rs, err := pushrule.Parse(body.Global)
	if err != nil {
		return f.defaults
	}
	return pushrule.Compile(&rs, user)
}
