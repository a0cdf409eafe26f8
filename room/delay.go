package room

import (
	"bytes"
	"encoding/json"
	"iter"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// Bounds of what waits to be sent.
const (
	maxDelayedByUser = 100  // delayed events of a user in a room
	maxDelayedInRoom = 1000 // of all users in a room
)

// delayBody proposes an event for later. It is the row of the delayed event, too; then it says more.
type delayBody struct {
	ID   string   `json:"id"` // unguessable: whoever knows it may do something about the event
	Send sendBody `json:"send"`
	// IsState says that Send.Key is the key of a piece of state.
	IsState bool  `json:"is_state,omitempty"`
	Delay   int64 `json:"delay"` // milliseconds

	// In the row only.
	Since int64         `json:"since,omitempty"` // when the delay began, Unix milliseconds
	Timer replica.Timer `json:"timer,omitempty"`
}

// Delayed is an event that waits to be sent.
type Delayed struct {
	ID      string
	Room    id.RoomID
	User    id.UserID
	Type    string
	Key     *string // of state
	Content event.Object
	Delay   int64 // milliseconds
	Since   int64 // when the delay began, Unix milliseconds
}

func delaysKey(p journal.Partition, user id.UserID, room id.RoomID, delay string) []byte {
	return kv.Str(kv.Str(kv.Str(replica.Derived(p, machineByte, tableDelays), user), room), delay)
}

func (v *View) delayKey(delay string) []byte { return kv.Str(v.key(tableDelayed), delay) }

func decodeDelay(row []byte) (b delayBody) {
	if json.Unmarshal(row, &b) != nil {
		fault()
	}
	return b
}

// shown is a row as others see it.
func (b *delayBody) shown() Delayed {
	d := Delayed{ID: b.ID, Room: b.Send.Room, User: b.Send.Sender, Type: b.Send.Type, Content: event.Object(b.Send.Content), Delay: b.Delay, Since: b.Since}
	if b.IsState {
		d.Key = &b.Send.Key
	}
	return d
}

// delayed yields what waits to be sent into the room, ordered by id.
func (v *View) delayed() iter.Seq[Delayed] {
	return func(yield func(Delayed) bool) {
		prefix := v.key(tableDelayed)
		for _, row := range v.r.Scan(prefix, kv.End(prefix)) {
			b := decodeDelay(row)
			if !yield(b.shown()) {
				return
			}
		}
	}
}

// DelayedOf yields the delayed events of a user, over all partitions, of which there are n.
func DelayedOf(r kv.Reader, n int, user id.UserID) iter.Seq[Delayed] {
	return func(yield func(Delayed) bool) {
		for p := range n {
			prefix := kv.Str(replica.Derived(journal.Partition(p), machineByte, tableDelays), user)
			for k := range r.Scan(prefix, kv.End(prefix)) {
				room, rest, err := kv.CutStr(k[len(prefix):])
				if err != nil {
					fault()
				}
				delay, _, err := kv.CutStr(rest)
				if err != nil {
					fault()
				}
				v := View{ID: id.RoomID(room), slot: id.SlotOf(room)}
				row := r.Get(v.delayKey(delay))
				if row == nil {
					continue // it was sent between two reads
				}
				b := decodeDelay(row)
				if d := b.shown(); !yield(d) {
					return
				}
			}
		}
	}
}

// delay keeps an event until its time comes. Whether the sender may send it is decided then.
func (m *machine) delay(tx *replica.Tx, body []byte) ([]byte, error) {
	const op = "room.Delay"
	var b delayBody
	if err := unmarshal(body, &b); err != nil {
		return nil, err
	}
	w, err := m.open(tx, b.Send.Room)
	if err != nil {
		return nil, err
	}
	if !w.IsJoined(b.Send.Sender) {
		return nil, errs.New(op, errs.Forbidden, "", "you are not in the room")
	}
	mine, all := 0, 0
	for d := range w.View.delayed() {
		if all++; d.User == b.Send.Sender {
			mine++
		}
	}
	switch {
	case tx.Get(w.delayKey(b.ID)) != nil:
		return nil, errs.New(op, errs.Conflict, "", "there is a delayed event of this id")
	case mine >= maxDelayedByUser || all >= maxDelayedInRoom:
		return nil, errs.New(op, errs.Limited, "", "too many events wait to be sent into this room; cancel some, or wait")
	}
	w.schedule(&b)
	return append(event.AppendString([]byte(`{"delay_id":`), b.ID), '}'), nil
}

// schedule begins the delay.
func (w *writer) schedule(b *delayBody) {
	b.Since = w.tx.Wall()
	b.Timer = w.tx.At(replica.Live, w.tx.Live()+b.Delay, kindDue, replica.Marshal(delayedBody{Room: w.ID, ID: b.ID}))
	w.tx.Set(w.delayKey(b.ID), replica.Marshal(b))
	w.tx.Set(delaysKey(w.tx.Partition(), b.Send.Sender, w.ID, b.ID), nil)
}

// unschedule forgets a delayed event and its timer.
func (w *writer) unschedule(b *delayBody) {
	w.tx.Cancel(b.Timer)
	w.tx.Delete(w.delayKey(b.ID))
	w.tx.Delete(delaysKey(w.tx.Partition(), b.Send.Sender, w.ID, b.ID))
}

// What can be done about a delayed event. They are stored in proposals: what one means never changes.
const (
	delayCancel  = "cancel"
	delayRestart = "restart"
	delaySend    = "send"
)

// delayedBody names a delayed event and what is to be done about it; nothing in that of a timer.
type delayedBody struct {
	Room   id.RoomID `json:"room"`
	ID     string    `json:"id"`
	Action string    `json:"action,omitempty"`
	User   id.UserID `json:"user,omitempty"` // who does it; "" is somebody who knows the id
}

// find opens the room of a delayed event.
func (m *machine) find(tx *replica.Tx, body []byte) (*writer, delayBody, string, error) {
	var b delayedBody
	gone := errs.New("room.Delayed", errs.NotFound, "", "there is no such delayed event; it may have been sent or cancelled")
	if err := unmarshal(body, &b); err != nil {
		return nil, delayBody{}, "", err
	}
	v, ok := Open(tx, b.Room)
	if !ok {
		return nil, delayBody{}, "", gone
	}
	row := tx.Get(v.delayKey(b.ID))
	if row == nil {
		return nil, delayBody{}, "", gone
	}
	d := decodeDelay(row)
	if b.User != "" && b.User != d.Send.Sender {
		return nil, delayBody{}, "", gone
	}
	return m.writer(tx, v), d, b.Action, nil
}

// delayed cancels a delayed event, begins its delay anew, or sends it at once; then a refusal leaves it waiting.
func (m *machine) delayed(tx *replica.Tx, body []byte) ([]byte, error) {
	w, b, action, err := m.find(tx, body)
	if err != nil {
		return nil, err
	}
	w.unschedule(&b)
	switch action {
	case delayRestart:
		w.schedule(&b)
	case delaySend:
		if err := w.sendDelayed(&b); err != nil {
			return nil, err
		}
		w.close()
	}
	return []byte("{}"), nil
}

// due sends a delayed event whose time has come. One that is refused now is gone all the same.
func (m *machine) due(tx *replica.Tx, body []byte) ([]byte, error) {
	w, b, _, err := m.find(tx, body)
	if errs.Is(err, errs.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	w.unschedule(&b)
	if w.sendDelayed(&b) == nil {
		w.close()
	}
	return nil, nil
}

// sendDelayed sends an event; a refusal leaves nothing.
func (w *writer) sendDelayed(b *delayBody) error {
	d := event.Draft{Type: b.Send.Type, Sender: b.Send.Sender, Content: event.Object(b.Send.Content), Redacts: b.Send.Redacts}
	by := origin{b.Send.Device, b.Send.Txn}
	if b.IsState {
		d.StateKey = &b.Send.Key
		_, err := w.add(d, by)
		return err
	}
	// What could be refused after the event is there is looked at before.
	if err := w.checkRelation(&d, ""); err != nil {
		return err
	}
	if d.Type == event.TypeRedaction {
		if _, err := w.redactable(d.Sender, d.Redacts); err != nil {
			return err
		}
	}
	s, err := w.add(d, by)
	if err != nil {
		return err
	}
	w.annotate(&s)
	if d.Type == event.TypeRedaction {
		return w.redact(s)
	}
	return nil
}

// overtake cancels what others have delayed of a piece of state that has been set now: it was made for what was there before.
func (w *writer) overtake(s *Stored) {
	if w.tx.Rules() < sinceRules {
		return
	}
	var gone []delayBody
	prefix := w.key(tableDelayed)
	for _, row := range w.tx.Scan(prefix, kv.End(prefix)) {
		if !bytes.Contains(row, []byte(`"is_state"`)) {
			continue
		}
		if b := decodeDelay(row); b.IsState && b.Send.Type == s.Type && b.Send.Key == *s.StateKey && b.Send.Sender != s.Sender {
			gone = append(gone, b)
		}
	}
	for i := range gone {
		w.unschedule(&gone[i])
	}
}
