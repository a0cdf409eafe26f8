package replicatest

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// What simulations of sites that crash have in common. They run in a bubble of testing/synctest.

// Seeds are those of a run of simulations: from 1 on, usual many or as many as BONGSU_SIM_SEEDS says; or the one that BONGSU_SIM_SEED
// names.
func Seeds(usual int) iter.Seq[uint64] {
	first := uint64(1)
	if n, err := strconv.Atoi(os.Getenv("BONGSU_SIM_SEEDS")); err == nil {
		usual = n
	}
	if n, err := strconv.ParseUint(os.Getenv("BONGSU_SIM_SEED"), 10, 64); err == nil {
		usual, first = 1, n
	}
	return func(yield func(uint64) bool) {
		for seed := first; seed < first+uint64(usual) && yield(seed); seed++ {
		}
	}
}

// Disk holds a simulated site's rows from one run of its process to the next.
type Disk struct {
	DB   *kv.DB
	past *kv.DB // the rows as they were at an earlier commit, or nil
}

// NewDisk is an empty one.
func NewDisk(t testing.TB) *Disk { return &Disk{DB: MemoryDB(t)} }

// Lose takes rows, as rng has it: none, the latest, or all. The site must be down.
func (d *Disk) Lose(t testing.TB, rng *rand.Rand) {
	switch rng.IntN(3) {
	case 0: // a process that died with its rows on disk
		if rng.IntN(2) == 0 {
			if d.past != nil {
				d.past.Abandon()
			}
			d.past = CopyRows(t, d.DB)
		}
	case 1: // a power loss that took the latest commits
		if d.past != nil {
			d.DB.Abandon()
			d.DB, d.past = d.past, nil
		}
	case 2:
		d.Empty(t)
	}
}

// Empty takes all rows.
func (d *Disk) Empty(t testing.TB) {
	d.DB.Abandon()
	d.DB = MemoryDB(t)
}

// Abandon ends the use of the disk.
func (d *Disk) Abandon() {
	d.DB.Abandon()
	if d.past != nil {
		d.past.Abandon()
	}
}

// Shelf is where the sites of a simulation keep checkpoints for each other: the newest of each partition.
type Shelf struct {
	dir    string
	mu     sync.Mutex
	newest map[journal.Partition]*replica.CheckpointFile
}

// NewShelf keeps its files in dir.
func NewShelf(dir string) *Shelf {
	return &Shelf{dir: dir, newest: map[journal.Partition]*replica.CheckpointFile{}}
}

// Trim takes a checkpoint at a site that is in service, and trims the journal below it.
func (s *Shelf) Trim(ctx context.Context, r *replica.Replica, j journal.Journal, p journal.Partition) {
	if r.Serving() != nil {
		return
	}
	f, err := r.SaveCheckpoint(p, s.dir)
	if err != nil {
		return // it has no state yet
	}
	s.mu.Lock()
	if old := s.newest[p]; old == nil || old.Info.Pos < f.Info.Pos {
		s.newest[p] = f
	}
	s.mu.Unlock()
	_ = j.Trim(ctx, p, f.Info.Pos) // a site that is cut off cannot
}

// Fetch is a replica.Config.Checkpoint.
func (s *Shelf) Fetch(_ context.Context, p journal.Partition, atLeast journal.Position) (*replica.CheckpointFile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.newest[p]; f != nil && f.Info.Pos >= atLeast {
		return f, nil
	}
	return nil, nil //nolint:nilnil // there is none
}

// Unsound is what a replica that was closed says of itself and should not: divergence, halted partitions, failed proposals.
func Unsound(r *replica.Replica) (faults []string) {
	for p := range r.Partitions() {
		if st := r.Status(journal.Partition(p)); st.Divergence != nil || st.Err != nil {
			faults = append(faults, fmt.Sprintf("partition %d: %v, %v", p, st.Divergence, st.Err))
		}
	}
	if n := r.Failures() + r.Refused(); n != 0 {
		faults = append(faults, fmt.Sprintf("%d proposals or messages failed", n))
	}
	return faults
}
