package client

import (
	"context"
	"encoding/json"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/room"
)

// fullyRead is the marker that is no receipt: account data that only these endpoints write. Specification: "Fully read markers".
const fullyRead = "m.fully_read"

func (a Rooms) postReceipt(ctx context.Context, r *Request) (any, error) {
	in, err := r.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	e, err := r.EventID("eventId")
	if err != nil {
		return nil, err
	}
	var body struct {
		Thread *string `json:"thread_id"`
	}
	if err := r.DecodeOptional(&body); err != nil {
		return nil, err
	}
	typ, thread := r.Path("receiptType"), ""
	if body.Thread != nil {
		if thread = *body.Thread; thread == "" || typ == fullyRead {
			return nil, errs.New("api.postReceipt", errs.Invalid, errs.InvalidParam, "thread_id is empty, or does not go with %s", typ)
		}
	}
	if typ == fullyRead {
		return nil, a.setFullyRead(ctx, r, in, e)
	}
	return nil, errs.Wrap("api.postReceipt", a.Rooms.Receipt(ctx, r.User(), in, typ, thread, e))
}

func (a Rooms) setReadMarker(ctx context.Context, r *Request) (any, error) {
	in, err := r.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	var body struct {
		FullyRead   string `json:"m.fully_read"`
		Read        string `json:"m.read"`
		ReadPrivate string `json:"m.read.private"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	parsed := func(text string) (e id.EventID, err error) {
		if text == "" {
			return "", nil
		}
		return id.ParseEventID(text)
	}
	marker, err := parsed(body.FullyRead)
	if err != nil {
		return nil, err
	}
	var readings []room.Reading
	for _, m := range []struct{ typ, event string }{{room.Read, body.Read}, {room.ReadPrivate, body.ReadPrivate}} {
		e, err := parsed(m.event)
		if err != nil {
			return nil, err
		}
		if e != "" {
			readings = append(readings, room.Reading{Type: m.typ, Event: e})
		}
	}
	if marker != "" { // before anything is written
		if _, err := a.marks(r, marker); err != nil {
			return nil, err
		}
	}
	if len(readings) > 0 {
		if err := a.Rooms.Receipts(ctx, r.User(), in, readings...); err != nil {
			return nil, errs.Wrap("api.setReadMarker", err)
		}
	}
	if marker == "" {
		return nil, nil
	}
	return nil, a.setFullyRead(ctx, r, in, marker)
}

// marks is where an event is that the marker shall stand at, for members of the room.
func (a Rooms) marks(r *Request, e id.EventID) (room.Place, error) {
	v, err := a.read(r)
	if err != nil {
		return room.Place{}, err
	}
	defer v.close()
	if !v.IsJoined(v.user) {
		return room.Place{}, notIn()
	}
	p, ok := v.PlaceOf(e)
	if !ok {
		return room.Place{}, errs.New("api.setFullyRead", errs.NotFound, "", "the room has no such event")
	}
	return p, nil
}

// setFullyRead moves the marker, which never goes back: two devices may be at different points.
func (a Rooms) setFullyRead(ctx context.Context, r *Request, in id.RoomID, e id.EventID) error {
	to, err := a.marks(r, e)
	if err != nil {
		return err
	}
	moved := append(event.AppendString([]byte(`{"event_id":`), e), '}')
	err = a.Account.EditData(ctx, r.User(), in, fullyRead, func(old json.RawMessage) (json.RawMessage, error) {
		was, _ := event.Object(old).String("event_id")
		if at, err := a.marks(r, id.EventID(was)); err == nil && !at.Before(to) {
			return old, nil
		}
		return moved, nil
	})
	return errs.Wrap("api.setFullyRead", err)
}
