package room

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica/replicatest"
	"bongsu/roomstate"
)

func (st *site) upgrade(t testing.TB, by By, room id.RoomID, v event.RoomVersion, creators ...id.UserID) id.RoomID {
	t.Helper()
	to, err := st.Upgrade(t.Context(), by, room, v, creators)
	ok(t, err)
	return to
}

// TestUpgradeVersions: a room of every version is replaced by one of every version, in which whoever upgraded it, who was given power in
// the old one and who was its creator have theirs.
func TestUpgradeVersions(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	for _, from := range event.Versions() {
		for _, to := range event.Versions() {
			name := fmt.Sprintf("%s to %s", from, to)
			level := `"60"`
			if from.Features().IntegerLevels {
				level = "60"
			}
			users := `"@bob:h":` + level
			if !from.Features().CreatorPower {
				users += `,"@amy:h":100`
			}
			old := st.create(t, amy, Creation{Version: from, Name: name, InitialState: []InitialState{
				{Type: event.TypeJoinRules, Content: []byte(`{"join_rule":"knock_restricted"}`)}},
				PowerLevels: []byte(`{"users":{` + users + `},"events":{"m.room.tombstone":60,"m.room.power_levels":100}}`)})
			ok(t, st.Invite(t.Context(), amy, old, bob.User, ""))
			if roomstate.HasJoinRule(from, roomstate.JoinKnockRestricted) {
				ok(t, st.Join(t.Context(), bob, old, ""))
			} else {
				_, err := st.SendState(t.Context(), amy, old, event.TypeJoinRules, "", []byte(`{"join_rule":"invite"}`))
				ok(t, err)
				ok(t, st.Join(t.Context(), bob, old, ""))
			}
			next := st.upgrade(t, bob, old, to) // bob, whose power is no more than that
			v := st.open(t, next)
			rules := v.Rules()
			wantBob, wantAmy := int64(60), int64(100)
			if to.Features().CreatorPower {
				wantBob = roomstate.Infinite
			}
			if v.Version != to || rules.UserLevel(bob.User) != wantBob || rules.UserLevel(amy.User) != wantAmy {
				t.Errorf("%s: version %s, bob has %d, amy %d", name, v.Version, rules.UserLevel(bob.User), rules.UserLevel(amy.User))
			}
			want := roomstate.JoinInvite
			if f := from.Features(); f.KnockRestricted {
				want = roomstate.CarryJoinRule(to, roomstate.JoinKnockRestricted)
			}
			if rules.JoinRule() != want {
				t.Errorf("%s: %s, want %s", name, rules.JoinRule(), want)
			}
			if got := st.stateOf(t, next, event.TypeName, ""); got != `{"name":"`+name+`"}` {
				t.Errorf("%s: the name is %s", name, got)
			}
			if got := st.stateOf(t, old, event.TypeTombstone, ""); !strings.Contains(got, string(next)) {
				t.Errorf("%s: the tombstone is %s", name, got)
			}
			create := v.Load(firstState(&v, event.TypeCreate)).Content
			if p := create.Object("predecessor"); string(p.Field("room_id")) != fmt.Sprintf("%q", old) || !p.Has("event_id") {
				t.Errorf("%s: %s", name, create)
			}
			// The new room works: it can be joined by whoever may, and spoken in.
			ok(t, st.Invite(t.Context(), bob, next, amy.User, ""))
			ok(t, st.Join(t.Context(), amy, next, ""))
			_, err := st.Send(t.Context(), amy, next, event.TypeMessage, "1", []byte(`{"body":"here"}`))
			ok(t, err)
		}
	}
}

func firstState(v *View, typ string) StateRow { s, _ := v.StateRow(typ, ""); return s }

// TestUpgradeCarries: what goes along, what stays, and what becomes of the old room.
func TestUpgradeCarries(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	state := map[string]string{
		"m.room.server_acl": `{"allow":["*"]}`, event.TypeEncryption: `{"algorithm":"m.megolm.v1.aes-sha2"}`, event.TypeName: `{"name":"n"}`,
		event.TypeAvatar: `{"url":"mxc://h/a"}`, event.TypeTopic: `{"topic":"t"}`, event.TypeGuestAccess: `{"guest_access":"forbidden"}`,
		event.TypeHistoryVisibility: `{"history_visibility":"joined"}`,
		event.TypeJoinRules:         `{"allow":[{"room_id":"!x","type":"m.room_membership"}],"join_rule":"restricted"}`,
	}
	c := Creation{Version: event.V10, Visibility: "public", Alias: "main", CreationContent: []byte(`{"type":"m.space","m.federate":false,"other":1}`)}
	for typ, content := range state {
		c.InitialState = append(c.InitialState, InitialState{Type: typ, Content: []byte(content)})
	}
	c.InitialState = append(c.InitialState, InitialState{Type: "org.example.own", Content: []byte(`{"x":1}`)},
		InitialState{Type: typeSpaceChild, Key: "!kept", Content: []byte(`{"via":["h"]}`)}, InitialState{Type: typeSpaceChild, Key: "!gone", Content: []byte(`{}`)})
	old := st.create(t, amy, c)
	ok(t, st.SetAlias(t.Context(), amy, "#second:h", old))
	ok(t, st.Ban(t.Context(), amy, old, "@eve:h", "spam"))
	for i := range 300 { // more than one message carries
		ok(t, st.Ban(t.Context(), amy, old, user(i), strings.Repeat("x", 300)))
	}
	ok(t, st.Invite(t.Context(), amy, old, bob.User, ""))
	ok(t, st.Join(t.Context(), bob, old, ""))
	levels := `{"ban":50,"events":{"m.room.name":30},"events_default":0,"invite":0,"notifications":{"room":20},"users":{"@amy:h":100,"@bob:h":40},"users_default":5}`
	_, err := st.SendState(t.Context(), amy, old, event.TypePowerLevels, "", []byte(levels))
	ok(t, err)

	next := st.upgrade(t, amy, old, event.V12, cat.User)
	state[event.TypeCanonicalAlias] = `{"alias":"#main:h"}`
	state[event.TypePowerLevels] = strings.Replace(levels, `"@amy:h":100,`, "", 1)
	for typ, want := range state {
		if got := st.stateOf(t, next, typ, ""); got != want {
			t.Errorf("%s: %s, want %s", typ, got, want)
		}
	}
	v := st.open(t, next)
	create := v.Load(firstState(&v, event.TypeCreate)).Content.Without("predecessor", "bongsu.nonce")
	if string(create) != `{"additional_creators":["@cat:h"],"m.federate":false,"room_version":"12","type":"m.space"}` {
		t.Errorf("%s", create)
	}
	if got := st.stateOf(t, next, event.TypeMember, "@eve:h"); got != `{"membership":"ban","reason":"spam"}` {
		t.Errorf("eve: %s", got)
	}
	bans, joined := 0, 0
	for m := range v.Members() {
		switch m.Membership {
		case roomstate.Ban:
			bans++
		case roomstate.Join:
			joined++
		default:
			t.Errorf("%s is %s", m.Key, m.Membership)
		}
	}
	if bans != 301 || joined != 1 {
		t.Errorf("%d are banned, %d are there", bans, joined)
	}
	for _, key := range []struct{ typ, key string }{{"org.example.own", ""}, {typeSpaceChild, "!gone"}} {
		if _, there := v.StateRow(key.typ, key.key); there {
			t.Errorf("%v came along", key)
		}
	}
	if _, there := v.StateRow(typeSpaceChild, "!kept"); !there {
		t.Error("a child of the space did not come along")
	}

	// The old room.
	if a, b := st.aliases(old), st.aliases(next); a != "[]" || b != "[#main:h #second:h]" {
		t.Errorf("aliases: %s, %s", a, b)
	}
	was := st.open(t, old)
	if was.Public() || !v.Public() {
		t.Errorf("published: the old %v, the new %v", was.Public(), v.Public())
	}
	if got := st.stateOf(t, old, event.TypeCanonicalAlias, ""); got != `{}` {
		t.Error(got)
	}
	rules := was.Rules()
	if rules.EventLevel(event.TypeMessage) != 50 || rules.InviteLevel() != 50 || rules.UserLevel(bob.User) != 40 {
		t.Error(st.stateOf(t, old, event.TypePowerLevels, ""))
	}
	_, err = st.Send(t.Context(), bob, old, event.TypeMessage, "1", []byte(`{}`))
	refused(t, err, errs.Forbidden, "")
}

// TestUpgradeLevels: whoever was a creator above all levels keeps the highest one where there is none above.
func TestUpgradeLevels(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	old := st.create(t, amy, Creation{Version: event.V12, CreationContent: []byte(`{"additional_creators":["@cat:h"]}`),
		PowerLevels: []byte(`{"users":{"@bob:h":100}}`)})
	for version, want := range map[event.RoomVersion]string{
		event.V11: `{"@amy:h":150,"@bob:h":100,"@cat:h":150}`, // a tombstone takes 150 in rooms of version 12
		event.V12: `{"@bob:h":100,"@cat:h":150}`,
	} {
		v := st.open(t, old)
		content, _ := v.StateEvent(event.TypePowerLevels, "")
		creators := []id.UserID{amy.User}
		if got := string(v.Rules().CarryLevels(version, creators, content.Content).Field("users")); got != want {
			t.Errorf("version %s: %s, want %s", version, got, want)
		}
	}
	to := st.upgrade(t, amy, old, event.V11)
	back := st.upgrade(t, amy, to, event.V12, cat.User, amy.User, cat.User)
	v := st.open(t, back)
	if got := fmt.Sprint(v.Rules().Creators()); got != "[@amy:h @cat:h]" {
		t.Error(got)
	}
	if got := string(v.Load(firstState(&v, event.TypePowerLevels)).Content.Field("users")); got != `{"@bob:h":100}` {
		t.Error(got)
	}
}

func TestUpgradeRefused(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	old := st.create(t, amy, Creation{Preset: presetPublic, Version: event.V11})
	ok(t, st.Join(t.Context(), bob, old, ""))
	try := func(by By, room id.RoomID, v event.RoomVersion, creators ...id.UserID) error {
		_, err := st.Upgrade(t.Context(), by, room, v, creators)
		return err
	}
	refused(t, try(amy, old, "5"), errs.Unsupported, errs.UnsupportedVersion)
	refused(t, try(bob, old, event.V12), errs.Forbidden, "")
	refused(t, try(cat, old, event.V12), errs.Forbidden, "")
	refused(t, try(amy, "!none", event.V12), errs.Forbidden, "")
	refused(t, try(amy, old, event.V12, "cat"), errs.Invalid, errs.InvalidParam)
	refused(t, try(amy, old, event.V12, make([]id.UserID, 101)...), errs.Invalid, errs.InvalidParam)
	if v := st.open(t, old); func() bool { _, there := v.upgrading(); return there }() {
		t.Fatal("a refused upgrade is under way")
	}
	to := st.upgrade(t, amy, old, event.V10, "cat") // where creators have no say, what is said of them has none
	if again := st.upgrade(t, amy, old, event.V10); again != to {
		t.Errorf("once more: %s, not %s", again, to)
	}
	refused(t, try(amy, old, event.V12), errs.Forbidden, "")
	refused(t, try(bob, old, event.V10), errs.Forbidden, "")
}

// TestUpgradeSurvivesCrash stops the process after each record of the upgrade in turn. The next one, with the rows of the first or with
// none, finishes it: one room, whether or not it is asked for again.
func TestUpgradeSurvivesCrash(t *testing.T) {
	for stopAt, finished := int64(0), false; !finished; stopAt++ {
		synctest.Test(t, func(t *testing.T) { finished = upgradeStopped(t, stopAt) }) // in which nobody waits for the clock
	}
}

// upgradeStopped reports whether the upgrade was done before the process was stopped.
func upgradeStopped(t *testing.T, stopAt int64) (finished bool) {
	store := mem.NewStore(4)
	var count, limit atomic.Int64
	limit.Store(1 << 40)
	full, once := make(chan struct{}), sync.Once{}
	plan := func(mem.Attempt) mem.Fault {
		if count.Add(1) <= limit.Load() {
			return mem.Fault{}
		}
		once.Do(func() { close(full) })
		return mem.Fault{Fail: true}
	}
	start := func(boot uint64, plan mem.Plan) (*site, func()) {
		db, err := kv.Open(kv.Config{MemTable: 16 << 20})
		ok(t, err)
		return startSite(t, replicatest.Options{Store: store, Boot: boot, Plan: plan, DB: db}, db.Abandon)
	}
	st, stop := start(1, plan)
	old := st.create(t, amy, Creation{Version: event.V11, Alias: "a", Visibility: "public", Name: "kept"})
	limit.Store(count.Load() + stopAt)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	done := make(chan error, 1)
	go func() {
		_, err := st.Upgrade(ctx, amy, old, event.V12, nil)
		done <- err
	}()
	select {
	case <-full: // the journal takes no more
		cancel()
		finished = <-done == nil
	case err := <-done:
		ok(t, err)
		finished = true
	}
	cancel()
	stop()
	st, stop = start(2, nil)
	if stopAt%2 == 0 { // somebody asks again
		_, err := st.Upgrade(t.Context(), amy, old, event.V12, nil)
		ok(t, err)
	}
	v := st.open(t, old)
	if row, begun := v.upgrading(); begun {
		ok(t, st.awaitUpgrade(t.Context(), old, row.To))
		v, is := st.open(t, old), st.open(t, row.To)
		if v.Public() || !is.Public() || st.aliases(row.To) != "[#a:h]" || st.stateOf(t, row.To, event.TypeName, "") != `{"name":"kept"}` ||
			!strings.Contains(st.stateOf(t, old, event.TypeTombstone, ""), string(row.To)) {
			t.Errorf("stopped after %d records: %v", stopAt, row)
		}
		if got := st.succeeded(t, amy.User, old, row.To, 1); got != 1 {
			t.Errorf("stopped after %d records: what amy has set was copied %d times", stopAt, got)
		}
	} else if stopAt%2 == 0 {
		t.Errorf("stopped after %d records: nothing is under way", stopAt)
	}
	rooms := 0
	for range Memberships(st.r.Rows(), st.r.Partitions(), amy.User) {
		rooms++
	}
	if rooms > 2 {
		t.Errorf("stopped after %d records: there are %d rooms", stopAt, rooms)
	}
	stop()
	return finished
}
