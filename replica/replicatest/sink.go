package replicatest

import (
	"sync"

	"bongsu/replica"
)

// Sink is the sink of a replica for which there is nobody yet to tell of commits: what needs the replica is often made after it. It keeps
// what comes until then.
type Sink struct {
	mu    sync.Mutex
	early []replica.Commit
	tell  func(replica.Commit)
}

// Committed is for Options.Sink.
func (s *Sink) Committed(c replica.Commit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tell == nil {
		s.early = append(s.early, c)
		return
	}
	s.tell(c)
}

// Tell passes on what has come so far, and from now on everything.
func (s *Sink) Tell(tell func(replica.Commit)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.early {
		tell(c)
	}
	s.early, s.tell = nil, tell
}
