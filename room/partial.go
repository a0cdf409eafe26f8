package room

import (
	"bytes"
	"iter"

	"bongsu/kv"
)

// StateWithout yields the state right after place p but that of one type, ordered by type and key. What it leaves out costs nothing: most
// of a large room's state is its members.
func (v *View) StateWithout(typ string, p Place) iter.Seq[StateRow] {
	table, read := byte(tableHistory), v.historyAt
	if !p.Before(v.LastState) {
		table, read = tableState, func(lo, hi []byte, _ Place) iter.Seq[StateRow] { return v.stateBetween(lo, hi) }
	}
	prefix := v.key(table)
	skip := kv.Str(bytes.Clone(prefix), typ)
	return func(yield func(StateRow) bool) {
		for _, part := range [...][2][]byte{{prefix, skip}, {kv.End(skip), kv.End(prefix)}} {
			for row := range read(part[0], part[1], p) {
				if !yield(row) {
					return
				}
			}
		}
	}
}
