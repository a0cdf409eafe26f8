package replica_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew: only for new records, never to make old ones pass")

// history is records as an early build wrote them, with everything that the replica itself decides.
func history() []*replica.Record {
	base := int64(1_700_000_000_000)
	rec := func(n uint64, stamp int64, ps ...replica.Proposal) *replica.Record {
		return &replica.Record{Site: "seoul", Boot: 77, N: n, Stamp: base + stamp, Rules: 1, Proposals: ps}
	}
	add := propose("ledger.add", "amy")
	keyed := add
	keyed.Key = replica.NewKey("@amy:example.org", "PHONE", "add", "t1")
	return []*replica.Record{
		rec(1, 0, replica.Proposal{Kind: "sys.genesis", Body: []byte("\x01\x01\x05seoul")}),
		rec(2, 10, add, keyed, keyed),
		rec(2, 20, add), // a repeat of an append: no effect
		rec(3, 90_000, propose("ledger.give", "amy bob"), propose("ledger.give", "cat bob")),
		rec(4, 90_010, propose("ledger.later", "amy"), propose("ledger.put", "amy x y")),
		rec(5, 92_000),
		rec(6, 93_000, propose("ledger.add", "dan"), propose("ledger.panic", "dan")),
	}
}

// sites is records of three sites under rules 2: kept refusals, the first time by majority, a clock that was wrong once.
func sites() []*replica.Record {
	base := int64(1_800_000_000_000)
	n := map[string]uint64{}
	rec := func(site string, stamp int64, known journal.Position, ps ...replica.Proposal) *replica.Record {
		n[site]++
		return &replica.Record{Site: site, Boot: 1, N: n[site], Stamp: base + stamp, Rules: 2, Applied: known, Proposals: ps}
	}
	give := propose("ledger.give", "amy bob")
	give.Key = replica.NewKey("@amy:example.org", "PHONE", "give", "t1")
	lost := propose("ledger.give", "amy cat")
	lost.Key = replica.NewKey("@amy:example.org", "PHONE", "give", "t2")
	out := []*replica.Record{
		rec("busan", 1e12, 0, replica.Proposal{Kind: "sys.genesis", Body: []byte("\x01\x02\x05busan\x04jeju\x05seoul")}),
		rec("seoul", 0, 1),
		rec("jeju", 20, 2),
		rec("busan", 30, 3, give, give), // refused, and the same again in one breath
		rec("seoul", 40, 4, propose("ledger.add", "amy")),
		rec("jeju", 50, 3, give), // sent before the refusal: no effect
		rec("jeju", 60, 4, give), // sent by who knew of it
		rec("jeju", 70, 0, give), // a repeat of what was accepted
		rec("busan", 80, 8, lost),
	}
	for i := range int64(140) { // live time passes, until the refusals are forgotten
		out = append(out, rec("seoul", 100+i*5000, 9))
	}
	return append(out, rec("busan", 701_000, 8, lost), rec("busan", 701_010, 9, lost))
}

// continued is records of a journal that went on from a node at two other sites, in a new epoch.
func continued() []*replica.Record {
	rec := func(site string, n uint64, ps ...replica.Proposal) *replica.Record {
		return &replica.Record{Site: site, Boot: 1, N: n, Stamp: 1_900_000_000_000 + int64(n)*20, Rules: 2, Proposals: ps}
	}
	renew := replica.Proposal{Kind: "sys.renew", Slot: id.SlotOf("amy"), Body: []byte("\x05")}
	begin := func(body string) replica.Proposal { return replica.Proposal{Kind: "sys.epoch", Body: []byte(body)} }
	return []*replica.Record{
		rec("node", 1, replica.Proposal{Kind: "sys.genesis", Body: []byte("\x01\x02\x04node")}),
		rec("node", 2, propose("ledger.add", "amy")),
		rec("busan", 3, renew, begin("\x05\x05busan\x04jeju")),
		rec("jeju", 4, renew, begin("\x05\x05busan\x04jeju")), // too late, and the same again
		rec("jeju", 5, begin("\x04\x04node"), begin("\x05"), begin("\x05\x09cut")),
		rec("busan", 6, propose("ledger.give", "amy bob")),
	}
}

// Old records lead to the outcomes that they always led to. When this test fails, apply has changed what it does to existing
// records, which would make sites of two builds differ: put the change behind a new rules version instead.
func TestGoldenRecords(t *testing.T) {
	for name, history := range map[string][]*replica.Record{"records": history(), "sites": sites(), "continued": continued()} {
		t.Run(name, func(t *testing.T) { golden(t, filepath.Join("testdata", name+".golden"), history) })
	}
}

func golden(t *testing.T, file string, history []*replica.Record) {
	store := mem.NewStore(1)
	j := store.Open(nil)
	var out strings.Builder
	for i, rec := range history {
		data := rec.Encode(nil)
		fmt.Fprintf(&out, "record %d %s\n", i+1, hex.EncodeToString(data))
	}
	if *rewrite {
		out.WriteString(outcome(t, store, j, out.String()))
		if err := os.WriteFile(file, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	records, want, _ := strings.Cut(string(golden), "applied ")
	if records != out.String() {
		t.Error("records are encoded in another way than before")
	}
	if got := outcome(t, store, j, records); got != "applied "+want {
		t.Errorf("got  %swant applied %s", got, want)
	}
}

// outcome applies records from the golden file and says where that leads.
func outcome(t *testing.T, store *mem.Store, j journal.Journal, records string) string {
	t.Helper()
	for i, line := range strings.Split(strings.TrimSpace(records), "\n") {
		data, err := hex.DecodeString(line[strings.LastIndexByte(line, ' ')+1:])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Append(t.Context(), 0, fmt.Sprint("golden", i), data); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	s := digests(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store, Rules: 2, AllowBugs: true})[0]
	return fmt.Sprintf("applied %d wall %d live %d digest %x\n", s.Applied, s.Wall, s.Live, s.Digest)
}

func FuzzDecodeRecord(f *testing.F) {
	for _, rec := range history() {
		f.Add(rec.Encode(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := replica.DecodeRecord(data)
		if err != nil {
			return
		}
		again, err := replica.DecodeRecord(rec.Encode(nil))
		if err != nil {
			t.Fatalf("does not decode what it encoded: %v", err)
		}
		if len(again.Proposals) != len(rec.Proposals) || again.N != rec.N || again.Stamp != rec.Stamp {
			t.Fatalf("%+v became %+v", rec, again)
		}
	})
}

func FuzzReadCheckpoint(f *testing.F) {
	f.Add([]byte("BONGSU checkpoint 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := replica.ReadCheckpoint(bytes.NewReader(data), nil); err == nil {
			t.Error("random bytes pass as a checkpoint")
		}
	})
}

// Whatever a well-formed record proposes, the replica neither panics nor stops: it decides.
func FuzzApply(f *testing.F) {
	f.Add("sys.deliver", uint16(0), []byte("\x00\x00\x01\x01\x01\nledger.add\x00\x00\x00\x03amy"))
	f.Add("sys.ack", uint16(9), []byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add("sys.rules", uint16(0), []byte("\x01"))
	f.Add("sys.genesis", uint16(0), []byte("\x01\x01\x05seoul"))
	f.Add("ledger.give", uint16(0), []byte("a b"))
	f.Fuzz(func(t *testing.T, kind string, slot uint16, body []byte) {
		store := mem.NewStore(1)
		r, stop := replicatest.Start(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store, AllowBugs: true})
		defer stop()
		if _, ok := ledger().Kinds[kind]; !ok && kind != "sys.deliver" && kind != "sys.ack" && kind != "sys.rules" && kind != "sys.genesis" {
			return // an unknown kind halts, as it must
		}
		_, _ = r.Submit(t.Context(), replica.Proposal{Kind: kind, Slot: id.Slot(slot % id.Slots), Body: body})
		if s := r.Status(0); s.Err != nil {
			halting := strings.HasPrefix(kind, "sys.") // rules of the future, messages of kinds unknown
			if !halting {
				t.Fatalf("halted: %v", s.Err)
			}
		}
	})
}
