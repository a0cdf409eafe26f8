package room

import (
	"context"
	"sync"
	"sync/atomic"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/roomstate"
)

// ShowProfile shows the user's profile, as it is now, in all rooms that the user is in: by a member event in each, several at once, since
// they share records. Where it is shown already nothing changes, so an attempt that was cut short can be made again, at any site.
//
// Errors: Unavailable when it is not shown everywhere. A room that refuses it is logged and passed over.
func (s *Service) ShowProfile(ctx context.Context, user id.UserID) (err error) {
	defer kv.Recover(&err)
	content := s.memberContent("join", user, "")
	in := func(m Membership) bool { return m.State == roomstate.Join }
	return s.inEach("room.ShowProfile", user, in, func(room id.RoomID) error {
		return s.act(ctx, By{User: user}, room, user, actProfile, content)
	})
}

// LeaveAll has a user leave all rooms, reject all invites and take all knocks back. Where that is so already nothing changes, so it can be
// made again, at any site.
//
// Errors: Unavailable when not all is left. A room that refuses it is logged and passed over.
func (s *Service) LeaveAll(ctx context.Context, user id.UserID) (err error) {
	defer kv.Recover(&err)
	in := func(m Membership) bool {
		return m.State == roomstate.Join || m.State == roomstate.Invite || m.State == roomstate.Knock
	}
	return s.inEach("room.LeaveAll", user, in, func(room id.RoomID) error { return s.Leave(ctx, By{User: user}, room, "") })
}

// inEach calls do for the rooms of a user that are wanted, several at once.
func (s *Service) inEach(op string, user id.UserID, wanted func(Membership) bool, do func(id.RoomID) error) error {
	const atOnce = 16
	var rooms []id.RoomID
	for m := range s.Memberships(user) {
		if wanted(m) {
			rooms = append(rooms, m.Room)
		}
	}
	var wg sync.WaitGroup
	var missed atomic.Int64
	slots := make(chan struct{}, atOnce)
	for _, room := range rooms {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			err := do(room)
			switch {
			case errs.Is(err, errs.Unavailable):
				missed.Add(1)
			case err != nil:
				s.cfg.Log.Warn("a room refused what follows from a change of an account", "op", op, "user", user, "room", room, "err", err)
			}
		})
	}
	wg.Wait()
	if n := missed.Load(); n > 0 {
		return errs.New(op, errs.Unavailable, "", "%d of %d rooms have not heard of it yet", n, len(rooms))
	}
	return nil
}
