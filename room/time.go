package room

import (
	"sort"

	"bongsu/event"
	"bongsu/journal"
	"bongsu/replica"
)

// ClosestTo finds the visible event whose time is closest to ts, a time in Unix milliseconds: the first one at or after it, or with back
// the last one at or before it. ok is false if there is none.
//
// The times of a room's events never go back, since they are taken from the state's time; only the event that made the room was stamped
// by whoever proposed it.
func (v *View) ClosestTo(ts int64, back bool, sight Sight) (s Stored, ok bool) {
	ts = min(ts, event.MaxInt)
	late := ts
	if back {
		late = ts + 1
	}
	// Times grow with places, so the gap before the first event that is late enough is found by halving positions.
	first := v.Create.Place.Pos
	n := int(v.LastEvent.Pos-first) + 1
	pos := first + journal.Position(sort.Search(n, func(i int) bool {
		s, ok := v.next(replica.End(first+journal.Position(i)-1), replica.Forever)
		return !ok || s.OriginServerTS >= late
	}))
	// All events from pos on are late enough. Of those right before, the last ones may be, too.
	gap := replica.End(pos - 1)
	for s := range v.TimelineBack(Place{}, gap) {
		if s.OriginServerTS < late {
			break
		}
		gap = s.Place.Prev()
	}
	if back {
		return v.lastVisible(gap, sight)
	}
	return v.firstVisible(gap, sight)
}

// next is the first event with after < place <= upto.
func (v *View) next(after, upto Place) (Stored, bool) {
	for s := range v.Timeline(after, upto) {
		return s, true
	}
	return Stored{}, false
}

func (v *View) firstVisible(after Place, sight Sight) (Stored, bool) {
	for _, sp := range sight.spans {
		from := after
		if after.Before(sp.from) {
			from = sp.from.Prev()
		}
		if s, ok := v.next(from, sp.to); ok {
			return s, true
		}
	}
	return Stored{}, false
}

func (v *View) lastVisible(upto Place, sight Sight) (Stored, bool) {
	for i := len(sight.spans) - 1; i >= 0; i-- {
		sp := sight.spans[i]
		from, to := Place{}, sp.to
		if from.Before(sp.from) {
			from = sp.from.Prev()
		}
		if upto.Before(to) {
			to = upto
		}
		for s := range v.TimelineBack(from, to) {
			return s, true
		}
	}
	return Stored{}, false
}
