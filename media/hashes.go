package media

import (
	"iter"

	"bongsu/blob"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// Hashes yields the blobs that the records in r name, some of them several times.
func Hashes(r kv.Reader) iter.Seq[blob.Hash] {
	return func(yield func(blob.Hash) bool) {
		for slot := range id.Slot(id.Slots) {
			lo := replica.Row(slot, machineByte, tableMedia)
			for _, v := range r.Scan(lo, kv.End(lo)) {
				rec, err := decode(v)
				if err != nil {
					panic(kv.Fault{Err: err})
				}
				if rec.Hash != "" && !yield(rec.Hash) {
					return
				}
			}
		}
	}
}
