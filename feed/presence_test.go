package feed

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bongsu/ephemeral"
	"bongsu/id"
	"bongsu/room"
)

// withPresence is a site with presence.
func withPresence(t testing.TB) *site {
	t.Helper()
	var st *site
	p := ephemeral.NewPresence(ephemeral.PresenceConfig{Changed: func(u id.UserID) { st.PresenceChanged(u) }})
	st = makeSite(t, p)
	p.Start()
	t.Cleanup(p.Close)
	return st
}

// there is what an answer says of presence.
func there(res *response) string {
	var out []string
	for _, e := range res.Presence.Events {
		s := fmt.Sprintf("%s=%s", e.Sender.Localpart(), e.Content["presence"])
		if m, ok := e.Content["status_msg"]; ok {
			s += fmt.Sprintf("(%s)", m)
		}
		if e.Content["currently_active"] == true != (e.Content["presence"] == "online") {
			s += " and active"
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestPresenceInSync(t *testing.T) {
	st := withPresence(t)
	for _, n := range []string{"amy", "bob", "eve"} {
		_, err := st.accounts.AddUser(t.Context(), n, "a password", false)
		st.must(err)
	}
	r := st.create("amy", room.Creation{Preset: "public_chat"})
	st.join("bob", r)
	st.create("eve", room.Creation{Preset: "public_chat"})
	ask := func(name, since string, as ephemeral.PresenceState, want string) string {
		t.Helper()
		res := st.sync(t.Context(), Request{User: user(name), Device: id.DeviceID(name), Since: since, Presence: as})
		if got := there(res); got != want {
			t.Errorf("%s sees %q, want %q", name, got, want)
		}
		return res.NextBatch
	}
	amy := ask("amy", "", ephemeral.Offline, "")
	ask("bob", "", ephemeral.Online, "bob=online")
	ask("eve", "", ephemeral.Online, "eve=online")
	amy2 := ask("amy", amy, ephemeral.Offline, "bob=online")
	amy2 = ask("amy", amy2, ephemeral.Offline, "")
	ask("amy", amy, ephemeral.Offline, "bob=online") // the same again
	busy := "busy"
	st.presence.Set(user("bob"), "bob", ephemeral.Unavailable, &busy)
	amy2 = ask("amy", amy2, ephemeral.Offline, "bob=unavailable(busy)")

	// Who comes into a room is seen there, and sees who is there.
	st.join("eve", r)
	amy2 = ask("amy", amy2, ephemeral.Offline, "eve=online")
	eve := st.token("eve")
	if res := st.sync(t.Context(), Request{User: user("eve"), Device: "eve"}); there(res) != "bob=unavailable(busy) eve=online" {
		t.Error(there(res))
	}

	// At another site, whose numbers mean nothing here, all of it.
	other := st.newFeed(2)
	defer other.Close()
	out, err := other.Sync(t.Context(), Request{User: user("amy"), Device: "amy", Since: amy2, Presence: ephemeral.Offline})
	st.must(err)
	if got := there(st.parse(out)); got != "bob=unavailable(busy) eve=online" {
		t.Errorf("elsewhere: %q", got)
	}

	// A filter, and somebody ignored.
	for filter, want := range map[string]string{`{"presence":{"not_types":["*"]}}`: "", `{"presence":{"senders":["@eve:h"]}}`: "eve=online"} {
		out, err := st.Sync(t.Context(), Request{User: user("amy"), Device: "amy", Filter: filter, Presence: ephemeral.Offline})
		st.must(err)
		if got := there(st.parse(out)); got != want {
			t.Errorf("%s: %q, want %q", filter, got, want)
		}
	}
	st.must(st.accounts.SetData(t.Context(), user("amy"), "", "m.ignored_user_list", json.RawMessage(`{"ignored_users":{"@bob:h":{}}}`)))
	ask("amy", amy, ephemeral.Offline, "eve=online")

	// Who waits is woken by those who share a small room, and by nobody else.
	waits := st.parked(t.Context(), Request{User: user("eve"), Device: "eve", Since: ask("eve", eve, ephemeral.Online, ""),
		Timeout: time.Minute})
	st.presence.Set(user("bob"), "bob", ephemeral.Online, &busy)
	waitFor(t, waits)
	if !st.MaySeePresence(user("amy"), user("bob")) || st.MaySeePresence(user("amy"), user("dan")) {
		t.Error("who may see whom?")
	}
}
