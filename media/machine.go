package media

import (
	"encoding/json"
	"fmt"

	"bongsu/blob"
	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// machineByte marks the rows of this package.
const machineByte = 'm'

// tableMedia holds, in the slot of the media id: media id -> record as JSON.
const tableMedia = 'm'

// record is what is known of a media id.
type record struct {
	User    id.UserID `json:"user"` // who uploaded or reserved it
	Type    string    `json:"type,omitempty"`
	Name    string    `json:"name,omitempty"`
	Size    int64     `json:"size,omitempty"`
	Hash    blob.Hash `json:"hash,omitempty"` // empty: reserved
	Created int64     `json:"created"`        // Unix milliseconds
}

func key(mediaID string) []byte {
	return kv.Str(replica.Row(id.SlotOf(mediaID), machineByte, tableMedia), mediaID)
}

func read(r kv.Reader, mediaID string) (rec record, ok bool) {
	v := r.Get(key(mediaID))
	if v == nil {
		return rec, false
	}
	rec, err := decode(v)
	if err != nil {
		panic(kv.Fault{Err: err})
	}
	return rec, true
}

func decode(row []byte) (rec record, err error) {
	if err := json.Unmarshal(row, &rec); err != nil {
		return rec, fmt.Errorf("media: malformed row: %w", err)
	}
	return rec, nil
}

// Added is the note on a media id that has got its content.
type Added struct{ Hash blob.Hash }

// The kinds of proposal.
const (
	kindReserve = "media.reserve"
	kindPut     = "media.put"
	kindExpire  = "media.expire" // of a timer
)

// reserved is how long a reserved id waits for its content, in milliseconds of the wall clock.
const reserved = 24 * 60 * 60 * 1000

// Machine is the state machine of media.
func Machine() replica.Machine {
	return replica.Machine{Name: "media", Byte: machineByte, Kinds: map[string]replica.Kind{
		kindReserve: {Apply: replica.JSON(reserve)},
		kindPut:     {Apply: replica.JSON(put)},
		kindExpire:  {Apply: replica.JSON(expire)},
	}}
}

type reserveBody struct {
	ID   string    `json:"id"`
	User id.UserID `json:"user"`
}

type reserveResult struct {
	Expires int64 `json:"expires"` // Unix milliseconds
}

func taken() error {
	return errs.New("media.put", errs.Conflict, "", "the media id is taken")
}

func reserve(tx *replica.Tx, b reserveBody) (any, error) {
	if _, ok := read(tx, b.ID); ok {
		return nil, taken()
	}
	tx.Set(key(b.ID), replica.Marshal(record{User: b.User, Created: tx.Wall()}))
	due := tx.Wall() + reserved
	tx.At(replica.Wall, due, kindExpire, replica.Marshal(expireBody{b.ID}))
	return reserveResult{due}, nil
}

type expireBody struct {
	ID string `json:"id"`
}

// expire frees a reserved id that got no content. The id is random: nobody will have it again.
func expire(tx *replica.Tx, b expireBody) (any, error) {
	if rec, ok := read(tx, b.ID); ok && rec.Hash == "" {
		tx.Delete(key(b.ID))
	}
	return nil, nil
}

type putBody struct {
	ID       string    `json:"id"`
	User     id.UserID `json:"user"`
	Reserved bool      `json:"reserved"` // the id was reserved before
	Type     string    `json:"type"`
	Name     string    `json:"name"`
	Size     int64     `json:"size"`
	Hash     blob.Hash `json:"hash"`
}

// put gives a media id its content. The repetition of an upload to a reserved id is accepted, if it is the same content.
func put(tx *replica.Tx, b putBody) (any, error) {
	rec, ok := read(tx, b.ID)
	switch {
	case !b.Reserved && ok:
		return nil, taken()
	case b.Reserved && rec.Hash == b.Hash && rec.User == b.User:
		return nil, nil
	case b.Reserved:
		if err := mayFill(rec, ok, b.User); err != nil {
			return nil, err
		}
	}
	tx.Set(key(b.ID), replica.Marshal(record{User: b.User, Type: b.Type, Name: b.Name, Size: b.Size, Hash: b.Hash, Created: tx.Wall()}))
	tx.Note(Added{b.Hash})
	return nil, nil
}

// mayFill says why user may not give the id of rec its content; nil: they may.
func mayFill(rec record, ok bool, user id.UserID) error {
	const op = "media.put"
	switch {
	case !ok:
		return errs.New(op, errs.NotFound, "", "there is no such media id, or it has expired")
	case rec.User != user:
		return errs.New(op, errs.Forbidden, "", "the media id was reserved by somebody else")
	case rec.Hash != "":
		return errs.New(op, errs.Conflict, errs.HasContent, "the media id has content already")
	}
	return nil
}
