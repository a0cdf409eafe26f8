package room

import (
	"bongsu/id"
	"bongsu/replica"
)

// Types of receipts.
const (
	Read        = "m.read"
	ReadPrivate = "m.read.private"
)

// receiptsBody proposes receipts of many users in one room.
type receiptsBody struct {
	Room     id.RoomID     `json:"room"`
	Receipts []receiptItem `json:"receipts"`
}

type receiptItem struct {
	User   id.UserID  `json:"user"`
	Type   string     `json:"type"`
	Thread string     `json:"thread,omitempty"`
	Event  id.EventID `json:"event"`
}

// receipts moves receipts forward. One that would go back or stand still, that names no event of the room, or whose user is
// not in it changes nothing: receipts travel together, and one must not spoil the others.
func (m *machine) receipts(tx *replica.Tx, body []byte) ([]byte, error) {
	var b receiptsBody
	if err := unmarshal(body, &b); err != nil {
		return nil, err
	}
	w, err := m.open(tx, b.Room)
	if err != nil {
		return nil, err
	}
	changed := false
	for _, item := range b.Receipts {
		at, ok := w.PlaceOf(item.Event)
		if !ok || !w.IsJoined(item.User) {
			continue
		}
		rc := Receipt{User: item.User, Type: item.Type, Thread: item.Thread, Event: item.Event, At: at, TS: tx.Wall()}
		changed = w.putReceipt(rc) || changed
	}
	if changed {
		w.close()
	}
	return []byte("{}"), nil
}

// putReceipt reports whether the receipt was ahead of the one before.
func (w *writer) putReceipt(rc Receipt) bool {
	key := rc.key(w.key(tableReceipt))
	if row := w.tx.Get(key); row != nil {
		var was Receipt
		was.value(row)
		if !was.At.Before(rc.At) {
			return false
		}
		w.tx.Delete(putPlace(w.key(tableReceived), was.Place))
	}
	rc.Place = w.tx.Place()
	w.tx.Set(key, rc.encode())
	w.tx.Set(putPlace(w.key(tableReceived), rc.Place), rc.name())
	w.LastReceipt = rc.Place
	w.tx.Note(Changed{Room: w.ID, Place: rc.Place, Change: ChangeReceipt, User: rc.User, Private: rc.Type == ReadPrivate})
	return true
}
