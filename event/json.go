package event

import (
	"bytes"
	"slices"
	"strconv"
	"unicode/utf8"

	"bongsu/errs"
)

// MaxDepth is the deepest nesting of arrays and objects that is accepted. Events pass through parsers of other people that
// stop at 128 levels, wrapped in up to a dozen levels of response; 100 leaves room for the wrapping, and no real event
// comes near.
const MaxDepth = 100

// MaxInt is the largest integer in canonical JSON, 2^53-1; the smallest is its negative.
const MaxInt = 1<<53 - 1

// Canonical appends the canonical form of the JSON value in to dst and returns the extended slice: no white space, keys
// sorted by code point, the shortest escapes, integers only. in and dst must not overlap. On an error the result is dst as
// it was.
//
// Numbers are taken by value: -0 becomes 0, and 1e10 or 1.0 become 10000000000 and 1, since they are integers; 1.5 and
// integers beyond ±MaxInt are refused. The arithmetic is on decimal digits, never on floats. The character NUL is legal as
// the escape \u0000 and stays one.
//
// Errors are of kind Invalid: NotJSON for what is not JSON in UTF-8, BadJSON for JSON that Matrix does not allow
// (fractions, numbers out of range, a key twice in one object, half of a surrogate pair, more than MaxDepth levels).
//
// Source: appendices, "Canonical JSON".
func Canonical(dst, in []byte) ([]byte, error) {
	r := reader{op: "event.Canonical", in: in, out: dst, emit: true}
	var space [32]member
	r.members = space[:0]
	if err := r.document(); err != nil {
		return dst, err
	}
	return r.out, nil
}

// Check reports whether in is one JSON value, as strictly as Canonical but for numbers: it takes every number that a
// 64-bit float can hold, since request bodies and account data may have fractions. Errors are those of Canonical.
func Check(in []byte) error {
	r := reader{op: "event.Check", in: in}
	var space [32]member
	r.members = space[:0]
	return r.document()
}

// reader reads JSON once from left to right; with emit it writes the canonical form as it goes.
type reader struct {
	op      string
	in      []byte
	pos     int
	emit    bool
	out     []byte
	depth   int
	members []member // of the objects being read, innermost last
}

// member is one key and value of an object: offsets into out when emitting, else into in. The key has its quotes.
type member struct{ key, keyEnd, end int }

func (r *reader) notJSON(what string) error {
	return errs.New(r.op, errs.Invalid, errs.NotJSON, "not JSON: %s at byte %d", what, r.pos)
}

func (r *reader) bad(what string) error {
	return errs.New(r.op, errs.Invalid, errs.BadJSON, "JSON not allowed: %s at byte %d", what, r.pos)
}

func (r *reader) write(c byte) {
	if r.emit {
		r.out = append(r.out, c)
	}
}

// at is the position of the next byte in the buffer that members point into.
func (r *reader) at() int {
	if r.emit {
		return len(r.out)
	}
	return r.pos
}

func (r *reader) key(m member) []byte {
	if r.emit {
		return r.out[m.key:m.keyEnd]
	}
	return r.in[m.key:m.keyEnd]
}

// next skips white space and returns the byte that follows, or 0 at the end.
func (r *reader) next() byte {
	for ; r.pos < len(r.in); r.pos++ {
		switch c := r.in[r.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (r *reader) document() error {
	if err := r.value(); err != nil {
		return err
	}
	if r.next(); r.pos < len(r.in) {
		return r.notJSON("something after the value")
	}
	return nil
}

func (r *reader) value() error {
	switch c := r.next(); {
	case c == '"':
		return r.text()
	case c == '{' || c == '[':
		return r.nested(c)
	case c == '-' || '0' <= c && c <= '9':
		return r.number()
	case c == 't':
		return r.word("true")
	case c == 'f':
		return r.word("false")
	case c == 'n':
		return r.word("null")
	case r.pos >= len(r.in):
		return r.notJSON("the end")
	}
	return r.notJSON("unexpected character")
}

func (r *reader) nested(open byte) (err error) {
	if r.depth++; r.depth > MaxDepth {
		return r.bad("nesting deeper than " + strconv.Itoa(MaxDepth))
	}
	if open == '{' {
		err = r.object()
	} else {
		err = r.array()
	}
	r.depth--
	return err
}

func (r *reader) word(w string) error {
	if len(r.in)-r.pos < len(w) || string(r.in[r.pos:r.pos+len(w)]) != w {
		return r.notJSON("unexpected word")
	}
	r.pos += len(w)
	if r.emit {
		r.out = append(r.out, w...)
	}
	return nil
}

func (r *reader) array() error {
	r.pos++
	r.write('[')
	if r.next() == ']' {
		r.pos++
		r.write(']')
		return nil
	}
	for {
		if err := r.value(); err != nil {
			return err
		}
		switch r.next() {
		case ',':
			r.pos++
			r.write(',')
		case ']':
			r.pos++
			r.write(']')
			return nil
		default:
			return r.notJSON("no comma or ] after a value")
		}
	}
}

func (r *reader) object() error {
	r.pos++
	start := r.at()
	base := len(r.members)
	r.write('{')
	if r.next() == '}' {
		r.pos++
		r.write('}')
		return nil
	}
	sorted := true
	for {
		m, err := r.member()
		if err != nil {
			return err
		}
		if n := len(r.members); n > base && sorted {
			sorted = compareKeys(r.key(r.members[n-1]), r.key(m)) < 0
		}
		r.members = append(r.members, m)
		switch r.next() {
		case ',':
			r.pos++
			r.write(',')
		case '}':
			r.pos++
			if !sorted {
				if err := r.sort(start, r.members[base:]); err != nil {
					return err
				}
			}
			r.write('}')
			r.members = r.members[:base]
			return nil
		default:
			return r.notJSON("no comma or } after a member")
		}
	}
}

func (r *reader) member() (m member, err error) {
	if r.next() != '"' {
		return m, r.notJSON("no key")
	}
	m.key = r.at()
	if err := r.text(); err != nil {
		return m, err
	}
	m.keyEnd = r.at()
	if r.next() != ':' {
		return m, r.notJSON("no colon after a key")
	}
	r.pos++
	r.write(':')
	if err := r.value(); err != nil {
		return m, err
	}
	m.end = r.at()
	return m, nil
}

// sort refuses a key that occurs twice and, when emitting, puts the members that were written from start on in order.
func (r *reader) sort(start int, ms []member) error {
	slices.SortFunc(ms, func(a, b member) int { return compareKeys(r.key(a), r.key(b)) })
	for i := 1; i < len(ms); i++ {
		if compareKeys(r.key(ms[i-1]), r.key(ms[i])) == 0 {
			return r.bad("a key twice in the object that ends")
		}
	}
	if !r.emit {
		return nil
	}
	// The sorted copy is made behind the members and moved over them, so that no second buffer is needed.
	from := len(r.out)
	r.out = append(r.out, '{')
	for i, m := range ms {
		if i > 0 {
			r.out = append(r.out, ',')
		}
		r.out = append(r.out, r.out[m.key:m.end]...)
	}
	n := copy(r.out[start:], r.out[from:])
	r.out = r.out[:start+n]
	return nil
}

// text reads a string; the next byte is its opening quote.
func (r *reader) text() error {
	r.pos++
	r.write('"')
	run := r.pos
	for r.pos < len(r.in) {
		switch c := r.in[r.pos]; {
		case c == '"':
			if r.emit {
				r.out = append(r.out, r.in[run:r.pos]...)
				r.out = append(r.out, '"')
			}
			r.pos++
			return nil
		case c == '\\':
			if r.emit {
				r.out = append(r.out, r.in[run:r.pos]...)
			}
			if err := r.escape(); err != nil {
				return err
			}
			run = r.pos
		case c < 0x20:
			return r.notJSON("control character in a string")
		case c < utf8.RuneSelf:
			r.pos++
		default:
			_, n := utf8.DecodeRune(r.in[r.pos:])
			if n == 1 {
				return r.notJSON("invalid UTF-8")
			}
			r.pos += n
		}
	}
	return r.notJSON("string without end")
}

func (r *reader) escape() error {
	c, n := unescape(r.in[r.pos:])
	switch {
	case n == 0:
		return r.notJSON("unknown escape")
	case c == lone:
		return r.bad("half of a surrogate pair")
	}
	if r.emit {
		r.out = appendRune(r.out, c)
	}
	r.pos += n
	return nil
}

// lone is what unescape returns for half of a surrogate pair.
const lone rune = -1

// unescape reads the escape at the start of b and returns its character and length; the length is 0 if it is none.
func unescape(b []byte) (rune, int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/':
		return rune(b[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		return unescapeHex(b)
	}
	return 0, 0
}

func unescapeHex(b []byte) (rune, int) {
	hi, ok := hex4(b)
	switch {
	case !ok:
		return 0, 0
	case hi < 0xd800 || hi > 0xdfff:
		return hi, 6
	case hi > 0xdbff || len(b) < 12 || b[6] != '\\' || b[7] != 'u':
		return lone, 6
	}
	lo, ok := hex4(b[6:])
	if !ok || lo < 0xdc00 || lo > 0xdfff {
		return lone, 6
	}
	return 0x10000 + (hi-0xd800)<<10 + (lo - 0xdc00), 12
}

// hex4 reads the four digits after "\u".
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 {
		return 0, false
	}
	var v rune
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			v = v<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// appendRune writes one character of a canonical string.
func appendRune(dst []byte, c rune) []byte {
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', byte(c))
	case c >= 0x20:
		return utf8.AppendRune(dst, c)
	}
	if i := bytes.IndexByte([]byte("\b\f\n\r\t"), byte(c)); i >= 0 {
		return append(dst, '\\', "bfnrt"[i])
	}
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
}

// compareKeys orders two JSON strings, with their quotes, by the code points that they stand for.
func compareKeys(a, b []byte) int {
	if bytes.IndexByte(a, '\\') < 0 && bytes.IndexByte(b, '\\') < 0 {
		// Without the quotes: a key goes before another that it begins.
		return bytes.Compare(a[1:len(a)-1], b[1:len(b)-1])
	}
	a, b = a[1:len(a)-1], b[1:len(b)-1]
	for len(a) > 0 && len(b) > 0 {
		x, n := decode(a)
		y, m := decode(b)
		if x != y {
			return int(x - y)
		}
		a, b = a[n:], b[m:]
	}
	return len(a) - len(b)
}

// decode returns the first character of the inside of a JSON string and its length in bytes, at least 1.
func decode(b []byte) (rune, int) {
	if b[0] == '\\' {
		if c, n := unescape(b); n > 0 {
			return c, n
		}
	}
	return utf8.DecodeRune(b)
}

// AppendString writes s as a canonical JSON string. s must be valid UTF-8; what is not is written as U+FFFD.
func AppendString[T ~string](dst []byte, s T) []byte {
	dst = append(dst, '"')
	run := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		dst = append(dst, s[run:i]...)
		r, n := utf8.DecodeRuneInString(string(s[i:]))
		dst = appendRune(dst, r)
		i += n
		run = i
	}
	dst = append(dst, s[run:]...)
	return append(dst, '"')
}
