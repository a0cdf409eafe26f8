// Package bench is a load generator for Matrix homeservers. It drives a server from the outside through the Client-Server
// API alone, measures it, and checks what the server promised: that every acknowledged message reaches every syncing
// member exactly once and in the same order, and stands in the room's history under the id that was acknowledged.
//
// Invariant: a fault that the report names was seen in the server's own answers. What the generator gave up on (its outcome
// unknown) is never counted as lost, and a limited timeline is completed before it is judged.
//
// How it checks without tables: the text of each message names the run, its lane (one sender in one room), its number in
// that lane and the time when it was due. A member's stream of a room needs one number for each lane to notice loss, repetition and
// reordering by a sender, and one rolling hash over the event ids to notice that two members saw two orders.
//
// Limits: it speaks to the URLs that it was given and no other, and to other machines than this one only when the
// operator vouches for them. Counts and times are bounded. It shares the processors with a server on the same machine, so
// its own processor time is kept low and reported apart.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"
)

// bench is one run.
type bench struct {
	*servers
	cfg    Config
	run    string // names the run in the messages
	epoch  time.Time
	meter  *meter
	status *status
	report *Report
}

// now is the time since the run began, by the monotonic clock.
func (b *bench) now() time.Duration { return time.Since(b.epoch) }

// Run makes the load that cfg describes, writes the report as a table to out (and as JSON where cfg says) and returns
// it. A server that breaks promises is not an error: see Report.Faults. Errors are: a configuration that cannot be (kind
// Invalid), a server on another machine without leave (kind Forbidden), a setup that failed, the end of ctx, histories that
// cannot be read back. With the last the report is there all the same, and says less.
func Run(ctx context.Context, cfg Config, out io.Writer) (*Report, error) {
	cfg, urls, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	if cfg.Seed == 0 {
		cfg.Seed = uint64(rand.Uint32()) | 1<<32
	}
	b := &bench{
		servers: &servers{urls: urls, loopbackOnly: !cfg.IOwnThisServer, timeout: cfg.RequestTimeout, tally: &tally{}},
		cfg:     cfg, run: strconv.FormatUint(rand.Uint64(), 36), epoch: time.Now(), status: newStatus(out),
	}
	b.meter = newMeter(b.servers, cfg.ServerPIDs)
	defer b.meter.close()
	b.report = &Report{Scenario: cfg.Scenario, Run: b.run, Started: b.epoch.UTC(), CPUs: cpus()}
	switch cfg.Scenario {
	case scenarioInitialSync:
		err = b.initialSync(ctx)
	case scenarioJoins:
		err = b.joins(ctx)
	default:
		err = b.load(ctx)
	}
	b.status.clear()
	if err != nil && (ctx.Err() != nil || b.report.Seconds == 0) {
		return nil, err // nothing was measured
	}
	b.fillReport()
	if cfg.JSON != "" {
		err = errors.Join(err, b.report.writeJSON(cfg.JSON))
	}
	return b.report, errors.Join(err, b.report.Table(out))
}

func (b *bench) fillReport() {
	r, c := b.report, b.cfg
	r.Seed = c.Seed
	r.Load = Shape{
		URLs: c.URLs, Senders: c.Senders, Rooms: c.Rooms, Members: c.Members, Users: c.Users, Syncers: c.Syncers,
		Rate: c.Rate, Size: c.Size, Receipts: c.Receipts, Idle: c.Idle,
	}
	all := b.tally.snapshot()
	r.Total, r.Failed, r.Backfills, r.ReceiptsSkipped = all.acked, all.failed, all.backfills, all.receiptsSkipped
	r.Retries, r.Limited = all.retries, all.limited
	r.Errors = b.tally.takeErrors()
}

// users makes the accounts.
func (b *bench) users(ctx context.Context, n int) ([]user, error) {
	return b.makeUsers(ctx, &b.cfg, n, func(done int) { b.status.say("%d of %d users", done, n) })
}

// endSetup separates what the setup counted from what comes.
func (b *bench) endSetup() {
	b.report.Setup = b.now().Seconds()
	if e := b.tally.takeErrors(); len(e) > 0 {
		b.report.Notes = append(b.report.Notes, fmt.Sprintf("errors during the setup: %v", e))
	}
	b.tally.counts.retries.Store(0)
	b.tally.counts.limited.Store(0)
}

// A mark is the state of all counters at one moment.
type mark struct {
	at      time.Duration
	counts  snapshot
	own     usage
	servers usage
	err     error // of reading the servers
}

func (b *bench) mark(ctx context.Context) mark {
	m := mark{at: b.now(), counts: b.tally.snapshot(), own: ownUsage()}
	m.servers, m.err = b.meter.read(ctx)
	return m
}

// measured reports what happened between two marks.
func (b *bench) measured(from, to mark) {
	r := b.report
	r.Seconds = (to.at - from.at).Seconds()
	perSecond := func(n int64) float64 { return float64(n) / r.Seconds }
	r.Acknowledged = to.counts.acked - from.counts.acked
	r.Throughput = perSecond(r.Acknowledged)
	r.Deliveries = perSecond(to.counts.deliveries - from.counts.deliveries)
	syncs := to.counts.syncs - from.counts.syncs
	r.Syncs = perSecond(syncs)
	r.Receipts = perSecond(to.counts.receipts - from.counts.receipts)
	r.BytesIn, r.BytesOut = to.counts.bytesIn-from.counts.bytesIn, to.counts.bytesOut-from.counts.bytesOut
	use := func(from, to usage, rss int64, source string) Usage {
		u := Usage{User: (to.user - from.user).Seconds(), Sys: (to.sys - from.sys).Seconds(), RSSMax: rss, Source: source}
		if r.Acknowledged > 0 {
			u.PerMessage = (u.User + u.Sys) * 1e6 / float64(r.Acknowledged)
			u.PerSync = (u.User + u.Sys) * 1e6 / float64(r.Acknowledged+syncs)
		}
		return u
	}
	r.Generator = use(from.own, to.own, to.own.largest, "self")
	source := "proc"
	if len(b.cfg.ServerPIDs) == 0 {
		source = "metrics"
	}
	switch {
	case from.err != nil || to.err != nil:
		r.Notes = append(r.Notes, fmt.Sprintf("nothing is known of the server's use of processor and memory: %v", firstError(from.err, to.err)))
	case to.servers.user+to.servers.sys < from.servers.user+from.servers.sys:
		r.Notes = append(r.Notes, "the server was restarted, so its use of processor and memory is not known")
	default:
		u := use(from.servers, to.servers, b.meter.highest(), source)
		r.Server = &u
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
