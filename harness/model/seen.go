package model

import (
	"fmt"
	"slices"
)

// Seen is an event as an answer has it.
type Seen struct {
	ID       string  `json:"event_id"`
	Type     string  `json:"type"`
	Sender   string  `json:"sender"`
	StateKey *string `json:"state_key"`
	Content  Content `json:"content"`
	RoomID   string  `json:"room_id"`
	Redacts  string  `json:"redacts"`
	Unsigned struct {
		Txn         *string `json:"transaction_id"`
		PrevContent Content `json:"prev_content"`
		Replaces    *string `json:"replaces_state"`
		Because     *Seen   `json:"redacted_because"`
	} `json:"unsigned"`
}

// Viewer is to whom an answer goes.
type Viewer struct{ User, Device string }

// known finds the event of a room that an answer has, if its id has been seen before.
func (w *World) known(s *Seen) *Event { return w.byID[s.ID] }

// Same compares an event with what an answer says of it, and learns its id.
//
// Source: client-server API, ClientEvent and UnsignedData.
func (w *World) Same(e *Event, s *Seen, to Viewer) error {
	return w.try(func() error {
		if err := w.learn(e, s); err != nil {
			return err
		}
		w.Compared.Events++
		return w.same(e, s, to)
	})
}

func (w *World) same(e *Event, s *Seen, to Viewer) error {
	bad := func(what string, got, want any) error {
		return fmt.Errorf("%s of %v is %v, not %v", what, e, JSON(got), JSON(want))
	}
	if s.Type != e.Type || s.Sender != e.Sender || (s.StateKey == nil) != (e.StateKey == nil) ||
		s.StateKey != nil && *s.StateKey != *e.StateKey {
		return bad("the event", s, e)
	}
	if err := e.sameContent(s); err != nil {
		return err
	}
	mine := e.Txn != "" && e.Sender == to.User && e.Device == to.Device
	switch got := s.Unsigned.Txn; {
	case (got != nil) != mine || mine && *got != e.Txn:
		return bad("transaction_id", got, e.Txn)
	case s.Unsigned.PrevContent != nil && (e.Prev == nil || !equal(s.Unsigned.PrevContent, e.Prev.Content)):
		return bad("prev_content", s.Unsigned.PrevContent, e.Prev)
	case s.Unsigned.Replaces != nil && (e.Prev == nil || e.Prev.ID != "" && e.Prev.ID != *s.Unsigned.Replaces):
		return bad("replaces_state", s.Unsigned.Replaces, e.Prev)
	case (s.Unsigned.Because != nil) != (e.Redactions != nil):
		return bad("redacted_because", s.Unsigned.Because, e.Redactions)
	case e.Redactions != nil: // when there are several, each is a reason
		because := s.Unsigned.Because
		if !slices.ContainsFunc(e.Redactions, func(r *Event) bool { return r.ID == because.ID }) {
			return bad("redacted_because", because.ID, e.Redactions)
		}
	}
	return nil
}

// learn ties an id to an event.
func (w *World) learn(e *Event, s *Seen) error {
	is := w.known(s)
	switch {
	case s.ID == "":
		return fmt.Errorf("%v came without an id", e)
	case is != nil && is != e:
		return fmt.Errorf("there should be %v, and there is %v", e, is)
	case e.ID != "" && e.ID != s.ID:
		return fmt.Errorf("%s should be %v", s.ID, e)
	case is == nil:
		e.ID = s.ID
		w.byID[s.ID] = e
		w.learned = append(w.learned, e)
	}
	return nil
}

// try does a comparison, and forgets it and what ids it has taught if it fails: there may be another way to read the answer.
func (w *World) try(compare func() error) error {
	mark, compared := len(w.learned), w.Compared
	err := compare()
	if err != nil {
		for _, e := range w.learned[mark:] {
			delete(w.byID, e.ID)
			e.ID = ""
		}
		w.learned, w.Compared = w.learned[:mark], compared
	}
	return err
}

// sameContent compares contents. Where a redaction has its target in one place, it may have it in the other as well.
func (e *Event) sameContent(s *Seen) error {
	if e.Free != nil {
		if err := e.Free(s.Content); err != nil {
			return fmt.Errorf("%v: %w", e, err)
		}
		e.Content, e.Free = s.Content, nil
	}
	got, want := s.Content, e.Content
	if e.Type == "m.room.redaction" {
		inside, _ := got["redacts"].(string)
		if e.Redacts != s.Redacts && s.Redacts != "" || e.Redacts != inside && inside != "" || s.Redacts == "" && inside == "" && e.Redacts != "" {
			return fmt.Errorf("%v redacts %q, not %q", e, inside+s.Redacts, e.Redacts)
		}
		got, want = without(got, "redacts"), without(want, "redacts")
	}
	if !equal(got, want) {
		return fmt.Errorf("the content of %v is %s", e, JSON(got))
	}
	return nil
}

func without(c Content, key string) Content {
	out := Content{}
	for k, v := range c {
		if k != key {
			out[k] = v
		}
	}
	return out
}

// Set compares events in any order, which must be pieces of state: each as state has it, and none twice. It returns those
// that are there.
func (w *World) Set(state map[Key]*Event, seen []Seen, to Viewer) (map[Key]*Event, error) {
	out := map[Key]*Event{}
	for i := range seen {
		s := &seen[i]
		if s.StateKey == nil {
			return nil, fmt.Errorf("%s is no state", JSON(s))
		}
		k := Key{s.Type, *s.StateKey}
		e := state[k]
		switch {
		case e == nil:
			return nil, fmt.Errorf("there should be no state %v: %s", k, JSON(s))
		case out[k] != nil:
			return nil, fmt.Errorf("%v is there twice", k)
		}
		if err := w.Same(e, s, to); err != nil {
			return nil, err
		}
		out[k] = e
	}
	return out, nil
}

// All is Set for what must be complete.
func (w *World) All(state map[Key]*Event, seen []Seen, to Viewer) error {
	got, err := w.Set(state, seen, to)
	if err != nil {
		return err
	}
	for k, e := range state {
		if got[k] == nil {
			return fmt.Errorf("the state lacks %v", e)
		}
	}
	w.Compared.States++
	return nil
}
