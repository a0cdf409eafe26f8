package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bongsu/journal"
	"bongsu/kv"
)

// maxBatch is how many bytes of rows are gathered before a commit while history is being applied.
const maxBatch = 1 << 20

// follow applies the partition's records as they come, until ctx ends or the partition halts.
func (pt *partition) follow(ctx context.Context) {
	err := pt.following(ctx)
	if err != nil {
		pt.halt(err)
	}
}

func (pt *partition) following(ctx context.Context) (err error) {
	defer kv.Recover(&err)
	for {
		err := pt.r.j.Follow(ctx, pt.n, pt.next, pt.take)
		switch {
		case ctx.Err() != nil:
			return pt.commit()
		case errors.Is(err, errHalt), errors.Is(err, journal.ErrTrimmed), errors.Is(err, journal.ErrDamaged):
			return err
		}
		pt.logger().Warn("journal: cannot follow, trying again", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// take applies one record and commits, unless more history is right behind it.
func (pt *partition) take(e journal.Entry) error {
	if err := pt.apply(e); err != nil {
		return err
	}
	if e.Pos < pt.r.target[pt.n] && pt.batch.Len() < maxBatch && !pt.r.everyRecord {
		return nil
	}
	return pt.commit()
}

// WaitFor returns when position pos of partition p has been applied. It fails with Unavailable when ctx ends before, or
// the partition has halted.
func (r *Replica) WaitFor(ctx context.Context, p journal.Partition, pos journal.Position) error {
	pt := r.parts[p]
	for {
		pt.mu.Lock()
		applied, err, changed := pt.status.Applied, pt.status.Err, pt.changed
		pt.mu.Unlock()
		if applied >= pos {
			return nil
		}
		if err != nil {
			return stopped()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return unavailable("this site is behind; try again")
		}
	}
}

// CatchUp returns when everything that was in the journal at the call has been applied. Only after it may a site say
// that something does not exist.
func (r *Replica) CatchUp(ctx context.Context) error {
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

// Current reports whether the given positions, one for each partition, are those of the journal's end: whether an answer
// made at them is an answer about now.
func (r *Replica) Current(ctx context.Context, at []journal.Position) (bool, error) {
	for i := range r.parts {
		_, last, err := r.j.Bounds(ctx, journal.Partition(i))
		if err != nil {
			return false, fmt.Errorf("journal: bounds of partition %d: %w", i, err)
		}
		if at[i] < last {
			return false, nil
		}
	}
	return true, nil
}
