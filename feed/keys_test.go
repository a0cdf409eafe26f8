package feed

import (
	"fmt"
	"slices"
	"testing"

	"bongsu/id"
	"bongsu/room"
)

// TestDeviceLists: a client learns of the devices of those with whom its user comes to share an encrypted room, and whom it
// can forget. keys/changes says the same as /sync.
func TestDeviceLists(t *testing.T) {
	st := newSite(t)
	ctx := t.Context()
	secret := st.create("amy", room.Creation{Preset: "public_chat", InitialState: []room.InitialState{
		{Type: "m.room.encryption", Content: []byte(`{"algorithm":"m.megolm.v1.aes-sha2"}`)}}})
	plain := st.create("amy", room.Creation{Preset: "public_chat"})
	st.join("cat", secret)
	since := map[string]string{"amy": st.token("amy"), "bob": st.token("bob")}
	leave := func(name string, r id.RoomID) { st.must(st.rooms.Leave(ctx, by(name), r, "")) }
	encrypt := func(content string) {
		_, err := st.rooms.SendState(ctx, by("amy"), plain, "m.room.encryption", "", []byte(content))
		st.must(err)
	}
	for _, c := range []struct {
		what    string
		do      func()
		who     string
		changed []string
		left    []string
	}{
		{"in the open", func() { st.join("bob", plain) }, "amy", nil, nil},
		{"enters", func() { st.join("bob", secret) }, "amy", []string{"@bob:h"}, nil},
		{"has entered", func() {}, "bob", []string{"@amy:h", "@cat:h"}, nil},
		{"nothing", func() {}, "bob", nil, nil},
		{"another leaves", func() { leave("cat", secret) }, "amy", nil, []string{"@cat:h"}},
		{"leaves", func() { leave("bob", secret) }, "amy", nil, []string{"@bob:h"}},
		{"has left", func() {}, "bob", nil, []string{"@amy:h", "@cat:h"}},
		{"comes to the open one", func() { st.join("cat", plain) }, "bob", nil, nil},
		{"the open one is encrypted", func() { encrypt(`{"algorithm":"m.megolm.v1.aes-sha2"}`) }, "bob",
			[]string{"@amy:h", "@cat:h"}, nil},
		{"is encrypted still", func() {
			encrypt(`{"algorithm":"m.megolm.v1.aes-sha2","rotation_period_msgs":9}`)
		}, "bob", nil, nil},
	} {
		c.do()
		res := st.sync(ctx, Request{User: user(c.who), Since: since[c.who]})
		changed, left, err := st.KeyChanges(ctx, user(c.who), since[c.who], res.NextBatch)
		st.must(err)
		since[c.who] = res.NextBatch
		if !slices.Equal(res.DeviceLists.Changed, c.changed) || !slices.Equal(res.DeviceLists.Left, c.left) {
			t.Errorf("%s: %+v", c.what, res.DeviceLists)
		}
		if fmt.Sprint(changed, left) != fmt.Sprint(c.changed, c.left) {
			t.Errorf("%s: keys/changes says %v %v", c.what, changed, left)
		}
	}
	if _, _, err := st.KeyChanges(ctx, user("amy"), "x", since["amy"]); err == nil {
		t.Error("a token that is none")
	}
}
