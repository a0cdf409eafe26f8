package account

import (
	"context"
	"time"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// LoginTokenLife is how long a token for a login is good. Specification: generateLoginToken recommends two minutes.
const LoginTokenLife = 2 * time.Minute

func loginTokenKey(slot id.Slot, hash []byte) []byte {
	return append(replica.Row(slot, machineByte, tableLoginToken), hash...)
}

type loginTokenBody struct {
	User    id.UserID `json:"user"`
	Token   []byte    `json:"token"`   // SHA-256
	Changes uint32    `json:"changes"` // Account.Changes of the password that was checked
	Life    int64     `json:"life"`    // milliseconds
}

// addLoginToken keeps a token for one login, until its time is up.
func addLoginToken(tx *replica.Tx, b loginTokenBody) ([]byte, error) {
	const op = "account.LoginToken"
	a, err := find(tx, op, b.User)
	if err != nil {
		return nil, err
	}
	if a.Changes != b.Changes {
		return nil, stale(op)
	}
	timer := tx.At(replica.Wall, tx.Wall()+b.Life, kindLoginTokenEnd, replica.Marshal(loginTokenBody{User: b.User, Token: b.Token}))
	tx.Set(loginTokenKey(tx.Slot(), b.Token), append(kv.U32(kv.Str(nil, b.User), a.Changes), timer...))
	return changed, nil
}

func endLoginToken(tx *replica.Tx, b loginTokenBody) ([]byte, error) {
	tx.Delete(loginTokenKey(tx.Slot(), b.Token))
	return nil, nil
}

type tokenLoginBody struct {
	Token  []byte    `json:"token"` // SHA-256
	Device newDevice `json:"device"`
}

// tokenLogin makes a device for whoever has a token for a login, and uses the token up. A password that was changed since ends it.
func tokenLogin(tx *replica.Tx, b tokenLoginBody) ([]byte, error) {
	const op = "account.TokenLogin"
	user, changes, timer, ok := readLoginToken(tx, tx.Slot(), b.Token)
	if !ok {
		return nil, badLoginToken()
	}
	a, err := find(tx, op, user)
	switch {
	case err != nil:
		return nil, err
	case a.Changes != changes:
		return nil, badLoginToken()
	case a.Locked:
		return nil, locked(op)
	}
	tx.Cancel(timer)
	tx.Delete(loginTokenKey(tx.Slot(), b.Token))
	putDevice(tx, user, b.Device)
	return changed, nil
}

func readLoginToken(r kv.Reader, slot id.Slot, hash []byte) (user id.UserID, changes uint32, timer replica.Timer, ok bool) {
	v := r.Get(loginTokenKey(slot, hash))
	if v == nil {
		return "", 0, nil, false
	}
	d := decoder{v: v}
	user, changes = id.UserID(d.str()), d.u32()
	d.check("login token")
	return user, changes, replica.Timer(d.v), true
}

func badLoginToken() error {
	return errs.New("account.TokenLogin", errs.Forbidden, "", "the login token is not known, has been used, or its time is up")
}

// LoginToken is a token with which another client may log in once, as a user who proved to know the password.
func (s *Service) LoginToken(ctx context.Context, p Proof) (string, error) {
	const op = "account.LoginToken"
	if err := s.ready(op); err != nil {
		return "", err
	}
	token, hash := newSecret(loginPrefix, p.User)
	_, err := s.submit(ctx, p.User, kindLoginToken, loginTokenBody{p.User, hash, p.changes, LoginTokenLife.Milliseconds()})
	return token, errs.Wrap(op, err)
}

// TokenLogin is Login for whoever has a token of LoginToken: errs.Forbidden if it is not good.
func (s *Service) TokenLogin(ctx context.Context, token string, n NewSession) (Login, error) {
	slot, hash, ok := parseSecret(loginPrefix, token)
	if !ok {
		return Login{}, badLoginToken()
	}
	user, _, _, ok := readLoginToken(s.Rows(), slot, hash[:])
	if !ok {
		return Login{}, badLoginToken()
	}
	d, out, err := s.newDevice(user, n)
	if err != nil {
		return Login{}, err
	}
	if _, err := s.submit(ctx, user, kindTokenLogin, tokenLoginBody{hash[:], *d}); err != nil {
		return Login{}, errs.Wrap("account.TokenLogin", err)
	}
	return out, nil
}
