package account

import (
	"bytes"
	"encoding/json"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// MaxProfile is the most bytes of a profile: its fields' names and values.
const MaxProfile = 64 << 10

type profileBody struct {
	User  id.UserID       `json:"user"`
	Field string          `json:"field"`
	Value json.RawMessage `json:"value,omitempty"` // absent: the field is removed
}

func setProfile(tx *replica.Tx, b profileBody) ([]byte, error) {
	const op = "account.SetProfile"
	if _, err := find(tx, op, b.User); err != nil {
		return nil, err
	}
	key := profileKey(b.User, b.Field)
	old := tx.Get(key)
	if old == nil && b.Value == nil || old != nil && bytes.Equal(old, b.Value) {
		return nil, nil
	}
	if b.Field == Displayname || b.Field == AvatarURL {
		owe(tx, b.User)
	}
	if b.Field == Displayname {
		rename(tx, b.User, text(old), text(b.Value))
	}
	if b.Value == nil {
		tx.Delete(key)
		return changed, nil
	}
	tx.Set(key, bytes.Clone(b.Value))
	size := 0
	prefix := row(b.User, tableProfile)
	for k, v := range tx.Scan(prefix, kv.End(prefix)) {
		size += len(k) - len(prefix) + len(v)
	}
	if size > MaxProfile {
		return nil, errs.New(op, errs.Invalid, errs.ProfileTooLarge, "the profile would be larger than %d bytes", MaxProfile)
	}
	return changed, nil
}

// place is a replica.Place in a body.
type place struct {
	Pos   uint64 `json:"pos"`
	Index uint32 `json:"index"`
}

type dataBody struct {
	User    id.UserID       `json:"user"`
	Room    id.RoomID       `json:"room,omitempty"`
	Type    string          `json:"type"`
	Content json.RawMessage `json:"content"`
	// If demands that the entry was last changed there; all zero that there is none. Absent: whatever is there is replaced.
	If *place `json:"if,omitempty"`
}

// moved refuses an edit of what has been edited by somebody else meanwhile; the service reads again and repeats it.
func moved() error {
	return errs.New("account.EditData", errs.Conflict, "", "it has been changed by another device at the same time")
}

func setData(tx *replica.Tx, b dataBody) ([]byte, error) {
	if _, err := find(tx, "account.SetData", b.User); err != nil {
		return nil, err
	}
	old, ok := Data(tx, b.User, b.Room, b.Type)
	if at := old.Place; b.If != nil && *b.If != (place{uint64(at.Pos), at.Index}) {
		return nil, moved()
	}
	if ok && bytes.Equal(old.Content, b.Content) {
		return nil, nil
	}
	putData(tx, b.User, b.Room, b.Type, b.Content)
	return changed, nil
}

// putData makes a piece of account data what it is to be.
func putData(tx *replica.Tx, user id.UserID, room id.RoomID, typ string, content json.RawMessage) {
	if old, ok := Data(tx, user, room, typ); ok {
		tx.Delete(placeKey(user, old.Place))
	}
	at := tx.Place()
	tx.Set(dataKey(user, room, typ), append(at.Append(nil), content...))
	tx.Set(placeKey(user, at), kv.Str(kv.Str(nil, room), typ))
	tx.Note(Changed{user})
}

type filterBody struct {
	User   id.UserID       `json:"user"`
	ID     string          `json:"id"` // from the filter's content
	Filter json.RawMessage `json:"filter"`
}

func defineFilter(tx *replica.Tx, b filterBody) ([]byte, error) {
	if _, err := find(tx, "account.DefineFilter", b.User); err != nil {
		return nil, err
	}
	tx.Set(filterKey(b.User, b.ID), bytes.Clone(b.Filter))
	return nil, nil
}
