package feed

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"bongsu/account"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/keys"
	"bongsu/replica"
	"bongsu/room"
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
	remade  uint64 // how often rows were discarded in this run

	seed       maphash.Seed // of the hashes of what was sent
	names      uint64       // the last that a token was given for what was sent
	remembered int          // how much of what was sent, to all devices

	company  map[id.UserID][]id.RoomID // the rooms that users are in whose presence has changed, as far as they were asked for
	moves    uint64                    // how many changes of memberships there have been
	appeared map[id.UserID]struct{}    // whose presence has changed, for the others to be woken
	presence chan struct{}             // there is something in appeared

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
	counts      map[id.DeviceID]journal.Position // the last change of a device's one-time keys; none was seen of others
	read        []journal.Position               // the user's last receipt was there or before, by partition
	prefs       *prefs                           // nil: not yet read
	prefsUpto   journal.Position                 // they were right there
	sent        map[id.DeviceID]*device
	wakes       marks
	waiters     []*waiter
	used        time.Time // by a sync
	answered    time.Time // with something new, to a request that would have waited
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
		changed: map[id.UserID]struct{}{}, devices: make(chan struct{}, 1),
		company: map[id.UserID][]id.RoomID{}, appeared: map[id.UserID]struct{}{}, presence: make(chan struct{}, 1), seed: maphash.MakeSeed()}
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
			h.roomChanged(n, c.Partition, c.Pos)
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
				if v.counts == nil {
					v.counts = map[id.DeviceID]journal.Position{}
				}
				v.counts[n.Device] = c.Pos
				v.urge()
			}
		case keys.DeviceListChanged:
			h.listChanged(n, c)
		}
	}
	h.seen[c.Partition] = max(h.seen[c.Partition], c.Pos)
	h.caught.Broadcast()
}

// forget drops all that is remembered, because the rows of a partition are gone or are there anew, and sends those who wait to look
// again. What happened before is not known: as if it had happened at the commit.
func (h *hub) forget(c replica.Commit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remade++
	h.seen[c.Partition], h.lists[c.Partition] = c.Pos, c.Pos
	for _, v := range h.viewers {
		v.urge()
	}
	clear(h.viewers)
	clear(h.rooms)
	clear(h.company)
	h.moves++
	h.remembered = 0
	h.caught.Broadcast()
}

func (h *hub) roomChanged(n room.Changed, p journal.Partition, pos journal.Position) {
	concerned := h.viewers[n.User]
	w := h.rooms[n.Room]
	switch n.Change {
	case room.ChangeMembership, room.ChangeForgotten:
		h.moves++
		delete(h.company, n.User)
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
			concerned.read[p] = pos
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

// visit is a user's sync, from its arrival to its answer.
type visit struct {
	v     *viewer
	marks marks
	// memberships is how many changes of memberships had been seen before the view was taken.
	memberships uint64
	remade      uint64 // likewise, how often rows had been discarded
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
		v = &viewer{user: user, home: replica.PartitionOf(id.SlotOf(user), parts), read: slices.Clone(h.seen)}
		// What happened before is not known: as if it had happened just now.
		v.account, v.keys = h.seen[v.home], h.seen[v.home]
		h.viewers[user] = v
	}
	v.used = now
	return visit{v: v, marks: v.wakes, memberships: v.memberships, remade: h.remade}
}

// sweep forgets who has not been here for long.
func (h *hub) sweep(now time.Time) {
	h.swept = now
	for user, v := range h.viewers {
		if len(v.waiters) == 0 && now.Sub(v.used) > forgetAfter {
			h.unseat(v)
			for dev := range v.sent {
				h.forgetSent(v, dev)
			}
			delete(h.viewers, user)
		}
	}
}

// await returns when the notes of everything in a view have been taken in; false: rows were discarded since the visit began, and
// what is remembered no longer goes with the view.
func (h *hub) await(at []journal.Position, remade uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.remade == remade && !covers(h.seen, at) {
		h.caught.Wait()
	}
	return h.remade == remade
}

func covers(seen, at []journal.Position) bool {
	for i, p := range at {
		if seen[i] < p {
			return false
		}
	}
	return true
}

// leave notes that a sync was answered with something new.
func (h *hub) leave(v *viewer, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v.answered = now
}
