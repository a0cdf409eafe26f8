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

// retryAfter is what a client is told when it should come back; attemptTimeout bounds one attempt of an append.
const (
	retryAfter     = time.Second
	attemptTimeout = 5 * time.Second
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
	if !pt.formed.Load() && !isSystem(p.Kind) {
		return nil, unavailable("this service is being set up: a majority of the sites has to be there; try again")
	}
	_, known := pt.visible.read()
	req := &request{p: p, known: known, verdict: make(chan result, 1)}
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
		if why := r.Writable(); why != nil {
			return nil, why
		}
		return nil, unavailable("the service is busy; nothing was changed")
	}
	return nil, unavailable("the write was not confirmed in time; try again with the same transaction id")
}

// send appends records to the journal: everything that waits, or a tick when one is owed. One append is in flight at
// a time; what arrives meanwhile leaves as the next record. It ends with ctx, when the partition
// has halted, or when the replica is sealed.
//
// path 4/7: the proposal leaves for the journal, together with whatever else waits for this partition.
func (pt *partition) send(ctx context.Context) {
	var (
		n     uint64
		buf   []byte
		timer = time.NewTimer(pt.untilTick())
	)
	defer timer.Stop()
	defer close(pt.ended)
	defer pt.abandon()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pt.r.sealing:
		case <-pt.queue.ready:
		case <-timer.C:
		case <-pt.wake:
		}
		if pt.r.sealed() {
			return
		}
		rec, reqs := pt.record(n + 1)
		if rec == nil {
			timer.Reset(min(pt.untilTick(), lookEvery))
			continue
		}
		n++
		buf = rec.Encode(buf[:0])
		b, ok := pt.launch(n, reqs)
		if !ok {
			return
		}
		pos, err := pt.append(ctx, n, buf)
		switch {
		case err != nil:
			pt.refuse(n, err)
			if ctx.Err() != nil {
				return
			}
		case b != nil:
			b.pos = pos
			close(b.acked)
		}
		timer.Reset(max(min(pt.untilTick(), lookEvery), time.Millisecond))
	}
}

// launch notes who waits for record n; in a partition that has halted nobody ever would be told, and it reports false.
func (pt *partition) launch(n uint64, reqs []*request) (*barrier, bool) {
	pt.mu.Lock()
	f, halted := flight{reqs, pt.barrier}, pt.status.Err != nil
	pt.barrier = nil
	if !halted {
		pt.inflight[n] = f
	}
	pt.mu.Unlock()
	if halted {
		f.fail(stopped())
	}
	return f.barrier, !halted
}

// abandon sends away who waits for a record that will not be made.
func (pt *partition) abandon() {
	pt.mu.Lock()
	b := pt.barrier
	pt.barrier = nil
	pt.mu.Unlock()
	b.fail(unavailable("the server is stopping"))
}

// record makes the record number n of this run, of everything that waits, or a tick if one is owed; nil if there is nothing to say.
func (pt *partition) record(n uint64) (*Record, []*request) {
	pt.mu.Lock()
	known := pt.status
	confirmed, mark, lastRefusal, now := pt.confirmed, pt.shownMark, pt.lastRefusal, pt.r.clock.Now()
	owesMark := !pt.r.alone() && pt.caught && mark.pos > 0 && now.Sub(pt.lastMark) > othersTick
	pt.mu.Unlock()
	var reqs []*request
	if owesMark {
		pt.queue.signal() // they leave with the next one
	} else {
		reqs = pt.undecided(pt.queue.take(MaxProposals), lastRefusal)
	}
	if len(reqs) == 0 && !owesMark && pt.untilTick() > 0 {
		return nil, nil
	}
	rec := &Record{Site: pt.r.site, Boot: pt.r.boot, N: n, Rules: pt.r.rules, Proposals: make([]Proposal, len(reqs))}
	for i, req := range reqs {
		rec.Proposals[i] = req.p
	}
	if pt.r.stamps() {
		rec.Stamp = now.UnixMilli()
	}
	marked := len(reqs) == 0 && mark.pos > 0
	switch {
	case !confirmed: // these rows are no claim yet
	case marked:
		rec.Applied, rec.Digest = mark.pos, mark.digest
	default:
		rec.Applied, rec.Digest = known.Applied, known.Digest
	}
	pt.mu.Lock()
	pt.lastSent = now
	if marked {
		pt.lastMark = now
	}
	pt.mu.Unlock()
	return rec, reqs
}

// append puts the record into the journal, trying until it is known to be there: a record whose append may have happened is
// never given up for another. Only an error that says "not there, never will be" ends it, and the end of ctx.
func (pt *partition) append(ctx context.Context, n uint64, data []byte) (journal.Position, error) {
	msgID := fmt.Sprintf("%s-%x-%d", pt.r.site, pt.r.boot, n)
	wait := 10 * time.Millisecond
	pt.onItsWay(pt.r.clock.Now(), nil)
	defer pt.onItsWay(time.Time{}, nil)
	for try := 0; ; try++ { // after the first one the record may be there already
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		pos, err := pt.r.j.Append(attempt, pt.n, msgID, data)
		cancel()
		switch {
		case err == nil:
			return pos, nil
		case ctx.Err() != nil, errors.Is(err, journal.ErrClosed), errors.Is(err, journal.ErrTooLarge):
			return 0, err
		case errors.Is(err, journal.ErrFull) && try == 0:
			return 0, err
		case errors.Is(err, journal.ErrFull): // this record must be waited for; nobody has to wait behind it
			for _, req := range pt.queue.take(math.MaxInt) {
				req.finish(nil, notAppended(err))
			}
		}
		pt.onItsWay(time.Time{}, err)
		if try&(try-1) == 0 { // ever more rarely
			pt.logger().Warn("journal: append not confirmed, trying again", "try", try+1, "err", err)
		}
		sleep(ctx, wait)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		wait = min(2*wait, time.Second)
	}
}

// onItsWay notes since when a record is on its way into the journal, zero time for never, or the last answer to that.
func (pt *partition) onItsWay(since time.Time, err error) {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.appendErr = err
	if err == nil {
		pt.appending = since
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

// refuse answers who waits for a record that did not get into the journal.
func (pt *partition) refuse(n uint64, err error) {
	pt.mu.Lock()
	f := pt.inflight[n]
	delete(pt.inflight, n)
	pt.broadcast()
	pt.mu.Unlock()
	f.fail(notAppended(err))
}
