package room

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// TestCreateOrder: the events of a new room come in the order that the specification wants.
func TestCreateOrder(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room := st.create(t, amy, Creation{Alias: "a", Name: "n", Topic: "t", Invite: []id.UserID{"@bob:h"}, Visibility: "public",
		InitialState: []InitialState{
			{Type: "z", Content: []byte(`{}`)}, {Type: "a", Key: "k", Content: []byte(`{}`)}, {Type: event.TypeTopic, Content: []byte(`{"topic":"other"}`)},
			{Type: event.TypeGuestAccess, Content: []byte(`{"guest_access":"can_join"}`)},
		}})
	v := st.open(t, room)
	var got []string
	for s := range v.Timeline(Place{}, replica.Forever) {
		got = append(got, strings.TrimPrefix(s.Type, "m.room."))
	}
	if want := "create member power_levels canonical_alias join_rules history_visibility z a guest_access name topic member"; strings.Join(got, " ") != want {
		t.Errorf("%s, want %s", strings.Join(got, " "), want)
	}
}

// TestCreateLevels: replacing a room of version 12 takes more than other state, unless the request says what it takes.
func TestCreateLevels(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	for override, want := range map[string]int64{
		``: 150, `{"events":{"m.room.name":0}}`: 150, `{"state_default":200}`: 150, `{"state_default":200,"events":{}}`: 201,
		`{"events":{"m.room.tombstone":7}}`: 7,
	} {
		room := st.create(t, amy, Creation{PowerLevels: []byte(override)})
		v := st.open(t, room)
		if got := v.Rules().StateLevel(event.TypeTombstone); got != want {
			t.Errorf("%s: %d, want %d", override, got, want)
		}
	}
	for _, bad := range []string{`{"events":5}`, `{"users":{"bob":1}}`, `{"ban":"x"}`, `{"invite":null}`, `{"state_default":1.5}`} {
		for _, v := range event.Versions() {
			_, err := st.Create(t.Context(), amy, Creation{Version: v, PowerLevels: []byte(bad)})
			if !errs.Is(err, errs.Invalid) {
				t.Errorf("version %s: %s: %v", v, bad, err)
			}
		}
	}
}

func TestInvitesBlocked(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	st.cfg.MayInvite = func(_ kv.Reader, _, u id.UserID) error {
		if u == bob.User {
			return errs.New("test", errs.Forbidden, errs.InviteBlocked, "no invites, please")
		}
		return nil
	}
	room := st.create(t, amy, Creation{})
	refused(t, st.Invite(t.Context(), amy, room, bob.User, ""), errs.Forbidden, errs.InviteBlocked)
	_, err := st.SendState(t.Context(), amy, room, event.TypeMember, string(bob.User), []byte(`{"membership":"invite"}`))
	refused(t, err, errs.Forbidden, errs.InviteBlocked)
	_, err = st.Create(t.Context(), amy, Creation{Invite: []id.UserID{bob.User}})
	refused(t, err, errs.Forbidden, errs.InviteBlocked)
	var many []id.UserID
	for i := range maxInvited + 1 {
		many = append(many, user(i))
	}
	_, err = st.Create(t.Context(), amy, Creation{Invite: many})
	refused(t, err, errs.Invalid, errs.InvalidParam)
	st.create(t, amy, Creation{Invite: many[1:]})
}

// TestDerive: what is made anew from the state is what was written along with it.
func TestDerive(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	for i := range 8 {
		room := st.create(t, amy, Creation{Alias: fmt.Sprint("a", i), Visibility: "public"})
		ok(t, st.SetAlias(t.Context(), amy, id.RoomAlias(fmt.Sprintf("#b%d:h", i)), room))
		ok(t, st.Report(t.Context(), bob.User, Report{Room: room}))
		switch i {
		case 3:
			ok(t, st.DeleteAlias(t.Context(), amy, "#a3:h"))
		case 4:
			ok(t, st.SetPublic(t.Context(), amy, room, false))
		case 5:
			st.upgrade(t, amy, room, event.V11)
		case 6:
			all, err := st.Reports(1)
			ok(t, err)
			ok(t, st.Dismiss(t.Context(), all[0].ID))
		}
	}
	have, made := map[string]string{}, map[string]string{}
	for i := range st.r.Partitions() {
		p := journal.Partition(i)
		for _, table := range []byte{tableAliases, tablePublished, tableReports} {
			prefix := replica.Derived(p, machineByte, table)
			for k, v := range st.r.Rows().Scan(prefix, kv.End(prefix)) {
				have[string(k)] = string(v)
			}
		}
	}
	for slot := range id.Slot(id.Slots) {
		deriveDirectory(st.r.Rows(), replica.PartitionOf(slot, st.r.Partitions()), slot, func(k, v []byte) { made[string(k)] = string(v) })
	}
	if !maps.Equal(have, made) || len(have) < 20 {
		t.Errorf("%d rows were written, %d made anew", len(have), len(made))
	}
}
