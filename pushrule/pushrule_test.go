package pushrule

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

const (
	amy  id.UserID = "@amy:example.org"
	bob  id.UserID = "@bob:example.org"
	room id.RoomID = "!room:example.org"
)

// message makes an event of bob's; state is "-" for an event that is not state.
func message(t testing.TB, typ, state, content string) *Message {
	t.Helper()
	canonical, err := event.Canonical(nil, []byte(content))
	if err != nil {
		t.Fatalf("%s: %v", content, err)
	}
	ev := &event.Event{ID: "$event", Version: event.V11}
	ev.RoomID, ev.Type, ev.Sender, ev.Content, ev.OriginServerTS = room, typ, bob, canonical, 1234
	if state != "-" {
		ev.StateKey = &state
	}
	return &Message{Event: ev, Members: 5, MayNotify: func(key string) bool { return key == "room" }}
}

func TestDefaults(t *testing.T) {
	set := Compile(new(Defaults(bob)), bob) // compiled for one, asked for another
	for _, c := range []struct {
		name, typ, state, content string
		members                   int64
		want                      string // "-", "notify" or "highlight", and the rule
	}{
		{"text", "m.room.message", "-", `{"body":"hi","msgtype":"m.text"}`, 5, "notify .m.rule.message"},
		{"text of two", "m.room.message", "-", `{"body":"hi","msgtype":"m.text"}`, 2, "notify .m.rule.room_one_to_one"},
		{"encrypted", "m.room.encrypted", "-", `{}`, 3, "notify .m.rule.encrypted"},
		{"encrypted of two", "m.room.encrypted", "-", `{}`, 2, "notify .m.rule.encrypted_room_one_to_one"},
		{"notice", "m.room.message", "-", `{"body":"hi","msgtype":"m.notice"}`, 2, "- .m.rule.suppress_notices"},
		{"invited", "m.room.member", string(amy), `{"membership":"invite"}`, 5, "notify .m.rule.invite_for_me"},
		{"other invited", "m.room.member", "@cat:example.org", `{"membership":"invite"}`, 5, "- .m.rule.member_event"},
		{"joined", "m.room.member", string(amy), `{"membership":"join"}`, 2, "- .m.rule.member_event"},
		{"mention", "m.room.message", "-", `{"body":"hi","m.mentions":{"user_ids":["@x:y","@amy:example.org"]}}`, 5,
			"highlight .m.rule.is_user_mention"},
		{"mention of the owner", "m.room.message", "-", `{"body":"hi","m.mentions":{"user_ids":["@bob:example.org"]}}`, 5,
			"notify .m.rule.message"},
		{"room mention", "m.room.message", "-", `{"body":"hi","m.mentions":{"room":true}}`, 5, "highlight .m.rule.is_room_mention"},
		{"room mention as text", "m.room.message", "-", `{"body":"hi","m.mentions":{"room":"true"}}`, 5, "notify .m.rule.message"},
		{"tombstone", "m.room.tombstone", "", `{}`, 5, "highlight .m.rule.tombstone"},
		{"tombstone that is no state", "m.room.tombstone", "-", `{}`, 5, "- "},
		{"tombstone with a key", "m.room.tombstone", "x", `{}`, 5, "- "},
		{"reaction", "m.reaction", "-", `{}`, 2, "- .m.rule.reaction"},
		{"acl", "m.room.server_acl", "", `{}`, 5, "- .m.rule.room.server_acl"},
		{"edit", "m.room.message", "-", `{"body":"* hi","m.relates_to":{"rel_type":"m.replace"}}`, 5, "- .m.rule.suppress_edits"},
		{"edit that mentions", "m.room.message", "-",
			`{"m.mentions":{"user_ids":["@amy:example.org"]},"m.relates_to":{"rel_type":"m.replace"}}`, 5,
			"highlight .m.rule.is_user_mention"},
		{"call", "m.call.invite", "-", `{}`, 5, "notify .m.rule.call"},
		{"something else", "org.example.thing", "-", `{}`, 2, "- "},
		{"upper case", "M.ROOM.MESSAGE", "-", `{}`, 5, "notify .m.rule.message"}, // event_match folds case
	} {
		m := message(t, c.typ, c.state, c.content)
		m.Members = c.members
		if got := say(set.Match(m, Reader{User: amy})); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if got := say(set.Match(m, Reader{User: bob})); got != "- " {
			t.Errorf("%s: the sender is told: %s", c.name, got)
		}
	}
	m := message(t, "m.room.message", "-", `{"m.mentions":{"room":true}}`)
	m.MayNotify = nil
	if got := say(set.Match(m, Reader{User: amy})); got != "notify .m.rule.message" {
		t.Errorf("a room mention without power: %s", got)
	}
}

func say(v Verdict) string {
	switch {
	case v.Highlight:
		return "highlight " + v.Rule
	case v.Notify:
		return "notify " + v.Rule
	}
	return "- " + v.Rule
}

// TestDefaultsGolden holds the JSON that clients get.
func TestDefaultsGolden(t *testing.T) {
	rs := Defaults(amy)
	got, err := json.MarshalIndent(rs, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	file := filepath.Join("testdata", "defaults.json")
	if *rewrite {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the defaults have changed:\n%s", got)
	}
	back, err := Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := json.MarshalIndent(back, "", "  ")
	if string(again)+"\n" != string(want) {
		t.Errorf("parsed and marshalled:\n%s", again)
	}
}

func TestConditions(t *testing.T) {
	const content = `{"alt":["#a:b",1,true,null,{"x":1}],"body":"An exciting triple-Whammy of 한국어 가나","count":12,
		"deep":{"a.b":{"c\\d":"x"}},"empty":"","flag":true,"none":null,"topic":"Lunch plans"}`
	for _, c := range []struct {
		condition string
		want      bool
	}{
		{`{"kind":"event_match","key":"content.topic","pattern":"lunc?*"}`, true},
		{`{"kind":"event_match","key":"content.topic","pattern":"LUNCH PLANS"}`, true},
		{`{"kind":"event_match","key":"content.topic","pattern":"lunch"}`, false},
		{`{"kind":"event_match","key":"content.topic","pattern":"*"}`, true},
		{`{"kind":"event_match","key":"content.empty","pattern":"*"}`, true},
		{`{"kind":"event_match","key":"content.empty","pattern":""}`, true},
		{`{"kind":"event_match","key":"content.empty","pattern":"?"}`, false},
		{`{"kind":"event_match","key":"content.count","pattern":"*"}`, false},
		{`{"kind":"event_match","key":"content.absent","pattern":"*"}`, false},
		{`{"kind":"event_match","key":"content.deep.a\\.b.c\\\\d","pattern":"x"}`, true},
		{`{"kind":"event_match","key":"content.deep.a.b","pattern":"*"}`, false},
		{`{"kind":"event_match","key":"sender","pattern":"@bob:*"}`, true},
		{`{"kind":"event_match","key":"room_id","pattern":"!room:example.org"}`, true},
		{`{"kind":"event_match","key":"state_key","pattern":"*"}`, false},
		{`{"kind":"event_match","key":"unsigned.x","pattern":"*"}`, false},
		{`{"kind":"event_match","key":"","pattern":"*"}`, false},
		{`{"kind":"event_match","key":"content.body","pattern":"ex*ple"}`, true},
		{`{"kind":"event_match","key":"content.body","pattern":"whammy"}`, true},
		{`{"kind":"event_match","key":"content.body","pattern":"hammy"}`, false},
		{`{"kind":"event_match","key":"content.body","pattern":"tri*"}`, true},
		{`{"kind":"event_match","key":"content.body","pattern":"ripl?"}`, false},
		{`{"kind":"event_match","key":"content.body","pattern":"*ripl?"}`, true},
		{`{"kind":"event_match","key":"content.body","pattern":"국"}`, true}, // no letter outside ASCII is a word character
		{`{"kind":"event_match","key":"content.body","pattern":"?국?"}`, true},
		{`{"kind":"event_match","key":"content.body","pattern":"*"}`, true},
		{`{"kind":"event_match","key":"content.body","pattern":""}`, false},
		{`{"kind":"event_property_is","key":"content.flag","value":true}`, true},
		{`{"kind":"event_property_is","key":"content.flag","value":"true"}`, false},
		{`{"kind":"event_property_is","key":"content.flag","value":1}`, false},
		{`{"kind":"event_property_is","key":"content.none","value":null}`, true},
		{`{"kind":"event_property_is","key":"content.absent","value":null}`, false},
		{`{"kind":"event_property_is","key":"content.none"}`, false},
		{`{"kind":"event_property_is","key":"content.count","value":12}`, true},
		{`{"kind":"event_property_is","key":"content.count","value":12.0}`, true},
		{`{"kind":"event_property_is","key":"content.count","value":12.5}`, false},
		{`{"kind":"event_property_is","key":"content.topic","value":"Lunch plans"}`, true},
		{`{"kind":"event_property_is","key":"content.topic","value":"lunch plans"}`, false},
		{`{"kind":"event_property_is","key":"content.alt","value":[]}`, false},
		{`{"kind":"event_property_is","key":"type","value":"m.room.message"}`, true},
		{`{"kind":"event_property_contains","key":"content.alt","value":"#a:b"}`, true},
		{`{"kind":"event_property_contains","key":"content.alt","value":":b"}`, false},
		{`{"kind":"event_property_contains","key":"content.alt","value":1}`, true},
		{`{"kind":"event_property_contains","key":"content.alt","value":null}`, true},
		{`{"kind":"event_property_contains","key":"content.alt","value":false}`, false},
		{`{"kind":"event_property_contains","key":"content.alt","value":{"x":1}}`, false},
		{`{"kind":"event_property_contains","key":"content.topic","value":"Lunch plans"}`, false},
		{`{"kind":"contains_display_name"}`, true},
		{`{"kind":"room_member_count","is":"5"}`, true},
		{`{"kind":"room_member_count","is":"==5"}`, true},
		{`{"kind":"room_member_count","is":"<5"}`, false},
		{`{"kind":"room_member_count","is":"<=5"}`, true},
		{`{"kind":"room_member_count","is":">4"}`, true},
		{`{"kind":"room_member_count","is":">=6"}`, false},
		{`{"kind":"room_member_count","is":"=5"}`, false},
		{`{"kind":"room_member_count","is":"99999999999999999999"}`, false},
		{`{"kind":"sender_notification_permission","key":"room"}`, true},
		{`{"kind":"sender_notification_permission","key":"other"}`, false},
		{`{"kind":"org.example.unknown"}`, false},
		{`{}`, false},
		{`[]`, false},
		{`{"kind":7}`, false},
	} {
		rs := Ruleset{Override: []Rule{{ID: "x", Enabled: true, Conditions: []json.RawMessage{json.RawMessage(c.condition)},
			Actions: elements(notify)}}}
		m := message(t, "m.room.message", "-", content)
		v := Compile(&rs, amy).Match(m, Reader{User: amy, Name: func() string { return "Triple" }})
		if v.Notify != c.want {
			t.Errorf("%s: %v", c.condition, v.Notify)
		}
	}
}

func TestOrder(t *testing.T) {
	rs := Defaults(amy)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	quiet, loud := Draft{Actions: elements(silent)}, Draft{Actions: elements(mention)}
	word := loud
	word.Pattern = new("tea")
	check := func(want string) {
		t.Helper()
		m := message(t, "m.room.message", "-", `{"body":"It's time for tea","msgtype":"m.text"}`)
		if got := say(Compile(&rs, amy).Match(m, Reader{User: amy})); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	check("notify .m.rule.message")
	must(rs.Put(Underride, "mine", quiet, "", ""))
	check("- mine")
	must(rs.Put(Sender, string(bob), loud, "", ""))
	check("highlight " + string(bob))
	must(rs.Put(Room, string(room), quiet, "", ""))
	check("- " + string(room))
	must(rs.Put(Content, "tea", word, "", ""))
	check("highlight tea")
	must(rs.Put(Override, "all", quiet, "", ""))
	check("- all")
	must(rs.Enable(Override, "all", false))
	check("highlight tea")
	must(rs.Enable(Override, master, true))
	check("- " + master)
	must(rs.SetActions(Override, master, elements(notify)))
	check("notify " + master)
}

func TestEdits(t *testing.T) {
	d := Draft{Actions: elements(`["notify","dont_notify",{"set_tweak":"sound","value":"x"}]`)}
	rs := Defaults(amy)
	ids := func() string {
		var out []string
		for _, r := range rs.Override[:len(rs.Override)-9] {
			out = append(out, r.ID)
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct{ rule, before, after, want string }{
		{"a", "", "", ".m.rule.master a"},
		{"b", "", "", ".m.rule.master b a"},
		{"c", "a", "", ".m.rule.master b c a"},
		{"d", "", "a", ".m.rule.master b c a d"},
		{"b", "", "", ".m.rule.master b c a d"},
		{"b", "", "d", ".m.rule.master c a d b"},
		{"e", "b", "c", ".m.rule.master c a d e b"},
		{"f", "absent", "", ".m.rule.master c a d e b"},
		{"f", "", master, ".m.rule.master c a d e b"},
		{"c", "c", "", ".m.rule.master c a d e b"}, // relative to itself
	} {
		_ = rs.Put(Override, c.rule, d, c.before, c.after)
		if got := ids(); got != c.want {
			t.Fatalf("put %s before %q after %q: %s, want %s", c.rule, c.before, c.after, got, c.want)
		}
	}
	r, err := rs.Find(Override, "a")
	if err != nil || len(r.Actions) != 2 || !r.Enabled || r.Default || r.Conditions == nil {
		t.Fatalf("%+v %v", r, err)
	}
	if err := rs.Enable(Override, "a", false); err != nil {
		t.Fatal(err)
	}
	if err := rs.Put(Override, "a", d, "", ""); err != nil {
		t.Fatal(err)
	}
	if r, _ := rs.Find(Override, "a"); r.Enabled {
		t.Error("a change enabled the rule")
	}
	if err := rs.Delete(Override, "a"); err != nil || ids() != ".m.rule.master c d e b" {
		t.Errorf("%v %s", err, ids())
	}
}

func TestEditErrors(t *testing.T) {
	d := Draft{Actions: elements(notify)}
	many := make([]json.RawMessage, MaxConditions+1)
	for i := range many {
		many[i] = json.RawMessage(`{"kind":"x"}`)
	}
	for name, c := range map[string]struct {
		edit func(*Ruleset) error
		kind errs.Kind
	}{
		"kind":              {func(rs *Ruleset) error { return rs.Put("x", "a", d, "", "") }, errs.Invalid},
		"dot":               {func(rs *Ruleset) error { return rs.Put(Override, ".a", d, "", "") }, errs.Invalid},
		"empty id":          {func(rs *Ruleset) error { return rs.Put(Override, "", d, "", "") }, errs.Invalid},
		"slash":             {func(rs *Ruleset) error { return rs.Put(Override, "a/b", d, "", "") }, errs.Invalid},
		"backslash":         {func(rs *Ruleset) error { return rs.Put(Override, `a\b`, d, "", "") }, errs.Invalid},
		"room":              {func(rs *Ruleset) error { return rs.Put(Room, "a", d, "", "") }, errs.Invalid},
		"sender":            {func(rs *Ruleset) error { return rs.Put(Sender, "a", d, "", "") }, errs.Invalid},
		"no actions":        {func(rs *Ruleset) error { return rs.Put(Override, "a", Draft{}, "", "") }, errs.Invalid},
		"no pattern":        {func(rs *Ruleset) error { return rs.Put(Content, "a", d, "", "") }, errs.Invalid},
		"long pattern":      {func(rs *Ruleset) error { return rs.Put(Content, "a", withPattern(d, strings.Repeat("a", 257)), "", "") }, errs.Invalid},
		"condition":         {func(rs *Ruleset) error { return rs.Put(Override, "a", Draft{d.Actions, elements(`[1]`), nil}, "", "") }, errs.Invalid},
		"many":              {func(rs *Ruleset) error { return rs.Put(Override, "a", Draft{d.Actions, many, nil}, "", "") }, errs.Invalid},
		"unknown action":    {func(rs *Ruleset) error { return rs.Put(Override, "a", Draft{Actions: elements(`["x"]`)}, "", "") }, errs.Invalid},
		"action":            {func(rs *Ruleset) error { return rs.Put(Override, "a", Draft{Actions: elements(`[{}]`)}, "", "") }, errs.Invalid},
		"before":            {func(rs *Ruleset) error { return rs.Put(Override, "a", d, "b", "") }, errs.Invalid},
		"after a default":   {func(rs *Ruleset) error { return rs.Put(Override, "a", d, "", master) }, errs.Invalid},
		"delete unknown":    {func(rs *Ruleset) error { return rs.Delete(Override, "a") }, errs.NotFound},
		"delete default":    {func(rs *Ruleset) error { return rs.Delete(Override, master) }, errs.Invalid},
		"enable unknown":    {func(rs *Ruleset) error { return rs.Enable(Content, "a", true) }, errs.NotFound},
		"actions unknown":   {func(rs *Ruleset) error { return rs.SetActions(Content, "a", d.Actions) }, errs.NotFound},
		"actions wrong":     {func(rs *Ruleset) error { return rs.SetActions(Override, master, nil) }, errs.Invalid},
		"find, wrong kind":  {func(rs *Ruleset) error { _, err := rs.Find("x", "a"); return err }, errs.Invalid},
		"enable wrong kind": {func(rs *Ruleset) error { return rs.Enable("x", "a", true) }, errs.Invalid},
	} {
		rs := Defaults(amy)
		before, _ := json.Marshal(rs)
		err := c.edit(&rs)
		var e *errs.Error
		if !errors.As(err, &e) || e.Kind != c.kind {
			t.Errorf("%s: %v", name, err)
		}
		if after, _ := json.Marshal(rs); string(after) != string(before) {
			t.Errorf("%s: the refused edit changed the rules", name)
		}
	}
	rs := Defaults(amy)
	for i := range MaxRules {
		if err := rs.Put(Override, "r"+string(rune('a'+i%26))+strings.Repeat("x", i/26), d, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := rs.Put(Override, "more", d, "", ""); !errs.Is(err, errs.TooLarge) {
		t.Errorf("one too many: %v", err)
	}
	if err := rs.Put(Override, "ra", d, "", ""); err != nil {
		t.Errorf("a change at the limit: %v", err)
	}
}

func withPattern(d Draft, p string) Draft {
	d.Pattern = &p
	return d
}

func TestParse(t *testing.T) {
	for _, in := range []string{``, `[]`, `{"override":{}}`, `{"content":[{"pattern":1}]}`} {
		if _, err := Parse([]byte(in)); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", in, err)
		}
	}
	rs, err := Parse([]byte(`{"content":[{"rule_id":"x"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	out, _ := json.Marshal(rs)
	want := `{"override":[],"content":[{"actions":[],"default":false,"enabled":false,"rule_id":"x"}],"room":[],"sender":[],"underride":[]}`
	if string(out) != want {
		t.Errorf("%s", out)
	}
}

// BenchmarkMatch is one member's verdict on one message of a room of 20, the message's preparation included.
func BenchmarkMatch(b *testing.B) {
	set := Compile(new(Defaults(amy)), amy)
	m := message(b, "m.room.message", "-", `{"body":"It's time for tea","msgtype":"m.text"}`)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%20 == 0 {
			m = &Message{Event: m.Event, Members: 20}
		}
		if !set.Match(m, Reader{User: amy}).Notify {
			b.Fatal("not notified")
		}
	}
}
