package feed

import (
	"strconv"

	"bongsu/event"
)

// writer puts JSON together by hand: most of an answer is bytes that are JSON already. A comma is owed wherever the last byte does
// not open something.
type writer struct {
	b   []byte
	out int // bytes that were there before b, and have been handed out
}

func (w *writer) comma() {
	switch w.b[len(w.b)-1] {
	case '{', '[', ':':
	default:
		w.b = append(w.b, ',')
	}
}

// key begins a member whose name needs no escaping; open is what its value begins with, or "".
func (w *writer) key(name, open string) {
	w.comma()
	w.b = append(append(append(append(w.b, '"'), name...), `":`...), open...)
}

// name begins a member whose name may be anything.
func (w *writer) name(name, open string) {
	w.comma()
	w.b = append(append(event.AppendString(w.b, name), ':'), open...)
}

// elem begins an element of an array.
func (w *writer) elem() { w.comma() }

func (w *writer) str(s string)    { w.b = event.AppendString(w.b, s) }
func (w *writer) int(n int64)     { w.b = strconv.AppendInt(w.b, n, 10) }
func (w *writer) raw(v []byte)    { w.b = append(w.b, v...) }
func (w *writer) close(s string)  { w.b = append(w.b, s...) }
func (w *writer) mark() int       { return w.out + len(w.b) }
func (w *writer) back(mark int)   { w.b = w.b[:mark-w.out] } // not behind what was handed out
func (w *writer) grown(m int) int { return w.mark() - m }

// spill hands out all but the last byte, which says whether a comma is owed. It reports what to says.
func (w *writer) spill(to func([]byte) bool) bool {
	n := len(w.b) - 1
	ok := to(w.b[:n])
	w.b[0] = w.b[n]
	w.b, w.out = w.b[:1], w.out+n
	return ok
}

// section writes a member of an object and what fill puts into it, or nothing if that is nothing. It reports whether there was
// something.
func (w *writer) section(name, open, end string, fill func()) bool {
	mark := w.mark()
	w.key(name, open)
	inside := w.mark()
	fill()
	if w.grown(inside) == 0 {
		w.back(mark)
		return false
	}
	w.close(end)
	return true
}

// events is section for {"events":[…]}.
func (w *writer) events(name string, fill func()) bool {
	return w.section(name, `{"events":[`, `]}`, fill)
}
