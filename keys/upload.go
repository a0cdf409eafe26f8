package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"slices"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// maxOneTime is how many one-time keys of an algorithm are kept for a device.
const maxOneTime = 1000

// sumLen is the bytes of a sum.
const sumLen = 16

// sumOf tells keys apart. Signatures don't count: a client may sign a key anew when it repeats an upload.
func sumOf(key []byte) []byte {
	if len(key) > 0 && key[0] == '{' {
		key = event.Object(key).Without("signatures")
	}
	h := sha256.Sum256(key)
	return h[:sumLen]
}

// keyBody is a one-time or fallback key.
type keyBody struct {
	Algorithm string          `json:"algorithm"`
	ID        string          `json:"id"`
	Key       json.RawMessage `json:"key"`
}

func (k keyBody) name() string { return k.Algorithm + ":" + k.ID }

type uploadBody struct {
	User     id.UserID       `json:"user"`
	Device   id.DeviceID     `json:"device"`
	Keys     json.RawMessage `json:"keys,omitempty"`
	OneTime  []keyBody       `json:"one_time,omitempty"`
	Fallback []keyBody       `json:"fallback,omitempty"`
}

type uploadResult struct {
	Counts map[string]int `json:"one_time_key_counts"`
}

// upload stores the keys of a device. A key that is there already, by id and value, is passed over, claimed or not.
func upload(tx *replica.Tx, b uploadBody) (any, error) {
	if len(b.Keys) > 0 {
		uploadIdentity(tx, b)
	}
	s := readSummary(tx, b.User, b.Device)
	touched, err := uploadOneTime(tx, b, s)
	if err != nil {
		return nil, err
	}
	for _, k := range b.Fallback {
		f := fallback{id: k.ID, sum: sumOf(k.Key), key: k.Key}
		key := fallbackKey(b.User, b.Device, k.Algorithm)
		if v := tx.Get(key); v != nil {
			if old := decodeFallback(v); old.id == f.id && bytes.Equal(old.sum, f.sum) {
				continue // a repeated upload doesn't make a used key unused
			}
		}
		tx.Set(key, f.encode())
		if i, ok := slices.BinarySearch(s.unused, k.Algorithm); !ok {
			s.unused = slices.Insert(s.unused, i, k.Algorithm)
		}
		touched = true
	}
	if touched {
		tx.Set(deviceRow(b.User, b.Device, tableSummary), s.encode())
		tx.Note(Counts{b.User, b.Device})
	}
	return uploadResult{s.counts}, nil
}

// uploadIdentity stores a device's own keys. A device that comes back with another identity has lost its secrets, and with them
// the use of the one-time keys that it left here.
func uploadIdentity(tx *replica.Tx, b uploadBody) {
	old, known := readDevice(tx, b.User, b.Device)
	fresh := event.Object(b.Keys)
	if known && bytes.Equal(old.keys, fresh) {
		return
	}
	if known && !bytes.Equal(old.keys.Field("keys"), fresh.Field("keys")) {
		clearKeys(tx, b.User, b.Device)
	}
	tx.Set(deviceRow(b.User, b.Device, tableDevice), deviceKeys{tx.Place(), fresh}.encode())
	changed(tx, b.User, b.User, "")
}

// uploadOneTime stores the one-time keys that are new, counts them in s and reports whether there were any.
func uploadOneTime(tx *replica.Tx, b uploadBody, s summary) (bool, error) {
	const op = "keys.upload"
	touched := false
	for _, k := range b.OneTime {
		known := knownKey(b.User, b.Device, k.Algorithm, k.ID)
		sum := sumOf(k.Key)
		if v := tx.Get(known); v != nil {
			if !bytes.Equal(v, sum) {
				return false, errs.New(op, errs.Invalid, errs.InvalidParam,
					"the one-time key %s was uploaded before with another value", k.name())
			}
			continue
		}
		if s.counts[k.Algorithm] >= maxOneTime {
			return false, errs.New(op, errs.Invalid, errs.InvalidParam,
				"there are %d one-time keys of %s already", maxOneTime, k.Algorithm)
		}
		s.counts[k.Algorithm]++
		tx.Set(known, sum)
		tx.Set(oneTimeKey(b.User, b.Device, k.Algorithm, tx.Place()), append(kv.Str(nil, k.ID), k.Key...))
		touched = true
	}
	return touched, nil
}

// clearKeys removes one-time and fallback keys.
func clearKeys(tx *replica.Tx, user id.UserID, device id.DeviceID) {
	for _, table := range []byte{tableOneTime, tableKnown, tableFallback} {
		clearRows(tx, deviceRow(user, device, table))
	}
	tx.Delete(deviceRow(user, device, tableSummary))
	tx.Note(Counts{user, device})
}

// forgetBody says that devices are gone. At is where they went: a device of the same id that has come since, and has uploaded
// keys, is another one. Zero means now.
type forgetBody struct {
	User    id.UserID     `json:"user"`
	Devices []id.DeviceID `json:"devices"`
	At      replica.Place `json:"at,omitzero"`
}

// forget removes everything that is kept for devices.
func forget(tx *replica.Tx, b forgetBody) (any, error) {
	if b.At == (replica.Place{}) {
		b.At = tx.Place()
	}
	gone := false
	for _, device := range b.Devices {
		takeInbox(tx, b.User, device, b.At)
		d, known := readDevice(tx, b.User, device)
		if known && b.At.Before(d.at) {
			continue
		}
		clearKeys(tx, b.User, device)
		if known {
			tx.Delete(deviceRow(b.User, device, tableDevice))
			tx.Delete(signedKey(b.User, b.User, string(device)))
			gone = true
		}
	}
	if gone {
		changed(tx, b.User, b.User, "")
	}
	return nil, nil
}
