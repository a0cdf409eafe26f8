package replica

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"bongsu/clock"
	"bongsu/errs"
	"bongsu/journal"
	"bongsu/kv"
)

// Config says what a replica works on.
type Config struct {
	DB       *kv.DB
	Journal  journal.Journal
	Machines []Machine
	Rules    uint16   // the newest rules version that this build knows; 0 counts as 1
	Site     string   // this site's name: 1 to 32 of a-z, 0-9 and "-"
	Boot     uint64   // number of this run: greater than that of any earlier run of this data directory
	Sites    []string // all sites, for the first record; empty: this one alone
	Queue    int      // bytes of proposals that may wait for one partition; 0 means 8 MiB
	Clock    clock.Clock
	Log      *slog.Logger
	// Stamps says whether this site's clock may move the time of the state; nil means yes. While it may not, records of this site
	// carry no stamp.
	Stamps func() bool
	// Checkpoint returns the newest verified checkpoint of a partition that this site can get, from its own disk or from
	// another site, if it is at atLeast or later; nil: there is none. It is asked when the journal no longer holds what the
	// rows lack, and when the rows are so far behind that loading is faster than applying.
	Checkpoint func(ctx context.Context, p journal.Partition, atLeast journal.Position) (*CheckpointFile, error)
	// CheckpointEvery is how much of the state's wall time passes between two calls of Snapshot; 0: never. It must be the same at
	// all sites, so that their checkpoints are at the same positions.
	CheckpointEvery time.Duration
	// Snapshot is handed the rows of a partition at each checkpoint position, right after the commit, also while history is
	// applied. It must not block: somebody else writes the snapshot and closes it.
	Snapshot func(*Snapshot)
	// Diverged is told before the rows of a partition are made anew because a majority of the sites holds another state. This site's
	// own checkpoints above agreed may be of the wrong state and must not be returned by Checkpoint any more. nil: nothing is kept.
	Diverged func(p journal.Partition, agreed journal.Position)
	// Observer follows the journal and never appends to it: nothing can be submitted, nothing ticks.
	Observer bool
	// EveryRecord commits after every record even while history is applied; for tests.
	EveryRecord bool
}

// Replica is the state of this site and its connection to the journal.
type Replica struct {
	db          *kv.DB
	j           journal.Journal
	kinds       map[string]registered
	renewing    []Machine
	rules       uint16
	site        string
	boot        uint64
	sites       []string
	clock       clock.Clock
	log         *slog.Logger
	observer    bool
	everyRecord bool

	parts      []*partition
	forwarders []forwarders
	target     []journal.Position // the journal's end at start
	sink       func(Commit)

	failures atomic.Int64 // proposals whose handler panicked or failed
	refused  atomic.Int64 // messages whose handler refused

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Commit tells a subscriber what has become visible: wake-ups, not data.
type Commit struct {
	Partition journal.Partition
	Pos       journal.Position // everything up to here can be read
	Notes     []any            // what handlers gave to Tx.Note, in order
	// Remade says that rows of the partition were discarded: whatever was remembered of it is void. It is said once before they
	// go, with Pos 0, and once when the partition is in service again.
	Remade bool
}

// Open brings the rows into agreement with the journal's past: what the journal does not confirm is discarded, what it no
// longer holds is loaded from a checkpoint. Nothing is applied before Start.
func Open(ctx context.Context, cfg Config) (_ *Replica, err error) {
	defer kv.Recover(&err)
	kinds, err := register(cfg.Machines)
	if err != nil {
		return nil, err
	}
	r := &Replica{db: cfg.DB, j: cfg.Journal, kinds: kinds, renewing: machinesThatRenew(cfg.Machines), rules: max(cfg.Rules, 1), site: cfg.Site, boot: cfg.Boot,
		sites: cfg.Sites, clock: cfg.Clock, log: cfg.Log, observer: cfg.Observer, everyRecord: cfg.EveryRecord}
	if r.site == "" || r.boot == 0 {
		return nil, errors.New("replica: site and boot number are required")
	}
	if len(r.sites) == 0 {
		r.sites = []string{r.site}
	}
	if r.clock == nil {
		r.clock = clock.System{}
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	queueMax := cfg.Queue
	if queueMax == 0 {
		queueMax = 8 << 20
	}
	n := r.j.Partitions()
	r.target = make([]journal.Position, n)
	for i := range n {
		p := journal.Partition(i)
		pt := &partition{r: r, n: p, of: n, queue: newQueue(queueMax), wake: make(chan struct{}, 1),
			changed: make(chan struct{}), inflight: map[uint64][]*request{}, dueAt: map[Clock]int64{}, lastSent: r.clock.Now()}
		r.parts = append(r.parts, pt)
		var fs forwarders
		for to := range n {
			fs = append(fs, &forwarder{r: r, from: p, to: journal.Partition(to), poked: make(chan struct{}, 1)})
		}
		r.forwarders = append(r.forwarders, fs)
		if err := pt.recover(ctx, cfg.Checkpoint); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// recover makes the partition's rows agree with the journal and loads what is kept in memory.
func (pt *partition) recover(ctx context.Context, checkpoint func(context.Context, journal.Partition, journal.Position) (*CheckpointFile, error)) error {
	first, last, err := pt.r.j.Bounds(ctx, pt.n)
	if err != nil {
		return fmt.Errorf("replica: partition %d: %w", pt.n, err)
	}
	pt.r.target[pt.n] = last
	ok, err := pt.confirmed(ctx, first, last)
	if err != nil {
		return fmt.Errorf("replica: partition %d: %w", pt.n, err)
	}
	if !ok {
		if err := pt.discard(); err != nil {
			return err
		}
		if first > 1 {
			if err := pt.restore(ctx, checkpoint, first, last); err != nil {
				return err
			}
		}
	}
	if err := pt.load(); err != nil {
		return err
	}
	pt.visible.pos.Store(uint64(pt.next))
	pt.status = PartitionStatus{Applied: pt.next, Digest: pt.digest, Wall: pt.sys.wall, Live: pt.sys.live, Rules: pt.sys.rules, Epoch: pt.sys.epoch}
	for c, at := range pt.due {
		pt.dueAt[c] = at
	}
	if pt.next < last {
		pt.logger().Info("applying history", "from", pt.next+1, "to", last)
	}
	return nil
}

// confirmed reports whether the rows are a state that this journal leads to: whether the record at the applied position is
// the one that was applied, and the next one can be had.
func (pt *partition) confirmed(ctx context.Context, first, last journal.Position) (bool, error) {
	v := pt.r.db.Get(appliedKey(pt.n))
	if v == nil {
		return false, nil // nothing, or what is left of a checkpoint whose loading was cut off
	}
	a, ok := decodeApplied(v)
	if !ok || a.pos > last || a.pos+1 < first {
		pt.logger().Warn("the rows do not fit the journal and are discarded", "pos", a.pos, "first", first, "last", last)
		return false, nil
	}
	if a.pos < first {
		return true, nil // the very record was trimmed, which happens only below a verified checkpoint
	}
	e, err := pt.r.j.Read(ctx, pt.n, a.pos)
	if err != nil {
		return false, err
	}
	if sha256.Sum256(e.Data) != a.record {
		pt.logger().Warn("the journal holds another record where the rows were left; they are discarded", "pos", a.pos)
		return false, nil
	}
	return true, nil
}

// discard removes all rows of the partition.
func (pt *partition) discard() error {
	b := pt.r.db.Batch()
	for _, kr := range append(stateRanges(pt.n, pt.of), derivedRange(pt.n)) {
		b.DeleteRange(kr.lo, kr.hi)
	}
	b.Delete(appliedKey(pt.n))
	return b.Commit()
}

// Start begins to follow the journal and to accept proposals; sink is called after every commit, from the partition's
// goroutine, and must not block. It returns when everything that was in the journal at Open has been applied, and every
// partition has begun.
func (r *Replica) Start(ctx context.Context, sink func(Commit)) error {
	r.sink = sink
	run, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	for _, pt := range r.parts {
		r.wg.Go(func() { pt.follow(run) })
		if r.observer {
			pt.queue.close(unavailable("this is an observer"))
		}
	}
	for i, pt := range r.parts {
		if err := r.WaitFor(ctx, pt.n, r.target[i]); err != nil {
			return errors.Join(err, r.Status(pt.n).Err)
		}
	}
	if r.observer {
		return nil
	}
	// Only now: the timers and the messages that history passes have been seen to long ago.
	for i, pt := range r.parts {
		r.wg.Go(func() { pt.send(run) })
		for _, f := range r.forwarders[i] {
			r.wg.Go(func() { f.run(run) })
		}
	}
	for _, pt := range r.parts {
		s := r.Status(pt.n)
		var err error
		switch {
		case s.Rules == 0: // not begun, although a tick may be there already
			_, err = r.Submit(ctx, r.first(pt.n))
			if errs.Is(err, errs.Conflict) {
				err = nil // another site was faster
			}
		case s.Rules < r.rules:
			err = r.upgrade(ctx, pt.n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Close stops: nothing more is accepted, what is in flight is finished, goroutines end. The journal and the rows stay open.
func (r *Replica) Close() {
	for _, pt := range r.parts {
		pt.queue.close(unavailable("the server is stopping"))
	}
	if r.cancel != nil {
		for _, pt := range r.parts {
			pt.drain()
		}
		r.cancel()
	}
	r.wg.Wait()
}

// drain waits until no record is in flight, at most two seconds.
func (pt *partition) drain() {
	limit := time.NewTimer(2 * time.Second)
	defer limit.Stop()
	for {
		pt.mu.Lock()
		n, changed := len(pt.inflight), pt.changed
		pt.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			return
		}
	}
}

// View is a consistent reading of the rows: all partitions at one moment, with their positions.
type View struct {
	*kv.View
	at []journal.Position
}

// View takes one. Close it soon.
func (r *Replica) View() *View {
	v := &View{at: make([]journal.Position, len(r.parts))}
	var seqs [16]uint64 // of the first partitions; more read their row
	for i, pt := range r.parts {
		if i < len(seqs) {
			seqs[i], v.at[i] = pt.visible.read()
		}
	}
	v.View = r.db.View()
	for i, pt := range r.parts {
		if i < len(seqs) && pt.visible.still(seqs[i]) {
			continue
		}
		v.at[i] = 0
		if a, ok := decodeApplied(v.Get(appliedKey(journal.Partition(i)))); ok {
			v.at[i] = a.pos
		}
	}
	return v
}

// visible is up to where a partition can be read, for views: a position and a number that is odd while a commit is under
// way, so that a view knows whether the position that it read before is the one that it sees.
type visible struct{ seq, pos atomic.Uint64 }

// change makes pos visible by calling commit.
func (v *visible) change(pos journal.Position, commit func() error) error {
	v.seq.Add(1)
	err := commit()
	if err == nil {
		v.pos.Store(uint64(pos))
	}
	v.seq.Add(1)
	return err
}

func (v *visible) read() (seq uint64, pos journal.Position) {
	return v.seq.Load(), journal.Position(v.pos.Load())
}

// still reports whether nothing has been committed since seq was read, nor was being committed then.
func (v *visible) still(seq uint64) bool { return seq%2 == 0 && v.seq.Load() == seq }

// Positions are the positions of the partitions in this view; not to be changed.
func (v *View) Positions() []journal.Position { return v.at }

// Rows reads the newest committed rows, for reads of a single row.
func (r *Replica) Rows() kv.Reader { return r.db }

// Partitions is how many there are.
func (r *Replica) Partitions() int { return len(r.parts) }

// Status reports where partition p stands.
func (r *Replica) Status(p journal.Partition) PartitionStatus {
	pt := r.parts[p]
	pt.mu.Lock()
	defer pt.mu.Unlock()
	return pt.status
}

// Ready returns when every partition has applied what the journal held at the start and has begun. With one site Start has seen to
// that; with several it does not wait for the others, and this does.
func (r *Replica) Ready(ctx context.Context) error { return nil }

// Positions are the positions applied so far, one for each partition.
func (r *Replica) Positions() []journal.Position {
	out := make([]journal.Position, len(r.parts))
	for i := range out {
		out[i] = r.Status(journal.Partition(i)).Applied
	}
	return out
}

// Failures is how many proposals failed through a bug in a state machine, in this run; Refused how many messages between
// slots were refused.
func (r *Replica) Failures() int64 { return r.failures.Load() }

// Refused is how many messages of timers and outboxes were refused, in this run.
func (r *Replica) Refused() int64 { return r.refused.Load() }

// Waiting is how many proposals wait in the queue of partition p for their turn.
func (r *Replica) Waiting(p journal.Partition) int { return r.parts[p].queue.len() }
