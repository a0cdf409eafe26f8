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
	const atOnce = 16
	var rooms []id.RoomID
	for m := range s.Memberships(user) {
		if m.State == roomstate.Join {
			rooms = append(rooms, m.Room)
		}
	}
	content := s.memberContent("join", user, "")
	var wg sync.WaitGroup
	var missed atomic.Int64
	slots := make(chan struct{}, atOnce)
	for _, room := range rooms {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			err := s.act(ctx, By{User: user}, room, user, actProfile, content)
			switch {
			case errs.Is(err, errs.Unavailable):
				missed.Add(1)
			case err != nil:
				s.cfg.Log.Warn("a room refused to show a new profile", "user", user, "room", room, "err", err)
			}
		})
	}
	wg.Wait()
	if n := missed.Load(); n > 0 {
		return errs.New("room.ShowProfile", errs.Unavailable, "", "the profile is not shown in %d of %d rooms yet", n, len(rooms))
	}
	return nil
}
