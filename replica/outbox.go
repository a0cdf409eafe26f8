package replica

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"bongsu/errs"
	"bongsu/journal"
	"bongsu/kv"
)

// The outbox carries messages between slots exactly once and in order. Tx.Send numbers a message for each (sender,
// receiver) pair of partitions and keeps it in the sender's rows; a forwarder proposes the oldest ones to the receiver, whose
// rows remember the last number; then it proposes to the sender to forget them. Each step is a record of its own and each
// can be repeated: a crash between any two leads to a repeat, never to a loss or a second effect.

const (
	// maxForward is how many bytes of messages one delivery carries, unless a single message has more.
	maxForward = 128 << 10
	// maxMessage is the largest message: what fits into a delivery, which is a proposal.
	maxMessage = MaxProposals - 256
	// firstRetry and lastRetry are the pauses after a delivery that did not succeed: the first one, and the longest.
	firstRetry, lastRetry = 200 * time.Millisecond, 10 * time.Second
	// secondAfter is how long a site that does not lead waits before it does what the leader should have done.
	secondAfter = time.Second
)

func outboxKey(from, to journal.Partition, n uint64) []byte {
	return kv.U64(kv.U16(partitionRow(from, tableOutbox), uint16(to)), n)
}

// parcel is the body of a delivery: consecutive messages of one sender, the first of which has number first.
type parcel struct {
	from     journal.Partition
	epoch    uint64
	first    uint64
	messages []message
}

func (p parcel) encode() []byte {
	out := binary.BigEndian.AppendUint16(nil, uint16(p.from))
	out = binary.AppendUvarint(out, p.epoch)
	out = binary.AppendUvarint(out, p.first)
	out = binary.AppendUvarint(out, uint64(len(p.messages)))
	for _, m := range p.messages {
		out = m.encode(out)
	}
	return out
}

func decodeParcel(body []byte) (parcel, bool) {
	d := decoder{data: body}
	p := parcel{from: journal.Partition(d.uint16()), epoch: d.uvarint(), first: d.uvarint()}
	n := d.uvarint()
	if n > uint64(len(d.data)) {
		return p, false
	}
	for range n {
		p.messages = append(p.messages, d.message())
	}
	return p, !d.bad && len(d.data) == 0 && p.first > 0
}

// receive applies the messages of a parcel that have not been applied before.
func (pt *partition) receive(tx *Tx, body []byte) verdict {
	p, ok := decodeParcel(body)
	if !ok {
		return verdict{err: errs.New("replica.receive", errs.Invalid, "", "malformed parcel")}
	}
	key := kv.U16(partitionRow(pt.n, tableInbox), uint16(p.from))
	var epoch, last uint64
	if v := tx.get(key); v != nil {
		d := decoder{data: v}
		epoch, last = d.uint64(), d.uint64()
	}
	if p.epoch < epoch {
		return verdict{err: errs.New("replica.receive", errs.Conflict, "", "a parcel of epoch %d after %d", p.epoch, epoch)}
	}
	if p.first > last+1 {
		return verdict{err: errs.New("replica.receive", errs.Conflict, "", "message %d after %d", p.first, last)}
	}
	for _, m := range p.messages {
		if PartitionOf(m.slot, pt.of) != pt.n {
			return verdict{err: errs.New("replica.receive", errs.Invalid, "", "a message to slot %d is not for this partition", m.slot)}
		}
		if k, ok := pt.r.kinds[m.kind]; ok && k.Since > pt.sys.rules {
			// The sender has switched to rules that this partition will switch to as well; until then they wait.
			return verdict{err: errs.New("replica.receive", errs.Conflict, "", "%s is not enabled here yet", m.kind)}
		}
	}
	for i, m := range p.messages {
		n := p.first + uint64(i)
		if n <= last {
			continue
		}
		pt.deliver(m)
		last = n
	}
	tx.set(key, kv.U64(kv.U64(nil, p.epoch), last))
	return verdict{}
}

// acknowledged forgets the messages that a receiver has.
func (pt *partition) acknowledged(tx *Tx, body []byte) verdict {
	d := decoder{data: body}
	to, upTo := journal.Partition(d.uint16()), d.uint64()
	if d.bad {
		return verdict{err: errs.New("replica.acknowledged", errs.Invalid, "", "malformed acknowledgement")}
	}
	var gone [][]byte
	for k := range tx.scan(outboxKey(pt.n, to, 0), outboxKey(pt.n, to, upTo+1), false) {
		gone = append(gone, bytes.Clone(k))
	}
	for _, k := range gone {
		tx.del(k)
	}
	return verdict{}
}

// forwarder carries the outbox of one partition to one receiver.
type forwarder struct {
	r        *Replica
	from, to journal.Partition
	poked    chan struct{}
}

// forwarders are those of one sender.
type forwarders []*forwarder

// poke says that the outbox may hold something new.
func (fs forwarders) poke() {
	for _, f := range fs {
		select {
		case f.poked <- struct{}{}:
		default:
		}
	}
}

// run forwards until ctx ends. The site that leads the sender's partition does it; another one when nothing has moved for a
// while.
func (f *forwarder) run(ctx context.Context) {
	for pause := firstRetry; ctx.Err() == nil; {
		first, err := f.waiting()
		if err == nil && first == 0 {
			select {
			case <-ctx.Done():
			case <-f.poked:
			}
			continue
		}
		if err == nil && !f.r.leads(f.from) {
			sleep(ctx, secondAfter)
			var now uint64
			if now, err = f.waiting(); err == nil && now != first {
				continue
			}
		}
		if err == nil {
			err = f.forward(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			pause = firstRetry
			continue
		}
		f.r.log.Warn("outbox: not forwarded, will try again", "partition", f.from, "to", f.to, "err", err)
		sleep(ctx, pause)
		pause = min(2*pause, lastRetry)
	}
}

// waiting is the number of the message that has waited longest; 0: there is none, or history is still being applied, and with it
// the news that messages have arrived long ago.
func (f *forwarder) waiting() (first uint64, err error) {
	defer kv.Recover(&err)
	pt := f.r.parts[f.from]
	pt.mu.Lock()
	caught := pt.caught
	pt.mu.Unlock()
	if !caught {
		return 0, nil
	}
	lo := kv.U16(partitionRow(f.from, tableOutbox), uint16(f.to))
	for k := range f.r.db.Scan(lo, kv.End(lo)) {
		first, _, _ = kv.CutU64(k[len(lo):])
		break
	}
	return first, nil
}

// forward delivers the oldest messages and has them forgotten.
func (f *forwarder) forward(ctx context.Context) error {
	p, err := f.oldest()
	if err != nil || len(p.messages) == 0 {
		return err
	}
	if _, err := f.r.Submit(ctx, f.r.own(f.to, kindDeliver, p.encode())); err != nil {
		return err
	}
	last := p.first + uint64(len(p.messages)) - 1
	ack := kv.U64(kv.U16([]byte(nil), uint16(f.to)), last)
	_, err = f.r.Submit(ctx, f.r.own(f.from, kindAck, ack))
	return err
}

// oldest reads the messages that have waited longest.
func (f *forwarder) oldest() (p parcel, err error) {
	defer kv.Recover(&err)
	view := f.r.View()
	defer view.Close()
	sys, _ := decodeSystem(view.Get(partitionRow(f.from, tableSystem)))
	p = parcel{from: f.from, epoch: sys.epoch}
	size := 0
	lo := kv.U16(partitionRow(f.from, tableOutbox), uint16(f.to))
	for k, v := range view.Scan(lo, kv.End(lo)) {
		if size += len(v); size > maxForward && len(p.messages) > 0 {
			return p, nil
		}
		m, err := decodeMessage(bytes.Clone(v))
		if err != nil {
			return p, err
		}
		if p.first == 0 {
			p.first, _, _ = kv.CutU64(k[len(lo):])
		}
		p.messages = append(p.messages, m)
	}
	return p, nil
}
