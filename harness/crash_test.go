package harness_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bongsu/harness"
)

// seed is BONGSU_SEED or a new one, printed.
func seed(t *testing.T) uint64 {
	t.Helper()
	s := uint64(time.Now().UnixNano())
	if text := os.Getenv("BONGSU_SEED"); text != "" {
		var err error
		if s, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("BONGSU_SEED: %v", err)
		}
	}
	t.Logf("BONGSU_SEED=%d", s)
	return s
}

// TestCrash kills the server at random moments, while people use it, and some of the times while it recovers. Nothing that it
// acknowledged may be missing, and nobody may see anything twice, out of order or with a gap.
func TestCrash(t *testing.T) {
	n, seed := rounds(t, "BONGSU_CRASH_ROUNDS", 40), seed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	s := start(t, "")
	load := begin(t, s, seed)
	var slowest, sum time.Duration
	for round := range n {
		wait(t.Context(), 20*time.Millisecond+time.Duration(rng.Int64N(int64(600*time.Millisecond))))
		s.Kill()
		for rng.IntN(4) == 0 { // and again while it comes up
			if err := s.Begin(); err != nil {
				t.Fatal(err)
			}
			wait(t.Context(), time.Duration(rng.Int64N(int64(250*time.Millisecond))))
			s.Kill()
		}
		took, err := s.Restart(t.Context())
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		slowest, sum = max(slowest, took), sum+took
		if findings := load.Spotcheck(t.Context(), 2); len(findings) > 0 {
			t.Errorf("after round %d:", round)
			report(t, findings)
			break
		}
	}
	finish(t, s, load)
	t.Logf("%d kills; restart %v on average, %v at most; %s", n, (sum / time.Duration(n)).Round(time.Millisecond),
		slowest.Round(time.Millisecond), load.History.Summary())
}

// TestCrashCheckSeesLoss plants the fault that all of this is there to find: the server comes back with older data than it
// acknowledged.
func TestCrashCheckSeesLoss(t *testing.T) {
	dir := t.TempDir()
	data, old := filepath.Join(dir, "data"), filepath.Join(dir, "old")
	s := start(t, data)
	load := begin(t, s, seed(t))
	wait(t.Context(), 200*time.Millisecond)
	s.Kill()
	// The operator's socket is no file that could be copied; the next start makes it again.
	if err := errors.Join(os.RemoveAll(filepath.Join(data, "admin.sock")), os.CopyFS(old, os.DirFS(data))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait(t.Context(), 300*time.Millisecond)
	load.Stop()
	if findings := load.Spotcheck(t.Context(), 2); len(findings) > 0 {
		t.Errorf("findings before there was a loss: %q", findings)
	}
	s.Kill()
	if err := errors.Join(os.RemoveAll(data), os.Rename(old, data)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	findings := load.Spotcheck(t.Context(), 2)
	if !slices.ContainsFunc(findings, func(f string) bool { return strings.HasPrefix(f, "lost") }) {
		t.Errorf("the loss was not seen: %q", findings)
	}
}

// begin puts people on a server.
func begin(t *testing.T, s *harness.Server, seed uint64) *harness.Load {
	t.Helper()
	load, err := harness.NewLoad(limit(t, time.Minute), s.URL(), harness.LoadConfig{Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(load.Close)
	return load
}

// finish lets everybody finish, restarts the server in order, and judges.
func finish(t *testing.T, s *harness.Server, load *harness.Load) {
	t.Helper()
	began := time.Now()
	load.Stop()
	if err := s.Stop(limit(t, time.Minute)); err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	report(t, load.Judge(t.Context()))
	t.Logf("judged in %v", time.Since(began).Round(time.Millisecond))
}

// disk mounts a file system for a test.
func disk(t *testing.T, size int64) *harness.Disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a file system of its own")
	}
	d, err := harness.NewDisk(t.TempDir(), size)
	if err != nil {
		t.Skipf("needs loop devices and ext4: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// TestPowerLoss cuts the power under load: what was not on stable storage is gone, which kill -9 does not prove.
func TestPowerLoss(t *testing.T) {
	n := rounds(t, "BONGSU_POWER_ROUNDS", 3)
	d, seed := disk(t, 1<<30), seed(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	s := start(t, filepath.Join(d.Dir, "data"))
	load := begin(t, s, seed)
	var slowest time.Duration
	for round := range n {
		wait(t.Context(), 50*time.Millisecond+time.Duration(rng.Int64N(int64(900*time.Millisecond))))
		// Power takes processor and disk at once. Were the process to live on, it would be told of syncs that the dying file
		// system has not done.
		if err := s.Freeze(limit(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		if err := d.Cut(); err != nil {
			t.Fatal(err)
		}
		s.Kill()
		if err := d.Remount(); err != nil {
			t.Fatal(err)
		}
		took, err := s.Restart(t.Context())
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		slowest = max(slowest, took)
		if findings := load.Spotcheck(t.Context(), 2); len(findings) > 0 {
			t.Errorf("after round %d:", round)
			report(t, findings)
			break
		}
	}
	finish(t, s, load)
	t.Logf("%d losses of power; restart %v at most; %s", n, slowest.Round(time.Millisecond), load.History.Summary())
}
