package replica_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// save writes the partitions of a cut to files; which nil means all.
func save(t testing.TB, c *replica.Cut, dir string, which ...journal.Partition) {
	t.Helper()
	if which == nil {
		for p := range c.Positions() {
			which = append(which, journal.Partition(p))
		}
	}
	for _, p := range which {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(p)))
		if err == nil {
			_, err = c.WriteCheckpoint(p, f)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// goOn starts a replica over an empty journal that begins after the checkpoints in dir.
func goOn(t testing.TB, dir string, partitions int, o replicatest.Options) (*replica.Replica, func()) {
	t.Helper()
	first := make([]journal.Position, partitions)
	files := make([]*replica.CheckpointFile, partitions)
	for p := range files {
		file, err := replica.OpenCheckpoint(filepath.Join(dir, fmt.Sprint(p)))
		if err != nil {
			t.Fatal(err)
		}
		files[p], first[p] = file, file.Info.Pos+1
	}
	o.Store = mem.NewStoreAt(first)
	o.Checkpoint = func(_ context.Context, p journal.Partition, _ journal.Position) (*replica.CheckpointFile, error) {
		return files[p], nil
	}
	return replicatest.Start(t, o)
}

// cutNames are in three partitions.
var cutNames = [...]string{"amy", "bob", "cleo", "dan", "eve", "finn", "gus", "hal"}

// transfer moves ones to and fro until the returned function is called. What all have together stays.
func transfer(t testing.TB, r *replica.Replica) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range cutNames {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				from, to := cutNames[i], cutNames[(i+1+n%(len(cutNames)-1))%len(cutNames)]
				_, err := r.Submit(ctx, propose("ledger.give", from+" "+to))
				if err != nil && ctx.Err() == nil && !errs.Is(err, errs.Conflict) {
					t.Errorf("give: %v", err)
				}
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

func total(r *replica.Replica) (sum int64) {
	for _, name := range cutNames {
		sum += count(r, name)
	}
	return sum
}

const deposit = 20 // of each name

func deposits(t testing.TB, r *replica.Replica) int64 {
	for _, name := range cutNames {
		for range deposit {
			submit(t, r, propose("ledger.add", name))
		}
	}
	return int64(deposit * len(cutNames))
}

// TestCutIsConsistent takes cuts at two sites while transfers are under way. A journal that begins after a cut delivers exactly
// what was on its way in it: nothing is lost, nothing arrives twice.
func TestCutIsConsistent(t *testing.T) {
	store := mem.NewStore(3)
	machines := []replica.Machine{ledger()}
	r := replicatest.New(t, replicatest.Options{Machines: machines, Store: store})
	want := deposits(t, r)
	other := replicatest.New(t, replicatest.Options{Machines: machines, Store: store, Observer: true, Site: "other"})
	stop := transfer(t, r)
	defer stop()
	for i := range 12 {
		from := r
		if i%2 == 1 {
			from = other
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		c, err := from.Cut(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		save(t, c, dir)
		epoch := c.Epoch()
		c.Close()

		commits, sink := feed()
		again, end := goOn(t, dir, 3, replicatest.Options{Machines: machines, Sink: sink, Site: "next", Boot: 7})
		if err := again.Continue(t.Context(), replica.Continuation{Epoch: epoch + 1, Sites: []string{"next"}}); err != nil {
			t.Fatal(err)
		}
		eventually(t, commits, "everything has arrived", func() bool { return total(again) == want })
		submit(t, again, propose("ledger.add", "amy"))
		submit(t, again, propose("ledger.give", "amy bob")) // numbers go on: a new message is no repeat
		eventually(t, commits, "a new message arrives", func() bool { return total(again) == want+1 })
		end()
	}
}

// TestPartitionsThatDoNotFitAreNoCut puts partitions together that were written at different times.
func TestPartitionsThatDoNotFitAreNoCut(t *testing.T) {
	machines := []replica.Machine{ledger()}
	commits, sink := feed()
	r := replicatest.New(t, replicatest.Options{Machines: machines, Partitions: 3, Sink: sink})
	want := deposits(t, r)
	var from, to string
	for _, a := range cutNames {
		for _, b := range cutNames {
			if replica.PartitionOf(id.SlotOf(a), 3) != replica.PartitionOf(id.SlotOf(b), 3) {
				from, to = a, b
			}
		}
	}
	sender, receiver := replica.PartitionOf(id.SlotOf(from), 3), replica.PartitionOf(id.SlotOf(to), 3)
	third := 3 - sender - receiver
	take := func() *replica.Cut {
		c, err := r.Cut(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	early := take()
	defer early.Close()
	submit(t, r, propose("ledger.give", from+" "+to))
	eventually(t, commits, "it arrived", func() bool { return total(r) == want })
	// The receiver has it; wait until the sender was told as well.
	eventually(t, commits, "the sender forgot it", func() bool { return forgot(r, sender) })
	late := take()
	defer late.Close()

	for name, parts := range map[string]map[journal.Partition]*replica.Cut{
		"received what was not sent":           {sender: early, receiver: late, third: late},
		"forgotten what was not received":      {sender: late, receiver: early, third: late},
		"as it was":                            {sender: late, receiver: late, third: late},
		"another partition may be from before": {sender: late, receiver: late, third: early},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for p, c := range parts {
				save(t, c, dir, p)
			}
			again, end := goOn(t, dir, 3, replicatest.Options{Machines: machines, Observer: true})
			defer end()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			c, err := again.Cut(ctx)
			if err == nil {
				c.Close()
			}
			fits := parts[sender] == parts[receiver]
			if fits != (err == nil) || !fits && (!errors.Is(err, replica.ErrInconsistent) || !strings.Contains(err.Error(), fmt.Sprintf("partition %d", receiver))) {
				t.Errorf("%v", err)
			}
		})
	}
}

// forgot reports whether nothing waits in the outbox of p.
func forgot(r *replica.Replica, p journal.Partition) bool {
	lo := append(kv.U16([]byte{'p'}, uint16(p)), 'o')
	for range r.Rows().Scan(lo, kv.End(lo)) {
		return false
	}
	return true
}
