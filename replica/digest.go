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

// compare checks the digest that a record claims against our own at that position.
func (pt *partition) compare(rec *Record) {
	own, ok := pt.recent.at(rec.Applied)
	if !ok || own == rec.Digest {
		return
	}
	d := &Divergence{Partition: pt.n, Pos: rec.Applied, Site: rec.Site, Boot: rec.Boot}
	pt.mu.Lock()
	first := pt.status.Divergence == nil
	if first {
		pt.status.Divergence = d
	}
	pt.mu.Unlock()
	if first {
		pt.logger().Error("ALARM: states of one journal differ", "pos", rec.Applied, "site", rec.Site, "boot", rec.Boot)
	}
}
