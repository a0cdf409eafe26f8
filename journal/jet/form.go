package jet

import (
	"context"
	"errors"
	"time"

	"bongsu/journal"
)

const (
	makeTimeout = 2 * time.Second // for making a stream; the sites try at the same time and agree
	makePause   = 200 * time.Millisecond
)

// startCluster opens the files and the first engine of a cluster's site. It does not wait for other sites.
func (j *Journal) startCluster() error {
	state, groups, err := checkManifest(j.cfg)
	if err != nil {
		return err
	}
	if j.groups = groups; state == Formed {
		close(j.formed)
	}
	if err := j.openMarks(state == Empty); err != nil {
		return err
	}
	if state == Empty {
		// From here on the directory may have made promises to other sites.
		if err := errors.Join(syncTree(j.cfg.Dir), writeManifest(j.cfg, nil)); err != nil {
			return err
		}
	}
	j.eng, err = j.openEngine(state == Empty)
	return err
}

// form makes the streams that are not there yet, until this site has a replica of each. All sites do so at once: making a stream that
// exists changes nothing.
func (j *Journal) form() {
	for {
		select {
		case <-j.formed:
			return
		case <-j.ctx.Done():
			return
		default:
		}
		e, err := j.engine(j.ctx)
		if err != nil {
			return
		}
		for p := range journal.Partition(j.cfg.Partitions) {
			if j.seen(p).here {
				continue
			}
			if err := j.make(e, p); err != nil {
				j.log.Debug("a partition is not made yet", "partition", p, "err", err)
				break
			}
		}
		j.pause(j.ctx, makePause)
	}
}

// make makes the stream of p, or finds it made, and checks it.
func (j *Journal) make(e *engine, p journal.Partition) error {
	ctx, cancel := context.WithTimeout(j.ctx, makeTimeout)
	defer cancel()
	s, err := e.js.Stream(ctx, streamName(p))
	if err != nil {
		s, err = e.js.CreateStream(ctx, streamConfig(j.cfg, p))
	}
	if err != nil {
		return err
	}
	if err := checkStream(j.cfg, p, s.CachedInfo().Config); err != nil {
		e.fail(err)
		return err
	}
	return nil
}

// Formed waits until all partitions exist and this site has a replica of each, and notes that durably.
func (j *Journal) Formed(ctx context.Context) error {
	if j.cfg.Cluster == nil {
		return j.ended(ctx)
	}
	for {
		if err := j.ended(ctx); err != nil {
			return err
		}
		j.mu.Lock()
		broken, changed := j.broken, j.changed
		j.mu.Unlock()
		if broken != nil {
			return broken
		}
		select {
		case <-j.formed:
			return nil
		case <-changed:
		case <-ctx.Done():
		case <-j.ctx.Done():
		}
	}
}
