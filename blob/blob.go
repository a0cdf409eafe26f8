// Package blob keeps the bytes of files on the local disk, named by their content: the SHA-256 in hexadecimal.
//
// Invariants:
//   - A blob that Put returned is on stable storage, whole: its bytes were synced before it got its name, and its directory
//     after. A record that names it may be committed.
//   - A blob's file is never written to again. Put of the same bytes puts a fresh file in its place, so that a decayed copy is
//     mended.
//   - What an interrupted Put leaves is in one directory, which Open empties.
//
// Limits: nothing here knows who needs a blob; one whose record was never committed stays until somebody removes it. Reads
// don't check the hash on the way (ranges could not be); Verify does, and is for a scrubber.
package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bongsu/errs"
)

// Hash is the SHA-256 of a blob's bytes in lower-case hexadecimal; it is the blob's name.
type Hash string

// ParseHash checks that s has the form of a Hash.
func ParseHash(s string) (Hash, error) {
	var raw [sha256.Size]byte
	if len(s) != hex.EncodedLen(len(raw)) {
		return "", errBadHash
	}
	if _, err := hex.Decode(raw[:], []byte(s)); err != nil || hex.EncodeToString(raw[:]) != s {
		return "", errBadHash
	}
	return Hash(s), nil
}

var errBadHash = errors.New("blob: malformed hash")

// Config says where and how to keep blobs.
type Config struct {
	Dir     string // made if it is not there
	Reserve int64  // bytes of the disk that stay free: below them, Put refuses
}

// Store is a directory of blobs. It is safe for concurrent use.
type Store struct {
	dir     string
	reserve int64
	shelves [256]atomic.Bool // the directories, by the first byte of the hash, that are known to be on stable storage
}

const (
	tempDir  = "tmp"
	diskWait = 10 * time.Second // when to come back to a full disk
	chunk    = 1 << 20          // bytes between two looks at the free space
)

// Open prepares the directory and removes what interrupted uploads left. No other process may use it.
func Open(cfg Config) (*Store, error) {
	s := &Store{dir: cfg.Dir, reserve: cfg.Reserve}
	if err := os.RemoveAll(s.temp()); err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	if err := os.MkdirAll(s.temp(), 0o700); err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	if err := syncDir(filepath.Dir(s.dir)); err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	return s, nil
}

func (s *Store) temp() string { return filepath.Join(s.dir, tempDir) }

func (s *Store) path(h Hash) string { return filepath.Join(s.dir, string(h[:2]), string(h)) }

// Put stores what r yields, at most limit bytes, and returns its name and size when it is on stable storage. Errors: TooLarge;
// Unavailable with DiskFull; what r returned. Nothing stays behind after an error.
func (s *Store) Put(ctx context.Context, r io.Reader, limit int64) (Hash, int64, error) {
	const op = "blob.Put"
	f, err := os.CreateTemp(s.temp(), "")
	if err != nil {
		return "", 0, diskError(op, err)
	}
	kept := false
	defer func() {
		_ = f.Close() // closed already, or of no use
		if !kept {
			_ = os.Remove(f.Name()) // else Open does it
		}
	}()
	h, n, err := s.fill(ctx, f, r, limit)
	if err != nil {
		return "", 0, err
	}
	if err := f.Sync(); err != nil {
		return "", 0, diskError(op, err)
	}
	if err := f.Close(); err != nil {
		return "", 0, diskError(op, err)
	}
	if err := s.shelve(h); err != nil {
		return "", 0, diskError(op, err)
	}
	if err := os.Rename(f.Name(), s.path(h)); err != nil {
		return "", 0, diskError(op, err)
	}
	kept = true
	if err := syncDir(filepath.Dir(s.path(h))); err != nil {
		return "", 0, diskError(op, err)
	}
	return h, n, nil
}

// shelve makes the directory of a blob. Until one Put has synced the directory above, every Put does.
func (s *Store) shelve(h Hash) error {
	n, err := strconv.ParseUint(string(h[:2]), 16, 8)
	if err != nil || s.shelves[n].Load() {
		return err
	}
	if err := os.Mkdir(filepath.Dir(s.path(h)), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	s.shelves[n].Store(true)
	return nil
}

// fill copies r to f, watching size and space.
func (s *Store) fill(ctx context.Context, f *os.File, r io.Reader, limit int64) (Hash, int64, error) {
	const op = "blob.Put"
	sum := sha256.New()
	in := io.TeeReader(io.LimitReader(r, limit+1), sum)
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return "", 0, errs.Wrap(op, err)
		}
		if err := s.room(); err != nil {
			return "", 0, err
		}
		m, err := io.CopyN(f, in, chunk)
		n += m
		switch {
		case n > limit:
			return "", 0, errs.New(op, errs.TooLarge, "", "the file is larger than %d bytes", limit)
		case errors.Is(err, io.EOF):
			return Hash(hex.EncodeToString(sum.Sum(nil))), n, nil
		case err != nil:
			return "", 0, diskError(op, err)
		}
	}
}

// room reports whether there is space left.
func (s *Store) room() error {
	const op = "blob.Put"
	if s.reserve == 0 {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return diskError(op, err)
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free < s.reserve+chunk { //nolint:unconvert // the types differ by system
		return full(op, nil)
	}
	return nil
}

func full(op string, err error) error {
	return &errs.Error{Op: op, Kind: errs.Unavailable, Code: errs.DiskFull, RetryAfter: diskWait, Err: err,
		Message: "the server's disk is full: it can be read, not written"}
}

// diskError is err as ours, unless it is ours already, as that of a request's body is.
func diskError(op string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return full(op, err)
	}
	return errs.Wrap(op, err)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open opens a blob for reading; the caller closes it. A blob that is not there is errs.NotFound.
func (s *Store) Open(h Hash) (io.ReadSeekCloser, error) {
	f, err := os.Open(s.path(h))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New("blob.Open", errs.NotFound, "", "the content is not here")
	}
	if err != nil {
		return nil, errs.Wrap("blob.Open", err)
	}
	return f, nil
}

// ErrDecayed is what Verify says of a blob whose bytes are not those of its name.
var ErrDecayed = errors.New("blob: the content has decayed")

// Verify reads a blob and checks that it is what its name says: nil, ErrDecayed, or errs.NotFound.
func (s *Store) Verify(ctx context.Context, h Hash) error {
	f, err := s.Open(h)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	sum := sha256.New()
	for {
		if err := ctx.Err(); err != nil {
			return errs.Wrap("blob.Verify", err)
		}
		if _, err := io.CopyN(sum, f, chunk); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return errs.Wrap("blob.Verify", err)
		}
	}
	if hex.EncodeToString(sum.Sum(nil)) != string(h) {
		return fmt.Errorf("%w: %s", ErrDecayed, h)
	}
	return nil
}

// Remove deletes a blob, if it is there.
func (s *Store) Remove(h Hash) error {
	if err := os.Remove(s.path(h)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errs.Wrap("blob.Remove", err)
	}
	return nil
}

// All yields the names of all blobs, in order; for a scrubber. The sequence ends early with a directory that cannot be read.
func (s *Store) All() iter.Seq2[Hash, error] {
	return func(yield func(Hash, error) bool) {
		for i := range 256 {
			entries, err := os.ReadDir(filepath.Join(s.dir, fmt.Sprintf("%02x", i)))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				yield("", errs.Wrap("blob.All", err))
				return
			}
			for _, e := range entries {
				if h, err := ParseHash(e.Name()); err == nil && !yield(h, nil) {
					return
				}
			}
		}
	}
}
