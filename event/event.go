// Package event is the form of events: strict and canonical JSON, room versions, hashes and ids, redaction, and the
// shapes in which events are stored and shown.
//
// Invariant: an Event's Raw is the canonical JSON of the complete PDU with its hashes and without signatures and unsigned,
// its other fields say the same as Raw, and ID is the hash of the redacted Raw. So two sites that build an event from the
// same draft get the same bytes and the same id. Events are never changed; Redact makes another one.
//
// Limits: room versions 6 to 12. Signatures are neither made nor checked here. User ids without a localpart or with
// control characters, which very old rooms may have, are refused. Nothing here reads a clock or keeps state.
package event

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"

	"bongsu/errs"
	"bongsu/id"
)

// Limits on a PDU. Source: client-server API, "Size limits"; server-server API, "PDU fields".
const (
	MaxSize       = 65536 // bytes of the whole PDU in canonical JSON, signatures included
	maxField      = 255   // bytes of type, state_key, sender, room_id, event_id
	maxPrevEvents = 20
	maxAuthEvents = 10
)

// Draft is what is decided about an event before it is built: everything but hashes and id.
type Draft struct {
	RoomID         id.RoomID // empty for the m.room.create of a room whose id is its hash
	Type           string
	Sender         id.UserID
	StateKey       *string // nil for an event that is not state; "" is a state key
	Content        Object  // canonical
	OriginServerTS int64   // Unix milliseconds
	Depth          int64
	PrevEvents     []id.EventID
	AuthEvents     []id.EventID
	Redacts        id.EventID // of m.room.redaction: its target; else empty
}

// IsState reports whether the event has a state key.
func (d *Draft) IsState() bool { return d.StateKey != nil }

// Is reports whether the event is state of type typ under stateKey.
func (d *Draft) Is(typ, stateKey string) bool {
	return d.StateKey != nil && d.Type == typ && *d.StateKey == stateKey
}

// Event is a PDU. Its RoomID is filled for m.room.create too.
type Event struct {
	Draft
	Version RoomVersion
	ID      id.EventID
	Raw     []byte // canonical PDU with hashes, without signatures and unsigned
}

// Build makes the event of a draft: hashes, id and canonical JSON. The redacts of a redaction goes where the room version
// wants it, beside the content or in it.
//
// It leaves as many bytes under MaxSize as a signature of the sender's server takes. Errors: TooLarge for what is over a
// limit, Invalid with BadJSON for what cannot be an event of this room version. The draft's slices are kept.
func Build(v RoomVersion, d Draft) (*Event, error) {
	const op = "event.Build"
	f := v.Features()
	isCreate := d.Type == TypeCreate && d.StateKey != nil
	if f.RedactsInContent && d.Redacts != "" && d.Type == TypeRedaction && len(d.Content) > 1 {
		d.Content = d.Content.With("redacts", AppendString(nil, d.Redacts))
	}
	if err := validate(op, v, &d, f.RoomIDIsHash && isCreate); err != nil {
		return nil, err
	}
	ev := &Event{Draft: d, Version: v}
	top := d
	if f.RedactsInContent {
		top.Redacts = ""
	}
	raw := make([]byte, 0, len(d.Content)+1024)
	raw, at := top.append(raw, d.Content)
	raw = insertHash(raw, at, contentHash(raw))
	if len(raw)+signatureSize(d.Sender) > MaxSize {
		return nil, errs.New(op, errs.TooLarge, "", "the event is larger than %d bytes", MaxSize)
	}
	ev.Raw = raw
	ev.Redacts = ev.target()
	ev.setID(referenceHash(v, d.Type, raw), isCreate)
	return ev, nil
}

// append writes the PDU without hashes, its keys sorted, and returns where the hashes belong.
func (d *Draft) append(dst []byte, content Object) (pdu []byte, hashesAt int) {
	dst = append(dst, `{"auth_events":`...)
	dst = appendIDs(dst, d.AuthEvents)
	dst = append(append(dst, `,"content":`...), content...)
	dst = strconv.AppendInt(append(dst, `,"depth":`...), d.Depth, 10)
	hashesAt = len(dst)
	dst = strconv.AppendInt(append(dst, `,"origin_server_ts":`...), d.OriginServerTS, 10)
	dst = appendIDs(append(dst, `,"prev_events":`...), d.PrevEvents)
	if d.Redacts != "" {
		dst = AppendString(append(dst, `,"redacts":`...), d.Redacts)
	}
	if d.RoomID != "" {
		dst = AppendString(append(dst, `,"room_id":`...), d.RoomID)
	}
	dst = AppendString(append(dst, `,"sender":`...), d.Sender)
	if d.StateKey != nil {
		dst = AppendString(append(dst, `,"state_key":`...), *d.StateKey)
	}
	dst = AppendString(append(dst, `,"type":`...), d.Type)
	return append(dst, '}'), hashesAt
}

func appendIDs(dst []byte, ids []id.EventID) []byte {
	dst = append(dst, '[')
	for i, e := range ids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, e)
	}
	return append(dst, ']')
}

// setID derives the ids from the reference hash. The room id of a hash room is that of its create event.
func (ev *Event) setID(hash [sha256.Size]byte, isCreate bool) {
	var b [1 + 43]byte
	b[0] = '$'
	base64.RawURLEncoding.Encode(b[1:], hash[:])
	ev.ID = id.EventID(b[:])
	if isCreate && ev.Version.Features().RoomIDIsHash {
		ev.RoomID = RoomIDOf(ev.ID)
	}
}

// RoomIDOf is the id of the room that a create event with this id makes, in versions where the room id is a hash.
func RoomIDOf(create id.EventID) id.RoomID {
	if create == "" {
		return ""
	}
	return id.RoomID("!" + create[1:])
}

// contentHash is the hash of a PDU that has no hashes, signatures and unsigned.
// Source: server-server API, "Calculating the content hash for an event".
func contentHash(pdu []byte) [sha256.Size]byte { return sha256.Sum256(pdu) }

// referenceHash is the hash of the redacted PDU, which has no signatures and unsigned.
// Source: server-server API, "Calculating the reference hash for an event".
func referenceHash(v RoomVersion, typ string, raw []byte) [sha256.Size]byte {
	var space [1024]byte
	return sha256.Sum256(appendRedacted(space[:0], v, typ, raw))
}

const hashPrefix, hashSuffix = `,"hashes":{"sha256":"`, `"}`

// insertHash puts the hashes member at offset at.
func insertHash(raw []byte, at int, hash [sha256.Size]byte) []byte {
	const size = len(hashPrefix) + 43 + len(hashSuffix)
	n := len(raw)
	raw = append(raw, make([]byte, size)...)
	copy(raw[at+size:], raw[at:n])
	w := append(raw[:at], hashPrefix...)
	w = base64.RawStdEncoding.AppendEncode(w, hash[:])
	_ = append(w, hashSuffix...)
	return raw
}

// signatureSize is what one signature of the sender's server adds to a PDU, in bytes.
func signatureSize(sender id.UserID) int {
	const keyID, signature = 32, 86
	return len(`,"signatures":{"":{"ed25519:":""}}`) + len(sender.Server()) + keyID + signature
}
