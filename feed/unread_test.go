package feed

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bongsu/account"
	"bongsu/errs"
	"bongsu/id"
	"bongsu/pushrule"
	"bongsu/room"
)

// TestUnreadAgree: what is counted step by step is what is counted from nothing.
func TestUnreadAgree(t *testing.T) {
	st := newSite(t)
	_, err := st.accounts.AddUser(t.Context(), "bob", "a password", false)
	st.must(err)
	r := st.create("amy", room.Creation{Preset: "public_chat"})
	st.join("bob", r)
	since := st.token("bob")
	check := func(step string, want int) {
		t.Helper()
		res := st.sync(t.Context(), Request{User: user("bob"), Since: since, FullState: true})
		since = res.NextBatch
		cold := st.newFeed(2)
		defer cold.Close()
		out, err := cold.Sync(t.Context(), Request{User: user("bob")})
		st.must(err)
		a, b := res.Rooms.Join[r].Unread.Notify, st.parse(out).Rooms.Join[r].Unread.Notify
		if a != want || b != want {
			t.Errorf("%s: %d step by step, %d at once, want %d", step, a, b, want)
		}
	}
	check("nothing", 0)
	first := st.say("amy", r, "one")
	st.say("amy", r, "two")
	check("two", 2)
	st.must(st.rooms.Receipt(t.Context(), user("bob"), r, room.Read, "main", first))
	check("one read in the main thread", 1)
	root := st.say("amy", r, "root")
	st.must(st.rooms.Receipt(t.Context(), user("bob"), r, room.Read, string(root), st.related("amy", r, "m.thread", root)))
	check("read in a thread", 2)
	st.say("bob", r, "answer")
	check("after an answer", 0)
	gone := st.say("amy", r, "oops")
	check("before it is redacted", 1)
	_, err = st.rooms.Redact(t.Context(), by("amy"), r, gone, "gone", "")
	st.must(err)
	check("redacted", 0)
	st.say("amy", r, "three")
	st.must(st.accounts.EditPushRules(t.Context(), user("bob"), func(json.RawMessage) (json.RawMessage, error) {
		rs := pushrule.Defaults(user("bob"))
		if err := rs.Put(pushrule.Room, string(r), pushrule.Draft{Actions: []json.RawMessage{}}, "", ""); err != nil {
			return nil, err
		}
		return json.Marshal(map[string]any{"global": rs})
	}))
	check("muted", 0)
	st.must(st.accounts.EditPushRules(t.Context(), user("bob"), func(json.RawMessage) (json.RawMessage, error) {
		return json.Marshal(map[string]any{"global": pushrule.Defaults(user("bob"))})
	}))
	check("no longer muted", 1)
	for i := range maxUnread + 20 {
		st.say("amy", r, fmt.Sprint(i))
	}
	check("very many", maxUnread)
}

// TestUnreadByThread: receipts count in their thread alone, those without one everywhere; what is counted step by step, by a client that
// knows threads or one that does not, is what is counted from nothing.
func TestUnreadByThread(t *testing.T) {
	st := newSite(t)
	_, err := st.accounts.AddUser(t.Context(), "bob", "a password", false)
	st.must(err)
	r := st.create("amy", room.Creation{Preset: "public_chat"})
	st.join("bob", r)
	since, plain := st.token("bob"), st.token("bob")
	names := map[string]string{}
	const byThread = `{"room":{"timeline":{"unread_thread_notifications":true}}}`
	counts := func(j *roomJSON) string {
		out := []string{fmt.Sprintf("main=%d/%d", j.Unread.Notify, j.Unread.Highlight)}
		for root, n := range j.Threads {
			out = append(out, fmt.Sprintf("%s=%d/%d", names[string(root)], n.Notify, n.Highlight))
		}
		slices.Sort(out[1:])
		return strings.Join(out, " ")
	}
	check := func(step, want string, sum int) {
		t.Helper()
		res := st.sync(t.Context(), Request{User: user("bob"), Since: since, FullState: true, Filter: byThread})
		since = res.NextBatch
		cold := st.newFeed(2)
		defer cold.Close()
		out, err := cold.Sync(t.Context(), Request{User: user("bob"), Filter: byThread})
		st.must(err)
		if a, b := counts(res.Rooms.Join[r]), counts(st.parse(out).Rooms.Join[r]); a != want || b != want {
			t.Errorf("%s: %s step by step, %s at once, want %s", step, a, b, want)
		}
		res = st.sync(t.Context(), Request{User: user("bob"), Since: plain, FullState: true})
		plain = res.NextBatch
		if j := res.Rooms.Join[r]; j.Unread.Notify != sum || j.Threads != nil {
			t.Errorf("%s: %d for a client that knows no threads (%v), want %d", step, j.Unread.Notify, j.Threads, sum)
		}
	}
	read := func(typ, thread string, e id.EventID) {
		t.Helper()
		st.must(st.rooms.Receipt(t.Context(), user("bob"), r, typ, thread, e))
	}
	a := st.say("amy", r, "a")
	b := st.say("amy", r, "b")
	names[string(a)], names[string(b)] = "A", "B"
	c := st.related("amy", r, "m.thread", a)
	st.related("amy", r, "m.thread", b)
	check("two roots, two answers", "main=2/0 A=1/0 B=1/0", 4)
	e := st.related("amy", r, "m.thread", a)
	st.related("amy", r, "m.reference", e)
	st.related("amy", r, "m.reference", a)
	check("what is related to a thread is in it, what is related to its root is not", "main=3/0 A=3/0 B=1/0", 7)
	read(room.Read, string(a), c)
	check("one thread in part", "main=3/0 A=2/0 B=1/0", 6)
	read(room.ReadPrivate, string(a), e)
	check("the same thread, privately", "main=3/0 A=1/0 B=1/0", 5)
	read(room.Read, room.MainThread, b)
	check("the main thread", "main=1/0 A=1/0 B=1/0", 3)
	st.related("bob", r, "m.thread", b)
	check("an answer of one's own", "main=1/0 A=1/0", 2)
	st.say("bob", r, "mine")
	check("and in the main thread", "main=0/0 A=1/0", 1)
	_, err = st.rooms.Send(t.Context(), by("amy"), r, "m.room.message", "mention", []byte(`{"msgtype":"m.text","body":"bob","m.mentions":`+
		`{"user_ids":["@bob:h"]},"m.relates_to":{"rel_type":"m.thread","event_id":"`+string(b)+`"}}`))
	st.must(err)
	check("a mention in a thread", "main=0/0 A=1/0 B=1/1", 2)
	read(room.Read, "", st.say("amy", r, "last"))
	check("everything", "main=0/0", 0)
	st.related("amy", r, "m.thread", a)
	check("and on", "main=0/0 A=1/0", 1)
	for thread, e := range map[string]id.EventID{room.MainThread: c, string(b): c, "$nonsense": a} {
		if err := st.rooms.Receipt(t.Context(), user("bob"), r, room.Read, thread, e); !errs.Is(err, errs.Invalid) {
			t.Errorf("a receipt in %s for an event elsewhere: %v", thread, err)
		}
	}
}

// TestReceiptsOfThreads: one event read in two threads is said twice.
func TestReceiptsOfThreads(t *testing.T) {
	st := newSite(t)
	r := st.create("amy", room.Creation{Preset: "public_chat"})
	root := st.say("amy", r, "root")
	for _, thread := range []string{"", "main", string(root)} {
		st.must(st.rooms.Receipt(t.Context(), user("amy"), r, room.Read, thread, root))
	}
	res := st.sync(t.Context(), Request{User: user("amy")})
	threads := map[any]bool{}
	for _, e := range res.Rooms.Join[r].Ephemeral.Events {
		receipt, ok := e.Content[string(root)].(map[string]any)[room.Read].(map[string]any)[string(user("amy"))].(map[string]any)
		if !ok {
			t.Fatalf("%+v", e)
		}
		threads[receipt["thread_id"]] = true
	}
	if len(threads) != 3 {
		t.Errorf("%v", threads)
	}
}

// TestLogout sends the request of a device home that is gone, and no other.
func TestLogout(t *testing.T) {
	st := newSite(t)
	ctx := t.Context()
	_, err := st.accounts.AddUser(ctx, "amy", "a password", false)
	st.must(err)
	proof, err := st.accounts.CheckPassword(ctx, "amy", "a password")
	st.must(err)
	login, err := st.accounts.Login(ctx, proof, account.NewSession{Device: "PHONE"})
	st.must(err)
	since := st.token("amy")
	phone := st.parked(ctx, Request{User: user("amy"), Device: "PHONE", Since: since, Timeout: time.Minute})
	other := st.parked(ctx, Request{User: user("amy"), Device: "OTHER", Since: since, Timeout: time.Minute})
	st.must(st.accounts.Logout(ctx, account.Session{User: user("amy"), Device: "PHONE"}, login.Token))
	waitFor(t, phone)
	st.until("one is left", func() bool { return st.Waiting() == 1 })
	st.must(st.accounts.SetData(ctx, user("amy"), "", "a", json.RawMessage(`{}`)))
	waitFor(t, other)
}

func TestPace(t *testing.T) {
	var p pace
	at := time.Unix(0, 0)
	answer := func(n int) {
		for range n {
			p.note(at)
		}
		at = at.Add(paceWindow)
	}
	for _, c := range []struct {
		answers int // in a tenth of a second
		want    time.Duration
	}{{0, 0}, {50, 0}, {100, 0}, {200, 10 * time.Millisecond}, {300, 20 * time.Millisecond}, {5000, maxGap}, {10, 0}} {
		answer(c.answers)
		if got := p.gap(at); got != c.want {
			t.Errorf("after %d answers: %v, want %v", c.answers, got, c.want)
		}
	}
	answer(1000)
	at = at.Add(time.Minute)
	if got := p.gap(at); got != 0 {
		t.Errorf("after a pause: %v", got)
	}
}

// TestForgets: who no longer syncs is forgotten, with the rooms that nobody else is watching.
func TestForgets(t *testing.T) {
	st := newSite(t)
	r := st.create("amy", room.Creation{Preset: "public_chat"})
	st.join("bob", r)
	st.token("amy")
	st.token("bob")
	h := st.hub
	forget := func(name string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.viewers[user(name)].used = time.Now().Add(-2 * forgetAfter)
		h.sweep(time.Now())
	}
	watchers := func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		if w := h.rooms[r]; w != nil {
			return len(w.viewers)
		}
		return 0
	}
	for i, name := range []string{"amy", "bob"} {
		if n := watchers(); n != 2-i {
			t.Errorf("%d watch", n)
		}
		forget(name)
	}
	if len(h.viewers)+len(h.rooms) != 0 {
		t.Errorf("%d viewers, %d rooms", len(h.viewers), len(h.rooms))
	}
	since := st.token("amy")
	st.say("bob", r, "hello")
	res := st.sync(t.Context(), Request{User: user("amy"), Device: id.DeviceID("amy"), Since: since})
	if len(res.Rooms.Join[r].Timeline.Events) != 1 {
		t.Errorf("%+v", res)
	}
}

// TestRelationsInSync: an event of a limited timeline brings along what relates to it, as the one who asks may know of it.
func TestRelationsInSync(t *testing.T) {
	st := newSite(t)
	_, err := st.accounts.AddUser(t.Context(), "bob", "a password", false)
	st.must(err)
	r := st.create("amy", room.Creation{Preset: "public_chat"})
	st.join("bob", r)
	st.say("amy", r, "before")
	root := st.say("amy", r, "root")
	for range 2 {
		st.related("amy", r, "m.thread", root)
	}
	replies := func() any {
		t.Helper()
		for _, e := range st.sync(t.Context(), Request{User: user("bob"), Filter: `{"room":{"timeline":{"limit":3,"types":["m.room.message"]}}}`}).Rooms.Join[r].Timeline.Events {
			if e.Unsigned.Membership != "join" && e.Type == "m.room.message" {
				t.Errorf("%+v", e)
			}
			if e.ID == root {
				return e.Unsigned.Relations["m.thread"]["count"]
			}
		}
		return nil
	}
	if got := replies(); got != 2.0 {
		t.Errorf("%v replies", got)
	}
	st.must(st.accounts.SetData(t.Context(), user("bob"), "", "m.ignored_user_list", json.RawMessage(`{"ignored_users":{"@cat:h":{}}}`)))
	st.join("cat", r)
	st.related("cat", r, "m.thread", root)
	if got := replies(); got != 2.0 {
		t.Errorf("%v replies, with one that is ignored", got)
	}
}
