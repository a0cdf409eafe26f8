package replica

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"bongsu/errs"
	"bongsu/journal"
	"bongsu/kv"
)

const (
	// maxFired is how many timers fire in one record; the rest follow in the next.
	maxFired = 256
	// txnLife is how long a write's key is answered with its verdict, in milliseconds of live time; after that it is refused.
	txnLife = 30 * 24 * 3600 * 1000
)

// partition is one partition's state machine with what surrounds it.
type partition struct {
	r  *Replica
	n  journal.Partition
	of int // how many partitions there are

	// Owned by the goroutine that applies.
	batch  *kv.Batch // open while records are being applied
	next   journal.Position
	index  uint32 // of the last Place given out in this record
	sys    system
	sites  map[string]siteRow
	digest Digest
	hash   hash.Hash
	recent recentDigests
	notes  []any
	done   []delivery
	sends  bool // something entered the outbox
	due    map[Clock]int64
	sooner bool // a timer became the first to be due

	mark      claim            // the last position that is a multiple of markStride
	refusedAt journal.Position // of the last refusal that was kept
	oldest    int64            // live time of the oldest kept refusal; -1: there is none
	crossed   bool             // this record is at a checkpoint position
	settled   bool             // the rows agree with the journal
	arrived   bool             // history has been applied; caught is for others
	void      bool             // the rows are to be made anew, whatever the journal says of them
	target    journal.Position // history goes up to here
	floor     journal.Position // service is not resumed below
	outvoted  int              // how often in this run
	faulted   bool             // the store has failed once in this run
	agreedAt  journal.Position // where another site's state was last the same

	visible visible     // to views
	formed  atomic.Bool // the first proposal has been decided: others can be

	queue *queue        // towards the journal
	wake  chan struct{} // tells the sender to look again at what is owed

	mu          sync.Mutex
	status      PartitionStatus // what was committed last; Applied and Digest are what records claim
	peers       map[string]*peer
	confirmed   bool             // the journal leads to the committed rows
	caught      bool             // history has been applied
	shownMark   claim            // copy of mark at the last commit, as the next two are
	lastRefusal journal.Position // of refusedAt
	dueAt       map[Clock]int64  // of due
	lastSent    time.Time
	lastMark    time.Time     // when a record last claimed a mark
	appending   time.Time     // since when a record is on its way into the journal; zero: none is
	appendErr   error         // the last answer to that
	changed     chan struct{} // closed at the next commit
	inflight    map[uint64]flight
	barrier     *barrier // the next record, if somebody waits for it
	interrupt   context.CancelCauseFunc
	ended       chan struct{} // closed when nothing more is appended
	begun       chan struct{} // closed when the partition has been seen to have begun; with several sites
}

// delivery is the verdicts on a record of this run, to be handed out after the commit.
type delivery struct {
	n        uint64
	verdicts []verdict
	flight   flight
}

// appliedRow stands beside the rows: up to where the journal is in them.
type appliedRow struct {
	pos    journal.Position
	record [sha256.Size]byte // hash of the record at pos
	digest Digest
}

func (a appliedRow) encode() []byte {
	out := binary.BigEndian.AppendUint64(nil, uint64(a.pos))
	out = append(out, a.record[:]...)
	return append(out, a.digest[:]...)
}

func decodeApplied(v []byte) (a appliedRow, ok bool) {
	d := decoder{data: v}
	a.pos = journal.Position(d.uint64())
	copy(a.record[:], d.take(len(a.record)))
	copy(a.digest[:], d.take(len(a.digest)))
	return a, !d.bad && len(d.data) == 0
}

// errHalt marks an error that stops the partition: going on would make this site differ from the others.
var errHalt = errors.New("partition halted")

// apply applies one record to the open batch. An error halts the partition; the batch is then discarded.
//
// path 5/7: the record comes back from the journal, and every proposal in it gets its verdict here.
func (pt *partition) apply(e journal.Entry) error {
	if e.Pos != pt.next+1 {
		return fmt.Errorf("%w: record %d after %d", errHalt, e.Pos, pt.next)
	}
	rec, err := DecodeRecord(e.Data)
	if err == nil {
		err = pt.known(rec)
	}
	if err != nil {
		return fmt.Errorf("%w: record %d: %w", errHalt, e.Pos, err)
	}
	if pt.batch == nil {
		pt.batch = pt.r.db.Batch()
	}
	pt.next, pt.index = e.Pos, 0
	row := appliedRow{pos: e.Pos, record: sha256.Sum256(e.Data)}
	pt.hash = sha256.New()
	pt.hash.Write(pt.digest[:])
	pt.hash.Write(binary.BigEndian.AppendUint64(nil, uint64(e.Pos)))
	pt.hash.Write(row.record[:])

	if pt.admit(rec) {
		if d := pt.compare(rec); d != nil {
			return &remake{why: d, outvoted: true}
		}
		before := pt.sys.wall
		pt.advance(rec)
		pt.crossed = pt.crossed || pt.r.every > 0 && before > 0 && before/pt.r.every != pt.sys.wall/pt.r.every
		pt.forget()
		pt.fire()
		verdicts := make([]verdict, len(rec.Proposals))
		for i := range rec.Proposals {
			verdicts[i] = pt.decide(&rec.Proposals[i], rec.Applied)
		}
		if rec.Site == pt.r.site && rec.Boot == pt.r.boot {
			pt.done = append(pt.done, delivery{n: rec.N, verdicts: verdicts})
		}
	}
	pt.write(write{key: partitionRow(pt.n, tableSystem), value: pt.sys.encode()})
	pt.hash.Sum(pt.digest[:0])
	row.digest = pt.digest
	pt.recent.add(e.Pos, pt.digest)
	if e.Pos%markStride == 0 {
		pt.mark = claim{e.Pos, pt.digest}
	}
	pt.batch.Set(appliedKey(pt.n), row.encode())
	return nil
}

// known refuses what this build, or this run, cannot apply.
func (pt *partition) known(rec *Record) error {
	if rec.Site == pt.r.site && rec.Boot > pt.r.boot && !pt.r.alone() && !pt.r.observer {
		// What this run appends would be taken for a repeat of that one's records.
		pt.mu.Lock()
		p := pt.peerOf(rec.Site)
		p.Boot = max(p.Boot, rec.Boot)
		pt.mu.Unlock()
		return fmt.Errorf("run %d of this site has written to the journal, and this is run %d: the data directory is an old copy, or "+
			"another process serves the same site; stop that one, or start this one with an empty directory", rec.Boot, pt.r.boot)
	}
	for i := range rec.Proposals {
		p := &rec.Proposals[i]
		if err := pt.knownKind(p.Kind); err != nil {
			return err
		}
		if p.Kind == kindDeliver {
			parcel, _ := decodeParcel(p.Body)
			for _, m := range parcel.messages {
				if err := pt.knownKind(m.kind); err != nil {
					return err
				}
			}
		}
		if v, ok := switchesRules(p); ok && v > pt.r.rules {
			return fmt.Errorf("rules version %d is not known to this build (it knows %d)", v, pt.r.rules)
		}
	}
	return nil
}

func (pt *partition) knownKind(kind string) error {
	switch kind {
	case kindGenesis, kindRules, kindDeliver, kindAck, kindRenew, kindEpoch:
		return nil
	}
	if _, ok := pt.r.kinds[kind]; !ok {
		return fmt.Errorf("proposal kind %q is not known to this build", kind)
	}
	return nil
}

// admit reports whether the record is new: each run of a site numbers its records, and a number at or below the last one
// seen is a repeat of an append whose acknowledgement was lost.
func (pt *partition) admit(rec *Record) bool {
	key := kv.U64(kv.Str(partitionRow(pt.n, tableBoot), rec.Site), rec.Boot)
	if v := pt.batch.Get(key); v != nil {
		if last, _, _ := kv.CutU64(v); rec.N <= last {
			return false
		}
	}
	pt.write(write{key: key, value: kv.U64(nil, rec.N)})
	return true
}

// decide reaches the verdict on one proposal, whose submitter had applied the journal up to known.
func (pt *partition) decide(p *Proposal, known journal.Position) verdict {
	if PartitionOf(p.Slot, pt.of) != pt.n {
		return verdict{err: failed()}
	}
	var txn []byte
	if p.Key != (Key{}) {
		txn = append(Row(p.Slot, machineReplica, tableTxn), p.Key[:]...)
		if v := pt.batch.Get(txn); len(v) >= 8 {
			d := decoder{data: v}
			if pt.sys.live-int64(d.uint64()) > txnLife {
				return verdict{err: errs.New("replica.apply", errs.Conflict, errs.Expired,
					"this transaction id was used more than 30 days ago")}
			}
			return verdict{body: d.data}
		}
		if pt.outdated(p, known) {
			return verdict{err: decidedMeanwhile()}
		}
	}
	tx := &Tx{pt: pt, slot: p.Slot}
	v := pt.run(tx, p.Kind, p.Body)
	if v.err != nil {
		if txn != nil {
			pt.keepRefusal(p)
		}
		return v
	}
	if txn != nil {
		tx.set(txn, v.encode(binary.BigEndian.AppendUint64(nil, uint64(pt.sys.live))))
	}
	pt.keep(tx)
	return v
}

// run calls the handler of a kind on a transaction. A panic becomes the verdict "failed"; only a Fault of the store is
// passed on, since it says nothing about the proposal.
func (pt *partition) run(tx *Tx, kind string, body []byte) (v verdict) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		var f kv.Fault
		if err, ok := p.(error); ok && errors.As(err, &f) {
			panic(f)
		}
		pt.r.log.Error("a state machine panicked; the proposal failed", "partition", pt.n, "pos", pt.next, "op", kind,
			"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		pt.r.failures.Add(1)
		v = verdict{err: failed()}
	}()
	if isSystem(kind) {
		return pt.system(tx, kind, body)
	}
	k, ok := pt.r.kinds[kind]
	if !ok || k.Since > pt.sys.rules {
		return verdict{err: errs.New("replica.apply", errs.Unsupported, "", "not enabled yet")}
	}
	tx.machine = k.machine
	out, err := k.Apply(tx, body)
	if err == nil {
		return verdict{body: out}
	}
	var e *errs.Error
	if !errors.As(err, &e) || e.Kind == errs.Internal {
		pt.r.log.Error("a state machine failed", "partition", pt.n, "pos", pt.next, "op", kind, "err", err)
		pt.r.failures.Add(1)
		return verdict{err: failed()}
	}
	return verdict{err: e}
}

// keep writes an accepted transaction to the batch.
func (pt *partition) keep(tx *Tx) {
	for _, w := range tx.writes {
		pt.write(w)
	}
	pt.notes = append(pt.notes, tx.notes...)
}

// write writes one row to the batch, and to the digest if it is state.
func (pt *partition) write(w write) {
	if w.del {
		pt.batch.Delete(w.key)
	} else {
		pt.batch.Set(w.key, w.value)
	}
	if !isState(w.key) {
		return
	}
	var n [9]byte
	if w.del {
		n[0] = 1
	}
	binary.BigEndian.PutUint32(n[1:], uint32(len(w.key)))
	binary.BigEndian.PutUint32(n[5:], uint32(len(w.value)))
	pt.hash.Write(n[:])
	pt.hash.Write(w.key)
	pt.hash.Write(w.value)
	if w.key[0] == spacePartition && !w.del {
		switch w.key[3] {
		case tableOutbox:
			pt.sends = true
		case tableTimer:
			c, due := timerDue(w.key)
			if at, ok := pt.due[c]; !ok || due < at {
				pt.due[c], pt.sooner = due, true
			}
		}
	}
}

// timerDue reads clock and time from a timer's key.
func timerDue(key []byte) (Clock, int64) {
	due, _, _ := kv.CutU64(key[5:])
	return Clock(key[4]), int64(due)
}

// fire applies the timers that are due.
func (pt *partition) fire() {
	for range maxFired {
		key, msg := pt.firstDue()
		if key == nil {
			return
		}
		pt.write(write{key: key, del: true})
		pt.deliver(msg)
	}
}

// firstDue finds the first timer that is due, live time first, and corrects pt.due on the way.
func (pt *partition) firstDue() ([]byte, message) {
	for _, c := range [...]Clock{Live, Wall} {
		now := pt.sys.live
		if c == Wall {
			now = pt.sys.wall
		}
		if due, ok := pt.due[c]; !ok || due > now {
			continue
		}
		delete(pt.due, c)
		lo := append(partitionRow(pt.n, tableTimer), byte(c))
		for k, v := range pt.batch.Scan(lo, kv.End(lo)) {
			_, due := timerDue(k)
			pt.due[c] = due
			if due > now {
				break
			}
			msg, err := decodeMessage(bytes.Clone(v))
			if err != nil {
				panic(kv.Fault{Err: fmt.Errorf("timer row %x: %w", k, err)})
			}
			return bytes.Clone(k), msg
		}
	}
	return nil, message{}
}

// deliver applies a message of a timer or an outbox. Its refusal has nobody to go to: it is logged and counted.
func (pt *partition) deliver(m message) {
	tx := &Tx{pt: pt, slot: m.slot}
	v := pt.run(tx, m.kind, m.body)
	if v.err != nil {
		pt.r.log.Warn("a message was refused", "partition", pt.n, "pos", pt.next, "op", m.kind, "err", v.err)
		pt.r.refused.Add(1)
		return
	}
	pt.keep(tx)
}

// commit makes everything applied so far visible, and tells whoever waits for it.
func (pt *partition) commit() error {
	if pt.batch == nil {
		return nil
	}
	batch := pt.batch
	pt.batch = nil
	if len(pt.r.deriving) > 0 {
		batch.Set(markKey(pt.n), pt.r.markAt(pt.next))
	}
	if err := pt.visible.change(pt.next, batch.Commit); err != nil {
		return fmt.Errorf("%w: %w", errHalt, err)
	}
	notes, done, sends, sooner := pt.notes, pt.done, pt.sends, pt.sooner
	pt.notes, pt.done, pt.sends, pt.sooner = nil, nil, false, false

	pt.mu.Lock()
	pt.showState()
	for i := range done {
		done[i].flight = pt.inflight[done[i].n]
		delete(pt.inflight, done[i].n)
	}
	pt.broadcast()
	pt.mu.Unlock()

	// Subscribers first: whoever is answered below may ask them.
	if pt.r.sink != nil {
		pt.r.sink(Commit{Partition: pt.n, Pos: pt.next, Notes: notes})
	}
	for _, d := range done {
		for i, req := range d.flight.reqs {
			v := d.verdicts[i]
			// The body aliases a row or a record; the requester keeps it.
			req.finish(bytes.Clone(v.body), v.err)
		}
		if b := d.flight.barrier; b != nil {
			close(b.done)
		}
	}
	if sends {
		pt.r.forwarders[pt.n].poke()
	}
	if sooner {
		pt.poke()
	}
	return nil
}

// broadcast wakes whoever waits for a change; pt.mu is held.
func (pt *partition) broadcast() {
	close(pt.changed)
	pt.changed = make(chan struct{})
}

func (pt *partition) logger() *slog.Logger { return pt.r.log.With("partition", pt.n) }
