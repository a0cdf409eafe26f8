package replica

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"bongsu/errs"
	"bongsu/journal"
)

const (
	// tickEvery is how long a quiet partition waits before a record without proposals moves its time.
	tickEvery = 5 * time.Second
	// minTick is the least time between a record and a tick, for when a clock stands or runs back.
	minTick = 20 * time.Millisecond
	// retryAfter is what a client is told when it should come back.
	retryAfter = time.Second
)

func unavailable(format string, args ...any) *errs.Error {
	e := errs.New("replica.Submit", errs.Unavailable, "", format, args...)
	e.RetryAfter = retryAfter
	return e
}

// stopped is what is said of a halted partition.
func stopped() *errs.Error {
	return unavailable("this part of the service has stopped; the operator has been told")
}

// Refusal is a verdict that refuses. It was reached at a position of the journal and stands at every site.
type Refusal struct{ verdict *errs.Error }

// Unwrap makes the *errs.Error inside findable.
func (r Refusal) Unwrap() error { return r.verdict }

// Decided tells a verdict from an answer out of local state, which may be behind.
func (Refusal) Decided() {}

func (r Refusal) Error() string { return r.verdict.Error() }

// Submit proposes a change and returns the result of its verdict, after the record is durable and applied here. A
// Refusal is a verdict, too. errs.Unavailable means that the proposal was not accepted now, or that ctx ended before the
// verdict was known: it may then still happen, and submitting it again with the same Key is safe.
func (r *Replica) Submit(ctx context.Context, p Proposal) ([]byte, error) {
	if p.size() > MaxProposals {
		return nil, errs.New("replica.Submit", errs.TooLarge, "", "the request is too large")
	}
	pt := r.parts[PartitionOf(p.Slot, len(r.parts))]
	req := &request{p: p, verdict: make(chan result, 1)}
	if err := pt.queue.push(req); err != nil {
		return nil, err
	}
	select {
	case res := <-req.verdict:
		switch {
		case res.err == nil:
			return res.body, nil
		case res.err.Kind == errs.Unavailable:
			return nil, res.err
		}
		return nil, Refusal{res.err}
	case <-ctx.Done():
	}
	if pt.queue.remove(req) {
		return nil, unavailable("the service is busy; nothing was changed")
	}
	return nil, unavailable("the write was not confirmed in time; try again with the same transaction id")
}

// send appends records to the journal: everything that waits, or a tick when time must move. One append is in flight at
// a time; what arrives meanwhile leaves as the next record. It ends with ctx, or when the partition has halted.
//
// path 4/7: the proposal leaves for the journal, together with whatever else waits for this partition.
func (pt *partition) send(ctx context.Context) {
	var (
		n     uint64
		buf   []byte
		timer = time.NewTimer(pt.untilTick())
	)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pt.queue.ready:
		case <-timer.C:
		case <-pt.wake:
		}
		reqs := pt.queue.take(MaxProposals)
		if len(reqs) == 0 && pt.untilTick() > 0 {
			timer.Reset(pt.untilTick())
			continue
		}
		n++
		rec := pt.record(n, reqs)
		buf = rec.Encode(buf[:0])
		if !pt.launch(n, reqs) {
			return
		}
		err := pt.append(ctx, n, buf)
		if err != nil {
			pt.refuse(n, err)
			if ctx.Err() != nil {
				return
			}
		}
		timer.Reset(max(pt.untilTick(), time.Millisecond))
	}
}

// launch notes who waits for record n; in a partition that has halted nobody ever would be told, and it reports false.
func (pt *partition) launch(n uint64, reqs []*request) bool {
	pt.mu.Lock()
	halted := pt.status.Err != nil
	if !halted {
		pt.inflight[n] = reqs
	}
	pt.mu.Unlock()
	if halted {
		for _, req := range reqs {
			req.finish(nil, stopped())
		}
	}
	return !halted
}

// record makes the record number n of this run.
func (pt *partition) record(n uint64, reqs []*request) *Record {
	rec := &Record{Site: pt.r.site, Boot: pt.r.boot, N: n, Stamp: pt.r.clock.Now().UnixMilli(), Rules: pt.r.rules,
		Proposals: make([]Proposal, len(reqs))}
	for i, req := range reqs {
		rec.Proposals[i] = req.p
	}
	pt.mu.Lock()
	rec.Applied, rec.Digest = pt.status.Applied, pt.status.Digest
	pt.lastSent = pt.r.clock.Now()
	pt.mu.Unlock()
	return rec
}

// append puts the record into the journal, trying until it is known to be there: a record whose append may have happened is
// never given up for another. Only an error that says "not there, never will be" ends it, and the end of ctx.
func (pt *partition) append(ctx context.Context, n uint64, data []byte) error {
	msgID := fmt.Sprintf("%s-%x-%d", pt.r.site, pt.r.boot, n)
	wait := 10 * time.Millisecond
	for open := false; ; open = true { // open: an attempt before this one may have happened
		_, err := pt.r.j.Append(ctx, pt.n, msgID, data)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil, errors.Is(err, journal.ErrClosed), errors.Is(err, journal.ErrTooLarge):
			return err
		case errors.Is(err, journal.ErrFull) && !open:
			return err
		case errors.Is(err, journal.ErrFull): // this record must be waited for; nobody has to wait behind it
			for _, req := range pt.queue.take(math.MaxInt) {
				req.finish(nil, notAppended(err))
			}
		}
		pt.logger().Warn("journal: append not confirmed, trying again", "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		}
	}
}

// notAppended is what is said of a write that did not get into the journal.
func notAppended(err error) *errs.Error {
	e := unavailable("the write was not confirmed; try again with the same transaction id")
	if errors.Is(err, journal.ErrFull) {
		e = unavailable("the server's disk is full: it can be read, not written")
		e.Code, e.RetryAfter = errs.DiskFull, 10*time.Second
	}
	e.Err = err
	return e
}

// refuse answers the requests of a record that did not get into the journal.
func (pt *partition) refuse(n uint64, err error) {
	e := notAppended(err)
	pt.mu.Lock()
	reqs := pt.inflight[n]
	delete(pt.inflight, n)
	pt.broadcast()
	pt.mu.Unlock()
	for _, req := range reqs {
		req.finish(nil, e)
	}
}

// untilTick is how long until a record is owed although nobody proposes anything: a timer is due, or time has stood still
// for too long.
func (pt *partition) untilTick() time.Duration {
	now := pt.r.clock.Now()
	pt.mu.Lock()
	defer pt.mu.Unlock()
	wait := tickEvery - now.Sub(pt.lastSent)
	if at, ok := pt.dueAt[Wall]; ok {
		wait = min(wait, ms(at-now.UnixMilli()))
	}
	if at, ok := pt.dueAt[Live]; ok {
		// Live time goes with the wall, at most maxLive in a record; it stands where the last record left it.
		wait = min(wait, ms(at-pt.status.Live-(now.UnixMilli()-pt.status.Wall)))
	}
	return max(wait, minTick-now.Sub(pt.lastSent), 0)
}

// ms is n milliseconds, or at least what is longer than any wait: a timer may be further off than a Duration can say.
func ms(n int64) time.Duration {
	const far = int64(24 * time.Hour / time.Millisecond)
	return time.Duration(min(max(n, -far), far)) * time.Millisecond
}
