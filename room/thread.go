package room

import (
	"bytes"

	"bongsu/event"
	"bongsu/id"
)

// MainThread stands for the timeline outside of all threads, where a thread is named.
const MainThread = "main"

// maxHops is how far relations are followed for the thread that an event is in. Source: client-server API, "Threaded read receipts".
const maxHops = 3

// relation is what an event is to an earlier one; ok is false if it is nothing. A reply without a rel_type is no relation.
func relation(ev *event.Event) (typ string, to id.EventID, ok bool) {
	if !bytes.Contains(ev.Content, []byte(`"m.relates_to"`)) { // hardly any has it, and this is quick
		return "", "", false
	}
	rel := ev.Content.Object("m.relates_to")
	typ, _ = rel.String("rel_type")
	target, _ := rel.String("event_id")
	return typ, id.EventID(target), typ != "" && target != ""
}

// chain yields what an event is related to, and that in turn, until a thread's root, with it, or until there is no more.
func (v *View) chain(ev *event.Event, yield func(to id.EventID, thread bool) bool) {
	for range maxHops {
		typ, to, ok := relation(ev)
		if !ok || !yield(to, typ == "m.thread") || typ == "m.thread" {
			return
		}
		parent, ok := v.Event(to)
		if !ok {
			return
		}
		ev = parent.Event
	}
}

// ThreadOf is the thread that an event is in: the id of the event that the thread began with, or MainThread. That event itself is in the
// main thread, as are reactions to it.
//
// Source: client-server API, "Threaded read receipts".
func (v *View) ThreadOf(ev *event.Event) string {
	in := MainThread
	v.chain(ev, func(to id.EventID, thread bool) bool {
		if thread {
			in = string(to)
		}
		return true
	})
	return in
}

// readIn reports whether a receipt in a thread may name the event: one that is in it, the one it began with, or one that is related
// to that.
func (v *View) readIn(thread string, ev *event.Event) bool {
	if thread == "" || string(ev.ID) == thread || thread == v.ThreadOf(ev) {
		return true
	}
	found := false
	v.chain(ev, func(to id.EventID, inThread bool) bool {
		found = found || string(to) == thread
		return !found
	})
	return found && thread != MainThread
}
