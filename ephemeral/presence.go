package ephemeral

import (
	"container/list"
	"log/slog"
	"sync"
	"time"

	"bongsu/clock"
	"bongsu/id"
)

// PresenceState is whether a user is there.
type PresenceState string

// The states.
const (
	Online      PresenceState = "online"
	Unavailable PresenceState = "unavailable" // connected, and idle
	Offline     PresenceState = "offline"
)

func (s PresenceState) rank() int {
	switch s {
	case Online:
		return 2
	case Unavailable:
		return 1
	}
	return 0
}

// Known reports whether s is one of the states.
func (s PresenceState) Known() bool { return s == Offline || s.rank() > 0 }

const (
	// MaxStatus is the longest status message, in bytes.
	MaxStatus = 1024
	// presenceGrace is how long a user is still there whose request has ended.
	presenceGrace = 30 * time.Second
	// idleAfter is how long after they last did something a user is idle. Source: client-server API, "Idle timeout".
	idleAfter = 5 * time.Minute
	// sweepEvery is how often it is looked at who is gone or idle.
	sweepEvery = 5 * time.Second
	// retellAfter is how often other sites are told of those who are still there, and believedFor how long they believe it.
	retellAfter, believedFor = 30 * time.Second, 90 * time.Second
	// maxPeople is how many users are remembered; of those who are offline the ones that changed longest ago are forgotten.
	maxPeople = 100_000
)

// Status is a user's presence as others see it.
type Status struct {
	State   PresenceState
	Active  time.Time // when the user last did something; zero: it is not known
	Message string    // in the user's own words
}

// CurrentlyActive reports whether the user is taken to be doing something right now.
func (s Status) CurrentlyActive() bool { return s.State == Online }

// PresenceConfig says what presence needs; the zero value works.
type PresenceConfig struct {
	Clock clock.Clock // default the system's
	// Changed is called after a user's state or message has changed; it must be quick and may not call back. Nil: nobody cares.
	Changed func(user id.UserID)
	Bus     Bus          // to the other sites; nil: there are none
	Origin  string       // names this run of this site on the bus; required with Bus
	Log     *slog.Logger // default discards
}

// Presence knows who is there. A user is, who has a request of /sync here or at another site, or had one a moment ago. It is safe for
// concurrent use.
//
// A change of state or message gets a number, greater than all before it at this site. What a user does without changing either (being
// active while being online) gets none: to tell everybody of that would cost more than all messages.
type Presence struct {
	cfg PresenceConfig

	mu     sync.Mutex
	people map[id.UserID]*person
	order  list.List // of *person, by the number of the last change
	seq    uint64
	timer  *time.Timer
	closed bool

	untold map[id.UserID]bool // to the other sites; true: with the message
	teller *time.Timer        // nil while nothing is untold
	unhear func()             // ends the subscription
}

// person is a user of whom something is known.
type person struct {
	user      id.UserID
	devices   map[id.DeviceID]lease // at this site
	sites     map[string]lease      // at the others, by their origin
	active    time.Time
	message   string
	messageAt time.Time
	shown     PresenceState // as of seq
	seq       uint64
	at        *list.Element
	told      PresenceState // to the other sites, at toldAt
	toldAt    time.Time
}

// lease is a state for a time.
type lease struct {
	state PresenceState
	until time.Time
}

// NewPresence makes one that knows of nobody, until Start.
func NewPresence(cfg PresenceConfig) *Presence {
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Changed == nil {
		cfg.Changed = func(id.UserID) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Presence{cfg: cfg, people: map[id.UserID]*person{}, untold: map[id.UserID]bool{}, unhear: func() {}}
}

// Start listens to the other sites, asks them who is there, and starts the clock. That they cannot be heard is logged.
func (p *Presence) Start() {
	p.mu.Lock()
	p.timer = time.AfterFunc(sweepEvery, p.sweep)
	p.mu.Unlock()
	p.listen()
}

// Seen says that a device has a request of /sync, which lasts for at most d, and by which state it wants to be known. With Offline it does
// not count.
func (p *Presence) Seen(user id.UserID, device id.DeviceID, s PresenceState, d time.Duration) {
	if s == Offline && p.Of(user).State == Offline {
		return // as if nothing had been said
	}
	p.change(user, func(w *person, now time.Time) {
		if w.own(now) != Online && s == Online {
			w.active = now
		}
		w.lease(device, lease{s, now.Add(d + presenceGrace)})
	})
}

// Set is what a user says of themselves: Seen, and a new message; nil: the message stays as it is.
func (p *Presence) Set(user id.UserID, device id.DeviceID, s PresenceState, message *string) {
	p.change(user, func(w *person, now time.Time) {
		if s == Online {
			w.active = now
		}
		w.lease(device, lease{s, now.Add(presenceGrace)})
		if message != nil {
			w.message, w.messageAt = *message, now
		}
	})
}

// Active says that a user has done something. Of users who are not there it is not noted.
func (p *Presence) Active(user id.UserID) {
	p.mu.Lock()
	w := p.people[user]
	known := w != nil && w.shown != Offline
	if known {
		w.active = p.cfg.Clock.Now()
	}
	idle := known && w.shown == Unavailable
	p.mu.Unlock()
	if idle {
		p.change(user, func(*person, time.Time) {})
	}
}

// change changes what is known of a user, and tells who cares.
func (p *Presence) change(user id.UserID, how func(w *person, now time.Time)) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	now := p.cfg.Clock.Now()
	w := p.person(user)
	message := w.messageAt
	how(w, now)
	changed := p.settle(w, now, w.messageAt != message)
	if own := w.own(now); own != w.told || w.messageAt != message {
		p.tell(w, w.messageAt != message)
	}
	p.mu.Unlock()
	if changed {
		p.cfg.Changed(user)
	}
}

// person finds or makes one; p.mu is held.
func (p *Presence) person(user id.UserID) *person {
	w := p.people[user]
	if w == nil {
		w = &person{user: user, shown: Offline, told: Offline, devices: map[id.DeviceID]lease{}}
		p.people[user] = w
		w.at = p.order.PushFront(w)
		p.forgetOne(w)
	}
	return w
}

// forgetOne forgets of those who are offline, but for a new one, who has changed longest ago, when there are too many; p.mu is held.
func (p *Presence) forgetOne(newest *person) {
	if len(p.people) <= maxPeople {
		return
	}
	for e := p.order.Front(); e != nil; e = e.Next() {
		if w := e.Value.(*person); w != newest && w.shown == Offline { //nolint:errcheck // the list has nothing else
			p.order.Remove(e)
			delete(p.people, w.user)
			return
		}
	}
}

// settle gives a user's presence a number if it has changed; p.mu is held.
func (p *Presence) settle(w *person, now time.Time, message bool) bool {
	s := w.state(now)
	if s == w.shown && !message {
		return false
	}
	w.shown = s
	p.seq++
	w.seq = p.seq
	p.order.MoveToBack(w.at)
	return true
}

func (w *person) lease(device id.DeviceID, l lease) {
	if l.state == Offline {
		delete(w.devices, device)
		return
	}
	w.devices[device] = l
}

// own is what this site knows of the user, whether idle or not.
func (w *person) own(now time.Time) PresenceState { return best(Offline, w.devices, now) }

// state is the user's state, taking in all that is known.
func (w *person) state(now time.Time) PresenceState {
	s := best(w.own(now), w.sites, now)
	if s == Online && now.Sub(w.active) >= idleAfter {
		return Unavailable
	}
	return s
}

// best is the state that says most; leases that are over are removed.
func best[K comparable](s PresenceState, leases map[K]lease, now time.Time) PresenceState {
	for k, l := range leases {
		switch {
		case !now.Before(l.until):
			delete(leases, k)
		case l.state.rank() > s.rank():
			s = l.state
		}
	}
	return s
}

// sweep looks at who is gone or idle, and has the others told of who is still there.
func (p *Presence) sweep() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	now := p.cfg.Clock.Now()
	var changed []id.UserID
	for e := p.order.Back(); e != nil; e = e.Prev() {
		w := e.Value.(*person) //nolint:errcheck // the list has nothing else
		if own := w.own(now); own != w.told || own != Offline && now.Sub(w.toldAt) >= retellAfter {
			p.tell(w, false)
		}
		if w.shown != w.state(now) {
			changed = append(changed, w.user)
		}
	}
	for _, u := range changed {
		p.settle(p.people[u], now, false)
	}
	p.timer.Reset(sweepEvery)
	p.mu.Unlock()
	for _, u := range changed {
		p.cfg.Changed(u)
	}
}

// Of is a user's presence: that of one who is not known is Offline.
func (p *Presence) Of(user id.UserID) Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.people[user]; w != nil {
		return w.status()
	}
	return Status{State: Offline}
}

func (w *person) status() Status { return Status{State: w.shown, Active: w.active, Message: w.message} }

// Change is a user's presence, as of its last change.
type Change struct {
	User id.UserID
	Status
}

// Since is whose presence has changed after a number, the latest first, and the number of the last change of all.
func (p *Presence) Since(seq uint64) ([]Change, uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Change
	for e := p.order.Back(); e != nil; e = e.Prev() {
		w := e.Value.(*person) //nolint:errcheck // the list has nothing else
		if w.seq <= seq {
			break
		}
		out = append(out, Change{w.user, w.status()})
	}
	return out, p.seq
}

// Close stops the clock. Nothing changes any more.
func (p *Presence) Close() {
	p.unhear()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	if p.teller != nil {
		p.teller.Stop()
	}
}
