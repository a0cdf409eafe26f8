package replica_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"bongsu/errs"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// TestSeal seals a replica under load: every write that was acknowledged is in the cut, the others are refused with the words, and
// the journal does not grow any more.
func TestSeal(t *testing.T) {
	store := mem.NewStore(2)
	r := replicatest.New(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store})
	var acked [len(cutNames)]int64
	var wg sync.WaitGroup
	var some atomic.Int64
	under := make(chan struct{})
	for i, name := range cutNames {
		wg.Go(func() {
			for {
				_, err := r.Submit(t.Context(), propose("ledger.add", name))
				if err != nil {
					if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "moves house") {
						t.Errorf("refused with %v", err)
					}
					return
				}
				acked[i]++
				if some.Add(1) == 500 {
					close(under)
				}
			}
		})
	}
	<-under
	if err := r.Seal(t.Context(), "the server moves house"); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	c, err := r.Cut(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, name := range cutNames {
		if got := count(r, name); got != acked[i] {
			t.Errorf("%s: %d of %d acknowledged writes", name, got, acked[i])
		}
	}
	for p, pos := range c.Positions() {
		if _, last := bounds(t, store, journal.Partition(p)); pos != last {
			t.Errorf("partition %d: the cut is at %d, the journal ends at %d", p, pos, last)
		}
	}
	if err := r.Seal(t.Context(), "again"); err != nil {
		t.Error(err)
	}
	several := replicatest.New(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Observer: true})
	var e *errs.Error
	if err := several.Seal(t.Context(), ""); !errors.As(err, &e) || e.Kind != errs.Unsupported {
		t.Errorf("an observer: %v", err)
	}
}
