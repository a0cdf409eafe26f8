package harness

import (
	"context"
	"slices"
	"time"
)

// Follower is the sync loop of one client: it writes down what comes, fills its gaps through /messages, and goes on with its
// token when the server was away.
type Follower struct {
	Name   string // of the client's streams in the history
	Client *Client
	Filter string // of the sync, inline; empty: none

	h     *History
	since string
}

// NewFollower makes a follower that begins with an initial sync.
func NewFollower(name string, c *Client, filter string, h *History) *Follower {
	return &Follower{Name: name, Client: c, Filter: filter, h: h}
}

// Run follows until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if f.Step(ctx, 20*time.Second) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Step is one sync. It returns false if there was no answer; a wrong one is written down.
func (f *Follower) Step(ctx context.Context, timeout time.Duration) bool {
	one, cancel := context.WithTimeout(ctx, timeout+20*time.Second)
	defer cancel()
	r, err := f.Client.Sync(one, f.since, timeout, f.Filter)
	switch {
	case err != nil && ctx.Err() != nil:
		return false
	case err != nil && one.Err() != nil:
		f.h.Fail("stuck: sync of %s: %v", f.Name, err)
		return false
	case passing(err):
		return false
	case err != nil:
		f.h.Fail("refused: sync of %s since %q: %v", f.Name, f.since, err)
		return false
	}
	// The gaps are filled before anything is written down: a step counts whole or not at all.
	streams := map[string][]Event{}
	for room, r := range r.Rooms.Join {
		events := r.Timeline.Events
		last := f.h.last(f.Name, room)
		known := slices.IndexFunc(events, func(e Event) bool { return e.ID == last })
		if known >= 0 && r.Timeline.Limited { // a client begins the room anew, and nobody sees anything twice
			f.h.with(func() { f.h.Anew[f.Name]++ })
			events = events[known+1:]
		} else if r.Timeline.Limited || last == "" && r.Timeline.Prev != "" {
			missed, err := f.missed(ctx, room, r.Timeline.Prev, last)
			if err != nil {
				if ctx.Err() == nil {
					f.h.Fail("refused: %s fills a gap in %s: %v", f.Name, room, err)
				}
				return false
			}
			events = append(missed, events...)
		}
		streams[room] = events
	}
	for room, events := range streams {
		f.h.arrived(f.Name, room, events)
	}
	f.h.with(func() {
		for _, e := range r.ToDevice.Events {
			f.h.Inbox[f.Name] = append(f.h.Inbox[f.Name], e.Marker())
		}
	})
	f.since = r.Next
	return true
}

// missed reads back from a place until the event last, or the beginning of the room; oldest first.
func (f *Follower) missed(ctx context.Context, room, from, last string) ([]Event, error) {
	var back []Event
	for from != "" {
		page, err := f.Client.Messages(ctx, room, from, "b", 100)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Chunk {
			if e.ID == last {
				slices.Reverse(back)
				return back, nil
			}
			back = append(back, e)
		}
		from = page.End
	}
	slices.Reverse(back)
	return back, nil
}

// CatchUp follows until every room has come to the end that truth has, or ctx ends.
func (f *Follower) CatchUp(ctx context.Context, truth *Truth) {
	for ctx.Err() == nil && !f.atEnd(truth) {
		f.Step(ctx, time.Second)
	}
}

func (f *Follower) atEnd(truth *Truth) bool {
	for _, room := range truth.Joined[f.Name] {
		events := truth.Rooms[room]
		if len(events) > 0 && f.h.last(f.Name, room) != events[len(events)-1].ID {
			return false
		}
	}
	f.h.mu.Lock()
	defer f.h.mu.Unlock()
	missing := 0
	for _, m := range f.h.ToDevice {
		if m.To == f.Name && m.Acked {
			missing++
		}
	}
	return len(f.h.Inbox[f.Name]) >= missing
}
