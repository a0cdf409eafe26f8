package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"bongsu/errs"
)

func noise(n int) []byte {
	data := make([]byte, n)
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(rand.Uint32())
	}
	_, _ = rand.NewChaCha8(seed).Read(data) // never fails
	return data
}

func (s *site) put(t testing.TB, data []byte) Hash {
	t.Helper()
	h, _, err := s.Put(t.Context(), bytes.NewReader(data), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// holders are the sites whose copy of a blob is right.
func (n *network) holders(h Hash) (out []string) {
	for _, name := range n.names {
		if n.sites[name].store.Verify(n.t.Context(), h) == nil {
			out = append(out, name)
		}
	}
	return out
}

func (s *site) read(t testing.TB, h Hash) ([]byte, error) {
	t.Helper()
	f, err := s.Open(t.Context(), h)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// An upload is acknowledged when a majority of the sites has it, whichever of the others are down.
func TestPutReachesAMajority(t *testing.T) {
	three, five := []string{"a", "b", "c"}, []string{"a", "b", "c", "d", "e"}
	for _, c := range []struct {
		sites []string
		down  []string
		want  int // sites that have it; 0: refused
	}{
		{three, nil, 2}, {three, []string{"b"}, 2}, {three, []string{"c"}, 2}, {three, []string{"b", "c"}, 0},
		{five, nil, 3}, {five, []string{"b", "d"}, 3}, {five, []string{"b", "c", "d"}, 0},
		{[]string{"a"}, nil, 1},
	} {
		t.Run(fmt.Sprint(len(c.sites), " without ", c.down), func(t *testing.T) {
			n := newNetwork(t, &catalogue{}, nil, c.sites...)
			for _, name := range c.down {
				n.sites[name].link.Down(true)
			}
			for _, size := range []int{0, 1, 3*chunk + 17} {
				h, _, err := n.sites["a"].Put(t.Context(), bytes.NewReader(noise(size)), 1<<30)
				if c.want == 0 {
					var e *errs.Error
					if !errors.As(err, &e) || e.Kind != errs.Unavailable || e.RetryAfter == 0 || !strings.Contains(e.Message, "too few sites") {
						t.Errorf("%d bytes: got %v", size, err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%d bytes: %v", size, err)
				}
				if got := n.holders(h); len(got) < c.want {
					t.Errorf("%d bytes: only %v have it", size, got)
				}
			}
		})
	}
}

// What a site answers when it cannot keep a file makes the upload go to the next.
func TestPutTriesTheNextSite(t *testing.T) {
	over := make(chan struct{})
	for name, c := range map[string]struct {
		meddle func(http.Handler) http.Handler
	}{
		"fails": {func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
		}},
		"is full": {func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInsufficientStorage) })
		}},
		"breaks off": {func(http.Handler) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.CopyN(io.Discard, r.Body, chunk)
				panic(http.ErrAbortHandler)
			})
		}},
		"gets other bytes": {func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Body = io.NopCloser(io.MultiReader(strings.NewReader("x"), r.Body))
				h.ServeHTTP(w, r)
			})
		}},
		"hangs": {func(http.Handler) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.CopyN(io.Discard, r.Body, chunk)
				<-over
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, &catalogue{}, nil, "a", "b", "c")
			n.sites["b"].link.Meddle(c.meddle)
			h := n.sites["a"].put(t, noise(5*chunk))
			if got := fmt.Sprint(n.holders(h)); got != "[a c]" {
				t.Errorf("kept at %v", got)
			}
			if name == "hangs" {
				close(over)
			}
		})
	}
}

// A site that hangs in the middle of one file does not hold up other files.
func TestPutsDoNotWaitForEachOther(t *testing.T) {
	n := newNetwork(t, &catalogue{}, nil, "a", "b", "c")
	slow := noise(4 * chunk)
	release, reached := make(chan struct{}), make(chan struct{}, 2)
	hang := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ContentLength == int64(len(slow)) {
				reached <- struct{}{}
				<-release
			}
			h.ServeHTTP(w, r)
		})
	}
	n.sites["b"].link.Meddle(hang)
	n.sites["c"].link.Meddle(hang)
	var wg sync.WaitGroup
	wg.Go(func() { n.sites["a"].put(t, slow) })
	<-reached
	for range 20 {
		n.sites["a"].put(t, noise(1000))
	}
	close(release)
	wg.Wait()
}

// An upload that nobody waits for any more ends at once.
func TestPutEndsWithItsContext(t *testing.T) {
	n := newNetwork(t, &catalogue{}, nil, "a", "b", "c")
	ctx, cancel := context.WithCancel(t.Context())
	hang := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			cancel()
			<-r.Context().Done()
		})
	}
	for _, peer := range []string{"b", "c"} {
		n.sites[peer].link.Meddle(hang)
	}
	if _, _, err := n.sites["a"].Put(ctx, bytes.NewReader(noise(100)), 1000); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What is not here is fetched when asked for: one fetch however many ask.
func TestOpenFetches(t *testing.T) {
	n := newNetwork(t, &catalogue{}, func(c *MirrorConfig) { c.Named = nil }, "a", "b", "c")
	n.sites["b"].link.Down(true)
	data := noise(3 * chunk)
	h := n.sites["a"].put(t, data) // at a and c
	n.sites["b"].link.Down(false)
	before := n.sites["a"].link.Asked("GET") + n.sites["c"].link.Asked("GET")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := n.sites["b"].read(t, h); err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	if asked := n.sites["a"].link.Asked("GET") + n.sites["c"].link.Asked("GET") - before; asked > 8 || asked == 0 {
		t.Errorf("%d requests", asked)
	}
	if got := n.holders(h); len(got) != 3 {
		t.Errorf("afterwards it is at %v", got)
	}
}

func TestOpenSaysWhyNot(t *testing.T) {
	n := newNetwork(t, &catalogue{}, func(c *MirrorConfig) { c.Named = nil }, "a", "b", "c")
	n.sites["c"].link.Down(true)
	h := n.sites["a"].put(t, []byte("x"))
	n.sites["c"].link.Down(false)
	n.sites["a"].link.Down(true)
	n.sites["b"].link.Down(true)
	if _, err := n.sites["c"].Open(t.Context(), h); !errs.Is(err, errs.Unavailable) {
		t.Errorf("while the sites that have it are down: %v", err)
	}
	n.sites["a"].link.Down(false)
	n.sites["b"].link.Down(false)
	none, err := ParseHash(strings.Repeat("0", 64))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.sites["c"].Open(t.Context(), none); !errs.Is(err, errs.NotFound) {
		t.Errorf("what no site has: %v", err)
	}
	release := make(chan struct{})
	hang := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-release; h.ServeHTTP(w, r) })
	}
	n.sites["a"].link.Meddle(hang)
	n.sites["b"].link.Meddle(hang)
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := n.sites["c"].Open(soon, h); !errs.Is(err, errs.Unavailable) {
		t.Errorf("when it does not come in time: %v", err)
	}
	close(release)
	eventually(t, "the fetch goes on", func() bool { return n.sites["c"].store.Has(h) })
}

// On a full disk what is elsewhere cannot be fetched, and that is said; no other site is blamed or asked in vain.
func TestOpenOnFullDisk(t *testing.T) {
	n := newNetwork(t, &catalogue{}, func(c *MirrorConfig) { c.Named = nil }, "a", "b", "c")
	n.sites["c"].link.Down(true)
	h := n.sites["a"].put(t, noise(100))
	n.sites["c"].link.Down(false)
	n.sites["c"].store.reserve = 1 << 60
	var e *errs.Error
	if _, err := n.sites["c"].Open(t.Context(), h); !errors.As(err, &e) || e.Code != errs.DiskFull {
		t.Errorf("got %v", err)
	}
	if asked := n.sites["a"].link.Asked("GET") + n.sites["b"].link.Asked("GET"); asked != 1 {
		t.Errorf("%d requests", asked)
	}
}

// spoil changes the bytes of a blob on the disk.
func spoil(t testing.TB, s *Store, h Hash) {
	t.Helper()
	data, err := os.ReadFile(s.path(h))
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(s.path(h), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Decay does not spread: a copy that is wrong is neither sent nor taken, and is replaced.
func TestDecayDoesNotSpread(t *testing.T) {
	named := &catalogue{}
	n := newNetwork(t, named, nil, "a", "b", "c")
	data := noise(2*chunk + 5)
	h := n.sites["a"].put(t, data)
	named.add(h, 1)
	eventually(t, "it is everywhere", func() bool { return len(n.holders(h)) == 3 })
	spoil(t, n.sites["a"].store, h)
	if err := n.sites["b"].store.Remove(h); err != nil {
		t.Fatal(err)
	}
	// b gets it from c, and a heals as soon as it is asked.
	eventually(t, "it is right everywhere again", func() bool { return len(n.holders(h)) == 3 })

	// A site that lies is not believed.
	lie := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("lie")) })
	}
	n.sites["a"].link.Meddle(lie)
	n.sites["c"].link.Meddle(lie)
	if err := n.sites["b"].store.Remove(h); err != nil {
		t.Fatal(err)
	}
	if _, err := n.sites["b"].Open(t.Context(), h); !errs.Is(err, errs.Unavailable) || n.sites["b"].store.Has(h) {
		t.Errorf("a lie was taken: %v", err)
	}
}
