package room

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"iter"
	"time"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/replica"
)

// MaxDelay is the longest time that an event may be delayed by.
const MaxDelay = 24 * time.Hour

// Later is an event that is to be sent after a delay.
type Later struct {
	Type    string
	Key     *string // of state; nil: no state
	Txn     string  // of an event that is no state
	Content []byte
	Delay   time.Duration // of live time; more than 0, at most MaxDelay
}

// Delay has an event sent after a delay, if it is allowed then, unless it is cancelled before. It returns the id to do that with. The
// delay counts the time that the servers are alive: an outage in which nobody could have restarted it fires nothing.
//
// Errors: Forbidden for who is not in the room; Limited if too much waits; Invalid.
//
// Source: MSC4140.
func (s *Service) Delay(ctx context.Context, by By, room id.RoomID, l Later) (delay string, err error) {
	if l.Delay <= 0 || l.Delay > MaxDelay {
		return "", errs.New("room.Delay", errs.Invalid, errs.InvalidParam, "an event is delayed by 1 to %d milliseconds", MaxDelay.Milliseconds())
	}
	c, err := canonical(l.Content)
	if err != nil {
		return "", err
	}
	body := delayBody{ID: random(), IsState: l.Key != nil, Delay: l.Delay.Milliseconds(),
		Send: sendBody{Room: room, Sender: by.User, Device: by.Device, Txn: l.Txn, Type: l.Type, Content: json.RawMessage(c)}}
	var key replica.Key
	switch {
	case l.Key != nil:
		body.Send.Key = *l.Key
		err = s.checkState(by.User, l.Type, *l.Key, c)
	default:
		if l.Type == event.TypeRedaction {
			target, _ := c.String("redacts")
			body.Send.Redacts = id.EventID(target)
		}
		key, err = writeKey(by, l.Txn, "delay", string(room), l.Type)
	}
	if err != nil {
		return "", err
	}
	res, err := s.submit(ctx, kindDelay, room, by.User, key, &body)
	if err != nil {
		return "", err
	}
	made, _ := res.String("delay_id")
	return DelayID(room, made), nil
}

// DelayID is what clients know a delayed event by: its id in the room, and the room, so that every site finds it.
func DelayID(room id.RoomID, delay string) string {
	return delay + base64.RawURLEncoding.EncodeToString([]byte(room))
}

// parseDelayID reads a DelayID.
func parseDelayID(s string) (room id.RoomID, delay string, err error) {
	if len(s) > randomLen {
		b, err := base64.RawURLEncoding.Strict().DecodeString(s[randomLen:])
		if err == nil {
			room, err = id.ParseRoomID(string(b))
		}
		if err == nil {
			return room, s[:randomLen], nil
		}
	}
	return "", "", errs.New("room.Delayed", errs.NotFound, "", "there is no such delayed event")
}

// Delayed does something about a delayed event: "cancel", "restart" or "send". user "" is somebody who was given the id.
//
// Errors: Invalid for another action; NotFound if it is not waiting any more; of send those of sending.
func (s *Service) Delayed(ctx context.Context, user id.UserID, delay, action string) error {
	const op = "room.Delayed"
	switch action {
	case delayCancel, delayRestart, delaySend:
	case "":
		return errs.New(op, errs.Invalid, errs.MissingParam, "the action is missing")
	default:
		return errs.New(op, errs.Invalid, errs.InvalidParam, "the action is cancel, restart or send")
	}
	room, delay, err := parseDelayID(delay)
	if err != nil {
		return err
	}
	_, err = s.submit(ctx, kindDelayed, room, user, replica.Key{}, &delayedBody{Room: room, ID: delay, Action: action, User: user})
	return err
}

// DelayedBy is whose a delayed event is; ok is false if none of that id waits here.
func (s *Service) DelayedBy(delay string) (user id.UserID, ok bool) {
	room, delay, err := parseDelayID(delay)
	if err != nil {
		return "", false
	}
	v, ok := Open(s.cfg.Replica.Rows(), room)
	if !ok {
		return "", false
	}
	row := v.r.Get(v.delayKey(delay))
	if row == nil {
		return "", false
	}
	b := decodeDelay(row)
	return b.Send.Sender, true
}

// DelayedOf are the delayed events of a user.
func (s *Service) DelayedOf(user id.UserID) iter.Seq[Delayed] {
	return DelayedOf(s.cfg.Replica.Rows(), s.cfg.Replica.Partitions(), user)
}
