package keys

import (
	"bytes"
	"encoding/json"
	"fmt"

	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// The kinds of proposal. Bodies are the JSON of the structs beside the handlers; user JSON in them is canonical.
const (
	kindUpload  = "keys.upload"
	kindClaim   = "keys.claim"
	kindForget  = "keys.forget" // sent by package account
	kindSend    = "keys.send"
	kindDeliver = "keys.deliver" // sent by keys.send
	kindAcked   = "keys.acked"
	kindCross   = "keys.cross"
	kindSign    = "keys.sign"
)

// Machine is the state machine of keys.
func Machine() replica.Machine {
	return replica.Machine{Name: "keys", Byte: machineByte, Kinds: map[string]replica.Kind{
		kindUpload:  {Apply: handle(upload)},
		kindClaim:   {Apply: handle(claim)},
		kindForget:  {Apply: handle(forget)},
		kindSend:    {Apply: handle(send)},
		kindDeliver: {Apply: handle(deliver)},
		kindAcked:   {Apply: handle(acked)},
		kindCross:   {Apply: handle(cross)},
		kindSign:    {Apply: handle(sign)},
	}}
}

// What subscribers are told after a commit.
type (
	// DeviceListChanged says that others must look at User's devices and keys again; with a Viewer, that one alone.
	DeviceListChanged struct{ User, Viewer id.UserID }
	// ToDevice says that messages have arrived for a device.
	ToDevice struct {
		User   id.UserID
		Device id.DeviceID
	}
	// Counts says that the one-time or fallback keys of a device have become more or fewer.
	Counts struct {
		User   id.UserID
		Device id.DeviceID
	}
)

// handle makes a Handler of a function of a decoded body. A nil result is an empty one.
func handle[T any](f func(*replica.Tx, T) (any, error)) replica.Handler {
	return func(tx *replica.Tx, body []byte) ([]byte, error) {
		var in T
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, fmt.Errorf("keys: body: %w", err)
		}
		out, err := f(tx, in)
		if err != nil || out == nil {
			return nil, err
		}
		return marshal(out), nil
	}
}

// marshal is the JSON of our own types. Raw JSON in them stays as it is, which json.Marshal would not grant.
func marshal(v any) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // a type of ours that cannot be encoded
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// changed enters a change of user's device list, to be seen by viewer alone or, if that is empty, by everybody. The user has one
// entry, at the place of the last change: whoever looks from an earlier place finds it.
func changed(tx *replica.Tx, owner, user, viewer id.UserID) {
	key := changeKey(owner, user, viewer)
	if v := tx.Get(key); v != nil {
		old, _ := cutPlace(v)
		tx.Delete(changesKey(tx.Partition(), old))
	}
	at := tx.Place()
	tx.Set(key, at.Append(nil))
	tx.Set(changesKey(tx.Partition(), at), kv.Str(kv.Str(nil, user), viewer))
	tx.Note(DeviceListChanged{user, viewer})
}

// clearRows deletes all rows whose key begins with prefix.
func clearRows(tx *replica.Tx, prefix []byte) (n int) {
	return deleteRange(tx, prefix, kv.End(prefix))
}

// deleteRange deletes the rows with lo <= key < hi, and says how many there were.
func deleteRange(tx *replica.Tx, lo, hi []byte) int {
	var gone [][]byte
	for k := range tx.Scan(lo, hi) {
		gone = append(gone, bytes.Clone(k))
	}
	for _, k := range gone {
		tx.Delete(k)
	}
	return len(gone)
}
