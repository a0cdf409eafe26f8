package room

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
	"bongsu/roomstate"
)

// TestAnyHistory does random things by random users in a few rooms, and checks what must hold whatever was done; and that a
// replica which applies the same journal from nothing, with nothing remembered, comes to the same state.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		store := mem.NewStore(2)
		db, err := kv.Open(kv.Config{MemTable: 1 << 20})
		if err != nil {
			rt.Fatal(err)
		}
		defer db.Close() //nolint:errcheck // in memory
		boot := uint64(1)
		start := func() (*replica.Replica, func()) {
			boot++
			return replicatest.Start(t, replicatest.Options{Store: store, DB: db, Boot: boot, Rules: sinceRules, Machines: []replica.Machine{Machine()}})
		}
		r, stop := start()
		defer func() { stop() }()
		g := history{t: rt, r: r}
		for range rapid.IntRange(1, 3).Draw(rt, "rooms") {
			g.createRoom()
		}
		for range rapid.IntRange(10, 60).Draw(rt, "steps") {
			if rapid.IntRange(0, 19).Draw(rt, "restart") == 0 { // with nothing remembered
				stop()
				r, stop = start()
				g.r = r
			}
			g.step()
		}
		checkDerived(rt, r.Rows(), g.rooms)
		users := map[id.UserID]map[id.RoomID]roomstate.Membership{}
		for _, room := range g.rooms {
			v, ok := Open(r.Rows(), room)
			if !ok {
				rt.Fatalf("room %s is gone", room)
			}
			checkRoom(rt, &v)
			for m := range v.Members() {
				u := id.UserID(m.Key)
				if users[u] == nil {
					users[u] = map[id.RoomID]roomstate.Membership{}
				}
				users[u][room] = m.Membership
			}
		}
		for u, rooms := range users {
			n := 0
			for m := range Memberships(r.Rows(), 2, u) {
				if n++; m.State != rooms[m.Room] {
					rt.Fatalf("%s is %q in the room and %q in the list", u, rooms[m.Room], m.State)
				}
			}
			if n != len(rooms) {
				rt.Fatalf("%s: %d rooms in the list, %d with a member event", u, n, len(rooms))
			}
		}
		fresh, stopFresh := replicatest.Start(t, replicatest.Options{Store: store, Rules: sinceRules, Machines: []replica.Machine{Machine()}, Boot: 1, Site: "fresh", Sites: []string{"site"}})
		defer stopFresh()
		for p := range 2 {
			a, b := r.Status(journal.Partition(p)), fresh.Status(journal.Partition(p))
			if a.Applied == b.Applied && a.Digest != b.Digest {
				rt.Fatalf("partition %d: two states at position %d", p, a.Applied)
			}
			if a.Applied > b.Applied || b.Divergence != nil {
				rt.Fatalf("partition %d: %d after %d, %v", p, b.Applied, a.Applied, b.Divergence)
			}
		}
	})
}

type history struct {
	t      *rapid.T
	r      *replica.Replica
	rooms  []id.RoomID
	events []id.EventID
	n      int
}

func (g *history) user(label string) id.UserID {
	return user(rapid.IntRange(0, 5).Draw(g.t, label))
}

// submit accepts verdicts of every kind, but no bug.
func (g *history) submit(kind string, room id.RoomID, key replica.Key, body any) []byte {
	res, err := g.r.Submit(context.Background(), replica.Proposal{Kind: kind, Slot: id.SlotOf(room), Key: key, Body: replica.Marshal(body)})
	var e *errs.Error
	if err != nil && (!errors.As(err, &e) || e.Kind == errs.Internal || e.Kind == errs.Unavailable) {
		g.t.Fatalf("%s: %v", kind, err)
	}
	return res
}

// relation is a member of a content that relates to an event, or nothing.
func (g *history) relation() string {
	rel := rapid.SampledFrom([]string{"", "", relThread, relThread, relReplace, relReference, relAnnotation, "x"}).Draw(g.t, "relation")
	if rel == "" || len(g.events) == 0 {
		return ""
	}
	target := rapid.SampledFrom(g.events).Draw(g.t, "related")
	key := rapid.SampledFrom([]string{"a", "b"}).Draw(g.t, "key")
	return fmt.Sprintf(`,"m.new_content":{},"m.relates_to":{"rel_type":%q,"event_id":%q,"key":%q}`, rel, target, key)
}

// checkDerived checks that the derived rows are those that would be made anew.
func checkDerived(t *rapid.T, r kv.Reader, rooms []id.RoomID) {
	have, want := map[string]string{}, map[string]string{}
	for p := range journal.Partition(2) {
		all := replica.Derived(p, machineByte, 0)[:4]
		for k, row := range r.Scan(all, kv.End(all)) {
			have[string(k)] = string(row)
		}
		for _, room := range rooms {
			if slot := id.SlotOf(room); replica.PartitionOf(slot, 2) == p {
				derive(r, p, slot, func(k, row []byte) { want[string(k)] = string(row) })
			}
		}
	}
	for k, row := range want {
		if have[k] != row {
			t.Fatalf("derived row %q is %q, made anew %q", k, have[k], row)
		}
		delete(have, k)
	}
	for k, row := range have {
		t.Fatalf("derived row %q, %q, has no reason", k, row)
	}
}

func (g *history) createRoom() {
	v := rapid.SampledFrom(event.Versions()).Draw(g.t, "version")
	u := g.user("creator")
	g.n++
	content := event.Object("{}").With("room_version", event.AppendString(nil, v))
	if v.Features().CreatorInContent {
		content = content.With("creator", event.AppendString(nil, u))
	}
	d := event.Draft{Type: event.TypeCreate, StateKey: new(string), Sender: u, Depth: 1, OriginServerTS: int64(g.n), Content: content}
	if !v.Features().RoomIDIsHash {
		d.RoomID = id.RoomID(fmt.Sprintf("!r%d:h", g.n))
	}
	ev, err := event.Build(v, d)
	if err != nil {
		g.t.Fatal(err)
	}
	rule := rapid.SampledFrom([]string{"public", "invite", "knock"}).Draw(g.t, "rule")
	body := createBody{Version: v, Create: ev.Raw, State: []stateItem{
		{event.TypeMember, string(u), []byte(`{"membership":"join"}`)},
		{event.TypeJoinRules, "", []byte(`{"join_rule":"` + rule + `"}`)},
	}}
	if g.submit(kindCreate, ev.RoomID, replica.Key{}, body) == nil {
		g.t.Fatal("the room was refused")
	}
	if _, err := g.r.Submit(context.Background(), replica.Proposal{Kind: kindCreate, Slot: id.SlotOf(ev.RoomID), Body: replica.Marshal(body)}); !errs.Is(err, errs.Conflict) {
		g.t.Fatalf("the same room twice: %v", err)
	}
	g.rooms = append(g.rooms, ev.RoomID)
}

func (g *history) step() {
	room := rapid.SampledFrom(g.rooms).Draw(g.t, "room")
	u := g.user("user")
	g.n++
	switch rapid.IntRange(0, 10).Draw(g.t, "what") {
	case 10:
		delay := fmt.Sprint(rapid.IntRange(0, 9).Draw(g.t, "delay"))
		if action := rapid.SampledFrom([]string{"", "", delayCancel, delayRestart, delaySend}).Draw(g.t, "action"); action != "" {
			g.submit(kindDelayed, room, replica.Key{}, delayedBody{Room: room, ID: delay, Action: action})
			return
		}
		send := sendBody{Room: room, Sender: u, Type: event.TypeTopic, Content: []byte("{}")}
		g.submit(kindDelay, room, replica.Key{}, delayBody{ID: delay, Send: send, IsState: g.n%2 == 0, Delay: 1e6})
	case 0, 1, 2:
		b := sendBody{Room: room, Sender: u, Type: "m.room.message", Content: fmt.Appendf(nil, `{"body":"%d"%s}`, g.n, g.relation())}
		key := replica.NewKey(u, "D", string(room), fmt.Sprint(g.n))
		one := g.submit(kindSend, room, key, b)
		if one == nil {
			return
		}
		if two := g.submit(kindSend, room, key, b); !bytes.Equal(one, two) {
			g.t.Fatalf("a retry answers %s after %s", two, one)
		}
		e, _ := event.Object(one).String("event_id")
		g.events = append(g.events, id.EventID(e))
	case 3:
		if len(g.events) > 0 {
			target := rapid.SampledFrom(g.events).Draw(g.t, "target")
			g.submit(kindSend, room, replica.Key{}, sendBody{Room: room, Sender: u, Type: event.TypeRedaction, Redacts: target, Content: []byte("{}")})
		}
	case 4:
		level := rapid.IntRange(0, 100).Draw(g.t, "level")
		v, _ := Open(g.r.Rows(), room)
		levels := event.Object("{}")
		if s, ok := v.StateEvent(event.TypePowerLevels, ""); ok {
			levels = s.Content.Object("users")
		} else if !v.Version.Features().CreatorPower {
			levels = levels.With(string(v.must(v.Create.Place).Sender), []byte("100"))
		}
		levels = levels.With(string(g.user("levelled")), fmt.Append(nil, level))
		g.submit(kindState, room, replica.Key{}, sendBody{Room: room, Sender: u, Type: event.TypePowerLevels, Content: []byte(`{"users":` + string(levels) + `}`)})
	case 5:
		topic := rapid.SampledFrom([]string{"a", "b"}).Draw(g.t, "topic")
		g.submit(kindState, room, replica.Key{}, sendBody{Room: room, Sender: u, Type: event.TypeTopic, Content: []byte(`{"topic":"` + topic + `"}`)})
	case 6:
		g.submit(kindForget, room, replica.Key{}, forgetBody{Room: room, User: u})
	default:
		acts := map[Action]string{actJoin: "join", actLeave: "leave", actInvite: "invite", actKick: "leave", actBan: "ban", actUnban: "leave", actKnock: "knock"}
		a := rapid.SampledFrom([]Action{actJoin, actJoin, actJoin, actLeave, actInvite, actKick, actBan, actUnban, actKnock}).Draw(g.t, "action")
		target := u
		if a != actJoin && a != actLeave && a != actKnock {
			target = g.user("target")
		}
		g.submit(kindMember, room, replica.Key{}, memberBody{Room: room, Sender: u, Target: target, Action: a, Content: []byte(`{"membership":"` + acts[a] + `"}`)})
	}
}

// checkRoom checks what holds for every room.
func checkRoom(t *rapid.T, v *View) {
	var (
		prev      *Stored
		state     = map[roomstate.Key]Stored{}
		redacting = map[id.EventID]bool{}
		seen      = map[id.EventID]bool{}
		total     int64
	)
	for s := range v.Timeline(Place{}, replica.Forever) {
		checkEvent(t, v, s, prev, seen)
		if s.StateKey != nil {
			state[roomstate.Key{Type: s.Type, StateKey: *s.StateKey}] = s
		}
		if s.Redacted != (Place{}) {
			because, ok := v.At(s.Redacted)
			if !ok || because.Redacts != s.ID && because.Redacted == (Place{}) || !s.Place.Before(because.Place) {
				t.Fatalf("%s was redacted by %+v", s.ID, because)
			}
			redacting[because.ID] = true
		}
		seen[s.ID] = true
		prev = &s
		total++
	}
	if prev == nil || v.LastEvent != prev.Place || v.Depth != prev.Depth || v.Depth != total || !slices.Equal(v.Extremities, []id.EventID{prev.ID}) {
		t.Fatalf("the head %+v does not fit the last event %+v", v.Head, prev)
	}
	var joined, invited, rows int64
	for row := range v.State() {
		s := state[roomstate.Key{Type: row.Type, StateKey: row.Key}]
		if s.Event == nil || row.Ref != (Ref{s.Place, s.ID}) {
			t.Fatalf("%+v is not what the timeline says: %+v", row, s)
		}
		if row.Type == event.TypeMember && row.Membership != roomstate.MembershipOf(s.Event) {
			t.Fatalf("%+v does not fit %s", row, s.Content)
		}
		switch row.Membership {
		case roomstate.Join:
			joined++
		case roomstate.Invite:
			invited++
		}
		rows++
	}
	if int(rows) != len(state) || v.Joined != joined || v.Invited != invited {
		t.Fatalf("%d rows of state, %d joined, %d invited; head %+v", rows, joined, invited, v.Head)
	}
	checkPast(t, v)
}

// checkEvent checks one event: it follows on the one before, and its id is its hash.
func checkEvent(t *rapid.T, v *View, s Stored, prev *Stored, seen map[id.EventID]bool) {
	if p, ok := v.PlaceOf(s.ID); !ok || p != s.Place {
		t.Fatalf("the index has %s at %v, not %v", s.ID, p, s.Place)
	}
	again, err := event.Parse(v.Version, s.Raw)
	if err != nil || again.ID != s.ID {
		t.Fatalf("%s is stored as %s", again.ID, s.ID)
	}
	if s.Event.Redacted() && s.Redacted == (Place{}) {
		t.Fatalf("%s has lost content, and nothing says why", s.ID)
	}
	if prev == nil {
		if len(s.PrevEvents) != 0 || s.Type != event.TypeCreate {
			t.Fatalf("the room begins with %+v", s)
		}
		return
	}
	if s.Depth != prev.Depth+1 || !slices.Equal(s.PrevEvents, []id.EventID{prev.ID}) {
		t.Fatalf("%+v does not follow on %+v", s, prev)
	}
	for _, a := range s.AuthEvents {
		if !seen[a] {
			t.Fatalf("%s is authorised by %s, which is not before it", s.ID, a)
		}
	}
}

// checkPast checks the state as of each event against a replay of the timeline, and that pages of any size have every event once.
func checkPast(t *rapid.T, v *View) {
	state := map[roomstate.Key]id.EventID{}
	var all []id.EventID
	for s := range v.Timeline(Place{}, replica.Forever) {
		all = append(all, s.ID)
		if s.StateKey == nil {
			continue
		}
		state[roomstate.Key{Type: s.Type, StateKey: *s.StateKey}] = s.ID
		n := 0
		for row := range v.StateAt(s.Place) {
			if n++; state[roomstate.Key{Type: row.Type, StateKey: row.Key}] != row.Ref.ID {
				t.Fatalf("the state at %s has %+v", s.ID, row)
			}
		}
		if n != len(state) {
			t.Fatalf("the state at %s has %d rows, not %d", s.ID, n, len(state))
		}
		for row := range v.StateWithout(event.TypeMember, s.Place) {
			if n--; row.Type == event.TypeMember || state[roomstate.Key{Type: row.Type, StateKey: row.Key}] != row.Ref.ID {
				t.Fatalf("the state without members at %s has %+v", s.ID, row)
			}
		}
		for k := range state {
			if k.Type == event.TypeMember {
				n--
			}
		}
		if n != 0 {
			t.Fatalf("the state at %s without members lacks %d rows", s.ID, n)
		}
		if row, ok := v.StateRowAt(s.Place, s.Type, *s.StateKey); !ok || row.Ref.ID != s.ID {
			t.Fatalf("%s is not its own state: %+v", s.ID, row)
		}
	}
	limit := rapid.IntRange(1, 7).Draw(t, "page")
	everything := Sight{[]span{{Place{}, replica.Forever}}}
	for _, back := range []bool{false, true} {
		q := PageQuery{To: replica.Forever, Back: back, Limit: limit, Sight: everything}
		if back {
			q.From, q.To = v.LastEvent, Place{}
		}
		var got []id.EventID
		for {
			p := v.Page(q)
			for _, s := range p.Events {
				got = append(got, s.ID)
			}
			if !p.More {
				break
			}
			q.From = p.End
		}
		if back {
			slices.Reverse(got)
		}
		if !slices.Equal(got, all) {
			t.Fatalf("pages of %d (back: %v): %v, not %v", limit, back, got, all)
		}
	}
}
