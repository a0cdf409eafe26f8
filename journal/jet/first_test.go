package jet_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bongsu/journal"
	"bongsu/journal/jet"
)

// TestFirst: a journal that goes on from checkpoints begins behind them, and still does after each start: a graceful one, and one
// on the files as a crash leaves them, with and without records.
func TestFirst(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := filepath.Join(t.TempDir(), "journal")
	first := []journal.Position{101, 1, 70_000}
	c := jet.Config{Dir: dir, Partitions: 3, Reserve: -1, First: first}
	last := []journal.Position{100, 0, 69_999}
	check := func(c jet.Config, what string) *jet.Journal {
		t.Helper()
		j, err := jet.Open(c)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for p := range journal.Partition(3) {
			a, b, err := j.Bounds(ctx, p)
			if err != nil || a != first[p] || b != last[p] {
				t.Errorf("%s: partition %d from %d to %d, %v", what, p, a, b, err)
			}
		}
		return j
	}
	for round := range 4 {
		j := check(c, fmt.Sprint("round ", round))
		c.First = nil // it counts once
		if round > 1 {
			for p := range journal.Partition(2) {
				pos, err := j.Append(ctx, p, fmt.Sprint("m", round), []byte("x"))
				if err != nil || pos != last[p]+1 {
					t.Fatalf("appended at %d: %v", pos, err)
				}
				last[p] = pos
			}
		}
		if _, err := j.Read(ctx, 0, 100); !errors.Is(err, journal.ErrTrimmed) {
			t.Errorf("before the beginning: %v", err)
		}
		crashed := c
		crashed.Dir = filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(crashed.Dir, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := check(crashed, "after a crash").Close(); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := jet.Open(jet.Config{Dir: t.TempDir(), Partitions: 3, First: first[:2]}); err == nil || !strings.Contains(err.Error(), "2 first positions") {
		t.Errorf("too few: %v", err)
	}
}
