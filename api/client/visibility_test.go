package client

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// move takes bob from one membership to another, by requests of his or of amy's, in a room that lets in whom she invites and lets
// others knock. "" is somebody who never had to do with the room.
func (s *roomSite) move(t *testing.T, in, from, to string) {
	t.Helper()
	bob := func(call string) { s.get(t, "bob", "POST "+call, "", in) }
	amy := func(action string) { s.get(t, "amy", "POST rooms/$1/"+action, `{"user_id":"@bob:h"}`, in) }
	if from == to {
		return
	}
	if from == "ban" {
		amy("unban")
		from = "leave"
	}
	if from == to {
		return
	}
	switch to {
	case "invite":
		if from == "join" {
			amy("kick")
		}
		amy("invite")
	case "join":
		if from != "invite" {
			amy("invite")
		}
		bob("rooms/$1/join")
	case "leave":
		if from == "" {
			amy("invite")
		}
		bob("rooms/$1/leave")
	case "ban":
		amy("ban")
	case "knock":
		if from == "join" || from == "invite" {
			bob("rooms/$1/leave")
		}
		bob("knock/$1")
	}
}

// TestHistoryVisibility is the one table of who sees what: how the room was when an event happened, what somebody was then, and what they
// are now, at every endpoint that shows events.
//
// Source: client-server API, "Room History Visibility", the five rules.
func TestHistoryVisibility(t *testing.T) {
	s := newRoomSite(t)
	memberships := []string{"", "invite", "join", "leave", "ban", "knock"}
	for _, visibility := range []string{"world_readable", "shared", "invited", "joined", "", "nonsense"} {
		for _, then := range memberships {
			for _, now := range memberships {
				if now == "" && then != "" {
					continue
				}
				t.Run(fmt.Sprintf("%s, %s then, %s now", visibility, then, now), func(t *testing.T) {
					in := s.create(t, "amy", `{"initial_state":[{"type":"m.room.join_rules","content":{"join_rule":"knock"}},`+
						`{"type":"m.room.history_visibility","content":{"history_visibility":"`+visibility+`"}}]}`)
					s.move(t, in, "", then)
					since := s.get(t, "bob", "GET sync", "")["next_batch"].(string) //nolint:errcheck // or the test panics
					root := s.say(t, "amy", in, "1", "root")
					reply := s.relate(t, "amy", in, "m.thread", root, "reply", "")
					s.move(t, in, then, now)
					sees := visibility == "world_readable" || then == "join" || visibility == "invited" && then == "invite" ||
						visibility != "invited" && visibility != "joined" && then != "join" && now == "join"
					s.checkSees(t, in, root, reply, sees)
					s.checkSync(t, in, since, then, now, sees)
					was := then == "join" || now == "join"
					s.checkState(t, in, now == "join" || visibility == "world_readable" || was && (now == "leave" || now == "ban"))
				})
			}
		}
	}
}

// checkSees checks what bob is shown of a thread.
func (s *roomSite) checkSees(t *testing.T, in, root, reply string, sees bool) {
	t.Helper()
	denied := 404
	if sees {
		denied = 200
	}
	for _, call := range []string{"GET rooms/$1/event/$2", "GET rooms/$1/event/$3", "GET rooms/$1/context/$2", "GET v1/rooms/$1/relations/$2"} {
		if w := s.as(t, "bob", call, "", in, root, reply); w.Code != denied {
			t.Errorf("%s: %d %s, want %d", call, w.Code, w.Body, denied)
		}
	}
	has := func(call string) {
		t.Helper()
		w := s.as(t, "bob", call, "", in, root)
		shown := w.Code == 200 && strings.Contains(w.Body.String(), `"body":"reply"`)
		if shown != sees || w.Code != 200 && w.Code != 403 && w.Code != 404 {
			t.Errorf("%s: %d, the reply is shown: %v, want %v", call, w.Code, shown, sees)
		}
	}
	for _, call := range []string{"messages?dir=b&limit=100", "messages?dir=f&limit=100", `messages?dir=b&filter={"types":["m.room.message"]}`} {
		has("GET rooms/$1/" + strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22").Replace(call))
	}
	has("GET v1/rooms/$1/threads")
	has("GET v1/rooms/$1/relations/$2")
	if !sees {
		return
	}
	// What is around an event that may be seen.
	has("GET rooms/$1/context/$2?limit=2")
	if last, shown := s.lastShown(t, in), s.as(t, "bob", "GET v1/rooms/$1/timestamp_to_event?dir=b&ts=9007199254740991", "", in); last != idOf(t, shown) {
		t.Errorf("the last event is %s by time and %s by pages", idOf(t, shown), last)
	}
}

// checkSync checks what /sync tells bob of a room, with a token from before the thread or without one. Who is in the room is shown what
// may be seen, who was in it what there was until then, and everybody else no more than what became of them, even if the world may read it.
func (s *roomSite) checkSync(t *testing.T, in, since, then, now string, sees bool) {
	t.Helper()
	s.say(t, "amy", in, "2", "afterwards")
	section, shown := now, ""
	switch {
	case now == "join" && sees:
		shown = "root reply afterwards"
	case now == "join":
		shown = "afterwards"
	case now == "leave" || now == "ban":
		section = "leave"
		if then == "join" {
			shown = "root reply"
		}
	}
	for _, c := range []struct {
		query, filter string
		told          bool
	}{
		{"", "", now != "" && section != "leave"},
		{"", `"include_leave":true,`, now != ""},
		{"&since=" + since, "", now == "join" || now != then},
		{"&since=" + since, `"include_leave":true,`, now == "join" || now != then},
		{"&use_state_after=true&since=" + since, "", now == "join" || now != then},
	} {
		call := "GET sync?filter=" + url.QueryEscape(`{"room":{"rooms":["`+in+`"],`+c.filter+`"timeline":{"limit":100}}}`) + c.query
		w := s.as(t, "bob", call, "")
		var out map[string]any
		decode(t, w, &out)
		if strings.Contains(w.Body.String(), "afterwards") != (c.told && now == "join") {
			t.Errorf("%s: what came later is shown, or not: %.2000s", call, w.Body)
		}
		for _, name := range []string{"join", "invite", "knock", "leave"} {
			told := dig(out, "rooms", name, in)
			if (told != nil) != (c.told && name == section) {
				t.Errorf("%s: told in section %s: %v", call, name, told != nil)
			}
			if told == nil {
				continue
			}
			timeline := dig(told, "timeline")
			if (timeline != nil) != (name == "join" || name == "leave") {
				t.Errorf("%s: a timeline in section %s: %v", call, name, timeline)
			} else if timeline != nil {
				s.checkTimeline(t, in, timeline, shown, now == "join" && !sees, then == "join" || now == "join")
			}
		}
	}
}

// checkTimeline checks what is said in a timeline, and whether something is held back. Of a room that bob was in, each of its events can
// be had alone as well.
func (s *roomSite) checkTimeline(t *testing.T, in string, timeline any, want string, limited, alone bool) {
	t.Helper()
	var bodies []string
	for _, ev := range dig(timeline, "events").([]any) { //nolint:errcheck // or the test panics
		if body, ok := dig(ev, "content", "body").(string); ok {
			bodies = append(bodies, body)
		}
		if alone {
			expect(t, s.as(t, "bob", "GET rooms/$1/event/$2", "", in, dig(ev, "event_id").(string)), 200, "") //nolint:errcheck // as above
		}
	}
	if got := strings.Join(bodies, " "); got != want {
		t.Errorf("%q is shown, want %q", got, want)
	}
	if limited && dig(timeline, "limited") != true {
		t.Error("the timeline is not limited, and something is held back")
	}
}

// lastShown is the id of the last event that bob is shown.
func (s *roomSite) lastShown(t *testing.T, in string) string {
	t.Helper()
	from := ""
	for {
		page := s.get(t, "bob", "GET rooms/$1/messages?dir=b&limit=1"+from, "", in)
		if chunk := page["chunk"].([]any); len(chunk) > 0 { //nolint:errcheck // or the test panics
			return dig(chunk[0], "event_id").(string) //nolint:errcheck // as above
		}
		end, ok := page["end"].(string)
		if !ok {
			return ""
		}
		from = "&from=" + end
	}
}

func idOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	_, rest, _ := strings.Cut(w.Body.String(), `"event_id":"`)
	e, _, _ := strings.Cut(rest, `"`)
	return e
}

// checkState checks whether bob may read the room's state, and that nothing of it is from after he has left.
func (s *roomSite) checkState(t *testing.T, in string, may bool) {
	t.Helper()
	s.get(t, "amy", "PUT rooms/$1/state/m.room.topic", `{"topic":"after"}`, in)
	for _, call := range []string{"state", "members", "state/m.room.create", "state/m.room.create?format=event"} {
		w := s.as(t, "bob", "GET rooms/$1/"+call, "", in)
		if want := map[bool]int{true: 200, false: 403}[may]; w.Code != want {
			t.Errorf("%s: %d %s, want %d", call, w.Code, w.Body, want)
		}
	}
	joined := s.as(t, "bob", "GET rooms/$1/joined_members", "", in).Code == 200
	_, inside := dig(s.get(t, "amy", "GET rooms/$1/joined_members", "", in), "joined").(map[string]any)["@bob:h"] //nolint:errcheck // or the test panics
	if joined != inside {
		t.Errorf("joined_members is shown: %v, bob is in the room: %v", joined, inside)
	}
	open := s.get(t, "amy", "GET rooms/$1/state/m.room.history_visibility", "", in)["history_visibility"] == "world_readable"
	after := s.as(t, "bob", "GET rooms/$1/state/m.room.topic", "", in).Code == 200
	if after != (inside || open) {
		t.Errorf("the topic of now is shown: %v, bob is in the room: %v, open: %v", after, inside, open)
	}
}
