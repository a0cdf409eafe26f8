package replica

import (
	"encoding/binary"
	"math"

	"bongsu/journal"
	"bongsu/kv"
)

// Place orders what happens in a partition: the record, and a running number within it.
type Place struct {
	Pos   journal.Position
	Index uint32
}

// Forever is after every place that there can be.
var Forever = Place{Pos: 1 << 63}

// End is the last place that a record can have.
func End(pos journal.Position) Place { return Place{Pos: pos, Index: math.MaxUint32} }

// Before reports whether p comes before q.
func (p Place) Before(q Place) bool { return p.Pos < q.Pos || p.Pos == q.Pos && p.Index < q.Index }

// Next is the first place after p.
func (p Place) Next() Place {
	if p.Index == math.MaxUint32 {
		return Place{Pos: p.Pos + 1}
	}
	return Place{Pos: p.Pos, Index: p.Index + 1}
}

// Prev is the last place before p.
func (p Place) Prev() Place {
	if p.Index == 0 {
		return End(p.Pos - 1)
	}
	return Place{Pos: p.Pos, Index: p.Index - 1}
}

// PlaceSize is how many bytes a place takes in a key or a value.
const PlaceSize = 12

// Append appends the place to a key, so that keys sort as their places do.
func (p Place) Append(key []byte) []byte { return kv.U32(kv.U64(key, uint64(p.Pos)), p.Index) }

// CutPlace takes a place off the front of a key or a value.
func CutPlace(b []byte) (p Place, rest []byte, err error) {
	if len(b) < PlaceSize {
		return Place{}, nil, kv.ErrKey
	}
	p = Place{Pos: journal.Position(binary.BigEndian.Uint64(b)), Index: binary.BigEndian.Uint32(b[8:])}
	return p, b[PlaceSize:], nil
}
