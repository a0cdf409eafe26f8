package account

import (
	"crypto/sha256"
	"sync"

	"bongsu/errs"
	"bongsu/kv"
	"bongsu/replica"
)

// Revoked is the note that an access token is not known any more.
type Revoked struct{ Token [sha256.Size]byte }

// revoked makes the note for the stored hash of a token.
func revoked(tx *replica.Tx, hash string) {
	var n Revoked
	copy(n.Token[:], hash)
	tx.Note(n)
}

// maxSessions bounds the sessions that are remembered, at some 200 bytes each.
const maxSessions = 50_000

// Sessions finds whose an access token is, in memory if it was asked for before: every request asks.
//
// Invariant: what is remembered is what the rows say, except between a commit and the call of Committed for it. A token that was
// revoked at another site is refused here as soon as its record is applied here. That a token is not known is never remembered.
type Sessions struct {
	rows kv.Reader

	mu      sync.RWMutex
	known   map[[sha256.Size]byte]Session
	changes uint64 // of what the rows say of tokens: what was read before a change is not remembered after it
}

// NewSessions reads the rows of a replica, whose commits Committed must be given.
func NewSessions(rows kv.Reader) *Sessions {
	return &Sessions{rows: rows, known: map[[sha256.Size]byte]Session{}}
}

// Authenticate is the session of an access token: errs.UnknownToken if it is not known here.
func (s *Sessions) Authenticate(token string) (Session, error) {
	slot, hash, ok := parseToken(token)
	if !ok {
		return Session{}, unknownToken()
	}
	s.mu.RLock()
	ses, ok := s.known[hash]
	changes := s.changes
	s.mu.RUnlock()
	if ok {
		return ses, nil
	}
	if ses, ok = readSession(s.rows, slot, hash); !ok {
		return Session{}, unknownToken()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes != changes {
		return ses, nil
	}
	if len(s.known) >= maxSessions {
		clear(s.known) // they are read again when they are needed again
	}
	s.known[hash] = ses
	return ses, nil
}

// Committed is told what has become visible. It is called from the goroutine of a partition and does not block.
func (s *Sessions) Committed(c replica.Commit) {
	if c.Remade {
		s.mu.Lock()
		s.changes++
		clear(s.known)
		s.mu.Unlock()
	}
	for _, n := range c.Notes {
		if n, ok := n.(Revoked); ok {
			s.mu.Lock()
			s.changes++
			delete(s.known, n.Token)
			s.mu.Unlock()
		}
	}
}

func unknownToken() error {
	return errs.New("account.Authenticate", errs.Unauthenticated, errs.UnknownToken, "the access token is not known")
}
