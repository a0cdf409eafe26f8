package room

import (
	"encoding/json"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/roomstate"
)

// Action is what somebody does about a membership.
type Action string

// The actions. They are stored in proposals: what one means never changes.
const (
	actJoin    Action = "join"
	actLeave   Action = "leave" // also: reject an invite, take a knock back
	actInvite  Action = "invite"
	actKick    Action = "kick"
	actBan     Action = "ban"
	actUnban   Action = "unban"
	actKnock   Action = "knock"
	actProfile Action = "profile" // a member's new name or picture
)

// memberBody proposes a change of a membership. Content is the whole content of the member event, with what the room does not
// know: names, pictures, who vouches for a restricted join.
type memberBody struct {
	Room    id.RoomID       `json:"room"`
	Sender  id.UserID       `json:"sender"`
	Device  id.DeviceID     `json:"device,omitempty"`
	Target  id.UserID       `json:"target"`
	Action  Action          `json:"action"`
	Content json.RawMessage `json:"content"`
}

// member changes a membership. What is so already is no error: the event that made it so is returned.
func (m *machine) member(tx *replica.Tx, body []byte) ([]byte, error) {
	var b memberBody
	if err := unmarshal(body, &b); err != nil {
		return nil, err
	}
	w, err := m.open(tx, b.Room)
	if err != nil {
		if b.Action == actJoin || b.Action == actKnock {
			return nil, errs.New("room.join", errs.NotFound, "", "there is no such room")
		}
		return nil, err
	}
	row := w.member(b.Target)
	done, err := w.already(b.Action, row)
	switch {
	case err != nil:
		return nil, err
	case done:
		return eventResult(row.Ref.ID), nil
	}
	target := string(b.Target)
	d := event.Draft{Type: event.TypeMember, Sender: b.Sender, StateKey: &target, Content: event.Object(b.Content)}
	s, err := w.add(d, origin{device: b.Device})
	if err != nil {
		return nil, err
	}
	w.close()
	return eventResult(s.ID), nil
}

// already reports whether there is nothing to do, and refuses what the rules would let through as something else: a kick that
// lifts a ban, a ban lifted that there is not.
func (w *writer) already(a Action, target StateRow) (bool, error) {
	const op = "room.member"
	m := target.Membership
	switch a {
	case actJoin:
		return m == roomstate.Join, nil
	case actLeave:
		return m == roomstate.Leave, nil
	case actProfile:
		return m != roomstate.Join, nil
	case actKick:
		if m != roomstate.Join && m != roomstate.Invite && m != roomstate.Knock {
			return false, errs.New(op, errs.Forbidden, "", "the user is not in the room")
		}
	case actUnban:
		if m != roomstate.Ban {
			return false, errs.New(op, errs.Forbidden, "", "the user is not banned from the room")
		}
	}
	return false, nil
}

// forgetBody proposes that a user forgets a room.
type forgetBody struct {
	Room id.RoomID `json:"room"`
	User id.UserID `json:"user"`
}

// forget marks the membership of a user who has left. It ends with the user's next membership.
func (m *machine) forget(tx *replica.Tx, body []byte) ([]byte, error) {
	const op = "room.forget"
	var b forgetBody
	if err := unmarshal(body, &b); err != nil {
		return nil, err
	}
	w, err := m.open(tx, b.Room)
	if err != nil {
		return nil, err
	}
	row := w.Member(b.User)
	switch {
	case row.Membership == "":
		return nil, errs.New(op, errs.Forbidden, "", "you are not in the room")
	case row.Membership != roomstate.Leave && row.Membership != roomstate.Ban:
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "a room must be left before it can be forgotten")
	case row.Forgotten:
		return []byte("{}"), nil
	}
	row.Forgotten = true
	row.Type, row.Key = event.TypeMember, string(b.User)
	w.putForgotten(row)
	return []byte("{}"), nil
}

// putForgotten writes a membership row that its user has marked. The history has the membership, not the mark.
func (w *writer) putForgotten(row StateRow) {
	w.tx.Set(kv.Str(kv.Str(w.key(tableState), row.Type), row.Key), row.encode())
	user := id.UserID(row.Key)
	w.putRooms(user, &row)
	w.tx.Note(Changed{Room: w.ID, Place: w.tx.Place(), Change: ChangeForgotten, User: user, Membership: row.Membership})
}
