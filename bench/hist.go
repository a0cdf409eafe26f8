package bench

import (
	"encoding/json"
	"math/bits"
	"time"
)

// The histogram is log-linear: subBuckets buckets for each power of two, so that a quantile is at most 1/subBuckets
// (0.8 %) above the true value. Values beyond maxPower land in the last bucket; the maximum stays exact.
const (
	subBits    = 7
	subBuckets = 1 << subBits
	maxPower   = 42 // 2^42 ns is 73 minutes
	numBuckets = (maxPower - subBits + 1) * subBuckets
)

// hist counts durations. The zero value is empty and ready; it takes its memory at the first record. It has one writer.
type hist struct {
	counts []uint64
	n      uint64
	sum    time.Duration
	min    time.Duration
	max    time.Duration
}

// bucketOf is the bucket of v nanoseconds: the value itself below 2*subBuckets, then ever wider buckets.
func bucketOf(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return min(shift<<subBits+int(v>>shift), numBuckets-1)
}

// bucketTop is the greatest value of bucket i.
func bucketTop(i int) time.Duration {
	if i < 2*subBuckets {
		return time.Duration(i)
	}
	shift := i>>subBits - 1
	low := uint64(i&(subBuckets-1)|subBuckets) << shift
	return time.Duration(low + 1<<shift - 1)
}

// record counts d; a negative d counts as zero.
func (h *hist) record(d time.Duration) {
	d = max(d, 0)
	if h.counts == nil {
		h.counts = make([]uint64, numBuckets)
		h.min = d
	}
	h.counts[bucketOf(uint64(d))]++
	h.n++
	h.sum += d
	h.min = min(h.min, d)
	h.max = max(h.max, d)
}

// merge adds what o has counted.
func (h *hist) merge(o *hist) {
	if o.n == 0 {
		return
	}
	if h.counts == nil {
		h.counts = make([]uint64, numBuckets)
		h.min = o.min
	}
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.sum += o.sum
	h.min = min(h.min, o.min)
	h.max = max(h.max, o.max)
}

// quantile is the value that the share q (0 to 1) of the records does not exceed, 0 when empty.
func (h *hist) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := uint64(q * float64(h.n))
	if float64(rank) < q*float64(h.n) || rank == 0 {
		rank++
	}
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= rank && i < numBuckets-1 {
			return max(min(bucketTop(i), h.max), h.min)
		}
	}
	return h.max
}

// Latency summarises one kind of duration. In JSON the durations are milliseconds.
type Latency struct {
	Count                    uint64
	Mean, P50, P95, P99, Max time.Duration
}

func (h *hist) latency() Latency {
	if h.n == 0 {
		return Latency{}
	}
	return Latency{
		Count: h.n, Mean: h.sum / time.Duration(h.n),
		P50: h.quantile(0.50), P95: h.quantile(0.95), P99: h.quantile(0.99), Max: h.max,
	}
}

type latencyJSON struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean_ms"`
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// MarshalJSON writes the durations as fractional milliseconds.
func (l Latency) MarshalJSON() ([]byte, error) {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return json.Marshal(latencyJSON{l.Count, ms(l.Mean), ms(l.P50), ms(l.P95), ms(l.P99), ms(l.Max)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (l *Latency) UnmarshalJSON(b []byte) error {
	var j latencyJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	dur := func(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
	*l = Latency{j.Count, dur(j.Mean), dur(j.P50), dur(j.P95), dur(j.P99), dur(j.Max)}
	return nil
}
