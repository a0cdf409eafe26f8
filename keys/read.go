package keys

import (
	"encoding/json"
	"iter"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// The functions of this file read rows through any kv.Reader: a view, or the newest rows.

// Inbox is a part of what waits for a device.
type Inbox struct {
	Events []json.RawMessage // in the order of arrival
	Last   replica.Place     // of the last event, or where the reading began
	More   bool              // there are further events after Last
	Stale  bool              // the device has acknowledged events that are still kept: time for Keys.Acked
}

// Pending reads the messages for a device that arrived after a place in the user's partition, at most limit.
func Pending(r kv.Reader, user id.UserID, device id.DeviceID, after replica.Place, limit int) Inbox {
	in := Inbox{Last: after}
	prefix := deviceRow(user, device, tableInbox)
	for k, v := range r.Scan(prefix, kv.End(prefix)) { // from the start: what was acknowledged is deleted soon
		at, _ := cutPlace(k[len(prefix):])
		switch {
		case !after.Before(at):
			in.Stale = true
			continue
		case len(in.Events) == limit:
			in.More = true
			return in
		}
		in.Last = at
		in.Events = append(in.Events, append(json.RawMessage{}, v...))
	}
	return in
}

// KeyCounts are the values of device_one_time_keys_count and device_unused_fallback_key_types in /sync.
func KeyCounts(r kv.Reader, user id.UserID, device id.DeviceID) (counts, unused json.RawMessage) {
	v := r.Get(deviceRow(user, device, tableSummary))
	if v == nil {
		return json.RawMessage("{}"), json.RawMessage("[]")
	}
	return cutSummary(v)
}

// DeviceListChanges yields whose devices have changed in a partition after position from, up to position to: in the order of
// their last change, so that a user whose devices changed in between and again after to is not yielded. Read from a view, with the
// view's own position as to, to miss nobody.
func DeviceListChanges(r kv.Reader, p journal.Partition, from, to journal.Position) iter.Seq[DeviceListChanged] {
	return func(yield func(DeviceListChanged) bool) {
		lo, hi := replica.Place{Pos: from + 1}, replica.Place{Pos: to + 1}
		for _, v := range r.Scan(changesKey(p, lo), changesKey(p, hi)) {
			user, rest := cutStr(v)
			viewer, _ := cutStr(rest)
			if !yield(DeviceListChanged{id.UserID(user), id.UserID(viewer)}) {
				return
			}
		}
	}
}
