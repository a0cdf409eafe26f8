package keys

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
)

// A key backup keeps the keys of encrypted rooms for a user, sealed with one that only the user's devices know. Each version is a backup
// of its own; the newest is the current one, and alone is written to. Specification: "Server-side key backups".

// BackupInfo is the body of room_keys/version.
type BackupInfo struct {
	Algorithm string          `json:"algorithm"`
	AuthData  json.RawMessage `json:"auth_data"`
}

// Backup is a version of a user's key backup.
type Backup struct {
	BackupInfo
	BackupState
	Version uint64 `json:"version,string"`
}

// Backup reads a version of a user's key backup, the current one for 0. Errors: NotFound.
func (k *Keys) Backup(user id.UserID, version uint64) (Backup, error) {
	view := k.cfg.Replica.View()
	defer view.Close()
	if version == 0 {
		version = currentBackup(view, user)
	}
	b, ok := readBackup(view, user, version)
	if !ok {
		return Backup{}, noBackup()
	}
	return Backup{BackupInfo{b.algorithm, b.auth}, b.state(), version}, nil
}

func (in BackupInfo) check() (event.Object, error) {
	const op = "keys.Backup"
	switch {
	case in.Algorithm == "":
		return nil, errs.New(op, errs.Invalid, errs.MissingParam, "algorithm is missing")
	case len(in.Algorithm) > id.MaxLen:
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "the algorithm's name is longer than %d bytes", id.MaxLen)
	case in.AuthData == nil:
		return nil, errs.New(op, errs.Invalid, errs.MissingParam, "auth_data is missing")
	}
	return parseObject("auth_data", in.AuthData)
}

// MakeBackup begins a new version of a user's key backup and returns its number. Errors: Invalid.
func (k *Keys) MakeBackup(ctx context.Context, user id.UserID, in BackupInfo) (uint64, error) {
	auth, err := in.check()
	if err != nil {
		return 0, err
	}
	var res versionResult
	err = k.propose(ctx, "keys.MakeBackup", user, kindMakeBackup, versionBody{User: user, Algorithm: in.Algorithm, Auth: json.RawMessage(auth)}, &res)
	return res.Version, err
}

// ChangeBackup changes the data, and nothing else, of a version. Errors: Invalid, NotFound.
func (k *Keys) ChangeBackup(ctx context.Context, user id.UserID, version uint64, in BackupInfo) error {
	auth, err := in.check()
	if err != nil {
		return err
	}
	return k.propose(ctx, "keys.ChangeBackup", user, kindChangeBackup,
		versionBody{User: user, Version: version, Algorithm: in.Algorithm, Auth: json.RawMessage(auth)}, nil)
}

// BackupKeys are keys of a backup, by room and session.
type BackupKeys map[id.RoomID]map[string]json.RawMessage

// putBytes is how much of a backup one proposal takes, in bytes; a single key may be larger than that.
const putBytes = 128 << 10

// PutBackup stores keys in a version, which must be the current one. A key that is there is replaced only by a better one. When
// it fails in between, some keys are stored; it may be repeated. Errors: Invalid; NotFound; Forbidden with WrongBackup.
func (k *Keys) PutBackup(ctx context.Context, user id.UserID, version uint64, in BackupKeys) (state BackupState, err error) {
	all, err := in.parse()
	if err != nil {
		return state, err
	}
	for first := true; first || len(all) > 0; first = false {
		n, size := 0, 0
		for n < len(all) && (n == 0 || size+len(all[n].Data) <= putBytes) {
			size += len(all[n].Data) + len(all[n].Room) + len(all[n].Session)
			n++
		}
		if err := k.propose(ctx, "keys.PutBackup", user, kindPutBackup, putBody{user, version, all[:n]}, &state); err != nil {
			return state, err
		}
		all = all[n:]
	}
	return state, nil
}

// parse checks keys and sorts them. Specification: KeyBackupData.
func (in BackupKeys) parse() ([]sessionBody, error) {
	const op = "keys.PutBackup"
	var all []sessionBody
	for room, sessions := range in {
		for session, raw := range sessions {
			if session == "" || len(session) > id.MaxLen {
				return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "a session's id has 1 to %d bytes", id.MaxLen)
			}
			data, err := parseObject("the key of session "+session, raw)
			if err != nil {
				return nil, err
			}
			var form struct {
				Verified  *bool           `json:"is_verified"`
				First     *int64          `json:"first_message_index"`
				Forwarded *int64          `json:"forwarded_count"`
				Data      json.RawMessage `json:"session_data"`
			}
			if json.Unmarshal(data, &form) != nil || form.Verified == nil || form.First == nil || form.Forwarded == nil ||
				len(form.Data) == 0 || form.Data[0] != '{' {
				return nil, errs.New(op, errs.Invalid, errs.BadJSON, "the key of session %s does not have the right shape", session)
			}
			all = append(all, sessionBody{sessionName{room, session}, json.RawMessage(data)})
		}
	}
	slices.SortFunc(all, func(a, b sessionBody) int {
		if c := strings.Compare(string(a.Room), string(b.Room)); c != 0 {
			return c
		}
		return strings.Compare(a.Session, b.Session)
	})
	return all, nil
}

// BackedUp reads the keys of a version; room and session, if they are not empty, choose among them. Errors: NotFound if there is no such
// version.
func (k *Keys) BackedUp(user id.UserID, version uint64, room id.RoomID, session string) (BackupKeys, error) {
	view := k.cfg.Replica.View()
	defer view.Close()
	if _, ok := readBackup(view, user, version); !ok {
		return nil, noBackup()
	}
	out := BackupKeys{}
	prefix := len(backupRows(user, version))
	lo, hi := sessionRange(user, version, sessionName{room, session})
	for key, data := range view.Scan(lo, hi) {
		in, rest := cutStr(key[prefix:])
		name, _ := cutStr(rest)
		if out[id.RoomID(in)] == nil {
			out[id.RoomID(in)] = map[string]json.RawMessage{}
		}
		out[id.RoomID(in)][name] = slices.Clone(data)
	}
	return out, nil
}

// DropBackup deletes keys of a version, chosen as by BackedUp. Errors: NotFound if there is no such version.
func (k *Keys) DropBackup(ctx context.Context, user id.UserID, version uint64, room id.RoomID, session string) (BackupState, error) {
	return k.drop(ctx, dropBody{User: user, Version: version, sessionName: sessionName{room, session}})
}

// DeleteBackup deletes a version and all keys in it; again, if need be. Errors: NotFound for one that never was.
func (k *Keys) DeleteBackup(ctx context.Context, user id.UserID, version uint64) error {
	_, err := k.drop(ctx, dropBody{User: user, Version: version, Whole: true})
	return err
}

func (k *Keys) drop(ctx context.Context, b dropBody) (BackupState, error) {
	for {
		var res dropResult
		if err := k.propose(ctx, "keys.DropBackup", b.User, kindDropBackup, b, &res); err != nil || !res.More {
			return res.BackupState, err
		}
	}
}

func backupKey(user id.UserID, version uint64) []byte { return kv.U64(row(user, tableBackup), version) }

// backupRows is what the keys of all sessions of a version begin with.
func backupRows(user id.UserID, version uint64) []byte {
	return kv.U64(row(user, tableSession), version)
}

func sessionKey(user id.UserID, version uint64, room id.RoomID, session string) []byte {
	return kv.Str(kv.Str(backupRows(user, version), room), session)
}

// sessionRange are the bounds of the rows of the keys that are meant.
func sessionRange(user id.UserID, version uint64, n sessionName) (lo, hi []byte) {
	lo = backupRows(user, version)
	if n.Room != "" {
		lo = kv.Str(lo, n.Room)
	}
	if n.Session != "" {
		lo = kv.Str(lo, n.Session)
	}
	return lo, kv.End(lo)
}
