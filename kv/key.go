package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// Keys are tuples whose bytes sort as the tuples do: numbers are big-endian, strings are escaped and ended.

// Str appends a string part: 0x00 becomes 0x00 0xff, and 0x00 0x01 ends it.
func Str[T ~string](key []byte, s T) []byte {
	for i := 0; i < len(s); i++ {
		key = append(key, s[i])
		if s[i] == 0 {
			key = append(key, 0xff)
		}
	}
	return append(key, 0, 1)
}

// U64 appends a 64-bit part.
func U64[T ~uint64 | ~int64](key []byte, n T) []byte {
	return binary.BigEndian.AppendUint64(key, uint64(n))
}

// U32 appends a 32-bit part.
func U32[T ~uint32](key []byte, n T) []byte { return binary.BigEndian.AppendUint32(key, uint32(n)) }

// U16 appends a 16-bit part.
func U16[T ~uint16](key []byte, n T) []byte { return binary.BigEndian.AppendUint16(key, uint16(n)) }

// End is the least key above every key that begins with prefix: Scan(prefix, End(prefix)) reads them all. It is nil (no bound)
// for a prefix of 0xff only.
func End(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}

// ErrKey is what Cut… report of a key that does not have the part.
var ErrKey = errors.New("kv: malformed key")

// CutStr takes a string part off the front of key.
func CutStr(key []byte) (s string, rest []byte, err error) {
	i := bytes.IndexByte(key, 0)
	if i >= 0 && i+1 < len(key) && key[i+1] == 1 {
		return string(key[:i]), key[i+2:], nil // nothing escaped: the usual case
	}
	var out []byte
	for {
		i := bytes.IndexByte(key, 0)
		if i < 0 || i+1 >= len(key) {
			return "", nil, ErrKey
		}
		out = append(out, key[:i]...)
		next := key[i+1]
		key = key[i+2:]
		switch next {
		case 1:
			return string(out), key, nil
		case 0xff:
			out = append(out, 0)
		default:
			return "", nil, ErrKey
		}
	}
}

// CutU64 takes a 64-bit part off the front of key.
func CutU64(key []byte) (n uint64, rest []byte, err error) {
	if len(key) < 8 {
		return 0, nil, ErrKey
	}
	return binary.BigEndian.Uint64(key), key[8:], nil
}

// CutU32 takes a 32-bit part off the front of key.
func CutU32(key []byte) (n uint32, rest []byte, err error) {
	if len(key) < 4 {
		return 0, nil, ErrKey
	}
	return binary.BigEndian.Uint32(key), key[4:], nil
}

// CutU16 takes a 16-bit part off the front of key.
func CutU16(key []byte) (n uint16, rest []byte, err error) {
	if len(key) < 2 {
		return 0, nil, ErrKey
	}
	return binary.BigEndian.Uint16(key), key[2:], nil
}
