package harness

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"
)

// Seen is an event as it came to a client.
type Seen struct {
	ID     string
	Marker string // of the harness, or ""
	Echo   string // transaction id, told to the device that sent it
}

// Sent is an event that a client asked for.
type Sent struct {
	Client string
	Room   string
	Txn    string
	ID     string // once acknowledged, else ""

	Began, Ended time.Time // of the first asking and of the acknowledgement, by the monotonic clock; zero: not known
}

// Write is one value that the only writer of something wrote there.
type Write struct {
	Value string
	Acked bool
}

// Claim is a one-time key that somebody was given.
type Claim struct {
	Key     string // user, device and id of the key
	Content string
}

// ToDevice is a message to a device.
type ToDevice struct {
	To    string // client
	Acked bool
}

// History is what clients asked for and were told. Its fields may be read when nobody writes any more.
type History struct {
	mu sync.Mutex

	Sends    map[string]Sent              // by marker
	Streams  map[string]map[string][]Seen // what a sync stream brought: client, room, events as they came
	Joins    map[string]map[string]bool   // acknowledged: client, room
	States   map[string][]Write           // by room and state key, see StateName
	Data     map[string][]Write           // account data: by client and type
	Files    map[string][sha256.Size]byte // acknowledged, by address
	Keys     map[string]string            // one-time keys, uploaded or tried to: content
	Claims   []Claim                      // acknowledged
	ToDevice map[string]ToDevice          // by marker
	Inbox    map[string][]string          // markers of the messages to a device as they came, by client
	Anew     map[string]int               // rooms that were sent from their beginning to somebody who had them, by client
	Wrong    []string                     // answers that no client should get
}

// NewHistory is an empty history.
func NewHistory() *History {
	return &History{
		Sends: map[string]Sent{}, Streams: map[string]map[string][]Seen{}, Joins: map[string]map[string]bool{},
		States: map[string][]Write{}, Data: map[string][]Write{}, Files: map[string][sha256.Size]byte{},
		Keys: map[string]string{}, ToDevice: map[string]ToDevice{}, Inbox: map[string][]string{},
		Anew: map[string]int{},
	}
}

// StateName names a piece of state in History.States and Truth.States.
func StateName(room, kind, key string) string { return fmt.Sprintf("%s %s %q", room, kind, key) }

func (h *History) with(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// Send writes down an event that somebody is about to ask for, or with its id, that it was acknowledged.
func (h *History) Send(marker string, s Sent) { h.with(func() { h.Sends[marker] = s }) }

// Fail writes down an answer that should not have been.
func (h *History) Fail(format string, args ...any) {
	h.with(func() { h.Wrong = append(h.Wrong, fmt.Sprintf(format, args...)) })
}

// arrived appends to a client's stream of a room.
func (h *History) arrived(client, room string, events []Event) {
	h.with(func() {
		if h.Streams[client] == nil {
			h.Streams[client] = map[string][]Seen{}
		}
		h.Streams[client][room] = append(h.Streams[client][room], seen(events)...)
	})
}

// last is the id of the newest event that came to a client in a room, or "".
func (h *History) last(client, room string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.Streams[client][room]; len(s) > 0 {
		return s[len(s)-1].ID
	}
	return ""
}

func (h *History) joined(client, room string) {
	h.with(func() {
		if h.Joins[client] == nil {
			h.Joins[client] = map[string]bool{}
		}
		h.Joins[client][room] = true
	})
}

// writing writes down that name is about to get value; the returned function, that it was acknowledged.
func (h *History) writing(to map[string][]Write, name, value string) (acked func()) {
	n := 0
	h.with(func() { n = len(to[name]); to[name] = append(to[name], Write{Value: value}) })
	return func() { h.with(func() { to[name][n].Acked = true }) }
}

func seen(events []Event) []Seen {
	all := make([]Seen, len(events))
	for i, e := range events {
		all[i] = Seen{ID: e.ID, Marker: e.Marker(), Echo: e.Unsigned.Txn}
	}
	return all
}

// Summary is the history in numbers.
func (h *History) Summary() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	acked, delivered, claims, devices := 0, 0, len(h.Claims), 0
	for _, s := range h.Sends {
		if s.ID != "" {
			acked++
		}
	}
	for _, rooms := range h.Streams {
		for _, s := range rooms {
			delivered += len(s)
		}
	}
	for _, m := range h.Inbox {
		devices += len(m)
	}
	return fmt.Sprintf("%d sends, %d acknowledged, %d events delivered, %d to devices, %d files, %d one-time keys claimed",
		len(h.Sends), acked, delivered, devices, len(h.Files), claims)
}
