package account

import (
	"encoding/json"
	"strings"
	"testing"

	"bongsu/id"
	"bongsu/replica/replicatest"
)

func TestInvites(t *testing.T) {
	f := newService(t, replicatest.Options{})
	const amy = id.UserID("@amy:example.org")
	f.register(t, "amy")
	for _, c := range []struct {
		stable, msc string
		verdicts    string // of @bob:a.org, @cat:b.org, @dan:b.org: a allowed, h hidden, b blocked
	}{
		{``, ``, "aaa"},
		{`{}`, `{}`, "aaa"},
		{`{"default_action":"block"}`, ``, "bbb"},
		{`{"default_action":"later"}`, ``, "aaa"},
		{`{"default_action":1}`, ``, "aaa"},
		{`{}`, `{"default_action":"block","allowed_users":["@c?t:*"]}`, "bab"},
		{`{}`, `{"blocked_users":["@CAT:b.org"]}`, "aba"},
		{`{}`, `{"blocked_servers":["b.org"],"allowed_users":["@dan:b.org"],"ignored_users":["@d*"]}`, "aba"},
		{`{}`, `{"blocked_servers":["*"],"ignored_servers":["a.*"]}`, "hbb"},
		{`{}`, `{"enabled":false,"blocked_servers":["*"]}`, "aaa"},
		{`{"default_action":"block"}`, `{"allowed_servers":["a.org"],"blocked_users":"nonsense"}`, "abb"},
		{`{}`, `{"blocked_users":[1]}`, "aaa"},
	} {
		for typ, content := range map[string]string{typeInvites: c.stable, typeInvitesMSC4155: c.msc} {
			if content != "" {
				if err := f.SetData(t.Context(), amy, "", typ, json.RawMessage(content)); err != nil {
					t.Fatal(err)
				}
			}
		}
		var got strings.Builder
		for _, by := range []id.UserID{"@bob:a.org", "@cat:b.org", "@dan:b.org"} {
			v := InvitesOf(f.Rows(), amy).Verdict(by)
			got.WriteString(map[InviteVerdict]string{InviteAllowed: "a", InviteHidden: "h", InviteBlocked: "b"}[v])
			if err := MayInvite(f.Rows(), by, amy); (err != nil) != (v == InviteBlocked) {
				t.Errorf("%s %s: %v", c.stable, c.msc, err)
			}
		}
		if got.String() != c.verdicts {
			t.Errorf("%s %s: %s, want %s", c.stable, c.msc, got.String(), c.verdicts)
		}
	}
}
