// Package blob keeps the bytes of files, named by their content: the SHA-256 in hexadecimal. A Store is a directory of them; a
// Mirror keeps the stores of all sites in step.
//
// Invariants:
//   - A blob that Store.Put returned is on stable storage, whole: its bytes were synced before it got its name, and its directory
//     after. One that Mirror.Put returned is so in a majority of sites. A record that names it may be committed.
//   - A blob's file is never written to again. Put of the same bytes puts a fresh file in its place, so that a decayed copy is
//     mended.
//   - Bytes are taken from another site only if they are those of their name: decay does not spread.
//   - A blob is removed only if a caught-up state names it in no record and it has not been put for a day.
//   - What an interrupted Put leaves is in one directory, which Open empties.
//
// Limits: a client's reads don't check the hash on the way (ranges could not be); a scrubber does, each blob once a week. A blob
// is fetched whole before its first byte is served.
//
// Where things are: blob.go (the store), mirror.go (writing and reading over sites), link.go (what sites ask each other), survey.go
// (what is lacking and what nobody needs), scrub.go (decay), cache.go (what can be made again).
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
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"bongsu/disk"
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

func (h Hash) valid() bool {
	_, err := ParseHash(string(h))
	return err == nil
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
	shelves [256]shelf // the directories, by the first byte of the hash
}

// shelf is a directory of blobs.
type shelf struct {
	durable atomic.Bool // known to be on stable storage
	// mu lets RemoveOld look at a blob's age and remove it while no Put replaces it. It is held for two system calls on
	// names, never while bytes are moved.
	mu sync.Mutex
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
	if err := disk.SyncDir(filepath.Dir(s.dir)); err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	return s, nil
}

func (s *Store) temp() string { return filepath.Join(s.dir, tempDir) }

func (s *Store) path(h Hash) string { return filepath.Join(s.dir, string(h[:2]), string(h)) }

// shelf is where a blob belongs.
func (s *Store) shelf(h Hash) *shelf {
	n, _ := strconv.ParseUint(string(h[:2]), 16, 8) // a Hash is hexadecimal
	return &s.shelves[n]
}

// ErrOther is what PutAs says of bytes that are not those of the name.
var ErrOther = errors.New("blob: the content is not what its name says")

// Put stores what r yields, at most limit bytes, and returns its name and size when it is on stable storage. Errors: TooLarge;
// Unavailable with DiskFull; what r returned. Nothing stays behind after an error.
func (s *Store) Put(ctx context.Context, r io.Reader, limit int64) (Hash, int64, error) {
	return s.put(ctx, "", r, limit)
}

// PutAs is Put of a blob whose name is known. Other bytes are refused with ErrOther.
func (s *Store) PutAs(ctx context.Context, h Hash, r io.Reader, limit int64) error {
	_, _, err := s.put(ctx, h, r, limit)
	return err
}

func (s *Store) put(ctx context.Context, want Hash, r io.Reader, limit int64) (Hash, int64, error) {
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
	if want != "" && want != h {
		return "", 0, fmt.Errorf("%w: %s", ErrOther, want)
	}
	if err := f.Sync(); err != nil {
		return "", 0, diskError(op, err)
	}
	if err := f.Close(); err != nil {
		return "", 0, diskError(op, err)
	}
	if err := s.shelve(f.Name(), h); err != nil {
		return "", 0, diskError(op, err)
	}
	kept = true
	if err := disk.SyncDir(filepath.Dir(s.path(h))); err != nil {
		return "", 0, diskError(op, err)
	}
	return h, n, nil
}

// shelve gives a blob its name. Until one Put of a shelf has synced the directory above, every Put does.
func (s *Store) shelve(file string, h Hash) error {
	sh := s.shelf(h)
	if !sh.durable.Load() {
		if err := os.Mkdir(filepath.Dir(s.path(h)), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := disk.SyncDir(s.dir); err != nil {
			return err
		}
		sh.durable.Store(true)
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return os.Rename(file, s.path(h))
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
	free, err := disk.Free(s.dir)
	if err != nil {
		return diskError(op, err)
	}
	if free < s.reserve+chunk {
		return full(op, nil)
	}
	return nil
}

func full(op string, err error) error {
	return &errs.Error{Op: op, Kind: errs.Unavailable, Code: errs.DiskFull, RetryAfter: diskWait, Err: err,
		Message: "the server's disk is full: it can be read, not written"}
}

func isFull(err error) bool {
	var e *errs.Error
	return errors.As(err, &e) && e.Code == errs.DiskFull
}

// diskError is err as ours, unless it is ours already, as that of a request's body is.
func diskError(op string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return full(op, err)
	}
	return errs.Wrap(op, err)
}

// Open opens a blob for reading; the caller closes it. A blob that is not there is errs.NotFound.
func (s *Store) Open(h Hash) (io.ReadSeekCloser, error) {
	f, err := s.open(h)
	if err != nil {
		return nil, err // a nil *os.File in the interface would not be nil
	}
	return f, nil
}

func (s *Store) open(h Hash) (*os.File, error) {
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
	return s.verify(ctx, h, func(ctx context.Context, _ int) error { return ctx.Err() })
}

// verify is Verify that asks for leave before each chunk.
func (s *Store) verify(ctx context.Context, h Hash, leave func(context.Context, int) error) error {
	f, err := s.open(h)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	sum := sha256.New()
	for {
		if err := leave(ctx, chunk); err != nil {
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

// Has reports whether a blob is there; its bytes are not looked at.
func (s *Store) Has(h Hash) bool {
	_, err := os.Stat(s.path(h))
	return err == nil
}

// Touch reports whether a blob is there, and makes it as young as if it had been put now.
func (s *Store) Touch(h Hash, now time.Time) bool {
	sh := s.shelf(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return os.Chtimes(s.path(h), now, now) == nil
}

// Remove deletes a blob, if it is there.
func (s *Store) Remove(h Hash) error {
	if err := os.Remove(s.path(h)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errs.Wrap("blob.Remove", err)
	}
	return nil
}

// RemoveOld deletes a blob if it was last put or touched before a time, and reports whether it did.
func (s *Store) RemoveOld(h Hash, before time.Time) (bool, error) {
	sh := s.shelf(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	switch info, err := os.Stat(s.path(h)); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, errs.Wrap("blob.RemoveOld", err)
	case !info.ModTime().Before(before):
		return false, nil
	}
	return true, s.Remove(h)
}

// All yields the names of all blobs, in order. The sequence ends early with a directory that cannot be read.
func (s *Store) All() iter.Seq2[Hash, error] {
	return func(yield func(Hash, error) bool) {
		for i := range s.shelves {
			names, err := s.onShelf(i)
			if err != nil {
				yield("", err)
				return
			}
			for _, h := range names {
				if !yield(h, nil) {
					return
				}
			}
		}
	}
}

// onShelf are the names of the blobs whose first byte is i, in order.
func (s *Store) onShelf(i int) ([]Hash, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, fmt.Sprintf("%02x", i)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errs.Wrap("blob.All", err)
	}
	var names []Hash
	for _, e := range entries {
		if h, err := ParseHash(e.Name()); err == nil {
			names = append(names, h)
		}
	}
	return names, nil
}
