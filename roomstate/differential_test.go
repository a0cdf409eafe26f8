//go:build goexperiment.jsonv2

package roomstate

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	jsonv2 "encoding/json/v2"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bongsu/event"
	"bongsu/id"
	"maunium.net/go/mautrix/federation/eventauth"
	"maunium.net/go/mautrix/federation/pdu"
	mid "maunium.net/go/mautrix/id"
	"pgregory.net/rapid"
)

// TestDifferentialRoom reads a room of version 12 that other servers made, event by event: its ids, its hashes, and that
// every event was allowed.
func TestDifferentialRoom(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "maunium.net/go/mautrix").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "federation/eventauth/testroom-v12-success.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	p := &place{v: event.V12, state: map[Key]*event.Event{}}
	lines := bufio.NewScanner(bytes.NewReader(file))
	n := 0
	for ; lines.Scan(); n++ {
		ev, err := event.Parse(p.v, lines.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		canonical, err := event.Canonical(nil, lines.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := event.Object(canonical).Object("unsigned").String("event_id"); string(ev.ID) != want || ev.Redacted() {
			t.Fatalf("id %s, want %s, redacted %v", ev.ID, want, ev.Redacted())
		}
		if n == 0 {
			d := ev.Draft
			d.RoomID = "" // as it is written
			err = CheckCreate(p.v, &d)
		} else {
			err = p.rules(t).Check(&ev.Draft, p.lookup)
		}
		if err != nil {
			t.Fatalf("%s: %v", ev.Raw, err)
		}
		if ev.StateKey != nil {
			p.state[Key{ev.Type, *ev.StateKey}] = ev
		}
	}
	if n < 10 {
		t.Fatalf("the room has %d events", n)
	}
}

// authoriser is the key under which the other implementation looks for the user who vouches for a restricted join. The
// specification's is join_authorised_via_users_server; the tests write both, and sign, since it checks signatures.
const authoriser = "authorised_via_users_server"

var signer = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

func signingKey(string, mid.KeyID, time.Time) (mid.SigningKey, time.Time, error) {
	return mid.SigningKey(base64.RawStdEncoding.EncodeToString(signer.Public().(ed25519.PublicKey))), time.UnixMilli(1 << 50), nil
}

// history is a room that both implementations follow.
type history struct {
	*place
	events map[mid.EventID]*pdu.PDU
}

// TestDifferentialHistories draws rooms event by event and compares the verdicts; what is allowed happens.
func TestDifferentialHistories(t *testing.T) {
	for _, v := range event.Versions() {
		t.Run(string(v), func(t *testing.T) {
			allowed, refused := 0, 0
			rapid.Check(t, func(rt *rapid.T) {
				create := object{}
				if rapid.IntRange(0, 3).Draw(rt, "federate") == 0 {
					create["m.federate"] = false
				}
				if rapid.Bool().Draw(rt, "creators") {
					create["additional_creators"] = []any{cat}
				}
				h := &history{place: found(rt, v, create), events: map[mid.EventID]*pdu.PDU{}}
				first := read(rt, h.last.Raw)
				if err := h.ask(first); err != nil {
					rt.Fatalf("%s: %v", h.last.Raw, err)
				}
				h.events[mid.EventID(h.last.ID)] = first
				if rapid.IntRange(0, 3).Draw(rt, "settled") > 0 {
					h.settle(rt)
				}
				for range rapid.IntRange(1, 40).Draw(rt, "length") {
					if h.step(rt, h.anyDraft(rt)) {
						allowed++
					} else {
						refused++
					}
				}
			})
			t.Logf("%d events were allowed, %d refused", allowed, refused)
			if allowed < refused/10 || refused < allowed/10 {
				t.Errorf("the events are too much alike")
			}
		})
	}
}

// settle lets amy make a room with power levels that others can join.
func (h *history) settle(rt *rapid.T) {
	joined := object{"membership": Join, "creator": amy}
	h.step(rt, h.member(rt, amy, amy, joined))
	users := object{}
	for _, user := range []id.UserID{amy, bob, cat} {
		if !h.v.Features().CreatorPower || !slices.Contains(h.rules(rt).Creators(), user) {
			users[string(user)] = rapid.SampledFrom([]int{100, 75, 75}).Draw(rt, "level")
		}
	}
	h.step(rt, h.draft(rt, event.TypePowerLevels, amy, ptr(""), object{"users": users, "events": object{event.TypePowerLevels: 50}}))
	h.step(rt, h.draft(rt, event.TypeJoinRules, amy, ptr(""), object{"join_rule": JoinPublic}))
	for _, user := range []id.UserID{bob, cat} {
		h.step(rt, h.member(rt, user, user, joined))
	}
}

// step compares the verdicts on one event and, if it is allowed, lets it happen.
func (h *history) step(rt *rapid.T, d event.Draft) bool {
	ours := h.rules(rt).Check(&d, h.lookup)
	ev, err := event.Build(h.v, d)
	if err != nil {
		rt.Fatalf("%v", err)
	}
	theirs := read(rt, ev.Raw)
	h.compareKeys(rt, &d, theirs)
	for _, server := range []string{"h", "elsewhere"} {
		if err := theirs.Sign(mid.RoomVersion(h.v), server, "ed25519:0", signer); err != nil {
			rt.Fatal(err)
		}
	}
	err = h.ask(theirs)
	switch {
	case ours == nil && d.Content.Has("third_party_invite") && errors.Is(err, eventauth.ErrThirdPartyInviteNotSigned):
		// It looks for the keys in the invite itself, where they are not, so it never allows one.
	case errors.Is(err, errPanic) && ours != nil && d.Type == event.TypePowerLevels:
		// It fails when the level of another user at the sender's own level is taken away, which is forbidden.
	case (ours == nil) != (err == nil):
		rt.Fatalf("event %s\nours %v\ntheirs %v", ev.Raw, ours, err)
	}
	if ours != nil {
		return false
	}
	h.last = ev
	h.events[mid.EventID(ev.ID)] = theirs
	if ev.StateKey != nil {
		h.state[Key{ev.Type, *ev.StateKey}] = ev
	}
	return true
}

// compareKeys compares the selections of auth events, in any order.
func (h *history) compareKeys(rt *rapid.T, d *event.Draft, theirs *pdu.PDU) {
	ours := AuthKeys(h.v, d)
	selection := theirs.AuthEventSelection(mid.RoomVersion(h.v))
	for _, k := range ours {
		if !selection.Has(pdu.StateKey{Type: k.Type, StateKey: k.StateKey}) {
			rt.Fatalf("%v of %s is not in %v", k, d.Content, selection)
		}
	}
	if len(ours) != len(selection) {
		rt.Fatalf("%v, want %v", ours, selection)
	}
}

var errPanic = errors.New("panic")

// ask is the other implementation's verdict.
func (h *history) ask(p *pdu.PDU) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errPanic
		}
	}()
	get := func(ids []mid.EventID) ([]*pdu.PDU, error) {
		out := make([]*pdu.PDU, len(ids))
		for i, e := range ids {
			out[i] = h.events[e]
		}
		return out, nil
	}
	return eventauth.Authorize(mid.RoomVersion(h.v), p, get, signingKey)
}

func read(rt *rapid.T, raw []byte) *pdu.PDU {
	var p *pdu.PDU
	if err := jsonv2.Unmarshal(raw, &p); err != nil {
		rt.Fatalf("%s: %v", raw, err)
	}
	return p
}

// people and their chances to act; dan is from another server.
var people = []id.UserID{amy, bob, bob, cat, cat, dan}

func (h *history) anyDraft(rt *rapid.T) event.Draft {
	sender := rapid.SampledFrom(people).Draw(rt, "sender")
	switch rapid.SampledFrom([]string{
		"member", "member", "member", "member", "levels", "levels", "rules", "message", "state", "third party", "create",
	}).Draw(rt, "kind") {
	case "member":
		target := sender
		if rapid.IntRange(0, 2).Draw(rt, "self") == 0 {
			target = rapid.SampledFrom(people).Draw(rt, "target")
		}
		d := h.member(rt, sender, target, h.anyMember(rt, target))
		if rapid.IntRange(0, 30).Draw(rt, "key") == 0 {
			d.StateKey, d.AuthEvents = nil, nil
		}
		return d
	case "levels":
		return h.draft(rt, event.TypePowerLevels, sender, ptr(""), h.anyLevels(rt))
	case "rules":
		// A join rule that is no text is left out: the other implementation takes it for "invite", here it lets nobody join.
		rule := rapid.SampledFrom([]any{JoinPublic, JoinPublic, JoinInvite, JoinKnock, JoinRestricted, JoinKnockRestricted, JoinPrivate, "x"})
		return h.draft(rt, event.TypeJoinRules, sender, ptr(""), object{"join_rule": rule.Draw(rt, "rule")})
	case "state":
		key := rapid.SampledFrom([]string{"", "x", "@", string(bob), string(cat)}).Draw(rt, "key")
		return h.draft(rt, rapid.SampledFrom(sent).Draw(rt, "type"), sender, &key, object{})
	case "third party":
		return h.draft(rt, event.TypeThirdPartyInvite, sender, ptr("token"), object{})
	case "create":
		d := h.draft(rt, event.TypeCreate, sender, ptr(""), object{"room_version": string(h.v), "creator": sender})
		if h.v.Features().RoomIDIsHash {
			d.RoomID = ""
		}
		if rapid.Bool().Draw(rt, "elsewhere") && !h.v.Features().RoomIDIsHash {
			d.RoomID = "!room:elsewhere"
		}
		return d
	}
	return h.draft(rt, rapid.SampledFrom(sent).Draw(rt, "type"), sender, nil, object{})
}

// sent are the types that power levels of the histories are about.
var sent = []string{"m.room.message", "m.room.redaction", "org.example.a", "org.example.b"}

func (h *history) anyMember(rt *rapid.T, target id.UserID) object {
	c := object{"membership": rapid.SampledFrom([]any{
		Join, Join, Join, Join, Invite, Invite, Invite, Leave, Leave, Ban, Knock, Knock, "x", 5, nil,
	}).Draw(rt, "membership")}
	if h.v.Features().CreatorInContent {
		// The other implementation looks for the creator's name in the first join itself instead of in the create event.
		c["creator"] = amy
	}
	switch rapid.IntRange(0, 8).Draw(rt, "more") {
	case 0, 1:
		by := rapid.SampledFrom(people).Draw(rt, "by")
		c[authoriser], c["join_"+authoriser] = by, by
	case 2:
		c["third_party_invite"] = object{"signed": object{
			"mxid": rapid.SampledFrom([]any{target, cat, 5}).Draw(rt, "mxid"), "token": rapid.SampledFrom([]any{"token", "other", 5}).Draw(rt, "token"),
		}}
	}
	return c
}

func (h *history) anyLevels(rt *rapid.T) object {
	level := rapid.Custom(func(rt *rapid.T) any {
		if rapid.IntRange(0, 40).Draw(rt, "odd") == 0 {
			if !h.v.Features().IntegerLevels {
				// What is neither an integer nor the text of one the other implementation passes over in these versions.
				return rapid.SampledFrom([]string{"50", "-1", "100"}).Draw(rt, "level")
			}
			return rapid.SampledFrom([]any{"50", nil, true, object{}}).Draw(rt, "level")
		}
		return rapid.SampledFrom([]int{0, 0, 10, 25, 49, 50, 51, 75, 100, 101, event.MaxInt, -1}).Draw(rt, "level")
	})
	c := object{}
	if now := h.state[Key{event.TypePowerLevels, ""}]; now != nil && rapid.IntRange(0, 9).Draw(rt, "afresh") > 0 {
		if err := jsonv2.Unmarshal(now.Content, &c); err != nil {
			rt.Fatal(err)
		}
	}
	tables := map[string][]string{
		"events": append(sent[:len(sent):len(sent)], event.TypePowerLevels), "notifications": {"room"},
		"users": {string(bob), string(bob), string(cat), string(cat), string(dan), "@x:h", string(amy), "bob"},
	}
	if !h.v.Features().CreatorPower {
		tables["users"] = append(tables["users"], string(amy))
	}
	for range rapid.IntRange(1, 3).Draw(rt, "changes") {
		what := rapid.SampledFrom(append(named[:], "events", "users", "users", "users", "notifications")).Draw(rt, "what")
		in, key := c, what
		if keys := tables[what]; keys != nil {
			table, ok := c[what].(object)
			if !ok {
				table = object{}
				c[what] = table
			}
			in, key = table, rapid.SampledFrom(keys).Draw(rt, "key")
		}
		if in[key] = level.Draw(rt, "level"); rapid.IntRange(0, 3).Draw(rt, "remove") == 0 {
			delete(in, key)
		}
	}
	return c
}
