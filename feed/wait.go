package feed

import (
	"context"
	"slices"
	"time"

	"bongsu/id"
)

// marks count the reasons to wake a user.
type marks struct {
	urgent uint64 // something to see
	lazy   uint64 // something that can wait a little for company: receipts of others
}

// waiter is one request that waits.
type waiter struct {
	device id.DeviceID
	wake   chan struct{} // of capacity 1
	ended  bool          // the device is gone; guarded by the hub's mutex
}

// urge, nudge and end are called with the hub's mutex held.

func (v *viewer) urge() {
	v.wakes.urgent++
	v.poke()
}

func (v *viewer) nudge() {
	v.wakes.lazy++
	v.poke()
}

func (v *viewer) poke() {
	for _, w := range v.waiters {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// end sends the requests of devices that are gone home.
func (v *viewer) end(devices []id.DeviceID) {
	for _, w := range v.waiters {
		if slices.Contains(devices, w.device) {
			w.ended = true
		}
	}
	v.poke()
}

// wait returns when there is a reason to look again, at the deadline, or when one of the others says so; more is false when
// looking again is of no use.
func (h *hub) wait(ctx context.Context, vis visit, device id.DeviceID, deadline time.Time, now func() time.Time,
	over ...<-chan struct{}) (more bool) {
	w := &waiter{device: device, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	vis.v.waiters = append(vis.v.waiters, w)
	h.mu.Unlock()
	defer h.unwait(vis.v, w)

	timer := time.NewTimer(deadline.Sub(now()))
	defer timer.Stop()
	delayed := false
	for {
		h.mu.Lock()
		urgent, lazy, ended := vis.v.wakes.urgent != vis.marks.urgent, vis.v.wakes.lazy != vis.marks.lazy, w.ended
		h.mu.Unlock()
		switch {
		case ended:
			return false
		case urgent:
			return true
		case lazy && !delayed:
			delayed = true
			timer.Reset(min(deadline.Sub(now()), lazyDelay))
		}
		select {
		case <-w.wake:
		case <-timer.C:
			return delayed
		case <-ctx.Done():
			return false
		case <-over[0]:
			return false
		case <-over[1]:
			return false
		}
	}
}

func (h *hub) unwait(v *viewer, w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v.waiters = slices.DeleteFunc(v.waiters, func(other *waiter) bool { return other == w })
}

func (h *hub) waiting() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.viewers {
		n += len(v.waiters)
	}
	return n
}
