package account

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"time"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// Registration tokens let those make an account who were given one. All of them are in one slot: there are few, and an operator
// lists them. A token with a bound on its uses is reserved when its stage is passed, and used when the account is made; a reservation
// ends after two hours of live time, which is longer than a registration may take. Specification: "Token-authenticated registration".

// RegistrationToken is a registration token as an operator sees it. The token itself is not kept.
type RegistrationToken struct {
	Name      string // the operator's, unique
	Uses      uint32 // how many accounts may be made with it; 0: any number
	Completed uint32 // how many were
	Pending   uint32 // registrations under way
	Created   int64  // Unix milliseconds
	Expires   int64  // Unix milliseconds; 0: never
}

// good reports whether another account may be made with the token.
func (t RegistrationToken) good(now int64) bool {
	return (t.Expires == 0 || now < t.Expires) && (t.Uses == 0 || t.Completed+t.Pending < t.Uses)
}

func (t RegistrationToken) encode() []byte {
	out := kv.U32(kv.U32(kv.U32(nil, t.Uses), t.Completed), t.Pending)
	return kv.Str(kv.U64(kv.U64(out, t.Created), t.Expires), t.Name)
}

func decodeRegistrationToken(v []byte) RegistrationToken {
	d := decoder{v: v}
	t := RegistrationToken{Uses: d.u32(), Completed: d.u32(), Pending: d.u32(), Created: int64(d.u64()), Expires: int64(d.u64()), Name: d.str()}
	d.end("registration token")
	return t
}

// registrationSlot is where registration tokens are.
func registrationSlot() id.Slot { return id.SlotOf("registration tokens") }

func regTokenKey(hash []byte) []byte {
	return append(replica.Row(registrationSlot(), machineByte, tableRegToken), hash...)
}

func reservedKey(hash, session []byte) []byte {
	return append(append(replica.Row(registrationSlot(), machineByte, tableReserved), hash...), session...)
}

type regTokenBody struct {
	Token   []byte `json:"token"` // SHA-256
	Name    string `json:"name"`
	Uses    uint32 `json:"uses,omitempty"`
	Expires int64  `json:"expires,omitempty"`
}

func addRegToken(tx *replica.Tx, b regTokenBody) ([]byte, error) {
	if tx.Get(regTokenKey(b.Token)) != nil {
		return nil, errs.New("account.AddRegistrationToken", errs.Conflict, "", "there is this token already")
	}
	if hash, _ := regTokenNamed(tx, b.Name); hash != nil {
		return nil, errs.New("account.AddRegistrationToken", errs.Conflict, "", "there is a registration token of that name")
	}
	tx.Set(regTokenKey(b.Token), RegistrationToken{Name: b.Name, Uses: b.Uses, Expires: b.Expires, Created: tx.Wall()}.encode())
	return changed, nil
}

// regTokenNamed is the hash of the token of a name.
func regTokenNamed(r kv.Reader, name string) (hash []byte, t RegistrationToken) {
	prefix := regTokenKey(nil)
	for k, v := range r.Scan(prefix, kv.End(prefix)) {
		if t := decodeRegistrationToken(v); t.Name == name {
			return append([]byte{}, k[len(prefix):]...), t
		}
	}
	return nil, t
}

type dropRegTokenBody struct {
	Name string `json:"name"`
}

// dropRegToken removes a token. Reservations of it end by themselves, and whoever has one may still use it.
func dropRegToken(tx *replica.Tx, b dropRegTokenBody) ([]byte, error) {
	hash, _ := regTokenNamed(tx, b.Name)
	if hash == nil {
		return nil, errs.New("account.RemoveRegistrationToken", errs.NotFound, "", "there is no registration token of that name")
	}
	tx.Delete(regTokenKey(hash))
	return changed, nil
}

// reservation names a registration that is under way with a token.
type reservation struct {
	Token   []byte    `json:"token"`          // SHA-256
	Session []byte    `json:"session"`        // SHA-256
	User    id.UserID `json:"user,omitempty"` // whose account is made; empty: nobody's yet
}

// reserved is what is kept of it.
type reserved struct {
	used bool      // the account has been made
	user id.UserID // as in reservation
}

func (r reserved) encode() []byte {
	var used byte
	if r.used {
		used = 1
	}
	return kv.Str([]byte{used}, r.user)
}

func readReserved(r kv.Reader, b reservation) (out reserved, ok bool) {
	v := r.Get(reservedKey(b.Token, b.Session))
	if v == nil {
		return out, false
	}
	d := decoder{v: v}
	out = reserved{d.byte() == 1, id.UserID(d.str())}
	d.end("reservation")
	return out, true
}

// reserve takes one of the uses of a token for a session. The session may ask again.
func reserve(tx *replica.Tx, b reservation) ([]byte, error) {
	v := tx.Get(regTokenKey(b.Token))
	if v == nil {
		return nil, badRegToken()
	}
	if _, ok := readReserved(tx, b); ok {
		return nil, nil
	}
	t := decodeRegistrationToken(v)
	if !t.good(tx.Wall()) {
		return nil, badRegToken()
	}
	t.Pending++
	tx.Set(regTokenKey(b.Token), t.encode())
	tx.Set(reservedKey(b.Token, b.Session), reserved{}.encode())
	tx.At(replica.Live, tx.Live()+2*stagesLife, kindRegTokenRelease, replica.Marshal(b))
	return changed, nil
}

func badRegToken() error {
	return errs.New("account.Reserve", errs.Forbidden, "", "the registration token is not valid, or used up")
}

// bind decides for whose account a reservation is: one, however many a session asks for. Without a user it is nobody's again.
func bind(tx *replica.Tx, b reservation) ([]byte, error) {
	r, ok := readReserved(tx, b)
	if !ok || b.User != "" && r.user != "" && r.user != b.User {
		return nil, badRegToken()
	}
	if !r.used {
		r.user = b.User
		tx.Set(reservedKey(b.Token, b.Session), r.encode())
	}
	return nil, nil
}

// useRegToken notes that an account has been made with a token.
func useRegToken(tx *replica.Tx, b reservation) ([]byte, error) {
	r, ok := readReserved(tx, b)
	if ok && r.used {
		return nil, nil
	}
	if ok {
		tx.Set(reservedKey(b.Token, b.Session), reserved{true, r.user}.encode())
	}
	settle(tx, b.Token, ok, 1)
	return nil, nil
}

// release ends a reservation, used or not: its time is up.
func release(tx *replica.Tx, b reservation) ([]byte, error) {
	r, ok := readReserved(tx, b)
	if !ok {
		return nil, nil
	}
	tx.Delete(reservedKey(b.Token, b.Session))
	settle(tx, b.Token, !r.used, 0)
	return nil, nil
}

// settle counts for a token, if it is still there, the end of a reservation, and a use.
func settle(tx *replica.Tx, token []byte, pending bool, used uint32) {
	v := tx.Get(regTokenKey(token))
	if v == nil {
		return
	}
	t := decodeRegistrationToken(v)
	if pending && t.Pending > 0 {
		t.Pending--
	}
	t.Completed += used
	tx.Set(regTokenKey(token), t.encode())
}

// opaque is the grammar of registration tokens. Specification: "Opaque Identifiers".
var opaque = regexp.MustCompile(`^[0-9A-Za-z._~-]{1,64}$`)

func hashOf(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

// AddRegistrationToken makes a registration token and returns it; empty: one is made up. Errors: errs.InvalidParam, errs.Conflict.
func (s *Service) AddRegistrationToken(ctx context.Context, token string, t RegistrationToken) (string, error) {
	const op = "account.AddRegistrationToken"
	if token == "" {
		token = randomText(12)
	}
	switch {
	case !opaque.MatchString(token):
		return "", errs.New(op, errs.Invalid, errs.InvalidParam, "a registration token has 1 to 64 characters of A-Z, a-z, 0-9 and . _ ~ -")
	case t.Name == "" || len(t.Name) > maxName:
		return "", errs.New(op, errs.Invalid, errs.InvalidParam, "the name of a registration token has 1 to %d bytes", maxName)
	}
	if err := s.ready(op); err != nil {
		return "", err
	}
	_, err := s.propose(ctx, registrationSlot(), "", kindRegToken, regTokenBody{hashOf(token), t.Name, t.Uses, t.Expires})
	return token, errs.Wrap(op, err)
}

// RemoveRegistrationToken removes the token of a name: errs.NotFound if there is none.
func (s *Service) RemoveRegistrationToken(ctx context.Context, name string) error {
	const op = "account.RemoveRegistrationToken"
	if err := s.ready(op); err != nil {
		return err
	}
	_, err := s.propose(ctx, registrationSlot(), "", kindRegTokenDrop, dropRegTokenBody{name})
	return errs.Wrap(op, err)
}

// RegistrationTokens are all registration tokens, in no order.
func (s *Service) RegistrationTokens() (out []RegistrationToken) {
	prefix := regTokenKey(nil)
	for _, v := range s.Rows().Scan(prefix, kv.End(prefix)) {
		out = append(out, decodeRegistrationToken(v))
	}
	return out
}

// ValidRegistrationToken reports whether an account may be made with the token now.
func (s *Service) ValidRegistrationToken(token string) bool {
	v := s.Rows().Get(regTokenKey(hashOf(token)))
	return v != nil && decodeRegistrationToken(v).good(s.wall(registrationSlot()))
}

// Reserve takes a use of a registration token for the registration of a session, and returns what Registration wants to know:
// errs.Forbidden if the token is not valid.
func (s *Service) Reserve(ctx context.Context, token, session string) (note string, err error) {
	const op = "account.Reserve"
	if err := s.ready(op); err != nil {
		return "", err
	}
	hash := hashOf(token)
	_, err = s.propose(ctx, registrationSlot(), "", kindRegTokenReserve, reservation{Token: hash, Session: hashOf(session)})
	return base64.RawURLEncoding.EncodeToString(hash), errs.Wrap(op, err)
}

// bound makes the reservation of a registration that of a user; undo gives it back when there is no account in the end.
func (s *Service) bound(ctx context.Context, r Registration, user id.UserID) (_ *reservation, undo func(), err error) {
	undo = func() {}
	if r.Invite == "" {
		return nil, undo, nil
	}
	token, err := base64.RawURLEncoding.DecodeString(r.Invite)
	if err != nil {
		return nil, undo, errs.Wrap("account.Reserve", err)
	}
	b := reservation{token, hashOf(r.Session), user}
	if _, err := s.propose(ctx, registrationSlot(), "", kindRegTokenBind, b); err != nil {
		return nil, undo, errs.Wrap("account.Reserve", err)
	}
	return &b, func() {
		// If it cannot be given back now, its time gives it back.
		_, _ = s.propose(ctx, registrationSlot(), "", kindRegTokenBind, reservation{Token: b.Token, Session: b.Session})
	}, nil
}

// Ends is the time at which a life that begins now ends, in Unix milliseconds; 0 for no life: it never does.
func (s *Service) Ends(life time.Duration) int64 {
	if life == 0 {
		return 0
	}
	return s.wall(registrationSlot()) + life.Milliseconds()
}
