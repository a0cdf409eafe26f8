package keys

import (
	"encoding/json"

	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// machineByte marks the rows of this package.
const machineByte = 'k'

// Tables. All but tableChanges are state rows, in the slot of the user that comes first.
const (
	tableDevice   = 'd' // user, device -> place of the last upload, device keys
	tableOneTime  = 'o' // user, device, algorithm, place -> key id, key: in the order of upload
	tableKnown    = 'i' // user, device, algorithm, key id -> sum of the key: claimed ones too
	tableFallback = 'f' // user, device, algorithm -> fallbackRow
	tableSummary  = 's' // user, device -> summary, for /sync
	tableCross    = 'x' // user, purpose -> cross-signing key
	tableSigned   = 'g' // signer, user, key id -> signatures that the signer made, key id -> signature
	tableInbox    = 'b' // user, device, place -> event
	tableChange   = 'c' // signer or user, user, viewer or "" -> place of the last change
	tableBackups  = 'v' // user -> number of the newest version of a key backup that there ever was
	tableBackup   = 'w' // user, version -> backup
	tableSession  = 'm' // user, version, room, session -> key in a backup
	tableChanges  = 'C' // derived: place -> user, viewer or "": tableChange in the order of change
)

func row(user id.UserID, table byte) []byte {
	return kv.Str(replica.Row(id.SlotOf(user), machineByte, table), user)
}

func deviceRow(user id.UserID, device id.DeviceID, table byte) []byte {
	return kv.Str(row(user, table), device)
}

func oneTimeKey(user id.UserID, device id.DeviceID, algorithm string, at replica.Place) []byte {
	return at.Append(kv.Str(deviceRow(user, device, tableOneTime), algorithm))
}

func knownKey(user id.UserID, device id.DeviceID, algorithm, keyID string) []byte {
	return kv.Str(kv.Str(deviceRow(user, device, tableKnown), algorithm), keyID)
}

func fallbackKey(user id.UserID, device id.DeviceID, algorithm string) []byte {
	return kv.Str(deviceRow(user, device, tableFallback), algorithm)
}

func crossKey(user id.UserID, p Purpose) []byte { return kv.Str(row(user, tableCross), p) }

func signedKey(signer, user id.UserID, keyID string) []byte {
	return kv.Str(kv.Str(row(signer, tableSigned), user), keyID)
}

func inboxKey(user id.UserID, device id.DeviceID, at replica.Place) []byte {
	return at.Append(deviceRow(user, device, tableInbox))
}

func changeKey(owner, user, viewer id.UserID) []byte {
	return kv.Str(kv.Str(row(owner, tableChange), user), viewer)
}

func changesKey(p journal.Partition, at replica.Place) []byte {
	return at.Append(replica.Derived(p, machineByte, tableChanges))
}

func cutPlace(v []byte) (p replica.Place, rest []byte) {
	p, rest, err := replica.CutPlace(v)
	if err != nil {
		broken("place")
	}
	return p, rest
}

func cutStr(v []byte) (string, []byte) {
	s, rest, err := kv.CutStr(v)
	if err != nil {
		broken("string")
	}
	return s, rest
}

// broken throws a fault: a value that is not what was written is a broken disk.
func broken(what string) { panic(kv.Fault{Err: malformed(what)}) }

type malformed string

func (m malformed) Error() string { return "keys: malformed row: " + string(m) }

// deviceKeys is what a device has uploaded about itself.
type deviceKeys struct {
	at   replica.Place // of the last upload
	keys event.Object  // without "unsigned"
}

func readDevice(r kv.Reader, user id.UserID, device id.DeviceID) (deviceKeys, bool) {
	v := r.Get(deviceRow(user, device, tableDevice))
	if v == nil {
		return deviceKeys{}, false
	}
	at, keys := cutPlace(v)
	return deviceKeys{at, keys}, true
}

func (d deviceKeys) encode() []byte { return append(d.at.Append(nil), d.keys...) }

// fallback is the key that is given out when the one-time keys have run out.
type fallback struct {
	used bool
	id   string
	sum  []byte
	key  json.RawMessage
}

func decodeFallback(v []byte) (f fallback) {
	if len(v) < 1+sumLen {
		broken("fallback key")
	}
	f.used, f.sum = v[0] != 0, v[1:1+sumLen]
	f.id, f.key = cutStr(v[1+sumLen:])
	return f
}

func (f fallback) encode() []byte {
	out := []byte{0}
	if f.used {
		out[0] = 1
	}
	return append(kv.Str(append(out, f.sum...), f.id), f.key...)
}

// summary is what /sync says of a device's keys. Both parts are kept as the JSON that is sent.
type summary struct {
	counts map[string]int // of one-time keys, by algorithm
	unused []string       // algorithms of unused fallback keys, sorted
}

func (s summary) encode() []byte {
	counts := replica.Marshal(s.counts)
	return append(append(kv.U32(nil, uint32(len(counts))), counts...), replica.Marshal(s.unused)...)
}

func cutSummary(v []byte) (counts, unused json.RawMessage) {
	n, rest, err := kv.CutU32(v)
	if err != nil || int64(n) > int64(len(rest)) {
		broken("summary")
	}
	return json.RawMessage(rest[:n:n]), json.RawMessage(rest[n:])
}

func readSummary(r kv.Reader, user id.UserID, device id.DeviceID) summary {
	s := summary{counts: map[string]int{}, unused: []string{}}
	v := r.Get(deviceRow(user, device, tableSummary))
	if v == nil {
		return s
	}
	counts, unused := cutSummary(v)
	if json.Unmarshal(counts, &s.counts) != nil || json.Unmarshal(unused, &s.unused) != nil {
		broken("summary")
	}
	return s
}
