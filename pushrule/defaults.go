package pushrule

import (
	"encoding/json"

	"bongsu/event"
	"bongsu/id"
)

const master = ".m.rule.master"

// Actions of the defaults.
const (
	silent    = `[]`
	notify    = `["notify"]`
	sound     = `["notify",{"set_tweak":"sound","value":"default"}]`
	ring      = `["notify",{"set_tweak":"sound","value":"ring"}]`
	highlight = `["notify",{"set_tweak":"highlight"}]`
	mention   = `["notify",{"set_tweak":"sound","value":"default"},{"set_tweak":"highlight"}]`
)

// Defaults is the ruleset of a user who has changed nothing. Source: "Predefined Rules".
func Defaults(user id.UserID) Ruleset {
	me := string(event.AppendString(nil, user))
	invite := `[` + match("type", "m.room.member") + `,` + match("content.membership", "invite") +
		`,{"key":"state_key","kind":"event_match","pattern":` + me + `}]`
	mentionsMe := `[{"key":"content.m\\.mentions.user_ids","kind":"event_property_contains","value":` + me + `}]`
	mentionsRoom := `[{"key":"content.m\\.mentions.room","kind":"event_property_is","value":true},` +
		`{"key":"room","kind":"sender_notification_permission"}]`
	edit := `[{"key":"content.m\\.relates_to.rel_type","kind":"event_property_is","value":"m.replace"}]`
	const pair = `{"is":"2","kind":"room_member_count"}`

	rs := Ruleset{
		Override: []Rule{
			preset(master, `[]`, silent),
			preset(".m.rule.suppress_notices", `[`+match("content.msgtype", "m.notice")+`]`, silent),
			preset(".m.rule.invite_for_me", invite, sound),
			preset(".m.rule.member_event", `[`+match("type", "m.room.member")+`]`, silent),
			preset(".m.rule.is_user_mention", mentionsMe, mention),
			preset(".m.rule.is_room_mention", mentionsRoom, highlight),
			preset(".m.rule.tombstone", `[`+match("type", "m.room.tombstone")+`,`+match("state_key", "")+`]`, highlight),
			preset(".m.rule.reaction", `[`+match("type", "m.reaction")+`]`, silent),
			preset(".m.rule.room.server_acl", `[`+match("type", "m.room.server_acl")+`,`+match("state_key", "")+`]`, silent),
			preset(".m.rule.suppress_edits", edit, silent),
		},
		Content: []Rule{},
		Room:    []Rule{},
		Sender:  []Rule{},
		Underride: []Rule{
			preset(".m.rule.call", `[`+match("type", "m.call.invite")+`]`, ring),
			preset(".m.rule.encrypted_room_one_to_one", `[`+pair+`,`+match("type", "m.room.encrypted")+`]`, sound),
			preset(".m.rule.room_one_to_one", `[`+pair+`,`+match("type", "m.room.message")+`]`, sound),
			preset(".m.rule.message", `[`+match("type", "m.room.message")+`]`, notify),
			preset(".m.rule.encrypted", `[`+match("type", "m.room.encrypted")+`]`, notify),
		},
	}
	rs.Override[0].Enabled = false
	return rs
}

// match is an event_match condition; neither argument needs escaping.
func match(key, pattern string) string {
	return `{"key":"` + key + `","kind":"event_match","pattern":"` + pattern + `"}`
}

func preset(ruleID, conditions, actions string) Rule {
	return Rule{ID: ruleID, Default: true, Enabled: true, Conditions: elements(conditions), Actions: elements(actions)}
}

func elements(array string) []json.RawMessage {
	out := []json.RawMessage{}
	for e := range event.Elements([]byte(array)) {
		out = append(out, json.RawMessage(e))
	}
	return out
}
