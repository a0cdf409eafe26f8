package client

import (
	"context"
	"encoding/json"

	"bongsu/account"
	"bongsu/errs"
	"bongsu/id"
	"bongsu/pushrule"
)

func (a Accounts) pushRuleRoutes() []Route {
	const (
		all    = "/_matrix/client/v3/pushrules"
		global = all + "/global"
		rule   = global + "/{kind}/{ruleId}"
	)
	return []Route{
		// The specification writes the slash; clients come without it, too.
		{Op: "getPushRules", Method: "GET", Path: all + "/{$}", Also: []string{all}, Handle: a.getPushRules},
		{Op: "getPushRulesGlobal", Method: "GET", Path: global + "/{$}", Also: []string{global}, Handle: a.getPushRulesGlobal},
		{Op: "getPushRule", Method: "GET", Path: rule, Handle: a.getPushRule},
		{Op: "setPushRule", Method: "PUT", Path: rule, MaxBody: 32 << 10, Handle: a.setPushRule},
		{Op: "deletePushRule", Method: "DELETE", Path: rule, Handle: a.deletePushRule},
		{Op: "isPushRuleEnabled", Method: "GET", Path: rule + "/enabled", Handle: a.isPushRuleEnabled},
		{Op: "setPushRuleEnabled", Method: "PUT", Path: rule + "/enabled", Handle: a.setPushRuleEnabled},
		{Op: "getPushRuleActions", Method: "GET", Path: rule + "/actions", Handle: a.getPushRuleActions},
		{Op: "setPushRuleActions", Method: "PUT", Path: rule + "/actions", MaxBody: 32 << 10, Handle: a.setPushRuleActions},
	}
}

// rulesReply is all rules of a user, in answers and as the content of m.push_rules.
type rulesReply struct {
	Global pushrule.Ruleset `json:"global"`
}

// parseRules reads the content of a user's m.push_rules; nil stands for the server's defaults.
func parseRules(user id.UserID, content json.RawMessage) (pushrule.Ruleset, error) {
	if content == nil {
		return pushrule.Defaults(user), nil
	}
	var stored struct {
		Global json.RawMessage `json:"global"`
	}
	err := json.Unmarshal(content, &stored)
	if err == nil {
		var rules pushrule.Ruleset
		if rules, err = pushrule.Parse(stored.Global); err == nil {
			return rules, nil
		}
	}
	// What is stored was made by editRules.
	return pushrule.Ruleset{}, &errs.Error{Op: "api.parseRules", Kind: errs.Internal, Message: "internal error", Err: err}
}

func (a Accounts) rules(rq *Request) (pushrule.Ruleset, error) {
	content, _ := account.PushRules(a.Service.Rows(), rq.User())
	return parseRules(rq.User(), content)
}

// rule is the push rule in the path.
func (a Accounts) rule(rq *Request) (*pushrule.Rule, error) {
	rules, err := a.rules(rq)
	if err != nil {
		return nil, err
	}
	return rules.Find(pushrule.Kind(rq.Path("kind")), rq.Path("ruleId"))
}

// editRules changes the user's rules. edit may be called more than once, each time with newer rules.
func (a Accounts) editRules(ctx context.Context, rq *Request,
	edit func(rules *pushrule.Ruleset, kind pushrule.Kind, ruleID string) error) error {
	return a.Service.EditPushRules(ctx, rq.User(), func(old json.RawMessage) (json.RawMessage, error) {
		rules, err := parseRules(rq.User(), old)
		if err != nil {
			return nil, err
		}
		if err := edit(&rules, pushrule.Kind(rq.Path("kind")), rq.Path("ruleId")); err != nil {
			return nil, err
		}
		return json.Marshal(rulesReply{rules})
	})
}

func (a Accounts) getPushRules(_ context.Context, rq *Request) (any, error) {
	rules, err := a.rules(rq)
	return rulesReply{rules}, err
}

func (a Accounts) getPushRulesGlobal(_ context.Context, rq *Request) (any, error) {
	rules, err := a.rules(rq)
	return rules, err
}

func (a Accounts) getPushRule(_ context.Context, rq *Request) (any, error) { return a.rule(rq) }

func (a Accounts) setPushRule(ctx context.Context, rq *Request) (any, error) {
	before, err := rq.Query("before")
	if err != nil {
		return nil, err
	}
	after, err := rq.Query("after")
	if err != nil {
		return nil, err
	}
	var draft pushrule.Draft
	if err := rq.Decode(&draft); err != nil {
		return nil, err
	}
	return nil, a.editRules(ctx, rq, func(rules *pushrule.Ruleset, kind pushrule.Kind, ruleID string) error {
		return rules.Put(kind, ruleID, draft, before, after)
	})
}

func (a Accounts) deletePushRule(ctx context.Context, rq *Request) (any, error) {
	return nil, a.editRules(ctx, rq, (*pushrule.Ruleset).Delete)
}

func (a Accounts) isPushRuleEnabled(_ context.Context, rq *Request) (any, error) {
	rule, err := a.rule(rq)
	if err != nil {
		return nil, err
	}
	return map[string]bool{"enabled": rule.Enabled}, nil
}

func (a Accounts) setPushRuleEnabled(ctx context.Context, rq *Request) (any, error) {
	var in struct {
		Enabled *bool `json:"enabled"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	if in.Enabled == nil {
		return nil, errs.New("api.setPushRuleEnabled", errs.Invalid, errs.MissingParam, "enabled is required")
	}
	return nil, a.editRules(ctx, rq, func(rules *pushrule.Ruleset, kind pushrule.Kind, ruleID string) error {
		return rules.Enable(kind, ruleID, *in.Enabled)
	})
}

func (a Accounts) getPushRuleActions(_ context.Context, rq *Request) (any, error) {
	rule, err := a.rule(rq)
	if err != nil {
		return nil, err
	}
	return map[string]any{"actions": rule.Actions}, nil
}

func (a Accounts) setPushRuleActions(ctx context.Context, rq *Request) (any, error) {
	var in struct {
		Actions []json.RawMessage `json:"actions"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	return nil, a.editRules(ctx, rq, func(rules *pushrule.Ruleset, kind pushrule.Kind, ruleID string) error {
		return rules.SetActions(kind, ruleID, in.Actions)
	})
}
