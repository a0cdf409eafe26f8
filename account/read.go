package account

import (
	"encoding/json"
	"iter"

	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// The functions of this file read rows through any kv.Reader: a handler's transaction, a view, or the newest rows.

// Find is the account of a user, closed ones included.
func Find(r kv.Reader, user id.UserID) (Account, bool) {
	v := r.Get(accountKey(user))
	if v == nil {
		return Account{}, false
	}
	return decodeAccount(v), true
}

// ErasedIn tells whose accounts are closed and erased, as some rows say. Each account is looked up once. Not safe for concurrent use.
func ErasedIn(r kv.Reader) func(id.UserID) bool {
	known := map[id.UserID]bool{}
	return func(user id.UserID) bool {
		erased, ok := known[user]
		if !ok {
			a, _ := Find(r, user)
			erased = a.Erased
			known[user] = erased
		}
		return erased
	}
}

// Devices are the devices of a user, in the order of their ids.
func Devices(r kv.Reader, user id.UserID) []Device {
	var out []Device
	prefix := row(user, tableDevice)
	for k, v := range r.Scan(prefix, kv.End(prefix)) {
		d := decoder{v: k[len(prefix):]}
		device := id.DeviceID(d.str())
		d.end("device")
		out = append(out, decodeDevice(v).seen(device))
	}
	return out
}

// FindDevice is one device of a user.
func FindDevice(r kv.Reader, user id.UserID, device id.DeviceID) (Device, bool) {
	v := r.Get(deviceKey(user, device))
	if v == nil {
		return Device{}, false
	}
	return decodeDevice(v).seen(device), true
}

func (dr deviceRow) seen(device id.DeviceID) Device {
	return Device{ID: device, Name: dr.name, Created: dr.created}
}

// The profile fields that stand in membership events.
const (
	Displayname = "displayname"
	AvatarURL   = "avatar_url"
)

// Profile is what others see of a user in a room. Empty is not set.
type Profile struct {
	Displayname string
	AvatarURL   string
}

// ProfileOf is the displayname and avatar of a user.
func ProfileOf(r kv.Reader, user id.UserID) Profile {
	return Profile{text(r.Get(profileKey(user, Displayname))), text(r.Get(profileKey(user, AvatarURL)))}
}

// text is a JSON string, or "" where it is none.
func text(v []byte) string {
	var s string
	if v == nil || json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

// ProfileFields yields all fields of a user's profile with their JSON values, in the order of their names.
func ProfileFields(r kv.Reader, user id.UserID) iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		prefix := row(user, tableProfile)
		for k, v := range r.Scan(prefix, kv.End(prefix)) {
			d := decoder{v: k[len(prefix):]}
			field := d.str()
			d.end("profile")
			if !yield(field, append(json.RawMessage{}, v...)) {
				return
			}
		}
	}
}

// ProfileField is one field's JSON value, nil if it is not set.
func ProfileField(r kv.Reader, user id.UserID, field string) json.RawMessage {
	return r.Get(profileKey(user, field))
}

// Data is one piece of account data; room is empty for that of the whole account.
func Data(r kv.Reader, user id.UserID, room id.RoomID, typ string) (Entry, bool) {
	v := r.Get(dataKey(user, room, typ))
	if v == nil {
		return Entry{}, false
	}
	d := decoder{v: v}
	at := d.place()
	d.check("account data")
	return Entry{Room: room, Type: typ, Content: d.v, Place: at}, true
}

// DataSince yields the account data of a user, of all rooms and of the account, that was last changed after a place in the
// user's partition, in the order of change. The zero place yields everything.
func DataSince(r kv.Reader, user id.UserID, after replica.Place) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		prefix := row(user, tableByPlace)
		for k, v := range r.Scan(placeKey(user, after), kv.End(prefix)) {
			if len(k) == len(prefix)+replica.PlaceSize {
				if at, _, err := replica.CutPlace(k[len(prefix):]); err == nil && at == after {
					continue
				}
			}
			d := decoder{v: v}
			room, typ := id.RoomID(d.str()), d.str()
			d.end("account data index")
			e, ok := Data(r, user, room, typ)
			if !ok {
				panic(kv.Fault{Err: malformed("account data index")})
			}
			if !yield(e) {
				return
			}
		}
	}
}

// The types of account data that the server controls.
const (
	TypePushRules = "m.push_rules"
	TypeFullyRead = "m.fully_read"
)

// PushRules is the content of a user's m.push_rules, {"global":{…}}, and the place of its last change; nil: the user has changed
// nothing, and the server's default rules hold.
func PushRules(r kv.Reader, user id.UserID) (json.RawMessage, replica.Place) {
	e, _ := Data(r, user, "", TypePushRules)
	return e.Content, e.Place
}

// Filter is a filter that the user defined, nil if there is none of that id.
func Filter(r kv.Reader, user id.UserID, filter string) json.RawMessage {
	return r.Get(filterKey(user, filter))
}
