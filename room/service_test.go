package room

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal/mem"
	"bongsu/replica"
	"bongsu/replica/replicatest"
	"bongsu/roomstate"
)

// stateOf is the content of a piece of state, "" if there is none.
func (st *site) stateOf(t testing.TB, room id.RoomID, typ, key string) string {
	t.Helper()
	v := st.open(t, room)
	s, found := v.StateEvent(typ, key)
	if !found {
		return ""
	}
	return string(s.Content)
}

func TestCreatePresets(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	type want map[string]string // type, or type and key -> content
	for name, c := range map[string]struct {
		in   Creation
		want want
	}{
		"private by default": {Creation{}, want{
			"m.room.join_rules": `{"join_rule":"invite"}`, "m.room.history_visibility": `{"history_visibility":"shared"}`,
			"m.room.guest_access": `{"guest_access":"can_join"}`, "m.room.name": "", "m.room.topic": ""}},
		"public by visibility": {Creation{Visibility: "public"}, want{
			"m.room.join_rules": `{"join_rule":"public"}`, "m.room.guest_access": `{"guest_access":"forbidden"}`}},
		"preset before visibility": {Creation{Visibility: "public", Preset: presetPrivate}, want{"m.room.join_rules": `{"join_rule":"invite"}`}},
		"initial state before preset, name before initial state": {Creation{Name: "mine", Preset: presetPublic, InitialState: []InitialState{
			{Type: event.TypeJoinRules, Content: json.RawMessage(`{"join_rule": "knock"}`)},
			{Type: event.TypeName, Content: json.RawMessage(`{"name":"theirs"}`)},
			{Type: event.TypeEncryption, Content: json.RawMessage(`{"algorithm":"m.megolm.v1.aes-sha2"}`)},
		}}, want{"m.room.join_rules": `{"join_rule":"knock"}`, "m.room.name": `{"name":"mine"}`,
			"m.room.encryption": `{"algorithm":"m.megolm.v1.aes-sha2"}`}},
		"direct": {Creation{Invite: []id.UserID{"@bob:h", "@bob:h"}, IsDirect: true}, want{
			"m.room.member @bob:h": `{"is_direct":true,"membership":"invite"}`, "m.room.member @amy:h": `{"membership":"join"}`}},
		"levels": {Creation{Version: event.V11, PowerLevels: json.RawMessage(`{"invite": 7, "users": {"@amy:h": 100, "@bob:h": 9}}`)}, want{}},
		"content": {Creation{Version: event.V11, CreationContent: json.RawMessage(`{"type":"m.space","creator":"@x:y","room_version":"3"}`)},
			want{"m.room.create": `{"room_version":"11","type":"m.space"}`}},
		"creator of version 10": {Creation{Version: event.V10, CreationContent: json.RawMessage(`null`)},
			want{"m.room.create": `{"creator":"@amy:h","room_version":"10"}`}},
		"topic": {Creation{Topic: `a "b"`}, want{"m.room.topic": `{"m.topic":{"m.text":[{"body":"a \"b\""}]},"topic":"a \"b\""}`}},
	} {
		t.Run(name, func(t *testing.T) {
			room := st.create(t, amy, c.in)
			for k, want := range c.want {
				typ, key, _ := strings.Cut(k, " ")
				if got := st.stateOf(t, room, typ, key); got != want {
					t.Errorf("%s: %s, want %s", k, got, want)
				}
			}
			v := st.open(t, room)
			if name == "levels" && (v.Rules().InviteLevel() != 7 || v.Rules().UserLevel("@bob:h") != 9) {
				t.Error(st.stateOf(t, room, event.TypePowerLevels, ""))
			}
		})
	}
}

func TestTrusted(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	for _, version := range event.Versions() {
		room := st.create(t, amy, Creation{Version: version, Preset: presetTrusted, Invite: []id.UserID{"@bob:h"},
			CreationContent: json.RawMessage(`{"x":1}`)})
		v := st.open(t, room)
		if a, b := v.Rules().UserLevel("@amy:h"), v.Rules().UserLevel("@bob:h"); a != b || a < 100 {
			t.Errorf("version %s: amy has %d, bob %d", version, a, b)
		}
	}
	// The same invitee in both places is one creator.
	room := st.create(t, amy, Creation{Preset: presetTrusted, Invite: []id.UserID{"@bob:h", "@cat:h"},
		CreationContent: json.RawMessage(`{"additional_creators":["@bob:h"]}`)})
	v := st.open(t, room)
	if got := fmt.Sprint(v.Rules().Creators()); got != "[@amy:h @bob:h @cat:h]" {
		t.Error(got)
	}
}

func TestCreateRefused(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for name, c := range map[string]struct {
		in   Creation
		kind errs.Kind
		code errs.Code
	}{
		"version":          {Creation{Version: "1"}, errs.Unsupported, errs.UnsupportedVersion},
		"preset":           {Creation{Preset: "mine"}, errs.Invalid, errs.InvalidParam},
		"visibility":       {Creation{Visibility: "dim"}, errs.Invalid, errs.InvalidParam},
		"3pid":             {Creation{Invite3PID: []json.RawMessage{raw("{}")}}, errs.Unsupported, ""},
		"malformed invite": {Creation{Invite: []id.UserID{"bob"}}, errs.Invalid, errs.InvalidParam},
		"unknown invite":   {Creation{Invite: []id.UserID{"@nobody:h"}}, errs.NotFound, ""},
		"far invite":       {Creation{Invite: []id.UserID{"@bob:elsewhere"}}, errs.Forbidden, ""},
		"invites herself":  {Creation{Invite: []id.UserID{"@amy:h"}}, errs.Invalid, errs.InvalidRoomState},
		"levels":           {Creation{PowerLevels: raw(`{"users":{"@amy:h":100}}`)}, errs.Invalid, errs.InvalidRoomState},
		"levels too low":   {Creation{Version: event.V11, Name: "x", PowerLevels: raw(`{"users":{"@amy:h":0}}`)}, errs.Invalid, errs.InvalidRoomState},
		"levels no object": {Creation{PowerLevels: raw(`[]`)}, errs.Invalid, errs.BadJSON},
		"creation content": {Creation{CreationContent: raw(`"x"`)}, errs.Invalid, errs.BadJSON},
		"creators":         {Creation{CreationContent: raw(`{"additional_creators":["bob"]}`)}, errs.Invalid, errs.InvalidRoomState},
		"no content":       {Creation{InitialState: []InitialState{{Type: "x"}}}, errs.Invalid, errs.BadJSON},
		"no type":          {Creation{InitialState: []InitialState{{Content: raw("{}")}}}, errs.Invalid, errs.BadJSON},
		"fraction":         {Creation{InitialState: []InitialState{{Type: "x", Content: raw(`{"a":1.5}`)}}}, errs.Invalid, errs.BadJSON},
		"member":           {Creation{InitialState: []InitialState{{Type: event.TypeMember, Key: "x", Content: raw(`{}`)}}}, errs.Invalid, errs.InvalidParam},
		"large":            {Creation{Topic: strings.Repeat("x", 70000)}, errs.TooLarge, ""},
		"many":             {Creation{InitialState: slices1000()}, errs.Invalid, errs.InvalidParam},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := st.Create(t.Context(), amy, c.in)
			refused(t, err, c.kind, c.code)
		})
	}
	for m := range st.Memberships("@amy:h") {
		t.Errorf("something is left: %+v", m)
	}
}

func slices1000() []InitialState {
	out := make([]InitialState, 1000)
	for i := range out {
		out[i] = InitialState{Type: "x", Key: fmt.Sprint(i), Content: json.RawMessage("{}")}
	}
	return out
}

func TestSendRefused(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room := st.create(t, amy, Creation{})
	for name, c := range map[string]struct {
		txn, content string
		kind         errs.Kind
		code         errs.Code
	}{
		"not JSON":  {"1", `{`, errs.Invalid, errs.NotJSON},
		"empty":     {"1", ``, errs.Invalid, errs.NotJSON},
		"array":     {"1", `[]`, errs.Invalid, errs.BadJSON},
		"fraction":  {"1", `{"a":0.5}`, errs.Invalid, errs.BadJSON},
		"twice":     {"1", `{"a":1,"a":1}`, errs.Invalid, errs.BadJSON},
		"no txn":    {"", `{}`, errs.Invalid, errs.InvalidParam},
		"long txn":  {strings.Repeat("x", 256), `{}`, errs.Invalid, errs.InvalidParam},
		"large":     {"1", `{"a":"` + strings.Repeat("x", 65536) + `"}`, errs.TooLarge, ""},
		"too large": {"1", `{"a":"` + strings.Repeat("x", 65300) + `"}`, errs.TooLarge, ""}, // with what the event adds
	} {
		t.Run(name, func(t *testing.T) {
			_, err := st.Send(t.Context(), amy, room, "m.room.message", c.txn, []byte(c.content))
			refused(t, err, c.kind, c.code)
		})
	}
	_, err := st.Send(t.Context(), amy, "!none", "m.room.message", "1", []byte(`{}`))
	refused(t, err, errs.Forbidden, "")
	_, err = st.Send(t.Context(), amy, room, strings.Repeat("x", 256), "1", []byte(`{}`))
	refused(t, err, errs.TooLarge, "")
	_, err = st.SendState(t.Context(), amy, room, event.TypeMember, "bob", []byte(`{"membership":"invite"}`))
	refused(t, err, errs.Invalid, errs.InvalidParam)
	_, err = st.SendState(t.Context(), amy, room, event.TypeMember, "@bob:h", []byte(`{}`))
	refused(t, err, errs.Invalid, errs.BadJSON)
	_, err = st.SendState(t.Context(), amy, room, event.TypeMember, "@nobody:h", []byte(`{"membership":"invite"}`))
	refused(t, err, errs.NotFound, "")
	refused(t, st.Invite(t.Context(), amy, room, "@nobody:h", ""), errs.NotFound, "")
	refused(t, st.Join(t.Context(), bob, "!none", ""), errs.NotFound, "")
	refused(t, st.Knock(t.Context(), bob, "!none", ""), errs.NotFound, "")
	refused(t, st.Leave(t.Context(), bob, "!none", ""), errs.Forbidden, "")
}

// TestWriteIdentity: what makes two requests the same write, and what does not.
func TestWriteIdentity(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room, other := st.create(t, amy, Creation{}), st.create(t, amy, Creation{})
	first := st.say(t, amy, room, "1", "x")
	same := func(want bool, by By, room id.RoomID, typ, txn string) {
		t.Helper()
		e, err := st.Send(t.Context(), by, room, typ, txn, []byte(`{"body":"something else"}`))
		ok(t, err)
		if (e == first) != want {
			t.Errorf("%v %s %s %s: %v", by, room, typ, txn, e == first)
		}
	}
	same(true, amy, room, "m.room.message", "1")
	same(false, By{amy.User, "OTHER"}, room, "m.room.message", "1")
	same(false, amy, other, "m.room.message", "1")
	same(false, amy, room, "m.sticker", "1")
	same(false, amy, room, "m.room.message", "2")
	r1, err := st.Redact(t.Context(), amy, room, first, "1", "why")
	ok(t, err)
	r2, err := st.Redact(t.Context(), amy, room, first, "1", "why")
	ok(t, err)
	if r1 != r2 || r1 == first {
		t.Error("a repeated redaction is another one")
	}
	ok(t, st.Leave(t.Context(), amy, room, ""))
	same(true, amy, room, "m.room.message", "1") // the answer stands, though it would be refused now
}

// TestSameWriteAtOnce: many attempts at one write make one event.
func TestSameWriteAtOnce(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room := st.create(t, amy, Creation{})
	var wg sync.WaitGroup
	got := make([]id.EventID, 50)
	for i := range got {
		wg.Go(func() { got[i] = st.say(t, amy, room, "same", "x") })
	}
	wg.Wait()
	for _, e := range got {
		if e != got[0] {
			t.Fatal("two events")
		}
	}
	v := st.open(t, room)
	if texts(v.all()) != "x" {
		t.Error(texts(v.all()))
	}
}

func TestRestrictedJoin(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	club := st.create(t, bob, Creation{Preset: presetPublic})
	room := st.create(t, amy, Creation{InitialState: []InitialState{{Type: event.TypeJoinRules,
		Content: json.RawMessage(`{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":"` + string(club) + `"}]}`)}}})
	refused(t, st.Join(t.Context(), cat, room, ""), errs.Forbidden, "")
	ok(t, st.Join(t.Context(), cat, club, ""))
	ok(t, st.Join(t.Context(), cat, room, ""))
	if got := st.stateOf(t, room, event.TypeMember, "@cat:h"); got != `{"join_authorised_via_users_server":"@amy:h","membership":"join"}` {
		t.Error(got)
	}
	ok(t, st.Invite(t.Context(), amy, room, "@dan:h", ""))
	ok(t, st.Join(t.Context(), By{User: "@dan:h"}, room, "")) // the invited need nobody
	ok(t, st.Leave(t.Context(), amy, room, ""))
	ok(t, st.Join(t.Context(), bob, room, "")) // anybody in it may vouch, since anybody may invite
}

func TestReceipts(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room := st.create(t, amy, Creation{Preset: presetPublic})
	one, two := st.say(t, amy, room, "1", "one"), st.say(t, amy, room, "2", "two")
	var wg sync.WaitGroup
	for i := range 20 {
		ok(t, st.Join(t.Context(), By{User: user(i)}, room, ""))
	}
	for i := range 20 {
		for _, e := range []id.EventID{two, one} { // at once, in any order: the later event counts
			wg.Go(func() { fine(t, st.Receipt(t.Context(), user(i), room, Read, "", e)) })
		}
	}
	wg.Wait()
	v := st.open(t, room)
	n := 0
	for rc := range v.Receipts(Place{}, replica.Forever) {
		if n++; rc.Event != two {
			t.Errorf("%+v", rc)
		}
	}
	if n != 20 {
		t.Errorf("%d receipts", n)
	}
	ok(t, st.Receipt(t.Context(), user(0), room, Read, "main", one))
	ok(t, st.Receipt(t.Context(), user(0), room, ReadPrivate, "", two))
	var got []string
	for rc := range v.ReceiptsOf(user(0)) {
		got = append(got, rc.Type+"/"+rc.Thread)
	}
	if fmt.Sprint(got) != "[m.read.private/ m.read/ m.read/main]" && fmt.Sprint(got) != "[m.read/ m.read/main m.read.private/]" {
		t.Error(got)
	}
	refused(t, st.Receipt(t.Context(), user(0), room, "m.other", "", two), errs.Invalid, errs.InvalidParam)
	refused(t, st.Receipt(t.Context(), user(0), room, Read, "", "$none"), errs.NotFound, "")
	refused(t, st.Receipt(t.Context(), "@stranger:h", room, Read, "", two), errs.Forbidden, "")
	st.Close()
	refused(t, st.Receipt(t.Context(), user(0), room, Read, "", two), errs.Unavailable, "")
}

// TestReceiptsShareWrites: what arrives within the delay is one proposal.
func TestReceiptsShareWrites(t *testing.T) {
	st := newSite(t, replicatest.Options{Partitions: 1})
	room := st.create(t, amy, Creation{Preset: presetPublic})
	e := st.say(t, amy, room, "1", "one")
	for i := range 50 {
		ok(t, st.Join(t.Context(), By{User: user(i)}, room, ""))
	}
	slow := New(Config{Replica: st.r, Server: "h", ReceiptDelay: time.Hour, Profile: st.profile})
	before := st.r.Positions()[0]
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() { fine(t, slow.Receipt(t.Context(), user(i), room, Read, "", e)) })
	}
	for { // until all wait
		slow.receipts.mu.Lock()
		n := slow.receipts.waiting
		slow.receipts.mu.Unlock()
		if n == 50 {
			break
		}
	}
	slow.Close() // writes what waits
	wg.Wait()
	if after := st.r.Positions()[0]; after > before+2 { // a tick may be among them
		t.Errorf("%d records for 50 receipts", after-before)
	}
}

func TestShowProfile(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	var rooms []id.RoomID
	for range 20 {
		rooms = append(rooms, st.create(t, amy, Creation{}))
	}
	left := st.create(t, amy, Creation{})
	ok(t, st.Leave(t.Context(), amy, left, ""))
	st.rename("@amy:h", "Amy <3")
	ok(t, st.ShowProfile(t.Context(), "@amy:h"))
	want := `{"displayname":"Amy <3","membership":"join"}`
	for _, room := range rooms {
		if got := st.stateOf(t, room, event.TypeMember, "@amy:h"); got != want {
			t.Fatal(got)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := st.ShowProfile(ended, "@amy:h"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("not shown, and said: %v", err)
	}
	if got := st.stateOf(t, left, event.TypeMember, "@amy:h"); got != `{"membership":"leave"}` {
		t.Error(got)
	}
}

// TestNotes: what subscribers hear.
func TestNotes(t *testing.T) {
	var mu sync.Mutex
	var got []string
	st := newSite(t, replicatest.Options{Partitions: 1, Sink: func(c replica.Commit) {
		mu.Lock()
		defer mu.Unlock()
		for _, n := range c.Notes {
			if n, is := n.(Changed); is {
				got = append(got, fmt.Sprintf("%c %s %s", n.Change, n.User, n.Membership))
			}
		}
	}})
	heard := func(want ...string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("heard %q, want %q", got, want)
		}
		got = nil
	}
	room := st.create(t, amy, Creation{})
	mu.Lock()
	got = nil
	mu.Unlock()
	ok(t, st.Invite(t.Context(), amy, room, "@bob:h", ""))
	heard("m @bob:h invite", "e @amy:h ")
	ok(t, st.Join(t.Context(), bob, room, ""))
	heard("m @bob:h join", "e @bob:h ")
	e := st.say(t, bob, room, "1", "x")
	heard("e @bob:h ")
	ok(t, st.Receipt(t.Context(), "@amy:h", room, Read, "", e))
	heard("r @amy:h ")
	ok(t, st.Receipt(t.Context(), "@amy:h", room, Read, "", e)) // nothing new
	ok(t, st.Leave(t.Context(), bob, room, ""))
	ok(t, st.Forget(t.Context(), bob, room))
	heard("m @bob:h leave", "e @bob:h ", "f @bob:h leave")
}

func TestAppendClient(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room := st.create(t, amy, Creation{Name: "one"})
	e := st.say(t, amy, room, "txn", "x")
	_, err := st.SendState(t.Context(), amy, room, event.TypeName, "", []byte(`{"name":"two"}`))
	ok(t, err)
	show := func(s Stored, to Viewer) string {
		v := st.open(t, room)
		var ev struct {
			Unsigned map[string]json.RawMessage `json:"unsigned"`
			RoomID   id.RoomID                  `json:"room_id"`
		}
		if err := json.Unmarshal(v.AppendClient(nil, s, to), &ev); err != nil {
			t.Fatal(err)
		}
		if (ev.RoomID == "") != to.NoRoomID {
			t.Errorf("room id %q", ev.RoomID)
		}
		delete(ev.Unsigned, "replaces_state")
		if because := ev.Unsigned["redacted_because"]; because != nil {
			typ, _ := event.Object(because).String("type")
			ev.Unsigned["redacted_because"] = json.RawMessage(`"` + typ + `"`)
		}
		out, _ := json.Marshal(ev.Unsigned)
		return string(out)
	}
	v := st.open(t, room)
	s, _ := v.Event(e)
	for _, c := range []struct {
		to   Viewer
		want string
	}{
		{Viewer{User: amy.User, Device: amy.Device}, `{"transaction_id":"txn"}`},
		{Viewer{User: amy.User, Device: "OTHER", NoRoomID: true}, `null`},
		{Viewer{User: bob.User, Device: amy.Device}, `null`},
		{Viewer{User: bob.User, Now: s.OriginServerTS + 5}, `{"age":5}`},
		{Viewer{User: bob.User, Now: 1}, `{"age":0}`},
	} {
		if got := show(s, c.to); got != c.want {
			t.Errorf("%+v: %s, want %s", c.to, got, c.want)
		}
	}
	name, _ := v.StateEvent(event.TypeName, "")
	if got := show(name, Viewer{Now: name.OriginServerTS}); got != `{"age":0,"prev_content":{"name":"one"},"prev_sender":"@amy:h"}` {
		t.Error(got)
	}
	_, err = st.Redact(t.Context(), amy, room, e, "r", "")
	ok(t, err)
	v = st.open(t, room)
	s, _ = v.Event(e)
	if got := show(s, Viewer{User: amy.User, Device: amy.Device}); got != `{"redacted_because":"m.room.redaction","transaction_id":"txn"}` || string(s.Content) != "{}" {
		t.Errorf("%s %s", got, s.Content)
	}
}

func TestStripped(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room := st.create(t, amy, Creation{Name: "n", Topic: "t", Invite: []id.UserID{"@bob:h"}})
	v := st.open(t, room)
	var got []string
	for _, ev := range v.Stripped("@bob:h") {
		got = append(got, ev.Type+" "+*ev.StateKey)
	}
	want := "[m.room.create  m.room.name  m.room.topic  m.room.join_rules  m.room.member @amy:h m.room.member @bob:h]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestManyJoins: a join does not get dearer with the size of the room.
func TestManyJoins(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room := st.create(t, amy, Creation{Preset: presetPublic})
	const n = 1000
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			for i := w; i < n; i += 20 {
				fine(t, st.Join(t.Context(), By{User: user(i)}, room, ""))
			}
		})
	}
	wg.Wait()
	v := st.open(t, room)
	joined := 0
	for m := range v.Members() {
		if m.Membership == roomstate.Join {
			joined++
		}
	}
	if v.Joined != n+1 || joined != n+1 {
		t.Errorf("%d joined, %d rows", v.Joined, joined)
	}
}

// TestTroubledJournal: senders who repeat what was not confirmed, over a journal that fails, loses acknowledgements and stores
// records twice, make each message once, and what was acknowledged is there.
func TestTroubledJournal(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	trouble := mem.Seeded(seed, mem.Rates{Fail: 0.1, LoseAck: 0.1, Forget: 0.1, LosePush: 0.05, Full: 0.05})
	var begun atomic.Bool // a site that finds its disk full does not even start
	st := newSite(t, replicatest.Options{Plan: func(a mem.Attempt) mem.Fault {
		if !begun.Load() {
			return mem.Fault{}
		}
		return trouble(a)
	}})
	begun.Store(true)
	persist := func(do func() error) error {
		for {
			if err := do(); !errs.Is(err, errs.Unavailable) {
				return err
			}
		}
	}
	var room id.RoomID
	ok(t, persist(func() (err error) {
		room, err = st.Create(t.Context(), amy, Creation{Preset: presetPublic})
		return err
	}))
	const senders, each = 4, 15
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			by := By{User: user(s), Device: "D"}
			fine(t, persist(func() error { return st.Join(t.Context(), by, room, "") }))
			for i := range each {
				text := fmt.Sprintf("%d.%d", s, i)
				fine(t, persist(func() error {
					_, err := st.Send(t.Context(), by, room, "m.room.message", text, []byte(`{"body":"`+text+`"}`))
					return err
				}))
			}
		})
	}
	wg.Wait()
	v := st.open(t, room)
	got := strings.Fields(texts(v.all()))
	for s := range senders {
		next := 0
		for _, text := range got {
			if strings.HasPrefix(text, fmt.Sprintf("%d.", s)) {
				if text != fmt.Sprintf("%d.%d", s, next) {
					t.Errorf("%s where %d.%d should be", text, s, next)
				}
				next++
			}
		}
	}
	if len(got) != senders*each {
		t.Errorf("%d messages, not %d", len(got), senders*each)
	}
}
