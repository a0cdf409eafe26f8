package event

import (
	"crypto/sha256"
	"encoding/base64"
)

// Redact is ev without what a redaction removes. It keeps its id; its content hash no longer fits.
//
// Source: rooms/v6 to rooms/v12, "Redactions".
func (ev *Event) Redact() *Event {
	raw := appendRedacted(make([]byte, 0, len(ev.Raw)), ev.Version, ev.Type, ev.Raw)
	out := &Event{Draft: ev.Draft, Version: ev.Version, ID: ev.ID, Raw: raw}
	out.Content = Object(raw).Object("content")
	if !ev.Version.Features().RedactsInContent {
		out.Redacts = "" // these versions do not protect it
	}
	return out
}

// Redacted reports whether ev has been redacted or otherwise lacks what its content hash covers.
func (ev *Event) Redacted() bool {
	want, _ := Object(ev.Raw).Object("hashes").String("sha256")
	sum := sha256.Sum256(Object(ev.Raw).Without("hashes"))
	return want != base64.RawStdEncoding.EncodeToString(sum[:])
}

// appendRedacted writes the redacted form of the canonical PDU raw.
func appendRedacted(dst []byte, v RoomVersion, typ string, raw []byte) []byte {
	f := v.Features()
	dst = append(dst, '{')
	c := members(raw)
	for c.next() {
		switch string(raw[c.key+1 : c.keyEnd-1]) {
		case "content":
			dst = appendMember(dst, raw[c.key:c.val])
			dst = appendRedactedContent(dst, f, typ, raw[c.val:c.end])
		case "auth_events", "depth", "event_id", "hashes", "origin_server_ts", "prev_events", "room_id", "sender",
			"signatures", "state_key", "type":
			dst = appendMember(dst, raw[c.key:c.end])
		case "membership", "origin", "prev_state":
			if !f.KeepsMore {
				dst = appendMember(dst, raw[c.key:c.end])
			}
		}
	}
	return append(dst, '}')
}

func appendRedactedContent(dst []byte, f Features, typ string, content []byte) []byte {
	if typ == TypeCreate && f.KeepsMore {
		return append(dst, content...)
	}
	dst = append(dst, '{')
	c := members(content)
	for c.next() {
		switch keep(f, typ, string(content[c.key+1:c.keyEnd-1])) {
		case whole:
			dst = appendMember(dst, content[c.key:c.end])
		case signedOnly:
			if invite := Object(content[c.val:c.end]); content[c.val] == '{' {
				dst = appendMember(dst, content[c.key:c.val])
				dst = append(dst, '{')
				if signed := invite.Field("signed"); signed != nil {
					dst = append(append(dst, `"signed":`...), signed...)
				}
				dst = append(dst, '}')
			}
		}
	}
	return append(dst, '}')
}

// kept is how much of a member of the content survives redaction.
type kept int

const (
	nothing kept = iota
	whole
	signedOnly // of an object, its member "signed"; the object itself stays, even if that makes it empty
)

func keep(f Features, typ, key string) kept {
	var yes bool
	switch typ {
	case TypeMember:
		if f.KeepsMore && key == "third_party_invite" {
			return signedOnly
		}
		yes = key == "membership" || f.KeepsAuthorised && key == "join_authorised_via_users_server"
	case TypeCreate:
		yes = key == "creator"
	case TypeJoinRules:
		yes = key == "join_rule" || f.Restricted && key == "allow"
	case TypePowerLevels:
		switch key {
		case "ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default":
			yes = true
		case "invite":
			yes = f.KeepsMore
		}
	case TypeHistoryVisibility:
		yes = key == "history_visibility"
	case TypeRedaction:
		yes = f.KeepsMore && key == "redacts"
	}
	if yes {
		return whole
	}
	return nothing
}
