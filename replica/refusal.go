package replica

import (
	"bytes"
	"encoding/binary"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
)

// A refused write has no effect, also when an earlier attempt of it, at a site whose append was held up, gets into the journal after
// the client was told. So the place of a refusal is kept under the write's key, and the write is decided anew only for a submitter
// that knew of it (docs/adr/0018-refusals-are-kept-for-a-while.md). Since rules version 2.

const (
	// rulesRefusals is the rules version that brought kept refusals, and stamps that are the latest instead of the highest.
	rulesRefusals = 2
	// refusalLife is how long a refusal is kept, in milliseconds of live time. A submitter that is further behind gets no keyed write
	// decided at all.
	refusalLife = 10 * 60 * 1000
	// maxForget is how many refusals are forgotten in one record.
	maxForget = 64
)

// decidedMeanwhile is the verdict on an attempt that is older than a refusal of the same write: whoever still waits for it tries again.
func decidedMeanwhile() *errs.Error {
	e := unavailable("this write was decided meanwhile at another site; try again with the same transaction id")
	e.Op = "replica.apply"
	return e
}

func refusedKey(slot id.Slot, key Key) []byte {
	return append(Row(slot, machineReplica, tableRefused), key[:]...)
}

// outdated reports whether p may have been refused at a place that its submitter did not know.
func (pt *partition) outdated(p *Proposal, known journal.Position) bool {
	if pt.sys.rules < rulesRefusals {
		return false
	}
	return known < pt.sys.forgotten || known < refusedPos(pt.batch, p)
}

// refusedPos is where p was last refused; 0: nowhere, or it is forgotten.
func refusedPos(r kv.Reader, p *Proposal) journal.Position {
	v := r.Get(refusedKey(p.Slot, p.Key))
	if v == nil {
		return 0
	}
	pos, _, _ := kv.CutU64(v)
	return journal.Position(pos)
}

// keepRefusal notes that p is refused here, and when that can be forgotten.
func (pt *partition) keepRefusal(p *Proposal) {
	if pt.sys.rules < rulesRefusals {
		return
	}
	pt.index++
	pt.write(write{key: refusedKey(p.Slot, p.Key), value: kv.U64(nil, uint64(pt.next))})
	value := binary.BigEndian.AppendUint64(nil, uint64(pt.sys.live))
	value = append(kv.U16(value, uint16(p.Slot)), p.Key[:]...)
	pt.write(write{key: Place{pt.next, pt.index}.Append(partitionRow(pt.n, tableRefusals)), value: value})
	pt.refusedAt = pt.next
	if pt.oldest < 0 {
		pt.oldest = pt.sys.live
	}
}

// forget removes the refusals that were kept long enough. From then on a submitter that has not applied what they were made from is
// too far behind to write with a key.
func (pt *partition) forget() {
	if pt.oldest < 0 || pt.oldest+refusalLife > pt.sys.live {
		return
	}
	lo := partitionRow(pt.n, tableRefusals)
	type old struct {
		key []byte
		refusal
	}
	var gone []old
	pt.oldest = -1
	for k, v := range pt.batch.Scan(lo, kv.End(lo)) {
		r := decodeRefusal(v)
		if r.live+refusalLife > pt.sys.live || len(gone) == maxForget {
			pt.oldest = r.live
			break
		}
		gone = append(gone, old{bytes.Clone(k), r})
	}
	for _, o := range gone {
		place, _, _ := CutPlace(o.key[len(lo):])
		p := &Proposal{Slot: o.slot, Key: o.name}
		if refusedPos(pt.batch, p) == place.Pos { // and not again since
			pt.write(write{key: refusedKey(o.slot, o.name), del: true})
		}
		pt.write(write{key: o.key, del: true})
		pt.sys.forgotten = max(pt.sys.forgotten, place.Pos)
	}
}

// refusal is a row of the refusals in their order.
type refusal struct {
	live int64
	slot id.Slot
	name Key
}

func decodeRefusal(v []byte) (r refusal) {
	d := decoder{data: v}
	r.live, r.slot = int64(d.uint64()), id.Slot(d.uint16())
	copy(r.name[:], d.take(len(r.name)))
	return r
}

// undecided sends away the requests whose write was refused since they came, the last one
// of any at last: their clients may have been told.
func (pt *partition) undecided(reqs []*request, last journal.Position) []*request {
	out := make([]*request, 0, len(reqs))
	for _, req := range reqs {
		refused, err := pt.refusedSince(req, last)
		switch {
		case err != nil:
			e := unavailable("this site cannot read its data")
			e.Err = err
			req.finish(nil, e)
		case refused:
			req.finish(nil, decidedMeanwhile())
		default:
			out = append(out, req)
		}
	}
	return out
}

func (pt *partition) refusedSince(req *request, last journal.Position) (refused bool, err error) {
	defer kv.Recover(&err)
	return req.p.Key != (Key{}) && req.known < last && req.known < refusedPos(pt.r.db, &req.p), nil
}

// loadRefusals reads when the oldest kept refusal is to be forgotten. Which of them a waiting request did not know does not matter after
// a start: nobody waits.
func (pt *partition) loadRefusals() {
	lo := partitionRow(pt.n, tableRefusals)
	for _, v := range pt.r.db.Scan(lo, kv.End(lo)) {
		pt.oldest = decodeRefusal(v).live
		break
	}
}
