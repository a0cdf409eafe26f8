package feed

import (
	"cmp"
	"maps"
	"slices"

	"bongsu/event"
	"bongsu/filter"
	"bongsu/id"
	"bongsu/room"
)

// state writes the state that goes with a timeline: as it was where the timeline starts or, if the client asked for it, as it is where it
// ends. All of it, or what has changed since the client's token. With lazy loading, members are those whom the client needs to show the
// timeline, and those who changed in the gap.
//
// Source: client-server API, sync, and "Lazy-loading room members".
func (a *answer) state(v *room.View, t timeline, full bool, heroes []id.UserID) {
	f, at := &a.filter.Room.State, t.start
	if a.rq.StateAfter {
		at = t.upto
	}
	shown := a.shown(t, full, heroes)
	var done id.UserID // whose membership is written
	if a.rq.StateAfter && t.own.Event != nil {
		done = a.rq.User
		a.stateEvent(v, t.own)
		delete(shown, done)
	}
	switch {
	case full && !f.LazyMembers:
		for row := range v.StateAt(at) {
			if done == "" || row.Type != event.TypeMember || row.Key != string(done) {
				a.stateRow(v, row)
			}
		}
	case full:
		for row := range v.StateWithout(event.TypeMember, at) {
			a.stateRow(v, row)
		}
	case t.limited || a.rq.StateAfter:
		for _, s := range changes(v, t.after, at) {
			m := memberOf(s)
			delete(shown, m)
			if m == "" || m != done {
				a.stateEvent(v, s)
			}
		}
	}
	for _, u := range slices.Sorted(maps.Keys(shown)) {
		if row, ok := v.StateRowAt(at, event.TypeMember, string(u)); ok && (full || !a.sent.has(v.ID, row.Ref.Place)) {
			a.stateRow(v, row)
		}
	}
}

// shown are, with lazy loading, the members whom the client needs to know: nil without it.
func (a *answer) shown(t timeline, full bool, heroes []id.UserID) map[id.UserID]bool {
	if !a.filter.Room.State.LazyMembers {
		return nil
	}
	shown := map[id.UserID]bool{}
	if full {
		shown[a.rq.User] = true
	}
	for _, u := range heroes {
		shown[u] = true
	}
	for _, s := range t.events {
		shown[s.Sender] = true
	}
	return shown
}

// memberOf is whose membership an event sets; "" if none.
func memberOf(s room.Stored) id.UserID {
	if s.Type != event.TypeMember || s.StateKey == nil {
		return ""
	}
	return id.UserID(*s.StateKey)
}

// changes are the state events by which the state at upto differs from that at after, ordered by type and key.
func changes(v *room.View, after, upto room.Place) []room.Stored {
	if !after.Before(v.LastState) {
		return nil
	}
	type key struct{ typ, key string }
	last := map[key]room.Stored{}
	looked := 0
	for s := range v.TimelineBack(after, upto) {
		if looked++; looked > maxScan {
			return changesInState(v, after, upto)
		}
		if s.StateKey == nil {
			continue
		}
		k := key{s.Type, *s.StateKey}
		if _, ok := last[k]; !ok {
			last[k] = s
		}
	}
	return slices.SortedFunc(maps.Values(last), func(x, y room.Stored) int {
		return cmp.Or(cmp.Compare(x.Type, y.Type), cmp.Compare(*x.StateKey, *y.StateKey))
	})
}

// changesInState is changes where more was said than there is state, most likely.
func changesInState(v *room.View, after, upto room.Place) (out []room.Stored) {
	for row := range v.StateAt(upto) {
		if after.Before(row.Ref.Place) {
			out = append(out, v.Load(row))
		}
	}
	return out
}

func (a *answer) stateRow(v *room.View, row room.StateRow) {
	if a.filter.Room.State.Type(row.Type) {
		a.stateEvent(v, v.Load(row))
	}
}

func (a *answer) stateEvent(v *room.View, s room.Stored) {
	if !a.filter.Room.State.Passes(s.Event) {
		return
	}
	a.event(v, s)
	if memberOf(s) != "" {
		a.sent.add(v.ID, s.Place)
	}
}

// lazily reports whether a filter wants members only where they are needed, and none twice.
func lazily(f *filter.Filter) bool { return f.Room.State.LazyMembers && !f.Room.State.Redundant }
