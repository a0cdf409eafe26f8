package pushrule

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"bongsu/event"
	"bongsu/id"
)

// Message is an event that rulesets are asked about, one after the other. What they look up in it is decoded once.
type Message struct {
	Event   *event.Event
	Members int64 // joined members of the room
	// MayNotify reports whether the sender's power level allows the kind of notification that key names ("room"); nil: no.
	MayNotify func(key string) bool

	values map[string]value
}

// value is what stands at a path.
type value struct {
	raw  []byte // canonical JSON; nil if there is nothing
	text string // lower-cased
	str  bool   // it is a string
}

// Reader is whose rules are asked.
type Reader struct {
	User id.UserID
	Name func() string // the display name in the room; nil: none
}

// Verdict is what the rules say.
type Verdict struct {
	Notify    bool
	Highlight bool
	Actions   []json.RawMessage // of the rule that matched
	Rule      string            // its id; empty if none did
}

// Match asks the rules about a message. What the reader sent is never notified.
func (s *Set) Match(m *Message, who Reader) Verdict {
	if m.Event.Sender == who.User {
		return Verdict{}
	}
	for i := range s.rules {
		r := &s.rules[i]
		if r.matches(m, who) {
			return Verdict{Notify: r.notify, Highlight: r.notify && r.highlight, Actions: r.actions, Rule: r.id}
		}
	}
	return Verdict{}
}

func (r *rule) matches(m *Message, who Reader) bool {
	for i := range r.tests {
		if !r.tests[i].holds(m, who) {
			return false
		}
	}
	return true
}

func (t *test) holds(m *Message, who Reader) bool {
	switch t.op {
	case opGlob:
		v := m.value(&t.path)
		return v.str && t.glob.whole(v.text)
	case opMe:
		v := m.value(&t.path)
		return v.str && v.text == strings.ToLower(string(who.User))
	case opWords:
		v := m.value(&t.path)
		return v.str && t.glob.words(v.text)
	case opIs:
		return bytes.Equal(m.value(&t.path).raw, t.value)
	case opContains, opContainsMe:
		for e := range event.Elements(m.value(&t.path).raw) {
			if t.op == opContains && bytes.Equal(e, t.value) {
				return true
			}
			if t.op == opContainsMe {
				if s, ok := event.Text(e); ok && s == string(who.User) {
					return true
				}
			}
		}
		return false
	case opName:
		if who.Name == nil {
			return false
		}
		v := m.value(&t.path)
		return v.str && containsWords(v.text, strings.ToLower(who.Name()))
	case opMembers:
		return t.members(m.Members)
	case opMayNotify:
		return m.MayNotify != nil && m.MayNotify(t.path.key)
	case opRoom:
		return string(m.Event.RoomID) == t.path.key
	case opSender:
		return string(m.Event.Sender) == t.path.key
	}
	return false // opNever
}

func (t *test) members(n int64) bool {
	switch t.cmp {
	case "<":
		return n < t.n
	case "<=":
		return n <= t.n
	case ">":
		return n > t.n
	case ">=":
		return n >= t.n
	}
	return n == t.n
}

// value looks up a path of the event.
func (m *Message) value(p *path) value {
	if v, ok := m.values[p.key]; ok {
		return v
	}
	v := m.lookup(p.parts)
	if m.values == nil {
		m.values = make(map[string]value, 8)
	}
	m.values[p.key] = v
	return v
}

func (m *Message) lookup(parts []string) value {
	ev := m.Event
	if len(parts) == 1 {
		switch parts[0] {
		case "type":
			return text(ev.Type)
		case "sender":
			return text(string(ev.Sender))
		case "room_id":
			return text(string(ev.RoomID))
		case "event_id":
			return text(string(ev.ID))
		case "state_key":
			if ev.StateKey != nil {
				return text(*ev.StateKey)
			}
		case "redacts":
			if ev.Redacts != "" {
				return text(string(ev.Redacts))
			}
		case "origin_server_ts":
			return value{raw: strconv.AppendInt(nil, ev.OriginServerTS, 10)}
		}
		return value{}
	}
	if parts[0] != "content" {
		return value{}
	}
	raw := []byte(ev.Content)
	for _, key := range parts[1:] {
		if raw = event.Object(raw).Field(key); raw == nil {
			return value{}
		}
	}
	v := value{raw: raw}
	if s, ok := event.Text(raw); ok {
		v.text, v.str = strings.ToLower(s), true
	}
	return v
}

func text(s string) value {
	return value{raw: event.AppendString(nil, s), text: strings.ToLower(s), str: true}
}
