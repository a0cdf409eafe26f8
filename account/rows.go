package account

import (
	"encoding/json"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// machineByte marks the rows of this package.
const machineByte = 'a'

// Tables. All but tableNames, tableOwed and tableEnds are state rows in the slot of the user.
const (
	tableAccount = 'u' // user -> Account
	tableDevice  = 'd' // user, device -> deviceRow
	tableToken   = 't' // SHA-256 of the token -> user, device
	tableProfile = 'p' // user, field -> JSON value
	tableData    = 'g' // user, room or "", type -> place, content
	tableByPlace = 'i' // user, place -> room or "", type: tableData in the order of change
	tableFilter  = 'f' // user, filter id -> JSON
	tableNames   = 'n' // derived: user -> nothing, for listing in order
	tableEnds    = 'w' // derived: end of a word of a name, NUL, user -> nothing
	tableShow    = 's' // user -> place of the last change of the profile that rooms show
	tableOwed    = 'o' // derived: user -> wall time of that change; gone when rooms show it
	tableLease   = 'l' // user, device -> lease: of devices with a refresh token
	tableRefresh = 'r' // SHA-256 of the refresh token -> user, device

	tableSeen       = 'S' // user, device -> wall time, address, user agent
	tableOwner      = 'O' // in the slot of the address: address -> user
	tableAddress    = 'E' // user, address -> when it was confirmed and added
	tableConfirm    = 'c' // in the slot of the session: session -> confirmation
	tableStages     = 'I' // in the slot of the session: session -> stages passed, with notes
	tableRegToken   = 'R' // in registrationSlot: SHA-256 of the token -> RegistrationToken
	tableReserved   = 'v' // in registrationSlot: SHA-256 of the token, SHA-256 of the session -> timer
	tableLoginToken = 'k' // SHA-256 of the token -> user, Account.Changes, timer
	tableOpenID     = 'q' // SHA-256 of the token -> user, Account.Changes, wall time of its end
)

func row(user id.UserID, table byte) []byte {
	return kv.Str(replica.Row(id.SlotOf(user), machineByte, table), user)
}

func accountKey(user id.UserID) []byte { return row(user, tableAccount) }

func deviceKey(user id.UserID, device id.DeviceID) []byte {
	return kv.Str(row(user, tableDevice), device)
}

func tokenKey(slot id.Slot, hash []byte) []byte {
	return append(replica.Row(slot, machineByte, tableToken), hash...)
}

func leaseKey(user id.UserID, device id.DeviceID) []byte {
	return kv.Str(row(user, tableLease), device)
}

func seenKey(user id.UserID, device id.DeviceID) []byte { return kv.Str(row(user, tableSeen), device) }

func refreshKey(slot id.Slot, hash []byte) []byte {
	return append(replica.Row(slot, machineByte, tableRefresh), hash...)
}

func profileKey(user id.UserID, field string) []byte { return kv.Str(row(user, tableProfile), field) }

func dataKey(user id.UserID, room id.RoomID, typ string) []byte {
	return kv.Str(kv.Str(row(user, tableData), room), typ)
}

func placeKey(user id.UserID, p replica.Place) []byte {
	return p.Append(row(user, tableByPlace))
}

func filterKey(user id.UserID, filter string) []byte { return kv.Str(row(user, tableFilter), filter) }

func namesKey(p journal.Partition, user id.UserID) []byte {
	return kv.Str(replica.Derived(p, machineByte, tableNames), user)
}

func showKey(user id.UserID) []byte { return row(user, tableShow) }

func owedKey(p journal.Partition, user id.UserID) []byte {
	return kv.Str(replica.Derived(p, machineByte, tableOwed), user)
}

// Account is a person or a bot with a name on this server.
type Account struct {
	Admin       bool
	Deactivated bool   // closed for good; the name is not given away again
	Locked      bool   // by an administrator: nothing is done for it, and nothing lost
	Suspended   bool   // by an administrator: it may read and leave, not take part
	Erased      bool   // closed, and what it said is not shown to those who come later
	Created     int64  // Unix milliseconds
	Password    string // PHC string of the password's hash; empty: no password is right
	Changes     uint32 // how often the password has been set
	nonce       string // hash of what names the registration, so that its retry is known; or empty
}

const (
	flagAdmin       = 1
	flagDeactivated = 2
	flagLocked      = 4
	flagSuspended   = 8
	flagErased      = 16
)

func (a Account) encode() []byte {
	var flags byte
	if a.Admin {
		flags |= flagAdmin
	}
	if a.Deactivated {
		flags |= flagDeactivated
	}
	if a.Locked {
		flags |= flagLocked
	}
	if a.Suspended {
		flags |= flagSuspended
	}
	if a.Erased {
		flags |= flagErased
	}
	out := kv.U32(kv.U64([]byte{flags}, a.Created), a.Changes)
	return kv.Str(kv.Str(out, a.Password), a.nonce)
}

func decodeAccount(v []byte) Account {
	d := decoder{v: v}
	flags := d.byte()
	a := Account{Admin: flags&flagAdmin != 0, Deactivated: flags&flagDeactivated != 0,
		Locked: flags&flagLocked != 0, Suspended: flags&flagSuspended != 0,
		Erased: flags&flagErased != 0}
	a.Created, a.Changes, a.Password, a.nonce = int64(d.u64()), d.u32(), d.str(), d.str()
	d.end("account")
	return a
}

// Device is a device as others may see it.
type Device struct {
	ID      id.DeviceID
	Name    string // display name, or empty
	Created int64  // Unix milliseconds
}

type deviceRow struct {
	created int64
	name    string
	token   string // SHA-256
}

func (dr deviceRow) encode() []byte {
	return kv.Str(kv.Str(kv.U64(nil, dr.created), dr.name), dr.token)
}

func decodeDevice(v []byte) deviceRow {
	d := decoder{v: v}
	dr := deviceRow{created: int64(d.u64()), name: d.str(), token: d.str()}
	d.end("device")
	return dr
}

// Entry is a piece of account data.
type Entry struct {
	Room    id.RoomID // empty: of the account as a whole
	Type    string
	Content json.RawMessage
	Place   replica.Place // where it was last changed
}

// decoder reads the parts of a row's value. A value that is not what was written is a broken disk: end throws a kv.Fault.
type decoder struct {
	v   []byte
	err error
}

func (d *decoder) byte() byte {
	if len(d.v) == 0 {
		d.err = kv.ErrKey
		return 0
	}
	b := d.v[0]
	d.v = d.v[1:]
	return b
}

func (d *decoder) u64() uint64 {
	n, rest, err := kv.CutU64(d.v)
	d.step(rest, err)
	return n
}

func (d *decoder) u32() uint32 {
	n, rest, err := kv.CutU32(d.v)
	d.step(rest, err)
	return n
}

func (d *decoder) str() string {
	s, rest, err := kv.CutStr(d.v)
	d.step(rest, err)
	return s
}

func (d *decoder) place() replica.Place {
	p, rest, err := replica.CutPlace(d.v)
	d.step(rest, err)
	return p
}

func (d *decoder) step(rest []byte, err error) {
	d.v = rest
	if err != nil && d.err == nil {
		d.err = err
	}
}

func (d *decoder) check(what string) {
	if d.err != nil {
		panic(kv.Fault{Err: malformed(what)})
	}
}

func (d *decoder) end(what string) {
	if d.check(what); len(d.v) != 0 {
		panic(kv.Fault{Err: malformed(what)})
	}
}

type malformed string

func (m malformed) Error() string { return "malformed " + string(m) + " row" }
