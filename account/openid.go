package account

import (
	"context"
	"time"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// OpenIDLife is how long a token is good by which a user shows another service who they are.
const OpenIDLife = time.Hour

func openIDKey(slot id.Slot, hash []byte) []byte {
	return append(replica.Row(slot, machineByte, tableOpenID), hash...)
}

type openIDBody struct {
	User  id.UserID `json:"user"`
	Token []byte    `json:"token"`          // SHA-256
	Life  int64     `json:"life,omitempty"` // milliseconds
}

// addOpenID keeps a token until its time is up. It names the password that was in force: whoever sets another one ends it.
func addOpenID(tx *replica.Tx, b openIDBody) ([]byte, error) {
	a, err := find(tx, "account.OpenIDToken", b.User)
	if err != nil {
		return nil, err
	}
	end := tx.Wall() + b.Life
	tx.At(replica.Wall, end, kindOpenIDEnd, replica.Marshal(openIDBody{User: b.User, Token: b.Token}))
	tx.Set(openIDKey(tx.Slot(), b.Token), kv.U64(kv.U32(kv.Str(nil, b.User), a.Changes), end))
	return changed, nil
}

func endOpenID(tx *replica.Tx, b openIDBody) ([]byte, error) {
	tx.Delete(openIDKey(tx.Slot(), b.Token))
	return nil, nil
}

// OpenIDToken is a token that says who the user is, to any service that asks this server, for OpenIDLife. It is good for nothing else.
//
// Specification: requestOpenIdToken.
func (s *Service) OpenIDToken(ctx context.Context, user id.UserID) (string, error) {
	const op = "account.OpenIDToken"
	if err := s.ready(op); err != nil {
		return "", err
	}
	token, hash := newSecret(openIDPrefix, user)
	_, err := s.submit(ctx, user, kindOpenID, openIDBody{user, hash, OpenIDLife.Milliseconds()})
	return token, errs.Wrap(op, err)
}

// OpenIDUser is whose token of OpenIDToken it is: errs.UnknownToken if it is not known, its time is up, or the account has been closed or
// locked.
func (s *Service) OpenIDUser(token string) (id.UserID, error) {
	slot, hash, ok := parseSecret(openIDPrefix, token)
	if !ok {
		return "", unknownOpenID()
	}
	v := s.Rows().Get(openIDKey(slot, hash[:]))
	if v == nil {
		return "", unknownOpenID()
	}
	d := decoder{v: v}
	user, changes, end := id.UserID(d.str()), d.u32(), int64(d.u64()) //nolint:gosec // milliseconds
	d.end("OpenID token")
	if a, _ := Find(s.Rows(), user); a.Deactivated || a.Locked || a.Changes != changes || s.wall(slot) >= end {
		return "", unknownOpenID()
	}
	return user, nil
}

func unknownOpenID() error {
	return errs.New("account.OpenIDUser", errs.Unauthenticated, errs.UnknownToken, "the token is not known, or its time is up")
}
