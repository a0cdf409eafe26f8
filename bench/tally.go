package bench

import (
	"sync"
	"sync/atomic"
)

// tally counts what the clients do. Rates are differences between two snapshots.
type tally struct {
	counts
	mu     sync.Mutex
	errors map[string]int64
}

// count counts an answer or failure that was not a success.
func (t *tally) count(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.errors == nil {
		t.errors = map[string]int64{}
	}
	t.errors[what]++
}

// takeErrors empties the errors and returns them.
func (t *tally) takeErrors() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.errors
	t.errors = nil
	return e
}

// counts are added to by all clients at once. One addition for each request is nothing beside its system calls.
type counts struct {
	acked           atomic.Int64 // messages with an event id in the answer
	failed          atomic.Int64 // messages given up: whether they took effect is not known
	deliveries      atomic.Int64 // message events seen by syncing members, each time
	syncs           atomic.Int64 // answers to /sync
	backfills       atomic.Int64 // limited timelines completed through /messages
	receipts        atomic.Int64 // read receipts acknowledged
	receiptsSkipped atomic.Int64 // read receipts left out because the last one was still in flight
	retries         atomic.Int64
	limited         atomic.Int64 // answers 429
	bytesIn         atomic.Int64 // of response bodies
	bytesOut        atomic.Int64 // of request bodies
}

// snapshot is counts at one moment.
type snapshot struct {
	acked, failed, deliveries, syncs, backfills, receipts, receiptsSkipped, retries, limited, bytesIn, bytesOut int64
}

func (c *counts) snapshot() snapshot {
	return snapshot{
		c.acked.Load(), c.failed.Load(), c.deliveries.Load(), c.syncs.Load(), c.backfills.Load(), c.receipts.Load(),
		c.receiptsSkipped.Load(), c.retries.Load(), c.limited.Load(), c.bytesIn.Load(), c.bytesOut.Load(),
	}
}
