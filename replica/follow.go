package replica

import (
	"context"
	"errors"
	"time"

	"bongsu/journal"
	"bongsu/kv"
)

// maxBatch is how many bytes of rows are gathered before a commit while history is being applied.
const maxBatch = 1 << 20

// follow applies the partition's records as they come, until ctx ends or the partition halts.
func (pt *partition) follow(ctx context.Context) {
	for ctx.Err() == nil {
		if err := pt.settle(ctx); err != nil {
			pt.halt(err)
			return
		}
		if !pt.settled {
			return // ctx ended
		}
		pt.arrive()
		err := pt.following(ctx)
		if ctx.Err() != nil && err == nil {
			return
		}
		if err := pt.again(err); err != nil {
			pt.halt(err)
			return
		}
	}
}

// following applies records until the rows have to be made anew, or something is wrong for good. When ctx ends it commits what it
// has and returns nil.
func (pt *partition) following(ctx context.Context) (err error) {
	defer kv.Recover(&err)
	run, interrupt := context.WithCancelCause(ctx)
	defer interrupt(nil)
	pt.mu.Lock()
	pt.interrupt = interrupt
	pt.mu.Unlock()
	wait := 100 * time.Millisecond
	for {
		before := pt.next
		err := pt.r.j.Follow(run, pt.n, pt.next, pt.take)
		var anew *remake
		switch {
		case ctx.Err() != nil:
			return pt.commit()
		case errors.As(context.Cause(run), &anew):
			return anew
		case errors.Is(err, errHalt), errors.Is(err, journal.ErrTrimmed), errors.Is(err, journal.ErrDamaged), errors.As(err, &anew):
			return err
		}
		pt.logger().Warn("journal: cannot follow, trying again", "err", err)
		if pt.next > before {
			wait = 100 * time.Millisecond
		}
		sleep(ctx, wait)
		wait = min(2*wait, 5*time.Second)
	}
}

// take applies one record and commits, unless more history is right behind it.
func (pt *partition) take(e journal.Entry) error {
	if err := pt.apply(e); err != nil {
		return err
	}
	if e.Pos < pt.target && pt.batch.Len() < maxBatch && !pt.r.everyRecord && !pt.crossed {
		return nil
	}
	if err := pt.commit(); err != nil {
		return err
	}
	pt.arrive()
	return pt.handSnapshot()
}

// handSnapshot hands the rows to who writes checkpoints, at the positions that are the same at all sites.
func (pt *partition) handSnapshot() error {
	if !pt.crossed {
		return nil
	}
	pt.crossed = false
	if pt.r.snapshot == nil {
		return nil
	}
	s, err := pt.r.Snapshot(pt.n)
	if err != nil {
		return err
	}
	pt.r.snapshot(s)
	return nil
}

// WaitFor returns when position pos of partition p has been applied. It fails with Unavailable when ctx ends before, or
// the partition has halted.
func (r *Replica) WaitFor(ctx context.Context, p journal.Partition, pos journal.Position) error {
	pt := r.parts[p]
	return pt.await(ctx, func() bool { return pt.status.Applied >= pos })
}

// await returns when ok, which is asked after every change with pt.mu held. It fails as WaitFor does.
func (pt *partition) await(ctx context.Context, ok func() bool) error {
	for {
		pt.mu.Lock()
		done, err, changed := ok(), pt.status.Err, pt.changed
		pt.mu.Unlock()
		switch {
		case done:
			return nil
		case err != nil:
			return stopped()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return unavailable("this site is behind; try again")
		}
	}
}
