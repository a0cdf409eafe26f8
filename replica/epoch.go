package replica

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
)

// A journal that begins after checkpoints goes on from the state of another one. When nothing was lost in between (a server that
// grew to three sites) only the sites are others. When something may be lost (a backup that was restored, a cluster that was
// recovered) the epoch is raised as well, so that what clients and sites kept of the time before is told from what is said now.
//
// Numbers of messages between partitions go on over both: they were a consistent cut, in which no receiver is ahead of
// its sender and no sender has forgotten what its receiver has not got, so each message in it arrives exactly once (outbox.go).

const (
	kindRenew = "sys.renew" // lets the machines renew what they keep in one slot, before a new epoch
	kindEpoch = "sys.epoch" // begins it
)

// renewals is how many slots are renewed at a time: what they write must fit into one batch.
const renewals = 16

// Continuation is how a partition goes on from a seed.
type Continuation struct {
	Epoch uint64   // that of the seed when nothing was lost, else a higher one
	Sites []string // all sites from now on
}

func (c Continuation) encode() []byte {
	out := binary.AppendUvarint(nil, c.Epoch)
	for _, s := range c.Sites {
		out = putString(out, s)
	}
	return out
}

func decodeContinuation(body []byte) (Continuation, bool) {
	d := decoder{data: body}
	c := Continuation{Epoch: d.uvarint()}
	for len(d.data) > 0 {
		c.Sites = append(c.Sites, d.string())
	}
	return c, !d.bad && len(c.Sites) > 0
}

// renewSlot lets every machine renew what it keeps in the slot of tx.
func (pt *partition) renewSlot(tx *Tx, body []byte) verdict {
	d := decoder{data: body}
	if epoch := d.uvarint(); d.bad || epoch <= pt.sys.epoch {
		return verdict{err: errs.New("replica.renew", errs.Conflict, "", "epoch %d has begun", pt.sys.epoch)}
	}
	for _, m := range pt.r.renewing {
		tx.machine = m.Byte
		m.Renew(tx)
	}
	return verdict{}
}

// goneOn raises the epoch and replaces the sites. The same again changes nothing.
func (pt *partition) goneOn(tx *Tx, body []byte) verdict {
	c, ok := decodeContinuation(body)
	if !ok || c.Epoch < pt.sys.epoch {
		return verdict{err: errs.New("replica.goneOn", errs.Conflict, "", "epoch %d has begun", pt.sys.epoch)}
	}
	pt.sys.epoch = c.Epoch
	for _, name := range slices.Sorted(maps.Keys(pt.sites)) {
		if !slices.Contains(c.Sites, name) {
			delete(pt.sites, name)
			pt.part(name)
			tx.del(kv.Str(partitionRow(pt.n, tableSite), name))
		}
	}
	pt.forgetRuns(tx, c.Sites)
	for _, name := range c.Sites {
		if _, ok := pt.sites[name]; !ok {
			pt.sites[name] = siteRow{}
			pt.meet(name)
			tx.set(kv.Str(partitionRow(pt.n, tableSite), name), siteRow{}.encode())
		}
	}
	return verdict{}
}

// forgetRuns forgets the runs of all but the given sites: their records are in another journal.
func (pt *partition) forgetRuns(tx *Tx, sites []string) {
	lo := partitionRow(pt.n, tableBoot)
	var gone [][]byte
	for k := range tx.scan(lo, kv.End(lo), false) {
		if name, _, err := kv.CutStr(k[len(lo):]); err != nil || !slices.Contains(sites, name) {
			gone = append(gone, bytes.Clone(k))
		}
	}
	for _, k := range gone {
		tx.del(k)
	}
}

// part forgets the peer of a site that is none any more.
func (pt *partition) part(site string) {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	delete(pt.peers, site)
}

// Epoch is the epoch that all partitions have reached. It changes while the process runs only when a restored or recovered
// server begins, before anybody is served.
func (r *Replica) Epoch() uint64 {
	epoch := r.parts[0].epoch()
	for _, pt := range r.parts {
		epoch = min(epoch, pt.epoch())
	}
	return epoch
}

func (pt *partition) epoch() uint64 {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	return pt.status.Epoch
}

// Continue makes all partitions go on as c says, after Start; nobody may be served before. What is so already is left alone,
// so it may be called again, and at several sites. The rules that this build knows, which the sites of before may have held up,
// are switched on then. It fails with Conflict when a later epoch has begun.
func (r *Replica) Continue(ctx context.Context, c Continuation) (err error) {
	defer kv.Recover(&err)
	if len(c.Sites) == 0 {
		return fmt.Errorf("replica: a continuation names its sites")
	}
	for _, pt := range r.parts {
		if err := pt.goOn(ctx, c); err != nil {
			return fmt.Errorf("replica: partition %d: epoch %d: %w", pt.n, c.Epoch, err)
		}
		if r.alone() { // several look again and again
			if err := pt.begin(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// goOn makes one partition go on.
func (pt *partition) goOn(ctx context.Context, c Continuation) error {
	switch epoch := pt.epoch(); {
	case epoch > c.Epoch:
		return errs.New("replica.Continue", errs.Conflict, "", "epoch %d has begun", epoch)
	case epoch == c.Epoch && slices.Equal(pt.siteNames(), slices.Sorted(slices.Values(c.Sites))):
		return nil
	case epoch < c.Epoch:
		pt.logger().Info("a new epoch begins", "epoch", c.Epoch, "after", epoch)
		if err := pt.renewAll(ctx, c.Epoch); err != nil {
			return err
		}
	}
	_, err := pt.r.Submit(ctx, pt.r.own(pt.n, kindEpoch, c.encode()))
	return err
}

// siteNames are the sites in the rows, sorted.
func (pt *partition) siteNames() (names []string) {
	lo := partitionRow(pt.n, tableSite)
	for k := range pt.r.db.Scan(lo, kv.End(lo)) {
		name, _, err := kv.CutStr(k[len(lo):])
		if err != nil {
			panic(kv.Fault{Err: fmt.Errorf("site row %x: %w", k, err)})
		}
		names = append(names, name)
	}
	return names
}

// renewAll renews every slot that has rows.
func (pt *partition) renewAll(ctx context.Context, epoch uint64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	free := make(chan struct{}, renewals)
	for _, slot := range pt.usedSlots() {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			p := Proposal{Kind: kindRenew, Slot: slot, Body: binary.AppendUvarint(nil, epoch)}
			_, err := pt.r.Submit(ctx, p)
			if err != nil && !(errs.Is(err, errs.Conflict) && pt.epoch() >= epoch) { // another site was faster
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// usedSlots are the slots of the partition that have rows of machines.
func (pt *partition) usedSlots() (slots []id.Slot) {
	kr := stateRanges(pt.n, pt.of)[1]
	for lo := kr.lo; ; {
		found := false
		for k := range pt.r.db.Scan(lo, kr.hi) {
			n, _, err := kv.CutU16(k[1:])
			if err != nil {
				panic(kv.Fault{Err: fmt.Errorf("row %x: %w", k, err)})
			}
			slots, lo, found = append(slots, id.Slot(n)), kv.End(bytes.Clone(k[:3])), true
			break
		}
		if !found {
			return slots
		}
	}
}

// machinesThatRenew are those with something to renew, in the order of their bytes.
func machinesThatRenew(machines []Machine) (out []Machine) {
	for _, m := range machines {
		if m.Renew != nil {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b Machine) int { return int(a.Byte) - int(b.Byte) })
	return out
}
