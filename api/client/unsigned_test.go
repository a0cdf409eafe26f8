package client

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"bongsu/event"
)

// What the server adds to an event: its age, what it replaced, why it was redacted, who asks and what they were then.
func TestUnsigned(t *testing.T) {
	s := newRoomSite(t)
	in := s.create(t, "amy", `{"preset":"public_chat","name":"one"}`)
	before := s.say(t, "amy", in, "t1", "before")
	s.get(t, "bob", "POST rooms/$1/join", "", in)
	after := s.say(t, "amy", in, "t2", "after")
	first := s.get(t, "amy", "GET rooms/$1/state/m.room.name?format=event", "", in)["event_id"]
	name := s.get(t, "amy", "PUT rooms/$1/state/m.room.name", `{"name":"two"}`, in)["event_id"].(string) //nolint:errcheck // or the test panics
	s.get(t, "amy", "PUT rooms/$1/redact/$2/r1", `{"reason":"why"}`, in, before)
	unsigned := func(user, e string) any { return dig(s.get(t, user, "GET rooms/$1/event/$2", "", in, e), "unsigned") }
	for _, c := range []struct {
		what, user, event string
		path              []string
		want              any
	}{
		{"the device that sent it", "amy", after, []string{"transaction_id"}, "t2"},
		{"another user", "bob", after, []string{"transaction_id"}, nil},
		{"before the join", "bob", before, []string{"membership"}, "leave"},
		{"after the join", "bob", after, []string{"membership"}, "join"},
		{"one's own room", "amy", before, []string{"membership"}, "join"},
		{"replaced state", "bob", name, []string{"prev_content", "name"}, "one"},
		{"replaced state", "bob", name, []string{"replaces_state"}, first},
		{"no redaction", "bob", after, []string{"redacted_because"}, nil},
		{"a redaction", "bob", before, []string{"redacted_because", "content", "reason"}, "why"},
		{"a redaction", "bob", before, []string{"redacted_because", "sender"}, "@amy:h"},
	} {
		if got := dig(unsigned(c.user, c.event), c.path...); got != c.want {
			t.Errorf("%s: %s of %s is %v, want %v", c.what, c.user, strings.Join(c.path, "."), got, c.want)
		}
	}
	if age, ok := dig(unsigned("bob", after), "age").(float64); !ok || age < 0 || age > 60_000 {
		t.Errorf("age %v", age)
	}
	// The join itself is judged by what it made of the user; pages say the same as the event alone.
	page := s.get(t, "bob", "GET rooms/$1/messages?dir=b&limit=100", "", in)
	for _, ev := range page["chunk"].([]any) { //nolint:errcheck // or the test panics
		if dig(ev, "state_key") == "@bob:h" && dig(ev, "unsigned", "membership") != "join" {
			t.Errorf("the join: %v", ev)
		}
		e := dig(ev, "event_id").(string) //nolint:errcheck // or the test panics
		if a, b := dig(ev, "unsigned", "membership"), dig(unsigned("bob", e), "membership"); a != b || a == nil {
			t.Errorf("%s: membership %v in the page, %v alone", e, a, b)
		}
	}
}

// Setting what is set makes no event, whoever is asked how often; the same by somebody else does.
func TestSameStateAgain(t *testing.T) {
	s := newRoomSite(t)
	in := s.create(t, "amy", `{"preset":"public_chat","power_level_content_override":{"state_default":0}}`)
	s.get(t, "bob", "POST rooms/$1/join", "", in)
	put := func(user, body string) string {
		return s.get(t, user, "PUT rooms/$1/state/m.room.topic", body, in)["event_id"].(string) //nolint:errcheck // or the test panics
	}
	one := put("amy", `{"topic":"t","x":{"a":1,"b":[]}}`)
	for _, same := range []string{`{"topic":"t","x":{"a":1,"b":[]}}`, ` { "x": {"b":[ ],"a":1} , "topic":"\u0074" }`} {
		if got := put("amy", same); got != one {
			t.Errorf("%s made another event", same)
		}
	}
	if put("bob", `{"topic":"t","x":{"a":1,"b":[]}}`) == one {
		t.Error("another user's event is taken for amy's")
	}
	if put("amy", `{"topic":"t"}`) == one {
		t.Error("another content is taken for the same")
	}
}

// Lazily loaded members are those of the page, as they were then.
func TestLazyMembersOfThen(t *testing.T) {
	s := newRoomSite(t)
	in := s.party(t)
	said1 := s.say(t, "bob", in, "1", "one")
	s.get(t, "bob", "POST rooms/$1/leave", "", in)
	lazy := url.QueryEscape(`{"lazy_load_members":true,"types":["m.room.message"]}`)
	for _, call := range []string{"messages?dir=b&limit=10&filter=" + lazy, "context/$2?limit=4&filter=" + lazy} {
		page := s.get(t, "amy", "GET rooms/$1/"+call, "", in, said1)
		var out []string
		for _, ev := range page["state"].([]any) { //nolint:errcheck // or the test panics
			out = append(out, fmt.Sprint(dig(ev, "state_key"), " ", dig(ev, "content", "membership"), " ", dig(ev, "content", "displayname")))
		}
		if got := strings.Join(out, ", "); got != "@bob:h join bob" {
			t.Errorf("%s: %s", call, got)
		}
	}
	// Of the state around an event, members alone are left out.
	all := s.get(t, "amy", "GET rooms/$1/context/$2?limit=0&filter="+url.QueryEscape(`{"lazy_load_members":true}`), "", in, said1)
	if got := strings.Fields(said(all["state"])); !slices.Equal(slices.Sorted(slices.Values(got)),
		[]string{"create", "guest_access", "history_visibility", "join_rules", "member", "power_levels"}) {
		t.Errorf("state %q", got)
	}
	// Who has left is shown the others as they were until then.
	s.get(t, "amy", "PUT rooms/$1/state/m.room.member/@amy:h", `{"membership":"join","displayname":"later"}`, in)
	page := s.get(t, "bob", "GET rooms/$1/messages?dir=b&limit=100&filter="+url.QueryEscape(`{"lazy_load_members":true}`), "", in)
	names := map[any]any{}
	for _, ev := range page["state"].([]any) { //nolint:errcheck // or the test panics
		names[dig(ev, "state_key")] = dig(ev, "content", "displayname")
	}
	if names["@amy:h"] != "amy" {
		t.Errorf("amy is shown as %v", names["@amy:h"])
	}
	// A filter of types holds for the state around an event, too.
	page = s.get(t, "amy", "GET rooms/$1/context/$2?filter="+url.QueryEscape(`{"types":["m.room.create"]}`), "", in, said1)
	if got := said(page["state"]); got != "create" || said(page["events_before"]) != "create" {
		t.Errorf("state %q", got)
	}
}

// In every version a redaction leaves of an event what the version says; redactions can be redacted, what made the room cannot.
func TestRedactions(t *testing.T) {
	s := newRoomSite(t)
	for _, version := range event.Versions() {
		in := s.create(t, "amy", fmt.Sprintf(`{"preset":"public_chat","room_version":%q}`, version))
		s.get(t, "bob", "POST rooms/$1/join", "", in)
		s.get(t, "cat", "POST rooms/$1/join", "", in)
		content := func(e string) string {
			return fmt.Sprint(dig(s.get(t, "bob", "GET rooms/$1/event/$2", "", in, e), "content"))
		}
		redact := func(user, e, txn string, status int) {
			t.Helper()
			if w := s.as(t, user, "PUT rooms/$1/redact/$2/"+txn, `{}`, in, e); w.Code != status {
				t.Errorf("version %s: %s redacts: %d %s, want %d", version, user, w.Code, w.Body, status)
			}
		}
		msg, own := s.say(t, "bob", in, "1", "x"), s.say(t, "cat", in, "1", "x")
		redact("cat", msg, "a", 403) // of others, without the power
		redact("cat", own, "b", 200) // one's own
		redact("amy", msg, "c", 200) // of others, with the power
		if content(msg) != "map[]" || content(own) != "map[]" {
			t.Errorf("version %s: %s and %s are left", version, content(msg), content(own))
		}
		first := s.say(t, "bob", in, "2", "y")
		because := s.get(t, "amy", "PUT rooms/$1/redact/$2/d", `{"reason":"r"}`, in, first)["event_id"].(string) //nolint:errcheck // or the test panics
		redact("bob", because, "e", 403)
		redact("amy", because, "f", 200)
		if got := content(because); strings.Contains(got, "reason") || content(first) != "map[]" {
			t.Errorf("version %s: the redaction has %s, its target %s", version, got, content(first))
		}
		for typ, keeps := range map[string]string{"m.room.create": "", "m.room.power_levels": "users", "m.room.join_rules": "join_rule",
			"m.room.history_visibility": "history_visibility", "m.room.member/@cat:h": "membership", "m.room.guest_access": "-"} {
			ev := s.get(t, "amy", "GET rooms/$1/state/"+typ+"?format=event", "", in)
			e := ev["event_id"].(string) //nolint:errcheck // or the test panics
			if keeps == "" {
				redact("amy", e, "g"+typ, 403)
				continue
			}
			redact("amy", e, "g"+url.PathEscape(typ), 200)
			if got := content(e); strings.Contains(got, keeps+":") != (keeps != "-") || strings.Contains(got, "displayname") {
				t.Errorf("version %s: %s keeps %s", version, typ, got)
			}
		}
	}
}
