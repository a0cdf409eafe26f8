package replica_test

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// These tests run in a bubble, where time passes as soon as nobody has anything to do.
func bubble(t *testing.T, test func(t *testing.T, db *kv.DB)) {
	synctest.Test(t, func(t *testing.T) {
		db := memoryDB(t)
		defer db.Abandon()
		test(t, db)
	})
}

// memoryDB keeps rows for a bubble.
func memoryDB(t testing.TB) *kv.DB { return replicatest.MemoryDB(t) }

// put appends a record that a site did not make.
func put(t testing.TB, s *mem.Store, p journal.Partition, rec replica.Record) {
	t.Helper()
	j := s.Open(nil)
	defer j.Close()
	if _, err := j.Append(t.Context(), p, rec.Site+"-foreign", rec.Encode(nil)); err != nil {
		t.Fatal(err)
	}
}

// A halted partition owes nobody a tick, even while a timer is due, and answers at once.
func TestHaltedPartitionIsQuiet(t *testing.T) {
	bubble(t, func(t *testing.T, db *kv.DB) {
		store := mem.NewStore(1)
		r, stop := replicatest.Start(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store, DB: db})
		defer stop()
		submit(t, r, propose("ledger.later", "amy"))
		put(t, store, 0, replica.Record{Site: "site", Boot: 99, N: 1, Proposals: []replica.Proposal{{Kind: "ledger.unheard"}}})
		synctest.Wait()
		if r.Status(0).Err == nil {
			t.Fatal("an unknown kind did not halt the partition")
		}
		_, before := bounds(t, store, 0)
		time.Sleep(time.Minute)
		if _, after := bounds(t, store, 0); after > before+1 {
			t.Errorf("a halted partition appended %d records in a minute", after-before)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begun := time.Now()
		if _, err := r.Submit(ctx, propose("ledger.add", "amy")); !errs.Is(err, errs.Unavailable) || time.Since(begun) > 0 {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if err := r.WaitFor(ctx, 0, before+1); !errs.Is(err, errs.Unavailable) || time.Since(begun) > 0 {
			t.Errorf("WaitFor, after %v: %v", time.Since(begun), err)
		}
	})
}

// While history is applied nothing is appended: the timers and messages that it passes have been seen to long ago.
func TestHistoryIsAppliedInSilence(t *testing.T) {
	bubble(t, func(t *testing.T, db *kv.DB) {
		store := mem.NewStore(4)
		o := replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store, DB: db}
		r, stop := replicatest.Start(t, o)
		for range 20 {
			submit(t, r, propose("ledger.add", "amy"))
			submit(t, r, propose("ledger.give", "amy bob"))
		}
		time.Sleep(time.Minute) // everything arrives
		stop()
		p := replica.PartitionOf(id.SlotOf("amy"), 4)
		_, last := bounds(t, store, p)
		var early atomic.Bool
		j := store.Open(nil)
		defer j.Close()
		o.Boot, o.EveryRecord, o.DB = 2, true, memoryDB(t)
		defer o.DB.Abandon()
		o.Sink = func(c replica.Commit) {
			if c.Partition == p && c.Pos < last {
				time.Sleep(200 * time.Millisecond) // a slow disk
				_, now, _ := j.Bounds(context.Background(), p)
				early.CompareAndSwap(false, now != last)
			}
		}
		r, stop = replicatest.Start(t, o)
		defer stop()
		if early.Load() {
			t.Error("records were appended while history was being applied")
		}
		if n := count(r, "bob"); n != 20 {
			t.Errorf("bob has %d", n)
		}
	})
}

// A timer that is further off than a time.Duration can say does not make the partition tick.
func TestFarTimerIsQuiet(t *testing.T) {
	bubble(t, func(t *testing.T, db *kv.DB) {
		store := mem.NewStore(1)
		m := replica.Machine{Name: "far", Byte: 'F', Kinds: map[string]replica.Kind{
			"far.set": {Apply: func(tx *replica.Tx, _ []byte) ([]byte, error) {
				tx.At(replica.Wall, math.MaxInt64, "far.set", nil)
				tx.At(replica.Live, math.MaxInt64/1000, "far.set", nil)
				return nil, nil
			}},
		}}
		r, stop := replicatest.Start(t, replicatest.Options{Machines: []replica.Machine{m}, Store: store, DB: db})
		defer stop()
		submit(t, r, replica.Proposal{Kind: "far.set", Lane: "test"})
		time.Sleep(time.Minute)
		if _, last := bounds(t, store, 0); last > 20 {
			t.Errorf("%d records in a quiet minute", last)
		}
	})
}
