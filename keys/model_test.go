package keys_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bongsu/id"
	"bongsu/keys"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// model is what one device's one-time keys should be, as simply as can be said.
type model struct {
	known   map[string]bool // ids that were ever uploaded
	waiting [][]string      // ids of each upload that are not claimed, the oldest first
	given   map[string]bool
}

func (m *model) count() (n int) {
	for _, batch := range m.waiting {
		n += len(batch)
	}
	return n
}

// give takes the id from the oldest batch, and reports whether it was there.
func (m *model) give(keyID string) bool {
	for i, batch := range m.waiting {
		if len(batch) == 0 {
			continue
		}
		at := slices.Index(batch, keyID)
		if at < 0 || m.given[keyID] {
			return false
		}
		m.given[keyID] = true
		m.waiting[i] = slices.Delete(batch, at, at+1)
		return true
	}
	return false
}

// Random histories of uploads (some repeated), claims and messages agree with a simple model: each key is given out once, in the
// order of uploads, and each message is there until it is acknowledged, once.
func TestAgainstModel(t *testing.T) {
	// Without a sink: nobody here listens, and shrinking a failure makes more commits than a channel holds.
	s := &site{Replica: replicatest.New(t, replicatest.Options{Machines: []replica.Machine{keys.Machine()}, Partitions: 1})}
	k := newKeys(t, s, nil)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		user := id.UserID(fmt.Sprintf("@user%d:s", run))
		m := model{known: map[string]bool{}, given: map[string]bool{}}
		var inbox []string
		var cursor replica.Place
		submit := func(kind, body string) []byte {
			out, err := s.Submit(t.Context(), replica.Proposal{Kind: kind, Slot: id.SlotOf(user), Body: []byte(body)})
			if err != nil {
				rt.Fatal(err)
			}
			return out
		}
		rt.Repeat(map[string]func(*rapid.T){
			"upload": func(rt *rapid.T) {
				ids := rapid.SliceOfNDistinct(rapid.IntRange(0, 30), 0, 5, rapid.ID[int]).Draw(rt, "ids")
				up, fresh := keys.Upload{OneTimeKeys: map[string]json.RawMessage{}}, []string{}
				for _, n := range ids {
					keyID := fmt.Sprint(n)
					up.OneTimeKeys["sc:"+keyID] = fmt.Appendf(nil, `{"key":"k%d","signatures":{}}`, n)
					if !m.known[keyID] {
						m.known[keyID] = true
						fresh = append(fresh, keyID)
					}
				}
				m.waiting = append(m.waiting, fresh)
				counts, err := k.Upload(t.Context(), user, "A", up)
				if err != nil || counts["sc"] != m.count() {
					rt.Fatalf("%v after an upload of %v, want %d, %v", counts, ids, m.count(), err)
				}
			},
			"claim": func(rt *rapid.T) {
				var got keys.Claimed
				out := submit("keys.claim", fmt.Sprintf(`{"user":%q,"want":[{"device":"A","algorithm":"sc"}]}`, user))
				if err := json.Unmarshal(out, &got); err != nil {
					rt.Fatal(err)
				}
				if len(got["A"]) == 0 && m.count() > 0 {
					rt.Fatalf("nothing claimed, but there are %d", m.count())
				}
				for name := range got["A"] {
					if !m.give(strings.TrimPrefix(name, "sc:")) {
						rt.Fatalf("claimed %s; waiting are %v", name, m.waiting)
					}
				}
			},
			"deliver": func(*rapid.T) {
				submit("keys.deliver", fmt.Sprintf(`{"sender":"@ben:s","type":"t%d","user":%q,"messages":[{"devices":["A"],"content":{}}]}`,
					len(inbox), user))
				inbox = append(inbox, fmt.Sprintf(`{"content":{},"sender":"@ben:s","type":"t%d"}`, len(inbox)))
			},
			"sync": func(rt *rapid.T) {
				in := keys.Pending(s.Rows(), user, "A", cursor, rapid.IntRange(1, 4).Draw(rt, "limit"))
				done := len(inbox) - len(keys.Pending(s.Rows(), user, "A", cursor, 1000).Events)
				for i, ev := range in.Events {
					if string(ev) != inbox[done+i] {
						rt.Fatalf("message %d is %s", done+i, ev)
					}
				}
				if rapid.Bool().Draw(rt, "answer arrived") {
					cursor = in.Last
					submit("keys.acked", fmt.Sprintf(`{"user":%q,"device":"A","up_to":{"Pos":%d,"Index":%d}}`, user, cursor.Pos, cursor.Index))
				}
			},
			"": func(rt *rapid.T) {
				counts, _ := keys.KeyCounts(s.Rows(), user, "A")
				var n map[string]int
				if err := json.Unmarshal(counts, &n); err != nil || n["sc"] != m.count() {
					rt.Fatalf("counts %s, want %d", counts, m.count())
				}
				all := keys.Pending(s.Rows(), user, "A", cursor, 1000).Events
				if kept := keys.Pending(s.Rows(), user, "A", replica.Place{}, 1000).Events; len(kept) != len(all) {
					rt.Fatalf("%d messages are kept, %d are not acknowledged", len(kept), len(all))
				}
			},
		})
	})
}
