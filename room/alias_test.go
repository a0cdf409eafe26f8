package room

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

func (st *site) aliases(room id.RoomID) string {
	return fmt.Sprint(slices.Collect(Aliases(st.r.Rows(), st.r.Partitions(), room)))
}

func TestAliases(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room := st.create(t, amy, Creation{Preset: presetPublic})
	other := st.create(t, bob, Creation{Preset: presetPublic})
	ok(t, st.Join(t.Context(), bob, room, ""))
	set := func(by By, alias id.RoomAlias, room id.RoomID) error {
		return st.SetAlias(t.Context(), by, alias, room)
	}

	ok(t, set(amy, "#a:h", room))
	ok(t, set(amy, "#a:h", room)) // again, as after an answer that was lost
	ok(t, set(bob, "#봉수:h", room))
	refused(t, set(amy, "#봉수:h", room), errs.Conflict, "")
	refused(t, set(bob, "#a:h", other), errs.Conflict, "")
	refused(t, set(cat, "#b:h", room), errs.Forbidden, "")
	refused(t, set(amy, "#b:h", "!none"), errs.Forbidden, "")
	refused(t, set(amy, "#b:elsewhere", room), errs.Invalid, errs.InvalidParam)
	refused(t, set(amy, "#b c:h", room), errs.Invalid, errs.InvalidParam)
	if got := st.aliases(room); got != "[#a:h #봉수:h]" {
		t.Error(got)
	}

	drop := func(by By, alias id.RoomAlias) error { return st.DeleteAlias(t.Context(), by, alias) }
	refused(t, drop(bob, "#a:h"), errs.Forbidden, "")
	refused(t, drop(amy, "#none:h"), errs.NotFound, "")
	ok(t, drop(amy, "#봉수:h")) // by her power in the room
	ok(t, set(bob, "#봉수:h", room))
	ok(t, drop(bob, "#봉수:h")) // by having made it
	refused(t, drop(bob, "#봉수:h"), errs.NotFound, "")
	st.cfg.Admin = func(_ kv.Reader, u id.UserID) bool { return u == cat.User }
	ok(t, drop(cat, "#a:h")) // as an administrator
	if got := st.aliases(room); got != "[]" {
		t.Error(got)
	}
}

func TestCanonicalAlias(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room := st.create(t, amy, Creation{Alias: "first"})
	if got := st.stateOf(t, room, event.TypeCanonicalAlias, ""); got != `{"alias":"#first:h"}` {
		t.Error(got)
	}
	ok(t, st.SetAlias(t.Context(), amy, "#second:h", room))
	other := st.create(t, amy, Creation{Alias: "other"})
	for content, code := range map[string]errs.Code{
		`{"alias":"#first:h","alt_aliases":["#second:h"]}`: "-",
		`{}`:                              "-",
		`{"alias":null}`:                  "-",
		`{"alias":""}`:                    "-",
		`{"alias":"#other:h"}`:            errs.BadAlias,
		`{"alt_aliases":["#none:h"]}`:     errs.BadAlias,
		`{"alias":"#first:elsewhere"}`:    errs.BadAlias,
		`{"alias":"first"}`:               errs.InvalidParam,
		`{"alias":5}`:                     errs.InvalidParam,
		`{"alt_aliases":"#second:h"}`:     errs.InvalidParam,
		`{"alt_aliases":["#second:h",5]}`: errs.InvalidParam,
		`{"alt_aliases":["x"]}`:           errs.InvalidParam,
	} {
		_, err := st.SendState(t.Context(), amy, room, event.TypeCanonicalAlias, "", []byte(content))
		if code == "-" {
			ok(t, err)
			continue
		}
		refused(t, err, errs.Invalid, code)
	}

	// A deleted alias goes from the room as well; what the room names already is not asked about.
	send := func(content string) error {
		_, err := st.SendState(t.Context(), amy, room, event.TypeCanonicalAlias, "", []byte(content))
		return err
	}
	ok(t, send(`{"alias":"#first:h","alt_aliases":["#second:h"]}`))
	ok(t, st.DeleteAlias(t.Context(), amy, "#second:h"))
	if got := st.stateOf(t, room, event.TypeCanonicalAlias, ""); got != `{"alias":"#first:h"}` {
		t.Error(got)
	}
	ok(t, st.submitAlias(t.Context(), kindUnalias, aliasBody{Alias: "#first:h", Room: room, User: amy.User}))
	ok(t, send(`{"alias":"#first:h","x":1}`))
	if got := st.aliases(other); got != "[#other:h]" {
		t.Error(got)
	}
}

func TestCreateWithAlias(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room := st.create(t, amy, Creation{Alias: "lobby", Version: event.V10})
	if got, err := st.Resolve("#lobby:h"); err != nil || got != room {
		t.Errorf("%s, %v", got, err)
	}
	create := func(c Creation) error {
		_, err := st.Create(t.Context(), amy, c)
		return err
	}
	refused(t, create(Creation{Alias: "lobby"}), errs.Conflict, errs.RoomInUse)
	refused(t, create(Creation{Alias: "a:b"}), errs.Invalid, errs.InvalidParam)
	refused(t, create(Creation{Alias: "a", InitialState: []InitialState{
		{Type: event.TypeCanonicalAlias, Content: []byte(`{"alias":"#lobby:h"}`)}}}), errs.Invalid, errs.BadAlias)
	// A room that is refused leaves its alias free, at once.
	bad := Creation{Alias: "free", Version: event.V11, Name: "x", PowerLevels: []byte(`{"users":{"@amy:h":0}}`)}
	refused(t, create(bad), errs.Invalid, errs.InvalidRoomState)
	st.create(t, amy, Creation{Alias: "free"})
}

// TestReservedAliases: whoever reserves an alias and dies leaves nothing behind, whether the room has been made by then or not.
func TestReservedAliases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := kv.Open(kv.Config{MemTable: 16 << 20})
		ok(t, err)
		defer db.Abandon()
		store := mem.NewStore(4)
		open := func(boot uint64) (*site, func()) {
			return startSite(t, replicatest.Options{Store: store, DB: db, Boot: boot}, func() {})
		}
		st, stop := open(1)
		draft := func() foundBody {
			c := Creation{Version: event.V12}
			ok(t, st.complete(amy, &c))
			create, err := st.createEvent(amy.User, &c)
			ok(t, err)
			return foundBody{createBody: createBody{Version: c.Version, Create: []byte(create.Raw)}}
		}
		room := func(b foundBody) id.RoomID {
			ev, err := event.Parse(b.Version, b.Create)
			ok(t, err)
			return ev.RoomID
		}
		found := func(b foundBody) error {
			_, err := st.submit(t.Context(), kindFound, room(b), "", replica.Key{}, &b)
			return err
		}
		lost, late := draft(), draft()
		for alias, b := range map[id.RoomAlias]foundBody{"#lost:h": lost, "#late:h": late} {
			_, err := st.reserve(t.Context(), amy, alias, room(b))
			ok(t, err)
			refused(t, st.submitAlias(t.Context(), kindAliasReserve, aliasBody{Alias: alias, Room: "!x"}), errs.Conflict, errs.RoomInUse)
			if _, err := st.Resolve(alias); !errs.Is(err, errs.NotFound) {
				t.Errorf("%s: %v", alias, err)
			}
		}
		ok(t, found(late)) // its word to the alias is lost, as it says none
		if in, err := st.Resolve("#late:h"); err != nil || in != room(late) {
			t.Errorf("%s, %v", in, err)
		}
		stop()
		time.Sleep(24 * time.Hour) // an outage ends nothing
		st, stop = open(2)
		defer func() { stop() }()
		if a, found := findAlias(st.r.Rows(), "#lost:h"); !found || !a.reserved {
			t.Errorf("after an outage: %v", a)
		}
		time.Sleep(2 * time.Minute)
		if a, found := findAlias(st.r.Rows(), "#lost:h"); found {
			t.Errorf("after the hold: %v", a)
		}
		if a, found := findAlias(st.r.Rows(), "#late:h"); !found || a.reserved || a.room != room(late) {
			t.Errorf("after the hold: %v", a)
		}
		// The alias may have gone to others: the room comes too late.
		refused(t, found(lost), errs.Unavailable, "")
		ok(t, st.act(t.Context(), amy, room(late), amy.User, actJoin, event.Object(`{"membership":"join"}`)))
		ok(t, st.SetAlias(t.Context(), amy, "#lost:h", room(late)))
	})
}
