package room

import (
	"container/list"
	"sync"

	"bongsu/event"
	"bongsu/id"
	"bongsu/roomstate"
)

// memory is what a machine remembers of a room, so that a message needs neither the rules to be parsed nor its sender's
// membership to be read: the same as the rows say, or nothing.
//
// It holds for one state of the room: the one that the place of the last state event and the count of edits name. No two
// states of a room have the same name, even when one of them was refused, since no place is given out twice. So what
// is remembered is what another site would read, and apply stays a function of the journal. Rows that turn out to be wrong had
// the right names, too: when they are made anew, all is forgotten.
type memory struct {
	lastState Place
	edits     uint64
	rules     *roomstate.Rules // nil if not known
	members   map[id.UserID]StateRow
}

// Bounds of what is remembered: rooms, of some 2 KiB each, and members of each room, of some 200 bytes.
const (
	maxRemembered        = 2048
	maxRememberedMembers = 64
)

// memories are those of the rooms that were used last. A room's memory is used by the one goroutine that applies its partition;
// the list is shared by all of them.
type memories struct {
	mu     sync.Mutex
	byRoom map[id.RoomID]*list.Element
	recent list.List // of *remembered, the one used last in front
}

type remembered struct {
	room id.RoomID
	memory
}

func newMemories() *memories { return &memories{byRoom: map[id.RoomID]*list.Element{}} }

// forget drops all memories. One that is in use by a partition that goes on applying serves the proposal at hand, and is not
// found again.
func (ms *memories) forget() {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	clear(ms.byRoom)
	ms.recent.Init()
}

// of is the memory of a room, empty if it is of another state than the room has now.
func (ms *memories) of(v *View) *memory {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	e, ok := ms.byRoom[v.ID]
	if ok {
		ms.recent.MoveToFront(e)
	} else {
		e = ms.recent.PushFront(&remembered{room: v.ID})
		ms.byRoom[v.ID] = e
		if ms.recent.Len() > maxRemembered {
			oldest := ms.recent.Remove(ms.recent.Back()).(*remembered) //nolint:errcheck // the list has nothing else
			delete(ms.byRoom, oldest.room)
		}
	}
	m := &e.Value.(*remembered).memory //nolint:errcheck // as above
	if m.lastState != v.LastState || m.edits != v.edits || m.members == nil {
		*m = memory{lastState: v.LastState, edits: v.edits, members: map[id.UserID]StateRow{}}
	}
	return m
}

// changed follows the room to its next state, in which row is new.
func (m *memory) changed(h *Head, row StateRow) {
	m.lastState = h.LastState
	switch row.Type {
	case event.TypeMember:
		m.keep(id.UserID(row.Key), row)
	case event.TypeCreate, event.TypePowerLevels, event.TypeJoinRules:
		m.rules = nil
	}
}

func (m *memory) keep(user id.UserID, row StateRow) {
	if _, ok := m.members[user]; !ok && len(m.members) >= maxRememberedMembers {
		clear(m.members)
	}
	m.members[user] = row
}

// rulesNow are the rules of the room as it is now.
func (w *writer) rulesNow() *roomstate.Rules {
	if w.memory.rules == nil {
		w.memory.rules = w.View.Rules()
	}
	return w.memory.rules
}

// member is Member, read once for each state of the room. Its mark Forgotten may be old.
func (w *writer) member(user id.UserID) StateRow {
	if row, ok := w.memory.members[user]; ok {
		return row
	}
	row := w.Member(user)
	w.memory.keep(user, row)
	return row
}
