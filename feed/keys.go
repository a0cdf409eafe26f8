package feed

import (
	"context"
	"maps"
	"slices"

	"bongsu/event"
	"bongsu/filter"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/keys"
	"bongsu/replica"
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
	changed := v.counts[a.rq.Device]
	a.f.hub.mu.Unlock()
	if a.since != nil && changed > a.since.Positions[v.home] {
		a.news = true
	}
}

// toDevice writes the messages that the token does not cover. What it covers the device has: it can be deleted.
func (a *answer) toDevice() {
	v, hub := a.vis.v, a.f.hub
	hub.mu.Lock()
	empty, ok := v.empty[a.rq.Device]
	known := ok && v.keys <= empty
	hub.mu.Unlock()
	if known {
		return
	}
	var after room.Place
	if a.since != nil {
		after = a.since.Inbox
	}
	in := keys.Pending(a.view, a.rq.User, a.rq.Device, after, maxInbox)
	if len(in.Events) == 0 && !in.Stale {
		hub.mu.Lock()
		if v.empty == nil {
			v.empty = map[id.DeviceID]journal.Position{}
		}
		v.empty[a.rq.Device] = a.at(v.home)
		hub.mu.Unlock()
	}
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

// deviceLists writes whose devices the client must look at again, and whose no longer.
func (a *answer) deviceLists() {
	changed, left := a.devices()
	if len(changed)+len(left) == 0 {
		return
	}
	a.news = true
	a.key("device_lists", "{")
	a.users("changed", changed)
	a.users("left", left)
	a.close("}")
}

// KeyChanges are the users whose devices a client must look at again if it has done so up to the token from, and those whose
// devices no longer concern it. What has happened after the token to is in it as well. Errors are those of Sync.
func (f *Feed) KeyChanges(ctx context.Context, user id.UserID, from, to string) (changed, left []id.UserID, err error) {
	since, err := f.since(ctx, from)
	if err != nil {
		return nil, nil, err
	}
	if _, err := f.since(ctx, to); err != nil {
		return nil, nil, err
	}
	if since == nil {
		since = &Token{Positions: make([]journal.Position, f.r.Partitions())}
	}
	vis := f.hub.enter(user, f.r.Partitions(), f.now())
	view := f.r.View()
	defer view.Close()
	a, err := f.answer(&Request{User: user}, &filter.Filter{}, since, vis, view)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range a.seats {
		a.moves(s)
	}
	c, l := a.devices()
	return sorted(c), sorted(l), nil
}

// moves notes who has come and gone in a room since the token: the user, or others while the user was there.
func (a *answer) moves(s *seat) {
	after := a.from(s.p)
	switch {
	case s.State == roomstate.Join && after.Before(s.Since):
		a.entered = append(a.entered, s)
		return
	case s.State == roomstate.Join && s.watch.event.Load() <= uint64(after.Pos), s.State != roomstate.Join && !after.Before(s.Place):
		return
	}
	if v, ok := room.Open(a.view, s.Room); ok {
		upto := replica.End(a.at(s.p))
		if s.State != roomstate.Join {
			upto = s.Place
		}
		a.movesBetween(&v, after, upto)
	}
}

// movesBetween notes who has come and gone in a room between two places, and whether it was encrypted there.
func (a *answer) movesBetween(v *room.View, after, upto room.Place) {
	for _, m := range changes(v, after, upto) {
		if u := memberOf(m); u != "" {
			a.move(v.ID, u, roomstate.MembershipOf(m.Event))
		} else if m.Type == event.TypeEncryption {
			if _, was := v.StateRowAt(after, event.TypeEncryption, ""); !was {
				a.closed = append(a.closed, v.ID)
			}
		}
	}
}

// devices are the users whose devices the client must look at again, and whose no longer: among those who share an encrypted
// room with the user.
func (a *answer) devices() (changed, left map[id.UserID]bool) {
	changed, left = map[id.UserID]bool{}, map[id.UserID]bool{}
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
	closed := slices.Clone(a.closed)
	for _, s := range a.entered {
		closed = append(closed, s.Room)
	}
	for _, r := range closed {
		if v, ok := room.Open(a.view, r); ok && encrypted(&v) {
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
	return changed, left
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

func sorted(set map[id.UserID]bool) []id.UserID { return slices.Sorted(maps.Keys(set)) }

func (a *answer) users(name string, set map[id.UserID]bool) {
	a.key(name, "[")
	for _, u := range sorted(set) {
		a.elem()
		a.str(string(u))
	}
	a.close("]")
}
