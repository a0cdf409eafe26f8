package account

import (
	"context"
	"crypto/sha256"
	"sync"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// Revoked is the note that what is known of an access token is so no more: it has ended, or its rows have changed.
type Revoked struct{ Token [sha256.Size]byte }

// revoked makes the note for the stored hash of a token.
func revoked(tx *replica.Tx, hash string) {
	var n Revoked
	copy(n.Token[:], hash)
	tx.Note(n)
}

// Session is what an access token stands for.
type Session struct {
	User      id.UserID
	Device    id.DeviceID
	Locked    bool // the account is: nothing is to be done for it
	Suspended bool // the account is: it may read and leave, not take part
}

// known is a session with what decides whether its token is good.
type known struct {
	Session
	expires int64 // as in tokenRow
	waiting bool
}

// readSession is the session of an access token, whether or not its time is up.
func readSession(r kv.Reader, slot id.Slot, hash [sha256.Size]byte) (k known, ok bool) {
	v := r.Get(tokenKey(slot, hash[:]))
	if v == nil {
		return k, false
	}
	t := decodeToken(v)
	a, _ := Find(r, t.user)
	return known{Session{t.user, t.device, a.Locked, a.Suspended}, t.expires, t.waiting}, true
}

// Authenticate is the session of an access token: errs.UnknownToken if it is not known here, errs.TokenExpired if its time is up.
func (s *Service) Authenticate(ctx context.Context, token string) (Session, error) {
	slot, hash, ok := parseSecret(accessPrefix, token)
	if !ok {
		return Session{}, unknownToken()
	}
	k, ok := readSession(s.Rows(), slot, hash)
	if !ok {
		return Session{}, unknownToken()
	}
	return s.admit(ctx, slot, hash, k)
}

// maxSessions bounds the sessions that are remembered, at some 200 bytes each.
const maxSessions = 50_000

// Sessions finds whose an access token is, in memory if it was asked for before: every request asks.
//
// Invariant: what is remembered is what the rows say, except between a commit and the call of Committed for it. A token that was
// revoked at another site is refused here as soon as its record is applied here. That a token is not known is never remembered.
type Sessions struct {
	service *Service
	rows    kv.Reader // the service's

	mu      sync.RWMutex
	known   map[[sha256.Size]byte]known
	changes uint64 // of what the rows say of tokens: what was read before a change is not remembered after it
}

// NewSessions remembers for a service, of whose replica Committed must be given the commits.
func NewSessions(s *Service) *Sessions {
	return &Sessions{service: s, rows: s.Rows(), known: map[[sha256.Size]byte]known{}}
}

// Authenticate is Service.Authenticate.
func (s *Sessions) Authenticate(ctx context.Context, token string) (Session, error) {
	slot, hash, ok := parseSecret(accessPrefix, token)
	if !ok {
		return Session{}, unknownToken()
	}
	k, ok := s.find(slot, hash)
	if !ok {
		return Session{}, unknownToken()
	}
	return s.service.admit(ctx, slot, hash, k)
}

func (s *Sessions) find(slot id.Slot, hash [sha256.Size]byte) (known, bool) {
	s.mu.RLock()
	k, ok := s.known[hash]
	changes := s.changes
	s.mu.RUnlock()
	if ok {
		return k, true
	}
	if k, ok = readSession(s.rows, slot, hash); !ok {
		return k, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes != changes {
		return k, true
	}
	if len(s.known) >= maxSessions {
		clear(s.known) // they are read again when they are needed again
	}
	s.known[hash] = k
	return k, true
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
