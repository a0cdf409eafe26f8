package room

import (
	"slices"

	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/roomstate"
)

// Acquaintances tells whom a user may come across: those in the user's own rooms, and those in rooms that anybody may enter or read. It is
// good for one view, and remembers what it has read.
//
// Source: client-server API, "User Directory".
type Acquaintances struct {
	r    kv.Reader
	n    int                // partitions
	own  map[id.RoomID]bool // rooms that the user is in
	open map[id.RoomID]bool // whether anybody may enter or read, as far as it was asked
}

// maxRoomsRead is how many rooms of somebody else are looked at.
const maxRoomsRead = 1000

// NewAcquaintances reads the rooms of a user.
func NewAcquaintances(r kv.Reader, n int, user id.UserID) *Acquaintances {
	a := &Acquaintances{r: r, n: n, own: map[id.RoomID]bool{}, open: map[id.RoomID]bool{}}
	for m := range Memberships(r, n, user) {
		if m.State == roomstate.Join {
			a.own[m.Room] = true
		}
	}
	return a
}

// Of says whether the user shares a room with another one, and whether that one is in a room that is open to all.
func (a *Acquaintances) Of(other id.UserID) (shared, open bool) {
	left := maxRoomsRead
	for m := range Memberships(a.r, a.n, other) {
		if left--; left < 0 {
			break
		}
		if m.State != roomstate.Join {
			continue
		}
		if a.own[m.Room] {
			return true, open
		}
		open = open || a.isOpen(m.Room)
	}
	return false, open
}

// Shared are the rooms that both users are in, in the order of their ids.
func (a *Acquaintances) Shared(other id.UserID) []id.RoomID {
	out := []id.RoomID{}
	for m := range Memberships(a.r, a.n, other) {
		if m.State == roomstate.Join && a.own[m.Room] {
			out = append(out, m.Room)
		}
	}
	slices.Sort(out)
	return out
}

func (a *Acquaintances) isOpen(room id.RoomID) bool {
	open, known := a.open[room]
	if known {
		return open
	}
	if v, ok := Open(a.r, room); ok {
		open = v.visibility() == worldReadable || v.Text(event.TypeJoinRules, "join_rule") == roomstate.JoinPublic
	}
	a.open[room] = open
	return open
}
