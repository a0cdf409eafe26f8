package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"bongsu/cluster"
	"bongsu/config"
	"bongsu/disk"
	"bongsu/replica"
	"bongsu/seed"
)

// sealedFile marks a data directory whose server was moved elsewhere.
const sealedFile = "sealed.json"

// ErrSealed is what is said of a data directory whose server was moved elsewhere.
var ErrSealed = errors.New("the data directory was sealed")

// sealed is the content of sealed.json.
type sealed struct {
	Seed string `json:"seed"` // where its state went
}

// seal marks a data directory: the server is not to be started on it again.
func seal(data, to string) error {
	text, err := json.Marshal(sealed{to})
	if err != nil {
		return err
	}
	return disk.WriteFile(filepath.Join(data, sealedFile), append(text, '\n'))
}

// checkSealed refuses a data directory whose server was moved elsewhere.
func checkSealed(data string) error {
	text, err := os.ReadFile(filepath.Join(data, sealedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var at sealed
	if err := errors.Join(err, json.Unmarshal(text, &at)); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(data, sealedFile), err)
	}
	return fmt.Errorf("%w: %s: its server goes on from %s, and two servers must not go on from one state; "+
		"if the other one was never started, take this one back with \"bongsu cluster unseal --data %s\"", ErrSealed, data, at.Seed, data)
}

// Unseal removes the mark of a data directory that was sealed.
func Unseal(data string) error {
	err := os.Remove(filepath.Join(data, sealedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not sealed", data)
	}
	return errors.Join(err, disk.SyncDir(data))
}

// RestorePlan says which data directory is made from a backup.
type RestorePlan struct {
	Seed   string        // the backup's directory
	Config config.Config // of the server, or of one site of the cluster, that goes on from it
	// Continue says that nothing was acknowledged since the backup was made: the epoch stays. Only a sealed server's can be.
	Continue bool
	Share    bool // files are shared with the backup instead of copied, where the file system can
	NoFiles  bool // files are left away: another site has them
	Report   seed.Report
}

// check refuses a backup that is not for these settings.
func (p *RestorePlan) check(m *seed.Manifest) error {
	c := &p.Config
	switch {
	case m.Server != c.ServerName:
		return fmt.Errorf("the backup is of server %q, the settings name %q: a server's name cannot change", m.Server, c.ServerName)
	case len(m.Partitions) != c.Disk.Partitions:
		return fmt.Errorf("the backup has %d partitions, the settings say %d: set partitions = %[1]d", len(m.Partitions), c.Disk.Partitions)
	case m.Rules > rulesVersion:
		return fmt.Errorf("the backup follows rules version %d, this build knows %d: use a newer build", m.Rules, rulesVersion)
	case p.Continue && !m.Sealed:
		return errors.New("the backup is of a server that was not sealed: writes may have been acknowledged after it; restore without --continue")
	}
	return nil
}

// Restore makes an empty data directory into one whose server goes on from a backup, and says which backup it was and the epoch
// that begins. It never changes the backup.
func Restore(ctx context.Context, p RestorePlan) (*seed.Manifest, uint64, error) {
	m, err := seed.Open(p.Seed)
	if err != nil {
		return nil, 0, err
	}
	if err := p.check(m); err != nil {
		return nil, 0, err
	}
	c := &p.Config
	first := seed.First{Epoch: m.Epoch, Sites: []string{c.Site}}
	if !p.Continue {
		first.Epoch = seed.NextEpoch(m.Epoch, c.Cluster.ID)
	}
	if c.Cluster.ID != "" {
		if first.Sites, err = siteNames(c); err != nil {
			return nil, 0, err
		}
	}
	if err := makeDir(filepath.Dir(c.Data)); err != nil {
		return nil, 0, err
	}
	if _, err := seed.Prepare(ctx, p.Seed, seed.Target{Data: c.Data, First: first, Share: p.Share, NoFiles: p.NoFiles, Report: p.Report}); err != nil {
		return nil, 0, err
	}
	// Runs that go on from here have higher numbers than those that the state knows, and than those that came after the backup.
	d := dataDir{path: c.Data}
	if _, err := d.raiseBoot(max(m.Boot, firstBoot())); err != nil {
		return nil, 0, err
	}
	if err := d.writeFormat(formatOf(c)); err != nil { // the last: with it the directory can be started
		return nil, 0, err
	}
	return m, first.Epoch, os.Chmod(c.Data, 0o700) //nolint:gosec // a directory needs its x
}

// siteNames are the names of all sites in the settings of one.
func siteNames(c *config.Config) ([]string, error) {
	var names []string
	for _, text := range c.Cluster.ClusterSites {
		s, err := cluster.ParseSite(text)
		if err != nil {
			return nil, fmt.Errorf("cluster-sites: %w", err)
		}
		names = append(names, s.Name)
	}
	if !slices.Contains(names, c.Site) {
		return nil, fmt.Errorf("cluster-sites: this site, %s, is not among them: %s", c.Site, strings.Join(names, ", "))
	}
	return names, nil
}

// readFirst reads how a data directory begins that was made from a backup; until then nobody is served.
func (s *Server) readFirst(data *dataDir) (err error) {
	if err := checkSealed(data.path); err != nil {
		return err
	}
	s.first, err = seed.ReadFirst(data.path)
	s.begun.Store(s.first == nil)
	return err
}

// begin makes the state go on from the backup that the data directory was made from. It returns when that is done, which needs a
// quorum, and does nothing at later starts.
func (s *Server) begin(ctx context.Context) error {
	if s.begun.Load() {
		return nil
	}
	if err := s.replica.Ready(ctx); err != nil {
		return err
	}
	if err := s.replica.Continue(ctx, replica.Continuation{Epoch: s.first.Epoch, Sites: s.first.Sites}); err != nil {
		return err
	}
	if err := seed.Begun(s.cfg.Data); err != nil {
		return err
	}
	s.log.Info("the server goes on from a backup", "epoch", s.first.Epoch)
	s.begun.Store(true)
	return nil
}

// goOn begins, or lets it be done as soon as the other sites are there: this one must be up for that.
func (s *Server) goOn(ctx context.Context) error {
	if s.site == nil {
		return s.begin(ctx)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for s.running.Err() == nil {
			err := s.begin(s.running)
			if err == nil {
				return
			}
			s.log.Warn("the server does not go on from its backup yet", "err", err)
			select {
			case <-s.running.Done():
			case <-time.After(time.Second):
			}
		}
	})
	s.onClose(func() error { s.stop(); work.Wait(); return nil })
	return nil
}

// held answers 503 until the server has begun.
func (s *Server) held(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.begun.Load() {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"errcode":"M_UNKNOWN","error":"the server is being restored: it begins when its sites are there"}` + "\n")) // the client may be gone
	})
}

// RestoreSettings are the settings in a file, or, without one, those that a single node needs that goes on from a backup. data is
// the data directory; "": that of the file.
func RestoreSettings(from, file, data string) (config.Config, error) {
	if file != "" {
		args := []string{"--config", file}
		if data != "" {
			args = append(args, "--data", data)
		}
		return config.Load(args)
	}
	if data == "" {
		return config.Config{}, errors.New("name the settings with --config, or the data directory with --data")
	}
	m, err := seed.Open(from)
	if err != nil {
		return config.Config{}, err
	}
	c := config.Default()
	c.Data, c.ServerName, c.Disk.Partitions = data, m.Server, len(m.Partitions)
	return c, c.Validate()
}

// Seed is what a backup says of itself, and Step how far something has come.
type (
	Seed = seed.Manifest
	Step = seed.Step
)

// VerifyBackup reads everything in a backup and checks it.
func VerifyBackup(ctx context.Context, dir string, report func(Step)) (*Seed, error) {
	return seed.Verify(ctx, dir, report)
}
