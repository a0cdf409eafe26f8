package bench

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsCoverEveryValueOnce(t *testing.T) {
	last := time.Duration(-1)
	for i := range numBuckets {
		top := bucketTop(i)
		if top <= last {
			t.Fatalf("bucket %d ends at %d, not above %d", i, top, last)
		}
		if got := bucketOf(uint64(top)); got != i {
			t.Fatalf("the top %d of bucket %d is in bucket %d", top, i, got)
		}
		if got := bucketOf(uint64(last + 1)); got != i {
			t.Fatalf("the bottom %d of bucket %d is in bucket %d", last+1, i, got)
		}
		last = top
	}
	if got := bucketOf(math.MaxInt64); got != numBuckets-1 {
		t.Errorf("an endless wait is in bucket %d", got)
	}
}

func TestQuantilesAreWithinOnePercent(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	shapes := map[string]func() time.Duration{
		"uniform":     func() time.Duration { return time.Duration(rng.Int64N(1e9)) },
		"exponential": func() time.Duration { return time.Duration(rng.ExpFloat64() * 1e6) },
		"two humps":   func() time.Duration { return time.Duration(1e5 + rng.Int64N(1000) + rng.Int64N(2)*5e9) },
		"constant":    func() time.Duration { return 12345678 },
	}
	for name, draw := range shapes {
		var a, b, h hist
		var all []time.Duration
		for i := range 10_000 {
			d := draw()
			all = append(all, d)
			if i%2 == 0 {
				a.record(d)
			} else {
				b.record(d)
			}
		}
		h.merge(&a)
		h.merge(&b)
		h.merge(&hist{})
		slices.Sort(all)
		for _, q := range []float64{0, 0.01, 0.5, 0.95, 0.99, 0.9999, 1} {
			want := all[max(int(math.Ceil(q*float64(len(all)))), 1)-1]
			got := h.quantile(q)
			if got < want || float64(got) > float64(want)*(1+1.0/subBuckets)+1 {
				t.Errorf("%s: quantile %v is %v, want %v", name, q, got, want)
			}
		}
		if h.max != all[len(all)-1] || h.min != all[0] || h.n != 10_000 {
			t.Errorf("%s: max %v, min %v, n %d", name, h.max, h.min, h.n)
		}
	}
}

func TestHistEdges(t *testing.T) {
	var h hist
	if h.quantile(0.5) != 0 || h.latency() != (Latency{}) {
		t.Error("an empty histogram has values")
	}
	h.record(-5)
	h.record(100 * time.Hour)
	if h.quantile(0.5) != 0 || h.quantile(1) != 100*time.Hour {
		t.Errorf("p50 %v, max %v", h.quantile(0.5), h.quantile(1))
	}
}

func TestLatencyJSONRoundTrip(t *testing.T) {
	var h hist
	for i := range 1000 {
		h.record(time.Duration(i) * time.Millisecond)
	}
	want := h.latency()
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Latency
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if (got.P99-want.P99).Abs() > time.Microsecond || got.Count != want.Count || got.Max != want.Max {
		t.Errorf("%+v became %s and then %+v", want, b, got)
	}
}
