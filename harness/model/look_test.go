package model_test

import "bongsu/harness/model"

// readWhole is how many rooms each user reads through at the end. The rooms of a long run have a hundred thousand events: fifty users
// who read all of them would take longer than the run.
const readWhole = 20

// look is one user's last look: at what is new, at all from the beginning, at the state of every room, and at every page of some.
func (x *run) look(u *user) {
	if n := len(u.tokens); n > 0 {
		x.syncWith(u, model.SyncQuery{Since: u.tokens[n-1], Filter: u.tokens[n-1].Filter})
	}
	var all model.SyncQuery
	all.Filter.Room.IncludeLeave = true
	x.syncWith(u, all)
	for _, r := range x.w.Rooms {
		x.readState(u, r)
	}
	for _, i := range x.dice.Perm(len(x.w.Rooms))[:min(readWhole, len(x.w.Rooms))] {
		x.readThrough(u, x.w.Rooms[i])
	}
	x.joinedRooms(u, nil)
}

// readThrough reads all pages of a room, from the end to the beginning.
func (x *run) readThrough(u *user, r *model.Room) {
	q := model.PageQuery{Back: true, Limit: 100}
	for from, more := "", true; more; {
		from, q.From, more = x.page(u, r, q, from, "")
	}
}
