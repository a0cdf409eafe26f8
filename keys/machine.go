package keys

import (
	"bytes"

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

	kindMakeBackup   = "keys.make_backup"
	kindChangeBackup = "keys.change_backup"
	kindPutBackup    = "keys.put_backup"
	kindDropBackup   = "keys.drop_backup"
)

// sinceBackups is the rules version from which on there are key backups.
const sinceBackups = 3

// Machine is the state machine of keys.
func Machine() replica.Machine {
	return replica.Machine{Name: "keys", Byte: machineByte, Renew: renew, Kinds: map[string]replica.Kind{
		kindUpload:  {Apply: replica.JSON(upload)},
		kindClaim:   {Apply: replica.JSON(claim)},
		kindForget:  {Apply: replica.JSON(forget)},
		kindSend:    {Apply: replica.JSON(send)},
		kindDeliver: {Apply: replica.JSON(deliver)},
		kindAcked:   {Apply: replica.JSON(acked)},
		kindCross:   {Apply: replica.JSON(cross)},
		kindSign:    {Apply: replica.JSON(sign)},

		kindMakeBackup:   {Since: sinceBackups, Apply: replica.JSON(makeBackup)},
		kindChangeBackup: {Since: sinceBackups, Apply: replica.JSON(changeBackup)},
		kindPutBackup:    {Since: sinceBackups, Apply: replica.JSON(putBackup)},
		kindDropBackup:   {Since: sinceBackups, Apply: replica.JSON(dropBackup)},
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
