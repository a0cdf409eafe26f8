package replica_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// digests are those of a fresh observer that has applied the whole store.
func digests(t testing.TB, o replicatest.Options) []replica.PartitionStatus {
	t.Helper()
	o.Observer, o.Site = true, "observer"
	r, stop := replicatest.Start(t, o)
	defer stop()
	var out []replica.PartitionStatus
	for i := range r.Partitions() {
		out = append(out, r.Status(journal.Partition(i)))
	}
	return out
}

// settle runs a replica without faults until no message is on its way.
func settle(t testing.TB, o replicatest.Options) {
	t.Helper()
	commits, sink := feed()
	o.Sink = sink
	r, stop := replicatest.Start(t, o)
	defer stop()
	eventually(t, commits, "the outboxes are empty", func() bool {
		for p := range r.Partitions() {
			lo := append(kv.U16([]byte{'p'}, uint16(p)), 'o')
			for range r.Rows().Scan(lo, kv.End(lo)) {
				return false
			}
		}
		return true
	})
}

// Random histories under random faults and crashes: whoever applies the journal, in whatever batches, with whatever
// restarts, gets the same digests, and no effect is lost or doubled.
func TestSameJournalSameState(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		rng := rand.New(rand.NewPCG(seed, 1))
		store := mem.NewStore(3)
		fs := kv.NewMemFS()
		o := replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store,
			Plan: mem.Seeded(seed, mem.Rates{LoseAck: 0.05, Fail: 0.05, Forget: 0.1, LosePush: 0.001, Delay: 200 * time.Microsecond})}
		acked := map[string]int64{}
		var mu sync.Mutex
		for boot := uint64(1); boot <= 4; boot++ {
			db, err := kv.Open(kv.Config{FS: fs, MemTable: 256 << 10})
			if err != nil {
				rt.Fatal(err)
			}
			o.DB, o.Boot = db, boot
			r, stop := replicatest.Start(t, o)
			var wg sync.WaitGroup
			for worker := range 4 {
				name := fmt.Sprintf("user%d", worker)
				to := fmt.Sprintf("user%d", rng.IntN(4))
				kinds := make([]int, rng.IntN(12))
				for i := range kinds {
					kinds[i] = rng.IntN(10)
				}
				wg.Go(func() {
					for i, k := range kinds {
						var p replica.Proposal
						switch {
						case k < 6:
							p = propose("ledger.add", name)
						case k < 9:
							p = propose("ledger.give", name+" "+to)
						default:
							p = propose("ledger.put", name+" b c")
						}
						p.Key = replica.NewKey("@u:x", "D", name, fmt.Sprint(boot, i))
						for range 1 + k%2 { // half of them twice
							_, err := r.Submit(t.Context(), p)
							if err != nil && !errs.Is(err, errs.Conflict) {
								rt.Errorf("submit: %v", err)
							}
							if err == nil && k < 6 {
								mu.Lock()
								acked[p.Kind+" "+string(p.Key[:])] = 1
								mu.Unlock()
							}
						}
					}
				})
			}
			wg.Wait()
			crashed := fs.Crash() // the disk as a power loss would leave it: rows of some earlier moment
			stop()
			db.Abandon()
			if rng.IntN(2) == 0 {
				fs = crashed
			}
		}
		settle(t, replicatest.Options{Machines: o.Machines, Store: store, Boot: 9})
		a := digests(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store})
		b := digests(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store, EveryRecord: true})
		db, err := kv.Open(kv.Config{FS: fs})
		if err != nil {
			rt.Fatal(err)
		}
		defer db.Close()
		c := digests(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store, DB: db})
		var total int64
		for i := range a {
			if a[i].Applied != b[i].Applied || a[i].Digest != b[i].Digest || a[i].Digest != c[i].Digest {
				rt.Fatalf("seed %d partition %d:\n %d %x\n %d %x\n %d %x", seed, i, a[i].Applied, a[i].Digest,
					b[i].Applied, b[i].Digest, c[i].Applied, c[i].Digest)
			}
		}
		for w := range 4 {
			name := fmt.Sprintf("user%d", w)
			if v := db.Get(kv.Str(replica.Row(id.SlotOf(name), 'L', 'c'), name)); v != nil {
				total += int64(binary.BigEndian.Uint64(v))
			}
		}
		if total != int64(len(acked)) {
			rt.Fatalf("seed %d: %d additions acknowledged, %d there", seed, len(acked), total)
		}
	})
}

// A machine that is not a function of the journal is found out by the digests that records carry.
func TestPlantedNondeterminismIsCaught(t *testing.T) {
	var calls atomic.Int64
	fickle := replica.Machine{Name: "fickle", Byte: 'F', Kinds: map[string]replica.Kind{
		"fickle.set": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			tx.Set(replica.Row(tx.Slot(), 'F', 'x'), fmt.Appendf(nil, "%d", calls.Add(1)))
			return nil, nil
		}},
	}}
	store := mem.NewStore(1)
	o := replicatest.Options{Machines: []replica.Machine{fickle}, Store: store}
	r, stop := replicatest.Start(t, o)
	for range 3 {
		submit(t, r, propose("fickle.set", "x"))
	}
	stop()
	if s := digests(t, replicatest.Options{Machines: o.Machines, Store: store, AllowBugs: true}); s[0].Divergence == nil {
		t.Error("two runs made different states and nobody noticed")
	}
}

// A record that changed in the journal is found out: it is refused, or the digests differ.
func TestPlantedBitFlipIsCaught(t *testing.T) {
	for i := range 60 {
		store := mem.NewStore(1)
		r, stop := replicatest.Start(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store})
		for range 5 {
			submit(t, r, propose("ledger.add", "amy"))
		}
		stop()
		j := store.Open(nil)
		e, err := j.Read(t.Context(), 0, 4)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(e.Data)
		bad[i*len(bad)/60] ^= 1 << (i % 8)
		store.Replace(0, 4, bad)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		db := openDB(t, kv.NewMemFS())
		j = store.Open(nil)
		r, err = replica.Open(t.Context(), replica.Config{DB: db, Journal: j, Machines: []replica.Machine{ledger()},
			Site: "site", Boot: 2, Observer: true})
		if err != nil {
			t.Fatal(err)
		}
		err = r.Start(t.Context(), nil)
		if s := r.Status(0); s.Divergence == nil && err == nil {
			t.Errorf("bit %d of byte %d of a record flipped, and nobody noticed", i%8, i*len(bad)/60)
		}
		r.Close()
		_ = j.Close()
		closeDB(t, db)
	}
}

func TestUnknownKindHaltsBeforeIt(t *testing.T) {
	store := mem.NewStore(1)
	r, stop := replicatest.Start(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store})
	submit(t, r, propose("ledger.add", "amy"))
	stop()
	_, last := bounds(t, store, 0)
	db := openDB(t, kv.NewMemFS())
	defer closeDB(t, db)
	j := store.Open(nil)
	defer j.Close()
	r, err := replica.Open(t.Context(), replica.Config{DB: db, Journal: j, Site: "site", Boot: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Start(t.Context(), nil); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("started on records that it does not know: %v", err)
	}
	s := r.Status(0)
	if s.Err == nil || s.Applied >= last {
		t.Errorf("not halted before the record: %+v", s)
	}
	if _, err := r.Submit(t.Context(), propose("ledger.add", "amy")); !errs.Is(err, errs.Unavailable) {
		t.Errorf("a halted partition answered %v", err)
	}
}

func TestRulesAreSwitchedByARecord(t *testing.T) {
	next := ledger()
	next.Kinds["ledger.new"] = replica.Kind{Since: 2, Apply: func(*replica.Tx, []byte) ([]byte, error) { return []byte("ok"), nil }}
	store := mem.NewStore(1)
	_, stop := replicatest.Start(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store, Sites: []string{"site", "other"}})
	stop()
	// One site's build knows rules 2, the other's does not: the new kind stays off.
	r, stop := replicatest.Start(t, replicatest.Options{Machines: []replica.Machine{next}, Store: store, Rules: 2, Boot: 2})
	if _, err := r.Submit(t.Context(), propose("ledger.new", "amy")); !errs.Is(err, errs.Unsupported) {
		t.Fatalf("got %v", err)
	}
	stop()
	r, stop = replicatest.Start(t, replicatest.Options{Machines: []replica.Machine{next}, Store: store, Rules: 2, Boot: 1, Site: "other"})
	if got := submit(t, r, propose("ledger.new", "amy")); got != "ok" {
		t.Fatalf("got %q", got)
	}
	if s := r.Status(0); s.Rules != 2 {
		t.Errorf("rules %d", s.Rules)
	}
	stop()
	// An old build halts at the switch.
	db := openDB(t, kv.NewMemFS())
	defer closeDB(t, db)
	j := store.Open(nil)
	defer j.Close()
	old, err := replica.Open(t.Context(), replica.Config{DB: db, Journal: j, Machines: []replica.Machine{ledger()}, Site: "site", Boot: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := old.Start(t.Context(), nil); err == nil {
		t.Error("an old build went past the switch")
	}
}

func TestCheckpoint(t *testing.T) {
	store := mem.NewStore(2)
	dir := t.TempDir()
	o := replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store}
	r, stop := replicatest.Start(t, o)
	for i := range 30 {
		submit(t, r, propose("ledger.add", fmt.Sprintf("user%d", i)))
	}
	files := make([]*replica.CheckpointFile, 2)
	for p := range files {
		f, err := r.SaveCheckpoint(journal.Partition(p), dir)
		if err != nil {
			t.Fatal(err)
		}
		files[p] = f
	}
	for i := range 30 {
		submit(t, r, propose("ledger.add", fmt.Sprintf("user%d", i)))
	}
	stop()
	want := digests(t, replicatest.Options{Machines: o.Machines, Store: store})
	j := store.Open(nil)
	for p, f := range files {
		if err := j.Trim(t.Context(), journal.Partition(p), f.Info.Pos); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	got := digests(t, replicatest.Options{Machines: o.Machines, Store: store,
		Checkpoint: func(_ context.Context, p journal.Partition, _ journal.Position) (*replica.CheckpointFile, error) {
			return replica.OpenCheckpoint(files[p].Path)
		}})
	for p := range want {
		if got[p].Digest != want[p].Digest || got[p].Applied != want[p].Applied {
			t.Errorf("partition %d: %d %x, want %d %x", p, got[p].Applied, got[p].Digest, want[p].Applied, want[p].Digest)
		}
	}
	// Without a checkpoint there is no start.
	j = store.Open(nil)
	defer j.Close()
	db := openDB(t, kv.NewMemFS())
	defer closeDB(t, db)
	if _, err := replica.Open(t.Context(), replica.Config{DB: db, Journal: j, Machines: o.Machines, Site: "site", Boot: 9}); err == nil {
		t.Error("a trimmed journal was opened without its checkpoint")
	}

	// Every flipped bit and every cut is found.
	data, err := os.ReadFile(files[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(dir, "bad")
	for i := range data {
		flipped := bytes.Clone(data)
		flipped[i] ^= 1 << (i % 8)
		if _, err := replica.ReadCheckpoint(bytes.NewReader(flipped), nil); !errors.Is(err, replica.ErrCheckpoint) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		if _, err := replica.ReadCheckpoint(bytes.NewReader(data[:i]), nil); !errors.Is(err, replica.ErrCheckpoint) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if err := os.WriteFile(bad, data[:len(data)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := replica.OpenCheckpoint(bad); !errors.Is(err, replica.ErrCheckpoint) {
		t.Errorf("got %v", err)
	}
}

func TestQueueIsFair(t *testing.T) {
	var hold atomic.Bool
	gate := make(chan struct{})
	var order []string
	var mu sync.Mutex
	m := replica.Machine{Name: "order", Byte: 'O', Kinds: map[string]replica.Kind{
		"order.note": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, string(body))
			return nil, nil
		}},
	}}
	held := make(chan struct{}, 100)
	plan := func(mem.Attempt) mem.Fault {
		if hold.Load() {
			held <- struct{}{}
			<-gate
		}
		return mem.Fault{}
	}
	r := replicatest.New(t, replicatest.Options{Machines: []replica.Machine{m}, Partitions: 1, Plan: plan})
	hold.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	send := func(lane string) {
		wg.Go(func() {
			if _, err := r.Submit(ctx, replica.Proposal{Kind: "order.note", Body: []byte(lane), Lane: lane}); err != nil {
				t.Error(err)
			}
		})
	}
	waiting := func(n int) {
		for r.Waiting(0) < n {
			time.Sleep(time.Millisecond)
		}
	}
	send("first")
	<-held // a record is in flight; what comes now waits behind it
	for range 50 {
		send("flood")
	}
	waiting(50)
	send("quiet")
	waiting(51)
	hold.Store(false)
	close(gate)
	wg.Wait()
	for i, lane := range order {
		if lane == "quiet" {
			if i > 3 {
				t.Errorf("one quiet user waited behind %d of a flood", i)
			}
			return
		}
	}
	t.Error("the quiet user's proposal is missing")
}
