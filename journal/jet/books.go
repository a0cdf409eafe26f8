package jet

import (
	"errors"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"

	"bongsu/journal"
)

// The engine's books are what it has promised to the engines of other sites: for each group of replicas a log, snapshots, its term
// and vote. An engine that forgets a promise can help elect a leader who lacks acknowledged records, so the books are scanned like
// the records, and the highest index that was seen committed in each group is remembered as a lower bound, in a file like the marks.
const (
	booksFile = "books"
	metaGroup = "_meta_" // the group that knows which streams there are; it comes after the partitions
)

// raftDir holds one directory for each group.
func raftDir(dir string) string { return filepath.Join(systemDir(dir), "_js_") }

// books are the bounds of the groups.
type books struct {
	*marks
}

// note remembers what each group has committed here.
func (b books) note(e *engine, seen []sight) error {
	status := e.srv.Raftz(&server.RaftzOptions{})
	if status == nil {
		return nil
	}
	var errs error
	for _, groups := range *status {
		for i := range b.parts {
			name := metaGroup
			if i < len(seen) {
				name = seen[i].group
			}
			if g, ok := groups[name]; ok {
				errs = errors.Join(errs, b.acked(journal.Partition(i), journal.Position(min(g.Committed, g.PIndex))))
			}
		}
	}
	return errs
}
