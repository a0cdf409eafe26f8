package event

import (
	"strings"

	"bongsu/errs"
	"bongsu/id"
)

// Parse reads a PDU that somebody else made: checks its JSON, shape and limits, drops signatures and unsigned, and
// computes its id. A PDU whose content hash does not fit its content is returned redacted, as servers must treat it; its
// id is the same.
//
// Errors: TooLarge for what is over a limit, Invalid for the rest. raw is not kept.
//
// Source: server-server API, "Checks performed on receipt of a PDU".
func Parse(v RoomVersion, raw []byte) (*Event, error) {
	const op = "event.Parse"
	if !v.Known() {
		return nil, errs.New(op, errs.Invalid, errs.UnsupportedVersion, "room version %q is not known here", v)
	}
	canonical, err := ParseObject(raw)
	if err != nil {
		return nil, err
	}
	if len(canonical) > MaxSize {
		return nil, errs.New(op, errs.TooLarge, "", "the event is larger than %d bytes", MaxSize)
	}
	pdu := canonical.Without("signatures", "unsigned")
	ev := &Event{Version: v, Raw: pdu}
	if err := ev.split(op); err != nil {
		return nil, err
	}
	isCreate := ev.Type == TypeCreate && ev.StateKey != nil
	noRoomID := v.Features().RoomIDIsHash && isCreate
	if err := validate(op, v, &ev.Draft, noRoomID); err != nil {
		return nil, err
	}
	ev.setID(referenceHash(v, ev.Type, pdu), isCreate)
	if ev.Redacted() {
		return ev.Redact(), nil
	}
	return ev, nil
}

// Load reads a row that was written from an Event's Raw, with the id that it was written under. It trusts both and checks
// only what it needs to not misread. raw is kept: the caller must not change it afterwards.
//
// An error is of kind Internal: the row is damaged.
func Load(v RoomVersion, eventID id.EventID, raw []byte) (*Event, error) {
	const op = "event.Load"
	ev := &Event{Version: v, ID: eventID, Raw: raw}
	if err := ev.split(op); err != nil {
		return nil, errs.New(op, errs.Internal, "", "damaged event %s: %v", eventID, err)
	}
	if ev.RoomID == "" && ev.Type == TypeCreate {
		ev.RoomID = RoomIDOf(eventID)
	}
	return ev, nil
}

// split fills the fields of ev from Raw in one pass. Members that it does not know stay in Raw alone.
func (ev *Event) split(op string) error {
	s := string(ev.Raw) // one copy that all the strings below share
	c := members(ev.Raw)
	seen := 0
	for c.next() {
		ok := true
		known := 1
		switch s[c.key+1 : c.keyEnd-1] {
		case "auth_events":
			ev.AuthEvents, ok = splitIDs(s, ev.Raw, c.val)
		case "content":
			ev.Content, ok = Object(ev.Raw[c.val:c.end:c.end]), s[c.val] == '{'
		case "depth":
			ev.Depth, ok = Integer(ev.Raw[c.val:c.end])
		case "origin_server_ts":
			ev.OriginServerTS, ok = Integer(ev.Raw[c.val:c.end])
		case "prev_events":
			ev.PrevEvents, ok = splitIDs(s, ev.Raw, c.val)
		case "sender":
			ok = splitText(&ev.Sender, s[c.val:c.end])
		case "type":
			ok = splitText(&ev.Type, s[c.val:c.end])
		case "redacts":
			ok = splitText(&ev.Redacts, s[c.val:c.end])
			known = 0
		case "room_id":
			ok = splitText(&ev.RoomID, s[c.val:c.end])
			known = 0
		case "state_key":
			ev.StateKey = new(string)
			ok = splitText(ev.StateKey, s[c.val:c.end])
			known = 0
		default:
			known = 0
		}
		if !ok {
			return errs.New(op, errs.Invalid, errs.BadJSON, "the event's %s has the wrong type", s[c.key:c.keyEnd])
		}
		seen += known
	}
	if seen != 7 || c.pos != len(s) {
		return errs.New(op, errs.Invalid, errs.BadJSON, "the event lacks a member that every event has")
	}
	ev.Redacts = ev.target()
	return nil
}

// target is what ev redacts, from where its room version has it; empty if it redacts nothing. A target that is no event
// id redacts nothing.
func (ev *Event) target() id.EventID {
	if ev.Type != TypeRedaction {
		return ""
	}
	target := string(ev.Redacts)
	if ev.Version.Features().RedactsInContent {
		target, _ = ev.Content.String("redacts")
	}
	parsed, err := id.ParseEventID(target)
	if err != nil {
		return ""
	}
	return parsed
}

// splitText reads the JSON string v into dst, sharing v's memory where it can.
func splitText[T ~string](dst *T, v string) bool {
	if len(v) < 2 || v[0] != '"' {
		return false
	}
	if strings.IndexByte(v, '\\') >= 0 {
		s, ok := Text([]byte(v))
		*dst = T(s)
		return ok
	}
	*dst = T(v[1 : len(v)-1])
	return true
}

// splitIDs reads the array of event ids that begins at offset i of raw, of which s is a copy.
func splitIDs(s string, raw []byte, i int) ([]id.EventID, bool) {
	if s[i] != '[' {
		return nil, false
	}
	if i++; s[i] == ']' {
		return nil, true
	}
	ids := make([]id.EventID, 0, 4)
	for {
		end := skip(raw, i)
		var e id.EventID
		if end < 0 || !splitText(&e, s[i:end]) {
			return nil, false
		}
		ids = append(ids, e)
		if s[end] == ']' {
			return ids, true
		}
		i = end + 1
	}
}

// validate checks the shape of a PDU. noRoomID is true for a create event that must not have a room id.
func validate(op string, v RoomVersion, d *Draft, noRoomID bool) error {
	bad := func(what string) error {
		return errs.New(op, errs.Invalid, errs.BadJSON, "%s", what)
	}
	if !v.Known() {
		return errs.New(op, errs.Invalid, errs.UnsupportedVersion, "room version %q is not known here", v)
	}
	if err := validateSizes(op, d); err != nil {
		return err
	}
	if noRoomID != (d.RoomID == "") {
		return bad("an event has a room_id, unless it makes a room that is named by its hash")
	}
	if d.RoomID != "" {
		if _, err := id.ParseRoomID(string(d.RoomID)); err != nil {
			return err
		}
	}
	if _, err := id.ParseUserID(string(d.Sender)); err != nil {
		return err
	}
	switch {
	case d.Type == "":
		return bad("an event has a type")
	case !validText(d.Type) || d.StateKey != nil && !validText(*d.StateKey):
		return bad("type and state_key are valid UTF-8")
	case len(d.Content) < 2 || d.Content[0] != '{':
		return bad("the content of an event is an object")
	case d.Depth < 0 || d.Depth > MaxInt:
		return bad("depth is out of range")
	case d.OriginServerTS < -MaxInt || d.OriginServerTS > MaxInt:
		return bad("origin_server_ts is out of range")
	case d.Redacts != "" && d.Type != TypeRedaction:
		return bad("only a redaction redacts")
	case len(d.PrevEvents) > maxPrevEvents || len(d.AuthEvents) > maxAuthEvents:
		return bad("an event has too many prev_events or auth_events")
	}
	return validateIDs(d)
}

func validateSizes(op string, d *Draft) error {
	for _, f := range [...]struct {
		name string
		n    int
	}{
		{"type", len(d.Type)},
		{"sender", len(d.Sender)},
		{"room_id", len(d.RoomID)},
		{"redacts", len(d.Redacts)},
	} {
		if f.n > maxField {
			return errs.New(op, errs.TooLarge, "", "%s is longer than %d bytes", f.name, maxField)
		}
	}
	if d.StateKey != nil && len(*d.StateKey) > maxField {
		return errs.New(op, errs.TooLarge, "", "state_key is longer than %d bytes", maxField)
	}
	return nil
}

func validateIDs(d *Draft) error {
	for _, ids := range [...][]id.EventID{d.PrevEvents, d.AuthEvents} {
		for _, e := range ids {
			if _, err := id.ParseEventID(string(e)); err != nil {
				return err
			}
		}
	}
	if d.Redacts == "" {
		return nil
	}
	_, err := id.ParseEventID(string(d.Redacts))
	return err
}
