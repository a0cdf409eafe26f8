package room

import (
	"bytes"
	"iter"

	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/roomstate"
)

// View is a room as a kv.Reader shows it. What it returns is consistent as far as the reader is: on a replica.View it is the room
// at one moment.
type View struct {
	Head
	ID   id.RoomID
	r    kv.Reader
	slot id.Slot
}

// Open reads the room's head; ok is false if there is no such room.
func Open(r kv.Reader, room id.RoomID) (v View, ok bool) {
	v = View{ID: room, r: r, slot: id.SlotOf(room)}
	row := r.Get(roomKey(v.slot, tableHead, room))
	if row == nil {
		return v, false
	}
	v.Head = decodeHead(row)
	return v, true
}

func (v *View) key(table byte) []byte { return roomKey(v.slot, table, v.ID) }

// At is the event at a place of the timeline; ok is false if there is none.
func (v *View) At(p Place) (s Stored, ok bool) {
	row := v.r.Get(p.Append(v.key(tableTimeline)))
	if row == nil {
		return Stored{}, false
	}
	return decodeStored(v.Version, p, row), true
}

// must is At for a place that another row names.
func (v *View) must(p Place) Stored {
	s, ok := v.At(p)
	if !ok {
		fault()
	}
	return s
}

// Event finds an event of this room by its id.
func (v *View) Event(e id.EventID) (s Stored, ok bool) {
	p, ok := v.PlaceOf(e)
	if !ok {
		return Stored{}, false
	}
	return v.must(p), true
}

// PlaceOf is the place of an event of this room.
func (v *View) PlaceOf(e id.EventID) (p Place, ok bool) {
	row := v.r.Get(kv.Str(v.key(tableID), e))
	if row == nil {
		return Place{}, false
	}
	return placeAt(row), true
}

// Timeline yields the events with after < place <= upto in order.
func (v *View) Timeline(after, upto Place) iter.Seq[Stored] { return v.timeline(v.r.Scan, after, upto) }

// TimelineBack yields the events with after < place <= upto, the last one first.
func (v *View) TimelineBack(after, upto Place) iter.Seq[Stored] {
	return v.timeline(v.r.ScanBack, after, upto)
}

func (v *View) timeline(scan func(lo, hi []byte) iter.Seq2[[]byte, []byte], after, upto Place) iter.Seq[Stored] {
	return func(yield func(Stored) bool) {
		lo, hi := v.between(tableTimeline, after, upto)
		if bytes.Compare(lo, hi) >= 0 {
			return
		}
		for k, row := range scan(lo, hi) {
			if !yield(decodeStored(v.Version, placeAt(k), bytes.Clone(row))) {
				return
			}
		}
	}
}

// between are the bounds of the rows of a table with after < place <= upto.
func (v *View) between(table byte, after, upto Place) (lo, hi []byte) {
	return after.Next().Append(v.key(table)), upto.Next().Append(v.key(table))
}

// StateRow is the current state of a key.
func (v *View) StateRow(typ, key string) (s StateRow, ok bool) {
	row := v.r.Get(kv.Str(kv.Str(v.key(tableState), typ), key))
	if row == nil {
		return StateRow{}, false
	}
	s = StateRow{Type: typ, Key: key}
	s.value(row)
	return s, true
}

// StateEvent is the event that set the current state of a key.
func (v *View) StateEvent(typ, key string) (Stored, bool) {
	row, ok := v.StateRow(typ, key)
	if !ok {
		return Stored{}, false
	}
	return v.must(row.Ref.Place), true
}

// Load is the event of a state row.
func (v *View) Load(s StateRow) Stored { return v.must(s.Ref.Place) }

// State yields the current state, ordered by type and key.
func (v *View) State() iter.Seq[StateRow] { return v.rows(v.key(tableState)) }

// StateOf yields the current state of a type, ordered by key.
func (v *View) StateOf(typ string) iter.Seq[StateRow] { return v.rows(kv.Str(v.key(tableState), typ)) }

func (v *View) rows(prefix []byte) iter.Seq[StateRow] { return v.stateBetween(prefix, kv.End(prefix)) }

func (v *View) stateBetween(lo, hi []byte) iter.Seq[StateRow] {
	from := len(v.key(tableState))
	return func(yield func(StateRow) bool) {
		for k, row := range v.r.Scan(lo, hi) {
			s := StateRow{}
			s.name(k[from:])
			s.value(row)
			if !yield(s) {
				return
			}
		}
	}
}

// name reads type and key from the end of a row's key, and returns what follows.
func (s *StateRow) name(k []byte) []byte {
	var err error
	if s.Type, k, err = kv.CutStr(k); err == nil {
		s.Key, k, err = kv.CutStr(k)
	}
	if err != nil {
		fault()
	}
	return k
}

// StateAt yields the state right after place p, ordered by type and key.
func (v *View) StateAt(p Place) iter.Seq[StateRow] {
	if !p.Before(v.LastState) {
		return v.State()
	}
	prefix := v.key(tableHistory)
	return v.historyAt(prefix, kv.End(prefix), p)
}

// historyAt yields the state right after place p of what stands between two keys of the history.
func (v *View) historyAt(lo, hi []byte, p Place) iter.Seq[StateRow] {
	from := len(v.key(tableHistory))
	return func(yield func(StateRow) bool) {
		var last StateRow
		have := false
		for k, row := range v.r.Scan(lo, hi) {
			var s StateRow
			at := placeAt(s.name(k[from:]))
			if have && (s.Type != last.Type || s.Key != last.Key) {
				if !yield(last) {
					return
				}
				have = false
			}
			if !p.Before(at) {
				s.value(row)
				last, have = s, true
			}
		}
		if have {
			yield(last)
		}
	}
}

// StateRowAt is the state of a key right after place p.
func (v *View) StateRowAt(p Place, typ, key string) (s StateRow, ok bool) {
	prefix := kv.Str(kv.Str(v.key(tableHistory), typ), key)
	for _, row := range v.r.ScanBack(prefix, p.Next().Append(bytes.Clone(prefix))) {
		s = StateRow{Type: typ, Key: key}
		s.value(row)
		return s, true
	}
	return StateRow{}, false
}

// StateChanges yields the history of a key in order, with places after < place <= upto.
func (v *View) StateChanges(typ, key string, after, upto Place) iter.Seq[StateRow] {
	prefix := kv.Str(kv.Str(v.key(tableHistory), typ), key)
	return func(yield func(StateRow) bool) {
		lo, hi := after.Next().Append(bytes.Clone(prefix)), upto.Next().Append(bytes.Clone(prefix))
		if bytes.Compare(lo, hi) >= 0 {
			return
		}
		for _, row := range v.r.Scan(lo, hi) {
			s := StateRow{Type: typ, Key: key}
			s.value(row)
			if !yield(s) {
				return
			}
		}
	}
}

// Member is the current membership of a user; the zero row if there never was one.
func (v *View) Member(user id.UserID) StateRow {
	s, _ := v.StateRow(event.TypeMember, string(user))
	return s
}

// IsJoined reports whether the user is in the room now.
func (v *View) IsJoined(user id.UserID) bool { return v.Member(user).Membership == roomstate.Join }

// Members yields everybody who has a membership, ordered by user id.
func (v *View) Members() iter.Seq[StateRow] { return v.StateOf(event.TypeMember) }

// Rules are the room's rules now.
func (v *View) Rules() *roomstate.Rules {
	load := func(r Ref) *event.Event {
		if r.ID == "" {
			return nil
		}
		return v.must(r.Place).Event
	}
	rules, err := roomstate.NewRules(v.Version, load(v.Create), load(v.PowerLevels), load(v.JoinRules))
	if err != nil {
		fault() // the rules let these events through
	}
	return rules
}

// Memberships yields the rooms that a user has anything to do with, over all partitions, of which there are n. Rooms are in the
// order of their ids within a partition.
func Memberships(r kv.Reader, n int, user id.UserID) iter.Seq[Membership] {
	return func(yield func(Membership) bool) {
		for p := range n {
			prefix := roomsKey(journal.Partition(p), user)
			for k, row := range r.Scan(prefix, kv.End(prefix)) {
				room, _, err := kv.CutStr(k[len(prefix):])
				if err != nil {
					fault()
				}
				var s StateRow
				s.value(row)
				m := Membership{Room: id.RoomID(room), State: s.Membership, Place: s.Ref.Place, Since: s.Since, Forgotten: s.Forgotten}
				if !yield(m) {
					return
				}
			}
		}
	}
}

// Receipts yields the receipts that were given after < place <= upto, in order. A newer receipt of the same user, type and
// thread takes the place of the older one.
func (v *View) Receipts(after, upto Place) iter.Seq[Receipt] {
	return func(yield func(Receipt) bool) {
		lo, hi := v.between(tableReceived, after, upto)
		if bytes.Compare(lo, hi) >= 0 {
			return
		}
		for _, name := range v.r.Scan(lo, hi) {
			c := cutter{string(name)}
			rc := Receipt{User: id.UserID(c.string()), Type: c.string(), Thread: c.string()}
			row := v.r.Get(rc.key(v.key(tableReceipt)))
			if row == nil {
				fault()
			}
			rc.value(row)
			if !yield(rc) {
				return
			}
		}
	}
}

// ReceiptsOf yields all receipts of a user in this room.
func (v *View) ReceiptsOf(user id.UserID) iter.Seq[Receipt] {
	prefix := kv.Str(v.key(tableReceipt), user)
	return func(yield func(Receipt) bool) {
		for k, row := range v.r.Scan(prefix, kv.End(prefix)) {
			rc := Receipt{User: user}
			var err error
			rest := k[len(prefix):]
			if rc.Type, rest, err = kv.CutStr(rest); err == nil {
				rc.Thread, _, err = kv.CutStr(rest)
			}
			if err != nil {
				fault()
			}
			rc.value(row)
			if !yield(rc) {
				return
			}
		}
	}
}
