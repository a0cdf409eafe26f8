// Package filter says which events a client wants: in /sync, in /messages and wherever else the specification takes a filter.
//
// Invariant: a filter that was parsed has limits that are not negative, and choosing never fails.
//
// Limits: 64 KiB. event_fields is not looked at (a server may send more than is wanted), nor is event_format: events are
// always in the clients' format. Source: client-server API, "Filtering".
package filter

import (
	"encoding/json"
	"slices"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
)

// maxSize is the largest filter, in bytes.
const maxSize = 64 << 10

// Filter is what a client wants to be told by /sync. Source: defineFilter.
type Filter struct {
	Format      string `json:"event_format"` // checked, and not followed
	AccountData Events `json:"account_data"`
	Presence    Events `json:"presence"`
	Room        Rooms  `json:"room"`
}

// Rooms is the part about rooms.
type Rooms struct {
	Rooms        []id.RoomID `json:"rooms"` // nil: all
	NotRooms     []id.RoomID `json:"not_rooms"`
	IncludeLeave bool        `json:"include_leave"`
	Timeline     Events      `json:"timeline"`
	State        Events      `json:"state"`
	Ephemeral    Events      `json:"ephemeral"`
	AccountData  Events      `json:"account_data"`
}

// Events chooses events.
type Events struct {
	Limit       *int        `json:"limit"`
	Types       []string    `json:"types"` // nil: all; * is any text
	NotTypes    []string    `json:"not_types"`
	Senders     []id.UserID `json:"senders"` // nil: all
	NotSenders  []id.UserID `json:"not_senders"`
	Rooms       []id.RoomID `json:"rooms"` // nil: all
	NotRooms    []id.RoomID `json:"not_rooms"`
	ContainsURL *bool       `json:"contains_url"`
	LazyMembers bool        `json:"lazy_load_members"`
	Redundant   bool        `json:"include_redundant_members"` // with LazyMembers: those too that were sent before
	ByThread    bool        `json:"unread_thread_notifications"`

	// Events that others relate to: by one of these relations, from one of these senders; empty: any. Whoever reads rooms looks at
	// them. Source: MSC3440; no longer in the specification, and still sent by clients.
	RelatedByTypes   []string    `json:"related_by_rel_types"`
	RelatedBySenders []id.UserID `json:"related_by_senders"`
}

// Parse reads a filter. Errors are of kind Invalid, and TooLarge.
func Parse(data []byte) (*Filter, error) {
	f := &Filter{}
	if err := read(data, f); err != nil {
		return nil, err
	}
	if f.Format != "" && f.Format != "client" && f.Format != "federation" {
		return nil, errs.New("filter.Parse", errs.Invalid, errs.BadJSON, "event_format is client or federation")
	}
	for _, part := range f.parts() {
		if err := part.check(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *Filter) parts() []*Events {
	return []*Events{&f.AccountData, &f.Presence, &f.Room.Timeline, &f.Room.State, &f.Room.Ephemeral, &f.Room.AccountData}
}

// CheckIDs says which of the users and rooms that a filter names cannot be one: a new filter must not name such, one that was kept may.
// Errors are of kind Invalid.
func (f *Filter) CheckIDs() error {
	rooms, users := slices.Concat(f.Room.Rooms, f.Room.NotRooms), []id.UserID{}
	for _, part := range f.parts() {
		rooms = append(append(rooms, part.Rooms...), part.NotRooms...)
		users = append(append(append(users, part.Senders...), part.NotSenders...), part.RelatedBySenders...)
	}
	for _, r := range rooms {
		if _, err := id.ParseRoomID(string(r)); err != nil {
			return errs.Wrap("filter.CheckIDs", err)
		}
	}
	for _, u := range users {
		if _, err := id.ParseUserID(string(u)); err != nil {
			return errs.Wrap("filter.CheckIDs", err)
		}
	}
	return nil
}

// ParseEvents reads a filter of one kind of events, as /messages takes it. Errors are of kind Invalid, and TooLarge.
func ParseEvents(data []byte) (*Events, error) {
	f := &Events{}
	if err := read(data, f); err != nil {
		return nil, err
	}
	return f, f.check()
}

func read(data []byte, f any) error {
	const op = "filter.Parse"
	if len(data) > maxSize {
		return errs.New(op, errs.TooLarge, "", "the filter is larger than %d bytes", maxSize)
	}
	if err := event.Check(data); err != nil {
		return errs.Wrap(op, err)
	}
	if err := json.Unmarshal(data, f); err != nil {
		return &errs.Error{Op: op, Kind: errs.Invalid, Code: errs.BadJSON, Message: "this is not a filter", Err: err}
	}
	return nil
}

func (f *Events) check() error {
	if f.Limit != nil && *f.Limit < 0 {
		return errs.New("filter.Parse", errs.Invalid, errs.BadJSON, "a filter's limit is negative")
	}
	return nil
}

// Count is how many events are wanted at once: def if the filter does not say, and at most most.
func (f *Events) Count(def, most int) int {
	if f.Limit == nil {
		return def
	}
	return min(*f.Limit, most)
}

// All reports whether every event passes, so that none needs to be looked at.
func (f *Events) All() bool {
	return f.Types == nil && len(f.NotTypes) == 0 && f.Senders == nil && len(f.NotSenders) == 0 && f.ContainsURL == nil
}

// Passes reports whether an event is wanted.
func (f *Events) Passes(ev *event.Event) bool {
	if f.All() {
		return true
	}
	if !f.Type(ev.Type) || slices.Contains(f.NotSenders, ev.Sender) || f.Senders != nil && !slices.Contains(f.Senders, ev.Sender) {
		return false
	}
	return f.ContainsURL == nil || *f.ContainsURL == ev.Content.Has("url")
}

// Type reports whether events of a type are wanted.
func (f *Events) Type(t string) bool {
	is := func(p string) bool { return matchType(p, t) }
	return !slices.ContainsFunc(f.NotTypes, is) && (f.Types == nil || slices.ContainsFunc(f.Types, is))
}

// Room reports whether events of a room are wanted.
func (f *Events) Room(r id.RoomID) bool { return wanted(r, f.Rooms, f.NotRooms) }

// Room reports whether a room is wanted at all.
func (f *Rooms) Room(r id.RoomID) bool { return wanted(r, f.Rooms, f.NotRooms) }

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
