package jet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"bongsu/journal"
)

// The manifest says what a data directory is. On one node it is written once, after everything else is in place. In a cluster it is
// written before the engine may speak to others, because from then on it has made promises, and once more when all is there.
const (
	manifestFile = "journal.json"
	lockFile     = "lock"
	format       = 1
	// standalone is an engine without routes. A cluster takes such a store for an orphan and deletes it, and the reverse loses
	// what peers hold, so a directory never changes mode.
	standalone = "standalone"
	clustered  = "cluster"
)

type manifest struct {
	Format     int      `json:"format"`
	Mode       string   `json:"mode"`
	Partitions int      `json:"partitions"`
	Cluster    string   `json:"cluster,omitempty"` // these and Groups only in mode cluster
	Site       string   `json:"site,omitempty"`
	Sites      []string `json:"sites,omitempty"`
	// Groups are the engine's names of the groups of replicas, in the order of the books. They are known when all partitions
	// have been seen at this site, and say that they have.
	Groups []string `json:"groups,omitempty"`
}

// manifestOf is what a directory of c is to say.
func manifestOf(c Config, groups []string) manifest {
	m := manifest{Format: format, Mode: standalone, Partitions: c.Partitions}
	if k := c.Cluster; k != nil {
		m.Mode, m.Cluster, m.Site, m.Sites, m.Groups = clustered, k.Name, k.Site, slices.Sorted(slices.Values(k.Sites)), groups
	}
	return m
}

// readManifest returns nil when there is none.
func readManifest(dir string) (*manifest, error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("jet: %w", err)
	}
	m := new(manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%w: %s is unreadable (%v)", journal.ErrDamaged, manifestFile, err)
	}
	if m.Format != format {
		return nil, fmt.Errorf("jet: %s has format %d, this build reads %d", dir, m.Format, format)
	}
	return m, nil
}

// checkManifest says what the directory is and which groups it has, or refuses one that is not this journal's. A journal on one node is
// Empty or Formed.
func checkManifest(c Config) (s State, groups []string, err error) {
	m, err := readManifest(c.Dir)
	if err != nil {
		return Empty, nil, err
	}
	if m == nil {
		return Empty, nil, clearUnfinished(c.Dir)
	}
	return m.state(), m.Groups, m.check(c)
}

// state is what a directory with this manifest is.
func (m *manifest) state() State {
	if m.Mode == clustered && m.Groups == nil {
		return Forming
	}
	return Formed
}

// check refuses a directory that is not this journal's.
func (m *manifest) check(c Config) error {
	want := manifestOf(c, nil)
	switch {
	case m.Mode != want.Mode:
		return fmt.Errorf("jet: %s belongs to an engine in mode %q, mode %q was asked for; a journal never changes its mode, start it as it was or rebuild it in an empty directory",
			c.Dir, m.Mode, want.Mode)
	case m.Partitions != c.Partitions:
		return fmt.Errorf("jet: %s has %d partitions, %d were asked for; their number never changes", c.Dir, m.Partitions, c.Partitions)
	case m.Cluster != want.Cluster:
		return fmt.Errorf("jet: %s belongs to cluster %q, not %q; give each cluster a directory of its own", c.Dir, m.Cluster, want.Cluster)
	case m.Site != want.Site:
		return fmt.Errorf("jet: %s belongs to site %q, not %q; a copy of another site's directory must not be used: give this site an empty one, the others will fill it",
			c.Dir, m.Site, want.Site)
	case !slices.Equal(m.Sites, want.Sites):
		return fmt.Errorf("jet: %s belongs to a cluster of sites %q, not %q; the sites of a cluster never change, another set is another cluster in an empty directory",
			c.Dir, m.Sites, want.Sites)
	case m.Mode == standalone:
		// What a cluster leaves behind, whatever the manifest says.
		if _, err := os.Stat(systemDir(c.Dir)); err == nil {
			return fmt.Errorf("jet: %s was used by a clustered engine; a journal never changes its mode", c.Dir)
		}
	}
	return nil
}

// clearUnfinished empties a directory whose making was interrupted, and refuses one that holds anything else.
func clearUnfinished(dir string) error {
	if err := checkUnfinished(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(storeDir(dir)); err != nil {
		return fmt.Errorf("jet: %w", err)
	}
	return nil
}

// checkUnfinished refuses a directory without a manifest that holds anything but a making that was interrupted.
func checkUnfinished(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("jet: %w", err)
	}
	for _, e := range entries {
		switch e.Name() {
		case lockFile, marksFile, booksFile, pulseFile, manifestFile + ".new", filepath.Base(storeDir(dir)):
		default:
			return fmt.Errorf("jet: %s holds %q and no journal; give the journal a directory of its own", dir, e.Name())
		}
	}
	// Records exist only behind a manifest: with records the manifest was lost.
	return filepath.WalkDir(storeDir(dir), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != blockExt {
			return ignoreMissing(err)
		}
		if info, err := d.Info(); err != nil || info.Size() > 0 {
			return errors.Join(err, fmt.Errorf("%w: %s holds records but %s is missing", journal.ErrDamaged, dir, manifestFile))
		}
		return nil
	})
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// writeManifest replaces the manifest, durably.
func writeManifest(c Config, groups []string) error {
	b, err := json.Marshal(manifestOf(c, groups))
	if err != nil {
		return fmt.Errorf("jet: %w", err)
	}
	name := filepath.Join(c.Dir, manifestFile)
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("jet: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(name+".new", name)
	}
	if err == nil {
		err = syncFile(c.Dir)
	}
	if err != nil {
		return fmt.Errorf("jet: %w", err)
	}
	return nil
}

// syncTree makes all files and names under dir durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return ignoreMissing(err) // the engine's passing files
		}
		return ignoreMissing(syncFile(name))
	})
}

// syncFile syncs one file or directory.
func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// lockDir keeps other processes out until the file is closed.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("jet: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("jet: %s is in use by another process: %w", dir, err), f.Close())
	}
	return f, nil
}
