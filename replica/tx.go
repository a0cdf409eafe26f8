package replica

import (
	"bytes"
	"fmt"
	"iter"
	"slices"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
)

// Tx is a handler's view of the state, and the savepoint that its writes go to: they reach the batch when the handler
// accepts, and vanish when it refuses or panics. It is confined to the rows of the proposal's slot and of the handler's
// machine; reaching for others is a bug and panics.
type Tx struct {
	pt      *partition
	slot    id.Slot
	machine byte
	writes  []write // sorted by key, one for each key
	notes   []any
}

type write struct {
	key, value []byte
	del        bool
}

var _ Reader = (*Tx)(nil)

// Slot is the slot of the proposal.
func (tx *Tx) Slot() id.Slot { return tx.slot }

// Partition is the partition of the proposal.
func (tx *Tx) Partition() journal.Partition { return tx.pt.n }

// PartitionOf implements Reader.
func (tx *Tx) PartitionOf(slot id.Slot) journal.Partition { return PartitionOf(slot, tx.pt.of) }

// Pos is the position of the record that is being applied.
func (tx *Tx) Pos() journal.Position { return tx.pt.next }

// Place returns a new place in the partition's order; each call returns a later one.
func (tx *Tx) Place() Place {
	tx.pt.index++
	return Place{tx.pt.next, tx.pt.index}
}

// Wall is the time of day in Unix milliseconds: the latest of all stamps seen. It never goes back.
func (tx *Tx) Wall() int64 { return tx.pt.sys.wall }

// Live is the time that the system has been alive, in milliseconds: it stands still through an outage.
func (tx *Tx) Live() int64 { return tx.pt.sys.live }

// Rules is the rules version in force in this partition.
func (tx *Tx) Rules() uint16 { return tx.pt.sys.rules }

// Note is handed to the subscribers (Replica.Start) after the commit: a wake-up, not data.
func (tx *Tx) Note(n any) { tx.notes = append(tx.notes, n) }

// Send puts a proposal for another slot into the outbox. It is applied there exactly once, after everything that this
// partition sent there before. What it answers is not known here. A message that no delivery can carry is a bug and panics.
func (tx *Tx) Send(slot id.Slot, kind string, body []byte) {
	msg := message{slot, kind, body}.encode(nil)
	if len(msg) > maxMessage {
		panic(fmt.Sprintf("replica: a message of %d bytes", len(msg)))
	}
	to := PartitionOf(slot, tx.pt.of)
	last := kv.U16(partitionRow(tx.pt.n, tableSent), uint16(to))
	var n uint64
	if v := tx.get(last); v != nil {
		n, _, _ = kv.CutU64(v)
	}
	n++
	tx.set(last, kv.U64(nil, n))
	tx.set(outboxKey(tx.pt.n, to, n), msg)
}

// Clock names one of the two times.
type Clock byte

// The clocks of timers.
const (
	Live Clock = 'l' // counts while the system is alive: leases, holds, lifetimes
	Wall Clock = 'w' // the time of day
)

// Timer is a timer that was set; its bytes may be kept in a row.
type Timer []byte

// At sets a durable timer: when the clock reaches due (milliseconds), a proposal of the kind is applied to this slot.
func (tx *Tx) At(c Clock, due int64, kind string, body []byte) Timer {
	place := tx.Place()
	key := partitionRow(tx.pt.n, tableTimer)
	key = append(key, byte(c))
	key = kv.U64(key, max(due, 0))
	key = kv.U32(kv.U64(key, uint64(place.Pos)), place.Index)
	tx.set(key, message{tx.slot, kind, body}.encode(nil))
	return Timer(key)
}

// Cancel removes a timer, whether or not it has fired.
func (tx *Tx) Cancel(t Timer) {
	if !bytes.HasPrefix(t, partitionRow(tx.pt.n, tableTimer)) {
		panic("replica: not a timer of this partition")
	}
	tx.del(bytes.Clone(t))
}

func (tx *Tx) confine(key []byte) {
	if !inSlot(key, tx.pt.n, tx.slot, tx.machine) {
		panic(fmt.Sprintf("replica: key %q is outside slot %d of machine %d", key, tx.slot, tx.machine))
	}
}

// confineRange is confine for all keys of a range. Beyond its end may be rows of another partition, which are at a position of
// their own.
func (tx *Tx) confineRange(lo, hi []byte) {
	tx.confine(lo)
	if hi == nil || bytes.Compare(hi, kv.End(lo[:4])) > 0 {
		panic(fmt.Sprintf("replica: range %q to %q leaves slot %d of machine %d", lo, hi, tx.slot, tx.machine))
	}
}

// Get implements kv.Reader.
func (tx *Tx) Get(key []byte) []byte {
	tx.confine(key)
	return tx.get(key)
}

// Set writes a row. The transaction keeps key and value.
func (tx *Tx) Set(key, value []byte) {
	tx.confine(key)
	tx.set(key, value)
}

// Delete removes a row, if it is there. The transaction keeps key.
func (tx *Tx) Delete(key []byte) {
	tx.confine(key)
	tx.del(key)
}

// Scan implements kv.Reader. The rows must not be written in the range while the loop runs.
func (tx *Tx) Scan(lo, hi []byte) iter.Seq2[[]byte, []byte] {
	tx.confineRange(lo, hi)
	return tx.scan(lo, hi, false)
}

// ScanBack implements kv.Reader.
func (tx *Tx) ScanBack(lo, hi []byte) iter.Seq2[[]byte, []byte] {
	tx.confineRange(lo, hi)
	return tx.scan(lo, hi, true)
}

func (tx *Tx) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(tx.writes, key, func(w write, k []byte) int { return bytes.Compare(w.key, k) })
}

func (tx *Tx) get(key []byte) []byte {
	if i, ok := tx.find(key); ok {
		if tx.writes[i].del {
			return nil
		}
		return append([]byte{}, tx.writes[i].value...)
	}
	return tx.pt.batch.Get(key)
}

func (tx *Tx) set(key, value []byte) { tx.put(write{key: key, value: value}) }
func (tx *Tx) del(key []byte)        { tx.put(write{key: key, del: true}) }

func (tx *Tx) put(w write) {
	i, ok := tx.find(w.key)
	if ok {
		tx.writes[i] = w
		return
	}
	tx.writes = slices.Insert(tx.writes, i, w)
}

// scan merges the writes of this transaction with the rows below them.
func (tx *Tx) scan(lo, hi []byte, back bool) iter.Seq2[[]byte, []byte] {
	below := tx.pt.batch.Scan
	if back {
		below = tx.pt.batch.ScanBack
	}
	from, _ := tx.find(lo)
	to := len(tx.writes)
	if hi != nil {
		to, _ = tx.find(hi)
	}
	if from >= to {
		return below(lo, hi)
	}
	own := slices.Clone(tx.writes[from:to])
	before := func(a, b []byte) bool { return bytes.Compare(a, b) < 0 }
	if back {
		slices.Reverse(own)
		before = func(a, b []byte) bool { return bytes.Compare(a, b) > 0 }
	}
	return func(yield func(k, v []byte) bool) {
		own := own
		flush := func(until []byte) bool { // yields the own writes that come before until; nil: all
			for len(own) > 0 && (until == nil || before(own[0].key, until)) {
				w := own[0]
				own = own[1:]
				if !w.del && !yield(w.key, w.value) {
					return false
				}
			}
			return true
		}
		for k, v := range below(lo, hi) {
			if !flush(k) {
				return
			}
			if len(own) > 0 && bytes.Equal(own[0].key, k) {
				w := own[0]
				own = own[1:]
				if !w.del && !yield(w.key, w.value) {
					return
				}
				continue
			}
			if !yield(k, v) {
				return
			}
		}
		flush(nil)
	}
}
