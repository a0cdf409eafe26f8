// Package ephemeral keeps what is true for seconds and never enters the journal: who is typing. Sites tell each other over a bus; what is
// lost on it is made good by the typist, who says so again, or by the end of the time.
//
// Invariants: a room's typists and its sequence number change together, and every change of them has a greater number than
// all before it at this site. A user who says nothing more stops typing when the time that they named is over.
//
// Limits: a typist who is everywhere is told to other sites ten times a second at most, together with all others. Numbers mean something in this run of this site only; Origin names it. What is known of rooms in which nobody types
// any more is dropped beyond keepQuiet rooms; Floor tells.
package ephemeral

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"bongsu/clock"
	"bongsu/id"
)

const (
	// MaxTyping is the longest time that a user types without saying so again.
	MaxTyping = 2 * time.Minute
	// keepQuiet is how many rooms without typists are remembered, so that clients learn that typing has ended.
	keepQuiet = 4096
	// expireEvery is the least time between two looks at who has stopped.
	expireEvery = 100 * time.Millisecond
)

// Config says what typing needs; the zero value works.
type Config struct {
	Clock clock.Clock // default the system's
	// Changed is called after a room's typists have changed; it must be quick and may not call back. Nil: nobody cares.
	Changed func(room id.RoomID)
	Bus     Bus          // to the other sites; nil: there are none
	Origin  string       // names this run of this site on the bus; required with Bus
	Log     *slog.Logger // default discards
}

// Typing knows who types where. It is safe for concurrent use.
type Typing struct {
	cfg Config

	mu     sync.Mutex
	rooms  map[id.RoomID]*typists
	quiet  int // rooms without typists
	seq    uint64
	floor  uint64
	timer  *time.Timer // nil while nobody types
	fires  time.Time   // when it does: at the earliest end, or before
	closed bool

	untold map[typist]change // to the other sites
	teller *time.Timer       // nil while nothing is untold
	unhear func()            // ends the subscription
}

type typists struct {
	seq   uint64
	until map[id.UserID]time.Time
}

// New makes one in which nobody types. That the bus cannot be heard is logged: typing at other sites is then not seen here.
func New(cfg Config) *Typing {
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Changed == nil {
		cfg.Changed = func(id.RoomID) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t := &Typing{cfg: cfg, rooms: map[id.RoomID]*typists{}, untold: map[typist]change{}, unhear: func() {}}
	if cfg.Bus != nil {
		if stop, err := cfg.Bus.Subscribe(topic, t.heard); err != nil {
			cfg.Log.Error("typing at other sites is not seen here", "err", err)
		} else {
			t.unhear = stop
		}
	}
	return t
}

// Start says that a user types in a room, for at most d, which is bounded by MaxTyping.
func (t *Typing) Start(room id.RoomID, user id.UserID, d time.Duration) {
	c := change{room, user, max(d, 0)}
	t.set(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tell(c)
}

// Stop says that a user no longer types in a room.
func (t *Typing) Stop(room id.RoomID, user id.UserID) { t.Start(room, user, 0) }

// set makes a change, wherever it comes from.
func (t *Typing) set(c change) {
	if c.For > 0 {
		t.start(c.Room, c.User, min(c.For, MaxTyping))
	} else {
		t.stop(c.Room, c.User)
	}
}

func (t *Typing) start(room id.RoomID, user id.UserID, d time.Duration) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	r := t.rooms[room]
	if r == nil {
		r = &typists{until: map[id.UserID]time.Time{}}
		t.rooms[room] = r
		t.quiet++
	}
	_, already := r.until[user]
	if len(r.until) == 0 {
		t.quiet--
	}
	now := t.cfg.Clock.Now()
	r.until[user] = now.Add(d)
	if !already {
		t.touch(r)
	}
	t.arm(now, d)
	t.mu.Unlock()
	if !already {
		t.cfg.Changed(room)
	}
}

func (t *Typing) stop(room id.RoomID, user id.UserID) {
	t.mu.Lock()
	r := t.rooms[room]
	typed := r != nil && r.drop(user)
	if typed {
		t.touch(r)
		t.quieten(r)
	}
	t.mu.Unlock()
	if typed {
		t.cfg.Changed(room)
	}
}

func (r *typists) drop(user id.UserID) bool {
	_, ok := r.until[user]
	delete(r.until, user)
	return ok
}

// touch gives a room the next number; t.mu is held.
func (t *Typing) touch(r *typists) {
	t.seq++
	r.seq = t.seq
}

// quieten counts a room in which the last user has stopped, and forgets such rooms when there are too many; t.mu is held.
func (t *Typing) quieten(r *typists) {
	if len(r.until) > 0 {
		return
	}
	if t.quiet++; t.quiet <= keepQuiet {
		return
	}
	for room, r := range t.rooms {
		if len(r.until) == 0 {
			delete(t.rooms, room)
		}
	}
	t.quiet, t.floor = 0, t.seq
}

// arm makes sure that the timer fires within d; t.mu is held.
func (t *Typing) arm(now time.Time, d time.Duration) {
	at := now.Add(d)
	switch {
	case t.timer == nil:
		t.timer = time.AfterFunc(d, t.expire)
	case at.Before(t.fires):
		t.timer.Reset(d)
	default:
		return // it fires before that, and then sets itself again
	}
	t.fires = at
}

// earliest is when the first typist's time is over, zero if nobody types; t.mu is held.
func (t *Typing) earliest() (first time.Time) {
	for _, r := range t.rooms {
		for _, at := range r.until {
			if first.IsZero() || at.Before(first) {
				first = at
			}
		}
	}
	return first
}

// expire ends the time of those whose time is over.
func (t *Typing) expire() {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	now := t.cfg.Clock.Now()
	var changed []id.RoomID
	for room, r := range t.rooms {
		before := len(r.until)
		for user, at := range r.until {
			if !at.After(now) {
				delete(r.until, user)
			}
		}
		if len(r.until) < before {
			t.touch(r)
			changed = append(changed, room)
			t.quieten(r)
		}
	}
	if next := t.earliest(); next.IsZero() {
		t.timer = nil
	} else {
		t.fires = now.Add(max(next.Sub(now), expireEvery))
		t.timer.Reset(t.fires.Sub(now))
	}
	t.mu.Unlock()
	for _, room := range changed {
		t.cfg.Changed(room)
	}
}

// In is who types in a room, ordered by id, and the number of the last change there; 0: none is known.
func (t *Typing) In(room id.RoomID) ([]id.UserID, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rooms[room]
	if r == nil {
		return nil, 0
	}
	users := make([]id.UserID, 0, len(r.until))
	for u := range r.until {
		users = append(users, u)
	}
	slices.Sort(users)
	return users, r.seq
}

// Seq is the number of the last change anywhere, and the number up to which changes may have been forgotten: who has seen
// less than floor must be told of all rooms in which somebody types.
func (t *Typing) Seq() (seq, floor uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seq, t.floor
}

// Close stops the clock. Nothing changes any more.
func (t *Typing) Close() {
	t.unhear()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, timer := range []*time.Timer{t.timer, t.teller} {
		if timer != nil {
			timer.Stop()
		}
	}
}
