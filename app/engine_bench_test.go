package app

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"bongsu/id"
	"bongsu/journal/jet"
	"bongsu/kv"
	"bongsu/replica"
)

// BenchmarkEngine is what a proposal costs without HTTP and without a messenger: 64 senders, four partitions, 600 bytes each,
// synced to disk. It is what performance.md measures the messenger against.
func BenchmarkEngine(b *testing.B) {
	dir := b.TempDir()
	log := slog.New(slog.DiscardHandler)
	j, err := jet.Open(jet.Config{Dir: dir + "/journal", Log: log})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	db, err := kv.Open(kv.Config{Dir: dir + "/rows"})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	put := replica.Machine{Name: "put", Byte: 'P', Kinds: map[string]replica.Kind{
		"put": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			tx.Set(replica.Row(tx.Slot(), 'P', 'x'), body)
			return nil, nil
		}},
	}}
	r, err := replica.Open(b.Context(), replica.Config{DB: db, Journal: j, Site: "main", Boot: 1, Machines: []replica.Machine{put}})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	if err := r.Start(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	body := bytes.Repeat([]byte("x"), 600)
	var n atomic.Int64
	b.SetParallelism(32) // 64 goroutines on two cores
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			name := fmt.Sprint("user", i%64)
			_, err := r.Submit(b.Context(), replica.Proposal{Kind: "put", Slot: id.SlotOf(name), Body: body, Lane: name})
			if err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "proposals/s")
}
