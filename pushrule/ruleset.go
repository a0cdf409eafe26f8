// Package pushrule decides whom an event notifies: push rulesets, their server defaults, the edits that users make, and
// their evaluation.
//
// Invariants: a Ruleset marshals to the specification's form, with user-defined rules above the server defaults of their
// kind and .m.rule.master above all. A Set, which is a Ruleset made ready for evaluation, never changes and may be used by
// many goroutines at a time; a Message belongs to one. Evaluation takes time linear in the event, times the length of the
// user's patterns.
//
// Limits: MaxRules rules of a user's own, MaxPattern bytes in a pattern, MaxConditions conditions in a rule. "Case-insensitive"
// means equal after Unicode lower-casing.
//
// Source: client-server API, module "Push Notifications".
package pushrule

import (
	"encoding/json"
	"slices"

	"bongsu/errs"
)

// Limits on what a user may set.
const (
	MaxRules      = 500 // user-defined rules, all kinds together
	MaxPattern    = 256 // bytes of a glob
	MaxConditions = 32  // of one rule
)

// Kind says what a rule looks at.
type Kind string

// The kinds, in the order in which they are evaluated.
const (
	Override  Kind = "override"
	Content   Kind = "content"
	Room      Kind = "room"
	Sender    Kind = "sender"
	Underride Kind = "underride"
)

// Rule says what becomes of the events that it matches.
type Rule struct {
	Actions    []json.RawMessage `json:"actions"`
	Conditions []json.RawMessage `json:"conditions,omitzero"` // of Override and Underride
	Default    bool              `json:"default"`
	Enabled    bool              `json:"enabled"`
	Pattern    string            `json:"pattern,omitempty"` // of Content
	ID         string            `json:"rule_id"`
}

// Ruleset is all rules of a user, by kind, the most important first.
type Ruleset struct {
	Override  []Rule `json:"override"`
	Content   []Rule `json:"content"`
	Room      []Rule `json:"room"`
	Sender    []Rule `json:"sender"`
	Underride []Rule `json:"underride"`
}

// Parse reads a ruleset that was marshalled from one.
func Parse(data []byte) (Ruleset, error) {
	var rs Ruleset
	if err := json.Unmarshal(data, &rs); err != nil {
		return Ruleset{}, &errs.Error{Op: "pushrule.Parse", Kind: errs.Invalid, Code: errs.BadJSON,
			Message: "this is not a push ruleset", Err: err}
	}
	for _, k := range kinds {
		list := rs.list(k)
		if *list == nil {
			*list = []Rule{}
		}
		for i := range *list {
			if r := &(*list)[i]; r.Actions == nil {
				r.Actions = []json.RawMessage{}
			}
		}
	}
	return rs, nil
}

var kinds = [...]Kind{Override, Content, Room, Sender, Underride}

// list is where the rules of a kind are, nil for a kind that is none.
func (rs *Ruleset) list(k Kind) *[]Rule {
	switch k {
	case Override:
		return &rs.Override
	case Content:
		return &rs.Content
	case Room:
		return &rs.Room
	case Sender:
		return &rs.Sender
	case Underride:
		return &rs.Underride
	}
	return nil
}

// Find is a rule of the set, to be read. Errors: Invalid for a kind that is none, NotFound.
func (rs *Ruleset) Find(k Kind, ruleID string) (*Rule, error) {
	const op = "pushrule.Find"
	list := rs.list(k)
	if list == nil {
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "there are no push rules of the kind %q", string(k))
	}
	i := find(*list, ruleID)
	if i < 0 {
		return nil, errs.New(op, errs.NotFound, "", "there is no push rule %q of the kind %q", ruleID, string(k))
	}
	return &(*list)[i], nil
}

func find(list []Rule, ruleID string) int {
	return slices.IndexFunc(list, func(r Rule) bool { return r.ID == ruleID })
}
