// Package mem is the journal in memory, for tests: the contract of package journal, plus everything that may go wrong with a
// real engine, on demand and repeatably.
//
// A Store is the disk: it outlives the handles (Journal) opened on it, so a test can crash a process and open the next one,
// or open several handles as several sites, each of which may be cut off from the others, lag behind them, and lead partitions
// or not (sites.go). What goes wrong is said by a Plan, asked once for each append.
//
// Invariant: with a nil Plan, and with any Plan that never says Forget, the contract holds to the letter. What a Plan does depends
// on its seed and on the append alone, not on the order in which goroutines run. Time is package time's, so that
// testing/synctest makes it virtual; a Store belongs to the bubble that made it.
//
// Limits: everything stays in memory until trimmed.
package mem

import (
	"bytes"
	"io"
	"sort"
	"sync"
	"time"

	"bongsu/journal"
)

// Store holds the records of all partitions, as a disk would.
type Store struct {
	parts []*partition
	bus   bus
}

// NewStore makes an empty store of n partitions.
func NewStore(n int) *Store {
	s := &Store{parts: make([]*partition, n)}
	for i := range s.parts {
		s.parts[i] = &partition{first: 1, seen: map[string]sighting{}, grown: make(chan struct{})}
	}
	return s
}

// Cut forgets all records of p above last, as a disk would that comes back from an old copy. Handles should be closed.
func (s *Store) Cut(p journal.Partition, last journal.Position) {
	pt := s.parts[p]
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if keep := int(last+1) - int(pt.first); keep >= 0 && keep < len(pt.records) {
		pt.records, pt.stored = pt.records[:keep], pt.stored[:keep]
	}
	for id, s := range pt.seen {
		if s.pos > last {
			delete(pt.seen, id)
		}
	}
}

// Replace puts another record at pos, which no sound engine does: for tests of those who must notice.
func (s *Store) Replace(p journal.Partition, pos journal.Position, data []byte) {
	pt := s.parts[p]
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.records[pos-pt.first] = bytes.Clone(data)
}

// partition is one sequence of records.
type partition struct {
	mu      sync.Mutex
	first   journal.Position    // position of records[0], also while there is none
	records [][]byte            // never changed once in here
	stored  []time.Time         // when each of them was stored
	seen    map[string]sighting // message ids within the window
	grown   chan struct{}       // closed and replaced when followers are told of new records
}

// sighting is where and when a message id was stored.
type sighting struct {
	pos journal.Position
	at  time.Time
}

func (pt *partition) last() journal.Position { return pt.first + journal.Position(len(pt.records)) - 1 }

// put stores data unless id was seen within the window, and returns its position. With tell, followers hear of it at once.
func (pt *partition) put(id string, data []byte, tell bool) journal.Position {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	now := time.Now()
	if s, ok := pt.seen[id]; ok && now.Sub(s.at) <= journal.DedupWindowSeconds*time.Second {
		return s.pos
	}
	pt.records = append(pt.records, bytes.Clone(data))
	pt.stored = append(pt.stored, now)
	pt.seen[id] = sighting{pt.last(), now}
	if tell {
		close(pt.grown)
		pt.grown = make(chan struct{})
	}
	return pt.last()
}

// forget makes the window lose id: its next append will be stored again.
func (pt *partition) forget(id string) {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	delete(pt.seen, id)
}

// read returns the record at pos to a site that sees records up to shown; or ErrTrimmed or io.EOF.
func (pt *partition) read(pos, shown journal.Position) ([]byte, error) {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	switch {
	case pos < pt.first:
		return nil, journal.ErrTrimmed
	case pos > min(pt.last(), shown):
		return nil, io.EOF
	}
	return pt.records[pos-pt.first], nil
}

// wake is closed at the next growth that followers are told of.
func (pt *partition) wake() <-chan struct{} {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	return pt.grown
}

func (pt *partition) bounds() (first, last journal.Position) {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	return pt.first, pt.last()
}

// before is the last position that was stored at least d ago, and how long until the next one is that old; 0 when there is none.
func (pt *partition) before(d time.Duration) (last journal.Position, next time.Duration) {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if d == 0 {
		return pt.last(), 0
	}
	now := time.Now()
	n := sort.Search(len(pt.stored), func(i int) bool { return now.Sub(pt.stored[i]) < d })
	if n < len(pt.stored) {
		next = d - now.Sub(pt.stored[n])
	}
	return pt.first + journal.Position(n) - 1, next
}

func (pt *partition) trim(pos journal.Position) {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pos = min(pos, pt.last())
	if pos > pt.first {
		pt.records = append([][]byte(nil), pt.records[pos-pt.first:]...)
		pt.stored = append([]time.Time(nil), pt.stored[pos-pt.first:]...)
		pt.first = pos
	}
}
