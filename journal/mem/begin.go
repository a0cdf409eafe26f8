package mem

import "bongsu/journal"

// NewStoreAt makes an empty store whose partitions begin at the given positions, as a journal does that goes on from checkpoints.
func NewStoreAt(first []journal.Position) *Store {
	s := NewStore(len(first))
	for p, pos := range first {
		s.parts[p].first = max(pos, 1)
	}
	return s
}
