package room

import (
	"context"
	"sync"
	"time"

	"bongsu/id"
	"bongsu/kv"
	"bongsu/roomstate"
)

// maxProfiles is how many users' new profiles wait at most.
const maxProfiles = 10_000

// profileQueue carries new names and pictures into the member events of the rooms that a user is in, behind the scenes. What
// waits when the process dies is lost: the profile itself is safe, and the next change or join brings it along.
type profileQueue struct {
	s      *Service
	wake   chan struct{}
	ctx    context.Context //nolint:containedctx // of the goroutine, ended by close
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	waiting map[id.UserID]bool
	order   []id.UserID
}

func newProfileQueue(s *Service) *profileQueue {
	ctx, cancel := context.WithCancel(context.Background())
	q := &profileQueue{s: s, wake: make(chan struct{}, 1), ctx: ctx, cancel: cancel, done: make(chan struct{}),
		waiting: map[id.UserID]bool{}}
	go q.run()
	return q
}

// UpdateProfile shows the user's profile, as it is when this gets its turn, in all rooms that the user is in. It returns at once.
func (s *Service) UpdateProfile(user id.UserID) {
	q := s.profiles
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting[user] {
		return
	}
	if len(q.order) >= maxProfiles {
		s.cfg.Log.Warn("too many profiles have changed; one is not shown in rooms until its next change", "user", user)
		return
	}
	q.waiting[user] = true
	q.order = append(q.order, user)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *profileQueue) next() (id.UserID, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		return "", false
	}
	user := q.order[0]
	q.order = q.order[1:]
	delete(q.waiting, user)
	return user, true
}

func (q *profileQueue) run() {
	defer close(q.done)
	for {
		user, ok := q.next()
		if ok && q.ctx.Err() == nil {
			if err := q.update(user); err != nil {
				q.s.cfg.Log.Error("a new profile could not be shown", "user", user, "err", err)
			}
			continue
		}
		select {
		case <-q.wake:
		case <-q.ctx.Done():
			return
		}
	}
}

// update writes a member event into each room, several at once: they share records.
func (q *profileQueue) update(user id.UserID) (err error) {
	defer kv.Recover(&err)
	const atOnce = 16
	r := q.s.cfg.Replica
	var rooms []id.RoomID
	for m := range Memberships(r.Rows(), r.Partitions(), user) {
		if m.State == roomstate.Join {
			rooms = append(rooms, m.Room)
		}
	}
	ctx, cancel := context.WithTimeout(q.ctx, time.Minute)
	defer cancel()
	content := q.s.memberContent("join", user, "")
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, room := range rooms {
		slots <- struct{}{}
		wg.Go(func() {
			if err := q.s.act(ctx, By{User: user}, room, user, actProfile, content); err != nil && ctx.Err() == nil {
				q.s.cfg.Log.Warn("a new profile could not be shown in a room", "user", user, "room", room, "err", err)
			}
			<-slots
		})
	}
	wg.Wait()
	return nil
}

func (q *profileQueue) close() {
	q.cancel()
	<-q.done
}
