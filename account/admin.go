package account

import (
	"bytes"
	"context"
	"slices"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// AddUser makes an account without a device, whether or not registration is open, for an operator. Errors: errs.InvalidUsername,
// errs.WeakPassword, errs.UserInUse.
func (s *Service) AddUser(ctx context.Context, localpart, password string, admin bool) (id.UserID, error) {
	const op = "account.AddUser"
	user, err := id.NewUserID(localpart, s.cfg.Server)
	if err != nil {
		return "", err
	}
	if err := s.cfg.Passwords.Check(password); err != nil {
		return "", err
	}
	if _, taken := Find(s.Rows(), user); taken {
		return "", userInUse()
	}
	hash, err := s.cfg.Passwords.Hash(ctx, password)
	if err != nil {
		return "", errs.Wrap(op, err)
	}
	_, err = s.submit(ctx, user, kindRegister, registerBody{User: user, Password: hash, Admin: admin})
	return user, errs.Wrap(op, err)
}

// SetPassword sets a user's password on an operator's word; with logout all devices end. Errors: errs.WeakPassword,
// errs.NotFound, errs.UserDeactivated.
func (s *Service) SetPassword(ctx context.Context, user id.UserID, password string, logout bool) error {
	return errs.Wrap("account.SetPassword", s.setPassword(ctx, passwordBody{User: user, Logout: logout}, password))
}

// SetAdmin makes a user an administrator, or an ordinary user again. Errors: errs.NotFound, errs.UserDeactivated.
func (s *Service) SetAdmin(ctx context.Context, user id.UserID, admin bool) error {
	_, err := s.submit(ctx, user, kindAdmin, adminBody{user, admin})
	return errs.Wrap("account.SetAdmin", err)
}

// IsAdmin reports whether a user is an administrator of this server.
func (s *Service) IsAdmin(user id.UserID) bool {
	a, _ := Find(s.Rows(), user)
	return a.Admin
}

// CloseAccount closes a user's account on an operator's word, as Deactivate does. Errors: errs.NotFound, errs.UserDeactivated.
func (s *Service) CloseAccount(ctx context.Context, user id.UserID, erase bool) error {
	return s.Deactivate(ctx, Proof{User: user}, erase)
}

// User is a line of a listing.
type User struct {
	ID id.UserID
	Account
}

// ListUsers is up to limit accounts in the order of their ids, beginning behind after; empty: from the start. Fewer than limit
// are the last.
func (s *Service) ListUsers(after id.UserID, limit int) []User {
	var ids []id.UserID
	for i := range s.cfg.Replica.Partitions() {
		p := journal.Partition(i)
		all := replica.Derived(p, machineByte, tableNames)
		lo := namesKey(p, after)
		n := 0
		for k := range s.Rows().Scan(lo, kv.End(all)) {
			if bytes.Equal(k, lo) {
				continue
			}
			if n++; n > limit {
				break
			}
			d := decoder{v: k[len(all):]}
			ids = append(ids, id.UserID(d.str()))
			d.end("name")
		}
	}
	slices.Sort(ids)
	out := make([]User, 0, min(len(ids), limit))
	for _, user := range ids[:min(len(ids), limit)] {
		if a, ok := Find(s.Rows(), user); ok {
			out = append(out, User{user, a})
		}
	}
	return out
}
