package model_test

import (
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// number is a number from the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestAlone: the model shares no code with the server.
func TestAlone(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if strings.HasPrefix(i.Path.Value, `"bongsu/`) {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	}
}

// TestModel lets 50 users do random things, until 2,000 messages are sent (300 with -short) or as many as BONGSU_MODEL_MESSAGES says, and then six in three
// rooms, who meet more often, half as many. Every answer must be as the model has it. BONGSU_SEED repeats a run.
func TestModel(t *testing.T) {
	usual := uint64(2000)
	if testing.Short() {
		usual = 300
	}
	messages := int(number(t, "BONGSU_MODEL_MESSAGES", usual)) //nolint:gosec // a few
	seed := number(t, "BONGSU_SEED", rand.Uint64())
	t.Run("many", func(t *testing.T) {
		traffic(t, setting{seed: seed, users: 50, rooms: min(15+messages/1000, 50)}, messages)
	})
	t.Run("few", func(t *testing.T) {
		traffic(t, setting{seed: seed, users: 6, rooms: 3}, min(messages/2, 3000))
	})
}

// traffic takes steps until enough messages are sent. If something is wrong, it shows the last of the steps that are needed for it.
func traffic(t *testing.T, s setting, messages int) {
	t.Helper()
	t.Logf("BONGSU_SEED=%d", s.seed)
	x := newRun(t, s)
	began := time.Now()
	var steps []int
	take := func(step int) (good bool) {
		steps = append(steps, step)
		wrong := x.do(step)
		if wrong == "" {
			return true
		}
		t.Errorf("BONGSU_SEED=%d: %s\n%s", s.seed, wrong, x.trace[len(x.trace)-1])
		if wrong, x = shrink(t, s, steps, 2*time.Minute); wrong != "" {
			t.Errorf("with fewer steps: %s\n%s\n%.4000s", wrong, strings.Join(x.trace[max(0, len(x.trace)-100):], "\n"), x.last.body)
		}
		return false
	}
	tell := func() { t.Logf("%d messages after %v: %v", x.sent, time.Since(began).Round(time.Second), x.w.Compared) }
	const progress = 1000 // messages
	for step, next := 0, progress; x.sent < messages; step++ {
		if step > 100*messages {
			t.Fatalf("only %d messages in %d steps", x.sent, step)
		}
		if !take(step) {
			return
		}
		if x.sent == next {
			tell()
			next += progress
		}
	}
	for i := range x.users {
		if !take(-1 - i) {
			return
		}
		if messages > progress && i%10 == 9 {
			tell()
		}
	}
	events, longest := 0, 0
	for _, r := range x.w.Rooms {
		events, longest = events+len(r.Events), max(longest, len(r.Events))
	}
	t.Logf("%d messages of %d users, %d steps, %d events in %d rooms, the longest with %d; compared in %v: %v\nwhat users did: %v", x.sent, len(x.users),
		len(steps), events, len(x.w.Rooms), longest, time.Since(began).Round(time.Second), x.w.Compared, x.counts)
}
