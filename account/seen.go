package account

import (
	"context"
	"sync"
	"time"

	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// When and from where a device was last seen is written now and then, not with every request.

// seenEvery is how often the same device is noted by a site while it comes from one address.
const seenEvery = time.Hour

// Seen is a request of a device.
type Seen struct {
	At        int64 // Unix milliseconds, by the wall time of the user's partition
	Address   string
	UserAgent string
}

type seenBody struct {
	User      id.UserID   `json:"user"`
	Device    id.DeviceID `json:"device"`
	Address   string      `json:"address"`
	UserAgent string      `json:"user_agent,omitempty"`
}

// noteSeen notes a request of a device that there is.
func noteSeen(tx *replica.Tx, b seenBody) ([]byte, error) {
	if tx.Get(deviceKey(b.User, b.Device)) == nil {
		return nil, nil
	}
	tx.Set(seenKey(b.User, b.Device), kv.Str(kv.Str(kv.U64(nil, tx.Wall()), b.Address), b.UserAgent))
	return nil, nil
}

// LastSeen is the last request of a device that was noted.
func LastSeen(r kv.Reader, user id.UserID, device id.DeviceID) (s Seen, ok bool) {
	v := r.Get(seenKey(user, device))
	if v == nil {
		return s, false
	}
	d := decoder{v: v}
	s = Seen{int64(d.u64()), d.str(), d.str()}
	d.end("seen device")
	return s, true
}

// maxSeen bounds the devices that are remembered, and those that wait to be written.
const maxSeen = 50_000

// Watcher notes when and from where devices are seen. It is safe for concurrent use.
//
// Limits: an hour is as exact as it gets, unless the address changes; what waits is lost with the site.
type Watcher struct {
	service *Service
	now     func() time.Time
	notes   chan seenBody
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu   sync.Mutex
	last map[Session]Seen // of this site
}

// NewWatcher starts one; Close ends it.
func NewWatcher(s *Service, now func() time.Time) *Watcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watcher{service: s, now: now, notes: make(chan seenBody, 1024), cancel: cancel, last: map[Session]Seen{}}
	w.done.Go(func() { w.run(ctx) })
	return w
}

// Close ends it. What waits is dropped.
func (w *Watcher) Close() {
	w.cancel()
	w.done.Wait()
}

// See is told of a request. It does not block: what does not fit is noted with a later request.
func (w *Watcher) See(user id.UserID, device id.DeviceID, address, userAgent string) {
	who, now := Session{User: user, Device: device}, w.now().UnixMilli()
	w.mu.Lock()
	defer w.mu.Unlock()
	if last, ok := w.last[who]; ok && last.Address == address && now-last.At < seenEvery.Milliseconds() && now >= last.At {
		return
	}
	select {
	case w.notes <- seenBody{user, device, cut(address, maxName), cut(userAgent, maxName)}:
	default:
		return
	}
	if len(w.last) >= maxSeen {
		clear(w.last)
	}
	w.last[who] = Seen{At: now, Address: address}
}

func (w *Watcher) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-w.notes:
			if w.service.cfg.Replica.Writable() != nil || !w.service.enabled() {
				continue
			}
			_, _ = w.service.submit(ctx, b.User, kindSeen, b) // it will be seen again
		}
	}
}
