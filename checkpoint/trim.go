package checkpoint

import (
	"context"
	"slices"
	"time"

	"bongsu/journal"
	"bongsu/replica"
)

// trim removes records of a partition that this site leads, below the older of the two newest checkpoints that are held alike by all
// sites, or by a majority if the first record is older than Retain. What is left lets a site follow that is one checkpoint behind.
func (k *Keeper) trim(ctx context.Context, p journal.Partition, lists map[string][]Entry) error {
	if !k.cfg.Journal.Leads(p) {
		return nil
	}
	sites := 1
	if k.cfg.Link != nil {
		sites = len(k.cfg.Link.Peers()) + 1
	}
	all, most := k.held(p, lists, sites), k.held(p, lists, k.majority())
	if most == 0 {
		return nil
	}
	first, _, err := k.cfg.Journal.Bounds(ctx, p)
	if err != nil {
		return err
	}
	to := all
	if most > max(all, first) {
		age, err := k.age(ctx, p, first)
		if err != nil {
			return err
		}
		if age > k.cfg.Retain {
			k.cfg.Log.Warn("checkpoint: the journal has become too old to wait for all sites; who was away comes back by a checkpoint",
				"partition", p, "pos", most, "age", age.Round(time.Second))
			to = most
		}
	}
	if to <= first {
		return nil
	}
	if err := k.cfg.Journal.Trim(ctx, p, to); err != nil {
		return err
	}
	k.cfg.Log.Info("checkpoint: journal trimmed", "partition", p, "pos", to, "records", to-first)
	k.mu.Lock()
	k.trimmed[p] = to
	k.mu.Unlock()
	return nil
}

// held is the position of the older of the two newest checkpoints here that at least n sites, this one among them, hold alike; 0:
// there are no two.
func (k *Keeper) held(p journal.Partition, lists map[string][]Entry, n int) journal.Position {
	var common []journal.Position
	for _, f := range k.of(p) {
		holders := 1
		for _, list := range lists {
			if slices.ContainsFunc(list, f.same) {
				holders++
			}
		}
		if holders >= n {
			common = append(common, f.Pos)
		}
	}
	if len(common) < keep {
		return 0
	}
	return common[len(common)-keep]
}

// age is how long ago the first record was appended whose site's clock had a say.
func (k *Keeper) age(ctx context.Context, p journal.Partition, first journal.Position) (time.Duration, error) {
	const look = 100 // records, until one has a stamp
	for pos := first; pos < first+look; pos++ {
		e, err := k.cfg.Journal.Read(ctx, p, pos)
		if err != nil {
			return 0, err
		}
		r, err := replica.DecodeRecord(e.Data)
		if err != nil {
			return 0, err
		}
		if r.Stamp != 0 {
			return k.cfg.Clock.Now().Sub(time.UnixMilli(r.Stamp)), nil
		}
	}
	return 0, nil
}
