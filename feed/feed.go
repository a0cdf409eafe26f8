// Package feed tells clients what is new: it answers /sync from the rows, and wakes those who wait when something is.
//
// A sync takes one consistent view of the rows. The positions of that view are the next token; what is sent is what changed
// in the rows between the token that the client brought and that view: a token that is replayed, at any site, gets the same answer
// again, and more. What was sent is not remembered, but for members that a client loads lazily (sent.go).
//
// Invariants:
//   - Between two tokens, a client gets each event of its rooms once and in order; where a timeline says "limited" the rest can be
//     paged to from prev_batch.
//   - Between two answers nobody goes back: a token that is ahead of this site's rows is waited for, and then answered 503.
//   - What is kept in memory (hub.go) says only where looking is not worth it, and is right about that for every view that it
//     was asked about; it is made from the notes of commits and lost at a restart.
//   - Committed never waits for anything but a short lock.
//   - Who waits holds a timer, a channel and the request: no view, no buffer.
//
// Limits: a timeline has at most 100 events of one answer; unread counts are exact up to maxUnread events; heroes are
// found among the first maxHeroScan members; presence wakes the members of small rooms only (presence.go).
//
// Where things are: sync.go (the request), rooms.go, timeline.go and state.go (what is said of a room), unread.go, keys.go (encryption),
// hub.go (what notes tell), seats.go (a user's rooms), wait.go (waiting and waking), pace.go (how often one is
// answered under load), token.go, write.go.
package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"bongsu/account"
	"bongsu/clock"
	"bongsu/ephemeral"
	"bongsu/errs"
	"bongsu/filter"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/pushrule"
	"bongsu/replica"
	"bongsu/room"
)

// Config says what the feed works on. Replica and Typing are required.
type Config struct {
	Replica *replica.Replica // opened; its Start is given Committed
	Typing  *ephemeral.Typing
	// Presence is told who syncs, and is shown; its Changed is PresenceChanged. Nil: there is none.
	Presence *ephemeral.Presence
	Site     string // with Boot: which run of which site ephemeral numbers belong to
	Boot     uint64
	// Acked is told that a device has got the messages to it up to a place; it must not wait. Nil: nobody cares.
	Acked func(user id.UserID, device id.DeviceID, upTo replica.Place)
	Clock clock.Clock  // default the system's
	Log   *slog.Logger // default discards
}

// Feed answers /sync. It is safe for concurrent use.
type Feed struct {
	cfg      Config
	r        *replica.Replica
	hub      *hub
	pace     pace
	origin   uint32
	defaults *pushrule.Set // of whoever has changed nothing

	longer atomic.Bool // every site reads the longer tokens

	looks   chan struct{} // has an element for each look at the rows that is under way
	firsts  chan struct{} // likewise for those from the beginning
	streams chan struct{} // likewise for answers of several parts, while they are fetched
	buffers sync.Pool     // of *[]byte, in which answers are put together

	filters struct {
		sync.Mutex
		parsed map[string]*filter.Filter // by user and id, or by themselves
	}

	stop    context.CancelFunc
	stopped context.Context
	wg      sync.WaitGroup
}

// New makes the feed. Its sink, Committed, must be given to the replica's Start, and miss no commit after New.
func New(cfg Config) *Feed {
	if cfg.Acked == nil {
		cfg.Acked = func(id.UserID, id.DeviceID, replica.Place) {}
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	const anybody = id.UserID("@:")
	f := &Feed{cfg: cfg, r: cfg.Replica, hub: newHub(cfg.Replica.Positions())}
	n := runtime.GOMAXPROCS(0)
	f.looks, f.firsts = make(chan struct{}, looksEach*n), make(chan struct{}, firstsEach*n)
	f.streams = make(chan struct{}, maxStreams)
	rules := pushrule.Defaults(anybody)
	f.defaults = pushrule.Compile(&rules, anybody)
	h := fnv.New32a()
	fmt.Fprintf(h, "%s/%d", cfg.Site, cfg.Boot)
	f.origin = h.Sum32()
	f.filters.parsed = map[string]*filter.Filter{}
	f.stopped, f.stop = context.WithCancel(context.Background())
	f.wg.Go(f.wakeSharers)
	return f
}

// Close ends all waiting: who waits is answered with what there is.
func (f *Feed) Close() {
	f.stop()
	f.wg.Wait()
}

// Committed is told what has become visible. It is called from the goroutine of a partition and does not block.
//
// path 6/7: the change is in the rows; whoever waits for it is woken.
func (f *Feed) Committed(c replica.Commit) {
	if c.Remade {
		f.hub.forget(c)
		f.filters.Lock()
		clear(f.filters.parsed) // they were read from rows that may have been wrong
		f.filters.Unlock()
	}
	f.hub.committed(c)
	f.active(c)
}

// active notes who has done something. All sites see the same of it.
func (f *Feed) active(c replica.Commit) {
	if f.cfg.Presence == nil {
		return
	}
	for _, n := range c.Notes {
		if n, ok := n.(room.Changed); ok && (n.Change == room.ChangeEvent || n.Change == room.ChangeReceipt) {
			f.cfg.Presence.Active(n.User)
		}
	}
}

// TypingChanged is told that others type in a room, or no longer.
func (f *Feed) TypingChanged(room id.RoomID) { f.hub.typing(room) }

// wakeSharers wakes the users who share a room with somebody whose devices have changed. Whose rooms those are must be read from
// the rows, which Committed has no time for.
func (f *Feed) wakeSharers() {
	for {
		select {
		case <-f.stopped.Done():
			return
		case <-f.hub.devices:
		case <-f.hub.presence:
			f.wakeCompany()
			continue
		}
		for _, user := range f.hub.takeDevices() {
			if err := f.wakeSharersOf(user); err != nil {
				f.cfg.Log.Error("not everybody was told of changed devices", "user", user, "err", err)
			}
		}
	}
}

func (f *Feed) wakeSharersOf(user id.UserID) (err error) {
	defer kv.Recover(&err)
	f.hub.wakeRooms(joinedRooms(f.r.Rows(), f.r.Partitions(), user))
	return nil
}

// Waiting is how many requests wait for something to happen.
func (f *Feed) Waiting() int { return f.hub.waiting() }

const (
	defaultLimit = 20  // events of a timeline
	maxLimit     = 100 // whatever a filter says
)

// maxFilters bounds the parsed filters that are kept.
const maxFilters = 1024

// stored is a filter that was defined before, perhaps at another site and just now.
func (f *Feed) stored(ctx context.Context, user id.UserID, name string) (json.RawMessage, error) {
	if raw := account.Filter(f.r.Rows(), user, name); raw != nil {
		return raw, nil
	}
	if err := f.r.CatchUp(ctx); err != nil {
		return nil, errs.Wrap("feed.Sync", err)
	}
	raw := account.Filter(f.r.Rows(), user, name)
	if raw == nil {
		return nil, badParam("there is no filter %q", name)
	}
	return raw, nil
}

// filter is the filter that a request names or contains; none means everything.
func (f *Feed) filter(ctx context.Context, user id.UserID, s string) (*filter.Filter, error) {
	if s == "" {
		return &filter.Filter{}, nil
	}
	key := s
	if s[0] != '{' {
		key = string(user) + "\x00" + s
	}
	f.filters.Lock()
	parsed := f.filters.parsed[key]
	f.filters.Unlock()
	if parsed != nil {
		return parsed, nil
	}
	raw := json.RawMessage(s)
	generation, sound := f.r.Generation(), f.r.Serving() == nil
	if s[0] != '{' {
		var err error
		if raw, err = f.stored(ctx, user, s); err != nil {
			return nil, err
		}
	}
	parsed, err := filter.Parse(raw)
	if err == nil && s[0] == '{' {
		err = parsed.CheckIDs()
	}
	if err != nil {
		return nil, err
	}
	if len(key) > 4096 {
		return parsed, nil
	}
	f.filters.Lock()
	defer f.filters.Unlock()
	if !sound || f.r.Generation() != generation { // it may have been read from rows that have been discarded
		return parsed, nil
	}
	if len(f.filters.parsed) >= maxFilters {
		clear(f.filters.parsed) // they are read again when they are needed again
	}
	f.filters.parsed[key] = parsed
	return parsed, nil
}

// sinceRules is the rules version from which on every site reads the longer form of tokens.
const sinceRules = 3

// longTokens reports whether tokens may have the longer form: every site, to which a client may take them, runs a build that reads it.
func (f *Feed) longTokens() bool {
	if f.longer.Load() {
		return true
	}
	for p := range f.r.Partitions() {
		if f.r.Status(journal.Partition(p)).Rules < sinceRules {
			return false
		}
	}
	f.longer.Store(true)
	return true
}

func (f *Feed) now() time.Time { return f.cfg.Clock.Now() }

// Place is the place in a room's history that a token from /sync stands for: everything up to it was sent. Errors are those of
// ParseToken; a token of another epoch is one, too.
func (f *Feed) Place(token string, r id.RoomID) (room.Place, error) {
	t, err := ParseToken(token)
	if err != nil {
		return room.Place{}, err
	}
	if t.Epoch != f.r.Epoch() || len(t.Positions) != f.r.Partitions() {
		return room.Place{}, badParam("the sync token is no longer valid")
	}
	return replica.End(t.Positions[replica.PartitionOf(id.SlotOf(r), len(t.Positions))]), nil
}
