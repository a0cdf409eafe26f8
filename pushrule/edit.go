package pushrule

import (
	"encoding/json"
	"slices"
	"strings"

	"bongsu/errs"
	"bongsu/id"
)

// Edits change a ruleset in place; after an error it is as it was.

// Draft is what a user says of a rule of their own.
type Draft struct {
	Actions    []json.RawMessage `json:"actions"`
	Conditions []json.RawMessage `json:"conditions"`
	Pattern    *string           `json:"pattern"`
}

// Put adds a user-defined rule, or changes the one of that id. A rule that is changed stays enabled or disabled. before and
// after name a user-defined rule of the kind that the rule is to stand right above or below, before winning; with neither
// a new rule becomes the most important one and an old one keeps its place.
//
// Errors are of kind Invalid, or TooLarge beyond MaxRules. Source: setPushRule.
func (rs *Ruleset) Put(k Kind, ruleID string, d Draft, before, after string) error {
	const op = "pushrule.Put"
	list := rs.list(k)
	if list == nil {
		return errs.New(op, errs.Invalid, errs.InvalidParam, "there are no push rules of the kind %q", string(k))
	}
	if err := checkID(k, ruleID); err != nil {
		return err
	}
	r := Rule{ID: ruleID, Enabled: true}
	if err := r.fill(k, d); err != nil {
		return err
	}
	rest, old := *list, find(*list, ruleID)
	if old >= 0 {
		r.Enabled = rest[old].Enabled
		rest = slices.Delete(slices.Clone(rest), old, old+1)
	} else if rs.own() >= MaxRules {
		return errs.New(op, errs.TooLarge, "", "there can be at most %d push rules", MaxRules)
	}
	at := old
	anchor := before
	if anchor == "" {
		anchor = after
	}
	switch {
	case anchor != "":
		at = find(rest, anchor)
		if at < 0 || rest[at].Default {
			return errs.New(op, errs.Invalid, errs.InvalidParam, "before/after rule not found: %s", anchor)
		}
		if before == "" {
			at++
		}
	case old < 0:
		at = 0
		if len(rest) > 0 && rest[0].ID == master {
			at = 1
		}
	}
	*list = slices.Insert(slices.Clone(rest), at, r)
	return nil
}

// Succeed gives a room that has taken the place of another the user's rules for the old one: that of kind Room, and of kind Override the
// one by which clients silence a room, which has its id and the condition that it is that room. What the new room has of its own stays.
// It reports whether there was anything to give.
func (rs *Ruleset) Succeed(from, to string) bool {
	changed := false
	for _, k := range [...]Kind{Override, Room} {
		list := rs.list(k)
		i := find(*list, from)
		if i < 0 || (*list)[i].Default || find(*list, to) >= 0 {
			continue
		}
		old := (*list)[i]
		d := Draft{Actions: old.Actions, Conditions: ofRoom(old.Conditions, from, to)}
		if rs.Put(k, to, d, "", from) != nil || !old.Enabled && rs.Enable(k, to, false) != nil {
			continue // there are too many already
		}
		changed = true
	}
	return changed
}

// ofRoom are conditions with those that it is one room turned into those that it is another.
func ofRoom(conditions []json.RawMessage, from, to string) []json.RawMessage {
	out := slices.Clone(conditions)
	for i, raw := range out {
		var c struct{ Kind, Key, Pattern string }
		if json.Unmarshal(raw, &c) != nil || c.Kind != "event_match" || c.Key != "room_id" || c.Pattern != from {
			continue
		}
		c.Pattern = to
		if changed, err := json.Marshal(map[string]string{"kind": c.Kind, "key": c.Key, "pattern": c.Pattern}); err == nil {
			out[i] = changed
		}
	}
	return out
}

// own is how many rules the user has defined.
func (rs *Ruleset) own() int {
	n := 0
	for _, k := range kinds {
		for _, r := range *rs.list(k) {
			if !r.Default {
				n++
			}
		}
	}
	return n
}

func checkID(k Kind, ruleID string) error {
	const op = "pushrule.Put"
	var err error
	switch {
	case ruleID == "" || len(ruleID) > id.MaxLen:
		return errs.New(op, errs.Invalid, errs.InvalidParam, "a push rule's id has 1 to %d bytes", id.MaxLen)
	case ruleID[0] == '.':
		return errs.New(op, errs.Invalid, errs.InvalidParam, "push rules that begin with a dot are the server's")
	case k == Room:
		_, err = id.ParseRoomID(ruleID)
	case k == Sender:
		_, err = id.ParseUserID(ruleID)
	}
	if err == nil && strings.ContainsAny(ruleID, `/\`) {
		err = errs.New(op, errs.Invalid, errs.InvalidParam, "a push rule's id has no slash and no backslash")
	}
	return err
}

// fill takes from d what a rule of the kind has.
func (r *Rule) fill(k Kind, d Draft) error {
	const op = "pushrule.Put"
	var err error
	if r.Actions, err = actions(d.Actions); err != nil {
		return err
	}
	switch k {
	case Content:
		if d.Pattern == nil || *d.Pattern == "" {
			return errs.New(op, errs.Invalid, errs.MissingParam, "a content rule needs a pattern")
		}
		if len(*d.Pattern) > MaxPattern {
			return errs.New(op, errs.Invalid, errs.InvalidParam, "a pattern has at most %d bytes", MaxPattern)
		}
		r.Pattern = *d.Pattern
	case Override, Underride:
		if len(d.Conditions) > MaxConditions {
			return errs.New(op, errs.Invalid, errs.InvalidParam, "a push rule has at most %d conditions", MaxConditions)
		}
		for _, raw := range d.Conditions {
			var c condition
			if err := json.Unmarshal(raw, &c); err != nil || c.Kind == "" {
				return errs.New(op, errs.Invalid, errs.BadJSON, "a condition is an object with a kind")
			}
			if len(c.Pattern) > MaxPattern {
				return errs.New(op, errs.Invalid, errs.InvalidParam, "a pattern has at most %d bytes", MaxPattern)
			}
		}
		r.Conditions = append([]json.RawMessage{}, d.Conditions...)
	}
	return nil
}

// actions checks a list of actions and drops the historical ones, which mean nothing.
func actions(in []json.RawMessage) ([]json.RawMessage, error) {
	const op = "pushrule.SetActions"
	if in == nil {
		return nil, errs.New(op, errs.Invalid, errs.MissingParam, "a push rule needs actions")
	}
	out := []json.RawMessage{}
	for _, raw := range in {
		var name string
		if json.Unmarshal(raw, &name) == nil {
			switch name {
			case "notify":
				out = append(out, raw)
			case "dont_notify", "coalesce":
			default:
				return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "there is no push action %q", name)
			}
			continue
		}
		var t tweak
		if json.Unmarshal(raw, &t) != nil || t.Set == "" {
			return nil, errs.New(op, errs.Invalid, errs.BadJSON, "an action is \"notify\" or an object with set_tweak")
		}
		out = append(out, raw)
	}
	return out, nil
}

// Delete removes a user-defined rule. Errors: Invalid for a kind that is none and for a server default, NotFound.
func (rs *Ruleset) Delete(k Kind, ruleID string) error {
	r, err := rs.Find(k, ruleID)
	if err != nil {
		return errs.Wrap("pushrule.Delete", err)
	}
	if r.Default {
		return errs.New("pushrule.Delete", errs.Invalid, errs.InvalidParam, "a push rule of the server cannot be deleted, only disabled")
	}
	list := rs.list(k)
	i := find(*list, ruleID)
	*list = slices.Delete(slices.Clone(*list), i, i+1)
	return nil
}

// Enable switches a rule on or off. Errors are those of Find.
func (rs *Ruleset) Enable(k Kind, ruleID string, on bool) error {
	r, err := rs.Find(k, ruleID)
	if err != nil {
		return errs.Wrap("pushrule.Enable", err)
	}
	r.Enabled = on
	return nil
}

// SetActions changes the actions of a rule, which may be a default one. Errors are those of Find, and Invalid.
func (rs *Ruleset) SetActions(k Kind, ruleID string, list []json.RawMessage) error {
	r, err := rs.Find(k, ruleID)
	if err != nil {
		return errs.Wrap("pushrule.SetActions", err)
	}
	acts, err := actions(list)
	if err != nil {
		return err
	}
	r.Actions = acts
	return nil
}
