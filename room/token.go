package room

import (
	"encoding/base64"
	"encoding/binary"

	"bongsu/errs"
	"bongsu/journal"
)

// PageToken stands for the gap right after place p in a room's timeline: paging forward from it begins with what comes after
// p, paging back with p itself. It begins with "p", as sync tokens begin with "s".
func PageToken(p Place) string {
	b := binary.AppendUvarint(nil, uint64(p.Pos))
	b = binary.AppendUvarint(b, uint64(p.Index))
	return "p" + base64.RawURLEncoding.EncodeToString(b)
}

// ParsePageToken reads a PageToken. Errors are of kind Invalid with InvalidParam.
func ParsePageToken(s string) (Place, error) {
	bad := errs.New("room.ParsePageToken", errs.Invalid, errs.InvalidParam, "the page token is malformed")
	if s == "" || s[0] != 'p' {
		return Place{}, bad
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s[1:])
	if err != nil {
		return Place{}, bad
	}
	pos, n := binary.Uvarint(b)
	if n <= 0 {
		return Place{}, bad
	}
	index, m := binary.Uvarint(b[n:])
	p := Place{Pos: journal.Position(pos), Index: uint32(index)}
	if m <= 0 || n+m != len(b) || index > 1<<32-1 || PageToken(p) != s {
		return Place{}, bad
	}
	return p, nil
}
