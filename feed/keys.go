package feed

import (
	"slices"

	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/keys"
	"bongsu/room"
	"bongsu/roomstate"
)

// maxInbox is how many messages to a device one answer brings.
const maxInbox = 100

// encryption writes what end-to-end encryption needs: messages to the device, whose devices have changed, how many keys are left.
func (a *answer) encryption() {
	a.toDevice()
	if a.since != nil {
		a.deviceLists()
	}
	counts, unused := keys.KeyCounts(a.view, a.rq.User, a.rq.Device)
	a.key("device_one_time_keys_count", "")
	a.raw(counts)
	a.key("device_unused_fallback_key_types", "")
	a.raw(unused)
	v := a.vis.v
	a.f.hub.mu.Lock()
	changed := v.counts
	a.f.hub.mu.Unlock()
	if a.since != nil && changed > a.since.Positions[v.home] {
		a.news = true
	}
}

// toDevice writes the messages that the token does not cover. What it covers the device has: it can be deleted.
func (a *answer) toDevice() {
	v := a.vis.v
	var after room.Place
	if a.since != nil {
		after = a.since.Inbox
		a.f.hub.mu.Lock()
		last := v.keys
		a.f.hub.mu.Unlock()
		if last <= a.since.Positions[v.home] && after == End(a.since.Positions[v.home]) {
			return
		}
	}
	in := keys.Pending(a.view, a.rq.User, a.rq.Device, after, maxInbox)
	if in.Stale {
		a.f.cfg.Acked(a.rq.User, a.rq.Device, after)
	}
	if in.More {
		a.next.Inbox = in.Last
	}
	if a.events("to_device", func() {
		for _, ev := range in.Events {
			a.elem()
			a.raw(ev)
		}
	}) {
		a.news = true
	}
}

// deviceLists writes whose devices the client must look at again, and whose no longer: of users who share an encrypted room with
// the user.
func (a *answer) deviceLists() {
	changed, left := map[id.UserID]bool{}, map[id.UserID]bool{}
	a.f.hub.mu.Lock()
	lists := slices.Clone(a.f.hub.lists)
	a.f.hub.mu.Unlock()
	for i, last := range lists {
		p := journal.Partition(i)
		if last <= a.since.Positions[p] {
			continue
		}
		for c := range keys.DeviceListChanges(a.view, p, a.since.Positions[p], a.at(p)) {
			switch {
			case c.Viewer != "" && c.Viewer != a.rq.User:
			case c.User == a.rq.User || a.shares(c.User, false):
				changed[c.User] = true
			}
		}
	}
	for _, s := range a.entered {
		if v, ok := room.Open(a.view, s.Room); ok && encrypted(&v) {
			for m := range v.Members() {
				if m.Membership == roomstate.Join && m.Key != string(a.rq.User) {
					changed[id.UserID(m.Key)] = true
				}
			}
		}
	}
	for _, m := range a.moved {
		v, ok := room.Open(a.view, m.room)
		if !ok || !encrypted(&v) {
			continue
		}
		switch {
		case m.now == roomstate.Join:
			changed[m.user] = true
		case m.now != roomstate.Invite && !a.shares(m.user, true):
			left[m.user] = true
		}
	}
	a.gone(left)
	if len(changed)+len(left) == 0 {
		return
	}
	a.news = true
	a.key("device_lists", "{")
	a.users("changed", changed)
	a.users("left", left)
	a.close("}")
}

// gone adds those whom the user lost sight of by leaving rooms.
func (a *answer) gone(left map[id.UserID]bool) {
	for _, s := range a.seats {
		if s.State != roomstate.Leave && s.State != roomstate.Ban || !a.from(s.p).Before(s.Place) {
			continue
		}
		v, ok := room.Open(a.view, s.Room)
		if !ok || !encrypted(&v) {
			continue
		}
		for m := range v.Members() {
			if u := id.UserID(m.Key); m.Membership == roomstate.Join && !a.shares(u, true) {
				left[u] = true
			}
		}
	}
}

// shares reports whether the user is in a room with another, which must be encrypted if so asked.
func (a *answer) shares(other id.UserID, inEncrypted bool) bool {
	for _, s := range a.seats {
		if s.State != roomstate.Join {
			continue
		}
		v, ok := room.Open(a.view, s.Room)
		if ok && v.IsJoined(other) && (!inEncrypted || encrypted(&v)) {
			return true
		}
	}
	return false
}

func encrypted(v *room.View) bool {
	_, ok := v.StateRow(event.TypeEncryption, "")
	return ok
}

func (a *answer) users(name string, set map[id.UserID]bool) {
	list := make([]id.UserID, 0, len(set))
	for u := range set {
		list = append(list, u)
	}
	slices.Sort(list)
	a.key(name, "[")
	for _, u := range list {
		a.elem()
		a.str(string(u))
	}
	a.close("]")
}
