package replica

import (
	"encoding/binary"
	"slices"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
)

// Derived rows are written by handlers, with the state that they come from. A build that derives more than the one before, or in another
// form, makes the rows of a machine anew at start, or after a checkpoint of an older build was loaded: Machine.Derive does that from
// the state rows.
//
// Which rows there are is said by a mark, itself a derived row: the position up to which they are complete, and the version of
// each machine's. It is written with every commit. A build that knows nothing of marks leaves it behind the applied position, and so do
// the rows that it did not derive come to light when a newer build takes over again.

// Deriver makes the derived rows of a machine anew, from its state in one slot of partition p. It calls set with each row, whose key
// begins as Derived has it, and reads nothing but state rows of the machine and slot. set keeps neither key nor value.
type Deriver func(r kv.Reader, p journal.Partition, slot id.Slot, set func(key, value []byte))

// tableMark is the replica's own table of derived rows: position, then byte and version of each machine.
const tableMark = 'm'

func markKey(p journal.Partition) []byte { return Derived(p, machineReplica, tableMark) }

// machinesThatDerive are those whose derived rows have a version, in the order of their bytes.
func machinesThatDerive(machines []Machine) (out []Machine) {
	for _, m := range machines {
		if m.Derive != nil {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b Machine) int { return int(a.Byte) - int(b.Byte) })
	return out
}

// markAt is the mark of complete rows at a position.
func (r *Replica) markAt(pos journal.Position) []byte {
	out := binary.BigEndian.AppendUint64(nil, uint64(pos))
	for _, m := range r.deriving {
		out = binary.BigEndian.AppendUint16(append(out, m.Byte), m.Derived)
	}
	return out
}

// derived are the versions of the derived rows that are complete at the applied position, by machine.
func (pt *partition) derived() map[byte]uint16 {
	out := map[byte]uint16{}
	d := decoder{data: pt.r.db.Get(markKey(pt.n))}
	if d.uint64() != uint64(pt.next) || d.bad {
		return out
	}
	for len(d.data) > 0 && !d.bad {
		m := d.byte()
		out[m] = d.uint16()
	}
	return out
}

// derive makes the derived rows anew that are not what this build would have derived. A crash on the way leaves no mark.
func (pt *partition) derive() (err error) {
	defer kv.Recover(&err)
	if len(pt.r.deriving) == 0 {
		return nil
	}
	have, fresh := pt.derived(), true
	for _, m := range pt.r.deriving {
		if v, ok := have[m.Byte]; ok && v == m.Derived {
			continue
		}
		if fresh {
			fresh = false
			b := pt.r.db.Batch()
			b.Delete(markKey(pt.n))
			if err := b.Commit(); err != nil {
				return err
			}
		}
		if err := pt.deriveOf(m); err != nil {
			return err
		}
	}
	if fresh {
		return nil
	}
	b := pt.r.db.Batch()
	b.Set(markKey(pt.n), pt.r.markAt(pt.next))
	return b.Commit()
}

func (pt *partition) deriveOf(m Machine) error {
	if pt.next > 0 {
		pt.logger().Info("indexes are made anew; this may take a while", "machine", m.Name, "version", m.Derived)
	}
	b, failed, rows := pt.r.db.Batch(), error(nil), 0
	all := Derived(pt.n, m.Byte, 0)[:4]
	b.DeleteRange(all, kv.End(all))
	set := func(key, value []byte) {
		if !inSlot(key, pt.n, 0, m.Byte) || isState(key) {
			panic("replica: " + m.Name + " derives a row that is not its own")
		}
		b.Set(key, value)
		if rows++; b.Len() < maxBatch || failed != nil {
			return
		}
		failed = b.Commit()
		b = pt.r.db.Batch()
	}
	for _, slot := range pt.usedSlots() {
		m.Derive(pt.r.db, pt.n, slot, set)
	}
	if failed != nil {
		b.Discard()
		return failed
	}
	if rows > 0 {
		pt.logger().Info("indexes have been made anew", "machine", m.Name, "rows", rows)
	}
	return b.Commit()
}
