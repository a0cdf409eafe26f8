package keys

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/replica"
)

// everyDevice stands for all devices of a user.
const everyDevice = "*"

// maxSend is how many bytes of messages one proposal carries. A request with more becomes several, each of which happens once.
const maxSend = 128 << 10

// Outgoing are messages of one type for devices: user, device or "*", content.
type Outgoing map[id.UserID]map[id.DeviceID]json.RawMessage

// Send puts messages into the inboxes of devices. The same transaction id of the same device and type puts them there once,
// however often it is sent. Messages for users and devices that are not known are dropped, as the specification has it. Errors:
// Invalid, TooLarge for the messages to one user that exceed a proposal.
func (k *Keys) Send(ctx context.Context, sender id.UserID, device id.DeviceID, typ, txn string, out Outgoing) error {
	const op = "keys.Send"
	wanted := make(map[id.UserID][]id.DeviceID, len(out))
	for user, messages := range out {
		wanted[user] = slices.Sorted(maps.Keys(messages))
	}
	// The parts are cut by what was asked, not by who is known now: a repeated request must fall into the same ones.
	parts, err := cutParts(out, wanted)
	if err != nil {
		return err
	}
	devices, err := k.devices(ctx, wanted)
	if err != nil {
		return err
	}
	for i, users := range parts {
		b := sendBody{To: []recipient{}}
		for _, user := range users {
			d := deliverBody{Sender: sender, Type: typ, User: user}
			if d.Messages = address(wanted[user], out[user], devices[user]); len(d.Messages) > 0 {
				b.To = append(b.To, recipient{user, replica.Marshal(d)})
			}
		}
		key := replica.NewKey(sender, device, "sendToDevice/"+typ+"/"+strconv.Itoa(i), txn)
		p := replica.Proposal{Kind: kindSend, Slot: id.SlotOf(sender), Key: key, Body: replica.Marshal(b), Lane: string(sender)}
		if err := k.submit(ctx, op, p, nil); err != nil {
			return err
		}
	}
	return nil
}

// cutParts makes the contents canonical and deals the users out to parts of at most maxSend bytes, or of one user. There is
// always one part, so that a request without messages also uses up its transaction id.
func cutParts(out Outgoing, wanted map[id.UserID][]id.DeviceID) ([][]id.UserID, error) {
	const op = "keys.Send"
	parts, size := [][]id.UserID{nil}, 0
	for _, user := range slices.Sorted(maps.Keys(out)) {
		n := 0
		for _, device := range wanted[user] {
			content, err := event.Canonical(nil, out[user][device])
			if err != nil {
				return nil, err
			}
			if content[0] != '{' {
				return nil, errs.New(op, errs.Invalid, errs.BadJSON, "the content of a message is not an object")
			}
			out[user][device] = content
			n += len(content) + len(device) + 128
		}
		if size > 0 && size+n > maxSend {
			parts, size = append(parts, nil), 0
		}
		last := len(parts) - 1
		parts[last], size = append(parts[last], user), size+n
	}
	return parts, nil
}

// address makes the messages to the known devices of one user.
func address(list []id.DeviceID, contents map[id.DeviceID]json.RawMessage, known map[id.DeviceID]string) []message {
	var out []message
	for _, device := range list {
		to := []id.DeviceID{device}
		if device == everyDevice {
			to = slices.Sorted(maps.Keys(known))
		} else if _, ok := known[device]; !ok {
			continue
		}
		if len(to) > 0 {
			out = append(out, message{to, contents[device]})
		}
	}
	return out
}

type ackFor struct {
	user   id.UserID
	device id.DeviceID
}

// Acked says that a device has the messages up to and including a place: it has synced with a token that follows them. They are
// deleted soon; Acked does not wait. An acknowledgement that is lost is made good by the device's next sync.
func (k *Keys) Acked(user id.UserID, device id.DeviceID, upTo replica.Place) {
	k.mu.Lock()
	defer k.mu.Unlock()
	who := ackFor{user, device}
	if k.acks[who].Before(upTo) {
		k.acks[who] = upTo
	}
	select {
	case k.ready <- struct{}{}:
	default:
	}
}

// acknowledge proposes the acknowledgements, as many at a time as there are; while they are on their way, the next gather.
func (k *Keys) acknowledge() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	k.done.Go(func() {
		<-k.stop
		cancel()
	})
	for {
		select {
		case <-k.stop:
			return
		case <-k.ready:
		}
		k.mu.Lock()
		acks := k.acks
		k.acks = map[ackFor]replica.Place{}
		k.mu.Unlock()
		slots := make(chan struct{}, atOnce)
		for who, upTo := range acks {
			slots <- struct{}{}
			go func() {
				defer func() { <-slots }()
				b := ackedBody{who.user, who.device, upTo}
				// An error needs no care: the rows are still there, and the device says it again.
				_ = k.propose(ctx, "keys.Acked", who.user, kindAcked, b, nil)
			}()
		}
		for range atOnce { // wait for all
			slots <- struct{}{}
		}
	}
}
