package jet_test

import (
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

	"bongsu/journal"
	"bongsu/journal/jet"
	"bongsu/journal/journaltest"
)

// open opens a journal that takes no more space than tests have.
func open(t testing.TB, c jet.Config) *jet.Journal {
	t.Helper()
	j, err := jet.Open(quiet(c))
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

func quiet(c jet.Config) jet.Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
		if os.Getenv("JET_LOG") != "" {
			c.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}
	}
	return c
}

func TestContract(t *testing.T) {
	defer goleak.VerifyNone(t)
	dirs := map[journal.Journal]string{}
	at := func(t *testing.T, dir string) journal.Journal {
		j := open(t, jet.Config{Dir: dir, Partitions: 3})
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
