package room

import (
	"testing"

	"bongsu/event"
	"bongsu/id"
	"bongsu/roomstate"
)

// The reader is in the room from place 10 to 20, where somebody removes them, and again from 30 on.
func TestErasureHides(t *testing.T) {
	at := func(n uint64) Place { return Place{Pos: 1, Index: uint32(n)} } //nolint:gosec // small
	var asked int
	e := Erasure{
		here:   at(30),
		erased: func(u id.UserID) bool { asked++; return u == "@gone:h" },
		Was: func(p Place) roomstate.Membership {
			if p.Before(at(10)) || !p.Before(at(20)) && p.Before(at(30)) {
				return roomstate.Leave
			}
			return roomstate.Join
		},
	}
	for _, c := range []struct {
		what   string
		sender id.UserID
		typ    string
		state  bool
		at     uint64
		hidden bool
		asked  int
	}{
		{"before the join", "@gone:h", "m.room.message", false, 9, true, 1},
		{"another sender", "@amy:h", "m.room.message", false, 9, false, 1},
		{"with the join", "@gone:h", "m.room.message", false, 10, false, 1},
		{"while there", "@gone:h", "m.room.message", false, 19, false, 1},
		{"the removal", "@gone:h", event.TypeMember, true, 20, false, 1},
		{"afterwards", "@gone:h", "m.room.message", false, 21, true, 1},
		{"with the present stay", "@gone:h", "m.room.message", false, 30, false, 0},
		{"now", "@gone:h", event.TypeMember, true, 40, false, 0},
		{"members", "@gone:h", event.TypeMember, true, 5, true, 1},
		{"other state", "@gone:h", event.TypeName, true, 5, false, 0},
	} {
		s := Stored{Event: &event.Event{Draft: event.Draft{Sender: c.sender, Type: c.typ}}, Place: at(c.at)}
		if c.state {
			s.StateKey = new(string)
		}
		if asked = 0; e.hides(&s) != c.hidden || asked != c.asked {
			t.Errorf("%s: hidden %t, accounts asked for %d", c.what, !c.hidden, asked)
		}
		if s.Redacted = at(50); e.hides(&s) {
			t.Errorf("%s: redacted twice", c.what)
		}
	}
	if nobody := (Erasure{}); nobody.hides(&Stored{Event: &event.Event{}}) {
		t.Error("the zero value hides something")
	}
}
