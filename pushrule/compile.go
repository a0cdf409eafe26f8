package pushrule

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"bongsu/event"
	"bongsu/id"
)

// Set is a ruleset made ready for evaluation.
type Set struct {
	rules []rule // enabled ones, the most important first
}

type rule struct {
	id                string
	tests             []test
	notify, highlight bool
	actions           []json.RawMessage
}

// test is a condition.
type test struct {
	op    op
	path  path   // where to look; the key of opMayNotify, the id of opRoom and opSender
	glob  glob   // of opGlob, opWords
	value []byte // canonical; of opIs, opContains
	cmp   string // of opMembers, with n
	n     int64
}

type op byte

const (
	opNever op = iota // a condition that is not known
	opGlob
	opWords
	opMe // the value is the reader's id
	opIs
	opContains
	opContainsMe // the array has the reader's id
	opName
	opMembers
	opMayNotify
	opRoom
	opSender
)

// condition is the JSON of one.
type condition struct {
	Kind    string          `json:"kind"`
	Key     string          `json:"key"`
	Pattern string          `json:"pattern"`
	Is      string          `json:"is"`
	Value   json.RawMessage `json:"value"`
}

// tweak is the JSON of an action that is an object.
type tweak struct {
	Set   string `json:"set_tweak"`
	Value any    `json:"value"`
}

// path is a property path, taken apart.
type path struct {
	key   string // as written
	parts []string
}

// Compile makes a ruleset ready. Conditions on the owner's own id become conditions on the id of whoever asks: so the
// compiled defaults of one user serve all who have not changed them.
func Compile(rs *Ruleset, owner id.UserID) *Set {
	s := &Set{}
	for _, k := range kinds {
		for _, r := range *rs.list(k) {
			if !r.Enabled {
				continue
			}
			c := rule{id: r.ID, actions: r.Actions}
			c.notify, c.highlight = effect(r.Actions)
			switch k {
			case Content:
				c.tests = []test{{op: opWords, path: newPath("content.body"), glob: newGlob(r.Pattern)}}
			case Room:
				c.tests = []test{{op: opRoom, path: path{key: r.ID}}}
			case Sender:
				c.tests = []test{{op: opSender, path: path{key: r.ID}}}
			default:
				for _, raw := range r.Conditions {
					c.tests = append(c.tests, newTest(raw, owner))
				}
			}
			s.rules = append(s.rules, c)
		}
	}
	return s
}

// effect reads the actions that the server itself cares about.
func effect(actions []json.RawMessage) (notify, highlight bool) {
	for _, raw := range actions {
		var t tweak
		switch {
		case string(raw) == `"notify"`:
			notify = true
		case json.Unmarshal(raw, &t) == nil && t.Set == "highlight":
			highlight = t.Value == nil || t.Value == true
		}
	}
	return notify, highlight
}

var memberCount = regexp.MustCompile(`^(==|<|>|<=|>=)?([0-9]{1,15})$`)

func newTest(raw json.RawMessage, owner id.UserID) test {
	var c condition
	if json.Unmarshal(raw, &c) != nil {
		return test{}
	}
	t := test{path: newPath(c.Key)}
	switch c.Kind {
	case "event_match":
		t.op, t.glob = opGlob, newGlob(c.Pattern)
		switch {
		case c.Key == "content.body":
			t.op = opWords
		case c.Pattern == string(owner) && t.glob.plain:
			t.op = opMe
		}
	case "event_property_is", "event_property_contains":
		v, err := event.Canonical(nil, c.Value)
		if err != nil || v[0] == '{' || v[0] == '[' {
			return test{}
		}
		t.op, t.value = opIs, v
		if c.Kind == "event_property_contains" {
			t.op = opContains
			if s, ok := event.Text(v); ok && s == string(owner) {
				t.op = opContainsMe
			}
		}
	case "contains_display_name":
		t.op, t.path = opName, newPath("content.body")
	case "room_member_count":
		m := memberCount.FindStringSubmatch(c.Is)
		if m == nil {
			return test{}
		}
		t.op, t.cmp = opMembers, m[1]
		t.n, _ = strconv.ParseInt(m[2], 10, 64)
	case "sender_notification_permission":
		t.op, t.path = opMayNotify, path{key: c.Key}
	}
	return t
}

// newPath takes a dot-separated property path apart. Source: appendices, "Dot-separated property paths".
func newPath(key string) path {
	p := path{key: key}
	var part strings.Builder
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case c == '.':
			p.parts = append(p.parts, part.String())
			part.Reset()
		case c == '\\' && i+1 < len(key) && (key[i+1] == '.' || key[i+1] == '\\'):
			i++
			part.WriteByte(key[i])
		default:
			part.WriteByte(c)
		}
	}
	p.parts = append(p.parts, part.String())
	return p
}
