package jet

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"bongsu/journal"
)

// holding is a log that never comes back from what the engine says at its stop: so the engine hangs, as it does when it waits for itself.
type holding struct {
	slog.Handler
	held chan struct{}
	done <-chan struct{}
}

func (h holding) Enabled(context.Context, slog.Level) bool { return true }

func (h holding) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h holding) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "engine: Initiating Shutdown..." {
		close(h.held)
		<-h.done
	}
	return nil
}

// An engine that falls ill and then neither works nor stops makes the journal say so, and does not keep it from being closed.
func TestEngineHangs(t *testing.T) {
	t.Parallel()
	c := Config{Dir: t.TempDir(), Partitions: 1}
	h := holding{slog.DiscardHandler, make(chan struct{}), t.Context().Done()}
	c.Log = slog.New(h)
	j, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	j.stopFor = 50 * time.Millisecond // the keeper reads it after the engine fell ill
	pos, err := j.Append(t.Context(), 0, "a", []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	j.present().fail(errNoSpace)
	<-h.held
	for deadline := time.Now().Add(time.Minute); !errors.Is(j.Refusing(), journal.ErrStuck); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a journal whose engine hangs says: %v", j.Refusing())
		}
	}
	if _, err := j.Append(t.Context(), 0, "b", []byte("not kept")); !errors.Is(err, journal.ErrStuck) {
		t.Errorf("an append: %v", err)
	}
	if _, err := j.Read(t.Context(), 0, pos); !errors.Is(err, journal.ErrStuck) {
		t.Errorf("a read: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}
