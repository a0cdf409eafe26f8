package replica_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// renewable is ledger with a machine beside it whose rows are discarded before a new epoch.
func renewable() []replica.Machine {
	lo := func(tx *replica.Tx) []byte { return replica.Row(tx.Slot(), 'N', 'n') }
	return []replica.Machine{ledger(), {Name: "nonce", Byte: 'N', Kinds: map[string]replica.Kind{
		"nonce.put": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			tx.Set(kv.Str(lo(tx), string(body)), nil)
			return nil, nil
		}},
	}, Renew: func(tx *replica.Tx) {
		var gone [][]byte
		for k := range tx.Scan(lo(tx), kv.End(lo(tx))) {
			gone = append(gone, bytes.Clone(k))
		}
		for _, k := range gone {
			tx.Delete(k)
		}
	}}}
}

func nonces(r *replica.Replica) (n int) {
	for slot := range id.Slot(id.Slots) {
		lo := replica.Row(slot, 'N', 'n')
		for range r.Rows().Scan(lo, kv.End(lo)) {
			n++
		}
	}
	return n
}

func siteNames(r *replica.Replica) string {
	var out []string
	for p := range r.Partitions() {
		lo := append(kv.U16([]byte{'p'}, uint16(p)), 'S')
		var names []string
		for k := range r.Rows().Scan(lo, kv.End(lo)) {
			name, _, _ := kv.CutStr(k[len(lo):])
			names = append(names, name)
		}
		out = append(out, strings.Join(names, ","))
	}
	return strings.Join(out, " ")
}

func TestContinue(t *testing.T) {
	store := mem.NewStore(2)
	r := replicatest.New(t, replicatest.Options{Machines: renewable(), Store: store, Sites: []string{"site", "gone"}})
	for i := range 300 {
		submit(t, r, propose("nonce.put", fmt.Sprintf("nonce%d", i)))
		submit(t, r, propose("ledger.add", fmt.Sprintf("name%d", i)))
	}
	if got := siteNames(r); got != "gone,site gone,site" {
		t.Fatalf("sites %q", got)
	}
	for _, step := range []struct {
		c      replica.Continuation
		words  string // of the error
		epoch  uint64
		nonces int
		sites  string
	}{
		{c: replica.Continuation{Epoch: 2}, words: "names its sites", epoch: 1, nonces: 300, sites: "gone,site gone,site"},
		// Nothing was lost: only the sites are others.
		{c: replica.Continuation{Epoch: 1, Sites: []string{"site", "busan"}}, epoch: 1, nonces: 300, sites: "busan,site busan,site"},
		{c: replica.Continuation{Epoch: 7, Sites: []string{"site"}}, epoch: 7, sites: "site site"},
		{c: replica.Continuation{Epoch: 6, Sites: []string{"site"}}, words: "epoch 7 has begun", epoch: 7, sites: "site site"},
	} {
		for again := range 2 {
			before := r.Positions()
			err := r.Continue(t.Context(), step.c)
			if (err != nil) != (step.words != "") || err != nil && !strings.Contains(err.Error(), step.words) {
				t.Errorf("%+v: %v", step.c, err)
			}
			if r.Epoch() != step.epoch || nonces(r) != step.nonces || siteNames(r) != step.sites {
				t.Errorf("%+v: epoch %d, %d nonces, sites %q", step.c, r.Epoch(), nonces(r), siteNames(r))
			}
			if after := r.Positions(); again == 1 && fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("%+v again: from %d to %d", step.c, before, after)
			}
		}
	}
	if got := count(r, "name7"); got != 1 {
		t.Errorf("another machine's row: %d", got)
	}

	// A site that was slow and still wants to renew comes too late: what was put since stays.
	submit(t, r, propose("nonce.put", "fresh"))
	late := replica.Proposal{Kind: "sys.renew", Slot: id.SlotOf("fresh"), Body: binary.AppendUvarint(nil, 7)}
	if _, err := r.Submit(t.Context(), late); !errs.Is(err, errs.Conflict) || nonces(r) != 1 {
		t.Errorf("a late renewal: %v, %d nonces", err, nonces(r))
	}

	// The sites that are none any more are not met again after a start.
	put(t, store, 0, replica.Record{Site: "gone", Boot: 1, N: 1, Rules: 1})
	put(t, store, 1, replica.Record{Site: "gone", Boot: 1, N: 1, Rules: 1})
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Continue(t.Context(), replica.Continuation{Epoch: 7, Sites: []string{"site"}}); err != nil {
		t.Fatal(err)
	}
	again := replicatest.New(t, replicatest.Options{Machines: renewable(), Store: store, Observer: true, Site: "again"})
	for _, s := range again.Status(0).Sites {
		if s.Site != "site" {
			t.Errorf("site %s is remembered", s.Site)
		}
	}

	// It is all in the journal: whoever reads it reaches the same state.
	other := replicatest.New(t, replicatest.Options{Machines: renewable(), Store: store, Observer: true, Site: "other"})
	for p := range journal.Partition(2) {
		if err := other.WaitFor(t.Context(), p, r.Status(p).Applied); err != nil {
			t.Fatal(err)
		}
	}
	if other.Epoch() != 7 || siteNames(other) != siteNames(r) || nonces(other) != 1 {
		t.Errorf("another reader: epoch %d, sites %q, %d nonces", other.Epoch(), siteNames(other), nonces(other))
	}
	for p := range journal.Partition(2) {
		if a, b := r.Status(p), other.Status(p); a.Applied == b.Applied && a.Digest != b.Digest {
			t.Errorf("partition %d: digests differ", p)
		}
	}
}
