// Package id holds the identifiers of Matrix as types, parsed once at the edge, and the slot that an identifier hashes to.
//
// Invariant: a value of one of these types that came from Parse… is well formed: at most 255 bytes, valid UTF-8, no NUL
// or other control characters.
//
// Grammar: Matrix specification, appendices, "Identifier Grammar".
package id

import (
	"crypto/sha256"
	"strings"
	"unicode/utf8"

	"bongsu/errs"
)

// The identifiers. Each carries its sigil: "@amy:example.org", "!abc", "$def", "#lobby:example.org".
type (
	UserID     string
	RoomID     string
	EventID    string
	RoomAlias  string
	DeviceID   string
	ServerName string
)

// MaxLen is the longest identifier, in bytes, with sigil and server name.
const MaxLen = 255

func check(op, what, s string, sigil byte) error {
	switch {
	case s == "" || s[0] != sigil:
		return errs.New(op, errs.Invalid, errs.InvalidParam, "%s must begin with %q", what, string(sigil))
	case len(s) > MaxLen:
		return errs.New(op, errs.Invalid, errs.InvalidParam, "%s is longer than %d bytes", what, MaxLen)
	case !clean(s):
		return errs.New(op, errs.Invalid, errs.InvalidParam, "%s has characters that are not allowed", what)
	}
	return nil
}

// clean reports whether s is valid UTF-8 without control characters.
func clean(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return false
		}
	}
	return true
}

// ParseUserID reads "@localpart:server". It takes historical localparts (any printable character but a colon); NewUserID is
// the strict form for new accounts.
func ParseUserID(s string) (UserID, error) {
	const op = "id.ParseUserID"
	if err := check(op, "a user id", s, '@'); err != nil {
		return "", err
	}
	local, server, ok := strings.Cut(s[1:], ":")
	if !ok || local == "" || server == "" {
		return "", errs.New(op, errs.Invalid, errs.InvalidParam, "a user id is @name:server")
	}
	if _, err := ParseServerName(server); err != nil {
		return "", err
	}
	return UserID(s), nil
}

// NewUserID makes the id of a new account: localpart of a-z, 0-9 and "._=-/+", not empty.
func NewUserID(localpart string, server ServerName) (UserID, error) {
	const op = "id.NewUserID"
	bad := func(format string, args ...any) (UserID, error) {
		return "", errs.New(op, errs.Invalid, errs.InvalidUsername, format, args...)
	}
	if localpart == "" {
		return bad("the user name is empty")
	}
	for _, c := range []byte(localpart) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("._=-/+", c) >= 0) {
			return bad("a user name may have a-z, 0-9 and . _ = - / + only")
		}
	}
	u := "@" + localpart + ":" + string(server)
	if len(u) > MaxLen {
		return bad("the user name is too long")
	}
	return UserID(u), nil
}

// Localpart is what stands between "@" and the first colon.
func (u UserID) Localpart() string {
	l, _, _ := strings.Cut(strings.TrimPrefix(string(u), "@"), ":")
	return l
}

// Server is what stands after the first colon.
func (u UserID) Server() ServerName {
	_, s, _ := strings.Cut(string(u), ":")
	return ServerName(s)
}

// ParseRoomID reads a room id: "!opaque:server" up to room version 11, "!hash" from version 12 on.
func ParseRoomID(s string) (RoomID, error) {
	if err := check("id.ParseRoomID", "a room id", s, '!'); err != nil {
		return "", err
	}
	if len(s) == 1 {
		return "", errs.New("id.ParseRoomID", errs.Invalid, errs.InvalidParam, "a room id is not just \"!\"")
	}
	return RoomID(s), nil
}

// ParseEventID reads "$hash".
func ParseEventID(s string) (EventID, error) {
	if err := check("id.ParseEventID", "an event id", s, '$'); err != nil {
		return "", err
	}
	if len(s) == 1 {
		return "", errs.New("id.ParseEventID", errs.Invalid, errs.InvalidParam, "an event id is not just \"$\"")
	}
	return EventID(s), nil
}

// ParseRoomAlias reads "#name:server".
func ParseRoomAlias(s string) (RoomAlias, error) {
	const op = "id.ParseRoomAlias"
	if err := check(op, "a room alias", s, '#'); err != nil {
		return "", err
	}
	local, server, ok := strings.Cut(s[1:], ":")
	if !ok || local == "" || server == "" {
		return "", errs.New(op, errs.Invalid, errs.InvalidParam, "a room alias is #name:server")
	}
	if _, err := ParseServerName(server); err != nil {
		return "", err
	}
	return RoomAlias(s), nil
}

// Server is what stands after the first colon.
func (a RoomAlias) Server() ServerName {
	_, s, _ := strings.Cut(string(a), ":")
	return ServerName(s)
}

// ParseDeviceID reads a device id: 1 to 255 bytes without control characters.
func ParseDeviceID(s string) (DeviceID, error) {
	if s == "" || len(s) > MaxLen || !clean(s) {
		return "", errs.New("id.ParseDeviceID", errs.Invalid, errs.InvalidParam, "a device id has 1 to 255 printable characters")
	}
	return DeviceID(s), nil
}

// maxServerName is the longest server name, in bytes, with its port.
const maxServerName = 230

// ParseServerName reads "host", "host:port" or "[v6]:port".
func ParseServerName(s string) (ServerName, error) {
	host, port := s, ""
	v6 := strings.HasPrefix(s, "[")
	if v6 {
		end := strings.IndexByte(s, ']')
		host, port = s[1:max(end, 1)], s[end+1:]
	} else if i := strings.IndexByte(s, ':'); i >= 0 {
		host, port = s[:i], s[i:]
	}
	ok := hostname(host)
	if v6 {
		ok = len(host) >= 2 && len(host) <= 45 && only(host, func(c byte) bool {
			return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' || c == ':' || c == '.'
		})
	}
	if port != "" {
		ok = ok && port[0] == ':' && len(port) >= 2 && len(port) <= 6 && only(port[1:], func(c byte) bool { return '0' <= c && c <= '9' })
	}
	if !ok || len(s) > maxServerName {
		return "", errs.New("id.ParseServerName", errs.Invalid, errs.InvalidParam, "%.100q is not a server name", s)
	}
	return ServerName(s), nil
}

func hostname(s string) bool {
	return s != "" && only(s, func(c byte) bool {
		return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '.'
	})
}

// only reports whether all bytes of s are ones that ok takes.
func only(s string, ok func(byte) bool) bool {
	for _, c := range []byte(s) {
		if !ok(c) {
			return false
		}
	}
	return true
}

// Slots is the number of slots that identifiers hash to. It never changes.
const Slots = 4096

// Slot is the hash of an identifier, 0 to Slots-1. All rows of a room, a user, an alias live in its slot, and a journal
// record maps slots to partitions.
type Slot uint16

// SlotOf is the first twelve bits of SHA-256 of the identifier with its sigil.
func SlotOf[T ~string](s T) Slot {
	h := sha256.Sum256([]byte(s))
	return Slot(h[0])<<4 | Slot(h[1])>>4
}
