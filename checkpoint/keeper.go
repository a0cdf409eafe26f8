// Package checkpoint keeps checkpoints of this site's state in files, exchanges them with the other sites, and trims the journal
// below what all sites hold.
//
// Invariants:
//   - A checkpoint that is listed was read back after it was written or fetched, and its hashes were right. It is read again once a
//     day.
//   - The journal is trimmed only below the older of two checkpoints that all sites hold with the same hashes; when a site is
//     absent for too long, below what a majority holds.
//   - Of two checkpoints of one position that differ, the one that more sites hold is believed; nothing is trimmed by such a position.
//   - Nothing here holds up apply.
//
// Limits: the two newest checkpoints of each partition are kept, so that the disk holds the state three times at most beside the
// rows, the third while one is being written. A checkpoint is written and fetched whole.
//
// Where things are: keeper.go (what the rest of the program sees), files.go (the directory), write.go (from the replica to a
// file), link.go (what sites ask each other), fetch.go (from another site to a file), compare.go (whether sites agree), trim.go.
package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"bongsu/clock"
	"bongsu/journal"
	"bongsu/replica"
)

// Every is how much of the state's time is proposed between two checkpoints of a partition, for replica.Config.CheckpointEvery. See
// docs/adr/0025.
const Every = 6 * time.Hour

// Link is what a Keeper needs of the connection to the other sites; link.Link is one.
type Link interface {
	// Handle serves requests of other sites.
	Handle(pattern string, h http.Handler)
	// Do sends a request to a site; the URL holds path and query only.
	Do(ctx context.Context, site string, req *http.Request) (*http.Response, error)
	// Peers are the names of the other sites.
	Peers() []string
}

// Journal is what a Keeper needs of the journal.
type Journal interface {
	Partitions() int
	Leads(p journal.Partition) bool
	Bounds(ctx context.Context, p journal.Partition) (first, last journal.Position, err error)
	Read(ctx context.Context, p journal.Partition, pos journal.Position) (journal.Entry, error)
	Trim(ctx context.Context, p journal.Partition, pos journal.Position) error
}

// Config says what a Keeper works on.
type Config struct {
	Dir     string // made if it is not there
	Site    string // this site's name
	Link    Link   // to the other sites; nil: there are none
	Journal Journal
	Reserve int64 // bytes of the disk that stay free: below them no checkpoint is written
	Rate    int64 // bytes a second that are written of a snapshot, at most; 0 means 64 MiB
	// Retain is how old the journal's first record may become while a site is absent. Beyond, the journal is trimmed without
	// regard to that site, which then comes back by a checkpoint; 0 means 7 days.
	Retain time.Duration
	// Interval is how often the sites' checkpoints are compared, and the journal trimmed; 0 means a minute.
	Interval time.Duration
	// Remake is told that the rows of a partition are wrong here: they cannot be read, or a majority of the sites had other ones at a
	// checkpoint. replica.Remake is one; nil: it is only logged. It must not block.
	Remake func(p journal.Partition, why error)
	Clock  clock.Clock
	Log    *slog.Logger
}

func (cfg Config) withDefaults() Config {
	if cfg.Rate == 0 {
		cfg.Rate = 64 << 20
	}
	if cfg.Retain == 0 {
		cfg.Retain = 7 * 24 * time.Hour
	}
	if cfg.Interval == 0 {
		cfg.Interval = time.Minute
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg
}

// Keeper keeps the checkpoints of one site. It is safe for concurrent use.
type Keeper struct {
	cfg    Config
	pace   *rate.Limiter
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup
	loaded chan struct{} // closed when what was in the directory has been verified
	poke   chan struct{} // a snapshot waits

	mu      sync.Mutex
	closed  bool
	waiting map[journal.Partition]*replica.Snapshot // to be written: the newest of each partition
	files   map[journal.Partition][]file            // verified, by position
	diverge []Divergence
	absent  []string // sites that did not answer in the last round
	trimmed map[journal.Partition]journal.Position

	fetching chan struct{} // holds a token while a fetch is under way; the others wait
}

// Open begins to verify what is in the directory, to serve other sites, and to compare and trim in the background.
func Open(cfg Config) (*Keeper, error) {
	cfg = cfg.withDefaults()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	k := &Keeper{cfg: cfg, pace: rate.NewLimiter(rate.Limit(cfg.Rate), pacedPart), loaded: make(chan struct{}), poke: make(chan struct{}, 1), fetching: make(chan struct{}, 1),
		waiting: map[journal.Partition]*replica.Snapshot{}, files: map[journal.Partition][]file{},
		trimmed: map[journal.Partition]journal.Position{}}
	k.ctx, k.cancel = context.WithCancel(context.Background()) //nolint:fatcontext // it lives as long as the Keeper
	found, err := k.list()
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	k.work.Go(func() {
		defer close(k.loaded)
		k.load(found)
	})
	k.work.Go(k.writer)
	k.work.Go(k.rounds)
	if cfg.Link != nil {
		k.serve()
	}
	return k, nil
}

// Close ends what runs in the background and waits for it.
func (k *Keeper) Close() {
	k.mu.Lock()
	k.closed = true
	for _, s := range k.waiting {
		s.Close()
	}
	clear(k.waiting)
	k.mu.Unlock()
	k.cancel()
	k.work.Wait()
}

// ready waits until the directory has been read.
func (k *Keeper) ready(ctx context.Context) error {
	select {
	case <-k.loaded:
		return k.ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rounds compares and trims from time to time.
func (k *Keeper) rounds() {
	if k.ready(k.ctx) != nil {
		return
	}
	for {
		k.round(k.ctx)
		select {
		case <-time.After(k.cfg.Interval):
		case <-k.ctx.Done():
			return
		}
	}
}

// round is one comparison of all sites.
func (k *Keeper) round(ctx context.Context) {
	k.reread()
	lists, absent := k.ask(ctx)
	k.mu.Lock()
	gone := !slices.Equal(k.absent, absent)
	k.absent = absent
	k.mu.Unlock()
	if gone && len(absent) > 0 {
		k.cfg.Log.Warn("checkpoint: sites do not answer; the journal is kept for them", "sites", absent, "for", k.cfg.Retain)
	}
	k.compare(lists)
	for p := range k.cfg.Journal.Partitions() {
		p := journal.Partition(p) //nolint:gosec // at most 64
		if err := k.trim(ctx, p, lists); err != nil && ctx.Err() == nil && !errors.Is(err, journal.ErrClosed) {
			k.cfg.Log.Warn("checkpoint: the journal cannot be trimmed now", "partition", p, "err", err)
		}
	}
}

// Status is what a Keeper holds and knows.
type Status struct {
	Files       []Entry                                `json:"files"`       // here, by partition and position
	Absent      []string                               `json:"absent"`      // sites that did not answer the last time
	Trimmed     map[journal.Partition]journal.Position `json:"trimmed"`     // up to where this site has trimmed in this run
	Divergences []Divergence                           `json:"divergences"` // an alarm: sites with different states, in this run
}

// Status reports what is here and what was found.
func (k *Keeper) Status() Status {
	s := Status{Files: k.entries()}
	k.mu.Lock()
	defer k.mu.Unlock()
	s.Absent, s.Divergences = slices.Clone(k.absent), slices.Clone(k.diverge)
	s.Trimmed = make(map[journal.Partition]journal.Position, len(k.trimmed))
	for p, pos := range k.trimmed {
		s.Trimmed[p] = pos
	}
	return s
}
