package pushrule

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	mevent "maunium.net/go/mautrix/event"
	mid "maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/pushrules"
	"pgregory.net/rapid"

	"bongsu/event"
)

// theirRoom tells mautrix about the room.
type theirRoom struct{ members int }

func (r theirRoom) GetOwnDisplayname() string { return "" }
func (r theirRoom) GetMemberCount() int       { return r.members }
func (r theirRoom) GetPowerLevels() *mevent.PowerLevelsEventContent {
	return &mevent.PowerLevelsEventContent{Users: map[mid.UserID]int{mid.UserID(bob): 100}}
}

// TestAgainstMautrix compares verdicts with an independent implementation, on rules and events where both must agree. Not
// compared: event_match on parts of a value, which it takes for a match of the whole (so patterns begin and end with *); such
// patterns on content.body; text beyond ASCII; and values that are not strings under event_match (it turns them into text).
func TestAgainstMautrix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rs := Defaults(amy)
		for range rapid.IntRange(0, 4).Draw(t, "rules") {
			k := rapid.SampledFrom(kinds[:]).Draw(t, "kind")
			d := Draft{Actions: elements(rapid.SampledFrom([]string{silent, notify, sound, highlight, mention}).Draw(t, "actions"))}
			ruleID := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "id")
			switch k {
			case Room:
				ruleID = rapid.SampledFrom([]string{string(room), "!other:example.org"}).Draw(t, "room")
			case Sender:
				ruleID = rapid.SampledFrom([]string{string(amy), string(bob)}).Draw(t, "sender")
			case Content:
				p := rapid.StringMatching(`[a-c][a-c *?]{0,4}[a-c]`).Draw(t, "pattern")
				d.Pattern = &p
			default:
				for range rapid.IntRange(0, 2).Draw(t, "conditions") {
					d.Conditions = append(d.Conditions, drawCondition(t))
				}
			}
			if err := rs.Put(k, ruleID, d, "", ""); err != nil {
				t.Fatal(err)
			}
			if rapid.IntRange(0, 4).Draw(t, "off") == 0 {
				if err := rs.Enable(k, ruleID, false); err != nil {
					t.Fatal(err)
				}
			}
		}
		typ := rapid.SampledFrom([]string{"m.room.message", "m.room.encrypted", "m.room.member", "m.reaction", "m.room.tombstone"}).Draw(t, "type")
		state := rapid.SampledFrom([]string{"-", "-", "", string(amy)}).Draw(t, "state")
		if typ == "m.room.tombstone" {
			state = "" // it takes any state key for the empty one
		}
		content := drawContent(t)
		members := rapid.IntRange(1, 4).Draw(t, "members")

		ev := &event.Event{ID: "$e", Version: event.V11}
		ev.RoomID, ev.Type, ev.Sender, ev.Content = room, typ, bob, content
		if state != "-" {
			ev.StateKey = &state
		}
		ours := Compile(&rs, amy).Match(&Message{Event: ev, Members: int64(members), MayNotify: func(string) bool { return true }}, Reader{User: amy})

		data, err := json.Marshal(rs)
		if err != nil {
			t.Fatal(err)
		}
		var their pushrules.PushRuleset
		if err := json.Unmarshal(data, &their); err != nil {
			t.Fatal(err)
		}
		theirs := &mevent.Event{ID: "$e", RoomID: mid.RoomID(room), Sender: mid.UserID(bob), Type: mevent.Type{Type: typ}}
		if state != "-" {
			theirs.StateKey = &state
		}
		if err := json.Unmarshal(content, &theirs.Content); err != nil {
			t.Fatal(err)
		}
		rule := ""
		if r := their.GetMatchingRule(theirRoom{members}, theirs); r != nil {
			rule = r.RuleID
		}
		if rule != ours.Rule {
			t.Fatalf("we say %q, mautrix %q\nrules %s\nevent %s %q %s", ours.Rule, rule, data, typ, state, content)
		}
		should := their.GetActions(theirRoom{members}, theirs).Should()
		if should.Notify != ours.Notify || ours.Notify && should.Highlight != ours.Highlight {
			t.Fatalf("we say %+v, mautrix %+v\n%s", ours, should, data)
		}
	})
}

func drawCondition(t *rapid.T) json.RawMessage {
	key := rapid.SampledFrom([]string{`content.text`, `content.m\\.mentions.room`, `content.list`, `content.n`, "type", "sender", "state_key"}).Draw(t, "key")
	value := rapid.SampledFrom([]string{`"a"`, `1`, `true`, `null`, `"m.room.message"`}).Draw(t, "value")
	switch rapid.IntRange(0, 4).Draw(t, "condition") {
	case 0:
		if strings.HasSuffix(key, "n") || strings.HasSuffix(key, "room") || strings.HasSuffix(key, "list") {
			key = "content.text"
		}
		return json.RawMessage(`{"kind":"event_match","key":"` + key + `","pattern":"*` + rapid.StringMatching(`[a-cm*?.]{0,6}`).Draw(t, "glob") + `*"}`)
	case 1:
		return json.RawMessage(`{"kind":"event_property_is","key":"` + key + `","value":` + value + `}`)
	case 2:
		return json.RawMessage(`{"kind":"event_property_contains","key":"content.list","value":` + value + `}`)
	case 3:
		return json.RawMessage(`{"kind":"room_member_count","is":"` + rapid.SampledFrom([]string{"2", "==3", "<3", ">2", "<=1", ">=4"}).Draw(t, "is") + `"}`)
	}
	return json.RawMessage(`{"kind":"sender_notification_permission","key":"room"}`)
}

func drawContent(t *rapid.T) []byte {
	c := map[string]any{}
	if rapid.Bool().Draw(t, "body") {
		c["body"] = rapid.StringMatching(`[a-cA-C_ !-]{0,12}`).Draw(t, "body text")
	}
	if rapid.Bool().Draw(t, "text") {
		c["text"] = rapid.StringMatching(`[a-cA-Cm.]{0,8}`).Draw(t, "text text")
	}
	if rapid.Bool().Draw(t, "n") {
		c["n"] = rapid.IntRange(0, 2).Draw(t, "number")
	}
	if rapid.Bool().Draw(t, "list") {
		c["list"] = []any{rapid.SampledFrom([]any{"a", 1, true, nil, "b"}).Draw(t, "element")}
	}
	if rapid.Bool().Draw(t, "mentions") {
		c["m.mentions"] = map[string]any{"room": rapid.Bool().Draw(t, "@room"), "user_ids": []string{string(amy)}[:rapid.IntRange(0, 1).Draw(t, "@amy")]}
	}
	if rapid.Bool().Draw(t, "edit") {
		c["m.relates_to"] = map[string]any{"rel_type": "m.replace"}
	}
	raw, _ := json.Marshal(c)
	out, err := event.Canonical(nil, raw)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// pattern is what a glob means, as a regular expression.
func pattern(glob string) string {
	var re strings.Builder
	for _, c := range strings.ToLower(glob) {
		switch c {
		case '*':
			re.WriteString(`.*`)
		case '?':
			re.WriteString(`.`)
		default:
			re.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	return re.String()
}

// FuzzGlob compares globs with regular expressions: on whole texts, and on parts between word boundaries.
func FuzzGlob(f *testing.F) {
	f.Add("ex*ple", "An exciting triple-whammy")
	f.Add("a?b", "a_b aab")
	f.Add("*", "")
	f.Add("한?어", "한국어")
	f.Add("??", "어")
	f.Fuzz(func(t *testing.T, p, s string) {
		if len(p) > MaxPattern || len(s) > 1000 || !isText(p) || !isText(s) {
			return
		}
		s = strings.ToLower(s)
		g := newGlob(p)
		if got, want := g.whole(s), regexp.MustCompile(`(?s)^`+pattern(p)+`$`).MatchString(s); got != want {
			t.Fatalf("%q matches all of %q: %v", p, s, got)
		}
		if p == "" {
			return
		}
		want := false
		re := regexp.MustCompile(`(?s)^` + pattern(p) + `$`)
		for from := 0; from <= len(s) && !want; from++ {
			for to := from; to <= len(s) && len(s) < 40 && !want; to++ {
				want = bounds(s, from) && bounds(s, to) && re.MatchString(s[from:to])
			}
		}
		if got := g.words(s); len(s) < 40 && got != want {
			t.Fatalf("%q matches words of %q: %v", p, s, got)
		}
	})
}

// bounds reports whether a word may begin or end at byte i: at the ends, and between characters, never inside of one.
func bounds(s string, i int) bool {
	return i == 0 || i == len(s) || utf8.RuneStart(s[i]) && edge(s[i-1], s[i])
}

func isText(s string) bool { return strings.ToValidUTF8(s, "") == s && !strings.ContainsRune(s, '�') }

// FuzzCompile feeds rulesets as they might lie in a row.
func FuzzCompile(f *testing.F) {
	data, _ := json.Marshal(Defaults(amy))
	f.Add(data)
	f.Add([]byte(`{"override":[{"enabled":true,"conditions":[{"kind":"event_property_is","key":"a.b\\","value":[]}],"actions":[null,1]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rs, err := Parse(data)
		if err != nil {
			return
		}
		m := message(t, "m.room.message", "-", `{"body":"hi there","x":[1]}`)
		Compile(&rs, amy).Match(m, Reader{User: amy, Name: func() string { return "there" }})
		if _, err := json.Marshal(rs); err != nil {
			t.Fatal(err)
		}
	})
}
