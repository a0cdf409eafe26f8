package app

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"bongsu/journal"
)

// refusing is a journal that refuses to append.
type refusing struct {
	engine
	why error
}

func (r refusing) Refusing() error { return r.why }

// TestStanding: a site whose journal turned out to be damaged while it ran opens itself anew.
func TestStanding(t *testing.T) {
	s := &Server{site: &site{}}
	err := s.standing(refusing{why: fmt.Errorf("partition 0: %w", journal.ErrDamaged)})
	if !errors.Is(err, errReopen) || !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("damaged: %v", err)
	}
}

// A hanging engine ends the server's run, of a site and of a single node, and not by opening it anew in the same process.
func TestStandingStuck(t *testing.T) {
	for _, s := range []*Server{{site: &site{}}, {}} {
		if err := s.standing(refusing{why: journal.ErrStuck}); !errors.Is(err, journal.ErrStuck) || errors.Is(err, errReopen) {
			t.Errorf("stuck: %v", err)
		}
	}
}

// startedAnew names, for the child of TestStartAnew, the file in which it counts its runs.
const startedAnew = "BONGSU_TEST_STARTED_ANEW"

// A program that is started anew is another run of the same process, with the same arguments and environment.
func TestStartAnew(t *testing.T) {
	if path := os.Getenv(startedAnew); path != "" {
		countRun(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "runs")
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStartAnew$") //nolint:gosec // this test
	child.Env = append(os.Environ(), startedAnew+"="+path)
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	runs, err := os.ReadFile(path) //nolint:gosec // written by the child
	pid := fmt.Sprintln(child.Process.Pid)
	if err != nil || string(runs) != pid+pid {
		t.Errorf("the runs were %q, want twice %q: %v", runs, pid, err)
	}
}

// countRun notes a run, and starts the program anew after the first.
func countRun(t *testing.T, path string) {
	before, _ := os.ReadFile(path)                                                                   //nolint:gosec // a file of the test; it is not there at first
	if err := os.WriteFile(path, fmt.Append(before, fmt.Sprintln(os.Getpid())), 0o600); err != nil { //nolint:gosec // likewise
		t.Fatal(err)
	}
	if len(before) == 0 {
		t.Fatal(startAnew())
	}
}
