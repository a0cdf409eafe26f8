package replica

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"bongsu/clock"
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
	Sites    []string // all sites, the same everywhere: for the first record, and to know that others are there; empty: this one alone
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
	forgetting  []func() // Machine.Forget, of those that have one
	deriving    []Machine
	rules       uint16
	site        string
	boot        uint64
	sites       []string
	clock       clock.Clock
	log         *slog.Logger
	observer    bool
	everyRecord bool
	stamps      func() bool
	checkpoint  func(context.Context, journal.Partition, journal.Position) (*CheckpointFile, error)
	every       int64 // milliseconds of wall time between checkpoints; 0: none
	snapshot    func(*Snapshot)
	diverged    func(journal.Partition, journal.Position)

	parts      []*partition
	forwarders []forwarders
	sink       func(Commit)

	sealing  chan struct{} // closed by Seal
	sealOnce sync.Once

	outs       atomic.Int32  // partitions out of service
	generation atomic.Uint64 // of the rows

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

// Open makes a replica on the rows that there are. With one site it also brings them into agreement with the journal's past;
// with several that is done after Start, when the journal answers. Nothing is applied before Start.
func Open(ctx context.Context, cfg Config) (_ *Replica, err error) {
	defer kv.Recover(&err)
	kinds, err := register(cfg.Machines)
	if err != nil {
		return nil, err
	}
	r := &Replica{db: cfg.DB, j: cfg.Journal, kinds: kinds, renewing: machinesThatRenew(cfg.Machines), deriving: machinesThatDerive(cfg.Machines),
		rules: max(cfg.Rules, 1), site: cfg.Site, boot: cfg.Boot, sites: cfg.Sites, clock: cfg.Clock, log: cfg.Log,
		observer: cfg.Observer, everyRecord: cfg.EveryRecord, stamps: cfg.Stamps, checkpoint: cfg.Checkpoint, every: cfg.CheckpointEvery.Milliseconds(), snapshot: cfg.Snapshot,
		diverged: cfg.Diverged, sealing: make(chan struct{})}
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
	if r.stamps == nil {
		r.stamps = func() bool { return true }
	}
	queueMax := cfg.Queue
	if queueMax == 0 {
		queueMax = 8 << 20
	}
	for _, m := range cfg.Machines {
		if m.Forget != nil {
			r.forgetting = append(r.forgetting, m.Forget)
		}
	}
	n := r.j.Partitions()
	for i := range n {
		p := journal.Partition(i)
		pt := newPartition(r, p, n, queueMax)
		r.parts = append(r.parts, pt)
		var fs forwarders
		for to := range n {
			fs = append(fs, &forwarder{r: r, from: p, to: journal.Partition(to), poked: make(chan struct{}, 1)})
		}
		r.forwarders = append(r.forwarders, fs)
		if err := pt.open(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func newPartition(r *Replica, p journal.Partition, of, queueMax int) *partition {
	return &partition{r: r, n: p, of: of, queue: newQueue(queueMax), wake: make(chan struct{}, 1), changed: make(chan struct{}),
		inflight: map[uint64]flight{}, dueAt: map[Clock]int64{}, peers: map[string]*peer{}, begun: make(chan struct{}), ended: make(chan struct{})}
}

// open takes up the rows that there are.
func (pt *partition) open(ctx context.Context) error {
	pt.lastSent = pt.r.clock.Now()
	pt.lastMark = pt.lastSent
	if pt.r.alone() {
		return pt.agree(ctx)
	}
	if err := pt.load(); err != nil {
		return err
	}
	sound := pt.r.db.Get(appliedKey(pt.n)) != nil
	if sound {
		if err := pt.derive(); err != nil {
			sound = false
			pt.logger().Error("rows cannot be read and are made anew", "err", err)
		}
	}
	pt.publish()
	if !sound {
		pt.leave(0)
	}
	return nil
}

// alone reports whether there are no other sites.
func (r *Replica) alone() bool { return len(r.sites) == 1 }

// leads reports whether this site is the first to do what one site should do for p.
func (r *Replica) leads(p journal.Partition) bool { return r.alone() || r.j.Leads(p) }

// Start begins to follow the journal and to accept proposals; sink is called after every commit, from the partition's
// goroutine, and must not block. With one site it returns when everything that was in the journal at Open has been applied, and
// every partition has begun. With several it returns at once: a site that is alone serves what it has, and Ready waits.
func (r *Replica) Start(ctx context.Context, sink func(Commit)) error {
	r.sink = sink
	run, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	for i, pt := range r.parts {
		r.wg.Go(func() { pt.follow(run) })
		if r.observer {
			pt.queue.close(unavailable("this is an observer"))
			continue
		}
		r.wg.Go(func() { pt.send(run) })
		for _, f := range r.forwarders[i] {
			r.wg.Go(func() { f.run(run) })
		}
		if !r.alone() {
			r.wg.Go(func() { pt.keepBeginning(run) })
		}
	}
	if !r.alone() {
		return nil
	}
	for _, pt := range r.parts {
		if err := pt.await(ctx, func() bool { return pt.caught }); err != nil {
			return errors.Join(err, r.Status(pt.n).Err)
		}
	}
	for _, pt := range r.parts {
		if r.observer {
			break
		}
		if err := pt.begin(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Ready returns when every partition has applied what the journal held at the start and has begun. With one site Start has seen to
// that. It fails as WaitFor does.
func (r *Replica) Ready(ctx context.Context) error {
	for _, pt := range r.parts {
		if err := pt.await(ctx, func() bool { return pt.caught }); err != nil {
			return errors.Join(err, r.Status(pt.n).Err)
		}
	}
	for _, pt := range r.parts {
		if r.observer || r.alone() {
			break
		}
		select {
		case <-pt.begun:
		case <-ctx.Done():
			return unavailable("a majority of the sites cannot be reached")
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
