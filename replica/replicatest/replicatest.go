// Package replicatest makes replicas for tests: over the in-memory journal and rows in memory, with as little said as
// possible.
//
// Invariant: what a test does not say is sound and quiet; a replica that finds a divergence or a failing state machine fails
// the test at its end.
package replicatest

import (
	"context"
	"testing"
	"time"

	"bongsu/clock"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
)

// Options say what a test cares about; the rest has defaults.
type Options struct {
	Machines    []replica.Machine
	Sink        func(replica.Commit)
	Store       *mem.Store // the journal's disk; nil for a fresh one with Partitions
	Plan        mem.Plan   // what goes wrong with appends
	Partitions  int        // of a fresh Store; 0 means 4
	DB          *kv.DB     // rows; nil for fresh ones in memory
	Boot        uint64     // 0 means 1
	Site        string     // "" means "site"
	Sites       []string
	Rules       uint16
	Clock       clock.Clock
	Queue       int
	EveryRecord bool
	Observer    bool
	Checkpoint  func(context.Context, journal.Partition, journal.Position) (*replica.CheckpointFile, error)
	AllowBugs   bool // the test plants failing machines or divergence
}

// New starts a replica and stops it at the end of the test.
func New(t testing.TB, o Options) *replica.Replica {
	t.Helper()
	r, stop := Start(t, o)
	t.Cleanup(stop)
	return r
}

// Start starts a replica; stop ends it as a graceful shutdown would, and may be called twice.
func Start(t testing.TB, o Options) (r *replica.Replica, stop func()) {
	t.Helper()
	if o.Partitions == 0 {
		o.Partitions = 4
	}
	if o.Store == nil {
		o.Store = mem.NewStore(o.Partitions)
	}
	ownDB := o.DB == nil
	if ownDB {
		db, err := kv.Open(kv.Config{MemTable: 4 << 20})
		if err != nil {
			t.Fatal(err)
		}
		o.DB = db
	}
	if o.Boot == 0 {
		o.Boot = 1
	}
	if o.Site == "" {
		o.Site = "site"
	}
	j := o.Store.Open(o.Plan)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := replica.Open(ctx, replica.Config{DB: o.DB, Journal: j, Machines: o.Machines, Rules: o.Rules, Site: o.Site,
		Boot: o.Boot, Sites: o.Sites, Queue: o.Queue, Clock: o.Clock, Checkpoint: o.Checkpoint, EveryRecord: o.EveryRecord, Observer: o.Observer})
	if err == nil {
		err = r.Start(ctx, o.Sink)
	}
	if err == nil {
		err = r.Ready(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	return r, func() {
		if stopped {
			return
		}
		stopped = true
		r.Close()
		if err := j.Close(); err != nil {
			t.Errorf("journal: %v", err)
		}
		if ownDB {
			if err := o.DB.Close(); err != nil {
				t.Errorf("rows: %v", err)
			}
		}
		if o.AllowBugs {
			return
		}
		if n := r.Failures(); n != 0 {
			t.Errorf("%d proposals failed through a bug in a state machine", n)
		}
		for i := range r.Partitions() {
			if d := r.Status(journal.Partition(i)).Divergence; d != nil {
				t.Errorf("%v", d)
			}
		}
	}
}

// MemoryDB keeps rows for a bubble of testing/synctest. They must never be written to files (so: Abandon, not Close), since the store
// shares channels between the writers of all files in the process, which a bubble forbids.
func MemoryDB(t testing.TB) *kv.DB {
	t.Helper()
	db, err := kv.Open(kv.Config{MemTable: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// CopyRows is a MemoryDB with the rows that another has now, as a disk would have them after a power loss that is yet to come.
func CopyRows(t testing.TB, db *kv.DB) *kv.DB {
	t.Helper()
	out := MemoryDB(t)
	b := out.Batch()
	for k, v := range db.Scan([]byte{0}, []byte{0xff}) {
		b.Set(k, v)
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	return out
}
