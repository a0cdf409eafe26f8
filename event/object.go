package event

import (
	"bytes"
	"iter"
	"strings"
	"unicode/utf8"

	"bongsu/errs"
)

// Object is a canonical JSON object, as Canonical writes it. Its methods find single members without decoding the rest;
// on anything that is not a canonical object they find nothing.
type Object []byte

// ParseObject is the canonical form of in, which must be a JSON object. Errors are those of Canonical, and Invalid with
// BadJSON if in is not an object.
func ParseObject(in []byte) (Object, error) {
	o, err := Canonical(make([]byte, 0, len(in)), in)
	if err != nil {
		return nil, err
	}
	if o[0] != '{' {
		return nil, errs.New("event.ParseObject", errs.Invalid, errs.BadJSON, "the JSON is not an object")
	}
	return o, nil
}

// MarshalJSON returns o itself, so that an Object can stand in a struct that is encoded.
func (o Object) MarshalJSON() ([]byte, error) {
	if len(o) == 0 {
		return []byte("null"), nil
	}
	return o, nil
}

// Field is the JSON value of a key, or nil.
func (o Object) Field(key string) []byte {
	c := members(o)
	for c.next() {
		if equalKey(o[c.key:c.keyEnd], key) {
			return o[c.val:c.end:c.end]
		}
	}
	return nil
}

// Has reports whether there is a member with this key.
func (o Object) Has(key string) bool { return o.Field(key) != nil }

// String is the value of a key that is a string; ok is false if there is no such key or it is not a string.
func (o Object) String(key string) (s string, ok bool) { return Text(o.Field(key)) }

// Int is the value of a key that is an integer; ok is false if there is no such key or it is not an integer.
func (o Object) Int(key string) (n int64, ok bool) { return Integer(o.Field(key)) }

// Object is the value of a key that is an object, or nil.
func (o Object) Object(key string) Object {
	v := o.Field(key)
	if len(v) == 0 || v[0] != '{' {
		return nil
	}
	return Object(v)
}

// All yields the keys and the JSON values in order.
func (o Object) All() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		c := members(o)
		for c.next() {
			key, ok := Text(o[c.key:c.keyEnd])
			if !ok || !yield(key, o[c.val:c.end:c.end]) {
				return
			}
		}
	}
}

// With is o with the member key set to value, which must be canonical JSON. o stays as it is.
func (o Object) With(key string, value []byte) Object {
	dst := make(Object, 0, len(o)+len(key)+len(value)+4)
	dst = append(dst, '{')
	quoted := AppendString(nil, key)
	put := func(k, v []byte) {
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, k...), ':'), v...)
	}
	done := false
	c := members(o)
	for c.next() {
		k := o[c.key:c.keyEnd]
		order := compareKeys(k, quoted)
		if order >= 0 && !done {
			put(quoted, value)
			done = true
		}
		if order != 0 {
			put(k, o[c.val:c.end])
		}
	}
	if !done {
		put(quoted, value)
	}
	return append(dst, '}')
}

// Without is a copy of o without the members of these keys.
func (o Object) Without(keys ...string) Object {
	dst := append(make(Object, 0, len(o)+2), '{')
	c := members(o)
next:
	for c.next() {
		for _, k := range keys {
			if equalKey(o[c.key:c.keyEnd], k) {
				continue next
			}
		}
		dst = appendMember(dst, o[c.key:c.end])
	}
	return append(dst, '}')
}

// appendMember appends a member, key with value, to the open object that ends dst.
func appendMember(dst, m []byte) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(dst, m...)
}

// Elements yields the JSON values of a canonical array in order, and nothing if it is none.
func Elements(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if len(array) < 2 || array[0] != '[' {
			return
		}
		for i := 1; i < len(array) && array[i] != ']'; {
			end := skip(array, i)
			if end < 0 || !yield(array[i:end:end]) {
				return
			}
			if i = end; i < len(array) && array[i] == ',' {
				i++
			}
		}
	}
}

// Text decodes a canonical JSON string; ok is false if v is none.
func Text(v []byte) (s string, ok bool) {
	if len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' {
		return "", false
	}
	v = v[1 : len(v)-1]
	if bytes.IndexByte(v, '\\') < 0 {
		return string(v), true
	}
	var b strings.Builder
	b.Grow(len(v))
	for len(v) > 0 {
		c, n := decode(v)
		b.WriteRune(c)
		v = v[n:]
	}
	return b.String(), true
}

// Integer decodes a canonical JSON integer; ok is false if v is none.
func Integer(v []byte) (n int64, ok bool) {
	neg := len(v) > 0 && v[0] == '-'
	if neg {
		v = v[1:]
	}
	if len(v) == 0 || len(v) > 16 || len(v) > 1 && v[0] == '0' {
		return 0, false
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if n > MaxInt {
		return 0, false
	}
	if neg {
		n = -n
	}
	return n, true
}

// cursor goes over the members of a canonical object; the fields are offsets into it, the key's with its quotes.
type cursor struct {
	b           []byte
	pos         int
	key, keyEnd int
	val, end    int
}

func members(o []byte) cursor {
	if len(o) < 2 || o[0] != '{' {
		return cursor{}
	}
	return cursor{b: o, pos: 1}
}

func (c *cursor) next() bool {
	if c.pos >= len(c.b) || c.b[c.pos] != '"' {
		return false
	}
	c.key = c.pos
	c.keyEnd = skipText(c.b, c.pos)
	if c.keyEnd < 0 || c.keyEnd >= len(c.b) || c.b[c.keyEnd] != ':' {
		return false
	}
	c.val = c.keyEnd + 1
	if c.end = skip(c.b, c.val); c.end < 0 || c.end >= len(c.b) {
		return false
	}
	c.pos = c.end + 1 // behind the comma, or behind the closing brace
	return true
}

func equalKey(quoted []byte, key string) bool {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1:len(quoted)-1]) == key
	}
	s, _ := Text(quoted)
	return s == key
}

// skip returns the end of the canonical value that begins at i, or -1.
func skip(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return skipText(b, i)
	case '{', '[':
		return skipNested(b, i)
	}
	start := i
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

func skipNested(b []byte, i int) int {
	for depth := 0; i < len(b); {
		switch b[i] {
		case '"':
			if i = skipText(b, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}

func skipText(b []byte, i int) int {
	for i++; i < len(b); {
		j := bytes.IndexByte(b[i:], '"')
		if j < 0 {
			return -1
		}
		end := i + j
		n := 0 // backslashes before the quote: an odd number escapes it
		for end-n > i && b[end-n-1] == '\\' {
			n++
		}
		if i = end + 1; n%2 == 0 {
			return i
		}
	}
	return -1
}

// validText reports whether s can stand in a PDU: valid UTF-8 of at most 255 bytes.
func validText(s string) bool { return len(s) <= maxField && utf8.ValidString(s) }
