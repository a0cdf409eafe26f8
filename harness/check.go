package harness

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Truth is what the server answers when all is quiet.
type Truth struct {
	Rooms  map[string][]Seen            // every room's events, oldest first
	States map[string]string            // value by StateName
	Data   map[string]string            // account data
	Files  map[string][sha256.Size]byte // by address
	Joined map[string][]string          // rooms by client

	Unread map[string]bool // rooms, files and clients of which the server did not answer: nothing is said of them
}

// Check compares what clients saw with what is there. Each finding is a broken promise.
func Check(h *History, truth *Truth) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &check{h: h, truth: truth, findings: slices.Clone(h.Wrong)}
	c.rooms()
	c.streams()
	c.writes("state", h.States, truth.States)
	c.writes("account data", h.Data, truth.Data)
	c.joins()
	c.files()
	c.keys()
	c.toDevice()
	slices.Sort(c.findings)
	return c.findings
}

type check struct {
	h        *History
	truth    *Truth
	findings []string
}

func (c *check) find(format string, args ...any) {
	c.findings = append(c.findings, fmt.Sprintf(format, args...))
}

// rooms: each event once; each acknowledged send there, under its id; nothing that nobody sent; a retried send once.
func (c *check) rooms() {
	at := map[string]string{} // marker to event id
	for room, events := range c.truth.Rooms {
		ids := map[string]bool{}
		for _, e := range events {
			if ids[e.ID] {
				c.find("duplicate: %s has %s twice", room, e.ID)
			}
			ids[e.ID] = true
			if e.Marker == "" {
				continue
			}
			if first, ok := at[e.Marker]; ok {
				c.find("duplicate: %q happened as %s and as %s", e.Marker, first, e.ID)
			}
			at[e.Marker] = e.ID
			if s, ok := c.h.Sends[e.Marker]; !ok || s.Room != room {
				c.find("invented: %s holds %q, which nobody sent there", room, e.Marker)
			}
		}
	}
	for marker, s := range c.h.Sends {
		if c.truth.Unread[s.Room] {
			continue
		}
		switch id := at[marker]; {
		case s.ID != "" && id == "":
			c.find("lost: %q was acknowledged as %s and is not in %s", marker, s.ID, s.Room)
		case s.ID != "" && id != s.ID:
			c.find("two answers: %q was acknowledged as %s and is %s", marker, s.ID, id)
		}
	}
	for room, events := range c.truth.Rooms {
		c.order(room, events)
	}
}

// order: what was acknowledged before another was begun, at whichever site, stands before it.
func (c *check) order(room string, events []Seen) {
	var first Sent // of all later events, the one that was acknowledged first
	for _, e := range slices.Backward(events) {
		s := c.h.Sends[e.Marker]
		if !first.Ended.IsZero() && !s.Began.IsZero() && first.Ended.Before(s.Began) {
			c.find("reordered: %s was acknowledged before %s was begun, and stands after it in %s", first.ID, e.ID, room)
		}
		if s.ID != "" && !s.Ended.IsZero() && (first.Ended.IsZero() || s.Ended.Before(first.Ended)) {
			first = s
		}
	}
}

// Differ says where what two sites answer is not the same.
func Differ(siteA string, a *Truth, siteB string, b *Truth) []string {
	var findings []string
	find := func(format string, args ...any) {
		findings = append(findings, fmt.Sprintf("differs: %s and %s: ", siteA, siteB)+fmt.Sprintf(format, args...))
	}
	unread := func(what string) bool { return a.Unread[what] || b.Unread[what] }
	for _, room := range union(a.Rooms, b.Rooms) {
		if unread(room) {
			continue
		}
		if why := compare(b.Rooms[room], a.Rooms[room]); why != "" {
			find("%s: %s", room, why)
		}
	}
	for _, name := range union(a.States, b.States) {
		if a.States[name] != b.States[name] {
			find("state %s is %q and %q", name, a.States[name], b.States[name])
		}
	}
	for _, name := range union(a.Data, b.Data) {
		if a.Data[name] != b.Data[name] {
			find("account data %s is %q and %q", name, a.Data[name], b.Data[name])
		}
	}
	for _, uri := range union(a.Files, b.Files) {
		if !unread(uri) && a.Files[uri] != b.Files[uri] {
			findings = append(findings, fmt.Sprintf("damaged: the file %s has other bytes at %s than at %s", uri, siteB, siteA))
		}
	}
	for _, client := range union(a.Joined, b.Joined) {
		if !unread(client) && !slices.Equal(slices.Sorted(slices.Values(a.Joined[client])), slices.Sorted(slices.Values(b.Joined[client]))) {
			find("%s is in the rooms %q and %q", client, a.Joined[client], b.Joined[client])
		}
	}
	return findings
}

// union are the keys of two maps, sorted.
func union[V any](a, b map[string]V) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// streams: what came to a client in a room is all of the room, once and in its order.
func (c *check) streams() {
	for client, rooms := range c.h.Streams {
		for room, stream := range rooms {
			if c.truth.Unread[room] {
				continue
			}
			if why := compare(stream, c.truth.Rooms[room]); why != "" {
				c.find("%s, in the stream of %s in %s", why, client, room)
			}
			for _, e := range stream {
				if s := c.h.Sends[e.Marker]; s.Client == client && s.Txn != "" && e.Echo != s.Txn {
					c.find("echo: %s sent %s with transaction %q and is told %q", client, e.ID, s.Txn, e.Echo)
				}
			}
		}
		for room := range c.h.Joins[client] {
			if len(rooms[room]) == 0 {
				c.find("lost: %s joined %s and its stream does not show it", client, room)
			}
		}
	}
	for client, n := range c.h.Anew {
		c.find("anew: %d times %s was sent a room anew, although its token was good", n, client)
	}
}

// compare says where a stream leaves the order of the room, or "".
func compare(stream, room []Seen) string {
	place := make(map[string]int, len(room))
	for i, e := range room {
		place[e.ID] = i
	}
	came := make(map[string]bool, len(stream))
	next := 0
	for _, e := range stream {
		i, ok := place[e.ID]
		switch {
		case !ok:
			return fmt.Sprintf("invented: %s is not in the room", e.ID)
		case came[e.ID]:
			return fmt.Sprintf("duplicate: %s came twice", e.ID)
		case i > next && laterIn(stream, room[next].ID):
			return fmt.Sprintf("reordered: %s came before %s", e.ID, room[next].ID)
		case i > next:
			return fmt.Sprintf("gap: %d events before %s never came", i-next, e.ID)
		case i < next:
			return fmt.Sprintf("reordered: %s came late", e.ID)
		}
		came[e.ID] = true
		next++
	}
	if next < len(room) {
		return fmt.Sprintf("gap: the last %d events never came", len(room)-next)
	}
	return ""
}

func laterIn(stream []Seen, id string) bool {
	return slices.ContainsFunc(stream, func(e Seen) bool { return e.ID == id })
}

// writes: what is there is the last acknowledged value, or one that its writer tried to put there afterwards.
func (c *check) writes(what string, all map[string][]Write, is map[string]string) {
	for name, writes := range all {
		last := -1
		for i, w := range writes {
			if w.Acked {
				last = i
			}
		}
		value := is[name]
		ok := last < 0 && value == ""
		for _, w := range writes[max(last, 0):] {
			ok = ok || w.Value == value
		}
		if !ok && last >= 0 {
			c.find("lost: %s %s is %q, acknowledged was %q", what, name, value, writes[last].Value)
		} else if !ok {
			c.find("invented: %s %s is %q", what, name, value)
		}
	}
}

func (c *check) joins() {
	for client, rooms := range c.h.Joins {
		for room := range rooms {
			if !c.truth.Unread[client] && !slices.Contains(c.truth.Joined[client], room) {
				c.find("lost: %s has joined %s and is not a member", client, room)
			}
		}
	}
}

func (c *check) files() {
	for uri, sum := range c.h.Files {
		switch is, ok := c.truth.Files[uri]; {
		case c.truth.Unread[uri]:
		case !ok:
			c.find("lost: the file %s was acknowledged and is not there", uri)
		case is != sum:
			c.find("damaged: the file %s has other bytes", uri)
		}
	}
}

// keys: a one-time key is given to one, as it was uploaded.
func (c *check) keys() {
	given := map[string]bool{}
	for _, k := range c.h.Claims {
		switch content, ok := c.h.Keys[k.Key]; {
		case given[k.Key]:
			c.find("duplicate: the one-time key %s was given twice", k.Key)
		case !ok:
			c.find("invented: the one-time key %s was never uploaded", k.Key)
		case content != k.Content:
			c.find("damaged: the one-time key %s is not what was uploaded", k.Key)
		}
		given[k.Key] = true
	}
}

// toDevice: an acknowledged message came, and none came twice or to somebody else.
func (c *check) toDevice() {
	came := map[string]bool{}
	for client, markers := range c.h.Inbox {
		for _, marker := range markers {
			switch m, ok := c.h.ToDevice[marker]; {
			case !ok || m.To != client:
				c.find("invented: the message %q came to the device of %s", marker, client)
			case came[marker]:
				c.find("duplicate: the message %q came twice to the device of %s", marker, client)
			}
			came[marker] = true
		}
	}
	for marker, m := range c.h.ToDevice {
		if m.Acked && !came[marker] {
			c.find("lost: the message %q never came to the device of %s", marker, m.To)
		}
	}
}

// ReadTruth asks the server for everything that a history of these clients speaks of. What is refused is a finding.
func ReadTruth(ctx context.Context, h *History, clients map[string]*Client) (truth *Truth, findings []string) {
	truth = &Truth{Rooms: map[string][]Seen{}, States: map[string]string{}, Data: map[string]string{},
		Files: map[string][sha256.Size]byte{}, Joined: map[string][]string{},
		Unread: map[string]bool{}}
	find := func(format string, args ...any) { findings = append(findings, fmt.Sprintf(format, args...)) }
	reader := map[string]*Client{} // somebody who is in the room
	for name, c := range clients {
		rooms, err := c.JoinedRooms(ctx)
		if err != nil {
			find("rooms of %s: %v", name, err)
			truth.Unread[name] = true
			for room := range h.Joins[name] {
				truth.Unread[room] = true // unless somebody else reads it
			}
			continue
		}
		truth.Joined[name] = rooms
		for _, room := range rooms {
			reader[room] = c
		}
	}
	for room, c := range reader {
		events, err := c.Timeline(ctx, room, "f")
		back, errBack := c.Timeline(ctx, room, "b")
		if err != nil || errBack != nil {
			find("history of %s: %v, %v", room, err, errBack)
			truth.Unread[room] = true
			continue
		}
		delete(truth.Unread, room)
		truth.Rooms[room] = seen(events)
		slices.Reverse(back)
		if why := compare(seen(back), truth.Rooms[room]); why != "" {
			find("paging back differs from paging forward: %s, in %s", why, room)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.States)) {
		room, rest, _ := strings.Cut(name, " ")
		kind, quoted, _ := strings.Cut(rest, " ")
		if c := reader[room]; c != nil {
			truth.States[name] = c.value(ctx, Path("v3", "rooms", room, "state", kind, strings.Trim(quoted, `"`)), find)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.Data)) {
		client, kind, _ := strings.Cut(name, " ")
		c := clients[client]
		truth.Data[name] = c.value(ctx, Path("v3", "user", c.User, "account_data", kind), find)
	}
	for uri := range h.Files {
		for _, c := range clients {
			data, err := c.Download(ctx, uri)
			if err != nil {
				find("file %s: %v", uri, err)
				truth.Unread[uri] = !denied(err)
			} else {
				truth.Files[uri] = sha256.Sum256(data)
			}
			break // one reader is enough
		}
	}
	return truth, findings
}

// denied reports whether err says that there is no such thing.
func denied(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status/100 == 4
}

// value reads a small JSON object and returns its marker.
func (c *Client) value(ctx context.Context, path string, find func(string, ...any)) string {
	var content json.RawMessage
	if err := c.Insist(ctx, http.MethodGet, path, nil, &content); err != nil {
		find("%s: %v", path, err)
	}
	return Event{Content: content}.Marker()
}
