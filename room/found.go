package room

import (
	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// Tables of published rooms.
const (
	tablePublic    = 'p' // room -> nothing: it is in the directory
	tablePublished = 'P' // derived: room -> nothing
)

const (
	kindFound   = "room.found"   // a room, with what stands about it elsewhere
	kindPublish = "room.publish" // whether a room is in the directory
)

// foundBody proposes a room that has an alias waiting for it, or is published from its beginning.
type foundBody struct {
	createBody
	Alias  id.RoomAlias `json:"alias,omitempty"` // reserved
	Public bool         `json:"public,omitempty"`
}

// found makes a room, all of it or nothing, and tells its alias.
func (m *machine) found(tx *replica.Tx, b foundBody) ([]byte, error) {
	w, err := m.begin(tx, &b.createBody)
	if err != nil {
		return nil, err
	}
	if tx.Get(voidKey(w.ID)) != nil {
		return nil, errs.New("room.found", errs.Unavailable, "", "making the room took too long; try again")
	}
	w.close()
	if b.Public {
		w.publish(true)
	}
	if b.Alias != "" {
		tx.Send(id.SlotOf(b.Alias), kindAliasSettle, replica.Marshal(aliasBody{Alias: b.Alias, Room: w.ID, Made: true}))
	}
	return append(event.AppendString([]byte(`{"room_id":`), w.ID), '}'), nil
}

// publish puts the room into the directory, or takes it out.
func (w *writer) publish(public bool) {
	state, index := w.key(tablePublic), kv.Str(replica.Derived(w.tx.Partition(), machineByte, tablePublished), w.ID)
	if !public {
		w.tx.Delete(state)
		w.tx.Delete(index)
		return
	}
	w.tx.Set(state, []byte{})
	w.tx.Set(index, []byte{})
}

// Public reports whether the room is in the directory.
func (v *View) Public() bool { return v.r.Get(v.key(tablePublic)) != nil }

// publishBody proposes that a room is in the directory or not.
type publishBody struct {
	Room   id.RoomID `json:"room"`
	User   id.UserID `json:"user"`
	Public bool      `json:"public"`
	Admin  bool      `json:"admin,omitempty"` // an administrator of the server may, whatever the room says
}

// setPublic publishes a room or takes it out of the directory: for members whose power reaches to name its aliases.
func (m *machine) setPublic(tx *replica.Tx, b publishBody) ([]byte, error) {
	v, ok := Open(tx, b.Room)
	if !ok {
		return nil, errs.New("room.publish", errs.NotFound, "", "there is no such room")
	}
	w := m.writer(tx, v)
	if !b.Admin && !w.mayName(b.User) {
		return nil, errs.New("room.publish", errs.Forbidden, "", "your power level in the room does not reach to change what the directory says of it")
	}
	if v.Public() != b.Public {
		w.publish(b.Public)
	}
	return nil, nil
}

// mayName reports whether the user is in the room with the power to say by what aliases it is known.
func (v *View) mayName(user id.UserID) bool {
	if !v.IsJoined(user) {
		return false
	}
	rules := v.Rules()
	return rules.UserLevel(user) >= rules.StateLevel(event.TypeCanonicalAlias)
}

// deriveDirectory makes the derived rows of aliases, published rooms and reports anew, from the state of one slot.
func deriveDirectory(r kv.Reader, p journal.Partition, slot id.Slot, set func(key, value []byte)) {
	prefix := replica.Row(slot, machineByte, tableAlias)
	for k := range r.Scan(prefix, kv.End(prefix)) {
		alias := id.RoomAlias(lastString(k[len(prefix):]))
		if a, ok := findAlias(r, alias); ok {
			set(kv.Str(aliasesKey(p, a.room), alias), []byte{})
		}
	}
	prefix = replica.Row(slot, machineByte, tablePublic)
	for k := range r.Scan(prefix, kv.End(prefix)) {
		set(kv.Str(replica.Derived(p, machineByte, tablePublished), lastString(k[len(prefix):])), []byte{})
	}
	deriveReports(r, p, slot, set)
}

// lastString reads a key's part that is a string and its end.
func lastString(k []byte) string {
	s, _, err := kv.CutStr(k)
	if err != nil {
		fault()
	}
	return s
}
