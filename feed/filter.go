package feed

import (
	"encoding/json"
	"slices"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
)

const (
	defaultLimit = 20  // events of a timeline
	maxLimit     = 100 // whatever a filter says
	maxFilter    = 64 << 10
)

// Filter is what a client wants to be told. event_fields is not looked at (a server may send more than is wanted), nor is
// event_format: events are always in the clients' format. Source: client-server API, "Filtering".
type Filter struct {
	AccountData EventFilter `json:"account_data"`
	Presence    EventFilter `json:"presence"`
	Room        RoomFilter  `json:"room"`
}

// RoomFilter is the part about rooms.
type RoomFilter struct {
	Rooms        []id.RoomID `json:"rooms"` // nil: all
	NotRooms     []id.RoomID `json:"not_rooms"`
	IncludeLeave bool        `json:"include_leave"`
	Timeline     EventFilter `json:"timeline"`
	State        EventFilter `json:"state"`
	Ephemeral    EventFilter `json:"ephemeral"`
	AccountData  EventFilter `json:"account_data"`
}

// EventFilter chooses events.
type EventFilter struct {
	Limit       *int        `json:"limit"`
	Types       []string    `json:"types"` // nil: all; * is any text
	NotTypes    []string    `json:"not_types"`
	Senders     []id.UserID `json:"senders"` // nil: all
	NotSenders  []id.UserID `json:"not_senders"`
	Rooms       []id.RoomID `json:"rooms"` // nil: all
	NotRooms    []id.RoomID `json:"not_rooms"`
	ContainsURL *bool       `json:"contains_url"`
	LazyMembers bool        `json:"lazy_load_members"`
}

// ParseFilter reads a filter. Errors are of kind Invalid.
func ParseFilter(data []byte) (*Filter, error) {
	const op = "feed.ParseFilter"
	if len(data) > maxFilter {
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "the filter is larger than %d bytes", maxFilter)
	}
	if err := event.Check(data); err != nil {
		return nil, errs.Wrap(op, err)
	}
	f := &Filter{}
	if err := json.Unmarshal(data, f); err != nil {
		return nil, &errs.Error{Op: op, Kind: errs.Invalid, Code: errs.BadJSON, Message: "this is not a filter", Err: err}
	}
	for _, ef := range []*EventFilter{&f.AccountData, &f.Presence, &f.Room.Timeline, &f.Room.State, &f.Room.Ephemeral, &f.Room.AccountData} {
		if ef.Limit != nil && *ef.Limit < 0 {
			return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "a filter's limit is negative")
		}
	}
	return f, nil
}

// limit is how many events of a timeline are wanted at once.
func (f *EventFilter) limit() int {
	if f.Limit == nil {
		return defaultLimit
	}
	return min(*f.Limit, maxLimit)
}

// all reports whether every event passes, so that none needs to be looked at.
func (f *EventFilter) all() bool {
	return f.Types == nil && len(f.NotTypes) == 0 && f.Senders == nil && len(f.NotSenders) == 0 && f.ContainsURL == nil
}

// passes reports whether an event is wanted.
func (f *EventFilter) passes(ev *event.Event) bool {
	if f.all() {
		return true
	}
	if !f.typ(ev.Type) || slices.Contains(f.NotSenders, ev.Sender) || f.Senders != nil && !slices.Contains(f.Senders, ev.Sender) {
		return false
	}
	return f.ContainsURL == nil || *f.ContainsURL == ev.Content.Has("url")
}

// typ reports whether events of a type are wanted.
func (f *EventFilter) typ(t string) bool {
	is := func(p string) bool { return matchType(p, t) }
	return !slices.ContainsFunc(f.NotTypes, is) && (f.Types == nil || slices.ContainsFunc(f.Types, is))
}

// room reports whether events of a room are wanted.
func (f *EventFilter) room(r id.RoomID) bool { return wanted(r, f.Rooms, f.NotRooms) }

func (f *RoomFilter) room(r id.RoomID) bool { return wanted(r, f.Rooms, f.NotRooms) }

func wanted(r id.RoomID, only, not []id.RoomID) bool {
	return !slices.Contains(not, r) && (only == nil || slices.Contains(only, r))
}

// matchType reports whether pattern, in which * is any text, matches all of s.
func matchType(pattern, s string) bool {
	p, i, star, retry := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0: // the last star takes one more
			retry++
			p, i = star+1, retry
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
