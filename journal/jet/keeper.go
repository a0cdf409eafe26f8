package jet

import (
	"errors"
	"time"

	"bongsu/journal"
)

const (
	syncMarksEvery = time.Second
	lookEvery      = 200 * time.Millisecond // for space to return
	restartPause   = time.Second            // between attempts to restart an engine
)

// keep syncs the marks and looks after the engine until the journal is closed.
func (j *Journal) keep() {
	tick := time.NewTicker(syncMarksEvery)
	defer tick.Stop()
	e := j.eng
	sick := e.sick
	for {
		select {
		case <-j.ctx.Done():
			return
		case <-tick.C:
			if err := errors.Join(j.marks.sync(), j.books.sync()); err != nil {
				j.log.Error("acknowledged positions could not be synced", "err", err)
			}
		case <-sick:
			j.log.Error("the journal cannot append", "err", e.ill())
			switch {
			case j.cfg.Cluster != nil && !errors.Is(e.ill(), errNoSpace) && !errors.Is(e.ill(), errStopped):
				// It must neither lead nor vote any more, and the other sites need neither of it.
				j.setEngine(nil, remedy(e.ill(), true))
				e.stop()
				sick = nil
				continue
			case errors.Is(e.ill(), errWrite):
				sick = nil // it still reads; restarting it could take for kept what the disk has not
				continue
			}
			if e = j.heal(e); e == nil {
				return
			}
			sick = e.sick
		}
	}
}

// heal replaces an engine when there is space again. It returns nil when the journal was closed or is broken.
func (j *Journal) heal(e *engine) *engine {
	stopped := false
	if errors.Is(e.ill(), errNoSpace) {
		if j.cfg.Cluster != nil { // the others go on without it
			j.replaceEngine(nil, nil, true)
			stopped = e.stopWithin(j.stopFor)
		}
		for freeSpace(j.cfg.Dir) < max(j.cfg.Reserve, journal.MaxRecord) {
			if j.pause(j.ctx, lookEvery); j.ctx.Err() != nil {
				return nil
			}
		}
	}
	j.setEngine(nil, nil)
	if !stopped && !e.stopWithin(j.stopFor) {
		j.log.Error("the engine does not stop")
		j.setEngine(nil, journal.ErrStuck)
		return nil
	}
	for j.ctx.Err() == nil {
		e, err := j.openEngine(false)
		if err == nil {
			j.log.Info("the journal appends again")
			j.setEngine(e, nil)
			return e
		}
		j.log.Error("the engine could not be restarted", "err", err)
		if errors.Is(err, journal.ErrDamaged) {
			j.setEngine(nil, remedy(err, j.cfg.Cluster != nil))
			return nil
		}
		j.pause(j.ctx, restartPause)
	}
	return nil
}
