package replica

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"bongsu/journal"
	"bongsu/kv"
)

// A backup has to hold all partitions so that they fit together: no partition may have received what its sender, in the same
// backup, has not sent; and no sender may have forgotten what its receiver has not got. A site applies its partitions one by
// one, so a view of all of them at one moment has this property nearly always, and not always.

// ErrInconsistent is what a view says that is not a consistent cut.
var ErrInconsistent = errors.New("replica: the partitions do not fit together")

// Cut is a consistent cut: a reading of all partitions that fit together.
type Cut struct{ *View }

// cutPatience is how long Cut waits for a partition that is behind the others before it looks again all the same.
const cutPatience = 250 * time.Millisecond

// Cut takes a consistent cut of the rows. Close it soon: old rows are kept for it. Where a view is none it waits for the
// partition that is behind and takes another, until ctx ends; then it fails with ErrInconsistent, which says who was behind. While rows are being made anew it fails with
// errs.Unavailable.
func (r *Replica) Cut(ctx context.Context) (_ *Cut, err error) {
	defer kv.Recover(&err)
	for {
		generation := r.Generation()
		if err := r.Serving(); err != nil {
			return nil, err
		}
		view := r.View()
		if r.Generation() != generation { // it may lack rows that are being made anew
			view.Close()
			continue
		}
		gap, err := gapIn(view, len(r.parts))
		if err == nil && gap == nil {
			return &Cut{view}, nil
		}
		view.Close()
		if err != nil {
			return nil, err
		}
		wait, cancel := context.WithTimeout(ctx, cutPatience)
		err = r.WaitFor(wait, gap.Behind, view.at[gap.Behind]+1)
		cancel()
		if ctx.Err() != nil {
			return nil, errors.Join(gap, ctx.Err())
		}
		if err != nil && r.Status(gap.Behind).Err != nil {
			return nil, err
		}
	}
}

// Applied is the position that rows hold of partition p, and the hash of the record there; it reports false when they hold none.
func Applied(rows kv.Reader, p journal.Partition) (pos journal.Position, record [sha256.Size]byte, ok bool) {
	a, ok := decodeApplied(rows.Get(appliedKey(p)))
	return a.pos, a.record, ok
}

// Gap is where two partitions do not fit together.
type Gap struct {
	From, To journal.Partition
	Behind   journal.Partition // which of the two lacks records
	Sent     uint64            // messages that From has sent,
	Forgot   uint64            // of which it has been told to forget so many,
	Received uint64            // and To has received so many
}

// Unwrap is ErrInconsistent.
func (g *Gap) Unwrap() error { return ErrInconsistent }

func (g *Gap) Error() string {
	if g.Behind == g.From {
		return fmt.Sprintf("%v: partition %d has received %d messages from partition %d, which has sent %d", ErrInconsistent, g.To, g.Received, g.From, g.Sent)
	}
	return fmt.Sprintf("%v: partition %d has received %d messages from partition %d, which has forgotten %d", ErrInconsistent, g.To, g.Received, g.From, g.Forgot)
}

// gapIn looks for the first pair of partitions, of n, that do not fit together. It returns nil when there is none.
func gapIn(rows kv.Reader, n int) (*Gap, error) {
	for from := range journal.Partition(n) {
		for to := range journal.Partition(n) {
			g := Gap{From: from, To: to}
			if v := rows.Get(kv.U16(partitionRow(from, tableSent), uint16(to))); v != nil {
				g.Sent, _, _ = kv.CutU64(v)
			}
			if v := rows.Get(kv.U16(partitionRow(to, tableInbox), uint16(from))); v != nil {
				d := decoder{data: v}
				_, g.Received = d.uint64(), d.uint64()
			}
			if g.Received > g.Sent {
				g.Behind = from
				return &g, nil
			}
			waiting, next, err := outboxOf(rows, from, to)
			if err != nil {
				return nil, err
			}
			if g.Forgot = g.Sent - waiting; next != 0 && next != g.Forgot+1 {
				return nil, fmt.Errorf("replica: the outbox of partition %d to %d has holes: %d messages from %d on, of %d", from, to, waiting, next, g.Sent)
			}
			if g.Forgot > g.Received {
				g.Behind = to
				return &g, nil
			}
		}
	}
	return nil, nil
}

// outboxOf is how many messages wait in an outbox, and the number of the first.
func outboxOf(rows kv.Reader, from, to journal.Partition) (waiting, next uint64, err error) {
	lo := kv.U16(partitionRow(from, tableOutbox), uint16(to))
	for k := range rows.Scan(lo, kv.End(lo)) {
		if next == 0 {
			if next, _, err = kv.CutU64(k[len(lo):]); err != nil {
				return 0, 0, err
			}
		}
		waiting++
	}
	return waiting, next, nil
}

// WriteCheckpoint writes the rows of partition p in this cut to w.
func (c *Cut) WriteCheckpoint(p journal.Partition, w io.Writer) (info CheckpointInfo, err error) {
	at, ok := decodeApplied(c.Get(appliedKey(p)))
	if !ok {
		return info, fmt.Errorf("replica: partition %d has no state yet", p)
	}
	s := Snapshot{view: c.View, p: p, at: at, of: len(c.at)}
	return s.Write(w)
}

// Epoch is the epoch of the cut: the highest of its partitions.
func (c *Cut) Epoch() (epoch uint64) {
	for p := range c.at {
		sys, _ := decodeSystem(c.Get(partitionRow(journal.Partition(p), tableSystem)))
		epoch = max(epoch, sys.epoch)
	}
	return epoch
}

// Rules is the highest rules version in force in the cut: what a build must know to go on from it.
func (c *Cut) Rules() (rules uint16) {
	for p := range c.at {
		sys, _ := decodeSystem(c.Get(partitionRow(journal.Partition(p), tableSystem)))
		rules = max(rules, sys.rules)
	}
	return rules
}

// Boot is the highest number of a run of any site that the cut knows. Runs that go on from it must have higher ones, or their
// records would be taken for repeats.
func (c *Cut) Boot() (boot uint64, err error) {
	for p := range c.at {
		lo := partitionRow(journal.Partition(p), tableBoot)
		for k := range c.Scan(lo, kv.End(lo)) {
			_, rest, err := kv.CutStr(k[len(lo):])
			if err != nil {
				return 0, err
			}
			n, _, err := kv.CutU64(rest)
			if err != nil {
				return 0, err
			}
			boot = max(boot, n)
		}
	}
	return boot, nil
}

// Ahead is which of the two partitions has records that the other's state does not allow.
func (g *Gap) Ahead() journal.Partition {
	if g.Behind == g.From {
		return g.To
	}
	return g.From
}

// Opens reports whether a record of the partition that is ahead opens the gap: whether it delivers what was not sent, or forgets what
// was not received. Without the first such record, and what follows it, the two fit together.
func (g *Gap) Opens(record []byte) bool {
	rec, err := DecodeRecord(record)
	if err != nil {
		return false
	}
	for i := range rec.Proposals {
		switch p := &rec.Proposals[i]; {
		case p.Kind == kindDeliver && g.Behind == g.From:
			if parcel, ok := decodeParcel(p.Body); ok && parcel.from == g.From && parcel.first+uint64(len(parcel.messages)) > g.Sent+1 {
				return true
			}
		case p.Kind == kindAck && g.Behind == g.To:
			d := decoder{data: p.Body}
			if to, upTo := journal.Partition(d.uint16()), d.uint64(); !d.bad && to == g.To && upTo > g.Received {
				return true
			}
		}
	}
	return false
}
