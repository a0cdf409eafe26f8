package jet

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"bongsu/journal"
)

// How often the clustered engine's view of the partitions is taken.
const (
	sightEvery = 100 * time.Millisecond
	blindAfter = time.Second // without a new one
)

// sight is what the engine of this site shows of one partition, without asking anybody else. A replica applies only what a quorum
// has, so all of it is committed; it may lag.
type sight struct {
	here        bool             // there is a replica here
	current     bool             // it has all that it knows to be committed, and has heard from its leader
	first, last journal.Position // first is last+1 when it is empty
	bytes       int64
	missing     uint64             // records that should lie between first and last and do not
	leader      string             // site; "" when none is known
	group       string             // the engine's name of the partition's group of replicas
	replicas    []*server.PeerInfo // the others, as a leader sees them
}

// sights are of all partitions at one time. They grow old while the disk hangs, since the engine answers after it.
type sights struct {
	at  time.Time
	all []sight
}

// look asks the engine about all n partitions.
func (e *engine) look(n int) ([]sight, error) {
	a, err := e.srv.JszAccount(&server.JSzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Streams: true, RaftGroups: true})
	if err != nil {
		return nil, fmt.Errorf("jet: looking at the engine: %w", err)
	}
	details := map[string]server.StreamDetail{}
	for _, d := range a.Streams {
		details[d.Name] = d
	}
	seen := make([]sight, n)
	for i := range seen {
		d, here := details[streamName(journal.Partition(i))]
		if !here {
			continue
		}
		s := sight{here: true, group: d.RaftGroup, bytes: int64(d.State.Bytes),
			first: journal.Position(d.State.FirstSeq), last: journal.Position(d.State.LastSeq)}
		if d.State.Msgs == 0 {
			s.first = s.last + 1
		}
		s.missing = uint64(s.last+1-s.first) - d.State.Msgs
		s.current = e.srv.JetStreamIsStreamCurrent(server.DEFAULT_GLOBAL_ACCOUNT, d.Name)
		if d.Cluster != nil {
			s.leader, s.replicas = d.Cluster.Leader, d.Cluster.Replicas
		}
		seen[i] = s
	}
	return seen, nil
}

// seen is the latest sight of p; zero when there is no engine.
func (j *Journal) seen(p journal.Partition) sight {
	now := j.sights.Load()
	if now == nil || int(p) >= len(now.all) {
		return sight{}
	}
	return now.all[p]
}

// blind reports whether what is seen is older than it should be.
func (j *Journal) blind() bool {
	now := j.sights.Load()
	return now == nil || time.Since(now.at) > blindAfter
}

// watch keeps the sights fresh, remembers what they prove and holds the engine against it, until the journal is closed.
func (j *Journal) watch() {
	tick := time.NewTicker(sightEvery)
	defer tick.Stop()
	var w *watcher
	for {
		select {
		case <-j.ctx.Done():
			return
		case <-tick.C:
		}
		e := j.present()
		if e == nil || e.ill() != nil {
			j.sights.Store(nil)
			continue
		}
		seen, err := e.look(j.cfg.Partitions)
		if err != nil { // it is starting, or has stopped itself
			j.sights.Store(nil)
			continue
		}
		if w == nil || w.e != e {
			w = newWatcher(e, j.cfg.ServerName, j.marks, len(seen))
		}
		if err := w.check(seen, time.Now()); err != nil && !j.cfg.Unchecked {
			e.fail(err)
			continue
		}
		j.sights.Store(&sights{time.Now(), seen})
		j.succeed(seen)
		j.note(e, seen)
	}
}

// present is the engine, or nil while there is none.
func (j *Journal) present() *engine {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.eng
}

// watcher holds one engine's view against what must be there. An engine that dropped records must not come to lead: it would spread the
// hole.
type watcher struct {
	e     *engine
	site  string
	marks *marks
	short []time.Time // since when a partition that has a leader ends before what was committed here
	holes []time.Time // since when one that is current has a hole
}

func newWatcher(e *engine, site string, m *marks, n int) *watcher {
	return &watcher{e: e, site: site, marks: m, short: make([]time.Time, n), holes: make([]time.Time, n)}
}

// shortFor is how long a partition may lack what was committed here, though it has a leader and seems current: a started engine
// cuts the records back to its snapshot and makes the rest again from its books, up to what a new leader has committed anew.
const shortFor = 10 * time.Second

// holeFor is how long a replica that is current, and does not lead, may have a hole. While one is being filled, records that its
// source trims in between never come: a hole is there, below where the journal will begin, until the trimming itself is applied.
const holeFor = 2 * time.Second

// check returns ErrDamaged when records are missing.
func (w *watcher) check(seen []sight, now time.Time) error {
	for i, s := range seen {
		p := journal.Partition(i)
		if !s.here {
			continue
		}
		switch {
		case s.missing == 0 || !s.current:
			w.holes[i] = time.Time{}
		case s.leader == w.site || !w.holes[i].IsZero() && now.Sub(w.holes[i]) > holeFor:
			return damaged(p, s.first, "the engine lacks %d of the records from there to %d", s.missing, s.last)
		case w.holes[i].IsZero():
			w.holes[i] = now
		}
		acked, _ := w.marks.of(p)
		switch {
		case s.last >= acked || !s.current || s.leader == "":
			w.short[i] = time.Time{}
		case w.short[i].IsZero():
			w.short[i] = now
		case now.Sub(w.short[i]) > shortFor:
			return damaged(p, s.last+1, "the records from here to %d were committed and are not there", acked)
		}
	}
	return nil
}

// note remembers what the files hold from now on.
func (j *Journal) note(e *engine, seen []sight) {
	var errs error
	formed := true
	var used int64
	for i, s := range seen {
		p := journal.Partition(i)
		used += s.bytes
		formed = formed && s.here && s.current && s.leader != ""
		if !s.here {
			continue
		}
		if s.last >= s.first {
			errs = errors.Join(errs, j.marks.acked(p, s.last))
		}
		if _, first := j.marks.of(p); s.first > first {
			errs = errors.Join(errs, j.marks.trimming(p, s.first))
		}
	}
	j.used.Store(used)
	errs = errors.Join(errs, j.books.note(e, j.groups))
	if errs != nil {
		j.log.Error("what the journal holds could not be noted", "err", errs)
		return
	}
	if !formed {
		return
	}
	select {
	case <-j.formed:
	default:
		groups := groupsOf(seen)
		if err := writeManifest(j.cfg, groups); err != nil {
			j.log.Error("that the journal is complete here could not be noted", "err", err)
			return
		}
		j.mu.Lock()
		j.groups = groups
		j.mu.Unlock()
		close(j.formed)
		j.log.Info("all partitions of the journal are here")
	}
}
