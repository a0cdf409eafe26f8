package room

import (
	"context"
	"testing"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// upgrading is one site's rows and journal under builds that follow one another.
type upgrading struct {
	t     *testing.T
	store *mem.Store
	db    *kv.DB
	boot  uint64
}

func newUpgrading(t *testing.T) *upgrading {
	db, err := kv.Open(kv.Config{})
	ok(t, err)
	t.Cleanup(func() { fine(t, db.Close()) })
	return &upgrading{t: t, store: mem.NewStore(1), db: db}
}

// run runs a build that knows some rules and has a machine.
func (u *upgrading) run(rules uint16, m replica.Machine, do func(st *site)) {
	u.t.Helper()
	u.boot++
	r, stop := replicatest.Start(u.t, replicatest.Options{Store: u.store, DB: u.db, Boot: u.boot, Rules: rules, Machines: []replica.Machine{m}})
	defer stop()
	st := &site{r: r, names: map[id.UserID]string{}}
	st.Service = New(Config{Replica: r, Server: "h", Profile: st.profile})
	defer st.Close()
	do(st)
}

func (st *site) react(t testing.TB, by By, room id.RoomID, target id.EventID, txn string) (id.EventID, error) {
	t.Helper()
	content := event.Object(`{}`).With("rel_type", []byte(`"m.annotation"`)).With("event_id", event.AppendString(nil, target)).With("key", []byte(`"+"`))
	return st.Send(t.Context(), by, room, "m.reaction", txn, event.Object(`{}`).With("m.relates_to", content))
}

// Reactions of the time before they were remembered count as well, once the rules say that there is one only; before, there may be many.
func TestReactionsOfOldRules(t *testing.T) {
	u := newUpgrading(t)
	var room id.RoomID
	var one, reaction id.EventID
	u.run(2, Machine(), func(st *site) {
		room = st.create(t, amy, Creation{})
		one = st.say(t, amy, room, "1", "one")
		var err error
		reaction, err = st.react(t, amy, room, one, "r1")
		ok(t, err)
		_, err = st.react(t, amy, room, one, "r2")
		ok(t, err) // so were the rules
	})
	u.run(3, Machine(), func(st *site) {
		again, err := st.react(t, amy, room, one, "r1")
		if ok(t, err); again != reaction {
			t.Error("a retry from before made another reaction")
		}
		_, err = st.react(t, amy, room, one, "r3")
		refused(t, err, errs.Invalid, errs.DuplicateAnnotation)
		v := st.open(t, room)
		for _, s := range v.all() {
			if s.Type == "m.reaction" {
				_, err := st.Redact(t.Context(), amy, room, s.ID, "x"+string(s.ID), "")
				ok(t, err)
			}
		}
		_, err = st.react(t, amy, room, one, "r4")
		ok(t, err)
		_, err = st.react(t, amy, room, one, "r5")
		refused(t, err, errs.Invalid, errs.DuplicateAnnotation)
	})
}

// The fact that a submitter brings along is looked at: another's reaction, another key or no reaction at all refuses nothing.
func TestFalseDuplicates(t *testing.T) {
	st := newSite(t, replicatest.Options{Rules: 3})
	room := st.create(t, amy, Creation{Preset: presetPublic})
	ok(t, st.Join(t.Context(), bob, room, ""))
	one := st.say(t, amy, room, "1", "one")
	his, err := st.react(t, bob, room, one, "1")
	ok(t, err)
	content := `{"m.relates_to":{"event_id":"` + string(one) + `","key":"+","rel_type":"m.annotation"}}`
	for _, claimed := range []id.EventID{his, one, "$none"} {
		body := sendBody{Room: room, Sender: amy.User, Type: "m.reaction", Content: []byte(content), Annotated: claimed}
		res, err := st.submit(t.Context(), kindSend, room, amy.User, replica.Key{}, &body)
		ok(t, err)
		made, _ := res.String("event_id")
		_, err = st.Redact(t.Context(), amy, room, id.EventID(made), "r"+string(claimed), "")
		ok(t, err)
	}
}

// What was written by a build that knew of no relations is in the index of the next one.
func TestOldRelationsAreIndexed(t *testing.T) {
	u := newUpgrading(t)
	old := Machine()
	old.Derive = nil
	var room id.RoomID
	var root id.EventID
	u.run(2, old, func(st *site) {
		room = st.create(t, amy, Creation{})
		root = st.say(t, amy, room, "1", "root")
		_, err := st.Send(context.Background(), amy, room, "m.room.message", "2", []byte(`{"body":"reply","m.relates_to":{"rel_type":"m.thread","event_id":"`+string(root)+`"}}`))
		ok(t, err)
	})
	b := u.db.Batch()
	for _, table := range []byte{tableChildren, tableFamily, tableThreads, tableReplies} {
		prefix := replica.Derived(0, machineByte, table)
		b.DeleteRange(prefix, kv.End(prefix))
	}
	ok(t, b.Commit())
	u.run(3, Machine(), func(st *site) {
		v := st.open(t, room)
		sight := v.Sight(amy.User)
		p := v.Threads(ThreadQuery{From: v.LastEvent, Limit: 9, Sight: sight})
		if texts(p.Events) != "root" {
			t.Errorf("threads: %q", texts(p.Events))
		}
		q := RelationQuery{Target: root, PageQuery: PageQuery{From: v.LastEvent, Back: true, Limit: 9, Sight: sight}}
		if p, _ := v.Relations(q); texts(p.Events) != "reply" {
			t.Errorf("relations: %q", texts(p.Events))
		}
	})
}
