package client

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// bundles is a room with an event that others relate to, in the ways that the server aggregates.
type bundles struct {
	*roomSite
	t                  *testing.T
	in                 string
	before, root, last string // events, in this order
	edit               string
	reply, ref         map[string]string // by who has sent them
	since              map[string]string // tokens of /sync from before all that is said
	names              *strings.Replacer // of events
}

// newBundles has amy say something that she edits, and to which bob and cat reply in a thread, and refer.
func newBundles(t *testing.T) *bundles {
	t.Helper()
	b := &bundles{roomSite: newRoomSite(t), t: t, reply: map[string]string{}, ref: map[string]string{}, since: map[string]string{}}
	b.in = b.party(t)
	for _, u := range []string{"amy", "bob", "cat"} {
		b.since[u] = b.get(t, u, "GET sync", "")["next_batch"].(string) //nolint:errcheck // or the test panics
	}
	for i := range 6 {
		b.before = b.say(t, "amy", b.in, fmt.Sprint("before", i), "before")
	}
	b.root = b.say(t, "amy", b.in, "root", "root")
	for _, u := range []string{"bob", "cat"} {
		b.reply[u] = b.relate(t, u, b.in, "m.thread", b.root, "reply-"+u, "")
		b.ref[u] = b.relate(t, u, b.in, "m.reference", b.root, "ref-"+u, "")
	}
	b.relate(t, "bob", b.in, "m.replace", b.root, "forged", `,"m.new_content":{"body":"x"}`)
	b.edit = b.relate(t, "amy", b.in, "m.replace", b.root, "edit", `,"m.new_content":{"body":"x"}`)
	b.last = b.say(t, "amy", b.in, "last", "last")
	b.names = strings.NewReplacer(b.ref["bob"], "ref-bob", b.ref["cat"], "ref-cat")
	return b
}

// everywhere is the root as a user is shown it, by where it is shown.
func (b *bundles) everywhere(user, section string) map[string]any {
	b.t.Helper()
	get := func(call string, path ...string) any {
		b.t.Helper()
		v := b.get(b.t, user, "GET "+call, "", b.in, b.before, b.root, b.last)
		list := dig(v, path...)
		if events, ok := list.([]any); ok {
			for _, ev := range events {
				if dig(ev, "event_id") == b.root {
					return ev
				}
			}
			return nil
		}
		return list
	}
	out := map[string]any{
		"event":          get("rooms/$1/event/$3"),
		"context":        get("rooms/$1/context/$3?limit=0", "event"),
		"context before": get("rooms/$1/context/$4?limit=40", "events_before"),
		"context after":  get("rooms/$1/context/$2?limit=40", "events_after"),
		"messages back":  get("rooms/$1/messages?dir=b&limit=40", "chunk"),
		"messages":       get("rooms/$1/messages?dir=f&limit=40", "chunk"),
	}
	for _, token := range []string{"", "&since=" + b.since[user]} {
		f := url.QueryEscape(`{"room":{"rooms":["` + b.in + `"],"include_leave":true,"timeline":{"limit":10}}}`)
		for _, after := range []string{"", "&use_state_after=true"} {
			call := "sync?filter=" + f + token + after
			timeline := []string{"rooms", section, b.in, "timeline"}
			if get(call, append(timeline, "limited")...) != true {
				b.t.Fatalf("%s is not limited", call)
			}
			out[call] = get(call, append(timeline, "events")...)
		}
	}
	return out
}

// check checks what comes with the root at all places.
func (b *bundles) check(what, user, section, want string) {
	b.t.Helper()
	for where, ev := range b.everywhere(user, section) {
		if ev == nil {
			b.t.Errorf("%s: %s: %s is not shown the event", what, where, user)
			continue
		}
		rel := dig(ev, "unsigned", "m.relations")
		var out []string
		if thread := dig(rel, "m.thread"); thread != nil {
			out = append(out, fmt.Sprint(dig(thread, "count"), " ", dig(thread, "current_user_participated"), " ", dig(thread, "latest_event", "content", "body")))
		}
		if edit := dig(rel, "m.replace"); edit != nil {
			out = append(out, fmt.Sprint(dig(edit, "content", "body")))
		}
		if refs, ok := dig(rel, "m.reference", "chunk").([]any); ok {
			for _, r := range refs {
				out = append(out, b.names.Replace(fmt.Sprint(dig(r, "event_id"))))
			}
		}
		if got := strings.Join(out, ", "); got != want {
			b.t.Errorf("%s: %s: %s is shown %q, want %q", what, where, user, got, want)
		}
	}
}

// TestBundlesEverywhere: what relates to an event comes with it wherever it is shown, as whoever asks may know of it.
//
// Source: client-server API, "Server-side aggregation of m.thread relationships", of m.replace and of m.reference.
func TestBundlesEverywhere(t *testing.T) {
	all := "2 true reply-cat, edit, ref-bob, ref-cat"
	for name, c := range map[string]struct {
		do            func(b *bundles)
		user, section string
		want          string
	}{
		"who said it":             {func(*bundles) {}, "amy", "join", all},
		"who has replied":         {func(*bundles) {}, "bob", "join", all},
		"who has not":             {func(b *bundles) { b.redact("cat", b.reply["cat"]) }, "cat", "join", "1 false reply-bob, edit, ref-bob, ref-cat"},
		"an ignored user":         {func(b *bundles) { b.ignore(b.t, "@cat:h") }, "amy", "join", "1 true reply-bob, edit, ref-bob"},
		"of whom others hear":     {func(b *bundles) { b.ignore(b.t, "@cat:h") }, "bob", "join", all},
		"another ignored user":    {func(b *bundles) { b.ignore(b.t, "@bob:h") }, "amy", "join", "1 true reply-cat, edit, ref-cat"},
		"a reply is redacted":     {func(b *bundles) { b.redact("amy", b.reply["cat"]) }, "bob", "join", "1 true reply-bob, edit, ref-bob, ref-cat"},
		"all replies are":         {func(b *bundles) { b.redact("bob", b.reply["bob"]); b.redact("cat", b.reply["cat"]) }, "bob", "join", "edit, ref-bob, ref-cat"},
		"the edit is redacted":    {func(b *bundles) { b.redact("amy", b.edit) }, "bob", "join", "2 true reply-cat, ref-bob, ref-cat"},
		"references are redacted": {func(b *bundles) { b.redact("bob", b.ref["bob"]); b.redact("cat", b.ref["cat"]) }, "bob", "join", "2 true reply-cat, edit"},
		"the event is redacted":   {func(b *bundles) { b.redact("amy", b.root) }, "bob", "join", "2 true reply-cat, ref-bob, ref-cat"},
		"what came after the user left": {func(b *bundles) {
			b.get(b.t, "bob", "POST rooms/$1/leave", "", b.in)
			b.relate(b.t, "cat", b.in, "m.thread", b.root, "late", "")
			b.relate(b.t, "amy", b.in, "m.reference", b.root, "late", "")
			b.relate(b.t, "amy", b.in, "m.replace", b.root, "later", `,"m.new_content":{"body":"x"}`)
		}, "bob", "leave", all},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBundles(t)
			c.do(b)
			b.check(name, c.user, c.section, c.want)
		})
	}
}

func (b *bundles) redact(user, e string) {
	b.t.Helper()
	b.get(b.t, user, "PUT rooms/$1/redact/$2/of$2", `{}`, b.in, e)
}

// TestNoBundles: a timeline without a gap needs none, since the client has seen all or sees it there.
//
// Source: client-server API, "Aggregations of child events": of /sync only where limited is true.
func TestNoBundles(t *testing.T) {
	b := newBundles(t)
	for _, token := range []string{"", "&since=" + b.since["bob"]} {
		call := "GET sync?filter=" + url.QueryEscape(`{"room":{"timeline":{"limit":100}}}`) + token
		timeline := dig(b.get(t, "bob", call, ""), "rooms", "join", b.in, "timeline")
		shown := false
		for _, ev := range dig(timeline, "events").([]any) { //nolint:errcheck // or the test panics
			shown = shown || dig(ev, "event_id") == b.root
			if got := dig(ev, "unsigned", "m.relations"); got != nil {
				t.Errorf("%s: %v", call, got)
			}
		}
		if !shown || dig(timeline, "limited") != false {
			t.Errorf("%s: %v", call, timeline)
		}
	}
}
