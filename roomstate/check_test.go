package roomstate

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"testing"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
)

func TestCheckCreate(t *testing.T) {
	for _, v := range event.Versions() {
		old := v != event.V12
		good := func() event.Draft {
			d := event.Draft{Type: event.TypeCreate, Sender: amy, StateKey: ptr("")}
			d.Content = content(t, object{"room_version": string(v), "creator": amy})
			if old {
				d.RoomID = "!x:h"
			}
			return d
		}
		for name, c := range map[string]struct {
			change func(*event.Draft)
			words  string
		}{
			"good":         {func(*event.Draft) {}, ""},
			"type":         {func(d *event.Draft) { d.Type = "m.room.name" }, "begins with its create event"},
			"no state key": {func(d *event.Draft) { d.StateKey = nil }, "begins with its create event"},
			"prev":         {func(d *event.Draft) { d.PrevEvents = []id.EventID{"$x"} }, "comes first"},
			"room id": {func(d *event.Draft) { d.RoomID = "!x:elsewhere" },
				map[bool]string{true: "not of the creator's server", false: "has no room_id"}[old]},
			"no version":      {func(d *event.Draft) { d.Content = d.Content.Without("room_version") }, "not of room version"},
			"another version": {func(d *event.Draft) { d.Content = d.Content.With("room_version", []byte(`"99"`)) }, "not of room version"},
			"version number":  {func(d *event.Draft) { d.Content = d.Content.With("room_version", []byte(v)) }, "not of room version"},
			"no creator":      {func(d *event.Draft) { d.Content = d.Content.Without("creator") }, map[bool]string{true: "names no creator"}[v.Features().CreatorInContent]},
			"creators":        {func(d *event.Draft) { d.Content = d.Content.With("additional_creators", []byte(`["@a:b"]`)) }, ""},
			"creators as text": {func(d *event.Draft) { d.Content = d.Content.With("additional_creators", []byte(`"@a:b"`)) },
				map[bool]string{false: "not a list of user ids"}[old]},
			"creators' ids": {func(d *event.Draft) { d.Content = d.Content.With("additional_creators", []byte(`["a"]`)) },
				map[bool]string{false: "not a list of user ids"}[old]},
			"creators' types": {func(d *event.Draft) { d.Content = d.Content.With("additional_creators", []byte(`[5]`)) },
				map[bool]string{false: "not a list of user ids"}[old]},
		} {
			d := good()
			c.change(&d)
			verdict(t, fmt.Sprintf("version %s: %s", v, name), CheckCreate(v, &d), c.words)
		}
		d := good()
		if err := CheckCreate("99", &d); !errs.Is(err, errs.Forbidden) {
			t.Errorf("version 99: %v", err)
		}
	}
}

func TestCheckEvents(t *testing.T) {
	for _, v := range event.Versions() {
		p := settled(t, v, object{"events": object{"high": 60, "low": 0}, "events_default": 10, "state_default": 40, "invite": 50})
		p.be(t, bob, Join)
		p.be(t, cat, Join)
		p.be(t, dan, Invite)
		other := p.draft(t, "x", amy, nil, object{})
		other.RoomID = "!other:h"
		for name, c := range map[string]struct {
			d     event.Draft
			words string
		}{
			"a second create event":        {p.draft(t, event.TypeCreate, amy, ptr(""), object{}), "there already"},
			"for another room":             {other, "another room"},
			"of an invited user":           {p.draft(t, "low", dan, nil, object{}), "not in the room"},
			"of a stranger":                {p.draft(t, "low", "@x:h", nil, object{}), "not in the room"},
			"message by default":           {p.draft(t, "x", bob, nil, object{}), ""},
			"message below default":        {p.draft(t, "x", cat, nil, object{}), "takes 10"},
			"message below its level":      {p.draft(t, "high", bob, nil, object{}), "takes 60"},
			"message at its level":         {p.draft(t, "low", cat, nil, object{}), ""},
			"state by default":             {p.draft(t, "x", bob, ptr(""), object{}), ""},
			"state below default":          {p.draft(t, "x", cat, ptr(""), object{}), "takes 40"},
			"state at its level":           {p.draft(t, "low", cat, ptr(""), object{}), ""},
			"state under one's own id":     {p.draft(t, "low", cat, ptr(string(cat)), object{}), ""},
			"state under another's id":     {p.draft(t, "low", amy, ptr(string(cat)), object{}), "that user's alone"},
			"state under an at sign":       {p.draft(t, "low", amy, ptr("@"), object{}), "that user's alone"},
			"state under a text":           {p.draft(t, "low", cat, ptr("x@y"), object{}), ""},
			"redaction":                    {p.draft(t, event.TypeRedaction, bob, nil, object{}), ""},
			"third-party invite":           {p.draft(t, event.TypeThirdPartyInvite, bob, ptr("t"), object{}), ""},
			"third-party invite, no power": {p.draft(t, event.TypeThirdPartyInvite, cat, ptr("t"), object{}), "to invite"},
		} {
			verdict(t, fmt.Sprintf("version %s: %s", v, name), p.check(t, c.d), c.words)
		}
	}
}

// TestThirdPartyInvite: dan turned out to be who amy invited by e-mail address, and the identity server signed it.
func TestThirdPartyInvite(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public := base64.RawStdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	sign := func(o object) object {
		sig := ed25519.Sign(key, content(t, o))
		o["signatures"] = object{"id.h": object{"ed25519:0": base64.RawStdEncoding.EncodeToString(sig)}}
		return o
	}
	good := func() object { return sign(object{"mxid": dan, "sender": amy, "token": "t"}) }
	for _, v := range event.Versions() {
		for name, c := range map[string]struct {
			origin any
			sender id.UserID
			invite any
			was    Membership
			words  string
		}{
			"good":              {object{"public_key": public}, amy, object{"signed": good()}, "", ""},
			"padded key":        {object{"public_key": public + "="}, amy, object{"signed": good()}, "", ""},
			"list of keys":      {object{"public_keys": []any{"x", object{}, object{"public_key": public}}}, amy, object{"signed": good()}, "", ""},
			"sender not there":  {object{"public_key": public}, bob, object{"signed": good()}, "", "made by somebody else"},
			"banned":            {object{"public_key": public}, amy, object{"signed": good()}, Ban, "banned"},
			"not signed":        {object{"public_key": public}, amy, object{}, "", "not signed"},
			"no object":         {object{"public_key": public}, amy, "x", "", "not signed"},
			"no mxid":           {object{"public_key": public}, amy, object{"signed": sign(object{"token": "t"})}, "", "not signed"},
			"no token":          {object{"public_key": public}, amy, object{"signed": sign(object{"mxid": dan})}, "", "not signed"},
			"somebody else's":   {object{"public_key": public}, amy, object{"signed": sign(object{"mxid": cat, "token": "t"})}, "", "for somebody else"},
			"another token":     {object{"public_key": public}, amy, object{"signed": sign(object{"mxid": dan, "token": "u"})}, "", "no such third-party invite"},
			"no key":            {object{}, amy, object{"signed": good()}, "", "no key"},
			"malformed key":     {object{"public_key": "x"}, amy, object{"signed": good()}, "", "no key"},
			"forged":            {object{"public_key": public}, amy, object{"signed": forged(good())}, "", "no key"},
			"unsigned is apart": {object{"public_key": public}, amy, object{"signed": with(good(), "unsigned", object{"a": 1})}, "", ""},
			"another algorithm": {object{"public_key": public}, amy, object{"signed": with(good(), "signatures", object{"h": object{"rsa:0": "x"}})}, "", "no key"},
			"signature of none": {object{"public_key": public}, amy, object{"signed": with(good(), "signatures", "x")}, "", "no key"},
		} {
			p := settled(t, v, nil)
			p.add(t, p.draft(t, event.TypeThirdPartyInvite, amy, ptr("t"), c.origin))
			p.be(t, dan, c.was)
			d := p.member(t, c.sender, dan, object{"membership": Invite, "third_party_invite": c.invite})
			verdict(t, fmt.Sprintf("version %s: %s", v, name), p.check(t, d), c.words)
		}
	}
}

func with(o object, key string, val any) object {
	o[key] = val
	return o
}

func forged(o object) object { return with(o, "sender", cat) }

// FuzzCheck: any content of any of the events that matter is allowed or refused in an orderly way, and what is allowed
// makes rules that can be read again.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{
		`{"membership":"join","join_authorised_via_users_server":"@bob:h"}`, `{"users":{"@bob:h":50},"events":{"x":1},"ban":5}`,
		`{"membership":"invite","third_party_invite":{"signed":{"mxid":"@cat:h","token":"","signatures":{"h":{"ed25519:0":"AAAA"}}}}}`,
		`{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":"!x:h"}]}`, `{"additional_creators":["@cat:h"],"room_version":"12"}`,
		`{"public_key":"AAAA","public_keys":[{"public_key":"AAAA"}]}`,
	} {
		for v := range event.Versions() {
			f.Add(byte(v), []byte(s), []byte(`{"membership":"join"}`))
		}
	}
	f.Fuzz(func(t *testing.T, version byte, state, next []byte) {
		v := event.Versions()[int(version)%len(event.Versions())]
		old, err := event.Canonical(nil, state)
		if err != nil || old[0] != '{' {
			return
		}
		c, err := event.Canonical(nil, next)
		if err != nil || c[0] != '{' {
			return
		}
		p := settled(t, v, nil)
		p.be(t, bob, Join)
		types := []string{event.TypePowerLevels, event.TypeJoinRules, event.TypeThirdPartyInvite, event.TypeMember}
		for _, typ := range types {
			key := ""
			if typ == event.TypeMember {
				key = string(cat)
			}
			d := p.draft(t, typ, amy, &key, object{})
			d.Content = old
			if _, err := event.Build(v, d); err != nil {
				continue
			}
			if typ != event.TypePowerLevels || p.check(t, d) == nil {
				p.add(t, d)
			}
		}
		r := p.rules(t)
		for _, typ := range append(types, event.TypeMessage) {
			for _, sender := range []id.UserID{amy, bob, cat} {
				for _, key := range []*string{nil, ptr(""), ptr(string(cat))} {
					d := event.Draft{RoomID: p.room, Type: typ, Sender: sender, StateKey: key, Content: c, PrevEvents: []id.EventID{p.last.ID}}
					AuthKeys(v, &d)
					err := r.Check(&d, p.lookup)
					if err != nil && !errs.Is(err, errs.Forbidden) {
						t.Fatalf("%s %s: %v", typ, c, err)
					}
					if err != nil || typ != event.TypePowerLevels || key == nil || *key != "" {
						continue
					}
					ev, err := event.Build(v, d)
					if err != nil {
						continue
					}
					if _, err := NewRules(v, p.state[Key{event.TypeCreate, ""}], ev, nil); err != nil {
						t.Fatalf("%s was allowed but makes no rules: %v", c, err)
					}
				}
			}
		}
		d := event.Draft{Type: event.TypeCreate, Sender: amy, StateKey: ptr(""), Content: old}
		if err := CheckCreate(v, &d); err != nil && !errs.Is(err, errs.Forbidden) {
			t.Fatal(err)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	p := settled(b, event.V12, nil)
	p.be(b, bob, Join)
	message := p.draft(b, event.TypeMessage, bob, nil, object{"body": "hello", "msgtype": "m.text"})
	join := p.member(b, bob, bob, object{"membership": Join})
	r := p.rules(b)
	for name, d := range map[string]event.Draft{"message": message, "join": join} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Check(&d, p.lookup); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("rules", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p.rules(b)
		}
	})
}
