package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"bongsu/harness"
)

// drill is one run.
type drill struct {
	cfg     Config
	report  *Report
	view    *view
	rec     *recorder
	cluster *Cluster

	guests  *guests
	load    *harness.Load
	probes  *probes
	contest *contest
	crowd   *crowd // or nil
	moving  movers
}

const (
	users    = 9 // of the load; each has a device, a sync loop and writes
	rooms    = 5 // that all are in
	diskSize = 320 << 20

	spotchecks = 3 // of the newest events of each user that are read after each fault
)

// Run drills what cfg describes, tells out how it goes, and returns what was measured and found. A broken promise is not an
// error: see Report.Findings. Errors are: a configuration that cannot be (kind Invalid), rights that lack (Forbidden), a cluster
// that does not come up, the end of ctx.
func Run(ctx context.Context, cfg Config, out io.Writer) (*Report, error) {
	cfg, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	d := &drill{cfg: cfg, report: newReport(cfg), view: newView(out)}
	if cfg.Against != nil {
		err := d.against(ctx)
		if !d.report.judged {
			return nil, err
		}
		err = errors.Join(err, d.report.finish(cfg))
		d.view.table(d.report)
		return d.report, err
	}
	what, err := scenarioOf(cfg)
	if err != nil {
		return nil, err
	}
	d.view.line("bongsu drill %s, seed %d: %s", cfg.Scenario, cfg.Seed, what.shows)
	d.view.line("%s", caveat(cfg.Sites))
	dir, err := d.directory()
	if err != nil {
		return nil, err
	}
	err = d.run(ctx, dir, what)
	if err == nil {
		err = d.report.finish(cfg)
	}
	if err == nil && len(d.report.Findings) == 0 && !cfg.Keep && cfg.Dir == "" {
		err = os.RemoveAll(dir)
	} else {
		d.view.line("data and logs are in %s", dir)
	}
	if err != nil {
		return nil, err
	}
	d.view.table(d.report)
	return d.report, nil
}

// directory is where the sites live.
func (d *drill) directory() (string, error) {
	if d.cfg.Dir == "" {
		return os.MkdirTemp("", "bongsu-drill-")
	}
	return d.cfg.Dir, os.MkdirAll(d.cfg.Dir, 0o700)
}

// run is the drill from the first process to the last check.
func (d *drill) run(ctx context.Context, dir string, what scenario) (err error) {
	size := int64(0)
	if what.needs == ownDisks {
		size = diskSize
	}
	d.view.line("making a cluster of %d", d.cfg.Sites)
	bin := d.cfg.Bin
	if d.cfg.UpgradeFrom != "" {
		bin = d.cfg.UpgradeFrom
	}
	d.cluster, err = newCluster(ctx, clusterConfig{bin: bin, dir: dir, sites: d.cfg.Sites, plant: d.cfg.Plant, diskSize: size,
		netns: d.cfg.Netns, checkpoints: d.cfg.Checkpoints})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.cluster.Close()) }()
	if err := d.cluster.Start(ctx); err != nil {
		return err
	}
	d.receive("", "password of a drill")
	defer d.close()
	if what.crowd {
		if err := d.assemble(ctx); err != nil {
			return err
		}
	}
	if err := d.people(ctx); err != nil {
		return err
	}
	defer d.view.end()
	for _, s := range schedule(d.cfg, what) {
		sound, err := d.step(ctx, s)
		if err != nil {
			return err
		}
		if !sound {
			d.view.line("the drill ends here: what another fault would do to such a cluster proves nothing, and nothing else is judged")
			d.report.calls, d.report.Load, d.report.Probes = d.rec.all(), d.load.History.Summary(), d.probes.History.Summary()
			return nil
		}
	}
	if err := d.pass(ctx, d.cfg.Pause); err != nil {
		return err
	}
	d.view.line("the load ends; everything is read at every site")
	return d.judge(ctx)
}

// receive lets guests come, with names that begin with prefix.
func (d *drill) receive(prefix, password string) {
	d.rec = newRecorder(d.cluster.URLs())
	d.guests = &guests{urls: d.cluster.URLs(), rec: d.rec, prefix: prefix, password: password}
}

// assemble makes the crowd.
func (d *drill) assemble(ctx context.Context) (err error) {
	n := crowdSize
	if d.cfg.Short {
		n = crowdSizeShort
	}
	d.view.line("a crowd of %d clients comes", n)
	if d.crowd, err = newCrowd(ctx, d.guests, n); err == nil {
		d.crowd.start()
	}
	return err
}

// people makes everybody who uses the cluster, and puts the load on.
func (d *drill) people(ctx context.Context) error {
	var err error
	write, read := writePause, readPause
	if d.cfg.Against != nil {
		write, read = modestWritePause, modestReadPause
	}
	if d.probes, err = newProbes(ctx, d.guests, d.cluster.partitions(ctx), write, read); err != nil {
		return err
	}
	d.contest, err = newContest(ctx, d.guests, d.cfg.Seed, func(i int) bool { return d.cluster.Sites[i].Up() })
	if err != nil {
		return err
	}
	urls := d.guests.urls
	d.moving = movers{urls: urls}
	mean := time.Duration(float64(users) / d.cfg.Rate * float64(time.Second))
	d.load, err = harness.NewLoad(ctx, urls[0], harness.LoadConfig{Users: users, Rooms: rooms, Seed: d.cfg.Seed,
		Pause: 2 * mean, Client: d.client, Prefix: d.guests.prefix, Password: d.guests.password})
	if err != nil {
		return fmt.Errorf("drill: load: %w", err)
	}
	d.moving.start(d.cfg.Seed)
	d.probes.start()
	d.contest.start()
	d.view.begin(d.rec)
	return nil
}

// client makes a user of the load, at home at one of the sites.
func (d *drill) client(string) *harness.Client {
	urls := d.moving.urls
	c, rt, err := d.guests.client(urls[d.moving.count()%len(urls)])
	if err != nil {
		panic(err) // the cluster's own addresses are base URLs
	}
	d.moving.add(rt)
	return c
}

// close ends everybody. It is right at any point.
func (d *drill) close() {
	d.moving.end()
	if d.load != nil {
		d.load.Close()
	}
	if d.contest != nil {
		d.contest.close()
	}
	if d.crowd != nil {
		d.crowd.close()
	}
	if d.probes != nil {
		d.probes.close()
	}
}

// pass lets the load run for a while.
func (d *drill) pass(ctx context.Context, pause time.Duration) error { return rest(ctx, pause) }

// step lets one fault happen, measures, heals and measures again. It reports whether the cluster is sound afterwards.
func (d *drill) step(ctx context.Context, s step) (sound bool, err error) {
	if err := d.pass(ctx, s.pause); err != nil {
		return false, err
	}
	if s.late != nil {
		s.fault = s.late(d.cluster.leaders(ctx))
	}
	in := &Incident{Name: s.fault.Name, Lost: len(s.fault.Lost), slow: len(s.fault.Slow) > 0, minority: s.fault.Minority(d.cfg.Sites)}
	if err := d.hurt(ctx, s, in); err != nil {
		return false, err
	}
	d.view.line("%s: healing", s.fault.Name)
	if err := s.fault.heal(ctx, d.cluster); err != nil {
		return false, fmt.Errorf("drill: after %s: %w", s.fault.Name, err)
	}
	settled := d.cluster.Settle(ctx)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	in.Settled = d.rec.now()
	if in.unhealed = settled != nil; in.unhealed {
		d.find(5, fmt.Sprintf("slow: after %s %v", s.fault.Name, settled))
	} else if err := d.untilBack(ctx, in.Settled); err != nil {
		return false, err
	}
	d.measure(in, s.fault)
	d.view.line("%s", in)
	d.probes.release()
	if in.unhealed {
		return false, nil
	}
	if s.fault.check != nil {
		for _, f := range s.fault.check(ctx, d.cluster) {
			d.find(promiseOf(f), f)
		}
	}
	gone := d.load.Spotcheck(ctx, spotchecks)
	for _, f := range gone {
		d.find(promiseOf(f), f)
	}
	return len(gone) == 0, nil
}

// hurt is the first half of a step, until the sites are to come back.
func (d *drill) hurt(ctx context.Context, s step, in *Incident) error {
	lost := make([]string, len(s.fault.Lost))
	for i, site := range s.fault.Lost {
		lost[i] = d.cluster.Sites[site].URL()
	}
	if err := d.probes.avoid(lost...); err != nil {
		return err
	}
	if s.fault.prepare != nil {
		d.view.line("%s: preparing", s.fault.Name)
		if err := s.fault.prepare(ctx, d.cluster); err != nil {
			return fmt.Errorf("drill: before %s: %w", s.fault.Name, err)
		}
	}
	in.leaders = d.cluster.leaders(ctx)
	in.moved = d.crowd.at(lost)
	in.At = d.rec.now()
	d.view.line("%s", s.fault.Name)
	if err := s.fault.inject(ctx, d.cluster); err != nil {
		return fmt.Errorf("drill: %s: %w", s.fault.Name, err)
	}
	if err := d.pass(ctx, s.hold); err != nil {
		return err
	}
	if s.fault.Rush > 0 {
		d.view.line("%s: %d times as much is written", s.fault.Name, rushTimes)
		var err error
		if in.Rush, err = d.crowd.rush(ctx, rushTimes*d.cfg.Rate, s.fault.Rush); err != nil {
			return err
		}
	}
	if in.minority {
		if err := d.untilBack(ctx, in.At); err != nil {
			return err
		}
	} else if n := len(s.fault.Lost); n > 0 && n < d.cfg.Sites {
		d.find(6, d.survivors(ctx, s.fault)...)
	}
	in.Healed = d.rec.now()
	return nil
}

// backWithin bounds how long the drill waits for probes before it goes on without them; they are measured all the same.
const backWithin = 30 * time.Second

// untilBack waits until every probe has worked after a moment.
func (d *drill) untilBack(ctx context.Context, at time.Duration) error {
	for end := d.rec.now() + backWithin; d.rec.now() < end; {
		waiting := slices.ContainsFunc(slices.Concat(d.probes.writers, d.probes.readers), func(p *prober) bool {
			_, ok := back(p.all(), at)
			return !ok
		})
		if !waiting {
			return nil
		}
		if err := rest(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// find adds findings about one promise. Sites are called by their names.
func (d *drill) find(promise int, texts ...string) {
	var pairs []string
	for _, s := range d.cluster.Sites {
		pairs = append(pairs, s.URL(), s.Name)
	}
	name := strings.NewReplacer(pairs...)
	for _, t := range texts {
		d.report.Findings = append(d.report.Findings, Finding{Promise: promise, Text: name.Replace(t)})
	}
}

// judge ends the load and checks everything.
func (d *drill) judge(ctx context.Context) error {
	d.moving.end()
	d.load.Stop()
	d.probes.halt()
	d.contest.end()
	if d.crowd != nil {
		d.crowd.end()
	}
	here := d.cluster
	if d.cfg.Against != nil {
		here = here.living()
	}
	if err := here.Settle(ctx); err != nil {
		d.find(5, "slow: at the end "+err.Error())
	}
	d.report.calls = d.rec.all()
	findings := d.findings(ctx, here)
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, s := range d.cluster.Sites {
		if s.Log == "" {
			continue // somebody else's
		}
		complaints, err := s.complaints()
		if err != nil {
			return err
		}
		findings = append(findings, complaints...)
	}
	for _, f := range findings {
		d.find(promiseOf(f), f)
	}
	d.report.judged = true
	d.report.Load, d.report.Probes = d.load.History.Summary(), d.probes.History.Summary()
	d.report.Operations = len(d.contest.ops)
	return nil
}

// judgeWithin bounds the reading of everything at every site.
const judgeWithin = 5 * time.Minute

// findings are those of all checks that ask the sites, which here has.
func (d *drill) findings(ctx context.Context, here *Cluster) []string {
	ctx, cancel := context.WithTimeout(ctx, judgeWithin)
	defer cancel()
	var findings []string
	findings = append(findings, d.load.Judge(ctx, here.URLs()...)...)
	findings = append(findings, d.probes.judge(ctx, here.URLs())...)
	findings = append(findings, d.contest.judge(ctx, here.URLs())...)
	if d.crowd != nil {
		findings = append(findings, d.crowd.judge(ctx, here.URLs())...)
	}
	telling := here.telling()
	if d.report.opaque = len(telling.Sites) == 0; d.report.opaque {
		return findings
	}
	findings = append(findings, telling.compareDigests(ctx)...)
	for _, s := range telling.Sites {
		st, err := s.Status(ctx)
		if err != nil {
			findings = append(findings, fmt.Sprintf("refused: status of %s: %v", s.Name, err))
		} else if st.Failures > 0 {
			findings = append(findings, fmt.Sprintf("%s counts %d proposals that failed through a bug", s.Name, st.Failures))
		}
	}
	return findings
}
