package keys

import (
	"bytes"
	"encoding/json"
	"slices"

	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// claimBody asks for a key of each of some devices of one user.
type claimBody struct {
	User id.UserID   `json:"user"`
	Want []claimWant `json:"want"`
}

type claimWant struct {
	Device    id.DeviceID `json:"device"`
	Algorithm string      `json:"algorithm"`
}

// Claimed are keys that were given out: device, algorithm and key id, key.
type Claimed map[id.DeviceID]map[string]json.RawMessage

// claim gives out the oldest one-time key of each device, or its fallback key. A device that has neither is not in the result.
func claim(tx *replica.Tx, b claimBody) (any, error) {
	out := Claimed{}
	for _, w := range b.Want {
		k, ok := takeOneTime(tx, b.User, w)
		if !ok {
			k, ok = useFallback(tx, b.User, w)
		}
		if ok {
			if out[w.Device] == nil {
				out[w.Device] = map[string]json.RawMessage{}
			}
			out[w.Device][k.name()] = k.Key
		}
	}
	return out, nil
}

func takeOneTime(tx *replica.Tx, user id.UserID, w claimWant) (keyBody, bool) {
	prefix := kv.Str(deviceRow(user, w.Device, tableOneTime), w.Algorithm)
	var key []byte
	k := keyBody{Algorithm: w.Algorithm}
	for rowKey, v := range tx.Scan(prefix, kv.End(prefix)) {
		keyID, rest := cutStr(v)
		key, k.ID, k.Key = bytes.Clone(rowKey), keyID, bytes.Clone(rest)
		break
	}
	if key == nil {
		return k, false
	}
	tx.Delete(key) // its row in tableKnown stays
	s := readSummary(tx, user, w.Device)
	s.counts[w.Algorithm]--
	tx.Set(deviceRow(user, w.Device, tableSummary), s.encode())
	tx.Note(Counts{user, w.Device})
	return k, true
}

func useFallback(tx *replica.Tx, user id.UserID, w claimWant) (keyBody, bool) {
	row := fallbackKey(user, w.Device, w.Algorithm)
	v := tx.Get(row)
	if v == nil {
		return keyBody{}, false
	}
	f := decodeFallback(v)
	if !f.used {
		f.used = true
		tx.Set(row, f.encode())
		s := readSummary(tx, user, w.Device)
		s.unused = slices.DeleteFunc(s.unused, func(a string) bool { return a == w.Algorithm })
		tx.Set(deviceRow(user, w.Device, tableSummary), s.encode())
		tx.Note(Counts{user, w.Device})
	}
	return keyBody{w.Algorithm, f.id, f.key}, true
}
