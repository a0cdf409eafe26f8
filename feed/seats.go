package feed

import (
	"slices"
	"sync/atomic"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/room"
	"bongsu/roomstate"
)

// seat is a user's place in one room. What does not say otherwise never changes.
type seat struct {
	room.Membership
	p       journal.Partition // of the room
	watch   *watch            // of a joined room; else nil
	unread  unread            // guarded by the hub's mutex, and so is
	sight   *room.Sight       // what the user may see; nil: not yet read
	sightAt room.Place        // as of this last state event
}

// watch is a room that somebody who syncs is in.
type watch struct {
	event   atomic.Uint64        // position of the last event, or a later one
	receipt atomic.Uint64        // and of the last receipt
	viewers map[*viewer]struct{} // guarded by the hub's mutex
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
