package replica

import (
	"context"
	"encoding/binary"
	"time"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
)

// beginEvery is how often a site looks whether new rules can be switched on.
const beginEvery = time.Second

// keepBeginning begins the partition and switches on the rules that this build knows, as soon as the other sites are there and
// know them, too.
func (pt *partition) keepBeginning(ctx context.Context) {
	if pt.await(ctx, func() bool { return pt.caught }) != nil {
		return
	}
	for first := true; ctx.Err() == nil; sleep(ctx, beginEvery) {
		if err := pt.begin(ctx); err != nil {
			continue
		}
		if first {
			first = false
			close(pt.begun)
		}
		pt.mu.Lock()
		rules := pt.status.Rules
		pt.mu.Unlock()
		if rules >= pt.r.rules {
			return
		}
	}
}

// begin gives the partition its first proposal, and new rules when every other site is known to have a build for them. What
// stays off for now is no error.
func (pt *partition) begin(ctx context.Context) error {
	pt.mu.Lock()
	rules := pt.status.Rules
	behind := ""
	for site, p := range pt.peers {
		if site != pt.r.site && p.Rules < pt.r.rules {
			behind = max(behind, site)
		}
	}
	pt.mu.Unlock()
	switch {
	case rules == 0: // not begun, although a tick may be there already
		_, err := pt.r.Submit(ctx, pt.r.first(pt.n))
		if errs.Is(err, errs.Conflict) {
			err = nil // another site was faster
		}
		return err
	case rules >= pt.r.rules:
		return nil
	case behind != "":
		pt.logger().Info("new rules stay off until every site runs a build that knows them", "rules", pt.r.rules, "behind", behind)
		return nil
	}
	_, err := pt.r.Submit(ctx, pt.r.own(pt.n, kindRules, binary.AppendUvarint(nil, uint64(pt.r.rules))))
	if err != nil {
		pt.logger().Warn("new rules stay off for now", "err", err)
	}
	return ctx.Err()
}

// first is the proposal that begins a partition. Its slot is the partition's first.
func (r *Replica) first(n journal.Partition) Proposal {
	return r.own(n, kindGenesis, genesis{partitions: r.j.Partitions(), rules: r.rules, sites: r.sites}.encode())
}

// own makes a proposal of the replica itself for a partition.
func (r *Replica) own(n journal.Partition, kind string, body []byte) Proposal {
	of := r.j.Partitions()
	return Proposal{Kind: kind, Slot: id.Slot((int(n)*id.Slots + of - 1) / of), Body: body}
}
