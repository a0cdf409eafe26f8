package event

import "strconv"

// ClientFormat says how AppendClient writes an event.
type ClientFormat struct {
	NoRoomID bool   // leave out room_id, as in /sync, where the room is known from the place
	Unsigned []byte // the members of unsigned, JSON with commas between and without braces; empty for no unsigned
}

// AppendClient writes ev as clients see it. A redaction has its target in both places, beside the content and in it, since
// older and newer clients look for it in different ones.
//
// Source: client-server API, ClientEvent and SyncTimelineEvent; rooms/v11, "Moving the redacts property".
func (ev *Event) AppendClient(dst []byte, f ClientFormat) []byte {
	content := ev.Content
	if ev.Redacts != "" && !ev.Version.Features().RedactsInContent {
		content = content.With("redacts", AppendString(nil, ev.Redacts))
	}
	dst = append(append(dst, `{"content":`...), content...)
	dst = AppendString(append(dst, `,"event_id":`...), ev.ID)
	dst = strconv.AppendInt(append(dst, `,"origin_server_ts":`...), ev.OriginServerTS, 10)
	if ev.Redacts != "" {
		dst = AppendString(append(dst, `,"redacts":`...), ev.Redacts)
	}
	if !f.NoRoomID {
		dst = AppendString(append(dst, `,"room_id":`...), ev.RoomID)
	}
	dst = ev.appendCommon(dst)
	if len(f.Unsigned) > 0 {
		dst = append(append(append(dst, `,"unsigned":{`...), f.Unsigned...), '}')
	}
	return append(dst, '}')
}

// AppendStripped writes ev as stripped state, which invited and knocking users are shown.
//
// Source: client-server API, "Stripped state".
func (ev *Event) AppendStripped(dst []byte) []byte {
	dst = append(append(dst, `{"content":`...), ev.Content...)
	return append(ev.appendCommon(dst), '}')
}

func (ev *Event) appendCommon(dst []byte) []byte {
	dst = AppendString(append(dst, `,"sender":`...), ev.Sender)
	if ev.StateKey != nil {
		dst = AppendString(append(dst, `,"state_key":`...), *ev.StateKey)
	}
	return AppendString(append(dst, `,"type":`...), ev.Type)
}
