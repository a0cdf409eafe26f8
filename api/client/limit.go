package client

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"bongsu/clock"
	"bongsu/errs"
)

// Limit names a rate limit.
type Limit string

// The rate limits. Those of a Route count by user, or by address where there is no session. LimitAccount is for the handler of
// login, which knows whose password is being guessed: rq.Allow(LimitAccount, user); LimitToken for tokens that were made.
const (
	LimitLogin    Limit = "login"
	LimitAccount  Limit = "account"
	LimitRegister Limit = "register"
	LimitToken    Limit = "token"
	LimitMail     Limit = "mail"
	LimitSend     Limit = "send"

	LimitDirectory Limit = "directory"
	LimitReport    Limit = "report"
	LimitOpenID    Limit = "openid"
)

// Rate is a token bucket.
type Rate struct {
	PerSecond float64 // how fast it fills
	Burst     int     // how much it holds
}

// Limits are the rate limits. A zero Rate is the default one.
type Limits struct {
	Off      bool
	Login    Rate // by address; default 5 a second, 100 at once: an office behind one address starts its day
	Account  Rate // logins of one account, by anybody; default 1 in 2 seconds, 20 at once
	Register Rate // by address; default 1 a second, 50 at once
	Token    Rate // tokens for another login, by user; default 1 a minute, 3 at once
	Mail     Rate // messages to e-mail addresses, by address of the client and of the person; default 1 a minute, 5 at once
	Send     Rate // writes to rooms, by user; default 50 a second, 500 at once
	// Looking for rooms, by user or address; default 10 a second, 100 at once.
	Directory Rate
	Report    Rate // reports to the operator, by user; default 1 in 10 seconds, 20 at once
	OpenID    Rate // tokens for other services, by user; default 1 in 5 seconds, 20 at once
	MaxKeys   int  // buckets kept; the longest unused is forgotten; default 100,000, about 250 bytes each
}

func (r Rate) or(def Rate) Rate {
	if r == (Rate{}) {
		return def
	}
	return r
}

type limitKey struct {
	limit Limit
	key   string
}

type bucket struct {
	key limitKey
	*rate.Limiter
}

// limiter holds the buckets, the most recently used first.
type limiter struct {
	rates map[Limit]Rate // nil: no limits
	max   int
	clock clock.Clock

	mu    sync.Mutex
	used  list.List // of *bucket
	index map[limitKey]*list.Element
}

func newLimiter(l Limits, c clock.Clock) *limiter {
	lim := &limiter{max: l.MaxKeys, clock: c, index: map[limitKey]*list.Element{}}
	if lim.max == 0 {
		lim.max = 100_000
	}
	if !l.Off {
		lim.rates = map[Limit]Rate{
			LimitLogin:    l.Login.or(Rate{5, 100}),
			LimitAccount:  l.Account.or(Rate{0.5, 20}),
			LimitRegister: l.Register.or(Rate{1, 50}),
			LimitToken:    l.Token.or(Rate{1.0 / 60, 3}),
			LimitMail:     l.Mail.or(Rate{1.0 / 60, 5}),
			LimitSend:     l.Send.or(Rate{50, 500}),

			LimitDirectory: l.Directory.or(Rate{10, 100}),
			LimitReport:    l.Report.or(Rate{0.1, 20}),
			LimitOpenID:    l.OpenID.or(Rate{0.2, 20}),
		}
	}
	return lim
}

// allow takes a token from the bucket of key; if there is none it says how long until there is.
func (l *limiter) allow(limit Limit, key string) (wait time.Duration) {
	r, ok := l.rates[limit]
	if !ok {
		return 0
	}
	now := l.clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(limitKey{limit, key}, r)
	if b.AllowN(now, 1) {
		return 0
	}
	missing := 1 - b.TokensAt(now)
	return max(time.Duration(missing/r.PerSecond*float64(time.Second)), time.Millisecond)
}

func (l *limiter) bucket(k limitKey, r Rate) *bucket {
	if e, ok := l.index[k]; ok {
		l.used.MoveToFront(e)
		return e.Value.(*bucket) //nolint:errcheck // the list has nothing else
	}
	if l.used.Len() >= l.max {
		oldest := l.used.Back()
		delete(l.index, oldest.Value.(*bucket).key) //nolint:errcheck // the list has nothing else
		l.used.Remove(oldest)
	}
	b := &bucket{key: k, Limiter: rate.NewLimiter(rate.Limit(r.PerSecond), r.Burst)}
	l.index[k] = l.used.PushFront(b)
	return b
}

// Allow counts against a rate limit: nil, or errs.Limited with the time to wait. Key is who is counted: a user, an address.
func (rq *Request) Allow(limit Limit, key string) error {
	wait := rq.api.limiter.allow(limit, key)
	if wait == 0 {
		return nil
	}
	return &errs.Error{Op: "api.limit", Kind: errs.Limited, Message: "too many requests; slow down", RetryAfter: wait}
}

// limitKey is the user, or the address: of IPv6 the network, since one customer has 2^64 addresses.
func (rq *Request) limitKey() string {
	if rq.session.User != "" {
		return string(rq.session.User)
	}
	addr := rq.Address()
	if addr.Is6() {
		if p, err := addr.WithZone("").Prefix(64); err == nil {
			addr = p.Addr()
		}
	}
	if addr == (netip.Addr{}) {
		return ""
	}
	return addr.String()
}
