package room

import (
	"encoding/json"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/replica"
)

// sendBody proposes one event.
type sendBody struct {
	Room    id.RoomID       `json:"room"`
	Sender  id.UserID       `json:"sender"`
	Device  id.DeviceID     `json:"device,omitempty"`
	Txn     string          `json:"txn,omitempty"`
	Type    string          `json:"type"`
	Key     string          `json:"key,omitempty"`     // room.state: the state key
	Redacts id.EventID      `json:"redacts,omitempty"` // room.send of m.room.redaction: its target
	Content json.RawMessage `json:"content"`           // canonical
	// Annotated is an annotation that says the same, of the time before they were kept by who made them.
	Annotated id.EventID `json:"annotated,omitempty"`
}

// send adds a message, or any other event that is not state.
func (m *machine) send(tx *replica.Tx, body []byte) ([]byte, error) {
	var b sendBody
	if err := unmarshal(body, &b); err != nil {
		return nil, err
	}
	w, err := m.open(tx, b.Room)
	if err != nil {
		return nil, err
	}
	d := event.Draft{Type: b.Type, Sender: b.Sender, Content: event.Object(b.Content), Redacts: b.Redacts}
	s, err := w.add(d, origin{b.Device, b.Txn})
	if err != nil {
		return nil, err
	}
	if err := w.checkRelation(&s.Draft, b.Annotated); err != nil {
		return nil, err
	}
	w.annotate(&s)
	if b.Type == event.TypeRedaction {
		if err := w.redact(s); err != nil {
			return nil, err
		}
	}
	w.close()
	return eventResult(s.ID), nil
}

// state sets a piece of state.
func (m *machine) state(tx *replica.Tx, body []byte) ([]byte, error) {
	var b sendBody
	if err := unmarshal(body, &b); err != nil {
		return nil, err
	}
	w, err := m.open(tx, b.Room)
	if err != nil {
		return nil, err
	}
	d := event.Draft{Type: b.Type, Sender: b.Sender, StateKey: &b.Key, Content: event.Object(b.Content)}
	s, err := w.add(d, origin{b.Device, b.Txn})
	if err != nil {
		return nil, err
	}
	w.close()
	return eventResult(s.ID), nil
}

// redact carries out the redaction s: the target's content is gone from the timeline, for good. A target that was redacted before
// stays as it is.
//
// Source: client-server API, "Redactions".
func (w *writer) redact(s Stored) error {
	target, err := w.redactable(s.Sender, s.Redacts)
	if err != nil || target.Redacted != (Place{}) {
		return err
	}
	w.unrelate(&target)
	target.Event = target.Event.Redact()
	target.Redacted = s.Place
	w.tx.Set(target.Place.Append(w.key(tableTimeline)), target.encode())
	if target.ID == w.PowerLevels.ID || target.ID == w.JoinRules.ID {
		w.edits++
	}
	return nil
}

// redactable is the event that a user wants to redact, if they may.
func (w *writer) redactable(by id.UserID, e id.EventID) (Stored, error) {
	const op = "room.redact"
	target, ok := w.Event(e)
	switch {
	case !ok:
		return target, errs.New(op, errs.NotFound, "", "the event to be redacted is not in the room")
	case target.Is(event.TypeCreate, ""):
		return target, errs.New(op, errs.Forbidden, "", "the event that made the room cannot be redacted")
	case !w.rulesNow().MayRedact(by, target.Sender):
		return target, errs.New(op, errs.Forbidden, "", "your power level does not reach to redact what others sent")
	}
	return target, nil
}
