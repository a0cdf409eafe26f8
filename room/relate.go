package room

import (
	"crypto/sha256"
	"encoding/binary"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// Types of relations that the server knows by name. Source: client-server API, "Relationship types".
const (
	relReplace    = "m.replace"
	relThread     = "m.thread"
	relReference  = "m.reference"
	relAnnotation = "m.annotation"
)

// Relation is what an event says of another one.
type Relation struct {
	Type   string
	Target id.EventID
	Key    string // of an annotation
}

// relationOf is the relation in an event's content; ok is false if there is none that has the form of one.
//
// Source: client-server API, "Forming relationships between events".
func relationOf(content event.Object) (r Relation, ok bool) {
	const most = 255 // bytes, as for other names
	to := content.Object("m.relates_to")
	if to == nil {
		return r, false
	}
	r.Type, _ = to.String("rel_type")
	target, _ := to.String("event_id")
	r.Target = id.EventID(target)
	r.Key, _ = to.String("key")
	return r, r.Type != "" && len(r.Type) <= most && target != "" && len(target) <= most
}

// child is what the index of relations says of an event.
type child struct {
	place  Place
	rel    string
	typ    string
	sender id.UserID
}

func (c *child) encode() []byte { return addString(addString(addString(nil, c.rel), c.typ), c.sender) }

func (c *child) value(v []byte) {
	d := cutter{string(v)}
	c.rel, c.typ, c.sender = d.string(), d.string(), id.UserID(d.string())
}

// family is what the index says of an event that others relate to.
type family struct {
	flags   byte
	replies uint64 // of a thread's root
	last    Place  // reply
}

const (
	hasEdits = 1 << iota
	hasReferences
)

func (f *family) encode() []byte {
	return addPlace(binary.AppendUvarint([]byte{f.flags}, f.replies), f.last)
}

func (f *family) value(v []byte) {
	c := cutter{string(v)}
	f.flags, f.replies, f.last = c.byte(), c.uvarint(), c.place()
}

// indexKey begins the key of a derived row of a room.
func indexKey(p journal.Partition, table byte, room id.RoomID) []byte {
	return kv.Str(replica.Derived(p, machineByte, table), room)
}

// childrenKey begins the keys of an event's children by a relation; "" is any.
func childrenKey(p journal.Partition, room id.RoomID, target id.EventID, rel string) []byte {
	return kv.Str(kv.Str(indexKey(p, tableChildren, room), target), rel)
}

// relate puts a new event into the index of relations.
func (w *writer) relate(s *Stored) {
	r, ok := relationOf(s.Content)
	if !ok {
		return
	}
	p := w.tx.Partition()
	c := child{place: s.Place, rel: r.Type, typ: s.Type, sender: s.Sender}
	for _, rel := range [...]string{"", r.Type} {
		w.tx.Set(s.Place.Append(childrenKey(p, w.ID, r.Target, rel)), c.encode())
	}
	if r.Type != relThread && r.Type != relReplace && r.Type != relReference {
		return
	}
	f := w.family(r.Target)
	was := f.last
	f.add(&c)
	w.putFamily(r.Target, f)
	if r.Type == relThread {
		w.moveThread(r.Target, was, f.last)
		w.countReply(r.Target, s.Sender, +1)
	}
}

func (w *writer) putFamily(target id.EventID, f family) {
	key := kv.Str(indexKey(w.tx.Partition(), tableFamily, w.ID), target)
	if f == (family{}) {
		w.tx.Delete(key)
		return
	}
	w.tx.Set(key, f.encode())
}

// add brings a child into a family.
func (f *family) add(c *child) {
	switch c.rel {
	case relReplace:
		f.flags |= hasEdits
	case relReference:
		f.flags |= hasReferences
	case relThread:
		f.replies++
		f.last = c.place
	}
}

// unrelate takes an event that is about to be redacted out of the index.
func (w *writer) unrelate(s *Stored) {
	r, ok := relationOf(s.Content)
	if !ok {
		return
	}
	p := w.tx.Partition()
	for _, rel := range [...]string{"", r.Type} {
		w.tx.Delete(s.Place.Append(childrenKey(p, w.ID, r.Target, rel)))
	}
	if r.Type == relAnnotation {
		key := annotatedKey(&w.View, s.Type, s.Sender, r)
		if at := w.tx.Get(key); at != nil && placeAt(at) == s.Place {
			w.tx.Delete(key)
		}
		return
	}
	f, last := w.family(r.Target), w.lastChild(r.Target, r.Type)
	was := f.last
	switch {
	case r.Type == relReplace && last == (Place{}):
		f.flags &^= hasEdits
	case r.Type == relReference && last == (Place{}):
		f.flags &^= hasReferences
	case r.Type == relThread:
		f.replies--
		f.last = last
		w.moveThread(r.Target, was, f.last)
		w.countReply(r.Target, s.Sender, -1)
	}
	w.putFamily(r.Target, f)
}

// lastChild is the last of an event's children by a relation; the zero place if there is none.
func (w *writer) lastChild(target id.EventID, rel string) Place {
	lo := childrenKey(w.tx.Partition(), w.ID, target, rel)
	for k := range w.tx.ScanBack(lo, kv.End(lo)) {
		return placeAt(k)
	}
	return Place{}
}

// moveThread gives a thread its place among the threads: that of its last reply, the zero place if there is none.
func (w *writer) moveThread(root id.EventID, was, is Place) {
	prefix := indexKey(w.tx.Partition(), tableThreads, w.ID)
	if was == is {
		return
	}
	if was != (Place{}) {
		w.tx.Delete(was.Append(append([]byte{}, prefix...)))
	}
	if is != (Place{}) {
		w.tx.Set(is.Append(prefix), []byte(root))
	}
}

func (w *writer) countReply(root id.EventID, user id.UserID, n int64) {
	key := kv.Str(kv.Str(indexKey(w.tx.Partition(), tableReplies, w.ID), root), user)
	count := n + int64(w.replies(root, user))
	if count <= 0 {
		w.tx.Delete(key)
		return
	}
	w.tx.Set(key, binary.AppendUvarint(nil, uint64(count)))
}

// derive makes the derived rows of the rooms, aliases and reports in a slot.
func derive(r kv.Reader, p journal.Partition, slot id.Slot, set func(key, value []byte)) {
	prefix := replica.Row(slot, machineByte, tableHead)
	for k := range r.Scan(prefix, kv.End(prefix)) {
		name, _, err := kv.CutStr(k[len(prefix):])
		if err != nil {
			fault()
		}
		v, ok := Open(r, id.RoomID(name))
		if !ok {
			fault()
		}
		for m := range v.Members() {
			set(kv.Str(roomsKey(p, id.UserID(m.Key)), v.ID), m.encode())
		}
		for d := range v.delayed() {
			set(delaysKey(p, d.User, v.ID, d.ID), nil)
		}
		v.deriveRelations(p, set)
	}
	deriveDirectory(r, p, slot, set)
}

func (v *View) deriveRelations(p journal.Partition, set func(key, value []byte)) {
	families := map[id.EventID]*family{}
	replies := map[id.EventID]map[id.UserID]uint64{}
	for s := range v.Timeline(Place{}, replica.Forever) {
		r, ok := relationOf(s.Content)
		if !ok {
			continue
		}
		c := child{place: s.Place, rel: r.Type, typ: s.Type, sender: s.Sender}
		for _, rel := range [...]string{"", r.Type} {
			set(s.Place.Append(childrenKey(p, v.ID, r.Target, rel)), c.encode())
		}
		if families[r.Target] == nil {
			families[r.Target] = &family{}
		}
		families[r.Target].add(&c)
		if r.Type == relThread {
			if replies[r.Target] == nil {
				replies[r.Target] = map[id.UserID]uint64{}
			}
			replies[r.Target][s.Sender]++
		}
	}
	for target, f := range families {
		if *f == (family{}) {
			continue
		}
		set(kv.Str(indexKey(p, tableFamily, v.ID), target), f.encode())
		if f.replies > 0 {
			set(f.last.Append(indexKey(p, tableThreads, v.ID)), []byte(target))
		}
		for user, n := range replies[target] {
			set(kv.Str(kv.Str(indexKey(p, tableReplies, v.ID), target), user), binary.AppendUvarint(nil, n))
		}
	}
}

// annotatedKey is the row that remembers who has annotated what. The key of an annotation may be long, so it stands there as its hash.
func annotatedKey(v *View, typ string, sender id.UserID, r Relation) []byte {
	hash := sha256.Sum256(addString(addString(nil, typ), r.Key))
	return append(kv.Str(kv.Str(v.key(tableAnnotated), r.Target), sender), hash[:]...)
}

// annotate remembers an annotation, so that there is no second one.
func (w *writer) annotate(s *Stored) {
	if w.tx.Rules() < sinceRules {
		return
	}
	if r, ok := relationOf(s.Content); ok && r.Type == relAnnotation {
		w.tx.Set(annotatedKey(&w.View, s.Type, s.Sender, r), s.Place.Append(nil))
	}
}

// checkRelation refuses a thread in a thread, and what has been annotated alike before. known is an annotation that the submitter has
// found, of the time before annotations were remembered.
//
// Source: client-server API, "Validation of m.thread relationships" and "Avoiding duplicate annotations".
func (w *writer) checkRelation(d *event.Draft, known id.EventID) error {
	const op = "room.Send"
	r, ok := relationOf(d.Content)
	if !ok || w.tx.Rules() < sinceRules {
		return nil
	}
	switch r.Type {
	case relThread:
		if root, ok := w.Event(r.Target); ok {
			if of, ok := relationOf(root.Content); ok {
				return errs.New(op, errs.Invalid, errs.BadRelation, "a thread cannot begin with an event that itself relates to another one (%s)", of.Type)
			}
		}
	case relAnnotation:
		again := w.tx.Get(annotatedKey(&w.View, d.Type, d.Sender, r)) != nil
		if s, ok := w.Event(known); !again && known != "" && ok && s.Sender == d.Sender && s.Type == d.Type {
			was, ok := relationOf(s.Content)
			again = ok && was == r
		}
		if again {
			return errs.New(op, errs.Invalid, errs.DuplicateAnnotation, "you have annotated the event like this before")
		}
	}
	return nil
}
