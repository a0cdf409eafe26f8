package client

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"bongsu/id"
	"bongsu/room"
)

// relate sends a message that relates to an event; more is a list of further members of the content, each with a comma before it.
func (s *roomSite) relate(t testing.TB, user, in, rel, target, text, more string) string {
	t.Helper()
	return s.get(t, user, "PUT rooms/$1/send/m.room.message/"+text, fmt.Sprintf(
		`{"body":%q,"m.relates_to":{"rel_type":%q,"event_id":"$2"}%s}`, text, rel, more), in, target)["event_id"].(string) //nolint:errcheck // or the test panics
}

func (s *roomSite) react(t testing.TB, user, in, target, key, txn string) string {
	t.Helper()
	return s.get(t, user, "PUT rooms/$1/send/m.reaction/"+txn, fmt.Sprintf(
		`{"m.relates_to":{"rel_type":"m.annotation","event_id":"$2","key":%q}}`, key), in, target)["event_id"].(string) //nolint:errcheck // as above
}

// dig is a value inside of an answer; nil if it is not there.
func dig(v any, path ...string) any {
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

// party is a public room with amy, bob and cat, all of whom have joined.
func (s *roomSite) party(t testing.TB) string {
	t.Helper()
	in := s.create(t, "amy", `{"preset":"public_chat"}`)
	for _, u := range []string{"bob", "cat"} {
		s.get(t, u, "POST rooms/$1/join", "", in)
	}
	return in
}

func TestRelations(t *testing.T) {
	s := newRoomSite(t)
	in := s.party(t)
	root := s.say(t, "amy", in, "1", "root")
	s.relate(t, "bob", in, "m.thread", root, "t1", "")
	s.relate(t, "amy", in, "m.replace", root, "e1", `,"m.new_content":{"body":"x"}`)
	t2 := s.relate(t, "cat", in, "m.thread", root, "t2", "")
	s.react(t, "bob", in, root, "+", "r1")
	s.react(t, "cat", in, t2, "+", "r2")
	s.relate(t, "cat", in, "x", t2, "x1", "")
	last := s.say(t, "amy", in, "9", "end")
	for path, want := range map[string]string{
		"":                               "m.reaction t2 e1 t1",
		"?dir=f":                         "t1 e1 t2 m.reaction",
		"/m.thread":                      "t2 t1",
		"/m.thread/m.room.message?dir=f": "t1 t2",
		"/m.thread/m.reaction":           "",
		"/m.annotation/m.reaction":       "m.reaction",
		"?recurse=true":                  "x1 m.reaction m.reaction t2 e1 t1",
		"/m.annotation?recurse=true":     "m.reaction",
		"/none":                          "",
	} {
		// Pages of any size say the same.
		for _, limit := range []int{1, 2, 100} {
			var all []string
			from, depth := "", any(nil)
			for {
				q, sep := path, "?"
				if strings.Contains(q, "?") {
					sep = "&"
				}
				got := s.get(t, "bob", fmt.Sprintf("GET v1/rooms/$1/relations/$2%s%slimit=%d%s", q, sep, limit, from), "", in, root)
				if text := said(got["chunk"]); text != "" {
					all = append(all, text)
				}
				depth = got["recursion_depth"]
				if from != "" && got["prev_batch"] == nil {
					t.Errorf("%s: no prev_batch", path)
				}
				next, ok := got["next_batch"].(string)
				if !ok {
					break
				}
				from = "&from=" + next
			}
			if got := strings.Join(all, " "); got != want {
				t.Errorf("%s by %d: %q, want %q", path, limit, got, want)
			}
			if (depth != nil) != strings.Contains(path, "recurse") {
				t.Errorf("%s: recursion_depth %v", path, depth)
			}
		}
	}
	// Tokens of other pages bound the answer.
	start := s.get(t, "amy", "GET rooms/$1/context/$2?limit=0", "", in, t2)["start"].(string) //nolint:errcheck // or the test panics
	if got := said(s.get(t, "amy", "GET v1/rooms/$1/relations/$2?from="+start, "", in, root)["chunk"]); got != "e1 t1" {
		t.Errorf("before t2: %q", got)
	}
	if got := said(s.get(t, "amy", "GET v1/rooms/$1/relations/$2?to="+start, "", in, root)["chunk"]); got != "m.reaction t2" {
		t.Errorf("back to t2: %q", got)
	}
	for _, c := range []struct {
		user, call string
		status     int
		errcode    string
	}{
		{"dan", "GET v1/rooms/$1/relations/$2", 404, "M_NOT_FOUND"},
		{"amy", "GET v1/rooms/$1/relations/$none", 404, "M_NOT_FOUND"},
		{"amy", "GET v1/rooms/$1/relations/none", 400, "M_INVALID_PARAM"},
		{"amy", "GET v1/rooms/!none/relations/$2", 403, "M_FORBIDDEN"},
		{"amy", "GET v1/rooms/$1/relations/$2?dir=x", 400, "M_INVALID_PARAM"},
		{"amy", "GET v1/rooms/$1/relations/$2?from=x", 400, "M_INVALID_PARAM"},
		{"amy", "GET v1/rooms/$1/relations/$2?recurse=x", 400, "M_INVALID_PARAM"},
		{"amy", "GET v1/rooms/$1/relations/$3", 200, ""},
	} {
		expect(t, s.as(t, c.user, c.call, "", in, root, last), c.status, c.errcode)
	}
}

func TestBundledEdits(t *testing.T) {
	s := newRoomSite(t)
	in := s.party(t)
	one := s.say(t, "amy", in, "1", "one")
	const fresh = `,"m.new_content":{"body":"x"}`
	edit := func(user, e string) any {
		return dig(s.get(t, user, "GET rooms/$1/event/$2", "", in, e), "unsigned", "m.relations", "m.replace", "content", "body")
	}
	if got := edit("bob", one); got != nil {
		t.Errorf("an edit from nowhere: %v", got)
	}
	s.relate(t, "bob", in, "m.replace", one, "forged", fresh)
	s.relate(t, "amy", in, "m.replace", one, "hollow", "")
	s.get(t, "amy", "PUT rooms/$1/send/m.notice/other", `{"body":"other","m.new_content":{},"m.relates_to":{"rel_type":"m.replace","event_id":"$2"}}`, in, one)
	if got := edit("bob", one); got != nil {
		t.Errorf("an edit that is none: %v", got)
	}
	first := s.relate(t, "amy", in, "m.replace", one, "first", fresh)
	second := s.relate(t, "amy", in, "m.replace", one, "second", fresh)
	s.relate(t, "amy", in, "m.replace", first, "nested", fresh)
	if got := edit("bob", first); got != nil {
		t.Errorf("an edit of an edit: %v", got)
	}
	stamps := map[any]string{}
	for _, e := range []string{first, second} {
		stamps[s.get(t, "amy", "GET rooms/$1/event/$2", "", in, e)["origin_server_ts"]] += e
	}
	want := "second"
	if len(stamps) == 1 && first > second {
		want = "first" // of the same millisecond
	}
	if got := edit("bob", one); got != want {
		t.Errorf("the newest edit is %v, want %s", got, want)
	}
	for _, call := range []string{"GET rooms/$1/messages?dir=f", "GET rooms/$1/context/$2?limit=100"} {
		if body := s.as(t, "bob", call, "", in, one).Body.String(); strings.Count(body, `"m.replace":{"content":{"body":"`+want) != 1 {
			t.Errorf("%s has no edit: %s", call, body)
		}
	}
	// A redacted edit is gone; the one before counts again.
	newest := map[string]string{"first": first, "second": second}[want]
	s.get(t, "amy", "PUT rooms/$1/redact/$2/1", `{}`, in, newest)
	if got := edit("bob", one); got == want || got == nil {
		t.Errorf("after its redaction the newest edit is %v", got)
	}
	// A redacted event has no edits.
	s.get(t, "amy", "PUT rooms/$1/redact/$2/2", `{}`, in, one)
	if got := edit("bob", one); got != nil {
		t.Errorf("a redacted event with an edit: %v", got)
	}
	// State cannot be edited.
	topic := s.get(t, "amy", "PUT rooms/$1/state/m.room.topic", `{"topic":"t"}`, in)["event_id"].(string) //nolint:errcheck // or the test panics
	s.get(t, "amy", "PUT rooms/$1/send/m.room.topic/s", `{"m.new_content":{},"m.relates_to":{"rel_type":"m.replace","event_id":"$2"}}`, in, topic)
	if got := s.as(t, "bob", "GET rooms/$1/event/$2", "", in, topic).Body.String(); strings.Contains(got, "m.relations") {
		t.Errorf("state with an edit: %s", got)
	}
}

func TestBundledReferences(t *testing.T) {
	s := newRoomSite(t)
	in := s.party(t)
	one := s.say(t, "amy", in, "1", "one")
	a := s.relate(t, "bob", in, "m.reference", one, "a", "")
	b := s.relate(t, "cat", in, "m.reference", one, "b", "")
	list := func(user string) string {
		v := s.get(t, user, "GET rooms/$1/event/$2", "", in, one)
		out, err := json.Marshal(dig(v, "unsigned", "m.relations", "m.reference", "chunk"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.NewReplacer(a, "a", b, "b").Replace(string(out))
	}
	if got := list("bob"); got != `[{"event_id":"a"},{"event_id":"b"}]` {
		t.Errorf("references %s", got)
	}
	s.get(t, "bob", "PUT rooms/$1/redact/$2/1", `{}`, in, a)
	if got := list("bob"); got != `[{"event_id":"b"}]` {
		t.Errorf("after a redaction: %s", got)
	}
	s.ignore(t, "@cat:h")
	if got := list("amy"); got != `null` {
		t.Errorf("of an ignored user: %s", got)
	}
}

// ignore makes amy ignore somebody.
func (s *roomSite) ignore(t testing.TB, who string) {
	t.Helper()
	if err := s.accounts.SetData(t.Context(), "@amy:h", "", "m.ignored_user_list", json.RawMessage(`{"ignored_users":{"`+who+`":{}}}`)); err != nil {
		t.Fatal(err)
	}
}

func TestThreads(t *testing.T) {
	s := newRoomSite(t)
	in := s.party(t)
	roots := map[string]string{}
	for _, name := range []string{"r1", "r2", "r3"} {
		roots[name] = s.say(t, "amy", in, name, name)
	}
	s.relate(t, "bob", in, "m.thread", roots["r1"], "r1b", "")
	s.relate(t, "bob", in, "m.thread", roots["r2"], "r2b", "")
	again := s.relate(t, "cat", in, "m.thread", roots["r1"], "r1c", "")
	threads := func(user, query string) string {
		var out []string
		for from := ""; ; {
			got := s.get(t, user, "GET v1/rooms/$1/threads?limit=1"+query+from, "", in)
			for _, e := range got["chunk"].([]any) { //nolint:errcheck // or the test panics
				thread := dig(e, "unsigned", "m.relations", "m.thread")
				out = append(out, fmt.Sprintf("%v:%v:%v:%v", dig(e, "content", "body"), dig(thread, "count"),
					dig(thread, "current_user_participated"), dig(thread, "latest_event", "content", "body")))
			}
			next, ok := got["next_batch"].(string)
			if !ok {
				return strings.Join(out, " ")
			}
			from = "&from=" + next
		}
	}
	check := func(when, user, query, want string) {
		t.Helper()
		if got := threads(user, query); got != want {
			t.Errorf("%s: threads of %s %s: %q, want %q", when, user, query, got, want)
		}
	}
	check("first", "bob", "", "r1:2:true:r1c r2:1:true:r2b")
	check("first", "cat", "", "r1:2:true:r1c r2:1:false:r2b")
	check("first", "cat", "&include=participated", "r1:2:true:r1c")
	check("first", "amy", "&include=participated", "r1:2:true:r1c r2:1:true:r2b")
	s.get(t, "cat", "PUT rooms/$1/redact/$2/1", `{}`, in, again)
	check("redacted", "cat", "", "r2:1:false:r2b r1:1:false:r1b")
	check("redacted", "cat", "&include=participated", "")
	// The last event of a thread has its own edits with it.
	edited := s.relate(t, "bob", in, "m.thread", roots["r3"], "r3b", "")
	s.relate(t, "bob", in, "m.replace", edited, "r3e", `,"m.new_content":{}`)
	got := s.get(t, "cat", "GET rooms/$1/event/$2", "", in, roots["r3"])
	if e := dig(got, "unsigned", "m.relations", "m.thread", "latest_event", "unsigned", "m.relations", "m.replace", "content", "body"); e != "r3e" {
		t.Errorf("the last event of a thread has %v", e)
	}
	// Whom one ignores does not count.
	s.relate(t, "cat", in, "m.thread", roots["r1"], "r1d", "")
	s.ignore(t, "@cat:h")
	check("ignored", "amy", "", "r1:1:true:r1b r3:1:true:r3b r2:1:true:r2b")
	if got := said(s.get(t, "amy", "GET rooms/$1/messages?dir=b&limit=2", "", in)["chunk"]); got != "r3e r3b" {
		t.Errorf("amy hears %q", got)
	}
	if got := said(s.get(t, "amy", "GET v1/rooms/$1/relations/$2", "", in, roots["r1"])["chunk"]); got != "r1b" {
		t.Errorf("amy hears %q in the thread", got)
	}
	s.ignore(t, "@bob:h")
	check("another is ignored", "amy", "", "r1:1:true:r1d")
	for _, c := range []struct {
		user, call string
		status     int
		errcode    string
	}{
		{"dan", "GET v1/rooms/$1/threads", 403, "M_FORBIDDEN"},
		{"amy", "GET v1/rooms/$1/threads?include=x", 400, "M_INVALID_PARAM"},
		{"amy", "GET v1/rooms/$1/threads?limit=0", 400, "M_INVALID_PARAM"},
		{"amy", "GET v1/rooms/$1/threads?from=x", 400, "M_INVALID_PARAM"},
	} {
		expect(t, s.as(t, c.user, c.call, "", in), c.status, c.errcode)
	}
	// A thread does not begin in a thread, nor with an edit; with a rich reply it may.
	for i, target := range []string{edited, again} {
		w := s.as(t, "bob", "PUT rooms/$1/send/m.room.message/nested$2", `{"m.relates_to":{"rel_type":"m.thread","event_id":"$3"}}`, in, fmt.Sprint(i), target)
		if i == 0 {
			expect(t, w, 400, "M_UNKNOWN")
		} else {
			expect(t, w, 200, "") // the redacted reply relates to nothing any more
		}
	}
	reply := s.get(t, "bob", "PUT rooms/$1/send/m.room.message/rich", `{"m.relates_to":{"m.in_reply_to":{"event_id":"$2"}}}`, in, edited)["event_id"].(string) //nolint:errcheck // or the test panics
	s.relate(t, "bob", in, "m.thread", reply, "fine", "")
}

// Who has left sees of threads and edits what there was when they left.
func TestRelationsEndWithTheStay(t *testing.T) {
	s := newRoomSite(t)
	in := s.party(t)
	root := s.say(t, "amy", in, "1", "root")
	quiet := s.say(t, "amy", in, "2", "quiet")
	s.relate(t, "amy", in, "m.thread", root, "before", "")
	oldest := s.relate(t, "amy", in, "m.replace", root, "old", `,"m.new_content":{}`)
	s.get(t, "bob", "POST rooms/$1/leave", "", in)
	s.relate(t, "amy", in, "m.thread", root, "after", "")
	s.relate(t, "amy", in, "m.thread", quiet, "later", "")
	newest := s.relate(t, "amy", in, "m.replace", root, "new", `,"m.new_content":{}`)
	s.relate(t, "amy", in, "m.reference", root, "ref", "")
	newer := "new"
	if at := func(e string) any { return s.get(t, "amy", "GET rooms/$1/event/$2", "", in, e)["origin_server_ts"] }; at(oldest) == at(newest) && newest < oldest {
		newer = "old"
	}
	for user, want := range map[string]string{"cat": "2 after " + newer, "bob": "1 before old"} {
		m := dig(s.get(t, user, "GET rooms/$1/event/$2", "", in, root), "unsigned", "m.relations")
		got := fmt.Sprint(dig(m, "m.thread", "count"), " ", dig(m, "m.thread", "latest_event", "content", "body"), " ", dig(m, "m.replace", "content", "body"))
		if got != want {
			t.Errorf("%s sees %s, want %s", user, got, want)
		}
		if has := dig(m, "m.reference") != nil; has != (user == "cat") {
			t.Errorf("%s and the reference: %v", user, has)
		}
	}
	if got := said(s.get(t, "bob", "GET v1/rooms/$1/threads", "", in)["chunk"]); got != "root" {
		t.Errorf("threads of who has left: %q", got)
	}
	if got := said(s.get(t, "bob", "GET v1/rooms/$1/relations/$2", "", in, root)["chunk"]); got != "old before" {
		t.Errorf("relations for who has left: %q", got)
	}
}

func TestReactionsOnce(t *testing.T) {
	s := newRoomSite(t)
	in := s.party(t)
	one, two := s.say(t, "amy", in, "1", "one"), s.say(t, "amy", in, "2", "two")
	body := `{"m.relates_to":{"rel_type":"m.annotation","event_id":"$2","key":"+"}}`
	e := s.react(t, "bob", in, one, "+", "r1")
	if again := s.react(t, "bob", in, one, "+", "r1"); again != e {
		t.Errorf("a retry made another reaction")
	}
	expect(t, s.as(t, "bob", "PUT rooms/$1/send/m.reaction/r2", body, in, one), 400, "M_DUPLICATE_ANNOTATION")
	s.react(t, "cat", in, one, "+", "r1") // of somebody else
	s.react(t, "bob", in, one, "-", "r3") // another one
	s.react(t, "bob", in, two, "+", "r4") // of another event
	s.get(t, "bob", "PUT rooms/$1/send/x.reaction/r5", body, in, one)
	s.get(t, "bob", "PUT rooms/$1/redact/$2/1", `{}`, in, e)
	s.react(t, "bob", in, one, "+", "r6")
	expect(t, s.as(t, "bob", "PUT rooms/$1/send/m.reaction/r7", body, in, one), 400, "M_DUPLICATE_ANNOTATION")
	if got := s.as(t, "amy", "GET rooms/$1/event/$2", "", in, one).Body.String(); strings.Contains(got, "m.relations") {
		t.Errorf("reactions are not aggregated: %s", got)
	}
}

func TestRelatedFilter(t *testing.T) {
	s := newRoomSite(t)
	in := s.party(t)
	one, two := s.say(t, "amy", in, "1", "one"), s.say(t, "amy", in, "2", "two")
	s.relate(t, "bob", in, "m.thread", one, "t", "")
	s.react(t, "cat", in, two, "+", "r")
	for f, want := range map[string]string{
		`{"related_by_rel_types":["m.thread"]}`:                                     "one",
		`{"related_by_senders":["@cat:h"]}`:                                         "two",
		`{"related_by_senders":["@cat:h"],"related_by_rel_types":["m.thread"]}`:     "",
		`{"related_by_rel_types":["m.thread","m.annotation"],"senders":["@amy:h"]}`: "two one",
	} {
		if got := said(s.get(t, "amy", "GET rooms/$1/messages?dir=b&filter="+url.QueryEscape(f), "", in)["chunk"]); got != want {
			t.Errorf("%s: %q, want %q", f, got, want)
		}
	}
}

func TestEventByTimestamp(t *testing.T) {
	s := newRoomSite(t)
	in := s.create(t, "amy", `{"preset":"public_chat"}`)
	var stamps []int64
	for i := range 30 {
		s.say(t, "amy", in, fmt.Sprint(i), "x")
	}
	s.get(t, "bob", "POST rooms/$1/join", "", in)
	s.get(t, "bob", "POST rooms/$1/leave", "", in)
	late := s.say(t, "amy", in, "late", "x")
	v, _ := room.Open(s.rows(), id.RoomID(in))
	for ev := range v.Timeline(room.Place{}, v.LastEvent) {
		stamps = append(stamps, ev.OriginServerTS)
	}
	first, last := stamps[0], stamps[len(stamps)-1]
	for ts := first - 2; ts <= last+2; ts++ {
		for _, dir := range []string{"f", "b"} {
			var want int64
			for _, at := range stamps {
				if dir == "f" && at >= ts && want == 0 || dir == "b" && at <= ts {
					want = at
				}
			}
			w := s.as(t, "amy", fmt.Sprintf("GET v1/rooms/$1/timestamp_to_event?dir=%s&ts=%d", dir, ts), "", in)
			if want == 0 {
				expect(t, w, 404, "M_NOT_FOUND")
			} else if got := fmt.Sprintf(`"origin_server_ts":%d}`, want); w.Code != 200 || !strings.HasSuffix(strings.TrimSpace(w.Body.String()), got) {
				t.Fatalf("%s of %d: %s, want %s", dir, ts, w.Body, got)
			}
		}
		if last-first > 500 && ts > first+100 && ts < last-100 {
			ts += 50 // a slow machine
		}
	}
	got := s.get(t, "bob", fmt.Sprintf("GET v1/rooms/$1/timestamp_to_event?dir=b&ts=%d", last+1000), "", in)
	if got["event_id"] == late {
		t.Error("bob is shown what was said after he had left")
	}
	if got := s.get(t, "amy", "GET v1/rooms/$1/timestamp_to_event?dir=b&ts=9223372036854775807", "", in); got["event_id"] != late {
		t.Errorf("the last of all is %v", got)
	}
	for _, c := range []struct {
		user, query string
		status      int
		errcode     string
	}{
		{"dan", "?ts=1&dir=f", 403, "M_FORBIDDEN"},
		{"amy", "?dir=f", 400, "M_MISSING_PARAM"},
		{"amy", "?ts=1", 400, "M_MISSING_PARAM"},
		{"amy", "?ts=x&dir=f", 400, "M_INVALID_PARAM"},
		{"amy", "?ts=1&dir=x", 400, "M_INVALID_PARAM"},
		{"amy", "?ts=-9223372036854775808&dir=b", 404, "M_NOT_FOUND"},
	} {
		expect(t, s.as(t, c.user, "GET v1/rooms/$1/timestamp_to_event"+c.query, "", in), c.status, c.errcode)
	}
}
