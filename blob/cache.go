package blob

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"bongsu/errs"
)

// Cache keeps what can be made again, under names of the caller's. A file is there whole or not at all, also after a crash; which
// of the two is not promised.
type Cache struct{ dir string }

// OpenCache prepares a directory. It may be emptied while it is not open.
func OpenCache(dir string) (*Cache, error) {
	if err := os.RemoveAll(filepath.Join(dir, tempDir)); err != nil {
		return nil, errs.Wrap("blob.OpenCache", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, tempDir), 0o700); err != nil {
		return nil, errs.Wrap("blob.OpenCache", err)
	}
	return &Cache{dir}, nil
}

func (c *Cache) path(name string) (string, error) {
	if len(name) < 3 || strings.ContainsAny(name, `/\.`) {
		return "", errors.New("blob: bad name in the cache")
	}
	return filepath.Join(c.dir, name[:2], name), nil
}

// Open opens a file, or says fs.ErrNotExist.
func (c *Cache) Open(name string) (io.ReadSeekCloser, error) {
	path, err := c.path(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Put keeps a file.
func (c *Cache) Put(name string, data []byte) (err error) {
	path, err := c.path(name)
	if err != nil {
		return err
	}
	temp := filepath.Join(c.dir, tempDir)
	if err := os.MkdirAll(temp, 0o700); err != nil { // somebody may have emptied the cache
		return diskError("blob.Cache", err)
	}
	f, err := os.CreateTemp(temp, "")
	if err != nil {
		return diskError("blob.Cache", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return diskError("blob.Cache", err)
	}
	return nil
}
