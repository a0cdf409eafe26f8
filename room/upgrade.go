package room

import (
	"encoding/json"
	"errors"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/roomstate"
)

// An upgrade is a saga between the slots of two rooms, all of it in the state: whoever asked for it may die at any moment.
//
//	old room   room.upgrade   who may send the tombstone? what is carried over goes into the outbox, and a row says what is under way
//	new room   room.found     the room, with its creator
//	new room   room.carry     … and its state, in as many messages as it takes
//	new room   room.arrived   says whether the room is there
//	old room   room.upgraded  the tombstone, and what goes with it; or the row is taken away
//
// What members have set for the old room follows them when they come; see succeed.go.
// Messages between two partitions arrive once and in order. See docs/adr/0042-an-upgrade-is-carried-by-the-outbox.md.

// tableUpgrade has a row for a room that is being replaced, or has been: upgradeRow as JSON.
const tableUpgrade = 'g'

const (
	kindUpgrade  = "room.upgrade"
	kindCarry    = "room.carry"
	kindArrived  = "room.arrived"
	kindUpgraded = "room.upgraded"
)

// maxCarried is how many bytes of state one message carries, unless a single event has more.
const maxCarried = 64 << 10

// upgradeBody proposes a new room in place of an old one.
type upgradeBody struct {
	Room    id.RoomID         `json:"room"`
	User    id.UserID         `json:"user"`
	Device  id.DeviceID       `json:"device,omitempty"`
	Version event.RoomVersion `json:"version"`
	Create  json.RawMessage   `json:"create"`            // of the new room, complete
	Join    json.RawMessage   `json:"join"`              // the content of its creator's member event
	Aliases []id.RoomAlias    `json:"aliases,omitempty"` // of the old room, which move
}

// upgradeRow is an upgrade, under way or done.
type upgradeRow struct {
	To      id.RoomID         `json:"to"`
	Version event.RoomVersion `json:"version"`
	User    id.UserID         `json:"user"`
	Device  id.DeviceID       `json:"device,omitempty"`
	Aliases []id.RoomAlias    `json:"aliases,omitempty"`
	Done    bool              `json:"done,omitempty"`
	At      journal.Position  `json:"at,omitempty"` // when done: where the new room was complete, in its partition
}

// upgrading is the upgrade of this room; ok is false if there is none.
func (v *View) upgrading() (row upgradeRow, ok bool) {
	b := v.r.Get(v.key(tableUpgrade))
	if b == nil {
		return row, false
	}
	if err := json.Unmarshal(b, &row); err != nil {
		panic(kv.Fault{Err: err})
	}
	return row, true
}

func (w *writer) putUpgrade(row upgradeRow) { w.tx.Set(w.key(tableUpgrade), replica.Marshal(&row)) }

// tombstone is the event that ends the old room.
func (row *upgradeRow) tombstone() event.Draft {
	content := object("body", "This room has been replaced").With("replacement_room", event.AppendString(nil, row.To))
	return event.Draft{Type: event.TypeTombstone, Sender: row.User, StateKey: new(string), Content: content}
}

// upgrade begins an upgrade. The same again leads to the same room.
func (m *machine) upgrade(tx *replica.Tx, b upgradeBody) ([]byte, error) {
	const op = "room.upgrade"
	w, err := m.open(tx, b.Room)
	if err != nil {
		return nil, err
	}
	create, err := event.Parse(b.Version, b.Create)
	if err != nil {
		return nil, err
	}
	row := upgradeRow{To: create.RoomID, Version: b.Version, User: b.User, Device: b.Device, Aliases: b.Aliases}
	d := row.tombstone()
	d.RoomID = w.ID
	if err := w.rulesNow().Check(&d, w.lookup); err != nil {
		return nil, err
	}
	if was, ok := w.upgrading(); ok {
		if was.Version != b.Version {
			return nil, errs.New(op, errs.Forbidden, "", "the room is replaced by %s already, of version %s", was.To, was.Version)
		}
		return upgradeResult(was.To), nil
	}
	w.putUpgrade(row)
	to := id.SlotOf(row.To)
	joined := []stateItem{{event.TypeMember, string(b.User), b.Join}}
	tx.Send(to, kindFound, replica.Marshal(&foundBody{Public: w.Public(),
		createBody: createBody{Version: b.Version, Device: b.Device, Create: b.Create, State: joined}}))
	w.carryAll(create)
	tx.Send(to, kindArrived, replica.Marshal(&upgradedBody{Room: w.ID, To: row.To}))
	return upgradeResult(row.To), nil
}

func upgradeResult(to id.RoomID) []byte {
	return append(event.AppendString([]byte(`{"replacement_room":`), to), '}')
}

// carriedTypes is the state that goes along as it is. Source: client-server API, "Room Upgrades"; the canonical alias moves with the
// aliases.
var carriedTypes = [...]string{"m.room.server_acl", event.TypeEncryption, event.TypeName, event.TypeAvatar, event.TypeTopic,
	event.TypeGuestAccess, event.TypeHistoryVisibility, event.TypeCanonicalAlias}

// carryAll sends the state that goes along: the power levels last, since whoever upgrades may have more power in the new room before.
func (w *writer) carryAll(create *event.Event) {
	c := carrier{tx: w.tx, body: carryBody{Room: create.RoomID, User: create.Sender}}
	for _, typ := range carriedTypes {
		if s, ok := w.StateEvent(typ, ""); ok {
			c.add(typ, "", s.Content)
		}
	}
	if s, ok := w.StateEvent(event.TypeJoinRules, ""); ok {
		rule, _ := s.Content.String("join_rule")
		rule = roomstate.CarryJoinRule(create.Version, rule)
		c.add(event.TypeJoinRules, "", s.Content.With("join_rule", event.AppendString(nil, rule)))
	}
	if w.Type() == TypeSpace {
		for row := range w.StateOf(typeSpaceChild) {
			if content := w.Load(row).Content; len(content) > len("{}") {
				c.add(typeSpaceChild, row.Key, content)
			}
		}
	}
	for row := range w.Members() {
		if row.Membership == roomstate.Ban {
			c.add(event.TypeMember, row.Key, w.Load(row).Content)
		}
	}
	var old event.Object
	if s, ok := w.StateEvent(event.TypePowerLevels, ""); ok {
		old = s.Content
	}
	creators, err := roomstate.NewRules(create.Version, create, nil, nil)
	if err == nil { // or the room will be refused
		c.add(event.TypePowerLevels, "", w.rulesNow().CarryLevels(create.Version, creators.Creators(), old))
	}
	c.send()
}

// carrier puts state into messages.
type carrier struct {
	tx   *replica.Tx
	body carryBody
	size int
}

// carryBody proposes state for a room that takes the place of another.
type carryBody struct {
	Room  id.RoomID   `json:"room"`
	User  id.UserID   `json:"user"`
	State []stateItem `json:"state"`
}

func (c *carrier) add(typ, key string, content event.Object) {
	size := len(typ) + len(key) + len(content)
	if c.size+size > maxCarried {
		c.send()
	}
	c.body.State = append(c.body.State, stateItem{typ, key, json.RawMessage(content)})
	c.size += size
}

func (c *carrier) send() {
	if len(c.body.State) > 0 {
		c.tx.Send(id.SlotOf(c.body.Room), kindCarry, replica.Marshal(&c.body))
	}
	c.body.State, c.size = nil, 0
}

// carry sets state in a new room. What its rules do not allow is left out: a room without its old picture is better than none.
func (m *machine) carry(tx *replica.Tx, b carryBody) ([]byte, error) {
	w, err := m.open(tx, b.Room)
	if err != nil {
		return nil, nil //nolint:nilerr // the room was refused, as room.arrived will say
	}
	for _, item := range b.State {
		if _, err := w.add(event.Draft{Type: item.Type, Sender: b.User, StateKey: &item.Key, Content: event.Object(item.Content)}, origin{}); bug(err) {
			return nil, err
		}
	}
	w.close()
	return nil, nil
}

// bug reports whether an error is no refusal.
func bug(err error) bool {
	var e *errs.Error
	return err != nil && (!errors.As(err, &e) || e.Kind == errs.Internal)
}

// upgradedBody is about a new room in place of an old one.
type upgradedBody struct {
	Room id.RoomID        `json:"room"` // the old one
	To   id.RoomID        `json:"to"`
	Made bool             `json:"made,omitempty"`
	At   journal.Position `json:"at,omitempty"`
}

// arrived says to the old room whether the new one is there.
func (m *machine) arrived(tx *replica.Tx, b upgradedBody) ([]byte, error) {
	_, b.Made = Open(tx, b.To)
	b.At = tx.Pos()
	tx.Send(id.SlotOf(b.Room), kindUpgraded, replica.Marshal(&b))
	return nil, nil
}

// upgraded ends the old room, or the attempt. Whoever has lost the power for it meanwhile leaves the old room as it is.
func (m *machine) upgraded(tx *replica.Tx, b upgradedBody) ([]byte, error) {
	w, err := m.open(tx, b.Room)
	if err != nil {
		return nil, err
	}
	row, ok := w.upgrading()
	if !ok || row.Done || row.To != b.To {
		return nil, nil
	}
	by := origin{device: row.Device}
	if b.Made {
		if _, err = w.add(row.tombstone(), by); bug(err) {
			return nil, err
		}
	}
	if !b.Made || err != nil {
		tx.Delete(w.key(tableUpgrade))
		return nil, nil //nolint:nilerr // a refusal, which there is nobody to tell
	}
	if err := w.retire(row, by); err != nil {
		return nil, err
	}
	succeeding(tx, succeedBody{Room: w.ID, To: row.To, User: row.User}) // who was there before there was a tombstone
	row.Done, row.At = true, b.At
	w.putUpgrade(row)
	w.close()
	return nil, nil
}

// retire takes the old room's names away and quiets it, as far as whoever upgrades it may.
func (w *writer) retire(row upgradeRow, by origin) error {
	if _, ok := w.StateRow(event.TypeCanonicalAlias, ""); ok {
		d := event.Draft{Type: event.TypeCanonicalAlias, Sender: row.User, StateKey: new(string), Content: event.Object("{}")}
		if _, err := w.add(d, by); bug(err) {
			return err
		}
	}
	if s, ok := w.StateEvent(event.TypePowerLevels, ""); ok {
		d := event.Draft{Type: event.TypePowerLevels, Sender: row.User, StateKey: new(string), Content: w.rulesNow().RestrictedLevels(s.Content)}
		if _, err := w.add(d, by); bug(err) {
			return err
		}
	}
	if w.Public() {
		w.publish(false)
	}
	for _, alias := range row.Aliases {
		w.tx.Send(id.SlotOf(alias), kindAliasMove, replica.Marshal(aliasBody{Alias: alias, Room: w.ID, To: row.To}))
	}
	return nil
}
