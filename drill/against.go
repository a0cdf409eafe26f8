package drill

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// against watches a cluster that is somebody else's, with the usual load on it, while its operator burns sites by own means; and judges
// what can be seen from outside.
func (d *drill) against(ctx context.Context) (err error) {
	d.view.line("bongsu drill, seed %d: a cluster is watched from outside", d.cfg.Seed)
	d.view.line("%s", d.report.Caveat)
	if d.cluster, err = visit(ctx, d.cfg.Against); err != nil {
		return err
	}
	var who []string
	for _, s := range d.cluster.Sites {
		who = append(who, s.Name)
	}
	d.report.Sites = who
	d.view.line("this is %s", strings.Join(who, ", "))
	d.receive(d.cfg.UserPrefix, rand.Text())
	defer func() { err = errors.Join(err, d.tidy(ctx)) }()
	defer d.close()
	if err := d.welcome(ctx); err != nil {
		return err
	}
	if err := d.people(ctx); err != nil {
		return err
	}
	defer d.view.end()
	if err := d.watch(ctx); err != nil {
		return err
	}
	d.view.line("the load ends; everything is read at every site that answers")
	return d.judge(ctx)
}

// tidyWithin bounds the departure of the guests. It takes place also when ctx has ended.
const tidyWithin = 2 * time.Minute

// tidy lets the guests leave nothing behind but empty rooms and files.
func (d *drill) tidy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyWithin)
	defer cancel()
	d.view.line("the drill leaves its rooms and deactivates its accounts")
	if err := d.guests.leave(ctx); err != nil {
		return fmt.Errorf("drill: some accounts of the drill could not be removed, their names begin with %s: %w", d.guests.prefix, err)
	}
	return nil
}

const (
	lookEvery = 200 * time.Millisecond
	awayAfter = time.Second // without a good answer; shorter is a hiccup of the network
	leadEvery = time.Second
)

// watcher asks every site all the time whether it is there.
type watcher struct {
	rec     *recorder
	stop    context.CancelFunc
	running sync.WaitGroup

	mu   sync.Mutex
	seen []presence // of each site
}

// presence is how a site was seen lately, by the time of the drill.
type presence struct {
	away  bool
	since time.Duration // the first bad answer, or if it is not away, the first good one after that
}

func newWatcher(c *Cluster, rec *recorder) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{rec: rec, stop: cancel, seen: make([]presence, len(c.Sites))}
	for i, s := range c.Sites {
		w.running.Go(func() { w.watch(ctx, i, s) })
	}
	return w
}

func (w *watcher) watch(ctx context.Context, i int, s *Site) {
	bad := time.Duration(-1) // when the first of the bad answers was asked for
	for ; ctx.Err() == nil; _ = rest(ctx, lookEvery) {
		asked := w.rec.now()
		err := s.Healthy(ctx)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			bad = -1
			w.note(i, s, presence{since: w.rec.now()})
		case bad < 0:
			bad = asked
		case w.rec.now()-bad >= awayAfter:
			w.note(i, s, presence{away: true, since: bad})
		}
	}
}

// note takes in what changes.
func (w *watcher) note(i int, s *Site, is presence) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[i].away != is.away {
		w.seen[i] = is
		s.setUp(!is.away)
	}
}

func (w *watcher) at(i int) presence {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[i]
}

// away are the sites that are not there.
func (w *watcher) away() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []int
	for i, is := range w.seen {
		if is.away {
			all = append(all, i)
		}
	}
	return all
}

func (w *watcher) end() {
	w.stop()
	w.running.Wait()
}

// watch makes an incident of each absence of a site, until the time is over.
func (d *drill) watch(ctx context.Context) error {
	w := newWatcher(d.cluster, d.rec)
	defer w.end()
	open := map[int]*Incident{}
	leaders, asked := d.cluster.leaders(ctx), d.rec.now()
	d.view.line("burn a site now, by your own means: the drill watches for %v", d.cfg.Duration)
	for end := d.rec.now() + d.cfg.Duration; d.rec.now() < end; {
		if err := rest(ctx, lookEvery); err != nil {
			return err
		}
		away := w.away()
		for i, s := range d.cluster.Sites {
			is, in := w.at(i), open[i]
			switch {
			case is.away && in == nil:
				open[i] = &Incident{Name: s.Name + " was not reachable", At: is.since, Lost: len(away), leaders: leaders, minority: true}
				d.view.line("%s is not reachable, since %.1fs", s.Name, is.since.Seconds())
			case !is.away && in != nil:
				delete(open, i)
				d.view.line("%s is reachable again", s.Name)
				if err := d.returned(ctx, i, in, is.since); err != nil {
					return err
				}
			}
		}
		if lost := len(away); lost > 0 && !(&Fault{Lost: away}).Minority(len(d.cluster.Sites)) {
			for _, in := range open { // no time is promised
				in.minority, in.Lost = false, max(in.Lost, lost)
			}
		}
		if len(away) == 0 && d.rec.now()-asked > leadEvery {
			leaders, asked = d.cluster.leaders(ctx), d.rec.now()
		}
	}
	for i, in := range open {
		in.Healed, in.unhealed = d.rec.now(), true
		in.Settled = in.Healed
		d.view.line("%s is still not reachable: what is there is judged without it", d.cluster.Sites[i].Name)
		d.measure(in, &Fault{Lost: []int{i}})
	}
	return nil
}

// returned measures the absence of a site that is reachable again since a moment.
func (d *drill) returned(ctx context.Context, site int, in *Incident, since time.Duration) error {
	in.Healed = since
	settled := d.cluster.living().Settle(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	in.Settled = d.rec.now()
	if in.unhealed = settled != nil; in.unhealed {
		d.find(5, fmt.Sprintf("slow: after its return %v", settled))
	} else if err := d.untilBack(ctx, in.Settled); err != nil {
		return err
	}
	d.measure(in, &Fault{Lost: []int{site}})
	d.view.line("%s", in)
	for _, f := range d.load.Spotcheck(ctx, spotchecks) {
		d.find(promiseOf(f), f)
	}
	return ctx.Err()
}
