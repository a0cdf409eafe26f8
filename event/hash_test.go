package event

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
)

// TestContentHash: the examples of the appendix "Event Signing".
func TestContentHash(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{
			`{"room_id":"!x:domain","sender":"@a:domain","origin":"domain","origin_server_ts":1000000,"signatures":{},"hashes":{},` +
				`"type":"X","content":{},"prev_events":[],"auth_events":[],"depth":3,"unsigned":{"age_ts":1000000}}`,
			"5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
		},
		{
			`{"content":{"body":"Here is the message content"},"event_id":"$0:domain","origin":"domain","origin_server_ts":1000000,` +
				`"type":"m.room.message","room_id":"!r:domain","sender":"@u:domain","signatures":{},"unsigned":{"age_ts":1000000}}`,
			"onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
		},
	} {
		pdu, err := Canonical(nil, []byte(c.in))
		if err != nil {
			t.Fatal(err)
		}
		sum := contentHash(Object(pdu).Without("unsigned", "signatures", "hashes"))
		if got := base64.RawStdEncoding.EncodeToString(sum[:]); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// TestRedactedBytes: the signature in the same appendix is over the redacted event, so it tells that the redacted bytes,
// of which an event id is the hash, are right. The key is that of the appendix, "Cryptographic Test Vectors".
func TestRedactedBytes(t *testing.T) {
	seed, _ := base64.RawStdEncoding.DecodeString("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
	key := ed25519.NewKeyFromSeed(seed)
	for _, c := range []struct{ in, typ, signature string }{
		{
			`{"auth_events":[],"content":{},"depth":3,"hashes":{"sha256":"5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos"},` +
				`"origin":"domain","origin_server_ts":1000000,"prev_events":[],"room_id":"!x:domain","sender":"@a:domain","type":"X"}`,
			"X", "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
		},
		{
			`{"content":{"body":"Here is the message content"},"event_id":"$0:domain",` +
				`"hashes":{"sha256":"onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g"},"origin":"domain","origin_server_ts":1000000,` +
				`"room_id":"!r:domain","sender":"@u:domain","type":"m.room.message"}`,
			"m.room.message", "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
		},
	} {
		redacted := appendRedacted(nil, V10, c.typ, []byte(c.in))
		got := base64.RawStdEncoding.EncodeToString(ed25519.Sign(key, redacted))
		if got != c.signature {
			t.Errorf("the signature of %s is %s", redacted, got)
		}
	}
}

func TestRedactContent(t *testing.T) {
	for _, c := range []struct{ typ, in, v10, v11 string }{
		{TypeMessage, `{"body":"x","msgtype":"m.text"}`, `{}`, `{}`},
		{
			TypeMember, `{"avatar_url":"x","join_authorised_via_users_server":"@a:b","membership":"join","third_party_invite":{"display_name":"x","signed":{"token":"t"}}}`,
			`{"join_authorised_via_users_server":"@a:b","membership":"join"}`,
			`{"join_authorised_via_users_server":"@a:b","membership":"join","third_party_invite":{"signed":{"token":"t"}}}`,
		},
		{TypeMember, `{"third_party_invite":{"display_name":"x"}}`, `{}`, `{"third_party_invite":{}}`},
		{TypeMember, `{"third_party_invite":"x"}`, `{}`, `{}`},
		{TypeCreate, `{"creator":"@a:b","room_version":"10","type":"m.space"}`, `{"creator":"@a:b"}`, `{"creator":"@a:b","room_version":"10","type":"m.space"}`},
		{TypeJoinRules, `{"allow":[],"join_rule":"restricted","x":1}`, `{"allow":[],"join_rule":"restricted"}`, `{"allow":[],"join_rule":"restricted"}`},
		{
			TypePowerLevels,
			`{"ban":1,"events":{},"events_default":2,"invite":3,"kick":4,"notifications":{},"redact":5,"state_default":6,"users":{},"users_default":7,"x":8}`,
			`{"ban":1,"events":{},"events_default":2,"kick":4,"redact":5,"state_default":6,"users":{},"users_default":7}`,
			`{"ban":1,"events":{},"events_default":2,"invite":3,"kick":4,"redact":5,"state_default":6,"users":{},"users_default":7}`,
		},
		{TypeHistoryVisibility, `{"history_visibility":"shared","x":1}`, `{"history_visibility":"shared"}`, `{"history_visibility":"shared"}`},
		{TypeRedaction, `{"reason":"x","redacts":"$a"}`, `{}`, `{"redacts":"$a"}`},
		{"m.room.aliases", `{"aliases":["#a:b"]}`, `{}`, `{}`},
	} {
		for _, v := range Versions() {
			want := c.v10
			if v.Features().KeepsMore {
				want = c.v11
			}
			if gone := map[RoomVersion]string{V6: `"allow":[],`, V7: `"allow":[],`}[v]; gone != "" {
				want = strings.Replace(want, gone, "", 1)
			}
			if !v.Features().KeepsAuthorised {
				want = strings.Replace(want, `"join_authorised_via_users_server":"@a:b",`, "", 1)
			}
			pdu := `{"content":` + c.in + `,"depth":1,"membership":"m","origin":"o","redacts":"$r","x":1}`
			top := `,"depth":1`
			if !v.Features().KeepsMore {
				top += `,"membership":"m","origin":"o"`
			}
			if got := string(appendRedacted(nil, v, c.typ, []byte(pdu))); got != `{"content":`+want+top+`}` {
				t.Errorf("%s in version %s: %s", c.typ, v, got)
			}
		}
	}
}

func TestRedact(t *testing.T) {
	for _, v := range Versions() {
		for name, d := range drafts(v) {
			ev, err := Build(v, d)
			if err != nil {
				t.Fatal(err)
			}
			gone := ev.Redact()
			if gone.ID != ev.ID || gone.RoomID != ev.RoomID {
				t.Errorf("%s %s: %s in %s became %s in %s", v, name, ev.ID, ev.RoomID, gone.ID, gone.RoomID)
			}
			for _, read := range []func() (*Event, error){
				func() (*Event, error) { return Load(v, ev.ID, gone.Raw) },
				func() (*Event, error) { return Parse(v, gone.Raw) },
			} {
				got, err := read()
				if err != nil {
					t.Fatalf("%s %s: %v", v, name, err)
				}
				same(t, got, gone)
			}
			same(t, gone.Redact(), gone)
			if wants := name == "message" || name == "redaction" || name == "create" && v.Features().CreatorInContent; gone.Redacted() != wants {
				t.Errorf("%s %s: redacted is %v: %s", v, name, gone.Redacted(), gone.Raw)
			}
		}
	}
}

// TestIDs pins the ids of a few events. Rooms are made of ids, so these can never change.
func TestIDs(t *testing.T) {
	ids := map[RoomVersion]map[string]string{
		V10: {
			"create":    "$RtBp51wC5TOdfk6_n2hJkEjltf2Yqc9S91yuYKBYT3E",
			"member":    "$J5HxV2sH0lmrAzjt8ZdFf1r2FcIqbtwGQcwaVzcQV5c",
			"message":   "$fO6oFtLKGRlhfXgrj5uSKxrCqwZ7BG4C8e0o3Ki_sg4",
			"odd":       "$841RD903Fwp_0qveeki5fzPrYqLzXcM0RXl8c-4cYAg",
			"redaction": "$hdX1lQozC3k0TqSCGSMh-vyLfmZuz-mtaStuM2pCv3E",
		},
		V11: {
			"create":    "$IaIbIA1b5ydz13J7v9p2qHDEb7ymcMf1sCBPQoocav8",
			"member":    "$J5HxV2sH0lmrAzjt8ZdFf1r2FcIqbtwGQcwaVzcQV5c",
			"message":   "$fO6oFtLKGRlhfXgrj5uSKxrCqwZ7BG4C8e0o3Ki_sg4",
			"odd":       "$841RD903Fwp_0qveeki5fzPrYqLzXcM0RXl8c-4cYAg",
			"redaction": "$q81Vym9kSRmv24X4XwWq2-hbwDiaBVPYGubB0KmQw68",
		},
		V12: {
			"create":    "$o4Gtb4szaLE5bpFrnwlz2MWptTMx7vLK5wphdfz7wJU",
			"member":    "$Tfwq6rheKLrkPSLXa5jcAEge0RXX3FGUDU2wofwuX8Q",
			"message":   "$2lrqTD8y5G1JtRfnpNUkuMXuN5Y7RUW1UyQYNs9nIpM",
			"odd":       "$bKpVbXDg6KWbU_PwnaF4BrvK5dsQ9-QxsMpa9mmDg7o",
			"redaction": "$1EWWeh6q8PwXfjholjIyoi6jVDYLK5-Kxydai_8P0JQ",
		},
	}
	for v, want := range ids {
		for name, d := range drafts(v) {
			ev, err := Build(v, d)
			if err != nil {
				t.Fatal(err)
			}
			if string(ev.ID) != want[name] {
				t.Errorf("version %s, %s: %q", v, name, ev.ID)
			}
		}
	}
}
