// Package journal is the contract of the truth: partitions, each a totally ordered, durable, append-only sequence of
// records. journal/jet keeps it on NATS JetStream, journal/mem in memory with faults for tests; journal/journaltest is the
// one conformance suite that both pass.
//
// Invariants: a record whose Append returned without error is never lost and never changes; positions of a partition are
// contiguous, begin at First and only grow; every reader sees the same record at the same position.
//
// Limits: a record has at most MaxRecord bytes; memory in use does not depend on the journal's length.
package journal

import (
	"context"
	"errors"
)

// Partition numbers a partition, from 0.
type Partition uint16

// Position is the place of a record in its partition. The first record ever is at 1; 0 means "before everything".
type Position uint64

// MaxRecord is the largest record, in bytes.
const MaxRecord = 768 << 10

// Entry is a record and its place.
type Entry struct {
	Pos  Position
	Data []byte // not to be changed, and not to be kept after the callback returns unless copied
}

// Errors of the contract. Others wrap the engine's own and mean "not known whether it happened; try again with the same
// message id".
var (
	// ErrTrimmed: the position asked for lies below First; a checkpoint is needed.
	ErrTrimmed = errors.New("journal: position was trimmed")
	// ErrTooLarge: the record is over MaxRecord; it was not appended and never will be.
	ErrTooLarge = errors.New("journal: record too large")
	// ErrFull: the disk is full or over its budget; the record was not appended, reads go on.
	ErrFull = errors.New("journal: no space left")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("journal: closed")
	// ErrDamaged: stored records fail their checksum or are missing. Nothing is served from such a journal.
	ErrDamaged = errors.New("journal: damaged")
)

// Journal is a set of partitions. All methods may be called from any goroutine.
type Journal interface {
	// Partitions is how many partitions there are; constant.
	Partitions() int

	// Append puts data at the end of partition p and returns its position once it is durable: on stable storage (fsync)
	// of a majority of replicas. msgID (1 to 128 printable ASCII bytes) names the record: appends with the same msgID
	// within DedupWindow of each other have one effect, and the second returns the position of the first. After an error other
	// than ErrTooLarge and ErrFull the record may or may not be in the journal; calling again with the same msgID is the way to learn.
	// Append gives up when ctx ends.
	Append(ctx context.Context, p Partition, msgID string, data []byte) (Position, error)

	// Follow calls fn with every record of p after position "after", history first and then live, in order, without gaps or
	// duplicates, until ctx ends (it returns ctx.Err()) or fn fails (it returns fn's error). It returns ErrTrimmed when
	// the next record is no longer there. A record is given to fn only when it is durable.
	Follow(ctx context.Context, p Partition, after Position, fn func(Entry) error) error

	// Read returns the record at pos. It returns ErrTrimmed below First and io.EOF above Last.
	Read(ctx context.Context, p Partition, pos Position) (Entry, error)

	// Bounds returns the first and the last position of p, as a quorum knows them at some moment during the call. An
	// empty partition has last == first-1.
	Bounds(ctx context.Context, p Partition) (first, last Position, err error)

	// Trim removes all records below pos. It never removes the last record.
	Trim(ctx context.Context, p Partition, pos Position) error

	// Close waits for what is in flight and frees all.
	Close() error
}

// DedupWindowSeconds is how long, in seconds, an engine remembers a message id. Repeats after that are caught by the
// replica, which knows every boot's last record number.
const DedupWindowSeconds = 120
