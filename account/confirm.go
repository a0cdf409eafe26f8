package account

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/url"
	"regexp"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// Whoever says that an e-mail address is theirs gets a link there, and confirms it on the page behind the link, at any site. What is under way
// is a row in the slot of its session, for an hour of live time. The answers never say whether an address is known: what there is to be
// said is said in the message to the address.

// Purpose is what an address is confirmed for; a confirmation is good for nothing else.
type Purpose string

// The purposes.
const (
	ForRegistration Purpose = "register"
	ForPassword     Purpose = "password"
	ForAddress      Purpose = "address"
)

// confirmation is the row of an address that is being confirmed.
type confirmation struct {
	purpose   Purpose
	address   string
	secret    string // SHA-256 of the client's secret
	token     string // SHA-256 of what the link has; empty: there is nothing to confirm, and nobody shall notice
	attempt   uint32
	confirmed int64  // wall time in Unix milliseconds; 0: not yet
	changes   uint32 // ForPassword: Account.Changes when it began
	next      string // where the person goes on
}

func (c confirmation) encode() []byte {
	out := kv.Str(kv.Str(kv.Str(kv.Str(nil, c.purpose), c.address), c.secret), c.token)
	return kv.Str(kv.U32(kv.U64(kv.U32(out, c.attempt), c.confirmed), c.changes), c.next)
}

func confirmationKey(session string) []byte {
	return kv.Str(replica.Row(id.SlotOf(session), machineByte, tableConfirm), session)
}

func readConfirmation(r kv.Reader, session string) (c confirmation, ok bool) {
	v := r.Get(confirmationKey(session))
	if v == nil {
		return c, false
	}
	d := decoder{v: v}
	c = confirmation{purpose: Purpose(d.str()), address: d.str(), secret: d.str(), token: d.str(), attempt: d.u32(),
		confirmed: int64(d.u64()), changes: d.u32(), next: d.str()}
	d.end("confirmation")
	return c, true
}

type beginBody struct {
	Session string  `json:"session"`
	Purpose Purpose `json:"purpose"`
	Address string  `json:"address"`
	Secret  []byte  `json:"secret"`
	Token   []byte  `json:"token,omitempty"`
	Attempt uint32  `json:"attempt"`
	Changes uint32  `json:"changes,omitempty"`
	Next    string  `json:"next,omitempty"`
}

// beginConfirmation notes what is to be confirmed. The result is empty when this attempt has been made: no message is to be sent.
func beginConfirmation(tx *replica.Tx, b beginBody) ([]byte, error) {
	old, ok := readConfirmation(tx, b.Session)
	if ok && b.Attempt <= old.attempt {
		return nil, nil
	}
	if !ok {
		tx.At(replica.Live, tx.Live()+stagesLife, kindConfirmEnd, replica.Marshal(beginBody{Session: b.Session}))
	}
	c := confirmation{b.Purpose, b.Address, string(b.Secret), string(b.Token), b.Attempt, old.confirmed, b.Changes, b.Next}
	tx.Set(confirmationKey(b.Session), c.encode())
	return changed, nil
}

// unsentConfirmation notes that the message of an attempt could not be sent, so that the attempt may be repeated.
func unsentConfirmation(tx *replica.Tx, b beginBody) ([]byte, error) {
	if c, ok := readConfirmation(tx, b.Session); ok && c.attempt == b.Attempt && c.attempt > 0 {
		c.attempt--
		tx.Set(confirmationKey(b.Session), c.encode())
	}
	return nil, nil
}

// confirm notes that the person at the address has followed the link.
func confirm(tx *replica.Tx, b beginBody) ([]byte, error) {
	c, ok := readConfirmation(tx, b.Session)
	if !ok || c.token == "" || c.token != string(b.Token) {
		return nil, badLink()
	}
	if c.confirmed == 0 {
		c.confirmed = tx.Wall()
		tx.Set(confirmationKey(b.Session), c.encode())
	}
	return []byte(c.next), nil
}

func badLink() error {
	return errs.New("account.Confirm", errs.Forbidden, errs.ThreepidAuth, "this link is not good any more: ask for another message")
}

func endConfirmation(tx *replica.Tx, b beginBody) ([]byte, error) {
	tx.Delete(confirmationKey(b.Session))
	return nil, nil
}

// ConfirmPath is the path of the page behind the link, below the public URL.
const ConfirmPath = "/_bongsu/confirm"

// Request asks for an address to be confirmed.
type Request struct {
	Purpose Purpose
	Address string
	Secret  string    // the client's
	Attempt uint32    // from 1; the same number again sends no other message
	Next    string    // a URL, or empty
	User    id.UserID // ForAddress: who asks; may be empty
}

var clientSecret = regexp.MustCompile(`^[0-9a-zA-Z.=_-]{1,255}$`)

// maxNext is the longest URL of Request.Next, in bytes.
const maxNext = 2000

func (rq *Request) check() (err error) {
	const op = "account.RequestConfirmation"
	if rq.Address, err = ParseAddress(rq.Address); err != nil {
		return err
	}
	if !clientSecret.MatchString(rq.Secret) {
		return errs.New(op, errs.Invalid, errs.InvalidParam, "client_secret has 1 to 255 characters of 0-9, a-z, A-Z and . = _ -")
	}
	if rq.Next != "" {
		u, err := url.Parse(rq.Next)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(rq.Next) > maxNext {
			return errs.New(op, errs.Invalid, errs.InvalidParam, "next_link is not a URL that begins with https://")
		}
	}
	return nil
}

// RequestConfirmation sends a message to an address, and returns the session in which it can be confirmed. It takes as long, and says the
// same, whether or not the address is known. Errors: errs.ThreepidMedium where no mail is sent; errs.InvalidParam; errs.Unavailable when
// the message cannot be sent.
func (s *Service) RequestConfirmation(ctx context.Context, rq Request) (session string, err error) {
	const op = "account.RequestConfirmation"
	if s.cfg.Mail == nil {
		return "", noMail()
	}
	if err := rq.check(); err != nil {
		return "", err
	}
	if err := s.ready(op); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(string(rq.Purpose) + "\x00" + rq.Address + "\x00" + rq.Secret))
	session = base64.RawURLEncoding.EncodeToString(sum[:24])
	token := randomText(32)
	body := beginBody{Session: session, Purpose: rq.Purpose, Address: rq.Address, Secret: hashOf(rq.Secret), Attempt: rq.Attempt, Next: rq.Next}
	owner := Owner(s.Rows(), rq.Address)
	if owner != "" {
		a, _ := Find(s.Rows(), owner)
		body.Changes = a.Changes
	}
	letter := s.letter(rq, owner, s.cfg.PublicURL+ConfirmPath+"?"+url.Values{"sid": {session}, "token": {token}}.Encode())
	if letter.hasLink {
		body.Token = hashOf(token)
	}
	res, err := s.propose(ctx, id.SlotOf(session), session, kindConfirmBegin, body)
	if err != nil || len(res) == 0 {
		return session, errs.Wrap(op, err)
	}
	if err := s.cfg.Mail(ctx, rq.Address, letter.subject, letter.text); err != nil {
		if _, unsent := s.propose(context.WithoutCancel(ctx), id.SlotOf(session), session, kindConfirmUnsent, body); unsent != nil {
			return "", errs.Wrap(op, unsent)
		}
		return "", errs.Wrap(op, err)
	}
	return session, nil
}

// SendsMail reports whether addresses can be confirmed.
func (s *Service) SendsMail() bool { return s.cfg.Mail != nil }

// noMail refuses what needs an address to be confirmed where no mail is sent.
func noMail() error {
	return errs.New("account.RequestConfirmation", errs.Unsupported, errs.ThreepidMedium, "this server sends no e-mail: ask its administrator")
}

// Confirm is called for the person who followed the link, and returns where they go on, or "": errs.ThreepidAuth if it is not good.
func (s *Service) Confirm(ctx context.Context, session, token string) (next string, err error) {
	const op = "account.Confirm"
	if len(session) > maxName || session == "" {
		return "", badLink()
	}
	if err := s.ready(op); err != nil {
		return "", err
	}
	res, err := s.propose(ctx, id.SlotOf(session), session, kindConfirm, beginBody{Session: session, Token: hashOf(token)})
	return string(res), errs.Wrap(op, err)
}

// Confirmation is an address that has been confirmed.
type Confirmation struct {
	Address   string
	Confirmed int64 // Unix milliseconds
	changes   uint32
}

// Note is the confirmation as text, for ParseConfirmation.
func (c Confirmation) Note() string { return fmt.Sprintf("%d %s", c.Confirmed, c.Address) }

// ParseConfirmation reads what Note wrote; anything else is not ok.
func ParseConfirmation(note string) (c Confirmation, ok bool) {
	n, err := fmt.Sscanf(note, "%d %s", &c.Confirmed, &c.Address)
	return c, n == 2 && err == nil
}

// Confirmed is what was confirmed in a session, for a purpose, to the client that knows its secret: errs.ThreepidAuth if nothing was.
func (s *Service) Confirmed(purpose Purpose, session, secret string) (Confirmation, error) {
	c, ok := readConfirmation(s.Rows(), session)
	if !ok || c.purpose != purpose || c.confirmed == 0 || subtle.ConstantTimeCompare([]byte(c.secret), hashOf(secret)) != 1 {
		return Confirmation{}, errs.New("account.Confirmed", errs.Forbidden, errs.ThreepidAuth,
			"the address has not been confirmed: follow the link in the message")
	}
	return Confirmation{c.address, c.confirmed, c.changes}, nil
}

// ProofByAddress is the proof that somebody may set the password of the account of an address, which they confirmed for that. A password
// that was set since is not overwritten.
func (s *Service) ProofByAddress(session, secret string) (Proof, error) {
	c, err := s.Confirmed(ForPassword, session, secret)
	if err != nil {
		return Proof{}, err
	}
	user := Owner(s.Rows(), c.Address)
	if a, _ := Find(s.Rows(), user); user == "" || a.Changes != c.changes || a.Deactivated {
		return Proof{}, badLink()
	}
	return Proof{user, c.changes}, nil
}
