package room

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

const accountByte = 'a'

// accountMachine stands in for package account: it counts how often it is told of a user and two rooms.
func accountMachine() replica.Machine {
	return replica.Machine{Name: "account", Byte: accountByte, Kinds: map[string]replica.Kind{
		kindSucceeding: {Since: sinceRules, Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			var b struct{ User, From, To string }
			if err := json.Unmarshal(body, &b); err != nil {
				return nil, err
			}
			key := succeededKey(id.UserID(b.User), id.RoomID(b.From), id.RoomID(b.To))
			tx.Set(key, append(bytes.Clone(tx.Get(key)), '+'))
			return nil, nil
		}},
	}}
}

func succeededKey(user id.UserID, from, to id.RoomID) []byte {
	return kv.Str(kv.Str(kv.Str(replica.Row(id.SlotOf(user), accountByte, 's'), user), from), to)
}

// succeeded is how often an account was told, once that is at least n.
func (st *site) succeeded(t *testing.T, user id.UserID, from, to id.RoomID, n int) (times int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ok(t, st.until(ctx, id.SlotOf(user), func() bool {
		times = len(st.r.Rows().Get(succeededKey(user, from, to)))
		return times >= n
	}))
	return times
}

// TestSucceed: who comes into a room that has taken the place of another is made known to their account, once.
func TestSucceed(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	old := st.create(t, amy, Creation{Preset: presetPublic, Version: event.V11})
	ok(t, st.Join(t.Context(), bob, old, ""))
	claims := Creation{Preset: presetPublic, CreationContent: []byte(`{"predecessor":{"room_id":"` + string(old) + `"}}`)}
	fake := st.create(t, cat, claims)
	ok(t, st.Join(t.Context(), bob, fake, ""))
	to := st.upgrade(t, amy, old, event.V12)
	ok(t, st.Join(t.Context(), bob, to, ""))
	if a, b := st.succeeded(t, amy.User, old, to, 1), st.succeeded(t, bob.User, old, to, 1); a != 1 || b != 1 {
		t.Errorf("amy's account was told %d times, bob's %d", a, b)
	}
	// Who comes back, changes their name or comes by way of an event of state, is known already.
	ok(t, st.Leave(t.Context(), bob, to, ""))
	ok(t, st.Join(t.Context(), bob, to, ""))
	_, err := st.SendState(t.Context(), bob, to, event.TypeMember, string(bob.User), []byte(`{"membership":"join","displayname":"B"}`))
	ok(t, err)
	// cat comes last: messages between two partitions arrive in order, so that what bob might have sent has come, too.
	_, err = st.SendState(t.Context(), cat, to, event.TypeMember, string(cat.User), []byte(`{"membership":"join"}`))
	ok(t, err)
	if n := st.succeeded(t, cat.User, old, to, 1); n != 1 {
		t.Errorf("cat's account was told %d times", n)
	}
	if n := st.succeeded(t, bob.User, old, to, 1); n != 1 {
		t.Errorf("bob's account was told %d times", n)
	}
	// A room that only says it has taken the place of another.
	if n := st.succeeded(t, bob.User, old, fake, 0); n != 0 {
		t.Errorf("of the wrong room, bob's account was told %d times", n)
	}
	for _, odd := range []string{`{"predecessor":"x"}`, `{"predecessor":{"room_id":"x"}}`, `{"predecessor":{"room_id":"!none"}}`} {
		in := st.create(t, amy, Creation{Preset: presetPublic, CreationContent: []byte(odd)})
		ok(t, st.Join(t.Context(), bob, in, ""))
	}
}

// TestSucceedNotBefore: under the rules from before there was this, a join does what it did then.
func TestSucceedNotBefore(t *testing.T) {
	st := newSite(t, replicatest.Options{Rules: sinceRules - 1})
	old := st.create(t, amy, Creation{Preset: presetPublic})
	to := st.create(t, amy, Creation{Preset: presetPublic, CreationContent: []byte(`{"predecessor":{"room_id":"` + string(old) + `"}}`)})
	_, err := st.SendState(t.Context(), amy, old, event.TypeTombstone, "", []byte(`{"body":"","replacement_room":"`+string(to)+`"}`))
	ok(t, err)
	ok(t, st.Join(t.Context(), bob, to, ""))
	for k, v := range st.r.Rows().Scan(nil, nil) { // the outbox is in there
		if strings.Contains(string(v), kindSucceed) {
			t.Errorf("%q: %q", k, v)
		}
	}
}
