// Package checkpoint keeps checkpoints of this site's state in files, exchanges them with the other sites, and trims the journal
// below what all sites hold.
//
// Invariants:
//   - A checkpoint that is listed was read back after it was written or fetched, and its hashes were right.
//   - The journal is trimmed only below the older of two checkpoints that all sites hold with the same hashes; when a site is
//     absent for too long, below what a majority holds.
//   - Nothing here holds up apply.
package checkpoint

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"bongsu/clock"
	"bongsu/journal"
	"bongsu/replica"
)

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

// Snapshot is one partition's rows at one position, as the replica hands them over.
type Snapshot interface {
	Write(w io.Writer) (replica.CheckpointInfo, error)
	Close()
}

// Config says what a Keeper works on.
type Config struct {
	Dir     string // made if it is not there
	Site    string // this site's name
	Link    Link   // to the other sites; nil: there are none
	Journal Journal
	Reserve int64 // bytes of the disk that stay free: below them no checkpoint is written
	// Retain is how old the journal's first record may become while a site is absent. Beyond, the journal is trimmed without
	// regard to that site, which then comes back by a checkpoint; 0 means 7 days.
	Retain time.Duration
	Clock  clock.Clock
	Log    *slog.Logger
}

// Keeper keeps the checkpoints of one site. It is safe for concurrent use.
type Keeper struct{ cfg Config }

// Open reads what is in the directory, begins to serve other sites, and to compare and trim in the background.
func Open(cfg Config) (*Keeper, error) { return &Keeper{cfg: cfg}, nil }

// Take writes a snapshot of a partition to a file, later, and closes it; for replica.Config.Snapshot. It does not block: of several
// that wait for one partition the newest is written.
func (k *Keeper) Take(p journal.Partition, s Snapshot) {}

// Fetch returns the newest verified checkpoint of a partition at atLeast or later, from here or from another site; for
// replica.Config.Checkpoint. It returns nil when no site has one, and errs.Unavailable when not every site could be asked.
func (k *Keeper) Fetch(ctx context.Context, p journal.Partition, atLeast journal.Position) (*replica.CheckpointFile, error) {
	return nil, nil
}

// Close ends what runs in the background and waits for it.
func (k *Keeper) Close() error { return nil }
