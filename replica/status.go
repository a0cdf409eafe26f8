package replica

import (
	"bongsu/journal"
)

// PartitionStatus is where a partition stands.
type PartitionStatus struct {
	Applied    journal.Position
	Digest     Digest
	Wall, Live int64 // milliseconds
	Rules      uint16
	Epoch      uint64       // changes when the cluster was recovered or restored
	Sites      []SiteStatus // what the latest record of each site said, by name
	Divergence *Divergence  // the first one seen in this run, or nil
	Err        error        // why it has halted, or nil
	Out        error        // why it is out of service for now, or nil
}

// SiteStatus is what the latest record of a site in a partition said.
type SiteStatus struct {
	Site    string
	Boot    uint64           // the highest boot number that it has used
	Pos     journal.Position // where that record is; 0: none was seen in this run
	Applied journal.Position // what it had applied
	Stamp   int64            // its clock, Unix milliseconds; 0: not seen
	Rules   uint16           // the newest rules version that its build knows
	Checked journal.Position // the last position at which its state was compared with ours; claims over 1,024 records old are not
	Differs journal.Position // since where its state differs from ours; 0: it agrees, as far as was checked
}

// Status reports where partition p stands.
func (r *Replica) Status(p journal.Partition) PartitionStatus {
	pt := r.parts[p]
	pt.mu.Lock()
	defer pt.mu.Unlock()
	s := pt.status
	s.Sites = pt.siteStatus()
	return s
}

// Positions are the positions applied so far, one for each partition.
func (r *Replica) Positions() []journal.Position {
	out := make([]journal.Position, len(r.parts))
	for i, pt := range r.parts {
		pt.mu.Lock()
		out[i] = pt.status.Applied
		pt.mu.Unlock()
	}
	return out
}

// Boot is the highest boot number of a site that the journal has shown so far; 0: none.
func (r *Replica) Boot(site string) uint64 {
	var boot uint64
	for _, pt := range r.parts {
		pt.mu.Lock()
		if p := pt.peers[site]; p != nil {
			boot = max(boot, p.Boot)
		}
		pt.mu.Unlock()
	}
	return boot
}

// Failures is how many proposals failed through a bug in a state machine, in this run; Refused how many messages between
// slots were refused.
func (r *Replica) Failures() int64 { return r.failures.Load() }

// Refused is how many messages of timers and outboxes were refused, in this run.
func (r *Replica) Refused() int64 { return r.refused.Load() }

// Waiting is how many proposals wait in the queue of partition p for their turn.
func (r *Replica) Waiting(p journal.Partition) int { return r.parts[p].queue.len() }

// publish shows the partition's own state, after it was loaded.
func (pt *partition) publish() {
	_ = pt.visible.change(pt.next, func() error { return nil })
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.showState()
	pt.confirmed = pt.settled
	pt.broadcast()
}

// showState copies what is committed for others to see; pt.mu is held.
func (pt *partition) showState() {
	pt.status.Applied, pt.status.Digest = pt.next, pt.digest
	pt.status.Wall, pt.status.Live = pt.sys.wall, pt.sys.live
	pt.status.Rules, pt.status.Epoch = pt.sys.rules, pt.sys.epoch
	pt.formed.Store(pt.sys.rules > 0)
	pt.shownMark, pt.lastRefusal = pt.mark, pt.refusedAt
	clear(pt.dueAt)
	for c, at := range pt.due {
		pt.dueAt[c] = at
	}
}
