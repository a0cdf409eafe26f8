package feed

import (
	"context"
	"math/rand/v2"
	"time"

	"bongsu/errs"
)

// When everybody comes back at once, ten thousand answers could be made at the same time, and each would wait for all others; so
// would every message that is sent meanwhile. So few are made at a time, in the order of asking, and even fewer from the beginning,
// which may take seconds each.
const (
	looksEach  = 8 // at a time, for each processor
	firstsEach = 1 // of them from the beginning
	// firstWait is how long somebody waits who begins anew before being told to come back.
	firstWait = 10 * time.Second
)

// turn waits until an answer may be made; done must be called when it has been. It fails with Unavailable when ctx ends, or, from
// the beginning, when too many are before.
func (f *Feed) turn(ctx context.Context, first bool) (done func(), err error) {
	if !first {
		return f.take(ctx, f.looks)
	}
	ctx, cancel := context.WithTimeout(ctx, firstWait)
	defer cancel()
	leaveFirsts, err := f.take(ctx, f.firsts)
	if err != nil {
		return nil, err
	}
	leaveLooks, err := f.take(ctx, f.looks)
	if err != nil {
		leaveFirsts()
		return nil, err
	}
	return func() { leaveLooks(); leaveFirsts() }, nil
}

func (f *Feed) take(ctx context.Context, places chan struct{}) (done func(), err error) {
	done = func() { <-places }
	select {
	case places <- struct{}{}:
		return done, nil
	default:
	}
	select {
	case places <- struct{}{}:
		return done, nil
	case <-ctx.Done():
		e := errs.New("feed.Sync", errs.Unavailable, "", "many clients are catching up; try again")
		e.RetryAfter = 2*time.Second + rand.N(8*time.Second)
		return nil, e
	}
}
