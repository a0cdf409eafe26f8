package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"

	"bongsu/errs"
)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func read(t testing.TB, s *Store, h Hash) []byte {
	t.Helper()
	f, err := s.Open(h)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func leftovers(t testing.TB, s *Store) int {
	t.Helper()
	entries, err := os.ReadDir(s.temp())
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestPut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "blobs")
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	for _, size := range []int{0, 1, chunk - 1, chunk, chunk + 1, 3*chunk + 17} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(rand.Uint32())
		}
		h, n, err := s.Put(t.Context(), iotest.HalfReader(bytes.NewReader(data)), int64(size))
		if err != nil || n != int64(size) {
			t.Fatalf("%d bytes: %d, %v", size, n, err)
		}
		if sum := sha256.Sum256(data); string(h) != hex.EncodeToString(sum[:]) {
			t.Errorf("%d bytes: named %s", size, h)
		}
		s = open(t, dir) // as after a restart
		if !bytes.Equal(read(t, s, h), data) {
			t.Errorf("%d bytes: read back others", size)
		}
		if err := s.Verify(t.Context(), h); err != nil {
			t.Error(err)
		}
	}
	n := 0
	for h, err := range s.All() {
		if err != nil {
			t.Fatal(err)
		}
		n++
		for range 2 { // removing what is gone is no error
			if err := s.Remove(h); err != nil {
				t.Error(err)
			}
		}
		if _, err := s.Open(h); !errs.Is(err, errs.NotFound) {
			t.Errorf("removed, but %v", err)
		}
	}
	if n != 6 {
		t.Errorf("%d blobs", n)
	}
}

func TestPutLeavesNothingBehind(t *testing.T) {
	s := open(t, t.TempDir())
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	broken := errs.New("test", errs.Invalid, errs.BadJSON, "the body did not arrive")
	for name, c := range map[string]struct {
		ctx  context.Context
		r    io.Reader
		kind errs.Kind
		code errs.Code
	}{
		"too large":      {t.Context(), strings.NewReader(strings.Repeat("x", 101)), errs.TooLarge, ""},
		"much too large": {t.Context(), io.LimitReader(zeros{}, 10*chunk), errs.TooLarge, ""},
		"broken off":     {t.Context(), io.MultiReader(strings.NewReader("x"), iotest.ErrReader(broken)), errs.Invalid, errs.BadJSON},
		"disk full":      {t.Context(), iotest.ErrReader(&fs.PathError{Err: syscall.ENOSPC}), errs.Unavailable, errs.DiskFull},
		"cancelled":      {gone, strings.NewReader("x"), errs.Internal, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := s.Put(c.ctx, c.r, 100)
			var e *errs.Error
			if !errors.As(err, &e) || e.Kind != c.kind || e.Code != c.code {
				t.Errorf("got %v", err)
			}
			if n := leftovers(t, s); n != 0 {
				t.Errorf("%d files left behind", n)
			}
		})
	}
	for h := range s.All() {
		t.Errorf("there is a blob %s", h)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestReserve(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir(), Reserve: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Put(t.Context(), strings.NewReader("x"), 10)
	var e *errs.Error
	if !errors.As(err, &e) || e.Code != errs.DiskFull || e.RetryAfter == 0 {
		t.Errorf("got %v", err)
	}
}

// On a disk that is really full: writes are refused, what is there is read, and with new space writes work again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	s := open(t, dir)
	first, _, err := s.Put(t.Context(), io.LimitReader(zeros{}, chunk), 8*chunk)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Put(t.Context(), io.MultiReader(strings.NewReader("x"), io.LimitReader(zeros{}, 4*chunk)), 8*chunk)
	var e *errs.Error
	if !errors.As(err, &e) || e.Kind != errs.Unavailable || e.Code != errs.DiskFull {
		t.Fatalf("got %v", err)
	}
	if n := leftovers(t, s); n != 0 {
		t.Errorf("%d files left behind", n)
	}
	if err := s.Verify(t.Context(), first); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Put(t.Context(), strings.NewReader("small"), 10); err != nil {
		t.Errorf("after the space came back: %v", err)
	}
}

func TestLeftoversOfACrash(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := os.WriteFile(filepath.Join(s.temp(), "half"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := leftovers(t, open(t, dir)); n != 0 {
		t.Errorf("%d files left", n)
	}
}

func TestDecay(t *testing.T) {
	s := open(t, t.TempDir())
	h, _, err := s.Put(t.Context(), strings.NewReader("content"), 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path(h), []byte("c0ntent"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), h); !errors.Is(err, ErrDecayed) {
		t.Errorf("got %v", err)
	}
	if _, _, err := s.Put(t.Context(), strings.NewReader("content"), 10); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), h); err != nil {
		t.Errorf("the same bytes again don't mend it: %v", err)
	}
}

func TestPutTheSameAtOnce(t *testing.T) {
	s := open(t, t.TempDir())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			h, _, err := s.Put(t.Context(), strings.NewReader("same"), 10)
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Verify(t.Context(), h); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestParseHash(t *testing.T) {
	good := strings.Repeat("0a", 32)
	if h, err := ParseHash(good); err != nil || string(h) != good {
		t.Error(err)
	}
	for _, bad := range []string{"", "../../etc/passwd", strings.ToUpper(good), good[1:], good + "00", strings.Repeat("zz", 32)} {
		if _, err := ParseHash(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestCache(t *testing.T) {
	dir := t.TempDir()
	c, err := OpenCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open("abc-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	for _, data := range []string{"one", "two"} {
		if err := c.Put("abc-1", []byte(data)); err != nil {
			t.Fatal(err)
		}
		f, err := c.Open("abc-1")
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(f); string(got) != data {
			t.Errorf("got %q", got)
		}
		f.Close()
	}
	for _, bad := range []string{"", "..", "../x", "a/b/c", "ab.c"} {
		if c.Put(bad, nil) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
