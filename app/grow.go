package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"bongsu/api/admin"
	"bongsu/config"
)

// GrowPlan says how a single node becomes the sites of a cluster.
type GrowPlan struct {
	Data    string // of the single node
	Seed    string // where its state goes: empty or absent
	Bundles string // the files of the cluster's sites, whose data directories are then made on this machine; "": that is done later
	Report  func(Step)
	// Backup has the node sealed and backed up, and stopped.
	Backup func(context.Context, admin.BackupOrder) (*Seed, error)
	Now    func() time.Time
}

// Grown says what Grow did.
type Grown struct {
	Seed  *Seed
	Sites []GrownSite   // whose data directories were made
	Pause time.Duration // since the first write that was refused
}

// GrownSite is a site whose data directory was made.
type GrownSite struct {
	Name     string
	Settings string // its file
	config   config.Config
}

// Grow seals a single node, takes its state, and makes the data directories of the cluster that goes on from it. What could go
// wrong is looked for before the node is sealed. The node's own directory is not changed but for its mark.
func Grow(ctx context.Context, p GrowPlan) (*Grown, error) {
	g := &Grown{}
	var err error
	if p.Bundles != "" {
		if g.Sites, err = p.sites(); err != nil {
			return nil, err
		}
	}
	for _, dir := range append(dataDirs(g.Sites), p.Seed) {
		if err := mustBeEmpty(dir); err != nil {
			return nil, err
		}
	}
	began := p.Now()
	if g.Seed, err = p.Backup(ctx, admin.BackupOrder{Dir: p.Seed, Seal: true}); err != nil {
		return nil, err
	}
	for i := range g.Sites {
		if _, _, err := Restore(ctx, RestorePlan{Seed: p.Seed, Config: g.Sites[i].config, Continue: true, Share: true, Report: p.Report}); err != nil {
			return nil, fmt.Errorf("site %s: %w; the node is sealed and its state is in %s: put right what is wrong and make the site's directory with "+
				"\"bongsu restore --continue\", or take the node back with \"bongsu cluster unseal\"", g.Sites[i].Name, err, p.Seed)
		}
	}
	g.Pause = p.Now().Sub(began)
	return g, nil
}

// sites reads the settings of the sites and checks that they can go on from the node.
func (p *GrowPlan) sites() ([]GrownSite, error) {
	f, err := readFormat(p.Data)
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(p.Bundles, "*", "site.toml"))
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, fmt.Errorf("%s holds no site.toml in its directories: make them with \"bongsu cluster init\"", p.Bundles))
	}
	var sites []GrownSite
	seen := map[string]string{}
	for _, file := range files {
		c, err := config.Load([]string{"--config", file})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		names, err := siteNames(&c)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", file, err)
		case c.ServerName != f.ServerName:
			return nil, fmt.Errorf("%s is of server %q, the node of %q: a server's name cannot change", file, c.ServerName, f.ServerName)
		case c.Disk.Partitions != f.Partitions:
			return nil, fmt.Errorf("%s says %d partitions, the node has %d: make the cluster with --partitions %[3]d", file, c.Disk.Partitions, f.Partitions)
		case len(names) != len(files):
			return nil, fmt.Errorf("%s holds %d of the cluster's %d sites", p.Bundles, len(files), len(names))
		case seen[c.Data] != "":
			return nil, fmt.Errorf("sites %s and %s have the same data directory %s, on this machine: grow with --seed-out alone, and make each site's "+
				"directory on its own machine with \"bongsu restore --continue\"", seen[c.Data], c.Site, c.Data)
		}
		seen[c.Data] = c.Site
		sites = append(sites, GrownSite{c.Site, file, c})
	}
	return sites, nil
}

func dataDirs(sites []GrownSite) (dirs []string) {
	for _, s := range sites {
		dirs = append(dirs, s.config.Data)
	}
	return dirs
}

// mustBeEmpty refuses a directory that holds anything.
func mustBeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty (it holds %q)", dir, entries[0].Name())
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// readFormat reads what a data directory is.
func readFormat(data string) (f format, err error) {
	text, err := os.ReadFile(filepath.Join(data, "format.json"))
	if err != nil {
		return f, fmt.Errorf("%s is not the data directory of a server: %w", data, err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return f, fmt.Errorf("%s: format.json: %w", data, err)
	}
	return f, nil
}
