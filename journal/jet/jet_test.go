package jet

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"bongsu/journal"
	"bongsu/journal/journaltest"
)

// open opens a journal that is closed when the test ends.
func open(t testing.TB, c Config) *Journal {
	t.Helper()
	j, err := Open(quiet(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return j
}

// quiet drops the log, unless JET_LOG is set.
func quiet(c Config) Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
		if os.Getenv("JET_LOG") != "" {
			c.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}
	}
	return c
}

func closed(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func limit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// sample is the record at pos of p: sizes differ, contents are random and repeatable.
func sample(p journal.Partition, pos, size int) []byte {
	rng := rand.New(rand.NewPCG(uint64(p), uint64(pos)))
	b := make([]byte, size/2+rng.IntN(size))
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], rng.Uint64())
	_, _ = rand.NewChaCha8(seed).Read(b)
	return b
}

// fill appends the samples from..to of about the given size.
func fill(t testing.TB, j *Journal, p journal.Partition, from, to, size int) {
	t.Helper()
	for i := from; i <= to; i++ {
		pos, err := j.Append(limit(t), p, fmt.Sprintf("%d-%d", p, i), sample(p, i, size))
		if err != nil || int(pos) != i {
			t.Fatalf("append %d: position %d, %v", i, pos, err)
		}
	}
}

var errEnough = errors.New("enough")

// wantSamples reads the samples from..to back, which must be all there is.
func wantSamples(t testing.TB, j *Journal, p journal.Partition, from, to, size int) {
	t.Helper()
	f, l, err := j.Bounds(limit(t), p)
	if err != nil || int(f) != from || int(l) != to {
		t.Fatalf("partition %d has %d to %d, %v; want %d to %d", p, f, l, err, from, to)
	}
	if to < from {
		return
	}
	next := from
	err = j.Follow(limit(t), p, journal.Position(from-1), func(e journal.Entry) error {
		if int(e.Pos) != next || !bytes.Equal(e.Data, sample(p, next, size)) {
			return fmt.Errorf("position %d where %d was due, or another record", e.Pos, next)
		}
		if next++; next > to {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
}

func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	copyTo(t, from, to)
	return to
}

func copyTo(t testing.TB, from, to string) {
	t.Helper()
	err := os.CopyFS(to, os.DirFS(from))
	for try := 0; errors.Is(err, fs.ErrNotExist) && try < 20; try++ { // an engine that runs has replaced a file meanwhile
		if err = os.RemoveAll(to); err == nil {
			err = os.CopyFS(to, os.DirFS(from))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	dirs := map[journal.Journal]string{}
	at := func(t *testing.T, dir string) journal.Journal {
		j := open(t, Config{Dir: dir, Partitions: 3})
		dirs[j] = dir
		return j
	}
	journaltest.Run(t, func(t *testing.T) journal.Journal { return at(t, t.TempDir()) }, journaltest.Options{
		Reopen: func(t *testing.T, j journal.Journal) journal.Journal {
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			return at(t, dirs[j])
		},
	})
}

// What was acknowledged is in the files at that moment, without any closing.
func TestAcknowledgedIsInTheFiles(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Config{Dir: dir, Partitions: 2})
	for _, n := range []int{1, 2, 30} {
		_, last, err := j.Bounds(limit(t), 1)
		if err != nil {
			t.Fatal(err)
		}
		fill(t, j, 1, int(last)+1, n, 3000)
		c := open(t, Config{Dir: copyDir(t, dir), Partitions: 2})
		wantSamples(t, c, 1, 1, n, 3000)
		wantSamples(t, c, 0, 1, 0, 3000)
		fill(t, c, 1, n+1, n+1, 3000)
	}
}

func TestLiveWithoutPolling(t *testing.T) {
	j := open(t, Config{Dir: t.TempDir(), Partitions: 1})
	ctx := limit(t)
	at := make(chan journal.Position, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		_ = j.Follow(ctx, 0, 0, func(e journal.Entry) error { at <- e.Pos; return nil })
	})
	fill(t, j, 0, 1, 1, 100)
	<-at
	const n = 40
	begin := time.Now()
	for i := 2; i <= n; i++ {
		fill(t, j, 0, i, i, 100)
		if pos := <-at; int(pos) != i {
			t.Fatalf("got %d, want %d", pos, i)
		}
	}
	// Were each found by comparing, it would take n times compareEvery.
	if d := time.Since(begin); d > n*compareEvery/4 {
		t.Fatalf("%d records took %v", n, d)
	}
}

// A follower that is slower than the pushes loses some of them and reads them as history.
func TestSlowFollower(t *testing.T) {
	j := open(t, Config{Dir: t.TempDir(), Partitions: 1})
	const n = 10 * liveQueue
	caught, filled := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		next := journal.Position(0)
		err := j.Follow(limit(t), 0, 0, func(e journal.Entry) error {
			if next++; e.Pos != next || !bytes.Equal(e.Data, sample(0, int(next), 500)) {
				return fmt.Errorf("position %d where %d was due, or another record", e.Pos, next)
			}
			switch next {
			case 1:
				close(caught)
				<-filled
			case n:
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) {
			t.Errorf("at %d: %v", next, err)
		}
	})
	fill(t, j, 0, 1, 1, 500)
	<-caught
	fill(t, j, 0, 2, n, 500)
	close(filled)
}

func TestManyFollowersAndSenders(t *testing.T) {
	j := open(t, Config{Dir: t.TempDir(), Partitions: 4})
	ctx := limit(t)
	const senders, each = 16, 25
	var wg sync.WaitGroup
	for p := range journal.Partition(4) {
		for range 3 {
			wg.Go(func() {
				n := 0
				err := j.Follow(ctx, p, 0, func(e journal.Entry) error {
					if n++; int(e.Pos) != n {
						return fmt.Errorf("position %d where %d was due", e.Pos, n)
					}
					if n == senders*each {
						return errEnough
					}
					return nil
				})
				if !errors.Is(err, errEnough) {
					t.Errorf("partition %d: %v", p, err)
				}
			})
		}
		for s := range senders {
			wg.Go(func() {
				for i := range each {
					if _, err := j.Append(ctx, p, fmt.Sprintf("%d-%d", s, i), sample(p, i, 2000)); err != nil {
						t.Errorf("append: %v", err)
					}
				}
			})
		}
	}
	wg.Wait()
}

func TestBudget(t *testing.T) {
	dir := t.TempDir()
	c := Config{Dir: dir, Partitions: 1, Budget: 20_000}
	j := open(t, c)
	n := 0
	var err error
	for ; err == nil; n++ {
		_, err = j.Append(limit(t), 0, fmt.Sprint(n), make([]byte, 1000))
	}
	if !errors.Is(err, journal.ErrFull) || n < 15 || n > 21 {
		t.Fatalf("after %d: %v", n, err)
	}
	closed(t, j)
	j = open(t, c) // what is used is known again after a start
	if _, err := j.Append(limit(t), 0, "again", make([]byte, 2000)); !errors.Is(err, journal.ErrFull) {
		t.Fatalf("got %v", err)
	}
	if err := j.Trim(limit(t), 0, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Append(limit(t), 0, "again", make([]byte, 2000)); err != nil {
		t.Fatal(err)
	}
}

// A fatal error of the engine ends neither the process nor the journal.
func TestFatalRestarts(t *testing.T) {
	t.Parallel()
	j := open(t, Config{Dir: t.TempDir(), Partitions: 1})
	fill(t, j, 0, 1, 3, 100)
	var wg sync.WaitGroup
	wg.Go(func() { // a follower from before sees what comes after
		err := j.Follow(limit(t), 0, 0, func(e journal.Entry) error {
			if e.Pos == 6 {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) {
			t.Error(err)
		}
	})
	j.mu.Lock()
	e := j.eng
	j.mu.Unlock()
	e.srv.Fatalf("planted: %v", io.ErrUnexpectedEOF)
	<-e.sick
	fill(t, j, 0, 4, 6, 100)
	wantSamples(t, j, 0, 1, 6, 100)
	wg.Wait()
}

// After a write error that is not a full disk it reads and does not append, and says why.
func TestWriteErrorHalts(t *testing.T) {
	j := open(t, Config{Dir: t.TempDir(), Partitions: 1})
	fill(t, j, 0, 1, 3, 100)
	j.eng.srv.Errorf("JetStream stream '%s' critical write error: %v", "p0", io.ErrShortWrite)
	if _, err := j.Append(limit(t), 0, "x", nil); !errors.Is(err, errWrite) || !errors.Is(err, io.ErrShortWrite) {
		t.Fatalf("got %v", err)
	}
	wantSamples(t, j, 0, 1, 3, 100)
}

func TestSyncAlwaysOrNothing(t *testing.T) {
	o := mustOptions(t)
	if err := checkOptions(Config{}, o); err != nil {
		t.Fatal(err)
	}
	o.SyncAlways = false
	if checkOptions(Config{}, o) == nil {
		t.Error("an engine that does not sync was accepted")
	}
	o = mustOptions(t)
	o.Cluster.Port = 6222
	if checkOptions(Config{}, o) == nil {
		t.Error("routes on a standalone store were accepted")
	}
	j := open(t, Config{Dir: t.TempDir(), Partitions: 1})
	if !j.eng.srv.JetStreamConfig().SyncAlways {
		t.Error("the running engine does not sync always")
	}
	if a := j.eng.srv.Addr(); a != nil {
		t.Errorf("the engine listens on %v", a)
	}
}

func mustOptions(t *testing.T) *server.Options {
	t.Helper()
	o, err := engineOptions(Config{Dir: t.TempDir()}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	return o
}
