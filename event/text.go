package event

import (
	"bytes"
	"unicode/utf8"
)

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
