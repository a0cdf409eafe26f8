package feed

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bongsu/account"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/keys"
	"bongsu/kv"
	"bongsu/pushrule"
	"bongsu/replica"
	"bongsu/room"
	"bongsu/roomstate"
)

// hub remembers, of users who sync, where something may be new for them, and whom to wake. All of it comes from notes, which
// arrive after the rows that they speak of are visible: a view may be ahead of the hub, and await closes that gap.
type hub struct {
	mu      sync.Mutex
	caught  sync.Cond // the notes of another commit have been taken in
	seen    []journal.Position
	viewers map[id.UserID]*viewer
	rooms   map[id.RoomID]*watch
	lists   []journal.Position // last change of anybody's devices, by partition
	swept   time.Time

	changed map[id.UserID]struct{} // whose devices have changed, for the others to be woken
	devices chan struct{}          // there is something in changed
}

// viewer is a user who has synced lately.
type viewer struct {
	user id.UserID
	home journal.Partition // of the user's own rows

	// Guarded by the hub's mutex.
	memberships uint64 // how many changes of the user's memberships there have been
	seated      uint64 // as of how many of them seats are; meaningless while seats is nil
	seats       []*seat
	account     journal.Position                 // the last change of account data was there or before
	keys        journal.Position                 // likewise of messages to devices
	empty       map[id.DeviceID]journal.Position // where a device's inbox was seen to be empty
	counts      journal.Position                 // the last change of one-time keys; 0: none was seen
	rules       *pushrule.Set                    // compiled, as of rulesAt
	rulesAt     replica.Place
	wakes       marks
	waiters     []*waiter
	used        time.Time // by a sync
	answered    time.Time // with something new, to a request that would have waited
}

// seat is a user's place in one room. All but unread never changes.
type seat struct {
	room.Membership
	p      journal.Partition // of the room
	watch  *watch            // of a joined room; else nil
	unread unread            // guarded by the hub's mutex
}

// watch is a room that somebody who syncs is in.
type watch struct {
	event   atomic.Uint64        // position of the last event, or a later one
	receipt atomic.Uint64        // and of the last receipt
	viewers map[*viewer]struct{} // guarded by the hub's mutex
}

// marks count the reasons to wake a user.
type marks struct {
	urgent uint64 // something to see
	lazy   uint64 // something that can wait a little for company: receipts of others
}

// waiter is one request that waits.
type waiter struct {
	device id.DeviceID
	wake   chan struct{} // of capacity 1
	ended  bool          // the device is gone; guarded by the hub's mutex
}

const (
	// lazyDelay is how long what is not urgent waits for something that is.
	lazyDelay = 100 * time.Millisecond
	// forgetAfter is when a user who no longer syncs is forgotten.
	forgetAfter = 10 * time.Minute
	sweepEvery  = time.Minute
)

func newHub(at []journal.Position) *hub {
	h := &hub{seen: at, viewers: map[id.UserID]*viewer{}, rooms: map[id.RoomID]*watch{}, lists: slices.Clone(at),
		changed: map[id.UserID]struct{}{}, devices: make(chan struct{}, 1)}
	h.caught.L = &h.mu
	return h
}

// committed takes in the notes of a commit.
func (h *hub) committed(c replica.Commit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range c.Notes {
		switch n := n.(type) {
		case room.Changed:
			h.roomChanged(n, c.Pos)
		case account.Changed:
			if v := h.viewers[n.User]; v != nil {
				v.account = c.Pos
				v.urge()
			}
		case account.Ended:
			if v := h.viewers[n.User]; v != nil {
				v.end(n.Devices)
			}
		case keys.ToDevice:
			if v := h.viewers[n.User]; v != nil {
				v.keys = c.Pos
				v.urge()
			}
		case keys.Counts:
			if v := h.viewers[n.User]; v != nil {
				v.counts = c.Pos
				v.urge()
			}
		case keys.DeviceListChanged:
			h.listChanged(n, c)
		}
	}
	h.seen[c.Partition] = max(h.seen[c.Partition], c.Pos)
	h.caught.Broadcast()
}

func (h *hub) roomChanged(n room.Changed, pos journal.Position) {
	concerned := h.viewers[n.User]
	w := h.rooms[n.Room]
	switch n.Change {
	case room.ChangeMembership, room.ChangeForgotten:
		if concerned != nil {
			concerned.memberships++
			concerned.urge()
		}
	case room.ChangeEvent:
		if w == nil {
			return
		}
		w.event.Store(uint64(pos))
		for v := range w.viewers {
			v.urge()
		}
	case room.ChangeReceipt:
		if concerned != nil {
			concerned.urge()
		}
		if w == nil {
			return
		}
		w.receipt.Store(uint64(pos))
		if n.Private {
			return
		}
		for v := range w.viewers {
			v.nudge()
		}
	}
}

func (h *hub) listChanged(n keys.DeviceListChanged, c replica.Commit) {
	h.lists[c.Partition] = c.Pos
	if n.Viewer != "" {
		if v := h.viewers[n.Viewer]; v != nil {
			v.urge()
		}
		return
	}
	if v := h.viewers[n.User]; v != nil {
		v.urge()
	}
	h.changed[n.User] = struct{}{}
	select {
	case h.devices <- struct{}{}:
	default:
	}
}

// takeDevices are the users whose devices have changed since the last call.
func (h *hub) takeDevices() []id.UserID {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []id.UserID
	for u := range h.changed {
		out = append(out, u)
	}
	clear(h.changed)
	return out
}

// wakeRooms wakes everybody in some rooms.
func (h *hub) wakeRooms(rooms []id.RoomID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range rooms {
		if w := h.rooms[r]; w != nil {
			for v := range w.viewers {
				v.urge()
			}
		}
	}
}

// typing wakes those in a room where somebody has begun or stopped to type.
func (h *hub) typing(r id.RoomID) { h.wakeRooms([]id.RoomID{r}) }

// urge, nudge and end are called with the hub's mutex held.

func (v *viewer) urge() {
	v.wakes.urgent++
	v.poke()
}

func (v *viewer) nudge() {
	v.wakes.lazy++
	v.poke()
}

func (v *viewer) poke() {
	for _, w := range v.waiters {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// end sends the requests of devices that are gone home.
func (v *viewer) end(devices []id.DeviceID) {
	for _, w := range v.waiters {
		if slices.Contains(devices, w.device) {
			w.ended = true
		}
	}
	v.poke()
}

// visit is a user's sync, from its arrival to its answer.
type visit struct {
	v     *viewer
	marks marks
	// memberships is how many changes of memberships had been seen before the view was taken.
	memberships uint64
}

// enter finds or makes the viewer. It is called before the view is taken.
func (h *hub) enter(user id.UserID, parts int, now time.Time) visit {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.swept) > sweepEvery {
		h.sweep(now)
	}
	v := h.viewers[user]
	if v == nil {
		v = &viewer{user: user, home: replica.PartitionOf(id.SlotOf(user), parts)}
		// What happened before is not known: as if it had happened just now.
		v.account, v.keys = h.seen[v.home], h.seen[v.home]
		h.viewers[user] = v
	}
	v.used = now
	return visit{v: v, marks: v.wakes, memberships: v.memberships}
}

// sweep forgets who has not been here for long.
func (h *hub) sweep(now time.Time) {
	h.swept = now
	for user, v := range h.viewers {
		if len(v.waiters) == 0 && now.Sub(v.used) > forgetAfter {
			h.unseat(v)
			delete(h.viewers, user)
		}
	}
}

func (h *hub) unseat(v *viewer) {
	for _, s := range v.seats {
		if s.watch == nil {
			continue
		}
		delete(s.watch.viewers, v)
		if len(s.watch.viewers) == 0 {
			delete(h.rooms, s.Room)
		}
	}
	v.seats = nil
}

// await returns when the notes of everything in a view have been taken in.
func (h *hub) await(at []journal.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for !covers(h.seen, at) {
		h.caught.Wait()
	}
}

func covers(seen, at []journal.Position) bool {
	for i, p := range at {
		if seen[i] < p {
			return false
		}
	}
	return true
}

// seats are the user's rooms as of a view that has been awaited. They are kept from an earlier sync when no membership has
// changed since.
func (h *hub) seats(vis visit, view *replica.View) []*seat {
	v := vis.v
	h.mu.Lock()
	kept := v.seats
	if v.seated != v.memberships {
		kept = nil
	}
	h.mu.Unlock()
	if kept != nil && !slices.ContainsFunc(kept, func(s *seat) bool { return s.Place.Pos > view.Positions()[s.p] }) {
		return kept
	}
	parts := len(view.Positions())
	fresh := make([]*seat, 0, len(kept)+8) // not nil, even if empty
	for m := range room.Memberships(view, parts, v.user) {
		fresh = append(fresh, &seat{Membership: m, p: replica.PartitionOf(id.SlotOf(m.Room), parts)})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seat(vis, fresh)
}

// seat takes a newly read list of rooms for the viewer's own, unless a newer one is there. What was counted in rooms whose
// membership is the same is kept.
func (h *hub) seat(vis visit, fresh []*seat) []*seat {
	v := vis.v
	old := make(map[id.RoomID]*seat, len(v.seats))
	for _, s := range v.seats {
		old[s.Room] = s
	}
	for i, s := range fresh {
		was := old[s.Room]
		if was != nil && was.Membership == s.Membership {
			fresh[i] = was
			continue
		}
		if s.State == roomstate.Join {
			s.watch = h.watch(s.Room, s.p)
			if was != nil && was.Since == s.Since { // a new name
				s.unread = was.unread
			}
		}
	}
	if v.seats != nil && v.seated > vis.memberships {
		return fresh // for this sync alone
	}
	if h.viewers[v.user] != v {
		return fresh // it was swept meanwhile
	}
	h.take(v, fresh)
	v.seated = vis.memberships
	return fresh
}

// take replaces a viewer's seats.
func (h *hub) take(v *viewer, fresh []*seat) {
	now := make(map[*watch]bool, len(fresh))
	for _, s := range fresh {
		if s.watch != nil {
			now[s.watch] = true
			s.watch.viewers[v] = struct{}{}
			h.rooms[s.Room] = s.watch
		}
	}
	for _, s := range v.seats {
		if s.watch == nil || now[s.watch] {
			continue
		}
		delete(s.watch.viewers, v)
		if len(s.watch.viewers) == 0 {
			delete(h.rooms, s.Room)
		}
	}
	v.seats = fresh
}

// watch finds or makes the watch of a room. One that is new knows nothing of the past: as if all had happened just now.
func (h *hub) watch(r id.RoomID, p journal.Partition) *watch {
	if w := h.rooms[r]; w != nil {
		return w
	}
	w := &watch{viewers: map[*viewer]struct{}{}}
	w.event.Store(uint64(h.seen[p]))
	w.receipt.Store(uint64(h.seen[p]))
	return w
}

// leave notes that a sync was answered with something new.
func (h *hub) leave(v *viewer, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v.answered = now
}

// wait returns when there is a reason to look again, at the deadline, or when one of the others says so; more is false when
// looking again is of no use.
func (h *hub) wait(ctx context.Context, vis visit, device id.DeviceID, deadline time.Time, now func() time.Time,
	over ...<-chan struct{}) (more bool) {
	w := &waiter{device: device, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	vis.v.waiters = append(vis.v.waiters, w)
	h.mu.Unlock()
	defer h.unwait(vis.v, w)

	timer := time.NewTimer(deadline.Sub(now()))
	defer timer.Stop()
	delayed := false
	for {
		h.mu.Lock()
		urgent, lazy, ended := vis.v.wakes.urgent != vis.marks.urgent, vis.v.wakes.lazy != vis.marks.lazy, w.ended
		h.mu.Unlock()
		switch {
		case ended:
			return false
		case urgent:
			return true
		case lazy && !delayed:
			delayed = true
			timer.Reset(min(deadline.Sub(now()), lazyDelay))
		}
		select {
		case <-w.wake:
		case <-timer.C:
			return delayed
		case <-ctx.Done():
			return false
		case <-over[0]:
			return false
		case <-over[1]:
			return false
		}
	}
}

func (h *hub) unwait(v *viewer, w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v.waiters = slices.DeleteFunc(v.waiters, func(other *waiter) bool { return other == w })
}

func (h *hub) waiting() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.viewers {
		n += len(v.waiters)
	}
	return n
}

// joinedRooms are the rooms that a user is in.
func joinedRooms(r kv.Reader, parts int, user id.UserID) []id.RoomID {
	var out []id.RoomID
	for m := range room.Memberships(r, parts, user) {
		if m.State == roomstate.Join {
			out = append(out, m.Room)
		}
	}
	return out
}
