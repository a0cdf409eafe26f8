package feed

import (
	"hash/maphash"

	"bongsu/id"
	"bongsu/room"
)

// With lazy loading a member is sent when they first say something. What was sent to a device is remembered here, so that it is not sent
// with each message. A token names what had been sent when it was given out: whoever comes with it has got that. A token that names
// something else (of another site, of another run, from before) finds nothing remembered, and members are sent once more. So it does
// no harm to forget. See docs/adr/0045-who-was-sent-is-named-by-the-token.md.

// device is what was sent to a device, by the hashes of room and place of member events. The hub's mutex guards it.
type device struct {
	name  uint64 // of a token: up to it, known was sent
	known map[uint64]struct{}
	next  uint64   // of the token that was given out with
	fresh []uint64 // these
}

const (
	maxSentTo     = 20_000    // member events remembered for a device,
	maxSentToAll  = 2_000_000 // and for all devices, of some 20 bytes each
	maxSentDevice = 16        // devices of a user that are remembered
)

// sending is what is known of a device while an answer to it is made. A nil one knows nothing, and remembers nothing.
type sending struct {
	h     *hub
	v     *viewer
	dev   id.DeviceID
	to    *device
	fresh []uint64
}

func (s *sending) hash(r id.RoomID, p room.Place) uint64 {
	return maphash.Comparable(s.h.seed, struct {
		room  id.RoomID
		place room.Place
	}{r, p})
}

// sendingTo begins an answer to who comes with a token that has a name; 0: without one, or with one that has none.
func (h *hub) sendingTo(v *viewer, dev id.DeviceID, name uint64) *sending {
	h.mu.Lock()
	defer h.mu.Unlock()
	to := v.sent[dev]
	switch {
	case to == nil:
	case name != 0 && name == to.next:
		h.remembered -= len(to.known) + len(to.fresh)
		for _, hash := range to.fresh {
			to.known[hash] = struct{}{}
		}
		h.remembered += len(to.known)
		to.name, to.next, to.fresh = name, 0, nil
	case name != 0 && name == to.name: // the answer to the last request was lost
		h.remembered -= len(to.fresh)
		to.next, to.fresh = 0, nil
	default:
		h.forgetSent(v, dev)
		to = nil
	}
	if to == nil {
		if len(v.sent) >= maxSentDevice || v.sent == nil {
			for other := range v.sent {
				h.forgetSent(v, other)
			}
			v.sent = map[id.DeviceID]*device{}
		}
		to = &device{known: map[uint64]struct{}{}}
		v.sent[dev] = to
	}
	return &sending{h: h, v: v, dev: dev, to: to}
}

func (h *hub) forgetSent(v *viewer, dev id.DeviceID) {
	if d := v.sent[dev]; d != nil {
		h.remembered -= len(d.known) + len(d.fresh)
		delete(v.sent, dev)
	}
}

// has reports whether the device has the member event at a place of a room.
func (s *sending) has(r id.RoomID, p room.Place) bool {
	if s == nil {
		return false
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	_, ok := s.to.known[s.hash(r, p)]
	return ok
}

// add notes that the member event at a place of a room is in this answer.
func (s *sending) add(r id.RoomID, p room.Place) {
	if s != nil {
		s.fresh = append(s.fresh, s.hash(r, p))
	}
}

// end gives the answer's token its name; 0: nothing is remembered.
func (s *sending) end() uint64 {
	if s == nil {
		return 0
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	to := s.to
	if s.v.sent[s.dev] != to || len(s.fresh) == 0 || len(to.known)+len(s.fresh) > maxSentTo || s.h.remembered+len(s.fresh) > maxSentToAll {
		return to.name
	}
	s.h.remembered += len(s.fresh) - len(to.fresh)
	s.h.names++
	to.next, to.fresh = s.h.names, s.fresh
	return to.next
}
