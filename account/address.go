package account

import (
	"context"
	"net/mail"
	"strings"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// An e-mail address belongs to one account. Whose it is is decided in the slot of the address; the account's own list follows
// through the outbox, and holds nothing that is not so in the slot of the address when it is read. Specification: "Adding Account
// Administrative Contact Information".

// Address is a confirmed e-mail address of an account.
type Address struct {
	Address   string
	Confirmed int64 // Unix milliseconds
	Added     int64
}

// ParseAddress is an e-mail address in the form in which it is kept: errs.InvalidParam if it is none.
func ParseAddress(s string) (string, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || len(s) > maxAddress || strings.ContainsAny(s, "\r\n\x00 ") {
		return "", errs.New("account.ParseAddress", errs.Invalid, errs.InvalidParam, "this is not an e-mail address")
	}
	return s, nil
}

// maxAddress is the longest e-mail address, in bytes (RFC 5321).
const maxAddress = 254

func addressSlot(address string) id.Slot { return id.SlotOf("email:" + address) }

func ownerKey(address string) []byte {
	return kv.Str(replica.Row(addressSlot(address), machineByte, tableOwner), address)
}

func addressKey(user id.UserID, address string) []byte {
	return kv.Str(row(user, tableAddress), address)
}

type addressBody struct {
	User      id.UserID `json:"user"`
	Address   string    `json:"address"`
	Confirmed int64     `json:"confirmed,omitempty"`
	Added     int64     `json:"added,omitempty"`
}

// Owner is whose an e-mail address is; empty: nobody's.
func Owner(r kv.Reader, address string) id.UserID {
	v := r.Get(ownerKey(address))
	if v == nil {
		return ""
	}
	d := decoder{v: v}
	user := id.UserID(d.str())
	d.end("owner of an address")
	return user
}

// claim gives a confirmed address to an account, unless another one has it.
func claim(tx *replica.Tx, b addressBody) ([]byte, error) {
	if owner := Owner(tx, b.Address); owner != "" && owner != b.User {
		return nil, errs.New("account.AddAddress", errs.Conflict, errs.ThreepidInUse, "this address belongs to another account")
	}
	tx.Set(ownerKey(b.Address), kv.Str(nil, b.User))
	b.Added = tx.Wall()
	tx.Send(id.SlotOf(b.User), kindKeepAddress, replica.Marshal(b))
	return replica.Marshal(b), nil
}

// keepAddress puts an address on the list of its account. An account that has been closed meanwhile gives it back.
func keepAddress(tx *replica.Tx, b addressBody) ([]byte, error) {
	if _, err := find(tx, "account.AddAddress", b.User); err != nil {
		tx.Send(addressSlot(b.Address), kindReleaseAddress, replica.Marshal(b))
		return nil, nil //nolint:nilerr // a refusal would take back what was sent
	}
	tx.Set(addressKey(b.User, b.Address), kv.U64(kv.U64(nil, b.Confirmed), b.Added))
	return nil, nil
}

// dropAddress takes an address off the list of its account, and gives it back.
func dropAddress(tx *replica.Tx, b addressBody) ([]byte, error) {
	tx.Delete(addressKey(b.User, b.Address))
	tx.Send(addressSlot(b.Address), kindReleaseAddress, replica.Marshal(addressBody{User: b.User, Address: b.Address}))
	return changed, nil
}

// dropAddresses is dropAddress for all addresses of an account.
func dropAddresses(tx *replica.Tx, user id.UserID) {
	for _, a := range listed(tx, user) {
		_, _ = dropAddress(tx, addressBody{User: user, Address: a.Address})
	}
}

func releaseAddress(tx *replica.Tx, b addressBody) ([]byte, error) {
	if Owner(tx, b.Address) == b.User {
		tx.Delete(ownerKey(b.Address))
	}
	return nil, nil
}

// listed is the list of an account's addresses.
func listed(r kv.Reader, user id.UserID) (out []Address) {
	prefix := row(user, tableAddress)
	for k, v := range r.Scan(prefix, kv.End(prefix)) {
		name, value := decoder{v: k[len(prefix):]}, decoder{v: v}
		out = append(out, Address{name.str(), int64(value.u64()), int64(value.u64())})
		name.end("address")
		value.end("address")
	}
	return out
}

// Addresses are the e-mail addresses of an account.
func (s *Service) Addresses(user id.UserID) (out []Address) {
	for _, a := range listed(s.Rows(), user) {
		if Owner(s.Rows(), a.Address) == user {
			out = append(out, a)
		}
	}
	return out
}

// ByAddress is the user whose e-mail address it is; empty: nobody.
func (s *Service) ByAddress(address string) id.UserID {
	address, err := ParseAddress(address)
	if err != nil {
		return ""
	}
	return Owner(s.Rows(), address)
}

// AddAddress gives a confirmed address to an account: errs.ThreepidInUse if another one has it.
func (s *Service) AddAddress(ctx context.Context, user id.UserID, c Confirmation) error {
	const op = "account.AddAddress"
	if err := s.ready(op); err != nil {
		return err
	}
	body := addressBody{User: user, Address: c.Address, Confirmed: c.Confirmed}
	if _, err := s.propose(ctx, addressSlot(c.Address), string(user), kindClaimAddress, body); err != nil {
		return errs.Wrap(op, err)
	}
	// The outbox brings it, too; but who asks next should find it.
	body.Added = s.wall(addressSlot(c.Address))
	_, err := s.submit(ctx, user, kindKeepAddress, body)
	return errs.Wrap(op, err)
}

// RemoveAddress takes an address from an account. One that is not there is no error.
func (s *Service) RemoveAddress(ctx context.Context, user id.UserID, address string) error {
	const op = "account.RemoveAddress"
	if err := s.ready(op); err != nil {
		return err
	}
	address, err := ParseAddress(address)
	if err != nil {
		return err
	}
	body := addressBody{User: user, Address: address}
	if _, err := s.submit(ctx, user, kindDropAddress, body); err != nil {
		return errs.Wrap(op, err)
	}
	_, err = s.propose(ctx, addressSlot(address), string(user), kindReleaseAddress, body) // as in AddAddress
	return errs.Wrap(op, err)
}
