package account

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// A profile is shown in rooms by member events, one in each, which is too much for the write that changes it. So that write leaves a
// row which says that they are owed, and the row goes when they are there. The site that took the write sees to it at once; if it
// burns, another one does (docs/adr/0029-profiles-are-shown-in-rooms-by-whoever-lives.md).

// sinceRules is the rules version from which on a change of a profile leaves that row.
const sinceRules = 2

// owe notes that a user's profile is to be shown in rooms.
func owe(tx *replica.Tx, user id.UserID) {
	if tx.Rules() < sinceRules {
		return
	}
	tx.Set(showKey(user), tx.Place().Append(nil))
	tx.Set(owedKey(tx.Partition(), user), kv.U64(nil, tx.Wall()))
}

type shownBody struct {
	User id.UserID `json:"user"`
	At   place     `json:"at"` // of the change that is shown
}

// shown notes that a profile is shown. If it has changed since, it is not: the result says so, and whoever has shown the old one must
// show the new one, lest the old one came last.
func shown(tx *replica.Tx, b shownBody) ([]byte, error) {
	at, ok := lastShow(tx, b.User)
	switch {
	case !ok:
		return nil, nil
	case b.At != place{uint64(at.Pos), at.Index}:
		return changed, nil
	}
	tx.Delete(owedKey(tx.Partition(), b.User))
	return nil, nil
}

// lastShow is where a user's profile last changed in a way that rooms show.
func lastShow(r kv.Reader, user id.UserID) (at replica.Place, ok bool) {
	v := r.Get(showKey(user))
	if v == nil {
		return at, false
	}
	d := decoder{v: v}
	at = d.place()
	d.end("profile change")
	return at, true
}

// HeraldConfig is what a Herald works with. Replica and Show are required.
type HeraldConfig struct {
	Replica *replica.Replica
	// Show brings a user's profile, as it is now, into the rooms that the user is in, and takes a user whose account is closed out of
	// them. What is there already makes no difference. An error means that it is to be tried again.
	Show func(ctx context.Context, user id.UserID) error
	// Patience is how long the site that took a change has before another one sees to it; default 15 s, and up to as much again.
	Patience time.Duration
	Log      *slog.Logger // default discards
}

// Herald has new names and pictures shown in rooms. It is safe for concurrent use.
//
// Invariant: a change that was acknowledged is shown in the end, as long as a site lives, and the latest one stays.
//
// Limits: one user at a time; what this site has not begun after Patience another one does as well.
type Herald struct {
	cfg     HeraldConfig
	wake    chan struct{}
	ctx     context.Context //nolint:containedctx // of the goroutine, ended by Close
	cancel  context.CancelFunc
	done    sync.WaitGroup
	mu      sync.Mutex
	waiting map[id.UserID]bool
	order   []id.UserID
}

const (
	// maxHeralded is how many users wait at most; the rows remember the others.
	maxHeralded = 10_000
	// showTime is how long the rooms of one user may take.
	showTime = time.Minute
)

// NewHerald starts one; Close ends it.
func NewHerald(cfg HeraldConfig) *Herald {
	if cfg.Patience == 0 {
		cfg.Patience = 15 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	h := &Herald{cfg: cfg, wake: make(chan struct{}, 1), waiting: map[id.UserID]bool{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.done.Go(h.run)
	return h
}

// Close ends it. What is not shown yet is shown after the next start, or by another site.
func (h *Herald) Close() {
	h.cancel()
	h.done.Wait()
}

// Tell has a user's profile shown soon. It returns at once.
func (h *Herald) Tell(user id.UserID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting[user] || len(h.order) >= maxHeralded {
		return
	}
	h.waiting[user] = true
	h.order = append(h.order, user)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *Herald) next() (id.UserID, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.order) == 0 {
		return "", false
	}
	user := h.order[0]
	h.order = h.order[1:]
	delete(h.waiting, user)
	return user, true
}

func (h *Herald) run() {
	patience := h.cfg.Patience + rand.N(h.cfg.Patience) // sites should not all begin at once
	look := time.NewTicker(patience / 2)
	defer look.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-h.wake:
		case <-look.C:
			if err := h.resume(patience); err != nil {
				h.cfg.Log.Error("cannot read which profiles are to be shown in rooms", "err", err)
			}
		}
		for user, ok := h.next(); ok && h.ctx.Err() == nil; user, ok = h.next() {
			if err := h.show(user); err != nil && h.ctx.Err() == nil {
				h.cfg.Log.Warn("a new profile is not shown in all rooms yet", "user", user, "err", err)
			}
		}
	}
}

// resume takes over what has been owed for longer than the site that began it should need.
func (h *Herald) resume(patience time.Duration) (err error) {
	defer kv.Recover(&err)
	r := h.cfg.Replica
	for i := range r.Partitions() {
		p := journal.Partition(i)
		now, prefix := r.Status(p).Wall, replica.Derived(p, machineByte, tableOwed)
		for k, v := range r.Rows().Scan(prefix, kv.End(prefix)) {
			name, value := decoder{v: k[len(prefix):]}, decoder{v: v}
			user, since := id.UserID(name.str()), int64(value.u64()) //nolint:gosec // milliseconds
			name.end("owed profile")
			value.end("owed profile")
			if now-since >= patience.Milliseconds() {
				h.Tell(user)
			}
		}
	}
	return nil
}

// show shows a profile until the one that was shown is the latest.
func (h *Herald) show(user id.UserID) (err error) {
	defer kv.Recover(&err)
	ctx, cancel := context.WithTimeout(h.ctx, showTime)
	defer cancel()
	for {
		at, noted := lastShow(h.cfg.Replica.Rows(), user)
		if err := h.cfg.Show(ctx, user); err != nil || !noted {
			return err
		}
		res, err := h.cfg.Replica.Submit(ctx, replica.Proposal{Kind: kindShown, Slot: id.SlotOf(user), Lane: string(user),
			Body: replica.Marshal(shownBody{user, place{uint64(at.Pos), at.Index}})})
		if err != nil || len(res) == 0 {
			return err
		}
	}
}
