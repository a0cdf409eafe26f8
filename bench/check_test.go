package bench

import (
	"hash/maphash"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

func TestTextRoundTrip(t *testing.T) {
	for _, m := range []message{{1, 2, 3}, {0, 1, 0}, {99_999, 100_000_000, int64(24 * time.Hour)}} {
		b := appendText(nil, "run", m)
		if len(b) > minSize {
			t.Errorf("%q is longer than %d bytes", b, minSize)
		}
		if got, ok := parseText(append(b, "filler/1"...), "run"); !ok || got != m {
			t.Errorf("%+v became %q and then %+v, %v", m, b, got, ok)
		}
	}
	for _, s := range []string{
		"", "hello", "bongsu/", "bongsu/run", "bongsu/run/", "bongsu/run/1/2/3", "bongsu/run/1//3/", "bongsu/run/1/-2/3/",
		"bongsu/runs/1/2/3/", "bongsu/ru/1/2/3/", "Bongsu/run/1/2/3/", "bongsu/run/1/2/9999999999999999999/", "bongsu/run/1/2/x/",
	} {
		if m, ok := parseText([]byte(s), "run"); ok {
			t.Errorf("%q was taken for %+v", s, m)
		}
	}
}

func FuzzParseText(f *testing.F) {
	f.Add([]byte("bongsu/run/1/2/3/xyz"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parseText(b, "run")
		if !ok {
			return
		}
		if m.lane < 0 || m.seq < 0 || m.sent < 0 {
			t.Errorf("%q gives %+v", b, m)
		}
		if again, ok := parseText(appendText(nil, "run", m), "run"); !ok || again != m {
			t.Errorf("%q gives %+v and then %+v", b, m, again)
		}
	})
}

// TestStreamAgainstAModel: random losses, repetitions and delays of random lanes are counted as a plain model counts them.
func TestStreamAgainstAModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	l := ledger{seed: maphash.MakeSeed()}
	for range 500 {
		r := &room{firstLane: 5}
		var sent []delivered
		for n := range 1 + rng.IntN(3) {
			ln := &lane{room: r, number: 5 + n}
			for s := range rng.IntN(20) {
				d := delivered{message: message{lane: ln.number, seq: s + 1}, known: true, id: l.hashID([]byte{byte(n), byte(s)})}
				acked := d.id
				if rng.IntN(10) == 0 {
					acked = 0
				}
				ln.acked = append(ln.acked, acked)
				sent = append(sent, d)
			}
			r.lanes = append(r.lanes, ln)
		}
		isAcked := func(d delivered) bool { return r.lanes[d.lane-5].acked[d.seq-1] != 0 }
		var want StreamChecks
		var stream []delivered
		for _, d := range sent {
			switch rng.IntN(12) {
			case 0:
				if isAcked(d) {
					want.Lost++
				}
			case 1:
				stream = append(stream, d, d)
				want.Duplicated++
			default:
				stream = append(stream, d)
			}
		}
		if len(stream) > 0 && rng.IntN(2) == 0 { // one comes late
			i := rng.IntN(len(stream))
			d := stream[i]
			stream = append(slices.Delete(stream, i, i+1), d)
		}
		// The model: an event is late if it is new and a later one of its lane came before.
		for i, d := range stream {
			isNew, late := true, false
			for _, e := range stream[:i] {
				isNew = isNew && e.message != d.message
				late = late || e.lane == d.lane && e.seq > d.seq
			}
			if isNew && late && isAcked(d) {
				want.Reordered++
			}
		}
		st := newStream(r, "m")
		for _, d := range stream {
			st.add(d)
		}
		var got StreamChecks
		got.add(st)
		want.Streams, want.Events = 1, int64(len(stream))
		if got != want {
			t.Fatalf("got %+v, want %+v for %+v", got, want, stream)
		}
	}
}

func TestStreamRefusesWhatWasNeverSent(t *testing.T) {
	r := &room{firstLane: 3}
	r.lanes = []*lane{{room: r, number: 3, acked: []uint64{1}}}
	st := newStream(r, "m")
	for _, m := range []message{{lane: 2, seq: 1}, {lane: 4, seq: 1}, {lane: 3, seq: 0}, {lane: 3, seq: maxGap + 1}} {
		if st.add(delivered{message: m, known: true}) {
			t.Errorf("took %+v", m)
		}
	}
	st.add(delivered{message: message{lane: 3, seq: 1}, id: 1})
	st.add(delivered{message: message{lane: 3, seq: 3}, id: 1}) // numbers 2 and 3 were not given out
	var c StreamChecks
	c.add(st)
	if c.Misplaced != 6 || c.Lost != 0 {
		t.Errorf("got %+v", c)
	}
}

func TestDealIsEven(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, c := range []struct{ rooms, members, users int }{{40, 20, 200}, {1, 1, 1}, {7, 5, 5}, {10, 3, 8}, {100, 19, 39}} {
		count := make([]int, c.users)
		for i, m := range deal(c.rooms, c.members, c.users, seed) {
			s := slices.Sorted(slices.Values(m))
			if len(slices.Compact(s)) != c.members {
				t.Errorf("room %d of %+v has members %v", i, c, m)
			}
			for _, u := range m {
				count[u]++
			}
		}
		if slices.Max(count)-slices.Min(count) > 1 {
			t.Errorf("%+v: users are in %v rooms", c, count)
		}
	}
}

func TestReadProc(t *testing.T) {
	u, err := readProc(os.Getpid())
	if err != nil || u.rss < 1<<20 || u.user < 0 {
		t.Errorf("got %+v, %v", u, err)
	}
	if _, err := readProc(1 << 30); err == nil {
		t.Error("read a process that does not exist")
	}
}

func TestParseMetrics(t *testing.T) {
	u, err := parseMetrics("# HELP process_cpu_seconds_total x\n# TYPE y counter\nprocess_cpu_seconds_total 1.5\nprocess_resident_memory_bytes 1.048576e+06\ngo_memstats_heap_inuse_bytes 100\ngo_memstats_stack_inuse_bytes 20\nother{a=\"b c\"} 3\n")
	if err != nil || u.user != 1500*time.Millisecond || u.rss != 1<<20 || u.heap != 120 {
		t.Errorf("got %+v, %v", u, err)
	}
	if _, err := parseMetrics("<html>"); err == nil {
		t.Error("took a page for metrics")
	}
}
