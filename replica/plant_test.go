package replica_test

import (
	"context"
	"encoding/binary"
	"sync"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/replica"
)

// plant is a fault that the simulation must find. The product has no switch for it: it sits between the replica and its journal, its
// machines or its clients. The zero plant is none.
type plant struct {
	forgetKeys  bool   // writes lose their keys
	takeRepeats bool   // a repeated append looks like another record
	noNumbers   bool   // messages of the outbox are applied without looking at their numbers
	noCatchUp   bool   // clients are denied from what a site happens to have
	oddSite     bool   // one site's machine makes another state
	rules       uint16 // instead of the newest
}

// appends adds to a plan what is needed to show the fault.
func (p plant) appends(plan mem.Plan) mem.Plan {
	if p.rules != 1 {
		return plan
	}
	return func(a mem.Attempt) mem.Fault { // attempts that are overtaken by their repetition
		f := plan(a)
		f.Delay *= 20
		return f
	}
}

// boot is the number of a run. With repeats that look like records of other runs there are numbers below it for them.
func (p plant) boot(n uint64) uint64 {
	if p.takeRepeats {
		return n<<20 | 1<<19
	}
	return n
}

func (p plant) machine(site string) replica.Machine {
	m := ledger()
	if p.oddSite && site == "jeju" {
		add := m.Kinds["ledger.add"].Apply
		m.Kinds["ledger.add"] = replica.Kind{Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			if tx.Pos()%97 == 0 {
				return nil, nil
			}
			return add(tx, body)
		}}
	}
	return m
}

func (p plant) journal(j *mem.Journal) journal.Journal {
	if !p.takeRepeats && !p.noNumbers {
		return j
	}
	return &bent{Journal: j, plant: p, tries: map[string]uint64{}}
}

// bent is a journal that changes the records on their way in.
type bent struct {
	*mem.Journal
	plant plant
	mu    sync.Mutex
	tries map[string]uint64
}

func (b *bent) Append(ctx context.Context, p journal.Partition, msgID string, data []byte) (journal.Position, error) {
	rec, err := replica.DecodeRecord(data)
	if err != nil {
		return 0, err
	}
	if b.plant.takeRepeats {
		b.mu.Lock()
		b.tries[msgID]++
		rec.Boot -= b.tries[msgID] - 1 // see boot
		b.mu.Unlock()
	}
	if b.plant.noNumbers {
		var more []replica.Proposal
		for i, pr := range rec.Proposals {
			if pr.Kind != "sys.deliver" {
				continue
			}
			ms := unpack(pr.Body)
			rec.Proposals[i] = ms[0]
			more = append(more, ms[1:]...)
		}
		rec.Proposals = append(rec.Proposals, more...)
	}
	return b.Journal.Append(ctx, p, msgID, rec.Encode(nil))
}

// unpack is the messages of a parcel as proposals.
func unpack(parcel []byte) (out []replica.Proposal) {
	d := parcel[2:]
	next := func() uint64 {
		v, n := binary.Uvarint(d)
		d = d[n:]
		return v
	}
	take := func() []byte {
		n := next()
		v := d[:n]
		d = d[n:]
		return v
	}
	next() // epoch
	next() // the first number
	for range next() {
		p := replica.Proposal{Kind: string(take()), Slot: id.Slot(binary.BigEndian.Uint16(d))}
		d = d[3:]
		p.Body = take()
		out = append(out, p)
	}
	return out
}
