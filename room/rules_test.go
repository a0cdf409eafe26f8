package room

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/replica"
	"bongsu/replica/replicatest"
	"bongsu/roomstate"
)

// TestRuleTables asks the state machine for every change of a membership and of a power level, by everybody who could try, and
// compares what it says with the tables in testdata/rules, which were read against the specification's authorization rules. The
// tables are of rooms in whose state amy has 100 (from version 12 on she is their creator), cat 50 and dan nothing.
func TestRuleTables(t *testing.T) {
	for _, version := range event.Versions() {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			if testing.Short() && version != event.V12 {
				t.Skip("the newest version only")
			}
			w := &ruleWriter{version: version, p: player{t: t, r: replicatest.New(t, replicatest.Options{Machines: []replica.Machine{Machine()}, Partitions: 1, Rules: sinceRules})}}
			w.memberships()
			w.levels()
			file := filepath.Join("testdata", "rules", string(version)+".txt")
			if *rewrite {
				ok(t, os.MkdirAll(filepath.Dir(file), 0o755))
				ok(t, os.WriteFile(file, []byte(w.text()), 0o644))
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("no table (write one with -rewrite): %v", err)
			}
			if got := w.text(); got != string(want) {
				t.Errorf("the tables are now others (rewrite with -rewrite, and read the difference):\n%s", firstDifference(got, string(want)))
			}
		})
	}
}

// firstDifference is the first line in which two texts differ.
func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d is %q, was %q", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, not %d", len(a), len(b))
}

// ruleWriter writes tables of verdicts. Refusals stand there as letters, which are explained at the end.
type ruleWriter struct {
	version event.RoomVersion
	p       player
	out     strings.Builder
	reasons []string
}

func (w *ruleWriter) text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "# Room version %s. A dot is allowed; letters are explained at the end.\n%s", w.version, w.out.String())
	for i, why := range w.reasons {
		fmt.Fprintf(&out, "%s = %s\n", letter(i), why)
	}
	return out.String()
}

func letter(i int) string {
	if i < 26 {
		return string(rune('a' + i))
	}
	return string(rune('A' + i - 26))
}

// verdict is "." or the letter of the reason.
func (w *ruleWriter) verdict(err error) string {
	if err == nil {
		return "."
	}
	var e *errs.Error
	if !errors.As(err, &e) {
		w.p.t.Fatal(err)
	}
	why := fmt.Sprintf("%s: %s", e.Kind, e.Message)
	for i, r := range w.reasons {
		if r == why {
			return letter(i)
		}
	}
	w.reasons = append(w.reasons, why)
	return letter(len(w.reasons) - 1)
}

// state proposes a piece of state.
func (w *ruleWriter) state(sender id.UserID, typ, key, content string) error {
	_, err := w.p.r.Submit(w.p.t.Context(), replica.Proposal{Kind: kindState, Slot: id.SlotOf(w.p.room),
		Body: replica.Marshal(sendBody{Room: w.p.room, Sender: sender, Type: typ, Key: key, Content: []byte(content)})})
	return err
}

func (w *ruleWriter) must(err error) {
	w.p.t.Helper()
	if err != nil {
		w.p.t.Fatal(err)
	}
}

func (w *ruleWriter) set(sender, target id.UserID, membership string) {
	w.p.t.Helper()
	w.must(w.state(sender, event.TypeMember, string(target), `{"membership":"`+membership+`"}`))
}

func (w *ruleWriter) joinRule(rule string) {
	w.p.t.Helper()
	w.must(w.state("@amy:h", event.TypeJoinRules, "", `{"join_rule":"`+rule+`"}`))
}

// room makes a room with amy, cat and dan, whose power levels are the content given or the usual ones.
func (w *ruleWriter) room(levels string) {
	users := `"@cat:h":50`
	if !w.version.Features().CreatorPower {
		users = `"@amy:h":100,` + users
	}
	if levels == "" {
		levels = `{"users":{` + users + `}}`
	}
	if got := w.p.create([]string{string(w.version), "@amy:h", event.TypeMember, "@amy:h", `{"membership":"join"}`,
		event.TypePowerLevels, "-", strings.ReplaceAll(levels, "USERS", users), event.TypeJoinRules, "-", `{"join_rule":"public"}`}); got != "ok" {
		w.p.t.Fatalf("%s: %s", levels, got)
	}
	w.set("@cat:h", "@cat:h", "join")
	w.set("@dan:h", "@dan:h", "join")
}

// bobIs makes a room in which bob has a membership and the join rule is one; false if the version has no knocks.
func (w *ruleWriter) bobIs(membership, rule string) bool {
	w.room("")
	switch membership {
	case "invite", "ban":
		w.set("@amy:h", "@bob:h", membership)
	case "join", "leave":
		w.set("@bob:h", "@bob:h", "join")
		if membership == "leave" {
			w.set("@bob:h", "@bob:h", "leave")
		}
	case "knock":
		w.joinRule("knock")
		if w.state("@bob:h", event.TypeMember, "@bob:h", `{"membership":"knock"}`) != nil {
			return false
		}
	}
	w.joinRule(rule)
	return true
}

// memberships writes what becomes of every change of bob's membership.
func (w *ruleWriter) memberships() {
	to := []string{"join", "vouched", "invite", "leave", "ban", "knock"}
	rules := []string{roomstate.JoinPublic, roomstate.JoinInvite, roomstate.JoinKnock, roomstate.JoinRestricted, roomstate.JoinKnockRestricted, "private"}
	for _, rule := range rules {
		fmt.Fprintf(&w.out, "\n# Memberships of bob under the join rule %s; vouched is a join for which amy vouches.\n%-8s", rule, "")
		for _, who := range []string{"bob", "amy", "cat", "dan", "eve"} {
			fmt.Fprintf(&w.out, " | by %-41s", who)
		}
		fmt.Fprintf(&w.out, "\n%-8s", "from")
		for range 5 {
			w.out.WriteString(" |")
			for _, m := range to {
				fmt.Fprintf(&w.out, " %-7s", m)
			}
			w.out.WriteString(" ")
		}
		for _, from := range []string{"none", "join", "invite", "leave", "ban", "knock"} {
			if !w.bobIs(from, rule) {
				continue
			}
			fmt.Fprintf(&w.out, "\n%-8s", from)
			for _, who := range []id.UserID{"@bob:h", "@amy:h", "@cat:h", "@dan:h", "@eve:h"} {
				w.out.WriteString(" |")
				for _, m := range to {
					content := `{"membership":"` + m + `"}`
					if m == "vouched" {
						content = `{"join_authorised_via_users_server":"@amy:h","membership":"join"}`
					}
					err := w.state(who, event.TypeMember, "@bob:h", content)
					if fmt.Fprintf(&w.out, " %-7s", w.verdict(err)); err == nil {
						w.bobIs(from, rule)
					}
				}
				w.out.WriteString(" ")
			}
		}
		w.out.WriteString("\n")
	}
}

// levels writes what becomes of cat, who has 50, changing one level.
func (w *ruleWriter) levels() {
	values := []string{"none", "49", "50", "51"}
	kinds := map[string]string{ // the place of the level in the content; it stands for V
		"events m.x": `"events":{"m.room.power_levels":50,"m.x":V}`, "notifications room": `"notifications":{"room":V}`,
		"users dan": `"users":{"@dan:h":V,USERS}`,
	}
	order := []string{"users_default", "events_default", "state_default", "ban", "redact", "kick", "invite", "events m.x", "notifications room", "users dan"}
	fmt.Fprintf(&w.out, "\n# Levels that cat, who has 50, changes from one value to another.\n%-18s", "")
	for _, was := range values {
		fmt.Fprintf(&w.out, " | from %-16s", was)
	}
	fmt.Fprintf(&w.out, "\n%-18s", "to")
	for range values {
		w.out.WriteString(" |")
		for _, is := range values {
			fmt.Fprintf(&w.out, " %-4s", is)
		}
		w.out.WriteString(" ")
	}
	for _, kind := range order {
		form, special := kinds[kind]
		if !special {
			form = `"` + kind + `":V`
		}
		fmt.Fprintf(&w.out, "\n%-18s", kind)
		for _, was := range values {
			w.out.WriteString(" |")
			w.room(levelsWith(form, was))
			for _, is := range values {
				users := `"@cat:h":50`
				if !w.version.Features().CreatorPower {
					users = `"@amy:h":100,` + users
				}
				err := w.state("@cat:h", event.TypePowerLevels, "", canonicalText(w.p.t, strings.ReplaceAll(levelsWith(form, is), "USERS", users)))
				if fmt.Fprintf(&w.out, " %-4s", w.verdict(err)); err == nil {
					w.room(levelsWith(form, was))
				}
			}
			w.out.WriteString(" ")
		}
	}
	w.out.WriteString("\n\n# Single changes by cat; the content but for the users is given where it matters.\n")
	w.singles()
}

// levelsWith is a content in which cat may change levels, and one level has a value.
func levelsWith(form, value string) string {
	parts := []string{}
	for _, part := range []string{`"events":{"m.room.power_levels":50}`, `"users":{USERS}`} {
		if name, _, _ := strings.Cut(part, ":"); !strings.HasPrefix(form, name) {
			parts = append(parts, part)
		}
	}
	switch {
	case value != "none":
		parts = append(parts, strings.ReplaceAll(form, "V", value))
	case strings.Contains(form, `,"m.x":V`):
		parts = append(parts, strings.ReplaceAll(form, `,"m.x":V`, ""))
	case strings.Contains(form, `"@dan:h":V,`):
		parts = append(parts, strings.ReplaceAll(form, `"@dan:h":V,`, ""))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func canonicalText(t *testing.T, text string) string {
	c, err := event.ParseObject([]byte(text))
	ok(t, err)
	return string(c)
}

// singles are changes that fit into no table.
func (w *ruleWriter) singles() {
	const may = `"events":{"m.room.power_levels":50}`
	for _, users := range []string{
		`"@amy:h":100`, `"@amy:h":100,"@cat:h":49`, `"@amy:h":100,"@cat:h":51`, `"@amy:h":99,"@cat:h":50`, `"@cat:h":50`,
		`"@amy:h":100,"@cat:h":50,"@dan:h":50`, `"@amy:h":100,"@cat:h":50,"@eve:h":50`, `"@amy:h":100,"@cat:h":"50"`, `"@cat":50`, `"@amy:h":100,"@cat:h":50,"cat":0`,
	} {
		if w.version.Features().CreatorPower {
			users = strings.Replace(users, `"@amy:h":100,`, "", 1)
		}
		w.room(`{` + may + `,"users":{USERS}}`)
		fmt.Fprintf(&w.out, "users {%s}: %s\n", users, w.verdict(w.state("@cat:h", event.TypePowerLevels, "", canonicalText(w.p.t, `{`+may+`,"users":{`+users+`}}`))))
	}
	w.room(`{` + may + `,"users":{"@dan:h":50,USERS}}`)
	users := map[bool]string{false: `"@amy:h":100,"@cat:h":50`, true: `"@cat:h":50`}[w.version.Features().CreatorPower]
	fmt.Fprintf(&w.out, "users, dan from 50 to 0: %s\n", w.verdict(w.state("@cat:h", event.TypePowerLevels, "", canonicalText(w.p.t, `{`+may+`,"users":{"@dan:h":0,`+users+`}}`))))
	for _, odd := range []string{`"ban":"50"`, `"ban":null`, `"ban":[]`, `"events":[]`, `"events":{"x":"1"}`, `"notifications":{"room":null}`, `"users":1`, `"x":"y"`} {
		w.room(`{` + may + `,"users":{USERS}}`)
		content := `{` + may + `,"users":{` + users + `},` + odd + `}`
		if name, _, _ := strings.Cut(odd, ":"); strings.Contains(content, name+`:{`+users) {
			content = `{` + may + `,` + odd + `}`
		} else if strings.HasPrefix(odd, `"events"`) {
			content = `{"users":{` + users + `},` + odd + `}`
		}
		fmt.Fprintf(&w.out, "%s: %s\n", odd, w.verdict(w.state("@cat:h", event.TypePowerLevels, "", canonicalText(w.p.t, content))))
	}
	for _, c := range []struct {
		who     id.UserID
		typ     string
		key     string
		content string
	}{
		{"@cat:h", event.TypeTopic, "", `{}`}, {"@dan:h", event.TypeTopic, "", `{}`}, {"@eve:h", event.TypeTopic, "", `{}`},
		{"@dan:h", event.TypePowerLevels, "", `{}`}, {"@amy:h", event.TypeCreate, "", `{}`}, {"@cat:h", event.TypeThirdPartyInvite, "t", `{}`},
		{"@dan:h", event.TypeThirdPartyInvite, "t", `{}`}, {"@amy:h", "x", "@amy:h", `{}`}, {"@amy:h", "x", "@cat:h", `{}`},
		{"@amy:h", event.TypeMember, "bob", `{"membership":"invite"}`}, {"@amy:h", event.TypeMember, "@bob:h", `{}`},
		{"@amy:h", event.TypeMember, "@bob:h", `{"membership":"x"}`},
	} {
		w.room(`{"users":{USERS}}`)
		fmt.Fprintf(&w.out, "%s sets %s %q %s: %s\n", c.who, c.typ, c.key, c.content, w.verdict(w.state(c.who, c.typ, c.key, c.content)))
	}
}
