package jet

import (
	"context"

	"bongsu/journal"
)

// Leads implements journal.Journal.
func (j *Journal) Leads(p journal.Partition) bool { return j.cfg.Cluster == nil }

// Leader is the site that leads p as far as this site knows, or "".
func (j *Journal) Leader(p journal.Partition) string { return j.cfg.ServerName }

// Formed waits until all partitions exist and this site has a replica of each.
func (j *Journal) Formed(ctx context.Context) error { return ctx.Err() }

// Drain gives up all leaderships of this site, so that stopping it costs no election, and takes no new ones on purpose.
func (j *Journal) Drain(ctx context.Context) error { return ctx.Err() }
