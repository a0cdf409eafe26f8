package harness_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bongsu/harness"
)

// binaries is where the program is built.
var binaries string

func TestMain(m *testing.M) {
	var err error
	if binaries, err = os.MkdirTemp("", "bongsu-harness"); err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(binaries)
	os.Exit(status)
}

// built is the program, built at most once for a run of the tests.
var built = sync.OnceValues(func() (string, error) { return harness.Build(context.Background(), "..", binaries) })

// program is the path of the program under test: BONGSU_BIN, or this tree's.
func program(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("BONGSU_BIN"); bin != "" {
		if _, err := os.Stat(bin); err != nil { // also tells the go command that the result depends on it
			t.Fatal(err)
		}
		return bin
	}
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// log is the standard error of a server; a failed test shows the end of it.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start runs a server for a test: in dir, or in a directory of its own if dir is empty.
func start(t *testing.T, dir string, args ...string) *harness.Server {
	t.Helper()
	s, _ := startLogged(t, dir, args...)
	return s
}

// startLogged also returns the log. A panic or a failed proposal in it fails the test.
func startLogged(t *testing.T, dir string, args ...string) (*harness.Server, *log) {
	t.Helper()
	if dir == "" {
		dir = filepath.Join(t.TempDir(), "data")
	}
	l := &log{}
	s, err := harness.Start(t.Context(), harness.Config{Bin: program(t), Data: dir, Args: args, Log: l})
	if err != nil {
		t.Fatalf("%v\n%s", err, l)
	}
	t.Cleanup(func() {
		s.Kill()
		for _, bad := range []string{"panic", "DATA RACE", "fatal error:"} {
			if strings.Contains(l.String(), bad) {
				t.Errorf("the log speaks of %q", bad)
			}
		}
		if t.Failed() {
			lines := strings.Split(l.String(), "\n")
			t.Logf("the end of the log:\n%s", strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	})
	return s, l
}

// user registers somebody.
func user(t *testing.T, s *harness.Server, name string) *harness.Client {
	t.Helper()
	c := harness.NewClientOver(s.URL(), newJudge(t))
	t.Cleanup(c.Close)
	if err := c.Register(t.Context(), name, "password of "+name); err != nil {
		t.Fatalf("register %s: %v", name, err)
	}
	return c
}

// limit bounds a part of a test.
func limit(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// wait lets time pass, for tests that do something at a random moment.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// rounds is the number in the environment, or what a short run does.
func rounds(t *testing.T, name string, usual int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		if testing.Short() {
			return max(1, usual/4)
		}
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is no number of rounds", name, text)
	}
	return n
}

// report fails the test with findings, the first of them in words.
func report(t *testing.T, findings []string) {
	t.Helper()
	for i, f := range findings {
		if i == 20 {
			t.Errorf("… and %d more", len(findings)-i)
			return
		}
		t.Error(f)
	}
}
