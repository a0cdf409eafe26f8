// Package model is the specification once more, slow and obvious: which events a room has, what its state is, who may do what, who
// may see what, and what the answers of /sync, /messages and the other reading endpoints must contain. Its test lets many users do
// random things through the API of the server and compares every answer with the model.
//
// Invariant: the model shares no code with the server. It keeps the list of all events of a room and works everything out from the
// start of that list, each time anew; it was written from the text of the specification, whose sections the comments name.
//
// Limits: one request at a time. Where the specification leaves something open, the model takes what is allowed and says so; what the
// server decides there (the first power levels of a room, a nonce, who vouches for a restricted join) is learned when it is first
// seen, and must be the same ever after. Event ids are learned likewise. Relations, encryption, threads and unread counts are not
// modelled.
package model

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
)

// Content is a JSON object.
type Content = map[string]any

// Event is an event of a room. Its place in the room is its index in Room.Events.
type Event struct {
	ID       string // empty until somebody has seen it
	Type     string
	Sender   string
	StateKey *string
	Content  Content // as it is now: without what a redaction took away
	Redacts  string
	Device   string // that sent it, with the transaction id
	Txn      string

	At         int      // the moment when it happened
	Prev       *Event   // the state that it replaced
	Redactions []*Event // of it
	// Free, if it is not nil, means that the server had a choice: it checks the content that is seen first, and that is then it.
	Free func(seen Content) error
}

// Key names a piece of state.
type Key struct{ Type, StateKey string }

// Key is the piece of state that the event sets; ok is false if it sets none.
func (e *Event) Key() (k Key, ok bool) {
	if e.StateKey == nil {
		return Key{}, false
	}
	return Key{e.Type, *e.StateKey}, true
}

func (e *Event) isMember(user string) bool {
	return e.Type == "m.room.member" && e.StateKey != nil && *e.StateKey == user
}

func (e *Event) text(field string) string {
	s, _ := e.Content[field].(string)
	return s
}

func (e *Event) String() string {
	key := ""
	if e.StateKey != nil {
		key = fmt.Sprintf(" %q", *e.StateKey)
	}
	return fmt.Sprintf("%s%s by %s (%s) %s", e.Type, key, e.Sender, e.ID, JSON(e.Content))
}

// Receipt is how far a user has read.
type Receipt struct {
	Event *Event
	At    int
}

// Room is a room, with all that ever happened in it.
type Room struct {
	ID        string
	Version   int
	Events    []*Event
	Receipts  map[[2]string]Receipt // by user and type
	Forgotten map[string]bool       // by whom; until their membership changes
}

// State is the state before the event of index n, worked out from the start.
func (r *Room) State(n int) map[Key]*Event {
	out := map[Key]*Event{}
	for _, e := range r.Events[:n] {
		if k, ok := e.Key(); ok {
			out[k] = e
		}
	}
	return out
}

// Now is the current state.
func (r *Room) Now() map[Key]*Event { return r.State(len(r.Events)) }

// Member is the event that made the user's membership before the event of index n; nil if there is none.
func (r *Room) Member(n int, user string) *Event {
	for _, e := range slices.Backward(r.Events[:n]) {
		if e.isMember(user) {
			return e
		}
	}
	return nil
}

// Membership is the user's membership now; empty for a stranger.
func (r *Room) Membership(user string) string {
	if e := r.Member(len(r.Events), user); e != nil {
		return e.text("membership")
	}
	return ""
}

// Joined are the users in the room, sorted.
func (r *Room) Joined() []string {
	var out []string
	for k, e := range r.Now() {
		if k.Type == "m.room.member" && e.text("membership") == "join" {
			out = append(out, k.StateKey)
		}
	}
	slices.Sort(out)
	return out
}

// Index is the place of an event in the room; -1 if it is not there.
func (r *Room) Index(id string) int {
	return slices.IndexFunc(r.Events, func(e *Event) bool { return id != "" && e.ID == id })
}

// Before is how many events had happened up to a moment.
func (r *Room) Before(at int) int {
	n, _ := slices.BinarySearchFunc(r.Events, at, func(e *Event, at int) int {
		if e.At <= at {
			return -1
		}
		return 1
	})
	return n
}

// joinedSince is the index of the join with which the user's present time in the room began; -1 if the user is not in it.
func (r *Room) joinedSince(user string) int {
	since, in := -1, false
	for i, e := range r.Events {
		if e.isMember(user) {
			now := e.text("membership") == "join"
			if now && !in {
				since = i
			}
			in = now
		}
	}
	if !in {
		return -1
	}
	return since
}

// leftAt is the index of the event that ended the user's last time in the room; -1 if there is none.
func (r *Room) leftAt(user string) int {
	at, in := -1, false
	for i, e := range r.Events {
		if e.isMember(user) {
			now := e.text("membership") == "join"
			if in && !now {
				at = i
			}
			in = now
		}
	}
	return at
}

// Add puts an event at the end of the room.
func (w *World) Add(r *Room, e *Event) {
	w.Moment++
	e.At = w.Moment
	if k, ok := e.Key(); ok {
		e.Prev = r.Now()[k]
		if k.Type == "m.room.member" {
			delete(r.Forgotten, k.StateKey)
		}
	}
	r.Events = append(r.Events, e)
	if e.ID != "" {
		w.byID[e.ID] = e
	}
}

// Redact carries out a redaction.
func (r *Room) Redact(target, by *Event) {
	target.Content = redacted(r.Version, target.Type, target.Content)
	if r.Version < 11 {
		target.Redacts = ""
	}
	target.Redactions = append(target.Redactions, by)
}

// redacted is what a redaction leaves of a content.
//
// Source: rooms/v6 to rooms/v12, "Redactions".
func redacted(version int, typ string, c Content) Content {
	keep := map[string][]string{
		"m.room.member":             {"membership"},
		"m.room.create":             {"creator"},
		"m.room.join_rules":         {"join_rule"},
		"m.room.power_levels":       {"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"},
		"m.room.history_visibility": {"history_visibility"},
	}
	if version >= 8 {
		keep["m.room.join_rules"] = append(keep["m.room.join_rules"], "allow")
	}
	if version >= 9 {
		keep["m.room.member"] = append(keep["m.room.member"], "join_authorised_via_users_server")
	}
	if version >= 11 {
		keep["m.room.power_levels"] = append(keep["m.room.power_levels"], "invite")
		keep["m.room.redaction"] = []string{"redacts"}
		if typ == "m.room.create" {
			return c
		}
	}
	out := Content{}
	for _, k := range keep[typ] {
		if v, ok := c[k]; ok {
			out[k] = v
		}
	}
	return out
}

// Datum is a piece of account data.
type Datum struct {
	User, Room, Type string // no room: of the account
	Content          Content
	At               int
}

// Tally counts what has been compared.
type Tally struct {
	Syncs    int // answers of /sync
	Rooms    int // in them
	Pages    int // of /messages
	Contexts int
	States   int // of /state, and lists of members
	Events   int // in all these, and alone
}

func (t Tally) String() string {
	return fmt.Sprintf("%d syncs with %d rooms, %d pages of messages, %d contexts, %d states; %d events in all",
		t.Syncs, t.Rooms, t.Pages, t.Contexts, t.States, t.Events)
}

// World is all there is.
type World struct {
	Moment   int // counts what happens
	Rooms    []*Room
	Data     []*Datum
	Compared Tally

	byID    map[string]*Event
	learned []*Event // whose ids were first seen in an answer, in that order
}

// NewWorld is an empty world.
func NewWorld() *World { return &World{byID: map[string]*Event{}} }

// NewRoom adds a room without events.
func (w *World) NewRoom(id, version string) *Room {
	n, _ := strconv.Atoi(version)
	r := &Room{ID: id, Version: n, Receipts: map[[2]string]Receipt{}, Forgotten: map[string]bool{}}
	w.Rooms = append(w.Rooms, r)
	return r
}

// Room finds a room; nil if there is none.
func (w *World) Room(id string) *Room {
	i := slices.IndexFunc(w.Rooms, func(r *Room) bool { return r.ID == id })
	if i < 0 {
		return nil
	}
	return w.Rooms[i]
}

// SetData stores a piece of account data. What is set to what it is already need not be told again.
func (w *World) SetData(user, room, typ string, c Content) {
	of := func(d *Datum) bool { return d.User == user && d.Room == room && d.Type == typ }
	if i := slices.IndexFunc(w.Data, of); i >= 0 && equal(w.Data[i].Content, c) {
		return
	}
	w.Moment++
	w.Data = slices.DeleteFunc(w.Data, of)
	w.Data = append(w.Data, &Datum{user, room, typ, c, w.Moment})
}

// ignored is the user's list of those they want to hear no more, and when it was set; nil if it never was. Nobody can ignore themselves.
//
// Source: client-server API, "Ignoring users".
func (w *World) ignored(user string) (list Content, at int) {
	for _, d := range w.Data {
		if d.User == user && d.Room == "" && d.Type == "m.ignored_user_list" {
			list, _ := d.Content["ignored_users"].(Content)
			return without(list, user), d.At
		}
	}
	return nil, 0
}

// hears returns what says whether an event is for the user: all state, and of the rest what comes from nobody ignored.
func (w *World) hears(user string) func(*Event) bool {
	ignored, _ := w.ignored(user)
	return func(e *Event) bool { return e.StateKey != nil || ignored[e.Sender] == nil }
}

// Read moves a receipt forward; one that would go back or stand still changes nothing.
func (w *World) Read(r *Room, user, typ string, e *Event) {
	k := [2]string{user, typ}
	if was, ok := r.Receipts[k]; ok && was.Event.At >= e.At {
		return
	}
	w.Moment++
	r.Receipts[k] = Receipt{e, w.Moment}
}

// Mark moves the fully read marker, which does not go back either. The specification leaves that open.
func (w *World) Mark(r *Room, user string, e *Event) {
	for _, d := range w.Data {
		if d.User == user && d.Room == r.ID && d.Type == "m.fully_read" {
			if id, _ := d.Content["event_id"].(string); w.byID[id].At >= e.At {
				return
			}
		}
	}
	w.SetData(user, r.ID, "m.fully_read", Content{"event_id": e.ID})
}

// JSON is v as text.
func JSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Plain is an object as it looks when it has been written as JSON and read again.
func Plain(c Content) Content {
	out := Content{}
	if err := json.Unmarshal([]byte(JSON(c)), &out); err != nil {
		return nil
	}
	return out
}

func equal(a, b Content) bool { return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b) }
