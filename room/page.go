package room

import (
	"bongsu/event"
	"bongsu/id"
	"bongsu/replica"
)

// PageQuery asks for a page of a room's timeline.
type PageQuery struct {
	From   Place // the gap after this place; see PageToken
	To     Place // no further than the gap after this place; with Back the zero place, and else replica.Forever, for no bound
	Back   bool  // towards the past
	Limit  int
	Sight  Sight                   // what may be seen
	Wanted func(*event.Event) bool // nil: everything
}

// Page is part of a timeline.
type Page struct {
	Events []Stored // in the order of the query
	End    Place    // the gap to go on from
	More   bool     // there may be more beyond End
	Hidden bool     // something on this page may not be seen, as far as this site knows: it may lack what would show it
}

// maxLooked is how many events are looked at for one page, whatever is wanted of them.
const maxLooked = 2000

// Page reads part of the timeline. Two pages that follow each other by End neither share nor miss an event.
func (v *View) Page(q PageQuery) Page {
	p := Page{End: q.From}
	if q.Sight.Nothing() || q.Limit <= 0 {
		return p
	}
	after, upto, read := q.From, q.To, v.Timeline
	if q.Back {
		after, upto, read = q.To, q.From, v.TimelineBack
	}
	// What comes before all that may be seen is not looked at.
	unseen := after
	if first := q.Sight.spans[0].from; after.Before(first) {
		after = first.Prev()
	}
	looked := 0
	for s := range read(after, upto) {
		if len(p.Events) == q.Limit || looked == maxLooked {
			p.More = true
			break
		}
		looked++
		p.End = s.Place
		if q.Back {
			p.End = s.Place.Prev()
		}
		switch sees := q.Sight.Sees(s.Place); {
		case !sees:
			p.Hidden = true
		case q.Wanted == nil || q.Wanted(s.Event):
			p.Events = append(p.Events, s)
		}
	}
	if !p.More || !q.Back { // the page goes to where what may be seen begins, or comes from there
		for range v.Timeline(unseen, after) {
			p.Hidden = true
			break
		}
	}
	return p
}

// Around is an event and what stands before and after it.
type Around struct {
	Event  Stored
	Before Page // the last one first
	After  Page
}

// Around reads limit events around an event, half of them on each side; ok is false if the user may not see it.
func (v *View) Around(e id.EventID, limit int, sight Sight, wanted func(*event.Event) bool) (a Around, ok bool) {
	s, ok := v.Event(e)
	if !ok || !sight.Sees(s.Place) {
		return Around{}, false
	}
	q := PageQuery{From: s.Place.Prev(), Back: true, Limit: limit / 2, Sight: sight, Wanted: wanted}
	a.Event, a.Before = s, v.Page(q)
	q.From, q.To, q.Back, q.Limit = s.Place, replica.Forever, false, limit-limit/2
	a.After = v.Page(q)
	return a, true
}
