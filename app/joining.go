package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"bongsu/errs"
	"bongsu/journal"
	"bongsu/journal/jet"
)

// joining is the journal of a site that has to be let in by the others before its engine may run. It is there from the start, so
// that what the site knows can be read meanwhile: every call waits until the engine runs, as it would wait for a quorum.
type joining struct {
	partitions int
	engine     atomic.Pointer[jet.Journal] // nil until the site was let in
	opened     chan struct{}               // closed when there is an engine, or there will be none

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	work   sync.WaitGroup
}

var (
	_ journal.Journal = (*joining)(nil)
	_ journal.Bus     = (*joining)(nil)
)

// join lets open, which lets the site in and starts its engine, run in the background. When it fails, failed is told, and every call
// returns ErrClosed.
func join(partitions int, open func(context.Context) (*jet.Journal, error), failed func(error)) *joining {
	j := &joining{partitions: partitions, opened: make(chan struct{})}
	j.ctx, j.cancel = context.WithCancel(context.Background())
	j.work.Go(func() {
		defer close(j.opened)
		engine, err := open(j.ctx)
		if err == nil {
			j.engine.Store(engine)
		} else if j.ctx.Err() == nil {
			failed(err)
		}
	})
	return j
}

// wait returns the engine when it runs.
func (j *joining) wait(ctx context.Context) (*jet.Journal, error) {
	if e := j.engine.Load(); e != nil {
		return e, nil
	}
	select {
	case <-j.opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-j.ctx.Done():
	}
	if e := j.engine.Load(); e != nil {
		return e, nil
	}
	return nil, journal.ErrClosed
}

// Partitions implements journal.Journal.
func (j *joining) Partitions() int { return j.partitions }

// Append implements journal.Journal.
func (j *joining) Append(ctx context.Context, p journal.Partition, msgID string, data []byte) (journal.Position, error) {
	e, err := j.wait(ctx)
	if err != nil {
		return 0, err
	}
	return e.Append(ctx, p, msgID, data)
}

// Follow implements journal.Journal.
func (j *joining) Follow(ctx context.Context, p journal.Partition, after journal.Position, fn func(journal.Entry) error) error {
	e, err := j.wait(ctx)
	if err != nil {
		return err
	}
	return e.Follow(ctx, p, after, fn)
}

// Read implements journal.Journal.
func (j *joining) Read(ctx context.Context, p journal.Partition, pos journal.Position) (journal.Entry, error) {
	e, err := j.wait(ctx)
	if err != nil {
		return journal.Entry{}, err
	}
	return e.Read(ctx, p, pos)
}

// Bounds implements journal.Journal.
func (j *joining) Bounds(ctx context.Context, p journal.Partition) (first, last journal.Position, err error) {
	e, err := j.wait(ctx)
	if err != nil {
		return 0, 0, err
	}
	return e.Bounds(ctx, p)
}

// Trim implements journal.Journal.
func (j *joining) Trim(ctx context.Context, p journal.Partition, pos journal.Position) error {
	e, err := j.wait(ctx)
	if err != nil {
		return err
	}
	return e.Trim(ctx, p, pos)
}

// Leads implements journal.Journal.
func (j *joining) Leads(p journal.Partition) bool {
	e := j.engine.Load()
	return e != nil && e.Leads(p)
}

// Leader is the site that leads p as far as this site knows, or "".
func (j *joining) Leader(p journal.Partition) string {
	if e := j.engine.Load(); e != nil {
		return e.Leader(p)
	}
	return ""
}

// Stored is up to where this site's own engine holds p.
func (j *joining) Stored(p journal.Partition) journal.Position {
	if e := j.engine.Load(); e != nil {
		return e.Stored(p)
	}
	return 0
}

// SlowDisk reports whether the disk under the engine is slow.
func (j *joining) SlowDisk() bool {
	e := j.engine.Load()
	return e != nil && e.SlowDisk()
}

// Refusing is why an append would be refused now, or nil.
func (j *joining) Refusing() error {
	if e := j.engine.Load(); e != nil {
		return e.Refusing()
	}
	return errors.New("this site has not been let in by the others yet")
}

// Drain gives up what this site leads.
func (j *joining) Drain(ctx context.Context) error {
	if e := j.engine.Load(); e != nil {
		return e.Drain(ctx)
	}
	return nil
}

// Undrain lets this site lead again.
func (j *joining) Undrain() {
	if e := j.engine.Load(); e != nil {
		e.Undrain()
	}
}

// Publish implements journal.Bus. While there is no engine, nobody hears.
func (j *joining) Publish(topic string, data []byte) error {
	if e := j.engine.Load(); e != nil {
		return e.Publish(topic, data)
	}
	return errs.New("app.joining", errs.Unavailable, "", "this site has not been let in by the others yet")
}

// Subscribe implements journal.Bus. Messages come from when the engine runs.
func (j *joining) Subscribe(topic string, fn func(data []byte)) (stop func(), err error) {
	if err := journal.CheckTopic(topic); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(j.ctx)
	var unsubscribe func()
	var done sync.WaitGroup
	done.Go(func() {
		if e, err := j.wait(ctx); err == nil {
			unsubscribe, _ = e.Subscribe(topic, fn) // fails only when the engine has ended
		}
	})
	return func() {
		cancel()
		done.Wait()
		if unsubscribe != nil {
			unsubscribe()
		}
	}, nil
}

// Close implements journal.Journal.
func (j *joining) Close() error {
	j.cancel()
	j.work.Wait()
	if e := j.engine.Load(); e != nil {
		if err := e.Close(); err != nil {
			return fmt.Errorf("the journal: %w", err)
		}
	}
	return nil
}
