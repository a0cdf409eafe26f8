package mem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"bongsu/journal"
)

// pollEvery is how often a follower looks by itself whether there is more: the cure for a lost push.
const pollEvery = 250 * time.Millisecond

// ErrUncertain is what a Plan's failures look like: it is not known whether the record was stored.
var ErrUncertain = errors.New("mem: no acknowledgement")

// Journal is one handle on a Store, as one process or site would hold.
type Journal struct {
	store *Store
	plan  Plan

	mu       sync.Mutex
	attempts map[string]int // by partition and message id
	closed   bool
	view     view           // what this site sees of the store
	work     sync.WaitGroup // calls and late landings

	closing chan struct{} // closed by Close and Crash: followers end
	crashed chan struct{} // closed by Crash: appends end where they stand
}

var (
	_ journal.Journal = (*Journal)(nil)
	_ journal.Bus     = (*Journal)(nil)
)

// Open makes a handle. A nil plan means that nothing goes wrong. It leads all partitions until Lead says otherwise.
func (s *Store) Open(plan Plan) *Journal {
	if plan == nil {
		plan = func(Attempt) Fault { return Fault{} }
	}
	return &Journal{store: s, plan: plan, attempts: map[string]int{}, view: newView(len(s.parts)),
		closing: make(chan struct{}), crashed: make(chan struct{})}
}

// New is a handle on a new store of n partitions where nothing goes wrong.
func New(n int) *Journal { return NewStore(n).Open(nil) }

// Partitions is how many partitions there are.
func (j *Journal) Partitions() int { return len(j.store.parts) }

// enter counts a call in, unless the handle is closed; the caller counts itself out with j.work.Done.
func (j *Journal) enter() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return journal.ErrClosed
	}
	j.work.Add(1)
	return nil
}

// part counts a call in and finds its partition.
func (j *Journal) part(ctx context.Context, p journal.Partition) (*partition, error) {
	if err := journal.CheckPartition(j.Partitions(), p); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := j.enter(); err != nil {
		return nil, err
	}
	return j.store.parts[p], nil
}

// Append implements journal.Journal. When ctx ends first the record may still land later, as with a real engine.
func (j *Journal) Append(ctx context.Context, p journal.Partition, msgID string, data []byte) (journal.Position, error) {
	if err := journal.Check(j.Partitions(), p, msgID, data); err != nil {
		return 0, err
	}
	pt, err := j.part(ctx, p)
	if err != nil {
		return 0, err
	}
	a := j.attempt(p, msgID)
	f := j.plan(a)
	if f.instant() && j.connected() {
		defer j.work.Done()
		return f.land(pt, msgID, data)
	}
	type answer struct {
		pos journal.Position
		err error
	}
	ch := make(chan answer, 1)
	data = bytes.Clone(data) // it may land after the caller has gone
	go func() {
		defer j.work.Done()
		if !j.pause(f.Delay) {
			ch <- answer{err: journal.ErrClosed}
			return
		}
		if !j.connected() {
			ch <- answer{err: j.strand(a, func() { _, _ = f.land(pt, msgID, data) })}
			return
		}
		pos, err := f.land(pt, msgID, data)
		if !j.pause(f.AckDelay) {
			pos, err = 0, journal.ErrClosed
		} else if !j.connected() {
			pos, err = 0, ErrUncertain
		}
		ch <- answer{pos, err}
	}()
	select {
	case a := <-ch:
		return a.pos, a.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// attempt numbers this append among those with its partition and message id.
func (j *Journal) attempt(p journal.Partition, msgID string) Attempt {
	j.mu.Lock()
	defer j.mu.Unlock()
	k := fmt.Sprint(p, " ", msgID)
	j.attempts[k]++
	return Attempt{Partition: p, MsgID: msgID, N: j.attempts[k]}
}

// pause waits for d; it reports false when the handle crashed meanwhile.
func (j *Journal) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-j.crashed:
		return false
	}
}

// Follow implements journal.Journal. The bytes given to fn are overwritten afterwards, so that keeping them shows.
func (j *Journal) Follow(ctx context.Context, p journal.Partition, after journal.Position, fn func(journal.Entry) error) error {
	pt, err := j.part(ctx, p)
	if err != nil {
		return err
	}
	defer j.work.Done()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	var buf []byte
	for pos := after + 1; ; {
		if j.ended() {
			return journal.ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		wake := pt.wake() // before reading, so that no growth falls between
		shown, next := j.sees(p)
		rec, err := pt.read(pos, shown)
		if err == nil {
			buf = append(buf[:0], rec...)
			if err := fn(journal.Entry{Pos: pos, Data: buf}); err != nil {
				return err
			}
			for i := range buf {
				buf[i] = 0xdb
			}
			pos++
			continue
		}
		if !errors.Is(err, io.EOF) {
			return err
		}
		var lagging <-chan time.Time // a record is there that this site does not see yet
		if next > 0 {
			lagging = time.After(next)
		}
		select {
		case <-wake:
		case <-lagging:
		case <-poll.C:
		case <-j.closing:
		case <-ctx.Done():
		}
	}
}

// ended reports whether the handle was closed or crashed.
func (j *Journal) ended() bool {
	select {
	case <-j.closing:
		return true
	default:
		return false
	}
}

// Read implements journal.Journal.
func (j *Journal) Read(ctx context.Context, p journal.Partition, pos journal.Position) (journal.Entry, error) {
	pt, err := j.part(ctx, p)
	if err != nil {
		return journal.Entry{}, err
	}
	defer j.work.Done()
	shown, _ := j.sees(p)
	rec, err := pt.read(pos, shown)
	if err != nil {
		return journal.Entry{}, err
	}
	return journal.Entry{Pos: pos, Data: bytes.Clone(rec)}, nil
}

// Bounds implements journal.Journal.
func (j *Journal) Bounds(ctx context.Context, p journal.Partition) (first, last journal.Position, err error) {
	pt, err := j.part(ctx, p)
	if err != nil {
		return 0, 0, err
	}
	defer j.work.Done()
	first, last = pt.bounds()
	shown, _ := j.sees(p)
	return first, max(min(last, shown), first-1), nil
}

// Trim implements journal.Journal.
func (j *Journal) Trim(ctx context.Context, p journal.Partition, pos journal.Position) error {
	pt, err := j.part(ctx, p)
	if err != nil {
		return err
	}
	defer j.work.Done()
	if !j.connected() {
		return ErrUncertain
	}
	pt.trim(pos)
	return nil
}

// Close ends followers and waits for the appends in flight.
func (j *Journal) Close() error {
	j.shut(false)
	j.work.Wait()
	return nil
}

// Crash is what kill -9 does: appends in flight end where they stand, stored or not, and nobody hears of them. The store stays
// and can be opened again.
func (j *Journal) Crash() {
	j.shut(true)
	j.work.Wait()
}

func (j *Journal) shut(crash bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	j.closed = true
	close(j.closing)
	if crash {
		close(j.crashed)
	}
}
