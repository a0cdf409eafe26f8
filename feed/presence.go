package feed

import (
	"time"

	"bongsu/ephemeral"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/room"
	"bongsu/roomstate"
)

// Presence is told to who shares a room with a user. In a room of ten thousand, where somebody comes or goes several times a second,
// everybody would be woken all the time: so only those are who share a room of few members, and the others are told with their next
// answer, which comes when their poll ends, at the latest.

const (
	// maxCompany is how many members a room has at most in which presence wakes the others.
	maxCompany = 100
	// maxCompanies is how many of a user's rooms are looked at for that.
	maxCompanies = 200
	// maxKnownRooms is for how many users it is remembered what rooms they are in.
	maxKnownRooms = 50_000
	// maxPresenceScan is how many members of a room that was just entered are looked at.
	maxPresenceScan = 1000
)

// seen notes that a user asks, unless the client wants that not to be known.
func (f *Feed) seen(rq *Request) {
	if f.cfg.Presence == nil {
		return
	}
	s := rq.Presence
	if s == "" {
		s = ephemeral.Online
	}
	f.cfg.Presence.Seen(rq.User, rq.Device, s, min(rq.Timeout, MaxTimeout))
}

// PresenceChanged is told that a user's presence has changed.
func (f *Feed) PresenceChanged(user id.UserID) {
	f.hub.mu.Lock()
	f.hub.appeared[user] = struct{}{}
	f.hub.mu.Unlock()
	select {
	case f.hub.presence <- struct{}{}:
	default:
	}
}

// wakeCompany wakes those in small rooms with users whose presence has changed.
func (f *Feed) wakeCompany() {
	f.hub.mu.Lock()
	users := make([]id.UserID, 0, len(f.hub.appeared))
	for u := range f.hub.appeared {
		users = append(users, u)
	}
	clear(f.hub.appeared)
	f.hub.mu.Unlock()
	for _, u := range users {
		if err := f.wakeCompanyOf(u); err != nil {
			f.cfg.Log.Error("not everybody was told of a user's presence", "user", u, "err", err)
		}
	}
}

func (f *Feed) wakeCompanyOf(user id.UserID) (err error) {
	defer kv.Recover(&err)
	var small []id.RoomID
	rows := f.r.Rows()
	rooms := f.roomsOf(user)
	for _, r := range rooms[:min(len(rooms), maxCompanies)] {
		if v, ok := room.Open(rows, r); ok && v.Joined <= maxCompany {
			small = append(small, r)
		}
	}
	f.hub.nudgeRooms(small)
	return nil
}

// roomsOf are the rooms that a user is in now.
func (f *Feed) roomsOf(user id.UserID) []id.RoomID {
	h := f.hub
	h.mu.Lock()
	rooms, ok := h.company[user]
	moves := h.moves
	h.mu.Unlock()
	if ok {
		return rooms
	}
	rooms = joinedRooms(f.r.Rows(), f.r.Partitions(), user)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.moves == moves { // else somebody has moved meanwhile, perhaps this user
		if len(h.company) >= maxKnownRooms {
			clear(h.company)
		}
		h.company[user] = rooms
	}
	return rooms
}

// presence writes whose presence has changed, of those who share a room with the user, and that of those who have come into one.
func (a *answer) presence() {
	p := a.f.cfg.Presence
	if p == nil || !a.f.longTokens() {
		return
	}
	var since uint64
	if a.since != nil {
		since = a.since.Presence
	}
	changes, seq := p.Since(since)
	a.next.Presence = seq
	want := &a.filter.Presence
	if !want.Type("m.presence") {
		return
	}
	told := map[id.UserID]bool{}
	a.events("presence", func() {
		write := func(c ephemeral.Change) {
			ev := event.Event{Draft: event.Draft{Type: "m.presence", Sender: c.User}}
			if !told[c.User] && want.Passes(&ev) {
				told[c.User] = true
				a.presenceEvent(c)
			}
		}
		mine := a.myRooms(len(changes) > 0)
		for _, c := range changes {
			if a.since == nil && c.State == ephemeral.Offline && c.Message == "" {
				continue
			}
			shared, few := a.company(mine, c.User)
			if !shared || a.prefs().ignored[c.User] {
				continue
			}
			write(c)
			a.news = a.news || few
		}
		for _, u := range a.newcomers() {
			if s := p.Of(u); s.State != ephemeral.Offline && !a.prefs().ignored[u] {
				write(ephemeral.Change{User: u, Status: s})
			}
		}
	})
}

// myRooms are the rooms that the user is in.
func (a *answer) myRooms(wanted bool) map[id.RoomID]bool {
	if !wanted {
		return nil
	}
	mine := make(map[id.RoomID]bool, len(a.seats))
	for _, s := range a.seats {
		if s.State == roomstate.Join {
			mine[s.Room] = true
		}
	}
	return mine
}

// company reports whether the user shares a room with another, or is that one; few, whether one of few members.
func (a *answer) company(mine map[id.RoomID]bool, other id.UserID) (shared, few bool) {
	if other == a.rq.User {
		return true, false
	}
	for _, r := range a.f.roomsOf(other) {
		if !mine[r] {
			continue
		}
		v, ok := room.Open(a.view, r)
		if !ok || shared && v.Joined > maxCompany || !v.IsJoined(other) {
			continue
		}
		if shared = true; v.Joined <= maxCompany {
			return true, true
		}
	}
	return shared, false
}

// newcomers are those who have come into a room of the user since the token, and those who are in a room that the user has come into.
func (a *answer) newcomers() (out []id.UserID) {
	for _, m := range a.moved {
		if m.now == roomstate.Join {
			out = append(out, m.user)
		}
	}
	for _, s := range a.entered {
		v, ok := room.Open(a.view, s.Room)
		if !ok {
			continue
		}
		looked := 0
		for m := range v.Members() {
			if looked++; looked > maxPresenceScan {
				break
			}
			if m.Membership == roomstate.Join && m.Key != string(a.rq.User) {
				out = append(out, id.UserID(m.Key))
			}
		}
	}
	return out
}

func (a *answer) presenceEvent(c ephemeral.Change) {
	a.elem()
	a.b = append(a.b, `{"content":{`...)
	a.key("presence", "")
	a.str(string(c.State))
	if !c.Active.IsZero() {
		a.key("last_active_ago", "")
		a.int(max(time.UnixMilli(a.now).Sub(c.Active), 0).Milliseconds())
	}
	switch {
	case c.CurrentlyActive():
		a.key("currently_active", "true")
	case c.State != ephemeral.Offline:
		a.key("currently_active", "false")
	}
	if c.Message != "" {
		a.key("status_msg", "")
		a.str(c.Message)
	}
	a.close(`},"sender":`)
	a.str(string(c.User))
	a.close(`,"type":"m.presence"}`)
}

// MaySeePresence reports whether two users share a room.
func (f *Feed) MaySeePresence(user, other id.UserID) bool {
	if user == other {
		return true
	}
	rows := f.r.Rows()
	for m := range room.Memberships(rows, f.r.Partitions(), user) {
		if m.State != roomstate.Join {
			continue
		}
		if v, ok := room.Open(rows, m.Room); ok && v.IsJoined(other) {
			return true
		}
	}
	return false
}

// nudgeRooms wakes everybody in some rooms, in a while.
func (h *hub) nudgeRooms(rooms []id.RoomID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range rooms {
		if w := h.rooms[r]; w != nil {
			for v := range w.viewers {
				v.nudge()
			}
		}
	}
}
