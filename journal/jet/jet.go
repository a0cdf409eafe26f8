// Package jet is the journal on NATS JetStream, embedded in the process. It is the only importer of NATS.
//
// Each partition is a stream in files, strictly append-only, trimmed only from the front: of one replica on a single node, of one in
// each site in a cluster, where the engines of the sites elect leaders and replicate. The engine syncs every record to disk before
// it acknowledges (SyncAlways) and is reached through connections within the process.
//
// Invariants:
//   - Before the engine sees its files, at every start, all of them are read and checked without changing a byte (scan.go): an
//     engine that rebuilds its index would cut a block at the first bad record and drop what follows. In a cluster the same goes for
//     what it has promised to the other sites (books.go), and all this happens before routes open.
//   - Beside the engine's files lower bounds of what they must show are kept (marks.go): on one node what was acknowledged, in a
//     cluster what the replica here has shown as committed. So a tail that has gone is told from one that was torn by a crash before
//     anybody heard of it. After the start the engine's own view is held against them too (engine.go, sight.go).
//   - What followers and readers are given is on a quorum: replicas apply nothing else.
//   - A data directory never changes engine mode, cluster or site: manifest.go refuses what is not its own.
//   - Every record carries a checksum of ours (frame.go), verified at every start and on every read.
//   - A failing engine never ends the process. When the disk was full and has space again the engine is restarted (keeper.go);
//     after any other write error nothing is appended until the process is started anew, since a disk that has failed to sync may
//     show what it does not hold. In a cluster such an engine is stopped, and the other sites go on.
//
// Limits: one process for each site, three or five sites. Memory: the engine keeps the block being written (up to 8 MiB) of each
// partition, the message ids of the last two minutes (about 150 bytes each), and one page of history for each follower (pageBytes).
// It relies on a file system where syncing a new file makes its name durable too, as ext4, xfs and btrfs do. A cluster's engine has a
// port for clients on the loopback interface, with a random password: it opens its routes only after such a port.
package jet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bongsu/journal"
)

// Config says where the journal lies and what it may use.
type Config struct {
	Dir        string // the journal's own directory; made if absent
	ServerName string // the engine's name, usually the site's; empty means "bongsu"
	Partitions int    // 0 means 4; constant for the life of the directory
	Reserve    int64  // bytes of free disk below which appends are refused with ErrFull; 0 means 256 MiB, negative none
	Budget     int64  // bytes of records above which appends are refused with ErrFull; 0 means no limit
	// First is where each partition begins when the journal of one node is made, for one that goes on from checkpoints; nil means
	// 1. It has no effect later. A cluster has its own.
	First   []journal.Position
	Cluster *Cluster     // nil: one node
	Log     *slog.Logger // nil discards
	// Checked is what Check found in Dir a moment ago: Open need not read everything again. It has an effect in a cluster only.
	Checked *Checked
	// Unchecked leaves out all looking for damage in a cluster's files: a weakness that drills plant, to see that they find it.
	Unchecked bool
}

func (c Config) withDefaults() Config {
	if c.ServerName == "" {
		c.ServerName = "bongsu"
	}
	if c.Partitions == 0 {
		c.Partitions = 4
	}
	if c.Reserve == 0 {
		c.Reserve = 256 << 20
	}
	if k := c.Cluster; k != nil {
		own := *k
		own.Timers, own.settle = k.Timers.withDefaults(), cmp.Or(k.settle, balanceAfter)
		if own.beat == nil {
			own.beat = beat
		}
		c.Cluster, c.ServerName = &own, k.Site
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Journal is a journal kept by an embedded engine.
type Journal struct {
	cfg   Config
	log   *slog.Logger
	lock  *os.File
	marks *marks
	// The files were read and checked before, and nobody could change them since; until an engine was started on them.
	checked bool
	used    atomic.Int64 // bytes of records, as the engine counts them

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	calls  sync.WaitGroup // public calls
	keeper sync.WaitGroup

	stopFor time.Duration // an engine that fell ill may take to stop

	bus subscriptions

	// Of a cluster only.
	books    books
	peers    *peers
	pulse    pulse
	sites    []string                // all, sorted
	sights   atomic.Pointer[sights]  // nil while there is no engine
	reigns   []atomic.Pointer[reign] // of each partition's leader
	groups   []string                // of the books; nil until formed
	formed   chan struct{}           // closed when all partitions have been seen here
	draining atomic.Bool

	mu      sync.Mutex
	closed  bool
	eng     *engine       // nil while there is none
	broken  error         // why there will be none again
	full    bool          // there is none until there is space on the disk
	changed chan struct{} // closed and replaced when one of these changes
}

var _ journal.Journal = (*Journal)(nil)

// Open opens the journal in c.Dir, or makes a new one in a directory that is empty or absent. It returns ErrDamaged when
// records are missing or fail their checksum, without having changed anything. In a cluster it opens the routes and does not wait for
// other sites: reads and appends do. Whoever calls it has made sure that this site may vote (an emptied one not before its time).
func Open(c Config) (*Journal, error) {
	c = c.withDefaults()
	if c.Dir == "" || c.Partitions < 1 || c.Partitions > 1024 {
		return nil, fmt.Errorf("jet: a directory and 1 to 1024 partitions are needed, not %q and %d", c.Dir, c.Partitions)
	}
	if err := c.checkFirst(); err != nil {
		return nil, err
	}
	if c.Cluster != nil {
		if err := c.Cluster.check(c.Partitions); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("jet: %w", err)
	}
	lock, err := c.Checked.take(c.Dir)
	checked := lock != nil
	if err == nil && !checked {
		lock, err = lockDir(c.Dir)
	}
	if err != nil {
		return nil, err
	}
	j := &Journal{cfg: c, log: c.Log.With("part", "journal"), lock: lock, checked: checked, changed: make(chan struct{}),
		formed: make(chan struct{}), stopFor: stopFor}
	j.ctx, j.cancel = context.WithCancel(context.Background())
	start := j.start
	if k := c.Cluster; k != nil {
		j.peers, j.sites = newPeers(k), slices.Sorted(slices.Values(k.Sites))
		j.reigns = make([]atomic.Pointer[reign], c.Partitions)
		for p := range j.reigns {
			j.reigns[p].Store(&reign{ctx: context.Background(), end: func() {}})
		}
		start = j.startCluster
	}
	if err := start(); err != nil {
		j.cancel()
		return nil, errors.Join(remedy(err, c.Cluster != nil), j.marks.close(), j.books.close(), lock.Close())
	}
	j.checked = false
	j.bus.move(j.eng)
	j.keeper.Go(j.keep)
	if c.Cluster != nil {
		for _, f := range []func(){j.watch, j.form, j.greet, j.feel, j.balance} {
			j.keeper.Go(f)
		}
	}
	return j, nil
}

// openMarks opens what is remembered beside the engine's files.
func (j *Journal) openMarks(fresh bool) (err error) {
	if j.marks, err = openMarks(filepath.Join(j.cfg.Dir, marksFile), j.cfg.Partitions, fresh); err != nil {
		return err
	}
	if fresh {
		err = j.marks.begin(j.cfg)
	}
	if err != nil || j.cfg.Cluster == nil {
		return err
	}
	j.books.marks, err = openMarks(filepath.Join(j.cfg.Dir, booksFile), j.cfg.Partitions+1, fresh)
	return err
}

// start opens the files and the first engine.
func (j *Journal) start() error {
	state, _, err := checkManifest(j.cfg)
	if err != nil {
		return err
	}
	fresh := state == Empty
	if err := j.openMarks(fresh); err != nil {
		return err
	}
	if j.eng, err = j.openEngine(fresh); err != nil {
		return err
	}
	if !fresh {
		return nil
	}
	// The manifest comes last: only with it the directory counts as a journal.
	if err := syncTree(j.cfg.Dir); err != nil {
		j.eng.stop()
		return fmt.Errorf("jet: %w", err)
	}
	if err := writeManifest(j.cfg, nil); err != nil {
		j.eng.stop()
		return err
	}
	return nil
}

// openEngine checks the files, starts an engine on them and checks that it sees what is there.
func (j *Journal) openEngine(fresh bool) (*engine, error) {
	begin := time.Now()
	var found []extent
	if !fresh {
		var err error
		if found, err = j.scan(); err != nil {
			return nil, err
		}
	}
	scanned := time.Now()
	e, err := startEngine(j.cfg, j.log, fresh)
	if err != nil {
		return nil, err
	}
	if j.cfg.Cluster == nil { // over several sites its view comes later, and watch compares
		used, err := e.compare(j.cfg, found, j.marks)
		if err != nil {
			e.stop()
			return nil, err
		}
		j.used.Store(used)
	}
	j.log.Info("journal is open", "bytes", j.used.Load(), "scan", scanned.Sub(begin), "start", time.Since(scanned))
	return e, nil
}

// scan reads and checks all files.
func (j *Journal) scan() ([]extent, error) {
	if j.cfg.Unchecked || j.checked {
		return nil, nil
	}
	if j.cfg.Cluster != nil {
		j.mu.Lock()
		groups := j.groups
		j.mu.Unlock()
		return scanCluster(j.cfg.Dir, j.cfg.Partitions, groups, j.marks, j.books)
	}
	return scanAll(j.cfg.Dir, j.cfg.Partitions, j.marks)
}

// Partitions is how many partitions there are.
func (j *Journal) Partitions() int { return j.cfg.Partitions }

// enter counts a call in, unless the journal is closed; the caller counts itself out with j.calls.Done.
func (j *Journal) enter(ctx context.Context, p journal.Partition) error {
	if err := journal.CheckPartition(j.cfg.Partitions, p); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return journal.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	j.calls.Add(1)
	return nil
}

// engine waits until there is an engine.
func (j *Journal) engine(ctx context.Context) (*engine, error) { return j.await(ctx, false) }

// await is engine; an append does not wait for space on the disk.
func (j *Journal) await(ctx context.Context, appending bool) (*engine, error) {
	for {
		j.mu.Lock()
		e, broken, full, changed := j.eng, j.broken, j.full, j.changed
		j.mu.Unlock()
		if err := j.ended(ctx); err != nil {
			return nil, err
		}
		if broken != nil {
			return nil, broken
		}
		if e != nil {
			return e, nil
		}
		if full && appending {
			return nil, journal.ErrFull
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-j.ctx.Done():
		}
	}
}

// ended is why a call must end now, or nil.
func (j *Journal) ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if j.ctx.Err() != nil {
		return journal.ErrClosed
	}
	return nil
}

// setEngine replaces the engine, or says with broken that there will be none again.
func (j *Journal) setEngine(e *engine, broken error) { j.replaceEngine(e, broken, false) }

func (j *Journal) replaceEngine(e *engine, broken error, full bool) {
	j.mu.Lock()
	j.eng, j.broken, j.full = e, broken, full
	close(j.changed)
	j.changed = make(chan struct{})
	j.mu.Unlock()
	j.bus.move(e)
}

// Close ends followers, waits for the calls in flight and stops the engine.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	j.mu.Unlock()
	if j.cfg.Cluster != nil {
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		if err := j.Drain(ctx); err != nil {
			j.log.Info("the other sites have to elect", "err", err)
		}
		cancel()
	}
	j.cancel()
	j.calls.Wait()
	j.keeper.Wait()
	if j.eng != nil {
		j.eng.stop()
	}
	return errors.Join(j.marks.close(), j.books.close(), j.lock.Close())
}
