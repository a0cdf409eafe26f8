package keys

import (
	"encoding/json"

	"bongsu/event"
	"bongsu/id"
	"bongsu/replica"
)

// sendBody is a sender's request, in the sender's slot, where its transaction id makes it happen once.
type sendBody struct {
	To []recipient `json:"to"`
}

type recipient struct {
	User id.UserID       `json:"user"`
	Body json.RawMessage `json:"body"` // a deliverBody
}

// deliverBody is what arrives in the slot of a recipient.
type deliverBody struct {
	Sender   id.UserID `json:"sender"`
	Type     string    `json:"type"`
	User     id.UserID `json:"user"`
	Messages []message `json:"messages"`
}

// message is one content for some devices.
type message struct {
	Devices []id.DeviceID   `json:"devices"`
	Content json.RawMessage `json:"content"`
}

// send passes the messages on to their recipients, through the outbox: each arrives exactly once, and in the order of sending.
func send(tx *replica.Tx, b sendBody) (any, error) {
	for _, r := range b.To {
		tx.Send(id.SlotOf(r.User), kindDeliver, r.Body)
	}
	return nil, nil
}

// deliver puts messages into inboxes.
func deliver(tx *replica.Tx, b deliverBody) (any, error) {
	for _, m := range b.Messages {
		ev := append([]byte(`{"content":`), m.Content...)
		ev = event.AppendString(append(ev, `,"sender":`...), b.Sender)
		ev = event.AppendString(append(ev, `,"type":`...), b.Type)
		ev = append(ev, '}')
		for _, device := range m.Devices {
			tx.Set(inboxKey(b.User, device, tx.Place()), ev)
			tx.Note(ToDevice{b.User, device})
		}
	}
	return nil, nil
}

// ackedBody says that a device has what arrived up to and including a place.
type ackedBody struct {
	User   id.UserID     `json:"user"`
	Device id.DeviceID   `json:"device"`
	UpTo   replica.Place `json:"up_to"`
}

func acked(tx *replica.Tx, b ackedBody) (any, error) {
	takeInbox(tx, b.User, b.Device, b.UpTo)
	return nil, nil
}

func takeInbox(tx *replica.Tx, user id.UserID, device id.DeviceID, upTo replica.Place) {
	deleteRange(tx, inboxKey(user, device, replica.Place{}), append(inboxKey(user, device, upTo), 0))
}
