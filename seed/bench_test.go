package seed_test

import (
	"fmt"
	"iter"
	"path/filepath"
	"testing"
	"time"

	"bongsu/blob"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
	"bongsu/seed"
)

// BenchmarkSeed writes a seed of 200,000 rows of 300 bytes, and makes a data directory from it.
func BenchmarkSeed(b *testing.B) {
	const rows, perProposal = 200_000, 1000
	value := make([]byte, 300)
	many := replica.Machine{Name: "many", Byte: 'P', Kinds: map[string]replica.Kind{
		"many": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			for i := range uint32(perProposal) {
				tx.Set(kv.U32(append(replica.Row(tx.Slot(), 'P', 'r'), body...), i), value)
			}
			return nil, nil
		}},
	}}
	r := replicatest.New(b, replicatest.Options{Machines: []replica.Machine{many}})
	for i := range rows / perProposal {
		if _, err := r.Submit(b.Context(), replica.Proposal{Kind: "many", Slot: id.Slot(i * 20 % id.Slots), Body: fmt.Append(nil, i)}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		dir := b.TempDir()
		cut, err := r.Cut(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		m, err := seed.Write(b.Context(), seed.Plan{Dir: filepath.Join(dir, "seed"), Cut: cut, Made: began,
			Named: func(kv.Reader) iter.Seq[blob.Hash] { return func(func(blob.Hash) bool) {} }})
		cut.Close()
		if err != nil {
			b.Fatal(err)
		}
		wrote := time.Now()
		if _, err := seed.Prepare(b.Context(), filepath.Join(dir, "seed"), seed.Target{Data: filepath.Join(dir, "data"), First: seed.First{Epoch: 2, Sites: []string{"a"}}}); err != nil {
			b.Fatal(err)
		}
		var bytes int64
		for _, p := range m.Partitions {
			bytes += p.Bytes
		}
		b.ReportMetric(float64(bytes)/1e6/wrote.Sub(began).Seconds(), "MB/s-written")
		b.ReportMetric(float64(bytes)/1e6/time.Since(wrote).Seconds(), "MB/s-prepared")
	}
}
