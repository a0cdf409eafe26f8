package client

import (
	"math/rand/v2"
	runtimemetrics "runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"bongsu/errs"
)

// Class says what is refused first when a site is asked for more than it can do.
type Class uint8

// The classes.
const (
	Ordinary Class = iota // what has no class of its own: logging in, devices, account data
	Text                  // messages and state, messages to devices, keys to encrypt them with: refused last
	Reading               // history, members, files, profiles
	Receipts              // who has read what
	Typing                // who types: refused first
	classes  = iota
)

// String is the class in metrics.
func (c Class) String() string {
	return [classes]string{"ordinary", "text", "reading", "receipts", "typing"}[c]
}

// percent is how many requests of a class may be at work at a time, of Config.MaxConcurrent. The classes do not use up each other's:
// writes that wait while the journal chooses a leader keep nobody from reading. Receipts wait for each other, so many are at work.
var percent = [classes]int{Ordinary: 100, Text: 100, Reading: 25, Receipts: 50, Typing: 13}

// refusedFrom is the level of overload at which a class is refused.
var refusedFrom = [classes]int32{Typing: 1, Receipts: 2, Reading: 3, Ordinary: 4, Text: maxLevel + 1}

const (
	// lookEvery is how often the load is looked at, while there are requests.
	lookEvery = 100 * time.Millisecond
	// maxWait is the time for a processor to become free that is still good: the median, over one look. At it a message needs
	// some hundred milliseconds.
	maxWait  = 30 * time.Millisecond
	maxLevel = 4
	// leastWaits is how many waits must have been seen for their median to mean something.
	leastWaits = 100
)

// admission decides whether a request is let in. Each class has a bound on its requests at work. And while the processors are
// overloaded the classes are refused one after the other, a class for each look that finds them so, and let in again likewise, as CoDel
// does with packets: a burst that is over at the next look costs nobody anything, and one that lasts leaves the processors to
// messages.
type admission struct {
	limits  [classes]int64
	working [classes]atomic.Int64

	wait  func() time.Duration // median time for a processor since the last call; another in tests
	next  atomic.Int64         // Unix nanoseconds of the next look
	level atomic.Int32
	mu    sync.Mutex // held while looking
}

func newAdmission(maxConcurrent int) *admission {
	ad := &admission{wait: new(processorWaits).median}
	for c, p := range percent {
		ad.limits[c] = max(int64(maxConcurrent)*int64(p)/100, 1)
	}
	return ad
}

// enter lets a request in, or says why not. Who was let in leaves.
func (ad *admission) enter(rt *route, now time.Time) error {
	c := rt.Class
	if ad.look(now) >= refusedFrom[c] {
		return tooMuch("this site has too much to do")
	}
	if rt.LongPoll {
		return nil
	}
	if ad.working[c].Add(1) > ad.limits[c] {
		ad.working[c].Add(-1)
		return tooMuch("too many requests at once")
	}
	return nil
}

func (ad *admission) leave(rt *route) {
	if !rt.LongPoll {
		ad.working[rt.Class].Add(-1)
	}
}

// look is the level of overload: 0 is none.
func (ad *admission) look(now time.Time) int32 {
	due, at := ad.next.Load(), now.UnixNano()
	if at < due || !ad.mu.TryLock() {
		return ad.level.Load()
	}
	defer ad.mu.Unlock()
	ad.next.Store(at + int64(lookEvery))
	level, wait := ad.level.Load(), ad.wait()
	switch {
	case at > due+10*int64(lookEvery): // there was a pause, or this is the first look
		level = 0
	case wait > maxWait:
		level = min(level+1, maxLevel)
	default:
		level = max(level-1, 0)
	}
	ad.level.Store(level)
	return level
}

// tooMuch refuses a request. Who is refused comes back at different times, or the next surge would be the same again.
func tooMuch(words string) error {
	return &errs.Error{Op: "api.admit", Kind: errs.Unavailable, Message: words + "; try again", RetryAfter: jitter(time.Second)}
}

// jitter is a time from d to three times d.
func jitter(d time.Duration) time.Duration { return d + rand.N(2*d) }

// processorWaits measures how long goroutines wait for a processor: the queue that an overloaded server grows. Waiting for the journal or
// a client is not in it.
type processorWaits struct {
	sample [1]runtimemetrics.Sample
	before []uint64
}

// median is that of the waits since the last call; 0 if they were few.
func (pw *processorWaits) median() time.Duration {
	pw.sample[0].Name = "/sched/latencies:seconds"
	runtimemetrics.Read(pw.sample[:])
	if pw.sample[0].Value.Kind() != runtimemetrics.KindFloat64Histogram {
		return 0 // another version of the runtime
	}
	h := pw.sample[0].Value.Float64Histogram()
	if len(pw.before) != len(h.Counts) {
		pw.before = make([]uint64, len(h.Counts))
	}
	var all uint64
	for i, n := range h.Counts {
		h.Counts[i], pw.before[i] = n-pw.before[i], n // Read writes it anew
		all += h.Counts[i]
	}
	if all < leastWaits {
		return 0
	}
	var seen uint64
	for i, n := range h.Counts {
		if seen += n; seen > all/2 {
			return time.Duration(max(h.Buckets[i], 0) * float64(time.Second)) // the first begins at minus infinity
		}
	}
	return 0
}
