package replica

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"bongsu/journal"
	"bongsu/kv"
)

// Rows and journal have to agree before anything is applied: the record at the applied position must be the one that was
// applied. With one site that is looked at in Open; with several in the background, since the journal may not answer for as long as
// the others are away, and a site that is alone can still be read.

const (
	// farBehind is how many records a site applies at most where it could load a checkpoint instead; without rows it has nothing to
	// lose by loading one, and the number is fromNothing.
	farBehind, fromNothing = 20_000, 1_000
	// answerWithin bounds one question to the journal; settleRetry is the pause before the next, at first and at last.
	answerWithin                 = 10 * time.Second
	settleRetry, lastSettleRetry = 250 * time.Millisecond, 4 * time.Second
)

// errBehind: this site's engine has not come as far as its rows, which other sites know to be right.
var errBehind = errors.New("the journal at this site is behind its rows")

// settle makes the rows agree with the journal, trying until that has been done or ctx ends.
func (pt *partition) settle(ctx context.Context) error {
	said, pause := "", settleRetry
	for !pt.settled && ctx.Err() == nil {
		err := pt.agree(ctx)
		if errors.Is(err, errHalt) {
			return err
		}
		if err != nil {
			if err.Error() != said && ctx.Err() == nil {
				said = err.Error()
				pt.logger().Warn("the rows are not confirmed yet, trying again", "err", err)
			}
			sleep(ctx, pause)
			pause = min(2*pause, lastSettleRetry)
		}
	}
	return nil
}

// agree makes the rows agree with the journal's past: what the journal does not confirm is discarded, what it no longer holds, or
// what would take long to apply, is loaded from a checkpoint. Rows are given up only when it is known where others come from.
func (pt *partition) agree(ctx context.Context) (err error) {
	defer kv.Recover(&err)
	ask, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	first, last, err := pt.r.j.Bounds(ask, pt.n)
	if err != nil {
		return fmt.Errorf("replica: partition %d: %w", pt.n, err)
	}
	fits, err := pt.fits(ask, first, last)
	if err != nil {
		return fmt.Errorf("replica: partition %d: %w", pt.n, err)
	}
	var have journal.Position // what need not be made anew
	switch {
	case fits:
		have = pt.next
	case !pt.r.alone():
		// The engine of an emptied site may know as little as its rows: only the others know when this site has got as far as they.
		end, err := pt.end(ask)
		if err != nil {
			return fmt.Errorf("replica: partition %d: where the journal ends is not known: %w", pt.n, err)
		}
		last = max(last, end)
	}
	file, err := pt.source(ctx, fits, have, first, last)
	if err != nil {
		return err
	}
	if !fits || file != nil {
		if !pt.out() {
			pt.leave(have)
		}
		if err := pt.discard(); err != nil {
			return err
		}
		pt.void = false
	}
	if file != nil {
		if err := pt.restore(file); err != nil {
			return err
		}
	}
	if err := pt.load(); err != nil {
		if pt.r.alone() {
			return err // of Open
		}
		return fmt.Errorf("%w: %w", errHalt, err) // trying again does not help
	}
	if err := pt.derive(); err != nil {
		return fmt.Errorf("replica: partition %d: %w", pt.n, err)
	}
	pt.target, pt.settled = max(last, pt.floor), true
	pt.publish()
	if pt.next < last {
		pt.logger().Info("applying history", "from", pt.next+1, "to", last)
	}
	return nil
}

// fits reports whether the rows are a state that this journal leads to: whether the record at the applied position is
// the one that was applied, and the next one can be had.
func (pt *partition) fits(ctx context.Context, first, last journal.Position) (bool, error) {
	if pt.void {
		return false, nil
	}
	v := pt.r.db.Get(appliedKey(pt.n))
	if v == nil {
		return false, nil // nothing, or what is left of a checkpoint whose loading was cut off
	}
	a, ok := decodeApplied(v)
	if ok && a.pos > last && !pt.r.alone() {
		end, err := pt.end(ctx)
		switch {
		case err != nil:
			return false, err
		case end > a.pos:
			return false, errBehind
		}
	}
	if !ok || a.pos > last || a.pos+1 < first {
		pt.logger().Warn("the rows do not fit the journal and are discarded", "pos", a.pos, "first", first, "last", last)
		return false, nil
	}
	if a.pos < first {
		return true, nil // the very record was trimmed, which happens only below a verified checkpoint
	}
	same, err := pt.holds(ctx, a)
	if err == nil && !same {
		pt.logger().Warn("the journal holds another record where the rows were left; they are discarded", "pos", a.pos)
	}
	return same, err
}

// holds reports whether the journal has the record that led to a at its position.
func (pt *partition) holds(ctx context.Context, a appliedRow) (bool, error) {
	e, err := pt.r.j.Read(ctx, pt.n, a.pos)
	if errors.Is(err, io.EOF) {
		err = errBehind
	}
	if err != nil {
		return false, err
	}
	return sha256.Sum256(e.Data) == a.record, nil
}

// end is the journal's end as a quorum knows it: where a record of this site lands.
func (pt *partition) end(ctx context.Context) (journal.Position, error) {
	b := pt.join()
	select {
	case <-b.acked:
		return b.pos, nil
	case <-b.done:
		return 0, b.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// source is the checkpoint that lacking rows are to be loaded from; nil: the journal has them all.
func (pt *partition) source(ctx context.Context, fits bool, have, first, last journal.Position) (*CheckpointFile, error) {
	lacking := !fits && first > 1
	far := journal.Position(farBehind)
	if have == 0 {
		far = fromNothing
	}
	if !lacking && last < have+far || !lacking && pt.r.checkpoint == nil {
		return nil, nil
	}
	atLeast := first - 1
	if !lacking {
		atLeast = have + far
	}
	file, err := pt.get(ctx, atLeast, first, last)
	if err != nil && !lacking {
		pt.logger().Warn("no checkpoint can be loaded; history is applied instead", "err", err)
		return nil, nil
	}
	if file == nil && lacking && err == nil {
		err = fmt.Errorf("replica: partition %d: the journal begins at %d and there is no checkpoint: restore from a backup", pt.n, first)
	}
	return file, err
}

// get asks for a checkpoint and checks that the journal goes on where it ends.
func (pt *partition) get(ctx context.Context, atLeast, first, last journal.Position) (*CheckpointFile, error) {
	if pt.r.checkpoint == nil {
		return nil, nil
	}
	file, err := pt.r.checkpoint(ctx, pt.n, atLeast)
	switch {
	case err != nil:
		return nil, fmt.Errorf("replica: partition %d: %w", pt.n, err)
	case file == nil:
		return nil, nil
	case file.Info.Partition != pt.n || file.Info.Partitions != pt.of:
		return nil, fmt.Errorf("replica: %s is of partition %d of %d", file.Path, file.Info.Partition, file.Info.Partitions)
	case file.Info.Pos+1 < first || file.Info.Pos > last:
		return nil, fmt.Errorf("replica: %s is at %d, the journal goes from %d to %d", file.Path, file.Info.Pos, first, last)
	case file.Info.Pos < first:
		return file, nil
	}
	same, err := pt.holds(ctx, appliedRow{pos: file.Info.Pos, record: file.Info.record})
	if err == nil && !same {
		err = fmt.Errorf("replica: %s is of another journal", file.Path)
	}
	return file, err
}

// discard removes all rows of the partition, and what the machines remember of them.
func (pt *partition) discard() error {
	b := pt.r.db.Batch()
	for _, kr := range append(stateRanges(pt.n, pt.of), derivedRange(pt.n)) {
		b.DeleteRange(kr.lo, kr.hi)
	}
	b.Delete(appliedKey(pt.n))
	if err := pt.visible.change(0, b.Commit); err != nil {
		return err
	}
	for _, forget := range pt.r.forgetting {
		forget()
	}
	return nil
}

// sleep waits for d, or less when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
