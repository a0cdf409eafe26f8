package room

import (
	"bytes"
	"iter"
	"slices"

	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// index is the partition that has the room's derived rows. The reader must be one that knows it: a replica.View, or what
// Replica.Rows returns.
func (v *View) index() journal.Partition {
	r, ok := v.r.(replica.Reader)
	if !ok {
		panic("room: this reader does not know where derived rows are")
	}
	return r.PartitionOf(v.slot)
}

func (v *View) family(target id.EventID) (f family) {
	if row := v.r.Get(kv.Str(indexKey(v.index(), tableFamily, v.ID), target)); row != nil {
		f.value(row)
	}
	return f
}

// replies is how many replies a user has in a thread.
func (v *View) replies(root id.EventID, user id.UserID) uint64 {
	row := v.r.Get(kv.Str(kv.Str(indexKey(v.index(), tableReplies, v.ID), root), user))
	if row == nil {
		return 0
	}
	c := cutter{string(row)}
	return c.uvarint()
}

// children yields the events that relate to target with after < place <= upto; rel "" is any relation.
func (v *View) children(target id.EventID, rel string, after, upto Place, back bool) iter.Seq[child] {
	return func(yield func(child) bool) {
		prefix := childrenKey(v.index(), v.ID, target, rel)
		lo, hi := after.Next().Append(bytes.Clone(prefix)), upto.Next().Append(prefix)
		if bytes.Compare(lo, hi) >= 0 {
			return
		}
		scan := v.r.Scan
		if back {
			scan = v.r.ScanBack
		}
		for k, row := range scan(lo, hi) {
			c := child{place: placeAt(k)}
			c.value(row)
			if !yield(c) {
				return
			}
		}
	}
}

// RelationQuery asks for the events that relate to one.
type RelationQuery struct {
	PageQuery // Wanted is asked of senders only; see Ignored
	Target    id.EventID
	Rel       string // the relation's type; "" is any
	Type      string // of the events; "" is any
	Recurse   bool   // also what relates to those, and so on, to a depth of maxRecursion
	Ignored   map[id.UserID]bool
}

const (
	// maxRecursion is how far RelationQuery.Recurse goes.
	maxRecursion = 4
	// maxRelatives is how many events a recursive query gathers; those nearest to the target come first.
	maxRelatives = 5000
)

// Relations is a page of the events that relate to one, in the order of the query. Depth is how far a recursive query went.
func (v *View) Relations(q RelationQuery) (p Page, depth int) {
	p.End = q.From
	if q.Sight.Nothing() || q.Limit <= 0 {
		return p, 0
	}
	after, upto := q.From, q.To
	if q.Back {
		after, upto = q.To, q.From
	}
	list := v.children(q.Target, q.Rel, after, upto, q.Back)
	if q.Recurse {
		list, depth = v.descendants(&q, after, upto)
	}
	for c := range list {
		if !q.takes(&c) {
			continue
		}
		if len(p.Events) == q.Limit {
			p.More = true
			break
		}
		p.End = c.place
		if q.Back {
			p.End = c.place.Prev()
		}
		p.Events = append(p.Events, v.must(c.place))
	}
	return p, depth
}

func (q *RelationQuery) takes(c *child) bool {
	return (q.Type == "" || c.typ == q.Type) && (q.Rel == "" || c.rel == q.Rel) && !q.Ignored[c.sender] && q.Sight.Sees(c.place)
}

// descendants are the events that relate to the target, directly or through others that the query takes, in its order.
func (v *View) descendants(q *RelationQuery, after, upto Place) (iter.Seq[child], int) {
	var found []child
	depth := 0
	seen := map[Place]bool{}
	for level := []id.EventID{q.Target}; len(level) > 0 && depth < maxRecursion && len(found) < maxRelatives; depth++ {
		var next []id.EventID
		for _, parent := range level {
			for c := range v.children(parent, q.Rel, Place{}, replica.Forever, false) {
				if len(found) == maxRelatives {
					break
				}
				if !seen[c.place] && q.takes(&c) {
					seen[c.place] = true
					found = append(found, c)
					next = append(next, v.must(c.place).ID)
				}
			}
		}
		level = next
	}
	slices.SortFunc(found, func(a, b child) int {
		if a.place.Before(b.place) == q.Back {
			return 1
		}
		return -1
	})
	found = slices.DeleteFunc(found, func(c child) bool { return !after.Before(c.place) || upto.Before(c.place) })
	return slices.Values(found), depth
}

// ThreadQuery asks for the roots of a room's threads, that with the latest reply first.
type ThreadQuery struct {
	From         Place // threads whose last reply is at or before this place
	Limit        int
	Sight        Sight
	Participated id.UserID // only threads that this user takes part in; "" is all
	Ignored      map[id.UserID]bool
}

// Threads is a page of threads. A thread whose root the user may not see is left out, and one without a reply that they may see, from
// somebody whom they do not ignore.
func (v *View) Threads(q ThreadQuery) Page {
	p := Page{End: q.From}
	prefix := indexKey(v.index(), tableThreads, v.ID)
	looked := 0
	for k, root := range v.r.ScanBack(prefix, q.From.Next().Append(bytes.Clone(prefix))) {
		if len(p.Events) == q.Limit || looked == maxLooked {
			p.More = true
			break
		}
		looked++
		last := placeAt(k)
		p.End = last.Prev()
		s, ok := v.Event(id.EventID(root))
		if !ok || !q.Sight.Sees(s.Place) || !v.seesReply(s.ID, last, &q) {
			continue
		}
		if q.Participated == "" || s.Sender == q.Participated || v.replies(s.ID, q.Participated) > 0 {
			p.Events = append(p.Events, s)
		}
	}
	return p
}

func (v *View) seesReply(root id.EventID, last Place, q *ThreadQuery) bool {
	if len(q.Ignored) == 0 && q.Sight.Sees(last) {
		return true
	}
	for c := range v.children(root, relThread, Place{}, last, true) {
		if q.Sight.Sees(c.place) && !q.Ignored[c.sender] {
			return true
		}
	}
	return false
}

// RelatedBy reports whether an event has a child by one of some relations, from one of some senders; an empty list is any.
func (v *View) RelatedBy(e id.EventID, rels []string, senders []id.UserID) bool {
	if len(rels) == 0 {
		rels = []string{""}
	}
	for _, rel := range rels {
		for c := range v.children(e, rel, Place{}, replica.Forever, false) {
			if len(senders) == 0 || slices.Contains(senders, c.sender) {
				return true
			}
		}
	}
	return false
}

// annotated is the annotation that says what a user is about to say once more, "" if there is none. It is for those of the time before
// they were remembered in a row of their own.
func (v *View) annotated(by id.UserID, typ string, r Relation) id.EventID {
	const most = 1000
	if v.r.Get(annotatedKey(v, typ, by, r)) != nil {
		return ""
	}
	looked := 0
	for c := range v.children(r.Target, relAnnotation, Place{}, replica.Forever, true) {
		if looked++; looked > most {
			break
		}
		if c.sender != by || c.typ != typ {
			continue
		}
		s := v.must(c.place)
		if was, _ := relationOf(s.Content); was == r {
			return s.ID
		}
	}
	return ""
}

// edit is the newest valid replacement of an event.
//
// Source: client-server API, "Validity of replacement events".
func (v *View) edit(s *Stored, sight Sight) (newest Stored, ok bool) {
	if r, edits := relationOf(s.Content); edits && r.Type == relReplace {
		return Stored{}, false
	}
	for c := range v.children(s.ID, relReplace, Place{}, replica.Forever, true) {
		if c.sender != s.Sender || c.typ != s.Type || !sight.Sees(c.place) {
			continue
		}
		e := v.must(c.place)
		if ok && e.OriginServerTS != newest.OriginServerTS {
			break // what is further back is older
		}
		valid := e.StateKey == nil && (e.Content.Object("m.new_content") != nil || e.Type == event.TypeEncrypted)
		if valid && (!ok || newest.ID < e.ID) {
			newest, ok = e, true
		}
	}
	return newest, ok
}
