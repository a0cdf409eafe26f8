package event

import (
	"slices"
	"strconv"

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

// Check reports whether in is one JSON value, as strictly as Canonical but for numbers: it takes every number
// below 1e308, which a 64-bit float can hold, since request bodies and account data may have fractions. Errors are those of Canonical.
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
