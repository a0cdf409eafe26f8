package replica_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// register is a machine with an index: state rows by name, derived rows by value. Version 0 is a build that knows of no index;
// version 2 writes values in capitals.
func register(version uint16) replica.Machine {
	index := func(p journal.Partition, name, value string) []byte {
		if version == 2 {
			value = strings.ToUpper(value)
		}
		return kv.Str(kv.Str(replica.Derived(p, 'G', 'v'), value), name)
	}
	m := replica.Machine{Name: "register", Byte: 'G', Derived: version, Kinds: map[string]replica.Kind{
		"register.set": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			name, value, _ := strings.Cut(string(body), " ")
			tx.Set(kv.Str(replica.Row(tx.Slot(), 'G', 'n'), name), []byte(value))
			if version > 0 {
				tx.Set(index(tx.Partition(), name, value), nil)
			}
			return nil, nil
		}},
	}}
	if version > 0 {
		m.Derive = func(r kv.Reader, p journal.Partition, slot id.Slot, set func(key, value []byte)) {
			lo := replica.Row(slot, 'G', 'n')
			for k, v := range r.Scan(lo, kv.End(lo)) {
				name, _, _ := kv.CutStr(k[len(lo):])
				set(index(p, name, string(v)), nil)
			}
		}
	}
	return m
}

// indexed is the whole index, in order.
func indexed(r *replica.Replica) string {
	var out []string
	for p := range r.Partitions() {
		lo := replica.Derived(journal.Partition(p), 'G', 'v')
		for k := range r.Rows().Scan(lo, kv.End(lo)) {
			value, rest, _ := kv.CutStr(k[len(lo):])
			name, _, _ := kv.CutStr(rest)
			out = append(out, name+"="+value)
		}
	}
	return strings.Join(out, " ")
}

// An index is complete whichever build made the rows: one that had no index, one with another form, and one that was put back in
// between and knew nothing of the index that it left behind.
func TestIndexesFollowTheBuild(t *testing.T) {
	db := openDB(t, kv.NewMemFS())
	defer closeDB(t, db)
	store, want := mem.NewStore(1), []string{}
	for boot, build := range []struct {
		version uint16
		form    func(string) string
	}{
		{0, nil},
		{1, strings.ToLower},
		{1, strings.ToLower}, // nothing to do
		{2, strings.ToUpper},
		{0, nil},
		{2, strings.ToUpper},
		{1, strings.ToLower},
	} {
		r, stop := replicatest.Start(t, replicatest.Options{DB: db, Store: store, Boot: uint64(boot + 1), Machines: []replica.Machine{register(build.version)}})
		for _, when := range []string{"found", "made"} {
			if build.form != nil && indexed(r) != index(want, build.form) {
				t.Fatalf("run %d of version %d %s %q, want %q", boot, build.version, when, indexed(r), index(want, build.form))
			}
			if when == "found" {
				submit(t, r, propose("register.set", fmt.Sprintf("n%d v%d", boot, boot)))
				want = append(want, fmt.Sprintf("n%d=v%d", boot, boot))
			}
		}
		stop()
	}
}

func index(want []string, form func(string) string) string {
	var out []string
	for _, w := range want {
		name, value, _ := strings.Cut(w, "=")
		out = append(out, name+"="+form(value))
	}
	return strings.Join(out, " ")
}

// A checkpoint that an older build wrote has no index: whoever loads it makes one.
func TestCheckpointOfAnOlderBuildGetsItsIndexes(t *testing.T) {
	dir := t.TempDir()
	store := mem.NewStore(1)
	old, stop := replicatest.Start(t, replicatest.Options{Store: store, Machines: []replica.Machine{register(0)}})
	submit(t, old, propose("register.set", "amy seoul"))
	file, err := old.SaveCheckpoint(0, dir)
	if err != nil {
		t.Fatal(err)
	}
	submit(t, old, propose("register.set", "ben busan"))
	stop()
	j := store.Open(nil)
	if err := j.Trim(t.Context(), 0, file.Info.Pos+1); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	r := replicatest.New(t, replicatest.Options{Store: store, Boot: 2, Machines: []replica.Machine{register(1)},
		Checkpoint: func(context.Context, journal.Partition, journal.Position) (*replica.CheckpointFile, error) {
			return file, nil
		}})
	if got := indexed(r); got != "ben=busan amy=seoul" {
		t.Errorf("index %q", got)
	}
	var out bytes.Buffer
	if _, err := r.WriteCheckpoint(0, &out); err != nil {
		t.Fatal(err)
	}
}

// An index that is cut short by a crash while it is made anew is made again.
func TestIndexCutShortIsMadeAgain(t *testing.T) {
	db := openDB(t, kv.NewMemFS())
	defer closeDB(t, db)
	store := mem.NewStore(1)
	r, stop := replicatest.Start(t, replicatest.Options{DB: db, Store: store, Machines: []replica.Machine{register(0)}})
	submit(t, r, propose("register.set", "amy seoul"))
	stop()
	broken := register(1)
	derive := broken.Derive
	broken.Derive = func(r kv.Reader, p journal.Partition, slot id.Slot, set func(key, value []byte)) {
		derive(r, p, slot, set)
		panic(kv.Fault{Err: fmt.Errorf("planted")})
	}
	j := store.Open(nil)
	if _, err := replica.Open(t.Context(), replica.Config{DB: db, Journal: j, Machines: []replica.Machine{broken}, Site: "site", Boot: 2}); err == nil {
		t.Error("it began with rows that cannot be read")
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	r, stop = replicatest.Start(t, replicatest.Options{DB: db, Store: store, Boot: 3, Machines: []replica.Machine{register(1)}})
	defer stop()
	if got := indexed(r); got != "amy=seoul" {
		t.Errorf("index %q", got)
	}
}
