package jet

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bongsu/errs"
	"bongsu/journal"
)

// The test binary plays the process that is killed: with crashDir set it appends until it dies and prints what was acknowledged.
const crashDir = "JET_CRASH_DIR"

// sideBySide is how many of the tests run at a time that allow it: those of clusters, which spend their time waiting for elections and
// not computing.
const sideBySide = "8"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		err := appendForever(dir)
		fmt.Fprintln(os.Stderr, "append until killed:", err)
		os.Exit(1)
	}
	if config := os.Getenv(siteConfig); config != "" {
		if err := playSite(config); err != nil {
			fmt.Fprintln(os.Stderr, "site:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv("JET_TIMING") == "" { // before any two clusters begin at the same time
		if err := setTimers(Timers{}.withDefaults()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	flag.Parse()
	if err := flag.Set("test.parallel", sideBySide); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	// After Close the engine leaves nothing behind, but for its clock's last tick, and the store of a group of replicas that it was
	// just making when it was stopped.
	const engine = "github.com/nats-io/nats-server/v2/server"
	err := goleak.Find(goleak.IgnoreTopFunction(engine+"/ats.Register.func1"), goleak.IgnoreTopFunction(engine+".(*fileStore).flushStreamStateLoop"))
	if err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// appendForever has several senders append to all partitions. Each acknowledgement is one line: partition, sender, number and
// position. The lines of a sender are in order.
func appendForever(dir string) error {
	j, err := Open(quiet(Config{Dir: dir, Partitions: 2, Reserve: -1}))
	if err != nil {
		return err
	}
	boot := time.Now().UnixNano()
	fmt.Println("ready")
	failed := make(chan error)
	for s := range 8 {
		go func() {
			p := journal.Partition(s % 2)
			for i := 0; ; i++ {
				data := fmt.Appendf(nil, "%d-%d-%d-", boot, s, i)
				pos, err := j.Append(context.Background(), p, fmt.Sprintf("%d-%d-%d", boot, s, i), sampleAfter(data))
				if err != nil {
					failed <- err
					return
				}
				// One write for each line, so that a kill never leaves half of one.
				fmt.Fprintf(os.Stdout, "%d %d %s\n", p, pos, data)
			}
		}()
	}
	return <-failed
}

func sampleAfter(head []byte) []byte {
	return append(head, make([]byte, 2000+int(crcOf(head)%8000))...)
}

type acknowledged struct {
	p    journal.Partition
	pos  journal.Position
	head string
}

// crashRound starts a process on dir, lets it append until at least n records were acknowledged, ends it with end, and returns
// what was acknowledged before end was called and what while it ran.
func crashRound(t *testing.T, dir string, n int, end func(*exec.Cmd)) (before, during []acknowledged) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	var stderr strings.Builder // of interest only when it ends by itself
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	lines := bufio.NewScanner(out)
	ended := false
	for lines.Scan() {
		var a acknowledged
		if _, err := fmt.Sscanf(lines.Text(), "%d %d %s", &a.p, &a.pos, &a.head); err != nil {
			if len(before) == 0 && lines.Text() == "ready" {
				continue
			}
			t.Fatalf("line %q: %v", lines.Text(), err)
		}
		if ended {
			during = append(during, a)
			continue
		}
		if before = append(before, a); len(before) >= n {
			end(cmd)
			ended = true
		}
	}
	if !ended {
		_ = cmd.Wait()
		t.Fatalf("the process ended by itself after %d records: %s", len(before), &stderr)
	}
	return before, during
}

// wantAcknowledged checks that all of it is there, once and at its place.
func wantAcknowledged(t *testing.T, dir string, all []acknowledged) {
	t.Helper()
	j, err := Open(quiet(Config{Dir: dir, Partitions: 2}))
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, j)
	for p := range journal.Partition(2) {
		at := map[journal.Position]string{}
		want := map[string]journal.Position{}
		for _, a := range all {
			if a.p == p {
				at[a.pos], want[a.head] = a.head, a.pos
			}
		}
		_, last, err := j.Bounds(limit(t), p)
		if err != nil {
			t.Fatal(err)
		}
		if last == 0 {
			if len(at) > 0 {
				t.Fatalf("partition %d is empty, %d were acknowledged", p, len(at))
			}
			continue
		}
		seen := 0
		err = j.Follow(limit(t), p, 0, func(e journal.Entry) error {
			end := 0
			for dashes := 0; end < len(e.Data) && dashes < 3; end++ {
				if e.Data[end] == '-' {
					dashes++
				}
			}
			head := string(e.Data[:end])
			if h, ok := at[e.Pos]; ok && h != head {
				return fmt.Errorf("position %d was acknowledged to %s and holds %s", e.Pos, h, head)
			}
			if pos, ok := want[head]; ok {
				if pos != e.Pos {
					return fmt.Errorf("%s was acknowledged at %d and is at %d too", head, pos, e.Pos)
				}
				seen++
			}
			if e.Pos == last {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) {
			t.Fatal(err)
		}
		if seen != len(want) {
			t.Fatalf("partition %d: %d records were acknowledged, %d are there", p, len(want), seen)
		}
	}
}

// kill -9 at random moments loses nothing acknowledged.
func TestKill(t *testing.T) {
	rounds := 10
	if n, err := strconv.Atoi(os.Getenv("JET_ROUNDS")); err == nil {
		rounds = n
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	var all []acknowledged
	for range rounds {
		before, during := crashRound(t, dir, 1+rng.IntN(300), func(c *exec.Cmd) { _ = c.Process.Kill() })
		all = append(append(all, before...), during...)
		wantAcknowledged(t, dir, all)
	}
	t.Logf("%d acknowledged records over %d kills", len(all), rounds)
}

// mounted is a new file system in a file of the given size, or a skipped test.
func mounted(t *testing.T, size int64) (dir string, remount func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a file system")
	}
	image := filepath.Join(t.TempDir(), "image")
	dir = filepath.Join(t.TempDir(), "mount")
	run := func(name string, args ...string) error {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
		}
		return nil
	}
	f, err := os.Create(image)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close(), os.Mkdir(dir, 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{run("mkfs.ext4", "-q", "-F", "-m", "0", image), run("mount", "-o", "loop", image, dir)} {
		if err != nil {
			t.Skipf("no file system to test on: %v", err)
		}
	}
	t.Cleanup(func() {
		if err := run("umount", dir); err != nil {
			t.Error(err)
		}
	})
	return dir, func() {
		t.Helper()
		if err := errors.Join(run("umount", dir), run("mount", "-o", "loop", image, dir)); err != nil {
			t.Fatal(err)
		}
	}
}

// shutdown is EXT4_IOC_SHUTDOWN without flushing the file system's journal: what was not synced is gone, as with a power loss.
func shutdown(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	const (
		ext4Shutdown = 0x8004587d
		noLogFlush   = 2
	)
	return ioctlInt(f.Fd(), ext4Shutdown, noLogFlush)
}

// Power loss loses nothing acknowledged: the record was synced before its acknowledgement. Acknowledgements that arrive after
// the power has gone do not count: a dead machine sends none, while here the process lives on for a moment, and a sync that meets
// the file system's shutdown may report success for a transaction that was dropped.
func TestPowerLoss(t *testing.T) {
	rounds := 5
	if n, err := strconv.Atoi(os.Getenv("JET_ROUNDS")); err == nil {
		rounds = n
	}
	mount, remount := mounted(t, 256<<20)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	dir := filepath.Join(mount, "journal")
	var all []acknowledged
	for range rounds {
		before, _ := crashRound(t, dir, 1+rng.IntN(200), func(c *exec.Cmd) {
			if err := shutdown(mount); err != nil {
				t.Errorf("shutdown: %v", err)
			}
			_ = c.Process.Kill()
		})
		all = append(all, before...)
		remount()
		wantAcknowledged(t, dir, all)
	}
	t.Logf("%d acknowledged records over %d losses of power", len(all), rounds)
}

// fillUp writes a file until the disk has no byte left, and returns what removes it.
func fillUp(t *testing.T, dir string) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			size /= 2
		}
	}
	_ = f.Sync()
	return func() {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}

// appendUntil appends until Append says want or, when want is nil, until one goes through; it returns all acknowledged positions.
func appendUntil(t *testing.T, j *Journal, name string, want error) (acked []journal.Position) {
	t.Helper()
	ctx := limit(t)
	for i := 0; ctx.Err() == nil; i++ {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		pos, err := j.Append(try, 0, fmt.Sprintf("%s-%d", name, i), make([]byte, 400_000))
		cancel()
		switch {
		case err == nil:
			acked = append(acked, pos)
		case errs.Is(err, errs.Invalid):
			t.Fatal(err)
		}
		if want == nil && err == nil || want != nil && errors.Is(err, want) {
			return acked
		}
	}
	t.Fatalf("%s: %v never came", name, want)
	return nil
}

// A full disk refuses appends, goes on reading, loses nothing, and ends by itself when there is space again; whether we see
// it coming (Reserve) or the engine runs into it.
func TestFullDisk(t *testing.T) {
	unlessShort(t)
	for _, c := range []struct {
		name    string
		reserve int64
		fill    bool // by something else than the journal, all at once
	}{
		{"reserve", 10 << 20, false},
		{"reserve, filled by others", 10 << 20, true},
		{"engine runs into it", -1, false},
		{"engine runs into it, filled by others", -1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			mount, _ := mounted(t, 64<<20)
			dir := filepath.Join(mount, "journal")
			ballast := filepath.Join(mount, "ballast")
			if err := os.WriteFile(ballast, make([]byte, 20<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			j := open(t, Config{Dir: dir, Partitions: 1, Reserve: c.reserve})
			acked := appendUntil(t, j, "first", nil)
			free := func() { _ = os.Remove(ballast) }
			if c.fill {
				free = fillUp(t, mount)
			}

			seen := map[journal.Position]bool{}
			var mu sync.Mutex
			ctx, cancel := context.WithCancel(limit(t))
			defer cancel()
			reached := make(chan journal.Position, 10_000)
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() {
				err := j.Follow(ctx, 0, 0, func(e journal.Entry) error {
					mu.Lock()
					defer mu.Unlock()
					if seen[e.Pos] {
						return fmt.Errorf("position %d twice", e.Pos)
					}
					seen[e.Pos] = true
					reached <- e.Pos
					return nil
				})
				if !errors.Is(err, context.Canceled) {
					t.Errorf("follower: %v", err)
				}
			})

			acked = append(acked, appendUntil(t, j, "until-full", journal.ErrFull)...)
			for _, pos := range acked {
				if _, err := j.Read(limit(t), 0, pos); err != nil {
					t.Fatalf("reading %d while full: %v", pos, err)
				}
			}
			free()
			acked = append(acked, appendUntil(t, j, "after", nil)...)
			last := acked[len(acked)-1]
			for pos := journal.Position(0); pos < last; {
				select {
				case pos = <-reached:
				case <-ctx.Done():
					t.Fatalf("the follower is at %d of %d", pos, last)
				}
			}
			cancel()
			wg.Wait()
			closed(t, j)
			j = open(t, Config{Dir: dir, Partitions: 1, Reserve: c.reserve})
			for _, pos := range acked {
				if !seen[pos] {
					t.Errorf("the follower has not seen %d", pos)
				}
				if _, err := j.Read(limit(t), 0, pos); err != nil {
					t.Errorf("reading %d at the end: %v", pos, err)
				}
			}
			t.Logf("%d acknowledged", len(acked))
		})
	}
}
