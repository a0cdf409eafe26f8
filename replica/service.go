package replica

import (
	"errors"
	"fmt"

	"bongsu/errs"
	"bongsu/journal"
	"bongsu/kv"
)

// A partition is in service while its rows are a state that the cluster has had. It leaves when they have to be made anew, and is
// back when it has got as far as it was.

const (
	// maxOutvoted is how often in one run a partition is made anew because the others hold another state. If that does not help, it is
	// this build or this machine, and it must not go on.
	maxOutvoted = 3
)

// remake is why rows have to be made anew.
type remake struct {
	why      error
	outvoted bool // by the other sites
}

func (r *remake) Error() string { return "rows are made anew: " + r.why.Error() }
func (r *remake) Unwrap() error { return r.why }

// Serving is nil, or errs.Unavailable while rows of a partition are being made anew here: nothing may be answered from them.
func (r *Replica) Serving() error {
	if r.outs.Load() == 0 {
		return nil
	}
	for _, pt := range r.parts {
		pt.mu.Lock()
		out := pt.status.Out
		pt.mu.Unlock()
		if out != nil {
			return out
		}
	}
	return nil
}

// Generation changes before rows are discarded in this run. Whoever asks for it, then finds Serving nil, reads, and finds the
// generation unchanged afterwards, has read a state that the cluster once had.
func (r *Replica) Generation() uint64 { return r.generation.Load() }

// Remake makes the rows of a partition anew, from a checkpoint or the journal: for who has found them damaged. It returns at once.
func (r *Replica) Remake(p journal.Partition, why error) {
	pt := r.parts[p]
	pt.mu.Lock()
	interrupt := pt.interrupt
	pt.mu.Unlock()
	if interrupt != nil {
		interrupt(&remake{why: why})
	}
}

// out reports whether the partition is out of service.
func (pt *partition) out() bool {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	return pt.status.Out != nil
}

// leave takes the partition out of service until it has applied what the journal holds, at least up to floor. Who waits for
// something is sent away.
func (pt *partition) leave(floor journal.Position) {
	if pt.batch != nil {
		pt.batch.Discard()
		pt.batch = nil
	}
	pt.notes, pt.done = nil, nil
	pt.settled, pt.arrived, pt.void, pt.floor = false, false, true, floor
	e := unavailable("this site is fetching data from the other sites; try again, or at another site")
	pt.mu.Lock()
	if pt.status.Out == nil {
		pt.r.outs.Add(1)
	}
	pt.status.Out, pt.caught, pt.confirmed = e, false, false
	flights, waiting := pt.inflight, pt.barrier
	pt.inflight, pt.barrier = map[uint64]flight{}, nil
	pt.broadcast()
	pt.mu.Unlock()
	pt.r.generation.Add(1)
	pt.queue.pause(e)
	for _, f := range flights {
		f.fail(unavailable("the write was not confirmed in time; try again with the same transaction id"))
	}
	waiting.fail(e)
	if pt.r.sink != nil {
		pt.r.sink(Commit{Partition: pt.n, Remade: true})
	}
}

// arrive notes that history has been applied: time may be moved and messages forwarded from here, and the partition is in service.
func (pt *partition) arrive() {
	if pt.arrived || pt.next < pt.target {
		return
	}
	pt.arrived = true
	if pt.out() {
		// Subscribers forget first, then they may be asked.
		if pt.r.sink != nil {
			pt.r.sink(Commit{Partition: pt.n, Pos: pt.next, Remade: true})
		}
		pt.queue.resume()
		pt.r.outs.Add(-1)
	}
	pt.mu.Lock()
	pt.caught, pt.status.Out = true, nil // only now: who waits for it submits
	pt.broadcast()
	pt.mu.Unlock()
	pt.r.forwarders[pt.n].poke()
	pt.poke()
}

// again decides what an error of following means: nil when the rows are to be made anew, else what halts the partition.
func (pt *partition) again(err error) error {
	var r *remake
	var fault kv.Fault
	switch {
	case errors.As(err, &r):
	case pt.r.alone():
		return err // nobody has what is lost here
	case errors.Is(err, journal.ErrTrimmed):
		r = &remake{why: err}
	case errors.As(err, &fault) && !pt.faulted:
		pt.faulted = true
		r = &remake{why: err}
	default:
		return err
	}
	pt.logger().Error("rows are made anew", "pos", pt.next, "err", r.why)
	if r.outvoted {
		if pt.outvoted++; pt.outvoted > maxOutvoted {
			return fmt.Errorf("%w: made anew %d times, and the other sites still hold another state: %w", errHalt, maxOutvoted, r.why)
		}
		if pt.r.diverged != nil {
			pt.r.diverged(pt.n, pt.agreedAt)
		}
	}
	pt.mu.Lock()
	floor := pt.status.Applied
	pt.mu.Unlock()
	pt.leave(floor)
	return nil
}

// halt stops the partition for good: nothing more is applied or accepted until the process starts again. Where there are other
// sites to ask, nothing more is answered either.
func (pt *partition) halt(err error) {
	if pt.batch != nil {
		pt.batch.Discard()
		pt.batch = nil
	}
	pt.r.log.Error("partition halted", "partition", pt.n, "pos", pt.next, "err", err)
	pt.mu.Lock()
	pt.status.Err = err
	if !pt.r.alone() && pt.status.Out == nil {
		pt.status.Out = stopped()
		pt.r.outs.Add(1)
	}
	flights, waiting := pt.inflight, pt.barrier
	pt.inflight, pt.barrier = map[uint64]flight{}, nil
	pt.broadcast()
	pt.mu.Unlock()
	for _, f := range flights {
		f.fail(stopped())
	}
	waiting.fail(stopped())
	pt.queue.close(stopped())
}

// flight is a record on its way: who waits for its verdicts, and who for its being applied here.
type flight struct {
	reqs    []*request
	barrier *barrier
}

func (f flight) fail(err *errs.Error) {
	for _, req := range f.reqs {
		req.finish(nil, err)
	}
	f.barrier.fail(err)
}
