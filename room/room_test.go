package room

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
	"bongsu/roomstate"
)

// site is a replica with the service on it, and users a to z.
type site struct {
	*Service
	r *replica.Replica

	mu    sync.Mutex
	names map[id.UserID]string
}

func newSite(t testing.TB, o replicatest.Options) *site {
	t.Helper()
	o.Machines = append(o.Machines, Machine(), accountMachine())
	if o.Rules == 0 {
		o.Rules = sinceRules
	}
	st := &site{r: replicatest.New(t, o), names: map[id.UserID]string{}}
	st.Service = New(Config{Replica: st.r, Server: "h", ReceiptDelay: time.Millisecond, Profile: st.profile})
	t.Cleanup(st.Close)
	return st
}

// startSite starts a site that the test stops by itself; then is called at the end of that.
func startSite(t testing.TB, o replicatest.Options, then func()) (*site, func()) {
	t.Helper()
	o.Machines, o.Rules = append(o.Machines, Machine(), accountMachine()), sinceRules
	r, stop := replicatest.Start(t, o)
	st := &site{r: r}
	st.Service = New(Config{Replica: r, Server: "h", ReceiptDelay: time.Millisecond, Profile: st.profile})
	return st, func() { st.Close(); stop(); then() }
}

func (st *site) profile(_ kv.Reader, u id.UserID) (Profile, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return Profile{DisplayName: st.names[u]}, u.Server() == "h" && u != "@nobody:h"
}

func (st *site) rename(u id.UserID, name string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.names[u] = name
}

func user(i int) id.UserID { return id.UserID(fmt.Sprintf("@u%d:h", i)) }

var amy, bob, cat = By{"@amy:h", "A"}, By{"@bob:h", "B"}, By{"@cat:h", "C"}

func (st *site) open(t testing.TB, room id.RoomID) View {
	t.Helper()
	v, ok := Open(st.r.Rows(), room)
	if !ok {
		t.Fatalf("no room %s", room)
	}
	return v
}

func (st *site) create(t testing.TB, by By, c Creation) id.RoomID {
	t.Helper()
	room, err := st.Create(t.Context(), by, c)
	if err != nil {
		t.Fatal(err)
	}
	return room
}

func (st *site) say(t testing.TB, by By, room id.RoomID, txn, text string) id.EventID {
	t.Helper()
	e, err := st.Send(t.Context(), by, room, "m.room.message", txn, []byte(`{"msgtype":"m.text","body":"`+text+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fine is ok for other goroutines.
func fine(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func refused(t testing.TB, err error, kind errs.Kind, code errs.Code) {
	t.Helper()
	e, _ := errs.Wrap("", err).(*errs.Error) //nolint:errorlint // Wrap returns one
	if e == nil || e.Kind != kind || e.Code != code {
		t.Fatalf("got %v, want %s %s", err, kind, code)
	}
}

// bodies of the messages a page has, for reading.
func texts(events []Stored) string {
	var out []string
	for _, s := range events {
		if b, ok := s.Content.String("body"); ok {
			out = append(out, b)
		}
	}
	return strings.Join(out, " ")
}

func (v *View) all() []Stored {
	var out []Stored
	for s := range v.Timeline(Place{}, replica.Forever) {
		out = append(out, s)
	}
	return out
}

func TestConversation(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	st.rename("@amy:h", "Amy")
	for _, version := range event.Versions() {
		room := st.create(t, amy, Creation{Version: version, Invite: []id.UserID{"@bob:h"}, Name: "talk", IsDirect: true})
		refused(t, func() error {
			_, err := st.Send(t.Context(), bob, room, "m.room.message", "1", []byte(`{}`))
			return err
		}(), errs.Forbidden, "")
		ok(t, st.Join(t.Context(), bob, room, ""))
		ok(t, st.Join(t.Context(), bob, room, "")) // again: nothing happens
		one := st.say(t, amy, room, "1", "one")
		two := st.say(t, bob, room, "1", "two")
		if again := st.say(t, amy, room, "1", "one"); again != one {
			t.Fatalf("a retry made another event")
		}
		v := st.open(t, room)
		if v.Joined != 2 || v.Invited != 0 {
			t.Errorf("%d joined, %d invited", v.Joined, v.Invited)
		}
		if got := texts(v.all()); got != "one two" {
			t.Errorf("timeline: %q", got)
		}
		last, _ := v.Event(two)
		if len(last.PrevEvents) != 1 || last.PrevEvents[0] != one || last.Place != v.LastEvent || last.Depth != v.Depth {
			t.Errorf("%+v after %s", last, one)
		}
		if n, _ := v.StateEvent(event.TypeName, ""); string(n.Content) != `{"name":"talk"}` {
			t.Errorf("name: %s", n.Content)
		}
		m, _ := v.StateEvent(event.TypeMember, "@amy:h")
		if name, _ := m.Content.String("displayname"); name != "Amy" {
			t.Errorf("member: %s", m.Content)
		}
	}
	n := 0
	for m := range Memberships(st.r.Rows(), st.r.Partitions(), "@bob:h") {
		if m.State != roomstate.Join {
			t.Errorf("%+v", m)
		}
		n++
	}
	if n != len(event.Versions()) {
		t.Errorf("bob is in %d rooms", n)
	}
}

// TestVersionsBeforeRules: what was refused under older rules stays refused when the record is read again.
func TestVersionsBeforeRules(t *testing.T) {
	st := newSite(t, replicatest.Options{Rules: sinceRules - 1})
	for _, v := range event.Versions() {
		_, err := st.Create(t.Context(), amy, Creation{Version: v})
		if known := v.Features().KnockRestricted; (err == nil) != known || err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("version %s: %v", v, err)
		}
	}
}
