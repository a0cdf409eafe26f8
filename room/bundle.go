package room

import (
	"strconv"

	"bongsu/event"
	"bongsu/replica"
)

// maxReferences is how many events the aggregation of m.reference lists: the last ones.
const maxReferences = 256

// appendRelations writes what relates to an event, as the member m.relations of unsigned, if there is anything that the viewer
// may know of. An event that is shown redacted says nothing of its edits.
//
// Source: client-server API, "Aggregations of child events".
func (v *View) appendRelations(u []byte, s *Stored, hidden bool, to Viewer) []byte {
	if to.Sight == nil || s.StateKey != nil {
		return u
	}
	f := v.family(s.ID)
	if f == (family{}) {
		return u
	}
	var parts []byte
	if f.flags&hasReferences != 0 {
		parts = v.appendReferences(parts, s, to)
	}
	if f.flags&hasEdits != 0 && !hidden && s.Redacted == (Place{}) {
		if edit, ok := v.edit(s, *to.Sight); ok {
			inner := to
			inner.Sight = nil // nothing that the server aggregates can relate to an edit
			parts = v.AppendClient(append(comma(parts), `"m.replace":`...), edit, inner)
		}
	}
	if f.replies > 0 && !to.inThread {
		parts = v.appendThread(parts, s, &f, to)
	}
	if len(parts) == 0 {
		return u
	}
	return append(append(append(comma(u), `"m.relations":{`...), parts...), '}')
}

func (v *View) appendReferences(parts []byte, s *Stored, to Viewer) []byte {
	var list []byte
	first := Place{} // of those that are listed
	n := 0
	for c := range v.children(s.ID, relReference, Place{}, replica.Forever, true) {
		if to.Ignored[c.sender] || !to.Sight.Sees(c.place) {
			continue
		}
		if first = c.place; n == maxReferences-1 {
			break
		}
		n++
	}
	for c := range v.children(s.ID, relReference, first.Prev(), replica.Forever, false) {
		if to.Ignored[c.sender] || !to.Sight.Sees(c.place) {
			continue
		}
		list = append(event.AppendString(append(comma(list), `{"event_id":`...), v.must(c.place).ID), '}')
	}
	if len(list) == 0 {
		return parts
	}
	return append(append(append(comma(parts), `"m.reference":{"chunk":[`...), list...), "]}"...)
}

// appendThread writes what a thread's root says of the thread.
//
// Source: client-server API, "Server-side aggregation of m.thread relationships".
func (v *View) appendThread(parts []byte, s *Stored, f *family, to Viewer) []byte {
	count, last, ok := v.thread(s, f, to)
	if !ok {
		return parts
	}
	inner := to
	inner.inThread = true
	parts = strconv.AppendUint(append(comma(parts), `"m.thread":{"count":`...), count, 10)
	parts = append(parts, `,"current_user_participated":`...)
	parts = strconv.AppendBool(parts, s.Sender == to.User || v.replies(s.ID, to.User) > 0)
	parts = v.AppendClient(append(parts, `,"latest_event":`...), v.must(last), inner)
	return append(parts, '}')
}

// thread counts the replies of a thread that the viewer may see and finds the last of them. Only for those who do not see all of what
// came after the root are the replies looked at one by one.
func (v *View) thread(s *Stored, f *family, to Viewer) (count uint64, last Place, ok bool) {
	whole := to.Sight.seesAllFrom(s.Place)
	if whole {
		count = f.replies
		for user := range to.Ignored {
			count -= min(v.replies(s.ID, user), count)
		}
	}
	for c := range v.children(s.ID, relThread, Place{}, f.last, true) {
		if to.Ignored[c.sender] || !to.Sight.Sees(c.place) {
			continue
		}
		if !ok {
			last, ok = c.place, true
		}
		if whole {
			break
		}
		count++
	}
	return count, last, ok
}
