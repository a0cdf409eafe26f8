package room

import (
	"encoding/binary"
	"errors"

	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/roomstate"
)

// Tables. Every key goes on with the room; a place is 12 bytes. All are state but those that are called derived.
const (
	tableHead      = 'h' // room -> head
	tableTimeline  = 'e' // room, place -> stored event
	tableID        = 'i' // room, event id -> place
	tableState     = 's' // room, type, state key -> state row: the current state
	tableHistory   = 'S' // room, type, state key, place -> state row: all there ever was
	tableReceipt   = 'r' // room, user, type, thread -> receipt
	tableReceived  = 'R' // room, place of the receipt -> user, type, thread
	tableAnnotated = 'a' // room, target, user, hash of type and key -> place of the annotation; since rules 3
	tableDelayed   = 'd' // room, id -> delayed event; since rules 3
	tableRooms     = 'u' // derived: user, room -> membership row

	tableChildren = 'l' // derived: room, target, relation type or "" for all, place -> child
	tableFamily   = 'f' // derived: room, target -> family
	tableThreads  = 't' // derived: room, place of the last reply -> id of the thread's root
	tableReplies  = 'n' // derived: room, root, user -> how many replies
	tableDelays   = 'd' // derived: user, room, id of a delayed event -> nothing
)

// derivedVersion names the form of the derived rows; whoever changes what is written there raises it.
const derivedVersion = 1

const machineByte = 'r'

func roomKey(slot id.Slot, table byte, room id.RoomID) []byte {
	return kv.Str(replica.Row(slot, machineByte, table), room)
}

func roomsKey(p journal.Partition, user id.UserID) []byte {
	return kv.Str(replica.Derived(p, machineByte, tableRooms), user)
}

// placeAt reads a place from the end of a key or value.
func placeAt(b []byte) Place {
	p, _, err := replica.CutPlace(b[max(0, len(b)-replica.PlaceSize):])
	if err != nil {
		fault()
	}
	return p
}

var errRow = errors.New("room: damaged row")

// fault reports a row that does not read as it was written: the disk's fault, not the caller's.
func fault() { panic(kv.Fault{Err: errRow}) }

// cutter reads a row from its front. Strings share the memory of s.
type cutter struct{ s string }

func (c *cutter) uvarint() uint64 {
	var n uint64
	for shift := uint(0); shift < 64; shift += 7 {
		b := c.byte()
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
	fault()
	return 0
}

func (c *cutter) byte() byte { return c.take(1)[0] }

func (c *cutter) take(n uint64) string {
	if n > uint64(len(c.s)) {
		fault()
	}
	out := c.s[:n]
	c.s = c.s[n:]
	return out
}

func (c *cutter) string() string { return c.take(c.uvarint()) }

func (c *cutter) place() Place {
	return Place{Pos: journal.Position(c.uvarint()), Index: uint32(c.uvarint())}
}

func (c *cutter) ref() Ref { return Ref{Place: c.place(), ID: id.EventID(c.string())} }

func addString[T ~string](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func addPlace(dst []byte, p Place) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(p.Pos)), uint64(p.Index))
}

func addRef(dst []byte, r Ref) []byte { return addString(addPlace(dst, r.Place), r.ID) }

// Place is where something happened in the order of the room's partition.
type Place = replica.Place

// Ref is an event's place and id; the zero Ref is none.
type Ref struct {
	Place Place
	ID    id.EventID
}

// Head is what a room is now, in one row.
type Head struct {
	Version     event.RoomVersion
	Create      Ref // the events that the rules come from
	PowerLevels Ref
	JoinRules   Ref
	Extremities []id.EventID // events without a successor
	Depth       int64        // of the last event
	Joined      int64        // members
	Invited     int64
	LastEvent   Place // of the last event,
	LastState   Place // state event
	LastReceipt Place // and receipt

	// edits counts the redactions of events that the rules come from: together with their ids it names the rules.
	edits uint64
}

// Last is the place of the room's last change of any kind.
func (h *Head) Last() Place {
	if h.LastEvent.Before(h.LastReceipt) {
		return h.LastReceipt
	}
	return h.LastEvent
}

func (h *Head) encode() []byte {
	b := make([]byte, 0, 320)
	b = addString(b, h.Version)
	b = addRef(addRef(addRef(b, h.Create), h.PowerLevels), h.JoinRules)
	b = binary.AppendUvarint(b, uint64(len(h.Extremities)))
	for _, e := range h.Extremities {
		b = addString(b, e)
	}
	for _, n := range [...]int64{h.Depth, h.Joined, h.Invited} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = addPlace(addPlace(addPlace(b, h.LastEvent), h.LastState), h.LastReceipt)
	return binary.AppendUvarint(b, h.edits)
}

func decodeHead(v []byte) (h Head) {
	c := cutter{string(v)}
	h.Version = event.RoomVersion(c.string())
	h.Create, h.PowerLevels, h.JoinRules = c.ref(), c.ref(), c.ref()
	h.Extremities = make([]id.EventID, 0, 1)
	for range c.uvarint() {
		h.Extremities = append(h.Extremities, id.EventID(c.string()))
	}
	h.Depth, h.Joined, h.Invited = int64(c.uvarint()), int64(c.uvarint()), int64(c.uvarint())
	h.LastEvent, h.LastState, h.LastReceipt = c.place(), c.place(), c.place()
	h.edits = c.uvarint()
	return h
}

// Stored is an event as it stands in the timeline.
type Stored struct {
	*event.Event
	Place    Place
	Device   id.DeviceID // that sent it
	Txn      string      // the transaction id that it was sent with, or ""
	Replaces Place       // of a state event: where its predecessor is; else zero
	Redacted Place       // of a redacted event: where the redaction is; else zero
}

// Flags of a stored event, which say what stands in the row.
const (
	flagReplaces = 1 << iota
	flagRedacted
)

func (s *Stored) encode() []byte {
	b := make([]byte, 0, len(s.Raw)+len(s.Device)+len(s.Txn)+80)
	var flags byte
	if s.Replaces != (Place{}) {
		flags |= flagReplaces
	}
	if s.Redacted != (Place{}) {
		flags |= flagRedacted
	}
	b = append(b, flags)
	b = addString(addString(addString(b, s.ID), s.Device), s.Txn)
	if flags&flagReplaces != 0 {
		b = addPlace(b, s.Replaces)
	}
	if flags&flagRedacted != 0 {
		b = addPlace(b, s.Redacted)
	}
	return append(b, s.Raw...)
}

// decodeStored reads a stored event; v is kept.
func decodeStored(version event.RoomVersion, p Place, v []byte) Stored {
	// The part before the event is short: its strings share one copy of it.
	c := cutter{string(v[:min(len(v), 1024)])}
	all := len(c.s)
	flags := c.byte()
	s := Stored{Place: p}
	eventID := id.EventID(c.string())
	s.Device, s.Txn = id.DeviceID(c.string()), c.string()
	if flags&flagReplaces != 0 {
		s.Replaces = c.place()
	}
	if flags&flagRedacted != 0 {
		s.Redacted = c.place()
	}
	ev, err := event.Load(version, eventID, v[all-len(c.s):])
	if err != nil {
		panic(kv.Fault{Err: err})
	}
	s.Event = ev
	return s
}

// StateRow is one piece of state: which event set it. For members it says more, so that nobody needs to read the event.
type StateRow struct {
	Type, Key  string
	Ref        Ref
	Membership roomstate.Membership // of m.room.member
	Since      Place                // of m.room.member: where this membership began
	Forgotten  bool                 // of m.room.member: the user wants to hear no more of the room
}

const flagForgotten = 0x80

// memberships by their byte in rows. Append only.
var memberships = [...]roomstate.Membership{"", roomstate.Join, roomstate.Invite, roomstate.Leave, roomstate.Ban, roomstate.Knock}

func membershipByte(m roomstate.Membership) byte {
	for i, known := range memberships {
		if m == known {
			return byte(i)
		}
	}
	return 0
}

func membershipOf(b byte) roomstate.Membership {
	if b &^= flagForgotten; int(b) < len(memberships) {
		return memberships[b]
	}
	fault()
	return ""
}

func (s *StateRow) encode() []byte {
	b := addRef(make([]byte, 0, 80), s.Ref)
	if s.Membership != "" {
		b = addPlace(append(b, s.memberByte()), s.Since)
	}
	return b
}

func (s *StateRow) memberByte() byte {
	m := membershipByte(s.Membership)
	if s.Forgotten {
		m |= flagForgotten
	}
	return m
}

// value reads the value of a state row.
func (s *StateRow) value(v []byte) {
	c := cutter{string(v)}
	s.Ref = c.ref()
	if len(c.s) > 0 {
		b := c.byte()
		s.Membership, s.Forgotten = membershipOf(b), b&flagForgotten != 0
		s.Since = c.place()
	}
}

// Receipt says how far a user has read.
type Receipt struct {
	User   id.UserID
	Type   string     // m.read or m.read.private
	Thread string     // "main", the id of a thread's root, or "" for all of the room
	Event  id.EventID // up to this one
	At     Place      // where that event is
	TS     int64      // Unix milliseconds
	Place  Place      // of the receipt itself
}

func (r *Receipt) encode() []byte {
	b := addString(make([]byte, 0, 96), r.Event)
	b = binary.AppendUvarint(addPlace(b, r.At), uint64(r.TS))
	return addPlace(b, r.Place)
}

func (r *Receipt) value(v []byte) {
	c := cutter{string(v)}
	r.Event = id.EventID(c.string())
	r.At, r.TS = c.place(), int64(c.uvarint())
	r.Place = c.place()
}

func (r *Receipt) key(prefix []byte) []byte {
	return kv.Str(kv.Str(kv.Str(prefix, r.User), r.Type), r.Thread)
}

// name is the value of the index by place.
func (r *Receipt) name() []byte {
	return addString(addString(addString(nil, r.User), r.Type), r.Thread)
}

// Membership is one line of a user's list of rooms.
type Membership struct {
	Room      id.RoomID
	State     roomstate.Membership
	Place     Place // of the member event
	Since     Place // where this membership began: for a joined user, the join
	Forgotten bool
}
