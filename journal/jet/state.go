package jet

import "bongsu/journal"

// State is what a journal's directory is to its cluster.
type State int

const (
	// Empty: nothing is there, or a making that was cut off before the engine took part in any vote.
	Empty State = iota
	// Forming: the engine has taken part in votes, but has not seen all partitions of the cluster here yet.
	Forming
	// Formed: all partitions have been seen here, complete.
	Formed
)

func (s State) String() string { return [...]string{"empty", "forming", "formed"}[s] }

// Inspect tells what the directory of a cluster's site is, without an engine: it reads and checks all files with the routes closed
// and changes nothing. It returns ErrDamaged when records or the engine's own books are missing or fail their checksums; the
// remedy is Wipe, after which the other sites fill it again.
func Inspect(dir string, partitions int) (State, error) {
	panic("not yet")
}

// Wipe makes the directory Empty. What it held is kept beside it, at dir + ".damaged", in place of an earlier one. The
// journal must not be open.
func Wipe(dir string) error {
	panic("not yet")
}

var _ = journal.ErrDamaged
