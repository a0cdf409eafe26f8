package pushrule

import (
	"encoding/json"
	"fmt"
	"testing"
)

func TestSucceed(t *testing.T) {
	parse := func(text string) Ruleset {
		rs, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return rs
	}
	const silent = `"actions":[],"conditions":[{"kind":"event_match","key":"room_id","pattern":"!a"}]`
	for _, c := range []struct{ what, in, want string }{
		{"nothing", `{}`, `false [] []`},
		{"another room", `{"room":[{"rule_id":"!c"}]}`, `false [] [!c false]`},
		{"a room", `{"room":[{"rule_id":"!a","enabled":true},{"rule_id":"!c"}]}`, `true [] [!a true !b true !c false]`},
		{"a silenced room", `{"override":[{"rule_id":"!a","enabled":true,` + silent + `}]}`, `true [!a true !b true] []`},
		{"switched off", `{"room":[{"rule_id":"!a"}]}`, `true [] [!a false !b false]`},
		{"known", `{"room":[{"rule_id":"!a","enabled":true},{"rule_id":"!b"}]}`, `false [] [!a true !b false]`},
		{"a default", `{"override":[{"rule_id":"!a","default":true}]}`, `false [!a false] []`},
	} {
		rs := parse(c.in)
		changed := rs.Succeed("!a", "!b")
		list := func(rules []Rule) string {
			out := []any{}
			for _, r := range rules {
				out = append(out, r.ID, r.Enabled)
			}
			return fmt.Sprint(out)
		}
		if got := fmt.Sprint(changed, " ", list(rs.Override), " ", list(rs.Room)); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
		for _, r := range rs.Override {
			if r.ID == "!b" && string(r.Conditions[0]) != `{"key":"room_id","kind":"event_match","pattern":"!b"}` {
				t.Errorf("%s: %s", c.what, r.Conditions)
			}
		}
	}
	full := parse(`{"room":[{"rule_id":"!a"}]}`)
	for i := range MaxRules - 1 {
		full.Sender = append(full.Sender, Rule{ID: fmt.Sprint("@u", i, ":h"), Actions: []json.RawMessage{}})
	}
	if full.Succeed("!a", "!b") || len(full.Room) != 1 {
		t.Error("there are more rules than there may be")
	}
}
