package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/kv"
)

// counting is a machine that counts in a row of slot 0 what arrives.
func counting(seen *[]int) []Machine {
	arrive := func(tx *Tx, body []byte) ([]byte, error) {
		*seen = append(*seen, len(body))
		return nil, nil
	}
	return []Machine{{Name: "counting", Byte: 'C', Kinds: map[string]Kind{
		"old": {Apply: arrive},
		"new": {Since: 2, Apply: arrive},
		"send": {Apply: func(tx *Tx, body []byte) ([]byte, error) {
			n, _ := binary.Uvarint(body)
			tx.Send(0, "old", make([]byte, n))
			return nil, nil
		}},
	}}}
}

func openMem(t *testing.T, fs *kv.MemFS) *kv.DB {
	t.Helper()
	db, err := kv.Open(kv.Config{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func putRecord(t *testing.T, j journal.Journal, rec Record, id string) journal.Position {
	t.Helper()
	pos, err := j.Append(t.Context(), 0, id, rec.Encode(nil))
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

// A message of a kind that the receiver's rules do not have yet waits for them; it is not dropped.
func TestMessageWaitsForRules(t *testing.T) {
	store := mem.NewStore(1)
	j := store.Open(nil)
	defer j.Close()
	var seen []int
	db := openMem(t, nil)
	defer db.Abandon()
	r, err := Open(t.Context(), Config{DB: db, Journal: j, Machines: counting(&seen), Rules: 2, Site: "a", Boot: 1, Observer: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	one := func(kind string, body []byte) []Proposal { return []Proposal{{Kind: kind, Body: body}} }
	body := parcel{from: 3, epoch: 1, first: 1, messages: []message{{kind: "new", body: []byte("x")}}}.encode()
	putRecord(t, j, Record{Site: "a", Boot: 9, N: 1, Rules: 2, Proposals: one(kindGenesis,
		genesis{partitions: 1, rules: 1, sites: []string{"a"}}.encode())}, "1")
	putRecord(t, j, Record{Site: "a", Boot: 9, N: 2, Rules: 2, Proposals: one(kindDeliver, body)}, "2")
	putRecord(t, j, Record{Site: "a", Boot: 9, N: 3, Rules: 2, Proposals: one(kindRules, binary.AppendUvarint(nil, 2))}, "3")
	last := putRecord(t, j, Record{Site: "a", Boot: 9, N: 4, Rules: 2, Proposals: one(kindDeliver, body)}, "4")
	last = max(last, putRecord(t, j, Record{Site: "a", Boot: 9, N: 5, Rules: 2, Proposals: one(kindDeliver, body)}, "5"))
	if err := r.WaitFor(t.Context(), 0, last); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 {
		t.Errorf("the message arrived %d times", len(seen))
	}
}

// Rows made by newer rules are not for this build.
func TestOlderBuildRefusesNewerRows(t *testing.T) {
	store := mem.NewStore(1)
	db := openMem(t, nil)
	defer db.Abandon()
	var seen []int
	for _, rules := range []uint16{2, 1} {
		j := store.Open(nil)
		r, err := Open(t.Context(), Config{DB: db, Journal: j, Machines: counting(&seen), Rules: rules, Site: "a", Boot: 3 - uint64(rules)})
		switch {
		case rules == 1 && (err == nil || !strings.Contains(err.Error(), "rules version 2")):
			t.Errorf("got %v", err)
		case rules == 2 && err != nil:
			t.Fatal(err)
		}
		if err == nil {
			if err := r.Start(t.Context(), nil); err != nil {
				t.Error(err)
			}
			r.Close()
		}
		_ = j.Close()
	}
}

// A partition begins with its genesis, even when a tick of a run that died early came first.
func TestGenesisAfterATick(t *testing.T) {
	j := mem.NewStore(1).Open(nil)
	defer j.Close()
	putRecord(t, j, Record{Site: "a", Boot: 1, N: 1, Stamp: 1, Rules: 1}, "tick")
	db := openMem(t, nil)
	defer db.Abandon()
	r, err := Open(t.Context(), Config{DB: db, Journal: j, Site: "a", Boot: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if sys := r.parts[0].sys; sys.partitions != 1 || sys.epoch != 1 || sys.rules != 1 {
		t.Errorf("began as %+v", sys)
	}
}

// Messages of every size arrive; one that no delivery could carry is refused when it is sent, since it would hold up all others.
func TestLargeMessagesArrive(t *testing.T) {
	j := mem.NewStore(1).Open(nil)
	defer j.Close()
	db := openMem(t, nil)
	defer db.Abandon()
	var seen []int
	r, err := Open(t.Context(), Config{DB: db, Journal: j, Machines: counting(&seen), Site: "a", Boot: 1})
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{}, 100)
	if err := r.Start(t.Context(), func(Commit) { arrived <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	sizes := []int{100 << 10, 500 << 10, 1, MaxProposals, 1}
	for _, n := range sizes {
		_, err := r.Submit(t.Context(), Proposal{Kind: "send", Body: binary.AppendUvarint(nil, uint64(n))})
		if (n == MaxProposals) != (err != nil) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	empty := func() bool {
		first, err := r.forwarders[0][0].waiting()
		return err == nil && first == 0
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10e9)
	defer cancel()
	for !empty() {
		select {
		case <-arrived:
		case <-ctx.Done():
			t.Fatal("the outbox is stuck")
		}
	}
	r.Close()
	if len(seen) != 4 || seen[1] != 500<<10 {
		t.Errorf("arrived: %v", seen)
	}
}

// A disk that cannot be read is an error of a forwarder, not the end of the process.
func TestForwarderSurvivesFault(t *testing.T) {
	fs := kv.NewMemFS()
	db := openMem(t, fs)
	b := db.Batch()
	b.Set(outboxKey(0, 0, 1), message{0, "old", nil}.encode(nil))
	if err := errors.Join(b.Commit(), db.Close()); err != nil {
		t.Fatal(err)
	}
	db = openMem(t, fs)
	defer db.Abandon()
	fs.Fail(syscall.EIO, nil)
	f := &forwarder{r: &Replica{db: db}}
	if err := f.forward(t.Context()); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v", err)
	}
}

// What a loading that was cut off has left, without a position, does not become part of the state.
func TestHalfLoadedRowsAreDiscarded(t *testing.T) {
	j := mem.NewStore(2).Open(nil)
	defer j.Close()
	db := openMem(t, nil)
	defer db.Abandon()
	mine, other := append(Row(0, 'C', 'x'), 1), append(Row(4095, 'C', 'x'), 1)
	b := db.Batch()
	b.Set(mine, []byte("half"))
	b.Set(other, []byte("whole"))
	b.Set(appliedKey(1), appliedRow{}.encode())
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	pt := newPartition(&Replica{db: db, j: j, log: slog.New(slog.DiscardHandler), sites: []string{"a"}}, 0, 2, 1)
	if err := pt.agree(t.Context()); err != nil {
		t.Fatal(err)
	}
	if db.Get(mine) != nil || db.Get(other) == nil {
		t.Errorf("half-loaded row %q, row of another partition %q", db.Get(mine), db.Get(other))
	}
}

// A handler cannot read past its rows, where those of another partition may be.
func TestScanIsConfined(t *testing.T) {
	db := openMem(t, nil)
	defer db.Abandon()
	pt := &partition{r: &Replica{db: db}, of: 1, batch: db.Batch()}
	defer pt.batch.Discard()
	tx := &Tx{pt: pt, slot: 7, machine: 'C'}
	lo := Row(7, 'C', 'x')
	for _, hi := range [][]byte{kv.End(lo), kv.End(lo[:4])} {
		tx.Scan(lo, hi)
		tx.ScanBack(lo, hi)
	}
	for _, hi := range [][]byte{nil, Row(8, 'C', 'x'), Row(7, 'D', 'x')} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("read up to %q", hi)
				}
			}()
			tx.Scan(lo, hi)
		}()
	}
}
