package replica

import (
	"maps"
	"slices"

	"bongsu/journal"
)

// Every record claims what its submitter had applied, and its digest there. Here the claims of the other sites are compared with our
// own digests, and the sites are counted.

const (
	// markStride: records without proposals claim the last multiple of it instead of the latest position, so that the claims of
	// different sites meet at one position, where they can be compared with each other.
	markStride = 64
	// keptClaims is how many claims of each site are remembered for that.
	keptClaims = 64
)

// claim is a position and the state's digest there.
type claim struct {
	pos    journal.Position
	digest Digest
}

// peer is what the records of a site have said in a partition. Guarded by pt.mu.
type peer struct {
	SiteStatus
	claims [keptClaims]claim // the latest, in a ring
	n      int
}

// said reports whether the site has made this claim lately.
func (p *peer) said(c claim) bool { return slices.Contains(p.claims[:], c) }

// meet finds or makes the peer of a site.
func (pt *partition) meet(site string) *peer {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	return pt.peerOf(site)
}

// peerOf is meet with pt.mu held.
func (pt *partition) peerOf(site string) *peer {
	p := pt.peers[site]
	if p == nil {
		p = &peer{SiteStatus: SiteStatus{Site: site}}
		pt.peers[site] = p
	}
	return p
}

// compare notes what a record says of its site and checks its claim against our own digest. It reports a divergence when a majority
// of the sites agrees on another state than ours.
func (pt *partition) compare(rec *Record) *Divergence {
	own, known := pt.recent.at(rec.Applied)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	p := pt.peerOf(rec.Site)
	p.Boot, p.Pos, p.Applied, p.Rules = max(p.Boot, rec.Boot), pt.next, rec.Applied, rec.Rules
	if rec.Stamp != 0 {
		p.Stamp = rec.Stamp
	}
	if !known {
		return nil // too old to say, or there is nothing yet
	}
	c := claim{rec.Applied, rec.Digest}
	p.claims[p.n%keptClaims], p.Checked = c, c.pos
	p.n++
	if own == rec.Digest {
		if p.Differs != 0 {
			pt.logger().Warn("states agree again", "pos", rec.Applied, "site", rec.Site)
		}
		p.Differs = 0
		if rec.Site != pt.r.site {
			pt.agreedAt = max(pt.agreedAt, rec.Applied)
		}
		return nil
	}
	d := &Divergence{Partition: pt.n, Pos: rec.Applied, Site: rec.Site, Boot: rec.Boot}
	if p.Differs == 0 {
		p.Differs = rec.Applied
		pt.logger().Error("ALARM: states of one journal differ", "pos", rec.Applied, "site", rec.Site, "boot", rec.Boot)
	}
	if pt.status.Divergence == nil {
		pt.status.Divergence = d
	}
	if !pt.outvotedBy(c) {
		return nil
	}
	return d
}

// outvotedBy reports whether a majority of the sites, each by itself, makes a claim that is not ours. An observer has no state to be
// asked for, and with one site there is nobody to be right. pt.mu is held.
func (pt *partition) outvotedBy(c claim) bool {
	if pt.r.observer || len(pt.sites) < 3 {
		return false
	}
	votes := 0
	for site := range pt.sites {
		if p := pt.peers[site]; site != pt.r.site && p != nil && p.said(c) {
			votes++
		}
	}
	return votes > len(pt.sites)/2
}

// siteStatus is what is known of the sites, by name; pt.mu is held.
func (pt *partition) siteStatus() []SiteStatus {
	out := make([]SiteStatus, 0, len(pt.peers))
	for _, site := range slices.Sorted(maps.Keys(pt.peers)) {
		out = append(out, pt.peers[site].SiteStatus)
	}
	return out
}
