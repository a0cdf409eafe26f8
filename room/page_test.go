package room

import (
	"testing"

	"bongsu/event"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// A page says when something on it may not be seen, and only then.
func TestPageSaysThatItHides(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room := st.create(t, amy, Creation{Preset: presetPublic, InitialState: []InitialState{
		{Type: event.TypeHistoryVisibility, Content: []byte(`{"history_visibility":"joined"}`)}}})
	say := func(text string) Place {
		e := st.say(t, amy, room, text, text)
		v := st.open(t, room)
		s, _ := v.Event(e)
		return s.Place
	}
	early := say("early")
	ok(t, st.Join(t.Context(), bob, room, ""))
	first, second := say("first"), say("second")
	ok(t, st.Leave(t.Context(), bob, room, ""))
	late := say("late")
	v := st.open(t, room)
	for name, c := range map[string]struct {
		q      PageQuery
		events int
		hides  bool
	}{
		"all that was said":        {PageQuery{From: early.Prev(), To: replica.Forever, Limit: 50}, 4, true},
		"all that was said, back":  {PageQuery{From: replica.Forever, To: early.Prev(), Back: true, Limit: 50}, 4, true},
		"a part that was seen":     {PageQuery{From: first.Prev(), To: second, Limit: 50}, 2, false},
		"that part, back":          {PageQuery{From: second, To: first.Prev(), Back: true, Limit: 50}, 2, false},
		"full before the end":      {PageQuery{From: second, Back: true, Limit: 1}, 1, false},
		"from before the join":     {PageQuery{From: early.Prev(), To: second, Limit: 50}, 3, true},
		"up to after the leave":    {PageQuery{From: second, To: late, Limit: 50}, 1, true},
		"nothing, after the leave": {PageQuery{From: late, To: replica.Forever, Limit: 50}, 0, false},
	} {
		c.q.Sight = v.Sight(bob.User)
		if p := v.Page(c.q); len(p.Events) != c.events || p.Hidden != c.hides {
			t.Errorf("%s: %d events, hidden: %v", name, len(p.Events), p.Hidden)
		}
	}
}
