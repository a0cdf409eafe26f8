package replica

import (
	"bytes"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
)

// The first byte of a key names its space. State and partition rows are the state proper: digests and checkpoints' hashes
// cover them. Derived rows can be built again from them. Local rows belong to this data directory alone.
const (
	spaceState     = 's' // slot, machine, table, …
	spacePartition = 'p' // partition, table, …: the replica's own rows
	spaceDerived   = 'd' // partition, machine, table, …
	spaceLocal     = 'l' // table, partition
)

// machineReplica is the machine byte of the replica's own rows in a slot.
const machineReplica = 0

// Tables of the replica.
const (
	tableTxn      = 't' // state: key -> live time, verdict
	tableRefused  = 'r' // state: key -> position of its last refusal
	tableSystem   = 's' // partition: the system row
	tableSite     = 'S' // partition: site -> siteRow
	tableBoot     = 'b' // partition: site, boot -> last n
	tableTimer    = 't' // partition: clock, due, place -> message
	tableOutbox   = 'o' // partition: receiver, n -> message
	tableSent     = 'O' // partition: receiver -> last n sent
	tableInbox    = 'i' // partition: sender -> epoch, last n received
	tableRefusals = 'r' // partition: place -> live time, slot, key
	tableApplied  = 'a' // local: partition -> appliedRow
)

// Row begins the key of a state row of a machine: all rows of a slot sort together.
func Row(slot id.Slot, machine, table byte) []byte {
	key := make([]byte, 0, 64)
	key = append(key, spaceState)
	key = kv.U16(key, uint16(slot))
	return append(key, machine, table)
}

// Derived begins the key of a derived row of a machine.
func Derived(p journal.Partition, machine, table byte) []byte {
	key := make([]byte, 0, 64)
	key = append(key, spaceDerived)
	key = kv.U16(key, uint16(p))
	return append(key, machine, table)
}

func partitionRow(p journal.Partition, table byte) []byte {
	key := make([]byte, 0, 32)
	key = append(key, spacePartition)
	key = kv.U16(key, uint16(p))
	return append(key, table)
}

func appliedKey(p journal.Partition) []byte {
	return kv.U16([]byte{spaceLocal, tableApplied}, uint16(p))
}

// PartitionOf is the partition, of n, that holds a slot: slots are dealt in n contiguous ranges.
func PartitionOf(slot id.Slot, n int) journal.Partition {
	return journal.Partition(int(slot) * n / id.Slots)
}

// keyRange is a range of keys, lo <= key < hi.
type keyRange struct{ lo, hi []byte }

// stateRanges are the ranges that hold the state of partition p of n, in key order; derivedRange its derived rows.
func stateRanges(p journal.Partition, n int) []keyRange {
	lo := (int(p)*id.Slots + n - 1) / n
	hi := ((int(p)+1)*id.Slots + n - 1) / n
	own := partitionRow(p, 0)[:3]
	return []keyRange{
		{own, kv.End(own)},
		{kv.U16([]byte{spaceState}, uint16(lo)), kv.U16([]byte{spaceState}, uint16(hi))},
	}
}

func derivedRange(p journal.Partition) keyRange {
	d := Derived(p, 0, 0)[:3]
	return keyRange{d, kv.End(d)}
}

// isState reports whether the digest covers the row.
func isState(key []byte) bool { return key[0] == spaceState || key[0] == spacePartition }

// inSlot reports whether key is a state row of the slot and machine, or a derived row of the partition and machine.
func inSlot(key []byte, p journal.Partition, slot id.Slot, machine byte) bool {
	if len(key) < 5 {
		return false
	}
	switch key[0] {
	case spaceState:
		return bytes.Equal(key[:4], Row(slot, machine, 0)[:4])
	case spaceDerived:
		return bytes.Equal(key[:4], Derived(p, machine, 0)[:4])
	}
	return false
}
