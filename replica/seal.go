package replica

import (
	"context"

	"bongsu/errs"
)

// Seal ends all writing of this run for good: what waits and what comes is refused with the words given, what is in flight is
// finished, and nothing more is appended, not even a tick. When it returns, the rows are where the journal ends, so that a cut of
// them is everything that was ever acknowledged. It is for one site; with several the others go on writing, and it refuses.
func (r *Replica) Seal(ctx context.Context, words string) error {
	if !r.alone() || r.observer {
		return errs.New("replica.Seal", errs.Unsupported, "", "only a server of one site can be sealed")
	}
	for _, pt := range r.parts {
		pt.queue.close(unavailable("%s", words))
	}
	r.sealOnce.Do(func() { close(r.sealing) })
	for _, pt := range r.parts {
		select {
		case <-pt.ended:
		case <-ctx.Done():
			return unavailable("a write is still on its way into the journal")
		}
	}
	return r.CatchUp(ctx)
}

// sealed reports whether nothing more may be appended.
func (r *Replica) sealed() bool {
	select {
	case <-r.sealing:
		return true
	default:
		return false
	}
}
