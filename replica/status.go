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
	Pos     journal.Position // where that record is; 0: not seen in this run
	Applied journal.Position // what it had applied
	Stamp   int64            // its clock, Unix milliseconds; 0: it has no say
	Rules   uint16           // the newest rules version that its build knows
	Checked journal.Position // the last position at which its state was compared with ours; claims that are too old are not
	Differs journal.Position // since where its state differs from ours; 0: it agrees
}

// Serving is nil, or errs.Unavailable while rows of a partition are being made anew here: nothing may be answered from them.
func (r *Replica) Serving() error { return nil }

// Generation changes before rows are discarded in this run. Whoever reads while Serving is nil, and finds Serving nil and the
// generation unchanged afterwards, has read a state that the cluster once had.
func (r *Replica) Generation() uint64 { return 0 }

// Boot is the highest boot number of a site that the journal has shown so far; 0: none.
func (r *Replica) Boot(site string) uint64 { return 0 }

// Writable is nil while appends get through; else errs.Unavailable with words that say why not, and since when.
func (r *Replica) Writable() error { return nil }

// Remake makes the rows of a partition anew, from a checkpoint or the journal: for who has found them damaged.
func (r *Replica) Remake(p journal.Partition, why error) {}
