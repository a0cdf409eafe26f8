package model

import (
	"fmt"
	"maps"
	"slices"
)

// mostEvents is how many events a timeline may have whose filter does not say.
const mostEvents = 100

// span is the part of a room's history that an answer of /sync tells of.
type span struct {
	r     *Room
	since int  // events that the client has
	end   int  // events that there are for the user
	full  bool // all state is due, not only what has changed
	known bool // the user was in the room at the token
	own   int  // a member event after the end that may be shown as well; 0: none
}

// span checks the timeline and the state of a room.
//
// A timeline is what comes last of the events that the user may see, that are for them and that the filter lets through. If it is not limited, nothing since
// the token is missing. Whether it is limited is left to the server where it holds something back: by the limit, by sight, or
// because the user has come into the room since. State is what the state was where the timeline starts: all of it, or what has
// changed since the token.
//
// Source: client-server API, sync, "Syncing" and "Lazy-loading room members".
func (s *syncing) span(t span, got *SyncRoom) error {
	f := &s.q.Filter.Room.Timeline
	visible, hears := t.r.Visible(s.to.User), s.w.hears(s.to.User)
	first := t.since
	if !t.known {
		first = 0
	}
	var want []int
	hidden := false
	for i := first; i < t.end; i++ {
		e := t.r.Events[i]
		if !visible[i] || !hears(e) {
			hidden = true
		} else if f.passes(e) {
			want = append(want, i)
		}
	}
	events := got.Timeline.Events
	if t.own > 0 && f.passes(t.r.Events[t.own]) && len(events) > 0 && t.r.Events[t.own].ID == s.w.idOf(t.r.Events[t.own], &events[len(events)-1]) {
		want = append(want, t.own)
	}
	lo, hi, err := s.timeline(t, want, &got.Timeline, hidden)
	if err != nil {
		return err
	}
	if lo == hi && len(events) > 0 {
		s.gaps[t.r.ID] = Gap{lo, hi}
	}
	return s.startState(t, got, lo, hi)
}

// idOf is the id of what an answer has if it could be the event.
func (w *World) idOf(e *Event, s *Seen) string {
	if k, ok := e.Key(); e.ID == "" && w.known(s) == nil && ok && s.StateKey != nil && k == (Key{s.Type, *s.StateKey}) {
		return ""
	}
	return s.ID
}

// timeline compares a timeline with the end of what is wanted, and returns the bounds of where it may start.
func (s *syncing) timeline(t span, want []int, got *Timeline, hidden bool) (lo, hi int, err error) {
	f := &s.q.Filter.Room.Timeline
	n, limit := len(got.Events), f.limit(mostEvents)
	switch {
	case n > limit:
		return 0, 0, fmt.Errorf("a timeline of %d events, and %d were asked for", n, limit)
	case n > len(want):
		return 0, 0, fmt.Errorf("a timeline of %d events where there are %d", n, len(want))
	}
	dropped := want[:len(want)-n]
	for i := range got.Events {
		e := t.r.Events[want[len(dropped)+i]]
		if err := s.w.Same(e, &got.Events[i], s.to); err != nil {
			return 0, 0, fmt.Errorf("timeline: %w", err)
		}
	}
	missing := 0 // of what has happened since the token
	for _, i := range dropped {
		if i >= t.since {
			missing++
		}
	}
	switch {
	case !got.Limited && missing > 0:
		return 0, 0, fmt.Errorf("the timeline lacks %v and is not limited", t.r.Events[dropped[len(dropped)-1]])
	case got.Limited && len(dropped) == 0 && f.all() && !hidden && t.known:
		return 0, 0, fmt.Errorf("the timeline is limited, and nothing is missing")
	case got.Limited && f.Limit != nil && n < min(limit, len(want)) && !hidden && t.known && t.end-t.since <= mostLooked:
		return 0, 0, fmt.Errorf("the timeline has %d events, less than the limit of %d", n, limit)
	}
	lo, hi = 0, t.end
	if t.known {
		lo = t.since
	}
	if n > 0 {
		hi = want[len(dropped)]
	}
	if len(dropped) > 0 {
		lo = dropped[len(dropped)-1] + 1
	}
	return min(lo, hi), hi, nil
}

// startState finds a start of the timeline that the state fits to, and has the client take both.
func (s *syncing) startState(t span, got *SyncRoom, lo, hi int) error {
	if s.q.After {
		return s.endState(t, got)
	}
	if got.StateAfter != nil {
		return fmt.Errorf("there is state_after, and nobody wants it")
	}
	var err error
	for start := hi; start >= lo; start-- {
		if start < hi && t.r.Events[start].StateKey == nil {
			continue // no other state than after it
		}
		var state map[Key]*Event
		err = s.w.try(func() (err error) {
			state, err = s.state(t, got.State.Events, start)
			return err
		})
		if err == nil {
			return s.take(t, got, state)
		}
	}
	return fmt.Errorf("state: %w", err)
}

// endState checks the state at the end of the timeline. Of what has happened after a user has left they see their own membership alone.
func (s *syncing) endState(t span, got *SyncRoom) error {
	if got.StateAfter == nil && len(got.Timeline.Events) == 0 && !got.Timeline.Limited {
		got.StateAfter = &list{} // a room of which only receipts are new need not have it
	}
	if got.StateAfter == nil || len(got.State.Events) > 0 {
		return fmt.Errorf("state_after is wanted, and nothing else")
	}
	seen := got.StateAfter.Events
	if n := len(seen); t.own > 0 && n > 0 {
		seen = slices.DeleteFunc(slices.Clone(seen), func(e Seen) bool { return s.w.Same(t.r.Events[t.own], &e, s.to) == nil })
	}
	state, err := s.state(t, seen, t.end)
	if err != nil {
		return fmt.Errorf("state_after: %w", err)
	}
	return s.take(t, got, state)
}

// state checks the state before the event of index start. With lazy loading, members may be left out, and others than those that
// have changed may be there.
func (s *syncing) state(t span, seen []Seen, start int) (map[Key]*Event, error) {
	f := &s.q.Filter.Room.State
	state := t.r.State(start)
	got, err := s.w.Set(state, seen, s.to)
	if err != nil {
		return nil, err
	}
	for k, e := range state {
		lazy := f.Lazy && k.Type == "m.room.member"
		due := f.passes(e) && (t.full || e.At > s.q.Since.At)
		switch {
		case due && got[k] == nil && !lazy && !(t.own > 0 && e.isMember(s.to.User)):
			return nil, fmt.Errorf("%v is missing", e)
		case !due && got[k] != nil && !(lazy && f.passes(e)):
			return nil, fmt.Errorf("%v is there, and neither new nor wanted", e)
		}
	}
	return got, nil
}

// take does what a client does with an answer: it takes over the state, and then has that of the room. With lazy loading it lacks
// members, but none whose events it was just shown; and it keeps those that it was sent once, even if it leaves the room and comes back,
// for the server need not send them again.
//
// Source: defineFilter, include_redundant_members.
func (s *syncing) take(t span, got *SyncRoom, state map[Key]*Event) error {
	r := t.r
	lazy := s.q.Filter.Room.State.Lazy
	mine := maps.Clone(s.next.Copies[r.ID])
	if mine == nil {
		mine = map[Key]*Event{}
	}
	maps.DeleteFunc(mine, func(k Key, _ *Event) bool { return t.full && (!lazy || k.Type != "m.room.member") })
	maps.Copy(mine, state)
	for _, e := range got.Timeline.Events {
		if e := s.w.known(&e); e.StateKey != nil && !s.q.After {
			k, _ := e.Key()
			mine[k] = e
		}
	}
	s.next.Copies[r.ID] = mine
	if !s.next.Whole || t.end < len(r.Events) {
		return nil
	}
	senders := map[string]bool{}
	for _, e := range got.Timeline.Events {
		senders[e.Sender] = true
	}
	for k, e := range r.Now() {
		if (!lazy || k.Type != "m.room.member" || senders[k.StateKey]) && mine[k] != e {
			return fmt.Errorf("the client now has %v where there is %v", mine[k], e)
		}
	}
	return nil
}

// left checks a room that the user has left, or was banned from: sent when that has happened since the token or, from the beginning,
// if the filter wants it. Whoever was never in the room, or has forgotten it, hears of their own membership alone. A room that the client
// knows nothing of need not be told of.
func (s *syncing) left(r *Room, got *SyncRoom) error {
	own := r.Member(len(r.Events), s.to.User)
	fresh := s.q.Since == nil && s.q.Filter.Room.IncludeLeave && !r.Forgotten[s.to.User] || s.q.Since != nil && own.At > s.q.Since.At
	since := s.since(r)
	before := ""
	if e := r.Member(since, s.to.User); e != nil {
		before = e.text("membership")
	}
	left := r.leftAt(s.to.User)
	switch {
	case got == nil:
		wanted := s.q.Since == nil || before == "join" || before == "invite" || before == "knock"
		if fresh && wanted {
			return fmt.Errorf("the room that the user has left is missing")
		}
		return nil
	case !fresh:
		return fmt.Errorf("a room that was left long ago, or was forgotten before")
	}
	t := span{r: r, since: since, end: left + 1, full: before != "join", known: before == "join"}
	if last := r.indexOf(own); last != left {
		t.own = last
	}
	if left < since || r.Forgotten[s.to.User] { // not in the room since the token: only the membership itself
		f := &s.q.Filter.Room.Timeline
		if n := len(got.Timeline.Events); n > min(1, f.limit(1)) || n == 1 && !f.passes(own) || n == 1 && s.w.Same(own, &got.Timeline.Events[0], s.to) != nil {
			return fmt.Errorf("something else than the user's membership, or unwanted: %s", JSON(got.Timeline))
		}
		return nil
	}
	return s.span(t, got)
}

func (r *Room) indexOf(e *Event) int {
	for i := range r.Events {
		if r.Events[i] == e {
			return i
		}
	}
	return -1
}
