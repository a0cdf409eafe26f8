package kv

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func open(t *testing.T, fs *MemFS) *DB {
	t.Helper()
	db, err := Open(Config{FS: fs, MemTable: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func keys(r Reader, lo, hi string, back bool) []string {
	var out []string
	f := r.Scan
	if back {
		f = r.ScanBack
	}
	for k, v := range f([]byte(lo), []byte(hi)) {
		out = append(out, string(k)+"="+string(v))
	}
	return out
}

func TestBatchReadsItsWrites(t *testing.T) {
	db := open(t, nil)
	defer db.Close()
	b := db.Batch()
	b.Set([]byte("a"), []byte("1"))
	b.Set([]byte("b"), nil)
	b.Set([]byte("c"), []byte("3"))
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	view := db.View()
	defer view.Close()
	b = db.Batch()
	b.Delete([]byte("a"))
	b.Set([]byte("d"), []byte("4"))
	if got := keys(b, "a", "z", true); !slices.Equal(got, []string{"d=4", "c=3", "b="}) {
		t.Errorf("batch reads %v", got)
	}
	if b.Get([]byte("a")) != nil {
		t.Error("deleted row read")
	}
	if v := b.Get([]byte("b")); v == nil || len(v) != 0 {
		t.Errorf("empty value reads as %v", v)
	}
	if db.Get([]byte("d")) != nil {
		t.Error("uncommitted row read")
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := keys(view, "a", "z", false); !slices.Equal(got, []string{"a=1", "b=", "c=3"}) {
		t.Errorf("view reads %v", got)
	}
	for k := range db.Scan([]byte("b"), []byte("z")) {
		if string(k) != "b" {
			t.Errorf("read on after the loop ended: %s", k)
		}
		break
	}
}

// A crash leaves the result of a prefix of the commits.
func TestCrashLeavesAPrefix(t *testing.T) {
	fs := NewMemFS()
	db := open(t, fs)
	for i := range 3000 {
		if i == 1000 { // something has reached the disk for sure; what else does is up to the store
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		b := db.Batch()
		b.Set([]byte("last"), fmt.Appendf(nil, "%04d", i))
		b.Set(fmt.Appendf(nil, "row%04d", i), bytes.Repeat([]byte("x"), 700))
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	crashed := fs.Crash()
	db.Abandon()
	db = open(t, crashed)
	defer db.Close()
	last := -1
	if v := db.Get([]byte("last")); v != nil {
		fmt.Sscanf(string(v), "%d", &last)
	}
	n := len(keys(db, "row", "rox", false))
	if n != last+1 {
		t.Errorf("%d rows, but the last commit there is %d", n, last)
	}
	if n == 0 {
		t.Error("nothing reached the disk: the test shows nothing")
	}
}

func TestKeysSortAsTuples(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type tup struct {
			s string
			n uint64
		}
		gen := rapid.Custom(func(t *rapid.T) tup {
			return tup{string(rapid.SliceOfN(rapid.ByteRange(0, 2), 0, 5).Draw(t, "s")), rapid.Uint64().Draw(t, "n")}
		})
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		enc := func(x tup) []byte { return U64(Str([]byte("p"), x.s), x.n) }
		want := bytes.Compare([]byte(a.s), []byte(b.s))
		if want == 0 {
			switch {
			case a.n < b.n:
				want = -1
			case a.n > b.n:
				want = 1
			}
		}
		if got := bytes.Compare(enc(a), enc(b)); got != want {
			t.Fatalf("%q sorts %d against %q, want %d", enc(a), got, enc(b), want)
		}
		s, rest, err := CutStr(enc(a)[1:])
		n, rest, err2 := CutU64(rest)
		if err != nil || err2 != nil || s != a.s || n != a.n || len(rest) != 0 {
			t.Fatalf("read back %q %d %v %v", s, n, err, err2)
		}
	})
}

func FuzzCut(f *testing.F) {
	f.Add([]byte("a\x00\x01"))
	f.Add([]byte("a\x00\xff\x00\x01zzzzzzzz"))
	f.Fuzz(func(t *testing.T, key []byte) {
		s, rest, err := CutStr(key)
		if err == nil && !bytes.Equal(append(Str(nil, s), rest...), key) {
			t.Errorf("%q does not encode back", key)
		}
		_, _, _ = CutU64(key)
		_, _, _ = CutU32(key)
		_, _, _ = CutU16(key)
	})
}

func TestEnd(t *testing.T) {
	for in, want := range map[string]string{"a": "b", "a\xff": "b", "a\x00": "a\x01"} {
		if got := End([]byte(in)); string(got) != want {
			t.Errorf("End(%q) = %q, want %q", in, got, want)
		}
	}
	if End([]byte{0xff}) != nil {
		t.Error("End(ff) is not open")
	}
}

func TestAside(t *testing.T) {
	ran := false
	Aside(func() { ran = true })
	if !ran {
		t.Error("did not run")
	}
	defer func() {
		if p := recover(); p != "fault" {
			t.Errorf("recovered %v", p)
		}
	}()
	Aside(func() { panic("fault") })
}
