package room

import (
	"encoding/json"
	"errors"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/replica"
	"bongsu/roomstate"
)

// createBody proposes a room: its create event, complete, and the state that its creator then sets, in order.
type createBody struct {
	Version event.RoomVersion `json:"version"`
	Device  id.DeviceID       `json:"device"`
	Create  json.RawMessage   `json:"create"`
	State   []stateItem       `json:"state"`
}

// stateItem is one state event to be.
type stateItem struct {
	Type    string          `json:"type"`
	Key     string          `json:"key"`
	Content json.RawMessage `json:"content"`
}

// create makes a room, all of it or nothing.
func (m *machine) create(tx *replica.Tx, body []byte) ([]byte, error) {
	var b createBody
	if err := unmarshal(body, &b); err != nil {
		return nil, err
	}
	w, err := m.begin(tx, &b)
	if err != nil {
		return nil, err
	}
	w.close()
	return append(event.AppendString([]byte(`{"room_id":`), w.ID), '}'), nil
}

// begin writes a new room but for its head.
func (m *machine) begin(tx *replica.Tx, b *createBody) (*writer, error) {
	const op = "room.create"
	if tx.Rules() < sinceRules && !b.Version.Features().KnockRestricted {
		return nil, errs.New(op, errs.Invalid, errs.UnsupportedVersion, "room version %q is not known here", b.Version)
	}
	ev, err := event.Parse(b.Version, b.Create)
	if err == nil {
		d := ev.Draft
		if b.Version.Features().RoomIDIsHash {
			d.RoomID = "" // the event itself has none
		}
		err = roomstate.CheckCreate(b.Version, &d)
	}
	if err != nil {
		return nil, invalidState(op, err)
	}
	v, exists := Open(tx, ev.RoomID)
	if exists {
		return nil, errs.New(op, errs.Conflict, "", "there is a room of this id")
	}
	v.Version = b.Version
	w := m.writer(tx, v)
	w.put(ev, origin{device: b.Device})
	for _, item := range b.State {
		d := event.Draft{Type: item.Type, Sender: ev.Sender, StateKey: &item.Key, Content: event.Object(item.Content)}
		if _, err := w.add(d, origin{device: b.Device}); err != nil {
			return nil, invalidState(op, err)
		}
	}
	return w, nil
}

// invalidState says that a room cannot begin with a state that its own rules do not allow.
func invalidState(op string, err error) error {
	var e *errs.Error
	if errors.As(err, &e) && e.Kind == errs.Forbidden {
		return errs.New(op, errs.Invalid, errs.InvalidRoomState, "the room cannot begin like this: %s", e.Message)
	}
	return err
}
