package bench

import (
	"bytes"
	"encoding/json"
	"errors"
)

// A syncView is what the generator needs of a /sync response. Its slices point into the response.
type syncView struct {
	nextBatch []byte
	rooms     []roomView // joined rooms
	events    []eventView
}

// A roomView is one joined room of a /sync response; its timeline is events[first:last] of the syncView.
type roomView struct {
	id          []byte
	limited     bool
	prevBatch   []byte
	first, last int
}

// An eventView is one timeline event: its id, and content.body when that is a string.
type eventView struct {
	id, body []byte
}

// A pageView is what the generator needs of a /messages response.
type pageView struct {
	end    []byte // empty when there is nothing more
	events []eventView
}

var errScan = errors.New("malformed JSON")

// scanSync reads a /sync response into v, whose slices are reused.
func scanSync(b []byte, v *syncView) error {
	v.nextBatch, v.rooms, v.events = nil, v.rooms[:0], v.events[:0]
	s := scanner{b: b}
	for key := range s.object {
		switch string(key) {
		case "next_batch":
			v.nextBatch = s.text()
		case "rooms":
			for key := range s.object {
				if string(key) != "join" {
					s.skip()
					continue
				}
				for id := range s.object {
					v.rooms = append(v.rooms, s.room(id, v))
				}
			}
		default:
			s.skip()
		}
	}
	if s.err == nil && len(v.nextBatch) == 0 {
		return errors.New("a sync response without next_batch")
	}
	return s.err
}

// scanMessages reads a /messages response into v, whose slices are reused.
func scanMessages(b []byte, v *pageView) error {
	v.end, v.events = nil, v.events[:0]
	s := scanner{b: b}
	for key := range s.object {
		switch string(key) {
		case "end":
			v.end = s.text()
		case "chunk":
			v.events = s.events(v.events)
		default:
			s.skip()
		}
	}
	return s.err
}

func (s *scanner) room(id []byte, v *syncView) roomView {
	r := roomView{id: id, first: len(v.events)}
	for key := range s.object {
		if string(key) != "timeline" {
			s.skip()
			continue
		}
		for key := range s.object {
			switch string(key) {
			case "events":
				v.events = s.events(v.events)
			case "limited":
				r.limited = s.peek() == 't'
				s.skip()
			case "prev_batch":
				r.prevBatch = s.text()
			default:
				s.skip()
			}
		}
	}
	r.last = len(v.events)
	return r
}

func (s *scanner) events(out []eventView) []eventView {
	for range s.array {
		var e eventView
		for key := range s.object {
			switch string(key) {
			case "event_id":
				e.id = s.text()
			case "content":
				for key := range s.object {
					if string(key) == "body" {
						e.body = s.text()
					} else {
						s.skip()
					}
				}
			default:
				s.skip()
			}
		}
		out = append(out, e)
	}
	return out
}

// A scanner walks over JSON and decodes nothing but the strings that are asked for. It reads every valid JSON text
// right (in invalid UTF-8 and duplicate keys it takes what it finds) and may accept some texts that are not valid; it
// never reads past the end. The first error sticks and ends every loop.
//
// encoding/json takes eight times as long for the same fields and allocates (BenchmarkScanSync), and a sync loop of the
// generator has to cost little beside the server's.
type scanner struct {
	b   []byte
	i   int
	err error
}

func (s *scanner) fail() { s.err, s.i = errScan, len(s.b) }

// peek is the next byte that is not space, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// take consumes the byte c if it is next.
func (s *scanner) take(c byte) bool {
	if s.peek() == c {
		s.i++
		return true
	}
	return false
}

// object yields the keys of an object; the loop's body must consume the value. Any other value is skipped.
func (s *scanner) object(yield func(key []byte) bool) {
	if s.peek() != '{' {
		s.skip()
		return
	}
	s.i++
	if s.take('}') {
		return
	}
	for s.err == nil {
		key := s.str()
		if s.err == nil && !s.take(':') {
			s.fail()
		}
		if s.err != nil || !yield(key) || s.take('}') {
			return
		}
		if !s.take(',') {
			s.fail()
		}
	}
}

// array yields once for each element of an array; the loop's body must consume it. Any other value is skipped.
func (s *scanner) array(yield func() bool) {
	if s.peek() != '[' {
		s.skip()
		return
	}
	s.i++
	if s.take(']') {
		return
	}
	for s.err == nil {
		if !yield() || s.take(']') {
			return
		}
		if !s.take(',') {
			s.fail()
		}
	}
}

// text is the value of a string; any other value is skipped and gives nil.
func (s *scanner) text() []byte {
	if s.peek() == '"' {
		return s.str()
	}
	s.skip()
	return nil
}

// str reads a string: a piece of the input, or a copy if it has escapes.
func (s *scanner) str() []byte {
	if s.peek() != '"' {
		s.fail()
		return nil
	}
	start := s.i
	s.skipString()
	if s.err != nil {
		return nil
	}
	raw := s.b[start+1 : s.i-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	var decoded string
	if err := json.Unmarshal(s.b[start:s.i], &decoded); err != nil {
		s.fail()
		return nil
	}
	return []byte(decoded)
}

// skipString goes from the opening quote past the closing one.
func (s *scanner) skipString() {
	start := s.i + 1
	for at := start; ; {
		n := bytes.IndexByte(s.b[at:], '"')
		if n < 0 {
			s.fail()
			return
		}
		at += n + 1
		end := at - 1
		for end > start && s.b[end-1] == '\\' {
			end--
		}
		if (at-1-end)%2 == 0 { // an odd number of backslashes escapes the quote
			s.i = at
			return
		}
	}
}

// skip passes over one value of any kind and depth.
func (s *scanner) skip() {
	if s.err != nil {
		return
	}
	depth := 0
	for s.peek() != 0 {
		switch s.b[s.i] {
		case '"':
			s.skipString()
		case '{', '[':
			depth++
			s.i++
		case '}', ']':
			if depth--; depth < 0 {
				s.fail()
				return
			}
			s.i++
		case ',', ':':
			if depth == 0 {
				s.fail()
				return
			}
			s.i++
		default:
			s.skipLiteral()
		}
		if depth == 0 {
			return
		}
	}
	s.fail()
}

// skipLiteral passes over a number, true, false or null.
func (s *scanner) skipLiteral() {
	for ; s.i < len(s.b); s.i++ {
		switch s.b[s.i] {
		case ',', ':', '}', ']', '{', '[', '"', ' ', '\t', '\n', '\r', 0:
			if s.b[s.i] == 0 {
				s.fail()
			}
			return
		}
	}
}
