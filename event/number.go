package event

import (
	"bytes"
	"strconv"
)

// number reads a number; the next byte is a digit or a minus.
func (r *reader) number() error {
	start := r.pos
	if r.in[r.pos] == '-' {
		r.pos++
	}
	intStart := r.pos
	n := r.digits()
	if n == 0 || n > 1 && r.in[intStart] == '0' {
		r.pos = start
		return r.notJSON("malformed number")
	}
	intEnd := r.pos
	var frac []byte
	if r.pos < len(r.in) && r.in[r.pos] == '.' {
		r.pos++
		if n := r.digits(); n == 0 {
			return r.notJSON("no digits after the decimal point")
		}
		frac = r.in[intEnd+1 : r.pos]
	}
	exp, hasExp, err := r.exponent()
	if err != nil {
		return err
	}
	d := decimal{neg: intStart > start, int: r.in[intStart:intEnd], frac: frac, exp: exp}
	if !r.emit {
		if d.magnitude() >= 308 { // a little below the largest float
			return r.bad("number out of range")
		}
		return nil
	}
	if frac == nil && !hasExp && n <= 15 {
		r.out = d.appendShort(r.out)
		return nil
	}
	v, what := d.integer()
	if what != "" {
		return r.bad(what)
	}
	r.out = strconv.AppendInt(r.out, v, 10)
	return nil
}

func (r *reader) digits() int {
	start := r.pos
	for r.pos < len(r.in) && '0' <= r.in[r.pos] && r.in[r.pos] <= '9' {
		r.pos++
	}
	return r.pos - start
}

// maxExp is where exponents saturate: far beyond any number that is allowed, and far from overflow.
const maxExp = 1 << 30

func (r *reader) exponent() (exp int, ok bool, err error) {
	if r.pos >= len(r.in) || r.in[r.pos]|0x20 != 'e' {
		return 0, false, nil
	}
	r.pos++
	neg := false
	if r.pos < len(r.in) && (r.in[r.pos] == '-' || r.in[r.pos] == '+') {
		neg = r.in[r.pos] == '-'
		r.pos++
	}
	start := r.pos
	if r.digits() == 0 {
		return 0, false, r.notJSON("no digits in the exponent")
	}
	for _, c := range r.in[start:r.pos] {
		if exp = exp*10 + int(c-'0'); exp > maxExp {
			exp = maxExp
		}
	}
	if neg {
		exp = -exp
	}
	return exp, true, nil
}

// decimal is a number as written: int.frac × 10^exp.
type decimal struct {
	neg       bool
	int, frac []byte
	exp       int
}

// appendShort writes an integer of few digits, which needs no check of its range.
func (d decimal) appendShort(dst []byte) []byte {
	if d.neg && d.int[0] != '0' {
		dst = append(dst, '-')
	}
	return append(dst, d.int...)
}

// magnitude is the power of ten that d is below 10 times of: 2 for 123, -1 for 0.1. Zero has the lowest magnitude.
func (d decimal) magnitude() int {
	if i := bytes.IndexFunc(d.int, notZero); i >= 0 {
		return len(d.int) - i - 1 + d.exp
	}
	if i := bytes.IndexFunc(d.frac, notZero); i >= 0 {
		return d.exp - i - 1
	}
	return -maxExp
}

func notZero(c rune) bool { return c != '0' }

// integer is the value of d, or what is wrong with it.
func (d decimal) integer() (v int64, what string) {
	all := append(append(make([]byte, 0, 32), d.int...), d.frac...)
	exp := d.exp - len(d.frac)
	digits := bytes.TrimLeft(all, "0")
	if len(digits) == 0 {
		return 0, ""
	}
	trimmed := bytes.TrimRight(digits, "0")
	exp += len(digits) - len(trimmed)
	if exp < 0 {
		return 0, "number with a fraction"
	}
	const outOfRange = "integer beyond ±(2^53-1)"
	if len(trimmed)+exp > 16 {
		return 0, outOfRange
	}
	for _, c := range trimmed {
		v = v*10 + int64(c-'0')
	}
	for range exp {
		v *= 10
	}
	if v > MaxInt {
		return 0, outOfRange
	}
	if d.neg {
		v = -v
	}
	return v, ""
}
