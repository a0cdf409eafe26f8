package seed

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"bongsu/blob"
	"bongsu/disk"
)

// chunk is how many bytes are copied between two looks at the context.
const chunk = 1 << 20

// errOther is what is said of bytes that are not those of their name.
var errOther = errors.New("its bytes are not those of its name")

// shelf is a directory of files that are named by the SHA-256 of their bytes, in directories of their first two characters, as
// package blob keeps them.
type shelf struct {
	dir  string
	made map[string]bool // directories that are there, and were written to since the last sync
}

func newShelf(dir string) *shelf { return &shelf{dir: dir, made: map[string]bool{}} }

func (s *shelf) path(h blob.Hash) string { return filepath.Join(s.dir, string(h[:2]), string(h)) }

// prepare makes the directory for a file.
func (s *shelf) prepare(h blob.Hash) error {
	dir := filepath.Dir(s.path(h))
	if s.made[dir] {
		return nil
	}
	s.made[dir] = true
	return os.MkdirAll(dir, 0o700)
}

// put writes a file from r and checks that it is what its name says. It is synced, its name is not: that is done by sync.
func (s *shelf) put(ctx context.Context, h blob.Hash, r io.Reader) (int64, error) {
	if err := s.prepare(h); err != nil {
		return 0, err
	}
	sum, n, err := writeNew(ctx, s.path(h), r)
	if err == nil && blobHash(sum) != h {
		err = errors.Join(errOther, os.Remove(s.path(h)))
	}
	return n, err
}

// link makes the file at from a file of the shelf too, without copying. It fails where that cannot be done.
func (s *shelf) link(h blob.Hash, from string) error {
	if err := s.prepare(h); err != nil {
		return err
	}
	return os.Link(from, s.path(h))
}

// copy takes a file from another shelf.
func (s *shelf) copy(ctx context.Context, h blob.Hash, from *shelf) error {
	f, err := os.Open(from.path(h))
	if err != nil {
		return err
	}
	_, err = s.put(ctx, h, f)
	return errors.Join(err, f.Close())
}

// check reads a file and says whether it is what its name says.
func (s *shelf) check(ctx context.Context, h blob.Hash) (int64, error) {
	sum, n, err := hashFile(ctx, s.path(h))
	if err == nil && blobHash(sum) != h {
		err = errOther
	}
	return n, err
}

// sync makes the names of all files durable.
func (s *shelf) sync() error {
	for dir := range s.made {
		if err := disk.SyncDir(dir); err != nil {
			return err
		}
	}
	if len(s.made) == 0 {
		return nil
	}
	return errors.Join(disk.SyncDir(s.dir), disk.SyncDir(filepath.Dir(s.dir)))
}

func blobHash(h Hash) blob.Hash { return blob.Hash(h.String()) }

// writeNew writes a file that is not there yet, synced, and returns the hash of its bytes.
func writeNew(ctx context.Context, path string, r io.Reader) (h Hash, n int64, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return h, 0, err
	}
	h, n, err = copyHash(ctx, f, r)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return h, n, err
}

func hashFile(ctx context.Context, path string) (h Hash, n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return h, 0, err
	}
	h, n, err = copyHash(ctx, io.Discard, f)
	return h, n, errors.Join(err, f.Close())
}

// copyHash copies r to w and returns the hash of what went through.
func copyHash(ctx context.Context, w io.Writer, r io.Reader) (h Hash, n int64, err error) {
	sum := sha256.New()
	out := io.MultiWriter(w, sum)
	for {
		if err := ctx.Err(); err != nil {
			return h, n, err
		}
		m, err := io.CopyN(out, r, chunk)
		n += m
		if errors.Is(err, io.EOF) {
			return Hash(sum.Sum(nil)), n, nil
		}
		if err != nil {
			return h, n, err
		}
	}
}

// file is a line of blobs.list.
type file struct {
	hash blob.Hash
	size int64
}

// writeList writes the list of files into dir, in their order.
func writeList(ctx context.Context, dir string, files []file) (Hash, error) {
	var text bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&text, "%s %d\n", f.hash, f.size)
	}
	h, _, err := writeNew(ctx, filepath.Join(dir, listFile), &text)
	return h, err
}

// readList reads the list of files and checks it against what the manifest says.
func readList(dir string, m *Manifest) ([]file, error) {
	text, err := os.ReadFile(filepath.Join(dir, listFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, damaged(dir, "%s is missing", listFile)
	}
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(text) != m.Files.List {
		return nil, damaged(dir, "%s does not match its hash", listFile)
	}
	files := make([]file, 0, m.Files.Count)
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		name, size, _ := strings.Cut(lines.Text(), " ")
		h, err := blob.ParseHash(name)
		n, err2 := strconv.ParseInt(size, 10, 64)
		if err := errors.Join(err, err2); err != nil {
			return nil, damaged(dir, "%s: %v", listFile, err)
		}
		files = append(files, file{h, n})
	}
	if len(files) != m.Files.Count {
		return nil, damaged(dir, "%s has %d lines, not %d", listFile, len(files), m.Files.Count)
	}
	return files, lines.Err()
}

// takeEmpty makes dir if it is absent, and refuses it when it holds anything.
func takeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		return disk.SyncDir(filepath.Dir(dir))
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); name != "lost+found" {
			return fmt.Errorf("%s is not empty (it holds %q): name a directory that is empty or absent", dir, name)
		}
	}
	return nil
}
