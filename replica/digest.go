package replica

import (
	"fmt"

	"bongsu/journal"
)

// recentDigests remembers the digests of the latest positions, to check the claims that records carry.
type recentDigests struct {
	ring [1024]struct {
		pos journal.Position
		d   Digest
	}
}

func (r *recentDigests) add(pos journal.Position, d Digest) {
	e := &r.ring[uint64(pos)%uint64(len(r.ring))]
	e.pos, e.d = pos, d
}

// at returns the digest at pos, if it is remembered.
func (r *recentDigests) at(pos journal.Position) (Digest, bool) {
	e := &r.ring[uint64(pos)%uint64(len(r.ring))]
	return e.d, e.pos == pos && pos != 0
}

// Divergence is two different digests at one position: two sites, or two runs of one, made different states of the same
// journal. It is an alarm.
type Divergence struct {
	Partition journal.Partition
	Pos       journal.Position
	Site      string // who claims otherwise
	Boot      uint64 // in which of its runs
}

func (d *Divergence) Error() string {
	return fmt.Sprintf("partition %d differs from site %s (run %d) at position %d", d.Partition, d.Site, d.Boot, d.Pos)
}
