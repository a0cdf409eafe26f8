package model

import "fmt"

// Gap is a place between two events, as a page token names it: after the first Lo to Hi events. Where a filter left out what is in
// between, both are right.
type Gap struct{ Lo, Hi int }

// mostLooked is a number of events that a server looks at for those that a filter wants; beyond it may give up, with a token to go on from.
const mostLooked = 1000

// PageQuery asks for a page of a room's timeline.
type PageQuery struct {
	From   Gap
	To     *int // no further than the gap after so many events
	Back   bool
	Limit  int
	Filter Events
}

// Page is the answer of /messages.
type Page struct {
	Chunk []Seen  `json:"chunk"`
	Start string  `json:"start"`
	End   *string `json:"end"`
	State []Seen  `json:"state"`
}

// CheckPage compares an answer of /messages with the room, and returns what its end stands for.
//
// A page may have fewer events than the limit wants as long as it has an end to go on from. It never leaves out an event that may be
// seen and passes the filter.
func (w *World) CheckPage(r *Room, to Viewer, q PageQuery, p *Page) (end Gap, err error) {
	for g := q.From.Hi; g >= q.From.Lo; g-- {
		err = w.try(func() (err error) {
			end, err = w.checkPage(r, to, q, g, p)
			return err
		})
		if err == nil {
			break
		}
	}
	if err == nil && q.Filter.Lazy {
		err = w.pageMembers(r, to, p)
	}
	w.Compared.Pages++
	return end, err
}

// walk are the events from a gap on that may be seen, are for the user and pass the filter.
func (w *World) walk(r *Room, user string, f *Events, gap int, back bool, bound *int) []int {
	visible, hears := r.Visible(user), w.hears(user)
	var out []int
	take := func(i int) {
		if e := r.Events[i]; visible[i] && hears(e) && f.passes(e) {
			out = append(out, i)
		}
	}
	if back {
		for i := gap - 1; i >= 0 && (bound == nil || i >= *bound); i-- {
			take(i)
		}
		return out
	}
	for i := gap; i < len(r.Events) && (bound == nil || i < *bound); i++ {
		take(i)
	}
	return out
}

func (w *World) checkPage(r *Room, to Viewer, q PageQuery, gap int, p *Page) (end Gap, err error) {
	want := w.walk(r, to.User, &q.Filter, gap, q.Back, q.To)
	n := len(p.Chunk)
	switch {
	case n > q.Limit:
		return end, fmt.Errorf("%d events, and %d were asked for", n, q.Limit)
	case n > len(want):
		return end, fmt.Errorf("%d events where there are %d", n, len(want))
	case p.End == nil && n < len(want):
		return end, fmt.Errorf("the page ends without %v", r.Events[want[n]])
	}
	for i := range p.Chunk {
		if err := w.Same(r.Events[want[i]], &p.Chunk[i], to); err != nil {
			return end, err
		}
		if p.Chunk[i].RoomID != r.ID {
			return end, fmt.Errorf("an event of %q", p.Chunk[i].RoomID)
		}
	}
	return r.endOf(want, n, gap, q), nil
}

// endOf is where a page of n events has ended: somewhere between its last event and the next that it would have had.
func (r *Room) endOf(want []int, n, gap int, q PageQuery) Gap {
	if q.Back {
		g := Gap{0, gap}
		if q.To != nil {
			g.Lo = *q.To
		}
		if n > 0 {
			g.Hi = want[n-1]
		}
		if n < len(want) {
			g.Lo = want[n] + 1
		}
		return Gap{min(g.Lo, g.Hi), g.Hi}
	}
	g := Gap{gap, len(r.Events)}
	if q.To != nil {
		g.Hi = *q.To
	}
	if n > 0 {
		g.Lo = want[n-1] + 1
	}
	if n < len(want) {
		g.Hi = want[n]
	}
	return Gap{g.Lo, max(g.Lo, g.Hi)}
}

// pageMembers checks the members that come with a page: one for each sender. Which of a sender's memberships is left open; it must be
// one that the user may know of: from before the last event that is on the page, or from the state that the user may read.
func (w *World) pageMembers(r *Room, to Viewer, p *Page) error {
	senders, upto := map[string]bool{}, 0
	for i := range p.Chunk {
		senders[p.Chunk[i].Sender] = true
		upto = max(upto, r.Index(p.Chunk[i].ID)+1)
	}
	due := upto // who was no member yet at the last event need not come: the creator, with the create event alone
	if n, _, may := r.StateSight(to.User); may {
		upto = max(upto, n)
	}
	got := map[string]bool{}
	for i := range p.State {
		s := &p.State[i]
		if s.StateKey == nil || s.Type != "m.room.member" {
			continue // other state may come as well
		}
		var found *Event
		for _, e := range r.Events[:upto] {
			if e.isMember(*s.StateKey) && (e.ID == s.ID || e.ID == "" && w.known(s) == nil && equal(e.Content, s.Content)) {
				found = e
			}
		}
		if found == nil {
			return fmt.Errorf("a member event comes with a page that the user may not see, or there is none: %s", JSON(s))
		}
		if err := w.Same(found, s, to); err != nil {
			return err
		}
		got[*s.StateKey] = true
	}
	for s := range senders {
		if !got[s] && r.Member(due, s) != nil {
			return fmt.Errorf("the page lacks the membership of %s, who is on it", s)
		}
	}
	return nil
}

// Around is the answer of /context.
type Around struct {
	Event  *Seen  `json:"event"`
	Before []Seen `json:"events_before"`
	After  []Seen `json:"events_after"`
	State  []Seen `json:"state"`
	Start  string `json:"start"`
	End    string `json:"end"`
}

// CheckAround compares an answer of /context with the room: limit events at most on both sides together, and at least half of them on
// each side that has so many, unless a filter hides more than a server looks at.
func (w *World) CheckAround(r *Room, to Viewer, i, limit int, f Events, a *Around) (start, end Gap, err error) {
	if err := w.Same(r.Events[i], a.Event, to); err != nil {
		return start, end, err
	}
	if len(a.Before)+len(a.After) > limit {
		return start, end, fmt.Errorf("%d and %d events around it, and %d were asked for", len(a.Before), len(a.After), limit)
	}
	last := i
	side := func(seen []Seen, back bool, gap int) (Gap, error) {
		want := w.walk(r, to.User, &f, gap, back, nil)
		enough := min(len(want), limit/2)
		if !f.all() && len(r.Events) > mostLooked {
			enough = 0
		}
		if len(seen) > len(want) || len(seen) < enough {
			return Gap{}, fmt.Errorf("%d events on one side (before: %v), of %d", len(seen), back, len(want))
		}
		for n := range seen {
			if err := w.Same(r.Events[want[n]], &seen[n], to); err != nil {
				return Gap{}, err
			}
			last = max(last, want[n])
		}
		return r.endOf(want, len(seen), gap, PageQuery{Back: back}), nil
	}
	if start, err = side(a.Before, true, i); err != nil {
		return start, end, err
	}
	if end, err = side(a.After, false, i+1); err != nil {
		return start, end, err
	}
	w.Compared.Contexts++
	return start, end, w.aroundState(r, to, last, f, a)
}

// aroundState checks the state of /context, which is that at the last event, as far as the filter wants it; with lazy loading, of the
// members only the senders.
func (w *World) aroundState(r *Room, to Viewer, last int, f Events, a *Around) error {
	state := r.State(last + 1)
	got, err := w.Set(state, a.State, to)
	if err != nil {
		return err
	}
	senders := map[string]bool{a.Event.Sender: true}
	for _, s := range append(append([]Seen(nil), a.Before...), a.After...) {
		senders[s.Sender] = true
	}
	for k, e := range state {
		lazy := f.Lazy && k.Type == "m.room.member" // then whether the filter holds for members is left open
		due := f.passes(e) && (!lazy || senders[k.StateKey])
		switch {
		case due && got[k] == nil:
			return fmt.Errorf("the state around lacks %v", e)
		case got[k] != nil && !f.passes(e) && !lazy:
			return fmt.Errorf("the filter does not want %v in the state around", e)
		}
	}
	return nil
}
