package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"bongsu/blob"
	"bongsu/checkpoint"
	"bongsu/cluster"
	"bongsu/errs"
	"bongsu/journal"
	"bongsu/journal/jet"
	"bongsu/link"
	"bongsu/obs"
	"bongsu/replica"
)

// site is what a server in a cluster has and a single node has not. Its parts are opened before the state is, since the other
// sites must be heard before the journal may be opened; what they ask of the state waits for it.
type site struct {
	settings cluster.Settings
	link     *link.Link
	member   *cluster.Member
	until    time.Time                       // when the site's certificate ends
	replica  atomic.Pointer[replica.Replica] // nil until it is open
	checked  *jet.Checked                    // the journal's directory, from its check until the engine has it; of enter only
}

// maxBody is the longest body on a link, in bytes, where uploads are not longer: backups of a site's state, with room to spare.
const maxBody = 1 << 30

// openSite opens the links to the other sites, and lets the journal join theirs in the background.
func (s *Server) openSite(data *dataDir, cfg jet.Config) (err error) {
	st := &site{}
	s.site = st
	c := s.cfg.Cluster
	st.settings, err = cluster.ParseSettings(cluster.Settings{ID: c.ID, Dir: s.cfg.BundleDir(), Site: s.cfg.Site,
		LinkListen: c.LinkListen, RoutesListen: c.RoutesListen}, c.ClusterSites)
	if err != nil {
		return fmt.Errorf("the settings of the cluster: %w", err)
	}
	credentials, err := st.settings.Credentials(s.clock)
	if err != nil {
		return err
	}
	st.until = credentials.Until
	st.link, err = link.Open(link.Config{Site: s.cfg.Site, Cluster: c.ID, Version: obs.ReadBuild().String(),
		Listen: c.LinkListen, Peers: st.settings.Peers(), Credentials: credentials,
		MaxBody: max(int64(s.cfg.API.MaxUpload), maxBody), Clock: s.clock, Log: s.log})
	if err != nil {
		return err
	}
	s.onClose(st.link.Close)
	st.member, err = cluster.Open(cluster.Config{Link: st.link, Site: s.cfg.Site, Sites: st.settings.Names(), Dir: data.path,
		Boot: data.boot, RaiseBoot: data.raiseBoot, Wipe: func() error { return errors.Join(st.checked.Close(), jet.Wipe(cfg.Dir)) }, Log: s.log})
	if err != nil {
		return err
	}
	s.onClose(st.member.Close)
	cfg.Cluster = &jet.Cluster{Name: c.ID, Site: s.cfg.Site, Sites: st.settings.Names(), Listen: c.RoutesListen,
		Routes: st.settings.Routes(), TLS: st.link.TLS(), First: s.first.Journal()}
	j := join(cfg.Partitions, func(ctx context.Context) (*jet.Journal, error) { return s.enter(ctx, data.boot, cfg) }, s.fail)
	s.journal = j
	s.onClose(j.Close)
	s.watchStanding(j)
	return nil
}

// fail ends the server: it cannot go on.
func (s *Server) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// enter has this site let in by the others and starts its engine. It returns when records may be acknowledged.
func (s *Server) enter(ctx context.Context, boot uint64, cfg jet.Config) (*jet.Journal, error) {
	st := s.site
	state, damage, err := st.inspect(cfg)
	defer st.checked.Close() //nolint:errcheck // it was only read
	if err != nil {
		return nil, err
	}
	if s.plant.overlook(damage, &s.hole) {
		state, cfg.Unchecked = cluster.Formed, true
	}
	if err := st.member.Admit(ctx, state); err != nil {
		return nil, err
	}
	if now := st.member.Boot(); now != boot {
		return nil, fmt.Errorf("%w: the other sites remember later runs of this site than its data directory does", errReopen)
	}
	// Where the others cannot connect at once they try again after a second, each at another time, and a leader that hears less than
	// another site does steps down.
	meeting, met := context.WithTimeout(ctx, meetFor)
	st.link.Meet(meeting)
	met()
	cfg.Checked = st.checked
	j, err := jet.Open(cfg)
	if err != nil {
		return nil, err
	}
	st.member.Serve(cluster.Engine{Formed: j.Formed, SeenBoot: st.seenBoot, Routed: j.Routed,
		Barrier: func(ctx context.Context) error { return st.barrier(ctx, j) }})
	if err := st.member.Founded(ctx); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

// meetFor is how long a site that has been let in waits for others that may be down, before its engine looks for theirs.
const meetFor = time.Second

// standingEvery is how often a server looks whether it can go on.
const standingEvery = 500 * time.Millisecond

// standing is why this server cannot go on as it is, or nil: its journal hangs; or, of a site, its journal turned out to be damaged, which is
// found and healed when the server is opened anew, or another process has taken its place.
func (s *Server) standing(j engine) error {
	switch err := j.Refusing(); {
	case errors.Is(err, journal.ErrStuck):
		return err
	case s.site == nil:
		return nil
	case errors.Is(err, journal.ErrDamaged):
		return fmt.Errorf("%w: %w", errReopen, err)
	}
	return s.site.member.Err()
}

// watchStanding ends the server when standing says that it cannot go on.
func (s *Server) watchStanding(j engine) {
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(standingEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if err := s.standing(j); err != nil {
					s.fail(err)
					return
				}
			}
		}
	})
	s.onClose(func() error { close(stop); done.Wait(); return nil })
}

// seenBoot is the newest run of a site that the journal has shown here.
func (st *site) seenBoot(name string) uint64 {
	if r := st.replica.Load(); r != nil {
		return r.Boot(name)
	}
	return 0
}

// barrier appends a record to every partition, and returns when this site's own engine holds everything up to there on stable
// storage, and is ready to fill whoever has lost it.
func (st *site) barrier(ctx context.Context, j *jet.Journal) error {
	r := st.replica.Load()
	if r == nil {
		return errs.New("app.barrier", errs.Unavailable, "", "this site is being started")
	}
	if err := r.CatchUp(ctx); err != nil {
		return err
	}
	for i, pos := range r.Positions() {
		if err := held(ctx, j, journal.Partition(i), pos); err != nil { //nolint:gosec // at most 64
			return err
		}
	}
	if err := j.Sync(); err != nil {
		return err
	}
	return j.Shorten(ctx)
}

// held returns when this site's own engine has stored partition p up to pos. What was applied may have come from another site's.
func held(ctx context.Context, j *jet.Journal, p journal.Partition, pos journal.Position) error {
	for {
		_, last, err := j.Bounds(ctx, p)
		if err != nil || last >= pos {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// inspect says what the journal's directory is.
func (st *site) inspect(cfg jet.Config) (state cluster.State, damage, err error) {
	st.checked, err = jet.Check(cfg.Dir, cfg.Partitions)
	switch {
	case errors.Is(err, journal.ErrDamaged):
		cfg.Log.Error("ALARM: the journal's files are damaged; they are put aside, and the other sites fill this one again", "err", err)
		return cluster.Damaged, err, nil
	case err != nil:
		return cluster.Unknown, nil, err
	}
	return map[jet.State]cluster.State{jet.Empty: cluster.Empty, jet.Forming: cluster.Forming, jet.Formed: cluster.Formed}[st.checked.State], nil, nil
}

// sites are the names of all sites.
func (s *Server) sites() []string {
	if s.site == nil {
		return nil
	}
	return s.site.settings.Names()
}

// siteState is how a site looks from here.
func (s *Server) siteState(name string) string {
	for _, h := range s.site.link.Heard() {
		if h.Site == name && h.Err != nil {
			return "unknown"
		}
	}
	return "up"
}

// stamps says whether this site's clock may move the time of the state.
func (s *Server) stamps() bool { return s.site == nil || s.site.link.ClockSound() }

// peers is the link to the other sites, for those who do without on a single node.
func (s *Server) peers() blob.Link {
	if s.site == nil {
		return nil
	}
	return s.site.link
}

// openCheckpoints opens the keeper of checkpoints.
func (s *Server) openCheckpoints(data *dataDir, every time.Duration) (err error) {
	cfg := checkpoint.Config{Dir: data.join("checkpoints"), Site: s.cfg.Site, Link: s.peers(), Journal: s.journal,
		Reserve: int64(s.cfg.Disk.DiskReserve), Interval: min(every, time.Minute), Clock: s.clock, Log: s.log}
	if s.site != nil {
		cfg.Remake = s.site.remake
	}
	if s.checkpoints, err = checkpoint.Open(cfg); err != nil {
		return err
	}
	s.onClose(func() error { s.checkpoints.Close(); return nil })
	return nil
}

// remake has the rows of a partition made anew.
func (st *site) remake(p journal.Partition, why error) {
	if r := st.replica.Load(); r != nil {
		r.Remake(p, why)
	}
}
