package replica

import (
	"sync/atomic"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
)

// View is a consistent reading of the rows: all partitions at one moment, with their positions.
type View struct {
	*kv.View
	at []journal.Position
}

// View takes one. Close it soon.
func (r *Replica) View() *View {
	v := &View{at: make([]journal.Position, len(r.parts))}
	var seqs [16]uint64 // of the first partitions; more read their row
	for i, pt := range r.parts {
		if i < len(seqs) {
			seqs[i], v.at[i] = pt.visible.read()
		}
	}
	v.View = r.db.View()
	for i, pt := range r.parts {
		if i < len(seqs) && pt.visible.still(seqs[i]) {
			continue
		}
		v.at[i] = 0
		if a, ok := decodeApplied(v.Get(appliedKey(journal.Partition(i)))); ok {
			v.at[i] = a.pos
		}
	}
	return v
}

// visible is up to where a partition can be read, for views: a position and a number that is odd while a commit is under
// way, so that a view knows whether the position that it read before is the one that it sees.
type visible struct{ seq, pos atomic.Uint64 }

// change makes pos visible by calling commit.
func (v *visible) change(pos journal.Position, commit func() error) error {
	v.seq.Add(1)
	err := commit()
	if err == nil {
		v.pos.Store(uint64(pos))
	}
	v.seq.Add(1)
	return err
}

func (v *visible) read() (seq uint64, pos journal.Position) {
	return v.seq.Load(), journal.Position(v.pos.Load())
}

// still reports whether nothing has been committed since seq was read, nor was being committed then.
func (v *visible) still(seq uint64) bool { return seq%2 == 0 && v.seq.Load() == seq }

// Positions are the positions of the partitions in this view; not to be changed.
func (v *View) Positions() []journal.Position { return v.at }

// Reader reads rows and knows where derived rows are: a View, a Tx, and what Rows returns.
type Reader interface {
	kv.Reader
	// PartitionOf is the partition that holds a slot.
	PartitionOf(slot id.Slot) journal.Partition
}

// PartitionOf implements Reader.
func (v *View) PartitionOf(slot id.Slot) journal.Partition { return PartitionOf(slot, len(v.at)) }

// rows are the newest committed rows.
type rows struct {
	*kv.DB
	partitions int
}

// PartitionOf implements Reader.
func (r rows) PartitionOf(slot id.Slot) journal.Partition { return PartitionOf(slot, r.partitions) }

// Rows reads the newest committed rows, for reads of a single row. It is a Reader.
func (r *Replica) Rows() kv.Reader { return rows{r.db, len(r.parts)} }

// Partitions is how many there are.
func (r *Replica) Partitions() int { return len(r.parts) }
