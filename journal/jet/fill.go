package jet

import (
	"context"

	"github.com/nats-io/nats-server/v2/server"

	"bongsu/journal"
)

// shortLog is how many entries of a log are not worth a snapshot. A follower syncs that many in a tenth of a second.
const shortLog = 200

// Shorten prepares this site for filling another that comes empty, and is called before the two are connected (ADR 36).
//
// The leader of a partition fills a site from its log, entry by entry, each synced before the next is taken; but what the log's latest
// snapshot stands for comes in bulk, out of the stream, and is synced once at the end: ten times as fast for small records. The engine
// takes a snapshot every two or three minutes, or every 8 MiB. This takes one now, of every partition that is complete here, since any
// of them may be led from here by then. Writes of a partition pause for the time of a few syncs. A log that cannot be shortened is no
// error: it is filled from as it is.
func (j *Journal) Shorten(ctx context.Context) error {
	if err := j.enter(ctx, 0); err != nil {
		return err
	}
	defer j.calls.Done()
	e := j.present()
	if j.cfg.Cluster == nil || e == nil {
		return nil
	}
	for p := range journal.Partition(j.cfg.Partitions) {
		if err := j.ended(ctx); err != nil {
			return err
		}
		s := j.seen(p)
		if !s.current || e.logged(s.group) <= shortLog {
			continue
		}
		if err := e.srv.JetStreamSnapshotStream(server.DEFAULT_GLOBAL_ACCOUNT, streamName(p)); err != nil {
			j.log.Debug("a log could not be shortened", "partition", p, "err", err) // one is being taken already, or another site catches up
		}
	}
	return nil
}

// logged is how many entries the log of a group holds.
func (e *engine) logged(group string) uint64 {
	status := e.srv.Raftz(&server.RaftzOptions{AccountFilter: server.DEFAULT_GLOBAL_ACCOUNT, GroupFilter: group})
	if status == nil {
		return 0
	}
	return (*status)[server.DEFAULT_GLOBAL_ACCOUNT][group].WAL.Msgs
}
