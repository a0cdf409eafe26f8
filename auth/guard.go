package auth

import (
	"container/list"
	"sync"
	"time"

	"bongsu/clock"
)

const (
	// freeGuesses is how many wrong passwords in a row cost nothing: people mistype.
	freeGuesses = 5
	// firstDelay follows the next wrong one; each further one doubles it, up to maxDelay.
	firstDelay = time.Second
	maxDelay   = time.Minute
	// forgetAfter is how long a row of wrong passwords is remembered after the last one.
	forgetAfter = time.Hour
	// maxGuarded bounds the accounts that are remembered, at some 200 bytes each; the longest unused is forgotten.
	maxGuarded = 50_000
)

// Guard slows down whoever guesses the password of an account, from wherever: with each wrong one the next has to wait for longer. It is safe
// for concurrent use; nil guards nothing.
//
// Invariant: an attempt counts as wrong until it has turned out to be right, so that many at once gain nothing.
//
// Limits: counted at this site alone. The owner has to wait, too, while somebody guesses: a minute at most.
type Guard struct {
	clock clock.Clock

	mu    sync.Mutex
	used  list.List // of *guesses, the latest first
	index map[string]*list.Element
}

// guesses are the wrong passwords of an account in a row.
type guesses struct {
	account string
	wrong   int
	next    time.Time // when another one may be tried
	last    time.Time
}

// NewGuard makes one.
func NewGuard(c clock.Clock) *Guard { return &Guard{clock: c, index: map[string]*list.Element{}} }

// Try is called before a password of an account is checked: 0, or how long to wait before it may be.
func (g *Guard) Try(account string) time.Duration {
	if g == nil {
		return 0
	}
	now := g.clock.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.of(account)
	if now.Sub(t.last) > forgetAfter {
		t.wrong = 0
	}
	if wait := t.next.Sub(now); t.wrong > freeGuesses && wait > 0 {
		return min(wait, maxDelay) // the clock may have been set back
	}
	t.wrong++
	t.last, t.next = now, now
	if over := t.wrong - freeGuesses; over > 0 {
		t.next = now.Add(min(firstDelay<<min(over-1, 10), maxDelay))
	}
	return 0
}

// Right is called when the password was right.
func (g *Guard) Right(account string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if e, ok := g.index[account]; ok {
		delete(g.index, account)
		g.used.Remove(e)
	}
}

func (g *Guard) of(account string) *guesses {
	if e, ok := g.index[account]; ok {
		g.used.MoveToFront(e)
		return e.Value.(*guesses) //nolint:errcheck // the list has nothing else
	}
	if g.used.Len() >= maxGuarded {
		oldest := g.used.Back()
		delete(g.index, oldest.Value.(*guesses).account) //nolint:errcheck // the list has nothing else
		g.used.Remove(oldest)
	}
	t := &guesses{account: account}
	g.index[account] = g.used.PushFront(t)
	return t
}
