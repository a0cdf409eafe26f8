// Package disk holds what all packages that keep files need: names that survive a crash, whole files or none, and the space that
// is left.
//
// Invariant: what SyncDir and WriteFile have returned without error is on stable storage.
//
// Limits: Linux and other systems on which a directory can be synced.
package disk

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SyncDir makes the names in a directory durable: files created, renamed and removed in it.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// WriteFile writes a small file durably: after a crash there is the old content or the new one, whole. A temporary file beside it
// (path + ".new") may be left.
func WriteFile(path string, data []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return Rename(tmp, path)
}

// Rename gives a synced file its name, durably: the directory is synced too.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// Free is how many bytes the file system of a directory has left for ordinary users.
func Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:gosec,unconvert // the types differ by system
}
