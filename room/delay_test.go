package room

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/clock"
	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// later is a site whose clock stands, and moves when a test says so.
type later struct {
	*site
	t    *testing.T
	room id.RoomID
	now  *atomic.Int64
	n    int
}

func newLater(t *testing.T, o replicatest.Options) *later {
	now := new(atomic.Int64)
	now.Store(1_700_000_000_000)
	o.Rules, o.Clock = 3, clock.Func(func() time.Time { return time.UnixMilli(now.Load()) })
	l := &later{site: newSite(t, o), t: t, now: now}
	l.room = l.create(t, amy, Creation{Preset: presetPublic})
	ok(t, l.Join(t.Context(), bob, l.room, ""))
	return l
}

// pass lets live time pass: with each record it moves by a second.
func (l *later) pass(seconds int) {
	l.t.Helper()
	for range seconds {
		l.now.Add(1000)
		l.n++
		l.say(l.t, amy, l.room, fmt.Sprint("tick", l.n), "tick")
	}
}

// delay delays a message for four seconds.
func (l *later) delay(by By, txn string) string {
	l.t.Helper()
	return l.put(by, Later{Type: "m.room.message", Txn: txn, Content: []byte(`{"body":"` + txn + `"}`)})
}

func (l *later) put(by By, later Later) string {
	l.t.Helper()
	later.Delay = 4 * time.Second
	d, err := l.Delay(l.t.Context(), by, l.room, later)
	ok(l.t, err)
	return d
}

// sent counts the events of a text.
func (l *later) sent(text string) (n int) {
	v := l.open(l.t, l.room)
	for _, s := range v.all() {
		if b, _ := s.Content.String("body"); b == text {
			n++
		}
	}
	return n
}

func (l *later) check(when, text string, want int) {
	l.t.Helper()
	if n := l.sent(text); n != want {
		l.t.Errorf("%s: %q was sent %d times, want %d", when, text, n, want)
	}
}

func (l *later) waiting(user id.UserID) (n int) {
	for d := range l.DelayedOf(user) {
		if d.User != user || d.Room != l.room {
			l.t.Errorf("%s is shown %+v", user, d)
		}
		n++
	}
	return n
}

func TestDelayedEvents(t *testing.T) {
	l := newLater(t, replicatest.Options{})
	one := l.delay(bob, "one")
	if again := l.delay(bob, "one"); again != one {
		t.Error("a retry delayed another event")
	}
	restarted, cancelled, sent := l.delay(bob, "restarted"), l.delay(bob, "cancelled"), l.delay(bob, "sent")
	if n := l.waiting(bob.User); n != 4 || l.waiting(amy.User) != 0 {
		t.Errorf("%d events wait", n)
	}
	l.pass(3)
	l.check("before its time", "one", 0)
	ok(t, l.Delayed(t.Context(), bob.User, restarted, "restart"))
	ok(t, l.Delayed(t.Context(), "", cancelled, "cancel"))
	ok(t, l.Delayed(t.Context(), bob.User, sent, "send"))
	l.check("sent at once", "sent", 1)
	for _, gone := range []string{sent, cancelled} {
		refused(t, l.Delayed(t.Context(), bob.User, gone, "restart"), errs.NotFound, "")
	}
	refused(t, l.Delayed(t.Context(), amy.User, restarted, "cancel"), errs.NotFound, "")
	l.pass(2)
	l.check("after its time", "one", 1)
	l.check("restarted", "restarted", 0)
	l.pass(3)
	l.check("after the second time", "restarted", 1)
	l.check("cancelled", "cancelled", 0)
	l.pass(10)
	for _, text := range []string{"one", "restarted", "sent"} {
		l.check("much later", text, 1)
	}
	if n := l.waiting(bob.User); n != 0 {
		t.Errorf("%d events wait for ever", n)
	}
}

// Whether an event may be sent is decided when it is: what is refused then is gone.
func TestDelayedEventIsRefused(t *testing.T) {
	l := newLater(t, replicatest.Options{})
	l.delay(bob, "one")
	topic := Later{Type: event.TypeTopic, Key: new(string), Content: []byte(`{"topic":"t"}`)}
	early := l.put(bob, topic) // bob has not the power
	refused(t, l.Delayed(t.Context(), bob.User, early, "send"), errs.Forbidden, "")
	if n := l.waiting(bob.User); n != 2 {
		t.Errorf("%d events wait after one was refused", n)
	}
	said := l.say(t, amy, l.room, "said", "said")
	l.put(bob, Later{Type: event.TypeRedaction, Txn: "r", Content: []byte(`{"redacts":"` + string(said) + `"}`)})
	l.put(bob, Later{Type: event.TypeRedaction, Txn: "n", Content: []byte(`{"redacts":"$none"}`)})
	own := l.say(t, bob, l.room, "own", "own")
	l.put(bob, Later{Type: event.TypeRedaction, Txn: "o", Content: []byte(`{"redacts":"` + string(own) + `"}`)})
	ok(t, l.Leave(t.Context(), bob, l.room, ""))
	l.pass(6)
	l.check("by somebody who has left", "one", 0)
	l.check("still there", "said", 1)
	l.check("still there", "own", 1)
	if n := l.waiting(bob.User); n != 0 || l.stateOf(t, l.room, event.TypeTopic, "") != "" {
		t.Errorf("%d wait, topic %s", n, l.stateOf(t, l.room, event.TypeTopic, ""))
	}
	ok(t, l.Join(t.Context(), bob, l.room, ""))
	l.put(bob, Later{Type: event.TypeRedaction, Txn: "o2", Content: []byte(`{"redacts":"` + string(own) + `"}`)})
	l.pass(6)
	l.check("redacted later", "own", 0)
	if l.r.Refused() != 0 {
		t.Errorf("%d timers were refused", l.r.Refused())
	}
	for _, bad := range []Later{
		{Type: "x", Txn: "a", Content: []byte(`{}`)},
		{Type: "x", Txn: "a", Content: []byte(`{}`), Delay: MaxDelay + 1},
		{Type: "x", Txn: "", Content: []byte(`{}`), Delay: 1e9},
		{Type: event.TypeMember, Key: new(string), Content: []byte(`{}`), Delay: 1e9},
	} {
		_, err := l.Delay(t.Context(), bob, l.room, bad)
		refused(t, err, errs.Invalid, errs.InvalidParam)
	}
	_, err := l.Delay(t.Context(), cat, l.room, Later{Type: "x", Txn: "a", Content: []byte(`{}`), Delay: 1e9})
	refused(t, err, errs.Forbidden, "")
	refused(t, l.Delayed(t.Context(), bob.User, early, "explode"), errs.Invalid, errs.InvalidParam)
	for _, odd := range []string{"", "x", early + "x", early[:randomLen], "AAAAAAAAAAAAAAAAAA" + early[randomLen:]} {
		refused(t, l.Delayed(t.Context(), bob.User, odd, "cancel"), errs.NotFound, "")
	}
}

// A piece of state that somebody else sets meanwhile is not overwritten by what was made for the one before.
func TestDelayedStateIsOvertaken(t *testing.T) {
	l := newLater(t, replicatest.Options{})
	set := func(by By, key, content string) {
		t.Helper()
		_, err := l.SendState(t.Context(), by, l.room, "m.room.topic", key, []byte(content))
		ok(t, err)
	}
	topic := func(by By) {
		l.put(by, Later{Type: event.TypeTopic, Key: new(string), Content: []byte(`{"topic":"late"}`)})
	}
	topic(amy)
	set(amy, "", `{"topic":"own"}`)
	set(amy, "other", `{}`)
	l.pass(5)
	if got := l.stateOf(t, l.room, event.TypeTopic, ""); got != `{"topic":"late"}` {
		t.Errorf("one's own change: %s", got)
	}
	topic(bob)
	set(amy, "", `{"topic":"newer"}`)
	l.pass(5)
	if got := l.stateOf(t, l.room, event.TypeTopic, ""); got != `{"topic":"newer"}` || l.waiting(bob.User) != 0 {
		t.Errorf("another's change: %s", got)
	}
}

func TestDelayedEventsAreLimited(t *testing.T) {
	l := newLater(t, replicatest.Options{})
	for i := range maxDelayedByUser {
		l.delay(bob, fmt.Sprint(i))
	}
	_, err := l.Delay(t.Context(), bob, l.room, Later{Type: "x", Txn: "more", Content: []byte(`{}`), Delay: time.Second})
	refused(t, err, errs.Limited, "")
	l.delay(amy, "amy")
	l.pass(6)
	l.delay(bob, "again")
	if n := l.waiting(bob.User); n != 1 {
		t.Errorf("%d wait", n)
	}
}

// What waits is in the state: it is sent once although the site that took it is gone, by another that knows the journal.
func TestDelayedEventOutlivesItsSite(t *testing.T) {
	store := mem.NewStore(1)
	l := newLater(t, replicatest.Options{Store: store})
	l.delay(bob, "one")
	l.put(amy, Later{Type: event.TypeTopic, Key: new(string), Content: []byte(`{"topic":"late"}`)})
	db, err := kv.Open(kv.Config{})
	ok(t, err)
	defer db.Close() //nolint:errcheck // in memory
	l.r.Close()
	st := &site{r: replicatest.New(t, replicatest.Options{Store: store, DB: db, Boot: 9, Rules: 3, Machines: []replica.Machine{Machine()},
		Clock: clock.Func(func() time.Time { return time.UnixMilli(l.now.Load()) })})}
	st.Service = New(Config{Replica: st.r, Server: "h", Profile: l.profile})
	t.Cleanup(st.Close)
	l.site = st
	if n := l.waiting(bob.User); n != 1 {
		t.Errorf("%d wait at the other site", n)
	}
	l.pass(6)
	l.check("at the other site", "one", 1)
	if got := l.stateOf(t, l.room, event.TypeTopic, ""); got != `{"topic":"late"}` {
		t.Errorf("topic %s", got)
	}
}
