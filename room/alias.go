package room

import (
	"encoding/binary"
	"iter"
	"slices"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// An alias lives in its own slot, which is another than that of its room. A room that is made with an alias is a saga: the alias is
// reserved, the room is made, the room's slot says so to the alias's. If that word does not come, because whoever made the room
// died on the way, the alias asks: a room that is not there by then never will be (docs/adr/0041-aliases-are-reserved-by-asking.md).

// Tables of aliases. The keys of the first go on with the alias.
const (
	tableAlias   = '#' // alias -> alias row
	tableVoid    = 'v' // room that was asked for and was not there -> nothing: it never will be
	tableAliases = '*' // derived: room, alias -> nothing; in the partition of the alias
)

// The kinds of proposal about aliases. All go to the slot of the alias, but for kindAliasAsk, which goes to the room's.
const (
	kindAlias        = "room.alias"
	kindUnalias      = "room.unalias"
	kindAliasReserve = "room.alias.reserve"
	kindAliasExpire  = "room.alias.expire" // a timer
	kindAliasAsk     = "room.alias.ask"
	kindAliasSettle  = "room.alias.settle"
	kindAliasMove    = "room.alias.move"
)

// aliasHold is how long a reserved alias waits for its room before it asks, in milliseconds of live time.
const aliasHold = 60_000

// aliasRow is what an alias stands for.
type aliasRow struct {
	room     id.RoomID
	creator  id.UserID
	since    int64 // Unix milliseconds
	reserved bool  // the room is being made
}

const flagReserved = 1

func aliasKey(alias id.RoomAlias) []byte {
	return kv.Str(replica.Row(id.SlotOf(alias), machineByte, tableAlias), alias)
}

func aliasesKey(p journal.Partition, room id.RoomID) []byte {
	return kv.Str(replica.Derived(p, machineByte, tableAliases), room)
}

func (a *aliasRow) encode() []byte {
	var flags byte
	if a.reserved {
		flags |= flagReserved
	}
	b := addString(addString([]byte{flags}, a.room), a.creator)
	return binary.AppendUvarint(b, uint64(a.since))
}

// findAlias reads the row of an alias.
func findAlias(r kv.Reader, alias id.RoomAlias) (a aliasRow, ok bool) {
	v := r.Get(aliasKey(alias))
	if v == nil {
		return a, false
	}
	c := cutter{string(v)}
	a.reserved = c.byte()&flagReserved != 0
	a.room, a.creator = id.RoomID(c.string()), id.UserID(c.string())
	a.since = int64(c.uvarint())
	return a, true
}

// Resolve is the room that an alias stands for; ok is false if there is no such alias.
func Resolve(r kv.Reader, alias id.RoomAlias) (room id.RoomID, ok bool) {
	a, ok := findAlias(r, alias)
	if !ok {
		return "", false
	}
	if a.reserved { // the room's word may still be on its way
		if _, ok := Open(r, a.room); !ok {
			return "", false
		}
	}
	return a.room, true
}

// Aliases yields the aliases of a room over all partitions, of which there are n, in the order of their names.
func Aliases(r kv.Reader, n int, room id.RoomID) iter.Seq[id.RoomAlias] {
	var all []id.RoomAlias
	for p := range n {
		prefix := aliasesKey(journal.Partition(p), room)
		for k := range r.Scan(prefix, kv.End(prefix)) {
			name, _, err := kv.CutStr(k[len(prefix):])
			if err != nil {
				fault()
			}
			all = append(all, id.RoomAlias(name))
		}
	}
	slices.Sort(all)
	return func(yield func(id.RoomAlias) bool) {
		for _, alias := range all {
			if in, ok := Resolve(r, alias); ok && in == room && !yield(alias) {
				return
			}
		}
	}
}

// aliasBody is the body of all kinds about aliases.
type aliasBody struct {
	Alias   id.RoomAlias `json:"alias"`
	Room    id.RoomID    `json:"room"`
	User    id.UserID    `json:"user,omitempty"`    // who asks for it
	Allowed bool         `json:"allowed,omitempty"` // room.unalias: whoever has made it
	Made    bool         `json:"made,omitempty"`    // room.alias.settle: the room is there
	To      id.RoomID    `json:"to,omitempty"`      // room.alias.move: the room from now on
}

func putAlias(tx *replica.Tx, alias id.RoomAlias, a aliasRow) {
	tx.Set(aliasKey(alias), a.encode())
	tx.Set(kv.Str(aliasesKey(tx.Partition(), a.room), alias), []byte{})
}

func dropAlias(tx *replica.Tx, alias id.RoomAlias, a aliasRow) {
	tx.Delete(aliasKey(alias))
	tx.Delete(kv.Str(aliasesKey(tx.Partition(), a.room), alias))
}

func aliasTaken(code errs.Code, alias id.RoomAlias) error {
	return errs.New("room.alias", errs.Conflict, code, "the alias %s is taken", alias)
}

// alias gives an alias to a room that is there, which its submitter has seen.
func (m *machine) alias(tx *replica.Tx, b aliasBody) ([]byte, error) {
	if a, ok := findAlias(tx, b.Alias); ok {
		if a.room == b.Room && a.creator == b.User {
			return nil, nil // the same request again
		}
		return nil, aliasTaken("", b.Alias)
	}
	putAlias(tx, b.Alias, aliasRow{room: b.Room, creator: b.User, since: tx.Wall()})
	return nil, nil
}

// unalias takes an alias away from the room that its submitter has seen it on: for whoever made it, and whoever is allowed to there. The
// word of a room that has just been made may come later, and then finds nothing.
func (m *machine) unalias(tx *replica.Tx, b aliasBody) ([]byte, error) {
	const op = "room.unalias"
	a, ok := findAlias(tx, b.Alias)
	switch {
	case !ok:
		return nil, noAlias(op, b.Alias)
	case a.room != b.Room:
		return nil, errs.New(op, errs.Conflict, "", "the alias has just gone to another room; try again")
	case a.creator != b.User && !b.Allowed:
		return nil, errs.New(op, errs.Forbidden, "", "the alias was made by somebody else")
	}
	dropAlias(tx, b.Alias, a)
	return nil, nil
}

func noAlias(op string, alias id.RoomAlias) error {
	return errs.New(op, errs.NotFound, "", "there is no room with the alias %s", alias)
}

// reserveAlias keeps an alias for a room that is about to be made.
func (m *machine) reserveAlias(tx *replica.Tx, b aliasBody) ([]byte, error) {
	if _, ok := findAlias(tx, b.Alias); ok {
		return nil, aliasTaken(errs.RoomInUse, b.Alias)
	}
	putAlias(tx, b.Alias, aliasRow{room: b.Room, creator: b.User, since: tx.Wall(), reserved: true})
	tx.At(replica.Live, tx.Live()+aliasHold, kindAliasExpire, replica.Marshal(aliasBody{Alias: b.Alias, Room: b.Room}))
	return nil, nil
}

// expireAlias asks the room of an alias that still is only reserved.
func (m *machine) expireAlias(tx *replica.Tx, b aliasBody) ([]byte, error) {
	if a, ok := findAlias(tx, b.Alias); ok && a.reserved && a.room == b.Room {
		tx.Send(id.SlotOf(b.Room), kindAliasAsk, replica.Marshal(b))
	}
	return nil, nil
}

// askRoom says whether there is a room. One that is not there will not be made any more: its alias goes to others.
func (m *machine) askRoom(tx *replica.Tx, b aliasBody) ([]byte, error) {
	if _, b.Made = Open(tx, b.Room); !b.Made {
		tx.Set(voidKey(b.Room), []byte{})
	}
	tx.Send(id.SlotOf(b.Alias), kindAliasSettle, replica.Marshal(b))
	return nil, nil
}

func voidKey(room id.RoomID) []byte { return roomKey(id.SlotOf(room), tableVoid, room) }

// settleAlias ends a reservation: the room is there, or never will be.
func (m *machine) settleAlias(tx *replica.Tx, b aliasBody) ([]byte, error) {
	a, ok := findAlias(tx, b.Alias)
	switch {
	case !ok || !a.reserved || a.room != b.Room:
	case b.Made:
		a.reserved = false
		putAlias(tx, b.Alias, a)
	default:
		dropAlias(tx, b.Alias, a)
	}
	return nil, nil
}

// moveAlias gives an alias to the room that takes the place of its old one.
func (m *machine) moveAlias(tx *replica.Tx, b aliasBody) ([]byte, error) {
	if a, ok := findAlias(tx, b.Alias); ok && a.room == b.Room {
		dropAlias(tx, b.Alias, a)
		a.room, a.reserved = b.To, false
		putAlias(tx, b.Alias, a)
	}
	return nil, nil
}
