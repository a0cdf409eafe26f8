package model_test

import "bongsu/harness/model"

// look is one user's look at everything: what is new, all from the beginning, and each room with its state and every page of it.
func (x *run) look(u *user) {
	if n := len(u.tokens); n > 0 {
		x.syncWith(u, model.SyncQuery{Since: u.tokens[n-1], Filter: u.tokens[n-1].Filter})
	}
	var all model.SyncQuery
	all.Filter.Room.IncludeLeave = true
	x.syncWith(u, all)
	for _, r := range x.w.Rooms {
		x.readState(u, r)
		x.readThrough(u, r)
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
