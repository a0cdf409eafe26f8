package mem

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"bongsu/journal"
)

// Attempt is one call of Append, as a Plan sees it.
type Attempt struct {
	Partition journal.Partition
	MsgID     string
	N         int // 1 for the first append of this message id through this handle, 2 for the first retry
}

// Plan says what goes wrong with an append. It is called from many goroutines.
type Plan func(Attempt) Fault

// Fault is what goes wrong with one append; the zero Fault is nothing.
type Fault struct {
	Delay    time.Duration // before the record is stored; unequal delays reorder concurrent appends
	AckDelay time.Duration // after it is stored, before the caller hears
	Full     bool          // not stored; ErrFull
	Fail     bool          // not stored; ErrUncertain
	LoseAck  bool          // stored; ErrUncertain
	Forget   bool          // stored, but the message-id window loses it: a retry will be stored again, at another position
	LosePush bool          // stored, but followers are not told and find it when they look by themselves
}

func (f Fault) instant() bool { return f.Delay == 0 && f.AckDelay == 0 }

// land stores the record as far as the fault lets it and says what the caller hears.
func (f Fault) land(pt *partition, msgID string, data []byte) (journal.Position, error) {
	if f.Full {
		return 0, journal.ErrFull
	}
	if f.Fail {
		return 0, ErrUncertain
	}
	pos := pt.put(msgID, data, !f.LosePush)
	if f.Forget {
		pt.forget(msgID)
	}
	if f.LoseAck {
		return 0, ErrUncertain
	}
	return pos, nil
}

// Rates are the shares of appends, from 0 to 1, that suffer each fault, and the longest delays.
type Rates struct {
	Full, Fail, LoseAck, Forget, LosePush float64
	Delay, AckDelay                       time.Duration // each append gets a random delay from 0 up to this
}

// Seeded is a plan that draws faults at the given rates. The draw for an attempt depends on seed and attempt alone.
func Seeded(seed uint64, r Rates) Plan {
	return func(a Attempt) Fault {
		h := fnv.New64a()
		fmt.Fprintf(h, "%d %s %d", a.Partition, a.MsgID, a.N)
		rng := rand.New(rand.NewPCG(seed, h.Sum64()))
		hit := func(rate float64) bool { return rng.Float64() < rate }
		f := Fault{Full: hit(r.Full), Fail: hit(r.Fail), LoseAck: hit(r.LoseAck), Forget: hit(r.Forget), LosePush: hit(r.LosePush)}
		f.Delay = time.Duration(rng.Int64N(int64(r.Delay) + 1))
		f.AckDelay = time.Duration(rng.Int64N(int64(r.AckDelay) + 1))
		return f
	}
}
