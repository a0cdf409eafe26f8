package room

import (
	"bytes"
	"encoding/json"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/roomstate"
)

// Machine is the state machine of rooms. Each replica needs its own.
func Machine() replica.Machine {
	m := &machine{memories: newMemories(), members: map[roomstate.Membership]*event.Event{}}
	for _, as := range memberships[1:] {
		m.members[as] = &event.Event{Draft: event.Draft{Content: event.Object(`{"membership":"` + as + `"}`)}}
	}
	return replica.Machine{Name: "room", Byte: machineByte, Forget: m.memories.forget, Derive: derive, Derived: derivedVersion, Kinds: map[string]replica.Kind{
		kindCreate:   {Apply: m.create},
		kindSend:     {Apply: m.send},
		kindState:    {Apply: m.state},
		kindMember:   {Apply: m.member},
		kindForget:   {Apply: m.forget},
		kindReceipts: {Apply: m.receipts},
		kindDelay:    {Since: sinceRules, Apply: m.delay},
		kindDelayed:  {Since: sinceRules, Apply: m.delayed},
		kindDue:      {Since: sinceRules, Apply: m.due},

		kindFound:        {Since: sinceRules, Apply: replica.JSON(m.found)},
		kindUpgrade:      {Since: sinceRules, Apply: replica.JSON(m.upgrade)},
		kindCarry:        {Since: sinceRules, Apply: replica.JSON(m.carry)},
		kindArrived:      {Since: sinceRules, Apply: replica.JSON(m.arrived)},
		kindUpgraded:     {Since: sinceRules, Apply: replica.JSON(m.upgraded)},
		kindSucceed:      {Since: sinceRules, Apply: replica.JSON(m.succeed)},
		kindReport:       {Since: sinceRules, Apply: replica.JSON(m.report)},
		kindDismiss:      {Since: sinceRules, Apply: replica.JSON(m.dismiss)},
		kindPublish:      {Since: sinceRules, Apply: replica.JSON(m.setPublic)},
		kindAlias:        {Since: sinceRules, Apply: replica.JSON(m.alias)},
		kindUnalias:      {Since: sinceRules, Apply: replica.JSON(m.unalias)},
		kindAliasReserve: {Since: sinceRules, Apply: replica.JSON(m.reserveAlias)},
		kindAliasExpire:  {Since: sinceRules, Apply: replica.JSON(m.expireAlias)},
		kindAliasAsk:     {Since: sinceRules, Apply: replica.JSON(m.askRoom)},
		kindAliasSettle:  {Since: sinceRules, Apply: replica.JSON(m.settleAlias)},
		kindAliasMove:    {Since: sinceRules, Apply: replica.JSON(m.moveAlias)},
	}}
}

// The kinds of proposal. What a body of a kind means never changes.
const (
	kindCreate   = "room.create"
	kindSend     = "room.send"
	kindState    = "room.state"
	kindMember   = "room.member"
	kindForget   = "room.forget"
	kindReceipts = "room.receipts"
	kindDelay    = "room.delay"   // an event is to be sent later
	kindDelayed  = "room.delayed" // something is done about one of those
	kindDue      = "room.due"     // its time has come: of a timer
)

// sinceRules is the rules version that brought room versions 6 to 9, aliases, published rooms, upgrades, reports, relations and delayed
// events.
const sinceRules = 3

type machine struct {
	memories *memories
	members  map[roomstate.Membership]*event.Event // for each, the least event that has it; read only
}

// Change says what has changed in a room.
type Change byte

// The changes.
const (
	ChangeEvent      Change = 'e' // there is a new event
	ChangeMembership Change = 'm' // the new event concerns the membership of User
	ChangeReceipt    Change = 'r' // User has read further; a private receipt concerns User alone
	ChangeForgotten  Change = 'f' // User has forgotten the room
)

// Changed is the note of a change, handed out after the commit.
type Changed struct {
	Room       id.RoomID
	Place      Place
	Change     Change
	User       id.UserID // ChangeEvent: the sender; else whom it concerns
	Membership roomstate.Membership
	Private    bool // of a receipt: for User's eyes only
}

// writer is a room that is being changed by a proposal.
type writer struct {
	View
	m      *machine
	tx     *replica.Tx
	memory *memory
}

// open reads the room for a change. That there is no such room is told to nobody who could not see it if there were one.
func (m *machine) open(tx *replica.Tx, room id.RoomID) (*writer, error) {
	v, ok := Open(tx, room)
	if !ok {
		return nil, errs.New("room.apply", errs.Forbidden, "", "you are not in the room")
	}
	return m.writer(tx, v), nil
}

func (m *machine) writer(tx *replica.Tx, v View) *writer {
	return &writer{View: v, m: m, tx: tx, memory: m.memories.of(&v)}
}

// close writes the head. Every handler that changed the room ends with it.
func (w *writer) close() { w.tx.Set(w.key(tableHead), w.Head.encode()) }

// add decides on an event and puts it at the end of the room. State that says what is there already, by the same sender, makes no
// new event: the one that is there is returned.
func (w *writer) add(d event.Draft, by origin) (Stored, error) {
	d.RoomID = w.ID
	d.PrevEvents = w.Extremities
	d.Depth = min(w.Depth+1, event.MaxInt)
	d.OriginServerTS = w.tx.Wall()
	if err := w.rulesNow().Check(&d, w.lookup); err != nil {
		return Stored{}, err
	}
	if d.StateKey != nil {
		if s, ok := w.same(&d); ok {
			return s, nil
		}
	}
	for _, k := range roomstate.AuthKeys(w.Version, &d) {
		if e := w.current(k).ID; e != "" {
			d.AuthEvents = append(d.AuthEvents, e)
		}
	}
	ev, err := event.Build(w.Version, d)
	if err != nil {
		return Stored{}, err
	}
	return w.put(ev, by), nil
}

// origin is where an event came from.
type origin struct {
	device id.DeviceID
	txn    string
}

// lookup is what the rules ask of the state. For members the membership is all that they look at, and the row has it.
func (w *writer) lookup(typ, key string) *event.Event {
	if typ == event.TypeMember {
		return w.m.members[w.member(id.UserID(key)).Membership]
	}
	if s, ok := w.StateEvent(typ, key); ok {
		return s.Event
	}
	return nil
}

// current is the event that set the state of a key.
func (w *writer) current(k roomstate.Key) Ref {
	switch k.Type {
	case event.TypeCreate:
		return w.Create
	case event.TypePowerLevels:
		return w.PowerLevels
	case event.TypeJoinRules:
		return w.JoinRules
	case event.TypeMember:
		return w.member(id.UserID(k.StateKey)).Ref
	}
	s, _ := w.StateRow(k.Type, k.StateKey)
	return s.Ref
}

// same finds the state event that says what d would say.
func (w *writer) same(d *event.Draft) (Stored, bool) {
	s, ok := w.StateEvent(d.Type, *d.StateKey)
	if !ok || s.Sender != d.Sender || !bytes.Equal(s.Content, d.Content) {
		return Stored{}, false
	}
	return s, true
}

// put writes an event as the room's last.
func (w *writer) put(ev *event.Event, by origin) Stored {
	s := Stored{Event: ev, Place: w.tx.Place(), Device: by.device, Txn: by.txn}
	if ev.StateKey != nil {
		w.putState(&s)
	}
	w.tx.Set(s.Place.Append(w.key(tableTimeline)), s.encode())
	w.tx.Set(kv.Str(w.key(tableID), ev.ID), s.Place.Append(nil))
	w.relate(&s)
	w.Extremities = append(make([]id.EventID, 0, 1), ev.ID)
	w.Depth = ev.Depth
	w.LastEvent = s.Place
	w.tx.Note(Changed{Room: w.ID, Place: s.Place, Change: ChangeEvent, User: ev.Sender})
	return s
}

// putState makes s the current state of its key.
func (w *writer) putState(s *Stored) {
	key := *s.StateKey
	row := StateRow{Type: s.Type, Key: key, Ref: Ref{s.Place, s.ID}}
	was, had := w.StateRow(s.Type, key)
	if had {
		s.Replaces = was.Ref.Place
	}
	if s.Type == event.TypeMember {
		w.putMember(s.Event, was, &row)
	}
	value := row.encode()
	w.tx.Set(kv.Str(kv.Str(w.key(tableState), s.Type), key), value)
	w.tx.Set(s.Place.Append(kv.Str(kv.Str(w.key(tableHistory), s.Type), key)), value)
	w.overtake(s)
	w.LastState = s.Place
	switch (roomstate.Key{Type: s.Type, StateKey: key}) {
	case roomstate.Key{Type: event.TypeCreate}:
		w.Create = row.Ref
	case roomstate.Key{Type: event.TypePowerLevels}:
		w.PowerLevels = row.Ref
	case roomstate.Key{Type: event.TypeJoinRules}:
		w.JoinRules = row.Ref
	}
	w.memory.changed(&w.Head, row)
}

// putMember completes the row of a member and what follows from it: counts, and the user's list of rooms.
func (w *writer) putMember(ev *event.Event, was StateRow, row *StateRow) {
	user := id.UserID(row.Key)
	row.Membership, row.Since = roomstate.MembershipOf(ev), row.Ref.Place
	if row.Membership == was.Membership {
		row.Since = was.Since
	}
	w.count(was.Membership, -1)
	w.count(row.Membership, +1)
	w.putRooms(user, row)
	if row.Membership == roomstate.Join && was.Membership != roomstate.Join {
		w.inherit(user)
	}
	w.tx.Note(Changed{Room: w.ID, Place: row.Ref.Place, Change: ChangeMembership, User: user, Membership: row.Membership})
}

// putRooms writes the room's line in the user's list of rooms.
func (w *writer) putRooms(user id.UserID, row *StateRow) {
	w.tx.Set(kv.Str(roomsKey(w.tx.Partition(), user), w.ID), row.encode())
}

func (w *writer) count(m roomstate.Membership, n int64) {
	switch m {
	case roomstate.Join:
		w.Joined += n
	case roomstate.Invite:
		w.Invited += n
	}
}

// unmarshal reads a body. Bodies are made by this package, so one that does not read is a bug.
func unmarshal(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		return errs.Wrap("room.apply", err)
	}
	return nil
}

// eventResult is the verdict's body for a new event.
func eventResult(e id.EventID) []byte {
	return append(event.AppendString([]byte(`{"event_id":`), e), '}')
}
