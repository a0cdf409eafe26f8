package jet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"bongsu/journal"
)

// The manifest says what a data directory is. It is written once, after everything else is in place.
const (
	manifestFile = "journal.json"
	lockFile     = "lock"
	format       = 1
	// standalone is an engine without routes. A cluster takes such a store for an orphan and deletes it, and the reverse loses
	// what peers hold, so a directory never changes mode.
	standalone = "standalone"
)

type manifest struct {
	Format     int    `json:"format"`
	Mode       string `json:"mode"`
	Partitions int    `json:"partitions"`
}

// checkManifest says whether the directory is fresh, to be made into a journal, or refuses one that is not this journal's.
func checkManifest(c Config) (fresh bool, err error) {
	b, err := os.ReadFile(filepath.Join(c.Dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return true, clearUnfinished(c.Dir)
	}
	if err != nil {
		return false, fmt.Errorf("jet: %w", err)
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return false, fmt.Errorf("%w: %s is unreadable (%v); restore it from a backup", journal.ErrDamaged, manifestFile, err)
	}
	switch {
	case m.Format != format:
		return false, fmt.Errorf("jet: %s has format %d, this build reads %d", c.Dir, m.Format, format)
	case m.Mode != standalone:
		return false, fmt.Errorf("jet: %s belongs to an engine in mode %q; a journal never changes its mode, start it as it was or rebuild it in an empty directory",
			c.Dir, m.Mode)
	case m.Partitions != c.Partitions:
		return false, fmt.Errorf("jet: %s has %d partitions, %d were asked for; their number never changes", c.Dir, m.Partitions, c.Partitions)
	}
	// What a cluster leaves behind, whatever the manifest says.
	if _, err := os.Stat(filepath.Join(engineDir(c.Dir), "$SYS")); err == nil {
		return false, fmt.Errorf("jet: %s was used by a clustered engine; a journal never changes its mode", c.Dir)
	}
	return false, nil
}

// clearUnfinished empties a directory whose making was interrupted, and refuses one that holds anything else.
func clearUnfinished(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("jet: %w", err)
	}
	for _, e := range entries {
		switch e.Name() {
		case lockFile, marksFile, manifestFile + ".new", filepath.Base(storeDir(dir)):
		default:
			return fmt.Errorf("jet: %s holds %q and no journal; give the journal a directory of its own", dir, e.Name())
		}
	}
	// Records exist only behind a manifest: with records the manifest was lost.
	err = filepath.WalkDir(storeDir(dir), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != blockExt {
			return ignoreMissing(err)
		}
		if info, err := d.Info(); err != nil || info.Size() > 0 {
			return errors.Join(err, fmt.Errorf("%w: %s holds records but %s is missing; restore it from a backup", journal.ErrDamaged, dir, manifestFile))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := os.RemoveAll(storeDir(dir)); err != nil {
		return fmt.Errorf("jet: %w", err)
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func writeManifest(c Config) error {
	b, err := json.Marshal(manifest{Format: format, Mode: standalone, Partitions: c.Partitions})
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
