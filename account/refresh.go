package account

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"
	"time"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// A device that asked for it has a refresh token besides its access token, whose time then runs out. Refreshing makes a new pair. The
// old pair stays good until one of the new pair is used: the answer may be lost on its way. A request that was given up at one
// site may be applied after its repetition at another has been answered, so all pairs of unused answers are good until one
// of them is used (docs/adr/0038-refreshed-tokens-wait-to-be-used.md). Specification: "Refreshing access tokens".

// rulesAccounts is the rules version that brought refresh tokens, moderation, tokens for one login and addresses.
const rulesAccounts = 3

// maxPairs is how many pairs of a device wait to be used; the oldest goes.
const maxPairs = 8

// pair is an access token and its refresh token, as SHA-256.
type pair struct{ access, refresh string }

// lease is what a device with a refresh token has besides deviceRow.
type lease struct {
	refresh string // of the pair in use
	waiting []pair // given out and not used yet, the oldest first
}

func (l lease) encode() []byte {
	out := kv.Str(nil, l.refresh)
	for _, p := range l.waiting {
		out = kv.Str(kv.Str(out, p.access), p.refresh)
	}
	return out
}

func readLease(r kv.Reader, user id.UserID, device id.DeviceID) (l lease, ok bool) {
	v := r.Get(leaseKey(user, device))
	if v == nil {
		return l, false
	}
	d := decoder{v: v}
	l.refresh = d.str()
	for len(d.v) > 0 && d.err == nil {
		l.waiting = append(l.waiting, pair{d.str(), d.str()})
	}
	d.end("lease")
	return l, true
}

// tokenRow is whose an access token is. Rows of before rules 3, and of tokens without an end, have only the names.
type tokenRow struct {
	user    id.UserID
	device  id.DeviceID
	expires int64 // wall time in Unix milliseconds; 0: never
	waiting bool  // not used yet; its use ends the pair that it replaces
}

func (t tokenRow) encode() []byte {
	out := kv.Str(kv.Str(nil, t.user), t.device)
	if t.expires == 0 {
		return out
	}
	var waiting byte
	if t.waiting {
		waiting = 1
	}
	return append(kv.U64(out, t.expires), waiting)
}

func decodeToken(v []byte) tokenRow {
	d := decoder{v: v}
	t := tokenRow{user: id.UserID(d.str()), device: id.DeviceID(d.str())}
	if len(d.v) > 0 {
		t.expires, t.waiting = int64(d.u64()), d.byte() == 1
	}
	d.end("token")
	return t
}

func setToken(tx *replica.Tx, hash string, t tokenRow) {
	tx.Set(tokenKey(tx.Slot(), []byte(hash)), t.encode())
}

// dropToken makes an access token unknown.
func dropToken(tx *replica.Tx, hash string) {
	tx.Delete(tokenKey(tx.Slot(), []byte(hash)))
	revoked(tx, hash)
}

// grant gives a device a refresh token, and its access token an end.
func grant(tx *replica.Tx, user id.UserID, n newDevice) {
	setToken(tx, string(n.Token), tokenRow{user: user, device: n.ID, expires: tx.Wall() + n.Life})
	tx.Set(leaseKey(user, n.ID), lease{refresh: string(n.Refresh)}.encode())
	tx.Set(refreshKey(tx.Slot(), n.Refresh), kv.Str(kv.Str(nil, user), n.ID))
}

// dropLease makes the refresh tokens of a device unknown, and the pairs that wait to be used.
func dropLease(tx *replica.Tx, user id.UserID, device id.DeviceID) {
	l, ok := readLease(tx, user, device)
	if !ok {
		return
	}
	tx.Delete(leaseKey(user, device))
	tx.Delete(refreshKey(tx.Slot(), []byte(l.refresh)))
	for _, p := range l.waiting {
		dropToken(tx, p.access)
		tx.Delete(refreshKey(tx.Slot(), []byte(p.refresh)))
	}
}

// take puts the i-th of the waiting pairs in use: all others of the device are known no more.
func (l *lease) take(tx *replica.Tx, user id.UserID, device id.DeviceID, i int) {
	used := l.waiting[i]
	row := decodeDevice(tx.Get(deviceKey(user, device)))
	dropToken(tx, row.token)
	tx.Delete(refreshKey(tx.Slot(), []byte(l.refresh)))
	for _, p := range slices.Delete(slices.Clone(l.waiting), i, i+1) {
		dropToken(tx, p.access)
		tx.Delete(refreshKey(tx.Slot(), []byte(p.refresh)))
	}
	t := decodeToken(tx.Get(tokenKey(tx.Slot(), []byte(used.access))))
	t.waiting = false
	setToken(tx, used.access, t)
	revoked(tx, used.access) // what is remembered of it is to be read again
	row.token, l.refresh, l.waiting = used.access, used.refresh, nil
	tx.Set(deviceKey(user, device), row.encode())
	tx.Set(leaseKey(user, device), l.encode())
}

type refreshBody struct {
	Old     []byte `json:"old"` // SHA-256 of the refresh token that was brought
	Token   []byte `json:"token"`
	Refresh []byte `json:"refresh"`
	Life    int64  `json:"life"` // of the access token, in milliseconds
}

// refresh makes a new pair for the device of a refresh token.
func refresh(tx *replica.Tx, b refreshBody) ([]byte, error) {
	const op = "account.Refresh"
	t, ok := findRefresh(tx, tx.Slot(), b.Old)
	if !ok {
		return nil, unknownToken()
	}
	a, err := find(tx, op, t.user)
	if err != nil {
		return nil, err
	}
	if a.Locked {
		return nil, locked(op)
	}
	l, _ := readLease(tx, t.user, t.device)
	if i := slices.IndexFunc(l.waiting, func(p pair) bool { return p.refresh == string(b.Old) }); i >= 0 {
		l.take(tx, t.user, t.device, i)
	}
	if len(l.waiting) >= maxPairs {
		dropToken(tx, l.waiting[0].access)
		tx.Delete(refreshKey(tx.Slot(), []byte(l.waiting[0].refresh)))
		l.waiting = l.waiting[1:]
	}
	l.waiting = append(l.waiting, pair{string(b.Token), string(b.Refresh)})
	tx.Set(leaseKey(t.user, t.device), l.encode())
	setToken(tx, string(b.Token), tokenRow{user: t.user, device: t.device, expires: tx.Wall() + b.Life, waiting: true})
	tx.Set(refreshKey(tx.Slot(), b.Refresh), kv.Str(kv.Str(nil, t.user), t.device))
	return changed, nil
}

// findRefresh is whose a refresh token is, of which the hash is known.
func findRefresh(r kv.Reader, slot id.Slot, hash []byte) (t tokenRow, ok bool) {
	v := r.Get(refreshKey(slot, hash))
	if v == nil {
		return t, false
	}
	d := decoder{v: v}
	t = tokenRow{user: id.UserID(d.str()), device: id.DeviceID(d.str())}
	d.end("refresh token")
	return t, true
}

type usedBody struct {
	Token []byte `json:"token"` // SHA-256 of an access token
}

// used puts a pair in use whose access token was brought for the first time.
func used(tx *replica.Tx, b usedBody) ([]byte, error) {
	v := tx.Get(tokenKey(tx.Slot(), b.Token))
	if v == nil {
		return nil, unknownToken()
	}
	t := decodeToken(v)
	l, _ := readLease(tx, t.user, t.device)
	i := slices.IndexFunc(l.waiting, func(p pair) bool { return p.access == string(b.Token) })
	if i < 0 {
		return nil, nil // it is in use
	}
	l.take(tx, t.user, t.device, i)
	return changed, nil
}

// Refresh is a new access token and a new refresh token for the device of a refresh token. Errors: errs.UnknownToken;
// errs.UserLocked.
func (s *Service) Refresh(ctx context.Context, token string) (Login, error) {
	const op = "account.Refresh"
	slot, hash, ok := parseSecret(refreshPrefix, token)
	if !ok {
		return Login{}, unknownToken()
	}
	t, ok := findRefresh(s.Rows(), slot, hash[:])
	if !ok {
		return Login{}, unknownToken()
	}
	out := Login{User: t.user, Device: t.device, Life: s.cfg.TokenLife}
	body := refreshBody{Old: hash[:], Life: s.cfg.TokenLife.Milliseconds()}
	out.Token, body.Token = newSecret(accessPrefix, t.user)
	out.Refresh, body.Refresh = newSecret(refreshPrefix, t.user)
	if _, err := s.submit(ctx, t.user, kindRefresh, body); err != nil {
		return Login{}, errs.Wrap(op, err)
	}
	return out, nil
}

// useTimeout is how long the first use of a token waits for the end of what it replaces.
const useTimeout = 2 * time.Second

// admit lets in whoever brought an access token, unless its time is up. The first use ends the pair that the token's replaces; while the
// site cannot write, that is left to a later use.
func (s *Service) admit(ctx context.Context, slot id.Slot, hash [sha256.Size]byte, k known) (Session, error) {
	if k.expires != 0 && s.wall(slot) >= k.expires {
		return k.Session, errs.New("account.Authenticate", errs.Unauthenticated, errs.TokenExpired, "the access token's time is up: refresh it, or log in again")
	}
	if !k.waiting || s.cfg.Replica.Writable() != nil {
		return k.Session, nil
	}
	ctx, cancel := context.WithTimeout(ctx, useTimeout)
	defer cancel()
	if _, err := s.submit(ctx, k.User, kindUsed, usedBody{bytes.Clone(hash[:])}); err != nil && !errs.Is(err, errs.Unavailable) {
		return k.Session, errs.Wrap("account.Authenticate", err)
	}
	return k.Session, nil
}

// wall is the time of day that the sites agree on for a slot, in Unix milliseconds. It stands while a majority is away: what nobody can
// renew does not expire.
func (s *Service) wall(slot id.Slot) int64 {
	return s.cfg.Replica.Status(s.partition(slot)).Wall
}

func (s *Service) partition(slot id.Slot) journal.Partition {
	return replica.PartitionOf(slot, s.cfg.Replica.Partitions())
}

// enabled reports whether the new kinds of proposal can be submitted: all partitions follow rules that have them.
func (s *Service) enabled() bool {
	for i := range s.cfg.Replica.Partitions() {
		if s.cfg.Replica.Status(journal.Partition(i)).Rules < rulesAccounts {
			return false
		}
	}
	return true
}

// ready is nil when the new kinds can be submitted. While sites of an older build are there they must not: those would halt.
func (s *Service) ready(op string) error {
	if s.enabled() {
		return nil
	}
	return errs.New(op, errs.Unavailable, "", "this works when all sites have been upgraded; try again later")
}
