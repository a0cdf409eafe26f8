package blob

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"time"

	"bongsu/clock"
)

// Link is what a Mirror needs of the connection to the other sites; link.Link is one.
type Link interface {
	// Handle serves requests of other sites.
	Handle(pattern string, h http.Handler)
	// Do sends a request to a site; the URL holds path and query only.
	Do(ctx context.Context, site string, req *http.Request) (*http.Response, error)
	// Peers are the names of the other sites.
	Peers() []string
}

// Named is a blob that a record names.
type Named struct {
	Hash    Hash
	Created int64 // of the record, Unix milliseconds: the newest are fetched first
}

// MirrorConfig says what a Mirror works on.
type MirrorConfig struct {
	Store *Store
	Link  Link // to the other sites; nil: there are none
	// Named yields the blobs that records name, in any order, perhaps several times, as of a state that is not older than the
	// call. An error ends it, and then nothing that was yielded counts.
	Named func(ctx context.Context) iter.Seq2[Named, error]
	// Limit is the most bytes of a blob that is taken from another site; 0 means 1 GiB.
	Limit int64
	// Rate is how many bytes a second the background reads and fetches at most; 0 means 16 MiB.
	Rate int64
	// ScrubEvery is how often each blob is read and checked; 0 means a week.
	ScrubEvery time.Duration
	// SurveyEvery is how often records and blobs are compared; 0 means an hour.
	SurveyEvery time.Duration
	// KeepOrphans is how long a blob stays that no record names; 0 means a day. A record must follow its blob sooner.
	KeepOrphans time.Duration
	Clock       clock.Clock
	Log         *slog.Logger
}

// Mirror is the blobs of this site in step with those of the others: what Put returned is on stable storage in a majority of
// sites, what is missing here is fetched from there, and what has decayed is replaced.
type Mirror struct {
	cfg MirrorConfig
}

// Status is what a Mirror knows of this site's blobs.
type Status struct {
	Blobs    int       `json:"blobs"`    // here, as of the last survey
	Lacking  int       `json:"lacking"`  // named by a record and not here: fetched when another site has them
	Decayed  int       `json:"decayed"`  // whose bytes are wrong here and could not be replaced
	Scrubbed time.Time `json:"scrubbed"` // when the last scrub of all blobs ended; zero: never
}

// OpenMirror begins to serve other sites and to fetch and check in the background.
func OpenMirror(cfg MirrorConfig) *Mirror { return &Mirror{cfg: cfg} }

// Put stores what r yields, at most limit bytes, here and at as many other sites as make a majority with this one. Errors: those
// of Store.Put; Unavailable when too few sites can be reached.
func (m *Mirror) Put(ctx context.Context, r io.Reader, limit int64) (Hash, int64, error) {
	return m.cfg.Store.Put(ctx, r, limit)
}

// Open opens a blob for reading, fetching it from another site if it is not here; the caller closes it. A blob that no site
// has is errs.NotFound; errs.Unavailable when not every site could be asked.
func (m *Mirror) Open(ctx context.Context, h Hash) (io.ReadSeekCloser, error) {
	return m.cfg.Store.Open(h)
}

// Want says that a record names a blob which may not be here: it is fetched in the background. It does not block.
func (m *Mirror) Want(h Hash) {}

// Status reports what is here and what is not.
func (m *Mirror) Status() Status { return Status{} }

// Close ends what runs in the background and waits for it.
func (m *Mirror) Close() {}
