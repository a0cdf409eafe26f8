package account

import (
	"context"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/replica"
)

type moderateBody struct {
	User      id.UserID `json:"user"`
	Locked    *bool     `json:"locked,omitempty"` // absent: as it is
	Suspended *bool     `json:"suspended,omitempty"`
	// Operator says that whoever may use the operator's socket asks; an administrator among the users may not act on another one.
	Operator bool `json:"operator,omitempty"`
}

// moderate locks or suspends an account, or ends that.
func moderate(tx *replica.Tx, b moderateBody) ([]byte, error) {
	const op = "account.Moderate"
	a, err := find(tx, op, b.User)
	switch {
	case err != nil && a.Deactivated:
		return nil, noAccount(op)
	case err != nil:
		return nil, err
	case a.Admin && !b.Operator:
		return nil, errs.New(op, errs.Forbidden, "", "the user is an administrator, too")
	}
	if b.Locked != nil {
		a.Locked = *b.Locked
	}
	if b.Suspended != nil {
		a.Suspended = *b.Suspended
	}
	tx.Set(accountKey(b.User), a.encode())
	for _, device := range Devices(tx, b.User) { // what is remembered of their tokens says how the account was
		revoked(tx, decodeDevice(tx.Get(deviceKey(b.User, device.ID))).token)
		l, _ := readLease(tx, b.User, device.ID)
		for _, p := range l.waiting {
			revoked(tx, p.access)
		}
	}
	return changed, nil
}

// locked refuses what cannot be done while an account is locked.
func locked(op string) error {
	return errs.New(op, errs.Unauthenticated, errs.UserLocked, "this account has been locked by an administrator")
}

// Lock locks an account, or unlocks it. Errors: errs.NotFound, also for closed ones.
func (s *Service) Lock(ctx context.Context, user id.UserID, on, operator bool) error {
	return s.moderate(ctx, "account.Lock", moderateBody{User: user, Locked: &on, Operator: operator})
}

// Suspend suspends an account, or ends that. Errors: errs.NotFound, also for closed ones.
func (s *Service) Suspend(ctx context.Context, user id.UserID, on, operator bool) error {
	return s.moderate(ctx, "account.Suspend", moderateBody{User: user, Suspended: &on, Operator: operator})
}

func (s *Service) moderate(ctx context.Context, op string, b moderateBody) error {
	if err := s.ready(op); err != nil {
		return err
	}
	_, err := s.submit(ctx, b.User, kindModerate, b)
	return errs.Wrap(op, err)
}
