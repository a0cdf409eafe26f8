package client

import (
	"fmt"
	"strings"
	"testing"
)

func TestDelayedEndpoints(t *testing.T) {
	s := newRoomSite(t)
	in := s.party(t)
	const at = "GET unstable/org.matrix.msc4140/delayed_events"
	post := strings.Replace(at, "GET", "POST", 1)
	put := func(user, path string) string {
		t.Helper()
		return s.get(t, user, "PUT rooms/$1/"+path, `{"body":"late"}`, in)["delay_id"].(string) //nolint:errcheck // or the test panics
	}
	one := put("bob", "send/m.room.message/1?org.matrix.msc4140.delay=3600000")
	if again := put("bob", "send/m.room.message/1?org.matrix.msc4140.delay=3600000"); again != one {
		t.Error("a retry delayed another event")
	}
	two := put("amy", "state/x/key?org.matrix.msc4140.delay=86400000")
	list := func(user string) string {
		var out []string
		for _, d := range s.get(t, user, at, "")["delayed_events"].([]any) { //nolint:errcheck // or the test panics
			out = append(out, fmt.Sprint(dig(d, "type"), " ", dig(d, "state_key"), " ", dig(d, "delay"), " ", dig(d, "content", "body"), " ", dig(d, "room_id") == in))
		}
		return strings.Join(out, ", ")
	}
	for user, want := range map[string]string{"bob": "m.room.message <nil> 3.6e+06 late true", "amy": "x key 8.64e+07 late true", "cat": ""} {
		if got := list(user); got != want {
			t.Errorf("%s has %q, want %q", user, got, want)
		}
	}
	for _, c := range []struct {
		user, call, body string
		status           int
		errcode          string
	}{
		{"bob", "PUT rooms/$1/send/x/2?org.matrix.msc4140.delay=0", `{}`, 400, "M_INVALID_PARAM"},
		{"bob", "PUT rooms/$1/send/x/2?org.matrix.msc4140.delay=x", `{}`, 400, "M_INVALID_PARAM"},
		{"bob", "PUT rooms/$1/send/x/2?org.matrix.msc4140.delay=86400001", `{}`, 400, "M_UNKNOWN"},
		{"bob", "PUT rooms/$1/send/x/2?org.matrix.msc4140.delay=10", `[]`, 400, "M_BAD_JSON"},
		{"dan", "PUT rooms/$1/send/x/2?org.matrix.msc4140.delay=10", `{}`, 403, "M_FORBIDDEN"},
		{"bob", post + "/$2", `{"action":"explode"}`, 400, "M_INVALID_PARAM"},
		{"bob", post + "/$2", `{}`, 400, "M_MISSING_PARAM"},
		{"bob", post + "/none", `{"action":"cancel"}`, 404, "M_NOT_FOUND"},
		{"amy", post + "/$2", `{"action":"cancel"}`, 404, "M_NOT_FOUND"},
		{"bob", post + "/$2", `{"action":"restart"}`, 200, ""},
		{"bob", post + "/$2/send", ``, 200, ""},
		{"bob", post + "/$2/send", ``, 404, "M_NOT_FOUND"},
		{"amy", post + "/$3/cancel", ``, 200, ""},
	} {
		expect(t, s.as(t, c.user, c.call, c.body, in, one, two), c.status, c.errcode)
	}
	if got := s.as(t, "bob", "PUT rooms/$1/send/x/2?org.matrix.msc4140.delay=86400001", `{}`, in).Body.String(); !strings.Contains(got, `"org.matrix.msc4140.max_delay":86400000`) {
		t.Errorf("the limit is not told: %s", got)
	}
	if got := said(s.get(t, "amy", "GET rooms/$1/messages?dir=b&limit=1", "", in)["chunk"]); got != "late" {
		t.Errorf("what was sent is %q", got)
	}
	if got := list("amy") + list("bob"); got != "" {
		t.Errorf("still waiting: %s", got)
	}
}
