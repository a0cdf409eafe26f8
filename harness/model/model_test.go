package model_test

import (
	"math/rand/v2"
	"os"
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

// TestModel lets 50 users do random things, until 2,000 messages are sent or as many as BONGSU_MODEL_MESSAGES says; every answer must be
// as the model has it. BONGSU_SEED repeats a run.
func TestModel(t *testing.T) {
	messages := int(number(t, "BONGSU_MODEL_MESSAGES", 2000)) //nolint:gosec // a few
	seed := number(t, "BONGSU_SEED", rand.Uint64())
	t.Logf("BONGSU_SEED=%d", seed)
	s := setting{seed: seed, users: 50, rooms: min(15+messages/500, 100)}
	x := newRun(t, s)
	began := time.Now()
	steps := []int{}
	for step := 0; x.sent < messages; step++ {
		steps = append(steps, step)
		if wrong := x.do(step); wrong != "" {
			t.Errorf("BONGSU_SEED=%d: %s\n%s", seed, wrong, x.trace[len(x.trace)-1])
			if wrong, x = shrink(t, s, steps, 2*time.Minute); wrong != "" {
				t.Fatalf("with fewer steps: %s\n%s\n%.4000s", wrong, strings.Join(x.trace[max(0, len(x.trace)-100):], "\n"), x.last.body)
			}
			t.FailNow()
		}
	}
	t.Logf("%d messages, %d steps, %d events in %d rooms, %v: %v", x.sent, len(steps), x.w.Moment, len(x.w.Rooms), time.Since(began), x.counts)
}
