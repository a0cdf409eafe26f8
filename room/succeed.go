package room

import (
	"bongsu/event"
	"bongsu/id"
	"bongsu/replica"
	"bongsu/roomstate"
)

// Who comes into a room that has taken the place of another finds there what they had set for the old one: tags, push rules, that it is a
// direct chat. Messages of the outbox carry that, once for each member, whoever dies meanwhile:
//
//	new room   the first join of a user; or the end of the upgrade, for whoever made it
//	old room   room.succeed: has it been replaced by that room?
//	user       account.succeed (package account): what is theirs is copied
//
// That a room says it has taken the place of another is no proof: the old one must say so, too, lest anybody could make a room of people's
// favourites. Source: client-server API, "Room Upgrades", server behaviour.

const (
	kindSucceed    = "room.succeed"
	kindSucceeding = "account.succeed" // of package account: {"user","from","to"}
)

// succeedBody is about a user who has come into a room in place of another.
type succeedBody struct {
	Room id.RoomID `json:"room"` // the old one
	To   id.RoomID `json:"to"`
	User id.UserID `json:"user"`
}

// inherit asks the room that this one took the place of, if there is one, for a user who comes in for the first time.
func (w *writer) inherit(user id.UserID) {
	if w.tx.Rules() < sinceRules {
		return
	}
	old, ok := w.must(w.Create.Place).Content.Object("predecessor").String("room_id")
	if !ok {
		return
	}
	room, err := id.ParseRoomID(old)
	if err != nil {
		return
	}
	for was := range w.StateChanges(event.TypeMember, string(user), Place{}, replica.Forever) {
		if was.Membership == roomstate.Join {
			return
		}
	}
	w.tx.Send(id.SlotOf(room), kindSucceed, replica.Marshal(&succeedBody{Room: room, To: w.ID, User: user}))
}

// succeed passes on what a new room has said of a user, if it is the one that has taken this room's place.
func (m *machine) succeed(tx *replica.Tx, b succeedBody) ([]byte, error) {
	if v, ok := Open(tx, b.Room); ok && v.Text(event.TypeTombstone, "replacement_room") == string(b.To) {
		succeeding(tx, b)
	}
	return nil, nil
}

// succeeding has a user's account keep for one room what it has for another.
func succeeding(tx *replica.Tx, b succeedBody) {
	tx.Send(id.SlotOf(b.User), kindSucceeding, replica.Marshal(struct {
		User id.UserID `json:"user"`
		From id.RoomID `json:"from"`
		To   id.RoomID `json:"to"`
	}{b.User, b.Room, b.To}))
}
