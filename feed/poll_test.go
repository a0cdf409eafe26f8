package feed

import (
	"context"
	"encoding/json"
	"runtime"
	"sync"
	"testing"
	"time"

	"bongsu/account"
	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/keys"
	"bongsu/replica"
	"bongsu/room"
)

// parked starts a request and returns when it waits; done gives its answer.
func (st *site) parked(ctx context.Context, rq Request) (done chan *response) {
	st.t.Helper()
	before := st.Waiting()
	done = make(chan *response, 1)
	go func() {
		out, err := st.Sync(ctx, rq)
		if err != nil {
			st.t.Error(err)
		}
		done <- st.parse(out)
	}()
	st.until("the request waits", func() bool { return st.Waiting() > before || len(done) > 0 })
	return done
}

func (st *site) until(what string, ok func() bool) {
	st.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			st.t.Fatalf("not so in 10 s: %s", what)
		}
		runtime.Gosched()
	}
}

func (st *site) token(name string) string {
	st.t.Helper()
	return st.sync(st.t.Context(), Request{User: user(name), Device: id.DeviceID(name)}).NextBatch
}

func waitFor[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("no answer in 10 s")
		panic("not reached")
	}
}

// TestWakes checks what wakes whom, and that nothing else does.
func TestWakes(t *testing.T) {
	st := newSite(t)
	for _, u := range []string{"amy", "bob", "cat"} {
		_, err := st.accounts.AddUser(t.Context(), u, "a password", false)
		st.must(err)
	}
	shared := st.create("amy", room.Creation{Preset: "public_chat"})
	private := st.create("amy", room.Creation{Preset: "private_chat"})
	st.join("bob", shared)
	e := st.say("amy", shared, "hello")
	ctx := t.Context()

	for _, c := range []struct {
		name string
		do   func()
		seen func(*response) bool
	}{
		{"message", func() { st.say("amy", shared, "hi") }, func(r *response) bool { return len(r.Rooms.Join[shared].Timeline.Events) == 1 }},
		{"receipt", func() { st.must(st.rooms.Receipt(ctx, user("amy"), shared, room.Read, "", e)) },
			func(r *response) bool { return len(r.Rooms.Join[shared].Ephemeral.Events) == 1 }},
		{"typing", func() { st.typing.Start(shared, user("amy"), time.Minute) },
			func(r *response) bool { return len(r.Rooms.Join[shared].Ephemeral.Events) == 1 }},
		{"account data", func() { st.must(st.accounts.SetData(ctx, user("bob"), "", "a", []byte(`{}`))) },
			func(r *response) bool { return len(r.AccountData.Events) == 1 }},
		{"room account data", func() { st.must(st.accounts.SetData(ctx, user("bob"), shared, "a", []byte(`{}`))) },
			func(r *response) bool { return len(r.Rooms.Join[shared].AccountData.Events) == 1 }},
		{"invite", func() { st.must(st.rooms.Invite(ctx, by("amy"), private, user("bob"), "")) },
			func(r *response) bool { return r.Rooms.Invite[private] != nil }},
		{"join", func() { st.join("bob", private) }, func(r *response) bool { return r.Rooms.Join[private] != nil }},
		{"kick", func() { st.must(st.rooms.Kick(ctx, by("amy"), private, user("bob"), "")) },
			func(r *response) bool { return r.Rooms.Leave[private] != nil }},
		{"one-time keys", func() {
			_, err := st.keys.Upload(ctx, user("bob"), "bob", keys.Upload{OneTimeKeys: map[string]json.RawMessage{"x:1": json.RawMessage(`"k"`)}})
			st.must(err)
		}, func(r *response) bool { return r.Counts["x"] == 1 }},
		{"devices of a neighbour", func() {
			_, err := st.keys.Upload(ctx, user("amy"), "amy", keys.Upload{DeviceKeys: json.RawMessage(
				`{"user_id":"@amy:h","device_id":"amy","algorithms":[],"keys":{"ed25519:amy":"x"},"signatures":{}}`)})
			st.must(err)
		}, func(r *response) bool { return len(r.DeviceLists.Changed) == 1 && r.DeviceLists.Changed[0] == "@amy:h" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := st.token("bob")
			done := st.parked(ctx, Request{User: user("bob"), Device: "bob", Since: token, Timeout: time.Minute})
			// What concerns others alone does not end the waiting.
			st.must(st.accounts.SetData(ctx, user("cat"), "", "a", []byte(`{"n":"`+c.name+`"}`)))
			st.say("amy", private, "to myself")
			if len(done) > 0 && c.name != "kick" {
				t.Fatalf("woken by nothing: %+v", <-done)
			}
			c.do()
			if res := waitFor(t, done); c.name != "kick" && !c.seen(res) {
				t.Errorf("%+v", res)
			}
			if n := st.Waiting(); n != 0 {
				t.Errorf("%d still wait", n)
			}
		})
	}
}

// TestPrivateReceipts wake their user alone.
func TestPrivateReceipts(t *testing.T) {
	st := newSite(t)
	r := st.create("amy", room.Creation{Preset: "public_chat"})
	st.join("bob", r)
	e := st.say("amy", r, "hello")
	amys := st.parked(t.Context(), Request{User: user("amy"), Since: st.token("amy"), Timeout: time.Minute})
	bobs := st.parked(t.Context(), Request{User: user("bob"), Since: st.token("bob"), Timeout: time.Minute})
	st.must(st.rooms.Receipt(t.Context(), user("bob"), r, room.ReadPrivate, "", e))
	if res := waitFor(t, bobs); len(res.Rooms.Join[r].Ephemeral.Events) != 1 {
		t.Errorf("%+v", res)
	}
	if len(amys) != 0 {
		t.Errorf("amy learnt of it: %+v", <-amys)
	}
	st.say("bob", r, "bye")
	if res := waitFor(t, amys); len(res.Rooms.Join[r].Ephemeral.Events) != 0 || len(res.Rooms.Join[r].Timeline.Events) != 1 {
		t.Errorf("%+v", res)
	}
}

// TestEndsOfWaiting: the time is over, the process drains, the client hangs up, the feed closes.
func TestEndsOfWaiting(t *testing.T) {
	st := newSite(t)
	st.create("amy", room.Creation{Preset: "public_chat"})
	token := st.token("amy")
	rq := Request{User: user("amy"), Since: token, Timeout: 30 * time.Millisecond}
	if res := waitFor(t, st.parked(t.Context(), rq)); len(res.Rooms.Join) != 0 {
		t.Errorf("%+v", res)
	}
	rq.Timeout = time.Hour
	drain := make(chan struct{})
	rq.Draining = drain
	done := st.parked(t.Context(), rq)
	close(drain)
	waitFor(t, done)
	rq.Draining = nil
	ctx, cancel := context.WithCancel(t.Context())
	done = st.parked(ctx, rq)
	cancel()
	waitFor(t, done)
	done = st.parked(t.Context(), rq)
	st.Close()
	waitFor(t, done)
}

// TestAhead: a token of another site that is further waits, and is then refused for now; one of another epoch begins anew.
func TestAhead(t *testing.T) {
	st := newSite(t)
	r := st.create("amy", room.Creation{Preset: "public_chat"})
	token, err := ParseToken(st.token("amy"))
	st.must(err)
	p := replica.PartitionOf(id.SlotOf(r), st.r.Partitions())
	ahead := token
	ahead.Positions = append([]journal.Position{}, token.Positions...)
	ahead.Positions[p] += 2

	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := st.Sync(t.Context(), Request{User: user("amy"), Since: ahead.String()})
		if err != nil {
			t.Errorf("the site has caught up: %v", err)
		}
	})
	st.say("amy", r, "one")
	st.say("amy", r, "two")
	wg.Wait()

	ahead.Positions[p] = 1 << 60
	_, err = st.Sync(t.Context(), Request{User: user("amy"), Since: ahead.String()})
	if !errs.Is(err, errs.Unavailable) {
		t.Errorf("%v", err)
	}
	token.Epoch = 7
	res := st.sync(t.Context(), Request{User: user("amy"), Since: token.String()})
	if j := res.Rooms.Join[r]; j == nil || len(j.Timeline.Events)+len(j.State.Events) < 8 {
		t.Errorf("a token of another epoch: %+v", res)
	}
	for _, bad := range []string{"x", "s", "s!!", token.String() + "A"} {
		if _, err := st.Sync(t.Context(), Request{User: user("amy"), Since: bad}); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, bad := range []string{"{", "nothing", `{"room":1}`, `{"room":{"timeline":{"limit":-1}}}`} {
		if _, err := st.Sync(t.Context(), Request{User: user("amy"), Filter: bad}); !errs.Is(err, errs.Invalid) {
			t.Errorf("filter %q: %v", bad, err)
		}
	}
}

// TestRestart: a feed that remembers nothing goes on where another stopped; typing is told anew.
func TestRestart(t *testing.T) {
	st := newSite(t)
	r := st.create("amy", room.Creation{Preset: "public_chat"})
	st.join("bob", r)
	token := st.token("bob")
	st.say("amy", r, "one")
	st.typing.Start(r, user("amy"), time.Minute)
	mid := st.sync(t.Context(), Request{User: user("bob"), Since: token}).NextBatch
	st.say("amy", r, "two")
	other := st.newFeed(2)
	defer other.Close()
	out, err := other.Sync(t.Context(), Request{User: user("bob"), Since: mid})
	st.must(err)
	res := st.parse(out)
	j := res.Rooms.Join[r]
	if j == nil || len(j.Timeline.Events) != 1 || len(j.Ephemeral.Events) != 1 || j.Unread.Notify != 2 {
		t.Errorf("%s", out)
	}
}

// TestToDevice: messages come in order, in bounded numbers, again for an old token, and are deleted once the token says so.
func TestToDevice(t *testing.T) {
	st := newSite(t)
	ctx := t.Context()
	for _, u := range []string{"amy", "bob"} {
		_, err := st.accounts.AddUser(ctx, u, "a password", false)
		st.must(err)
	}
	proof, err := st.accounts.CheckPassword(ctx, "bob", "a password")
	st.must(err)
	_, err = st.accounts.Login(ctx, proof, account.NewSession{Device: "PHONE"})
	st.must(err)
	rq := Request{User: user("bob"), Device: "PHONE"}
	rq.Since = st.sync(ctx, rq).NextBatch
	done := st.parked(ctx, Request{User: rq.User, Device: rq.Device, Since: rq.Since, Timeout: time.Minute})
	const sent = maxInbox + 30
	for i := range sent {
		st.must(st.keys.Send(ctx, user("amy"), "amy", "t", string(event.AppendString(nil, string(rune('a'+i)))), keys.Outgoing{
			user("bob"): {"PHONE": json.RawMessage(`{"n":` + string(event.AppendString(nil, string(rune('a'+i)))) + `}`)}}))
	}
	if res := waitFor(t, done); len(res.ToDevice.Events) == 0 {
		t.Errorf("%+v", res)
	}
	st.until("all have arrived", func() bool {
		in := keys.Pending(st.r.Rows(), user("bob"), "PHONE", replica.Place{}, 1000)
		return len(in.Events) == sent
	})
	var got []string
	for range 3 {
		res := st.sync(ctx, rq)
		again := st.sync(ctx, rq)
		if len(again.ToDevice.Events) != len(res.ToDevice.Events) {
			t.Errorf("%d, and the second time %d", len(res.ToDevice.Events), len(again.ToDevice.Events))
		}
		for _, e := range res.ToDevice.Events {
			got = append(got, e.Content["n"].(string))
		}
		rq.Since = res.NextBatch
	}
	if len(got) != sent {
		t.Fatalf("%d of %d", len(got), sent)
	}
	for i, s := range got {
		if s != string(rune('a'+i)) {
			t.Errorf("number %d is %q", i, s)
		}
	}
	st.until("what was acknowledged is deleted", func() bool {
		st.sync(ctx, rq)
		return len(keys.Pending(st.r.Rows(), user("bob"), "PHONE", replica.Place{}, 1000).Events) == 0
	})
}

// TestBetweenCommitAndNotes: a view can show what the notes have not told yet. The answer waits for them, or its token would
// say that the client has what it was not sent.
func TestBetweenCommitAndNotes(t *testing.T) {
	st := newSite(t)
	r := st.create("amy", room.Creation{Preset: "public_chat"})
	rq := Request{User: user("amy"), Since: st.token("amy")}
	rq.Since = st.sync(t.Context(), rq).NextBatch
	before := len(st.history(r))
	said, answer := make(chan struct{}), make(chan *response, 1)

	st.sink.hold.Lock()
	go func() {
		st.say("amy", r, "hello")
		close(said)
	}()
	st.until("the rows have it", func() bool { return len(st.history(r)) > before })
	go func() { answer <- st.sync(t.Context(), rq) }()
	select {
	case res := <-answer:
		st.sink.hold.Unlock()
		t.Fatalf("answered before the notes came: %+v", res)
	case <-time.After(20 * time.Millisecond):
	}
	st.sink.hold.Unlock()
	if res := waitFor(t, answer); len(res.Rooms.Join[r].Timeline.Events) != 1 {
		t.Errorf("%+v", res)
	}
	<-said
}
