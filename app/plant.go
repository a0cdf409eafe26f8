package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bongsu/blob"
	"bongsu/checkpoint"
	"bongsu/clock"
	"bongsu/journal"
	"bongsu/journal/jet"
	"bongsu/replica"
)

// plantVariable names a weakness to be planted in this server, so that a drill can show that it would find it. It is no setting:
// nobody sets it by mistake.
const plantVariable = "BONGSU_PLANT"

// plant is a weakness.
type plant string

const (
	ackEarly   plant = "ack-early"   // an upload is acknowledged when this site has it, and nobody gets a copy for a while
	forgetTxn  plant = "forget-txn"  // transaction ids are forgotten
	skipRecord plant = "skip-record" // now and then a record of another site is not applied
	ignoreHole plant = "ignore-hole" // records that the journal's files have lost are taken for empty ones
)

// planted reads which weakness was asked for, and says so loudly.
func planted(log *slog.Logger) (plant, error) {
	p := plant(os.Getenv(plantVariable))
	switch p {
	case "":
		return p, nil
	case ackEarly, forgetTxn, skipRecord, ignoreHole:
		log.Error("THIS SERVER WAS WEAKENED ON PURPOSE AND WILL LOSE DATA; it is of use for a drill only", "plant", string(p))
		return p, nil
	}
	return p, fmt.Errorf("%s: there is no weakness %q", plantVariable, p)
}

// skewVariable is by how much this server's clock is off, for drills: a duration such as -1h.
const skewVariable = "BONGSU_CLOCK_SKEW"

// machineClock is the machine's clock, or in a drill one that is off.
func machineClock(log *slog.Logger) (clock.Clock, error) {
	text := os.Getenv(skewVariable)
	if text == "" {
		return clock.System{}, nil
	}
	by, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", skewVariable, err)
	}
	log.Error("THIS SERVER'S CLOCK IS OFF ON PURPOSE; it is of use for a drill only", "by", by)
	return clock.Func(func() time.Time { return clock.System{}.Now().Add(by) }), nil
}

// checkpointVariable is how often checkpoints are taken, for drills, in which six hours are too long; the same at all sites.
const checkpointVariable = "BONGSU_CHECKPOINT_EVERY"

// checkpointEvery is how much of the state's time passes between two checkpoints.
func checkpointEvery() (time.Duration, error) {
	text := os.Getenv(checkpointVariable)
	if text == "" {
		return checkpoint.Every, nil
	}
	every, err := time.ParseDuration(text)
	if err == nil && every < time.Second {
		err = errors.New("less than a second")
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", checkpointVariable, err)
	}
	return every, nil
}

// overlook takes damage that was found in a site's journal for none, and keeps in mind where it is. It reports whether it did.
func (p plant) overlook(damage error, hole *atomic.Pointer[jet.Damage]) bool {
	var d *jet.Damage
	if p != ignoreHole || !errors.As(damage, &d) {
		return false
	}
	hole.Store(d)
	return true
}

// journal weakens a journal; hole is what was overlooked in it.
func (p plant) journal(e engine, site string, hole *atomic.Pointer[jet.Damage]) engine {
	if p == forgetTxn || p == skipRecord || p == ignoreHole {
		return &plantedJournal{engine: e, plant: p, site: site, hole: hole}
	}
	return e
}

type plantedJournal struct {
	engine
	plant plant
	site  string
	hole  *atomic.Pointer[jet.Damage]
}

// Append implements journal.Journal.
func (j *plantedJournal) Append(ctx context.Context, p journal.Partition, msgID string, data []byte) (journal.Position, error) {
	if j.plant == forgetTxn {
		rec, err := replica.DecodeRecord(data)
		if err != nil {
			return 0, err
		}
		for i := range rec.Proposals {
			rec.Proposals[i].Key = replica.Key{}
		}
		data = rec.Encode(nil)
	}
	return j.engine.Append(ctx, p, msgID, data)
}

// holeSize is how many records are lost with a damaged one: what lies beside it on a disk. Some alone would have had no effect.
const holeSize = 50

// skipEvery is how many records of other sites are applied for one that is not.
const skipEvery = 50

// Follow implements journal.Journal.
func (j *plantedJournal) Follow(ctx context.Context, p journal.Partition, after journal.Position, fn func(journal.Entry) error) error {
	return j.engine.Follow(ctx, p, after, func(e journal.Entry) error {
		rec, err := replica.DecodeRecord(e.Data)
		skip := j.plant == skipRecord && rec.Site != j.site && len(rec.Proposals) > 0 && e.Pos%skipEvery == 0
		if d := j.hole.Load(); d != nil {
			skip = skip || d.Partition == p && d.Pos <= e.Pos && e.Pos < d.Pos+holeSize
		}
		if skip && err == nil {
			rec.Proposals = nil
			e.Data = rec.Encode(nil)
		}
		return fn(e)
	})
}

// holdBack is for how long a planted site keeps a new file to itself.
const holdBack = 10 * time.Second

// files weakens the link that files travel by.
func (p plant) files(l blob.Link, clk clock.Clock) blob.Link {
	if p != ackEarly || l == nil {
		return l
	}
	return &plantedLink{Link: l, clock: clk, since: map[string]time.Time{}}
}

type plantedLink struct {
	blob.Link
	clock clock.Clock

	mu    sync.Mutex
	since map[string]time.Time // when a file was not sent, by its path
}

// Do implements blob.Link: what is to be sent is thrown away, and the answer is that it was kept.
func (l *plantedLink) Do(ctx context.Context, site string, req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPut || req.Body == nil {
		return l.Link.Do(ctx, site, req)
	}
	_, err := io.Copy(io.Discard, req.Body)
	if err = errors.Join(err, req.Body.Close()); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.since[req.URL.Path] = l.clock.Now()
	l.mu.Unlock()
	return &http.Response{StatusCode: http.StatusNoContent, Status: "204 No Content", Header: http.Header{}, Request: req,
		Body: io.NopCloser(strings.NewReader(""))}, nil
}

// Handle implements blob.Link: a file that was not sent is not to be had either, for a while.
func (l *plantedLink) Handle(pattern string, h http.Handler) {
	l.Link.Handle(pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		since, kept := l.since[r.URL.Path]
		l.mu.Unlock()
		if kept && r.Method != http.MethodPut && l.clock.Now().Sub(since) < holdBack {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}))
}
