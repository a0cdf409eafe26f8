package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"bongsu/drill/wan"
	"bongsu/freeport"
	"bongsu/harness"
)

// siteNames are towns on the old beacon lines.
var siteNames = []string{"seoul", "chuncheon", "busan", "daegu", "gwangju"}

// portsPerSite is how many ports in a row a site uses: clients, the other sites, the engine's routes.
const portsPerSite = 3

// Cluster is all sites of a cluster as processes on this machine. It has one owner.
type Cluster struct {
	Sites []*Site

	dir string
	wan *wan.Network // nil: all sites are on loopback
}

// Site is one site: a process and its data directory.
type Site struct {
	Name string
	Data string // its data directory
	Log  string // the file that keeps its standard error

	server *harness.Server // nil: it is somebody else's, and only looked at from outside, at url
	url    string
	alive  string   // the path that says whether it wants requests
	opaque bool     // it does not tell its status
	env    []string // of the server, as it was made
	log    *os.File
	disk   *harness.Disk // nil: the data lies in an ordinary directory

	mu sync.Mutex
	up bool // the process runs and is not frozen
}

// clusterConfig says what a cluster is made of.
type clusterConfig struct {
	bin      string
	dir      string // existing, empty
	sites    int
	plant    string
	diskSize int64 // of a file system of its own for each site; 0: none
	netns    bool  // each site has a network namespace of its own

	checkpoints time.Duration // of the state's time, between two checkpoints
}

// newCluster prepares the directories of all sites with the program's own "cluster init". Nothing runs yet.
func newCluster(ctx context.Context, cfg clusterConfig) (*Cluster, error) {
	c := &Cluster{dir: cfg.dir}
	init := []string{"cluster", "init", "--server-name=localhost", "--out=" + filepath.Join(cfg.dir, "bundles"),
		"--data=" + filepath.Join(cfg.dir, "{site}", "data")}
	if cfg.netns {
		var err error
		if c.wan, err = wan.New(cfg.sites); err != nil {
			return nil, err
		}
	}
	for i := range cfg.sites {
		host, port, err := c.place(i)
		if err == nil {
			err = c.add(cfg, i, host, port)
		}
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		init = append(init, fmt.Sprintf("--site=%s=%s:%d", siteNames[i], host, port))
	}
	if c.wan != nil {
		c.distances()
	}
	if cfg.sites == 1 {
		return c, nil
	}
	if out, err := exec.CommandContext(ctx, cfg.bin, init...).CombinedOutput(); err != nil { //nolint:gosec // the program that is drilled
		return nil, errors.Join(fmt.Errorf("drill: bongsu cluster init: %w: %s", err, out), c.Close())
	}
	return c, nil
}

// wanPort is where a site listens that has all ports for itself.
const wanPort = 8108

// place is where a site listens for clients.
func (c *Cluster) place(i int) (host string, port int, err error) {
	if c.wan != nil {
		return c.wan.Addr(i), wanPort, nil
	}
	port, err = freeport.Ports(portsPerSite)
	return "127.0.0.1", port, err
}

// add prepares one site.
func (c *Cluster) add(cfg clusterConfig, i int, host string, port int) error {
	name := siteNames[i]
	base := filepath.Join(c.dir, name)
	if err := os.MkdirAll(base, 0o700); err != nil {
		return err
	}
	s := &Site{Name: name, Data: filepath.Join(base, "data"), Log: filepath.Join(base, "log"), alive: healthPath}
	if cfg.diskSize > 0 {
		var err error
		if s.disk, err = harness.NewDisk(base, cfg.diskSize); err != nil {
			return err
		}
		// The bundle names base/data, which then is a link into the disk of the site.
		if err := os.Symlink(filepath.Join(s.disk.Dir, "data"), s.Data); err != nil {
			return err
		}
		s.Data = filepath.Join(s.disk.Dir, "data")
		if err := os.Mkdir(s.Data, 0o700); err != nil {
			return err
		}
	}
	c.Sites = append(c.Sites, s)
	var err error
	if s.log, err = os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return err
	}
	conf := harness.Config{Bin: cfg.bin, Data: s.Data, Log: s.log, Host: host, Port: port}
	if c.wan != nil {
		conf.Prefix = c.wan.Prefix(i)
	}
	conf.Env = []string{checkpointVariable + "=" + cfg.checkpoints.String()}
	if cfg.plant != "" && cfg.plant != rollback {
		conf.Env = append(conf.Env, plantVariable+"="+cfg.plant)
	}
	if cfg.diskSize > 0 {
		conf.Args = []string{"--disk-reserve=16MiB"} // the disks are small
	}
	if cfg.sites > 1 {
		conf.Command = func(listen string) []string {
			return append([]string{"serve", "--config", filepath.Join(c.dir, "bundles", name, "site.toml"),
				"--listen", listen, "--open-registration", "--rate-limits=off"}, conf.Args...)
		}
	}
	s.env = conf.Env
	s.server, err = harness.New(conf)
	return err
}

// checkpointVariable is how often a server takes checkpoints and trims its journal: in a drill that must happen all the time.
const checkpointVariable = "BONGSU_CHECKPOINT_EVERY"

// plantVariable asks a server to be weak; see Config.Plant. It is no flag, so that nobody sets it by mistake.
const plantVariable = "BONGSU_PLANT"

// Start starts all sites at once and waits until all answer requests.
func (c *Cluster) Start(ctx context.Context) error {
	for _, s := range c.Sites {
		if err := s.Begin(); err != nil {
			return err
		}
	}
	for _, s := range c.Sites {
		if err := s.server.Ready(ctx); err != nil {
			return fmt.Errorf("drill: %s: %w", s.Name, err)
		}
	}
	return c.Settle(ctx)
}

// Close kills what runs and frees what the sites hold. The files stay.
func (c *Cluster) Close() error {
	var all []error
	for _, s := range c.Sites {
		s.Kill()
		if s.log != nil {
			all = append(all, s.log.Close())
		}
		if s.disk != nil {
			all = append(all, s.disk.Close())
		}
	}
	if c.wan != nil {
		all = append(all, c.wan.Close())
	}
	return errors.Join(all...)
}

// URLs are the base URLs of all sites.
func (c *Cluster) URLs() []string {
	all := make([]string, len(c.Sites))
	for i, s := range c.Sites {
		all[i] = s.URL()
	}
	return all
}

// part is the cluster with some of its sites.
func (c *Cluster) part(of func(*Site) bool) *Cluster {
	p := &Cluster{}
	for _, s := range c.Sites {
		if of(s) {
			p.Sites = append(p.Sites, s)
		}
	}
	return p
}

// living are the sites that are up.
func (c *Cluster) living() *Cluster { return c.part((*Site).Up) }

// telling are the sites that tell their status.
func (c *Cluster) telling() *Cluster { return c.part(func(s *Site) bool { return !s.opaque }) }

// URL is where the site's clients go, whether it runs or not.
func (s *Site) URL() string {
	if s.server == nil {
		return s.url
	}
	return s.server.URL()
}

// Up reports whether the site's process runs and is not frozen.
func (s *Site) Up() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up
}

func (s *Site) setUp(up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = up
}

// Begin starts the process and does not wait for it.
func (s *Site) Begin() error {
	err := s.server.Begin()
	s.setUp(err == nil)
	return err
}

// Kill is kill -9, frozen or not.
func (s *Site) Kill() {
	s.setUp(false)
	if s.server != nil {
		s.server.Kill()
	}
}

// Stop ends the process as an operator does.
func (s *Site) Stop(ctx context.Context) error {
	s.setUp(false)
	return s.server.Stop(ctx)
}

// Wipe removes all data of a site that does not run, as a fire does.
func (s *Site) Wipe() error {
	entries, err := os.ReadDir(s.Data)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(s.Data, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Freeze stops the process where it stands: it neither answers nor closes a connection.
func (s *Site) Freeze(ctx context.Context) error {
	s.setUp(false)
	return s.server.Freeze(ctx)
}

// Thaw lets it go on.
func (s *Site) Thaw() error {
	s.setUp(true)
	return s.server.Thaw()
}

// Copy keeps the data of a site that does not run, and returns where.
func (s *Site) Copy() (string, error) {
	to := filepath.Join(filepath.Dir(s.Log), "copy")
	if err := os.RemoveAll(to); err != nil {
		return "", err
	}
	// The operator's socket is no file that could be copied; the next start makes it again.
	if err := os.RemoveAll(filepath.Join(s.Data, "admin.sock")); err != nil {
		return "", err
	}
	return to, os.CopyFS(to, os.DirFS(s.Data))
}

// Replace puts a copy in the place of the data.
func (s *Site) Replace(copied string) error {
	if err := s.Wipe(); err != nil {
		return err
	}
	return os.CopyFS(s.Data, os.DirFS(copied))
}

// complaints are lines of the log that must never be there.
func (s *Site) complaints() ([]string, error) {
	text, err := os.ReadFile(s.Log)
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		for _, bad := range []string{"panic:", "panicked", "DATA RACE", "fatal error:"} {
			if strings.Contains(line, bad) && len(all) < 5 {
				all = append(all, fmt.Sprintf("the log of %s speaks of %q: %s", s.Name, bad, strings.TrimSpace(line)))
			}
		}
	}
	return all, nil
}

// settleWithin bounds how long a site may take to heal itself.
const settleWithin = 90 * time.Second

// Settle waits until every site that is up has applied what any had applied when the wait began, and answers requests.
func (c *Cluster) Settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	goal := map[int]uint64{}
	for _, s := range c.telling().Sites {
		if st, err := s.Status(ctx); err == nil {
			for _, p := range st.Partitions {
				goal[p.Partition] = max(goal[p.Partition], p.Applied)
			}
		}
	}
	for _, s := range c.Sites {
		if !s.Up() {
			continue
		}
		if err := s.reach(ctx, goal); err != nil {
			return fmt.Errorf("%s did not heal itself (it has %v): %w", s.Name, settleWithin, err)
		}
	}
	return nil
}

// reach waits until the site has applied the positions of goal, and wants requests.
func (s *Site) reach(ctx context.Context, goal map[int]uint64) error {
	var why error // the last reason but for the end of ctx itself
	for {
		err := s.Healthy(ctx)
		if err == nil && !s.opaque {
			var st *Status
			if st, err = s.Status(ctx); err == nil {
				err = st.behind(goal)
			}
		}
		if err == nil {
			return nil
		}
		if s.server != nil {
			if ended := s.server.Ended(); ended != nil {
				return ended
			}
		}
		if ctx.Err() == nil || why == nil {
			why = err
		}
		if rest(ctx, 20*time.Millisecond) != nil {
			return why
		}
	}
}
