package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"bongsu/clock"
	"bongsu/errs"
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
	// call. An error ends it, and then nothing that was yielded counts. nil: nobody knows, and nothing is compared or removed.
	Named func(ctx context.Context) iter.Seq2[Named, error]
	// Limit is the most bytes of a blob that is taken from another site; 0 means 1 GiB.
	Limit int64
	// Rate is how many bytes a second are read and fetched in the background, at most; 0 means 16 MiB.
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

func (cfg MirrorConfig) withDefaults() MirrorConfig {
	if cfg.Limit == 0 {
		cfg.Limit = 1 << 30
	}
	if cfg.Rate == 0 {
		cfg.Rate = 16 << 20
	}
	if cfg.ScrubEvery == 0 {
		cfg.ScrubEvery = 7 * 24 * time.Hour
	}
	if cfg.SurveyEvery == 0 {
		cfg.SurveyEvery = time.Hour
	}
	if cfg.KeepOrphans == 0 {
		cfg.KeepOrphans = 24 * time.Hour
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg
}

const (
	stall       = time.Second      // sends that have moved nothing for so long get a rival at the next site
	stallTicks  = 4                // looks at how much has moved, in that time
	shun        = 10 * time.Second // how long a site that failed is asked last
	sendAgain   = 5 * time.Second  // when to come back with an upload that only this site could keep
	fetchers    = 2                // blobs fetched in the background at a time
	maxFetching = 8                // blobs fetched because somebody waits, at a time
	maxWanted   = 1024             // blobs that wait to be fetched; what is over is found by a survey
)

// Mirror is the blobs of this site in step with those of the others: what Put returned is on stable storage in a majority of
// sites, what is missing here is fetched from there, and what has decayed is replaced. It is safe for concurrent use.
type Mirror struct {
	cfg   MirrorConfig
	store *Store
	pace  *rate.Limiter // of the background, in bytes

	ctx    context.Context // ends with Close; of everything in the background
	cancel context.CancelFunc
	work   sync.WaitGroup

	wanted chan Hash     // perhaps not here, or not as it should be
	look   chan struct{} // asks for a survey
	urgent chan struct{} // one token for each fetch that somebody waits for
	trust  trust         // in copies that were checked lately

	mu      sync.Mutex
	flights map[Hash]*flight
	failed  map[string]time.Time // site -> when it last failed
	decayed map[Hash]struct{}    // here, and no other site had it
	status  Status
}

// Status is what a Mirror knows of this site's blobs.
type Status struct {
	Blobs    int       `json:"blobs"`    // here, as of the last survey
	Lacking  int       `json:"lacking"`  // named by a record and not here
	Decayed  int       `json:"decayed"`  // whose bytes are wrong here and could not be replaced
	Surveyed time.Time `json:"surveyed"` // when records and blobs were last compared; zero: not in this run
	Scrubbed time.Time `json:"scrubbed"` // when the last reading of all blobs ended; zero: never
}

// OpenMirror begins to serve other sites, and to fetch and check in the background.
func OpenMirror(cfg MirrorConfig) *Mirror {
	cfg = cfg.withDefaults()
	m := &Mirror{cfg: cfg, store: cfg.Store, pace: rate.NewLimiter(rate.Limit(cfg.Rate), chunk),
		wanted: make(chan Hash, maxWanted), look: make(chan struct{}, 1), urgent: make(chan struct{}, maxFetching),
		flights: map[Hash]*flight{}, failed: map[string]time.Time{}, decayed: map[Hash]struct{}{}}
	m.ctx, m.cancel = context.WithCancel(context.Background()) //nolint:fatcontext // it lives as long as the Mirror
	if cfg.Link != nil {
		m.serve()
		for range fetchers {
			m.work.Go(m.fetchWanted)
		}
	}
	if cfg.Named != nil {
		m.work.Go(m.surveyor)
		m.work.Go(m.scrubber)
	}
	return m
}

// Close ends what runs in the background and waits for it.
func (m *Mirror) Close() {
	m.mu.Lock() // see fetch: nothing is begun from here on
	m.cancel()
	m.mu.Unlock()
	m.work.Wait()
}

// Status reports what is here and what is not.
func (m *Mirror) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.status
	s.Decayed = len(m.decayed)
	return s
}

// peers are the other sites, in the order in which to try them: those that failed a moment ago come last.
func (m *Mirror) peers() []string {
	if m.cfg.Link == nil {
		return nil
	}
	var well, ill []string
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, site := range m.cfg.Link.Peers() {
		if at, ok := m.failed[site]; ok && m.cfg.Clock.Now().Sub(at).Abs() < shun {
			ill = append(ill, site)
		} else {
			well = append(well, site)
		}
	}
	return append(well, ill...)
}

// judge remembers how a site did.
func (m *Mirror) judge(site string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		delete(m.failed, site)
	} else {
		m.failed[site] = m.cfg.Clock.Now()
	}
}

// Put stores what r yields, at most limit bytes, here and at as many other sites as make a majority with this one. Errors: those
// of Store.Put; Unavailable when too few sites can be reached.
func (m *Mirror) Put(ctx context.Context, r io.Reader, limit int64) (Hash, int64, error) {
	h, n, err := m.store.Put(ctx, r, limit)
	if err != nil {
		return "", 0, err
	}
	return h, n, m.spread(ctx, h)
}

// spread sends a blob to other sites until it is on stable storage in a majority. It begins with as many as are needed; one that
// fails, or takes nothing for a while, is replaced by the next.
func (m *Mirror) spread(ctx context.Context, h Hash) error {
	rest := m.peers()
	need := (len(rest) + 1) / 2
	if need == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	var sends sync.WaitGroup
	defer sends.Wait()
	defer cancel()
	var (
		results = make(chan error, len(rest))
		moved   atomic.Int64
		before  int64
		quiet   int // ticks since something moved
		running int
		causes  []error
	)
	next := func() {
		if len(rest) == 0 {
			return
		}
		site := rest[0]
		rest = rest[1:]
		running++
		sends.Go(func() { results <- m.send(ctx, site, h, &moved) })
	}
	for range need {
		next()
	}
	tick := time.NewTicker(stall / stallTicks)
	defer tick.Stop()
	for need > 0 {
		select {
		case err := <-results:
			running--
			if err == nil {
				need--
				continue
			}
			causes = append(causes, err)
			next()
			if running < need {
				return tooFew(errors.Join(causes...))
			}
		case <-tick.C:
			now := moved.Load()
			if now != before {
				before, quiet = now, 0
			} else if quiet++; quiet == stallTicks {
				quiet = 0
				next()
			}
		case <-ctx.Done():
			return errs.Wrap("blob.Put", ctx.Err())
		}
	}
	return nil
}

func tooFew(err error) error {
	return &errs.Error{Op: "blob.Put", Kind: errs.Unavailable, RetryAfter: sendAgain, Err: err,
		Message: "the file cannot be kept safely now: too few sites can be reached; try again soon"}
}

// Open opens a blob for reading, fetching it from another site if it is not here; the caller closes it. A blob that no site
// has is errs.NotFound; it is errs.Unavailable when not every site could be asked, or ctx ends before the blob is here.
func (m *Mirror) Open(ctx context.Context, h Hash) (io.ReadSeekCloser, error) {
	if !m.isDecayed(h) {
		err := m.sound(ctx, h)
		if err == nil {
			return m.store.Open(h)
		}
		if ctx.Err() != nil || m.cfg.Link == nil {
			return nil, err
		}
	} else if m.cfg.Link == nil {
		return nil, damagedHere(nil)
	}
	if err := m.fetch(ctx, h, nil); err != nil {
		return nil, err
	}
	return m.store.Open(h)
}

func late(err error) error {
	return &errs.Error{Op: "blob.Open", Kind: errs.Unavailable, RetryAfter: sendAgain, Err: err,
		Message: "the content is being fetched from another site; try again soon"}
}

// flight is a fetch that is under way, for whoever wants the same blob.
type flight struct {
	done chan struct{}
	err  error // set before done is closed
}

// fetch makes a blob be here, as it should be: it is taken from another site even if a file is here. It returns when the blob is
// there or ctx ends; the fetch itself goes on. leave is asked for every part read; nil: somebody waits, and no leave is needed.
func (m *Mirror) fetch(ctx context.Context, h Hash, leave func(context.Context, int) error) error {
	m.mu.Lock()
	if m.ctx.Err() != nil {
		m.mu.Unlock()
		return late(m.ctx.Err())
	}
	fl := m.flights[h]
	if fl == nil {
		fl = &flight{done: make(chan struct{})}
		m.flights[h] = fl
		m.work.Go(func() {
			if leave == nil {
				m.urgent <- struct{}{}
				defer func() { <-m.urgent }()
			}
			fl.err = m.fetchAny(h, leave)
			m.mu.Lock()
			delete(m.flights, h)
			if _, ok := m.decayed[h]; ok && fl.err == nil {
				delete(m.decayed, h)
				m.cfg.Log.Info("blob: a decayed file was replaced", "hash", h)
			}
			m.mu.Unlock()
			close(fl.done)
		})
	}
	m.mu.Unlock()
	select {
	case <-fl.done:
		return fl.err
	case <-ctx.Done():
		return late(ctx.Err())
	}
}

// fetchAny takes a blob from the first site that has it.
func (m *Mirror) fetchAny(h Hash, leave func(context.Context, int) error) error {
	var causes []error
	for _, site := range m.peers() {
		err := m.fetchFrom(m.ctx, site, h, leave)
		if err == nil {
			return nil
		}
		if isFull(err) || errs.Is(err, errs.TooLarge) { // our own disk, or the blob: no other site helps
			return err
		}
		causes = append(causes, fmt.Errorf("%s: %w", site, err))
	}
	if slices.ContainsFunc(causes, func(err error) bool { return !errors.Is(err, errAbsent) }) {
		return &errs.Error{Op: "blob.Open", Kind: errs.Unavailable, RetryAfter: sendAgain, Err: errors.Join(causes...),
			Message: "the content is at a site that cannot be reached now; try again soon"}
	}
	return errs.New("blob.Open", errs.NotFound, "", "the content is at no site")
}
