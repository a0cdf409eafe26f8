package replica

import (
	"context"
	"errors"
	"time"

	"bongsu/errs"
	"bongsu/journal"
)

// Over several sites only the journal itself knows where it ends: what a site appends now lands above everything that was
// acknowledged anywhere before. So a site that must be sure of "now" appends a record and waits until it has come back
// (docs/adr/0017-catching-up-is-an-own-record.md).

// barrier is the next record of this site in a partition, for who waits until it has been applied here. All who ask before it
// is made share it.
type barrier struct {
	acked chan struct{} // closed when pos is known
	done  chan struct{} // closed when it has been applied, or failed
	pos   journal.Position
	err   *errs.Error // why it failed; set before done is closed
}

func (b *barrier) fail(err *errs.Error) {
	if b != nil {
		b.err = err
		close(b.done)
	}
}

// join returns the barrier that the next record will be.
func (pt *partition) join() *barrier {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if pt.barrier == nil {
		pt.barrier = &barrier{acked: make(chan struct{}), done: make(chan struct{})}
		if pt.status.Err != nil {
			b := pt.barrier
			pt.barrier = nil
			b.fail(stopped())
			return b
		}
		pt.poke()
	}
	return pt.barrier
}

// poke tells the sender to look again at what is owed.
func (pt *partition) poke() {
	select {
	case pt.wake <- struct{}{}:
	default:
	}
}

// CatchUp returns when everything that was acknowledged at any site before the call has been applied here. Only after it may a
// site say that something does not exist. It fails with errs.Unavailable when that cannot be known, or not before ctx ends.
func (r *Replica) CatchUp(ctx context.Context) error {
	if r.alone() {
		return r.catchUpAlone(ctx)
	}
	if err := errors.Join(r.Serving(), r.Writable()); err != nil {
		return err
	}
	barriers := make([]*barrier, len(r.parts))
	for i, pt := range r.parts {
		barriers[i] = pt.join()
	}
	for _, b := range barriers {
		select {
		case <-b.done:
			if b.err != nil {
				return b.err
			}
		case <-ctx.Done():
			return unavailable("this site cannot reach a majority of the sites, or is behind; try again")
		}
	}
	return nil
}

// catchUpAlone asks the engine for the end, which with one site is the end: so that a full disk can still be read.
func (r *Replica) catchUpAlone(ctx context.Context) error {
	for i := range r.parts {
		p := journal.Partition(i)
		_, last, err := r.j.Bounds(ctx, p)
		if err != nil {
			e := unavailable("the journal does not answer")
			e.Err = err
			return e
		}
		if err := r.WaitFor(ctx, p, last); err != nil {
			return err
		}
	}
	return nil
}

// stuckAfter is how long an append may take before it is said that the site cannot be written.
const stuckAfter = 2 * time.Second

// Writable is nil while appends get through; else errs.Unavailable with words that say why not, and since when.
func (r *Replica) Writable() error {
	for _, pt := range r.parts {
		pt.mu.Lock()
		since, err := pt.appending, pt.appendErr
		pt.mu.Unlock()
		if since.IsZero() || r.clock.Now().Sub(since) < stuckAfter {
			continue
		}
		why := "a majority of the sites cannot be reached"
		if r.alone() {
			why = "the journal does not take it"
		}
		e := unavailable("%s: this site can be read, not written (since %s)", why, since.UTC().Format("15:04:05 MST"))
		e.Err = err
		if errors.Is(err, journal.ErrFull) {
			e.Code = errs.DiskFull
		}
		return e
	}
	return nil
}
