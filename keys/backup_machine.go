package keys

import (
	"bytes"
	"encoding/json"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// backup is what is known of one version of a user's key backup, beside the keys in it.
type backup struct {
	count, etag uint64 // keys, and changes of them
	algorithm   string
	auth        json.RawMessage // auth_data, canonical
}

func decodeBackup(v []byte) (b backup) {
	var err error
	if b.count, v, err = kv.CutU64(v); err == nil {
		b.etag, v, err = kv.CutU64(v)
	}
	if err != nil {
		broken("key backup")
	}
	b.algorithm, v = cutStr(v)
	b.auth = v
	return b
}

func (b backup) encode() []byte {
	return append(kv.Str(kv.U64(kv.U64(nil, b.count), b.etag), b.algorithm), b.auth...)
}

func readBackup(r kv.Reader, user id.UserID, version uint64) (backup, bool) {
	v := r.Get(backupKey(user, version))
	if v == nil {
		return backup{}, false
	}
	return decodeBackup(bytes.Clone(v)), true
}

// currentBackup is the newest version that was not deleted, 0 if there is none.
func currentBackup(r kv.Reader, user id.UserID) (version uint64) {
	prefix := row(user, tableBackup)
	for k := range r.ScanBack(prefix, kv.End(prefix)) {
		version, _, err := kv.CutU64(k[len(prefix):])
		if err != nil {
			broken("key backup")
		}
		return version
	}
	return 0
}

// lastBackup is the newest version that there ever was, 0 if there was none.
func lastBackup(r kv.Reader, user id.UserID) uint64 {
	v := r.Get(row(user, tableBackups))
	if v == nil {
		return 0
	}
	n, _, err := kv.CutU64(v)
	if err != nil {
		broken("key backups")
	}
	return n
}

func noBackup() error {
	return errs.New("keys.Backup", errs.NotFound, "", "there is no such key backup")
}

// versionBody is a version of a backup, made or changed.
type versionBody struct {
	User      id.UserID       `json:"user"`
	Version   uint64          `json:"version,omitempty"` // 0: a new one
	Algorithm string          `json:"algorithm"`
	Auth      json.RawMessage `json:"auth"`
}

type versionResult struct {
	Version uint64 `json:"version"`
}

// makeBackup begins a new version, which is the current one from then on. What is in older ones stays until they are deleted.
func makeBackup(tx *replica.Tx, b versionBody) (any, error) {
	version := lastBackup(tx, b.User) + 1
	tx.Set(row(b.User, tableBackups), kv.U64(nil, version))
	tx.Set(backupKey(b.User, version), backup{algorithm: b.Algorithm, auth: b.Auth}.encode())
	return versionResult{version}, nil
}

// changeBackup changes the data of a version; its algorithm stays what it is.
func changeBackup(tx *replica.Tx, b versionBody) (any, error) {
	have, ok := readBackup(tx, b.User, b.Version)
	if !ok {
		return nil, noBackup()
	}
	if have.algorithm != b.Algorithm {
		return nil, errs.New("keys.ChangeBackup", errs.Invalid, errs.InvalidParam, "the algorithm of a backup cannot change")
	}
	have.auth = b.Auth
	tx.Set(backupKey(b.User, b.Version), have.encode())
	return nil, nil //nolint:nilnil // there is nothing to say
}

// sessionName says which keys of a backup are meant.
type sessionName struct {
	Room    id.RoomID `json:"room,omitempty"`    // empty: of all rooms
	Session string    `json:"session,omitempty"` // empty: of all sessions of the room
}

// sessionBody is one key of a backup.
type sessionBody struct {
	sessionName
	Data json.RawMessage `json:"data"` // canonical
}

type putBody struct {
	User    id.UserID     `json:"user"`
	Version uint64        `json:"version"`
	Keys    []sessionBody `json:"keys"`
}

// BackupState says how much there is in a backup. Etag is another one after each change.
type BackupState struct {
	Count uint64 `json:"count"`
	Etag  uint64 `json:"etag,string"`
}

func (b backup) state() BackupState { return BackupState{b.count, b.etag} }

// putBackup stores keys in the current version. A key that is there gives way only to a better one.
func putBackup(tx *replica.Tx, b putBody) (any, error) {
	have, ok := readBackup(tx, b.User, b.Version)
	current := currentBackup(tx, b.User)
	switch {
	case current == 0 || b.Version > lastBackup(tx, b.User):
		return nil, noBackup()
	case !ok || b.Version != current:
		return nil, errs.New("keys.PutBackup", errs.Forbidden, errs.WrongBackup, "this is not the current version of the key backup")
	}
	changed := false
	for _, k := range b.Keys {
		key := sessionKey(b.User, b.Version, k.Room, k.Session)
		old := tx.Get(key)
		if old != nil && !better(event.Object(k.Data), old) {
			continue
		}
		if old == nil {
			have.count++
		}
		tx.Set(key, k.Data)
		changed = true
	}
	if changed {
		have.etag++
		tx.Set(backupKey(b.User, b.Version), have.encode())
	}
	return have.state(), nil
}

// better reports whether a key should take the place of an old one. Specification: "Backup key data", Server behaviour.
func better(fresh, old event.Object) bool {
	f, o := quality(fresh), quality(old)
	switch {
	case f.Verified != o.Verified:
		return f.Verified
	case f.First != o.First:
		return f.First < o.First
	}
	return f.Forwarded < o.Forwarded
}

// keyQuality is what keys for the same session are compared by.
type keyQuality struct {
	Verified  bool  `json:"is_verified"`
	First     int64 `json:"first_message_index"`
	Forwarded int64 `json:"forwarded_count"`
}

func quality(data []byte) (q keyQuality) {
	if err := json.Unmarshal(data, &q); err != nil {
		broken("key of a backup")
	}
	return q
}

// maxDrop is how many keys one proposal deletes: a backup can hold more than should be deleted at once.
const maxDrop = 2000

type dropBody struct {
	User    id.UserID `json:"user"`
	Version uint64    `json:"version"`
	sessionName
	Whole bool `json:"whole,omitempty"` // the version, too, with the last of its keys
}

type dropResult struct {
	BackupState
	More bool `json:"more,omitempty"` // there are further keys to be deleted
}

// dropBackup deletes keys of a version, or all of it. A version that was deleted before is deleted again without complaint.
func dropBackup(tx *replica.Tx, b dropBody) (any, error) {
	have, ok := readBackup(tx, b.User, b.Version)
	switch {
	case !ok && b.Whole && 0 < b.Version && b.Version <= lastBackup(tx, b.User):
		return dropResult{}, nil
	case !ok:
		return nil, noBackup()
	}
	var gone [][]byte
	more := false
	lo, hi := sessionRange(b.User, b.Version, b.sessionName)
	for k := range tx.Scan(lo, hi) {
		if more = len(gone) == maxDrop; more {
			break
		}
		gone = append(gone, bytes.Clone(k))
	}
	for _, k := range gone {
		tx.Delete(k)
	}
	have.count -= uint64(len(gone))
	switch {
	case b.Whole && !more:
		tx.Delete(backupKey(b.User, b.Version))
	case len(gone) > 0:
		have.etag++
		tx.Set(backupKey(b.User, b.Version), have.encode())
	}
	return dropResult{have.state(), more}, nil
}
