package jet

import (
	"errors"
	"fmt"

	"bongsu/journal"
)

// A journal that goes on from checkpoints begins behind them. That is noted as if everything before had been trimmed, before the
// engine makes the streams: their files hold nothing yet that would say so.

// first is where partition p begins when the journal is made.
func (c Config) first(p journal.Partition) journal.Position {
	if c.Cluster != nil {
		return c.Cluster.first(p)
	}
	if c.First == nil {
		return 1
	}
	return max(c.First[p], 1)
}

// checkFirst refuses positions that are not one for each partition.
func (c Config) checkFirst() error {
	if c.First != nil && len(c.First) != c.Partitions {
		return fmt.Errorf("jet: %d first positions were given for %d partitions", len(c.First), c.Partitions)
	}
	return nil
}

// begin notes where the partitions of a new journal begin.
func (m *marks) begin(c Config) (err error) {
	for p := range journal.Partition(c.Partitions) { //nolint:gosec // at most 1024
		if first := c.first(p); first > 1 {
			err = errors.Join(err, m.trimming(p, first))
		}
	}
	return err
}
