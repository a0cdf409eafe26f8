package checkpoint

import (
	"fmt"
	"slices"
	"strings"

	"bongsu/journal"
)

// Divergence says that two sites hold different checkpoints of one position: their states differ, or rows were damaged on a disk. It
// is an alarm.
type Divergence struct {
	Partition journal.Partition `json:"partition"`
	Pos       journal.Position  `json:"pos"`
	Here      []string          `json:"here"`  // sites that hold what this one holds
	Other     []string          `json:"other"` // those that hold something else
}

func (d Divergence) Error() string {
	return fmt.Sprintf("checkpoint: the states of partition %d at %d differ: %s against %s", d.Partition, d.Pos,
		strings.Join(d.Here, ", "), strings.Join(d.Other, ", "))
}

// majority is how many of the sites are one.
func (k *Keeper) majority() int {
	if k.cfg.Link == nil {
		return 1
	}
	return (len(k.cfg.Link.Peers())+1)/2 + 1
}

// compare looks for positions where another site holds another state. If a majority of the sites holds one that is not ours, ours is
// wrong: it is removed, and the rows are made anew.
func (k *Keeper) compare(lists map[string][]Entry) {
	for p := range k.cfg.Journal.Partitions() {
		p := journal.Partition(p) //nolint:gosec // at most 64
		for _, f := range k.of(p) {
			d := Divergence{Partition: p, Pos: f.Pos, Here: []string{k.cfg.Site}}
			others := map[string]int{} // state -> sites
			for site, list := range lists {
				for _, e := range list {
					switch {
					case e.Partition != p || e.Pos != f.Pos:
					case e.same(f.Entry):
						d.Here = append(d.Here, site)
					default:
						d.Other = append(d.Other, site)
						others[e.Digest+e.State]++
					}
				}
			}
			if len(d.Other) == 0 {
				continue
			}
			slices.Sort(d.Here)
			slices.Sort(d.Other)
			odd := false
			for _, n := range others {
				odd = odd || n >= k.majority()
			}
			k.alarm(d, odd)
		}
	}
}

// alarm tells of a divergence, once.
func (k *Keeper) alarm(d Divergence, odd bool) {
	k.mu.Lock()
	known := slices.ContainsFunc(k.diverge, func(o Divergence) bool {
		return o.Partition == d.Partition && o.Pos == d.Pos && slices.Equal(o.Here, d.Here) && slices.Equal(o.Other, d.Other)
	})
	if !known && len(k.diverge) < maxDivergences {
		k.diverge = append(k.diverge, d)
	}
	k.mu.Unlock()
	if !known {
		k.cfg.Log.Error("checkpoint: sites hold different states", "partition", d.Partition, "pos", d.Pos, "here", d.Here, "other", d.Other)
	}
	if !odd {
		return
	}
	k.drop(d.Partition, d, func(f file) bool { return f.Pos >= d.Pos })
	k.remake(d.Partition, d)
}

func (k *Keeper) remake(p journal.Partition, why error) {
	if k.cfg.Remake != nil {
		k.cfg.Remake(p, why)
	}
}

// maxDivergences is how many are remembered; who has so many does not read more.
const maxDivergences = 100
