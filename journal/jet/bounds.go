package jet

import (
	"context"
	"fmt"

	"bongsu/journal"
)

// Bounds implements journal.Journal.
func (j *Journal) Bounds(ctx context.Context, p journal.Partition) (first, last journal.Position, err error) {
	if err := j.enter(ctx, p); err != nil {
		return 0, 0, err
	}
	defer j.calls.Done()
	for {
		e, err := j.engine(ctx)
		if err != nil {
			return 0, 0, err
		}
		first, last, err = e.bounds(ctx, j.cfg, p)
		if err == nil {
			return first, last, nil
		}
		j.pause(ctx, j.againPause())
	}
}

// bounds asks the engine for the first and last position of p, over several sites that of this site alone.
func (e *engine) bounds(ctx context.Context, c Config, p journal.Partition) (first, last journal.Position, err error) {
	if c.Cluster != nil {
		seen, err := e.look(c.Partitions)
		if err == nil && !seen[p].here {
			err = errAgain
		}
		if err != nil {
			return 0, 0, err
		}
		return seen[p].first, seen[p].last, nil
	}
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	info, err := e.info(ctx, p)
	if err != nil {
		return 0, 0, err
	}
	s := info.State
	if s.Msgs == 0 {
		return journal.Position(s.LastSeq + 1), journal.Position(s.LastSeq), nil
	}
	return journal.Position(s.FirstSeq), journal.Position(s.LastSeq), nil
}

// Trim implements journal.Journal. It gives back space, so it also works when the disk is full. An error means that it may
// have been done in part; asking again finishes it, and so does the next start.
func (j *Journal) Trim(ctx context.Context, p journal.Partition, pos journal.Position) error {
	if err := j.enter(ctx, p); err != nil {
		return err
	}
	defer j.calls.Done()
	e, err := j.engine(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	info, err := e.info(ctx, p)
	if err != nil {
		return fmt.Errorf("jet: trim of partition %d: %w", p, err)
	}
	pos = min(pos, journal.Position(info.State.LastSeq))
	if pos <= journal.Position(info.State.FirstSeq) {
		return nil
	}
	if err := j.marks.trimming(p, pos); err != nil {
		return err
	}
	after, err := e.purge(ctx, p, pos)
	if err != nil {
		return fmt.Errorf("jet: trim of partition %d: %w", p, err)
	}
	if j.cfg.Cluster == nil {
		j.used.Add(int64(after.State.Bytes) - int64(info.State.Bytes))
	}
	return nil
}
