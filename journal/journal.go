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
	"strings"

	"bongsu/errs"
)

// Partition numbers a partition, from 0.
type Partition uint16

// Position is the place of a record in its partition. The first record ever is at 1; 0 means "before everything".
type Position uint64

// MaxRecord is the largest record, in bytes.
const MaxRecord = 768 << 10

// MaxMsgID is the longest message id, in bytes.
const MaxMsgID = 128

// Entry is a record and its place.
type Entry struct {
	Pos  Position
	Data []byte // not to be changed; within Follow not to be kept after the callback returns unless copied
}

// Errors of the contract. Others wrap the engine's own and mean "not known whether it happened; try again with the same
// message id".
var (
	// ErrTrimmed: the position asked for lies below First; a checkpoint is needed.
	ErrTrimmed = errors.New("journal: position was trimmed")
	// ErrTooLarge: the record is over MaxRecord; it was not appended and never will be.
	ErrTooLarge = errors.New("journal: record too large")
	// ErrFull: the disk is full or over its budget; this call did not append the record, reads go on. An earlier call with the
	// same message id whose outcome was open may have appended it.
	ErrFull = errors.New("journal: no space left")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("journal: closed")
	// ErrDamaged: stored records fail their checksum or are missing. Nothing is served from such a journal.
	ErrDamaged = errors.New("journal: damaged")
	// ErrStuck: the engine neither works nor stops. Only another process can open the journal again; nothing that was acknowledged is lost.
	ErrStuck = errors.New("journal: the engine hangs, and the program must be started anew")
)

// Journal is a set of partitions. All methods may be called from any goroutine.
type Journal interface {
	// Partitions is how many partitions there are; constant.
	Partitions() int

	// Append puts data at the end of partition p and returns its position once it is durable: on stable storage (fsync)
	// of a majority of replicas. msgID (1 to MaxMsgID bytes, each from '!' to '~') names the record: appends with the same
	// msgID within DedupWindowSeconds of each other have one effect, and the second returns the position of the first. After
	// an error other than those of Check, ErrTooLarge and ErrFull the record may or may not be in the journal, or may still get
	// there; calling again with the same msgID is the way to learn. Append gives up when ctx ends.
	Append(ctx context.Context, p Partition, msgID string, data []byte) (Position, error)

	// Follow calls fn with every record of p after position "after", history first and then live, in order, without gaps or
	// duplicates, until ctx ends (it returns ctx.Err()) or fn fails (it returns fn's error). It returns ErrTrimmed when
	// the next record is no longer there, ErrClosed when the journal is closed. A record is given to fn only when it is
	// durable, which can be before its Append returns. When "after" lies above Last it waits for the records beyond. fn must not
	// call Close.
	Follow(ctx context.Context, p Partition, after Position, fn func(Entry) error) error

	// Read returns the record at pos. It returns ErrTrimmed below First and io.EOF above Last.
	Read(ctx context.Context, p Partition, pos Position) (Entry, error)

	// Bounds returns the first and the last position of p as this site's engine knows them at some moment during the call. An
	// empty partition has last == first-1. Over several sites last may lag behind what was acknowledged elsewhere: to be sure of
	// the end, append a record and follow up to it. It fails when the engine cannot say before ctx ends.
	Bounds(ctx context.Context, p Partition) (first, last Position, err error)

	// Trim removes all records below pos. It never removes the last record: a pos above Last means Last.
	Trim(ctx context.Context, p Partition, pos Position) error

	// Leads reports whether this site's engine leads p just now, so that of several sites one does what one should do. It is a
	// hint: for moments nobody or two may believe it. It is cheap and never blocks. On one node it is true.
	Leads(p Partition) bool

	// Close waits for what is in flight, ends all Follows and frees all. From then on every call returns ErrClosed; closing
	// again does nothing.
	Close() error
}

// Bus carries passing messages between sites: typing, presence, wake-ups. Nothing is kept and a message arrives at most once
// at each subscriber, so nothing may depend on one. Every site hears every message, its own included.
type Bus interface {
	// Publish sends data to the subscribers of topic at all sites that are connected now. A topic has 1 to MaxTopic bytes of
	// a-z, 0-9, '-' and '_', in parts separated by dots. It does not wait for anybody to receive it.
	Publish(topic string, data []byte) error

	// Subscribe calls fn with every message of topic until stop is called, one at a time, in the order of each sender. fn must not block:
	// what it cannot take in time is dropped. data may be kept.
	Subscribe(topic string, fn func(data []byte)) (stop func(), err error)
}

// MaxTopic is the longest topic of a Bus, in bytes.
const MaxTopic = 64

// CheckTopic says whether a topic has the form that Bus asks for. It returns an *errs.Error of kind Invalid, or nil.
func CheckTopic(topic string) error {
	bad := len(topic) > MaxTopic
	for _, part := range strings.Split(topic, ".") {
		bad = bad || part == ""
		for _, c := range []byte(part) {
			bad = bad || !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_')
		}
	}
	if bad {
		return errs.New("journal.Bus", errs.Invalid, "", "a topic has 1 to %d bytes of a-z, 0-9, '-' and '_' with dots between, not %q", MaxTopic, topic)
	}
	return nil
}

// DedupWindowSeconds is how long, in seconds, an engine remembers a message id. Repeats after that are caught by the
// replica, which knows every boot's last record number.
const DedupWindowSeconds = 120

// Check says whether an Append to a journal of n partitions has a sound form. Every engine asks it first. It returns an
// *errs.Error of kind Invalid, ErrTooLarge, or nil.
func Check(n int, p Partition, msgID string, data []byte) error {
	const op = "journal.Append"
	if err := CheckPartition(n, p); err != nil {
		return err
	}
	if len(msgID) == 0 || len(msgID) > MaxMsgID {
		return errs.New(op, errs.Invalid, "", "a message id has 1 to %d bytes, not %d", MaxMsgID, len(msgID))
	}
	for i := range len(msgID) {
		if msgID[i] < '!' || msgID[i] > '~' {
			return errs.New(op, errs.Invalid, "", "message id %q has bytes outside of '!' to '~'", msgID)
		}
	}
	if len(data) > MaxRecord {
		return ErrTooLarge
	}
	return nil
}

// CheckPartition says whether p is one of n partitions; if not, it returns an *errs.Error of kind Invalid.
func CheckPartition(n int, p Partition) error {
	if int(p) >= n {
		return errs.New("journal", errs.Invalid, "", "there is no partition %d among %d", p, n)
	}
	return nil
}
