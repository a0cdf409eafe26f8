package account

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"
	"unicode/utf8"

	"bongsu/auth"
	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// Config is what the service works with. Replica, Server and Passwords are required.
type Config struct {
	Replica   *replica.Replica
	Server    id.ServerName
	Passwords *auth.Passwords
	// ProfileChanged is called when a user's displayname or avatar has changed and is kept, before the user is answered. It
	// should only take note, as Herald.Tell does: the context ends with the request. Nil: nobody wants to know.
	ProfileChanged func(ctx context.Context, user id.UserID)
	// Mail sends a message to an e-mail address, and returns when it is on its way. Nil: no mail is sent, and no address can be added.
	Mail      func(ctx context.Context, to, subject, text string) error
	PublicURL string // by which people reach the server, for links in messages; required with Mail
	// TokenLife is how long the access token of a device with a refresh token is good; default 1 h. Others have no end.
	TokenLife time.Duration
}

// Service is what the edge and the operator call. It is safe for concurrent use.
type Service struct{ cfg Config }

// New makes the service.
func New(cfg Config) *Service {
	if cfg.TokenLife == 0 {
		cfg.TokenLife = time.Hour
	}
	return &Service{cfg}
}

// Rows are the newest rows, for this package's read functions.
func (s *Service) Rows() kv.Reader { return s.cfg.Replica.Rows() }

// Server is the name of this server.
func (s *Service) Server() id.ServerName { return s.cfg.Server }

// submit proposes a change of a user's rows.
func (s *Service) submit(ctx context.Context, user id.UserID, kind string, body any) ([]byte, error) {
	return s.propose(ctx, id.SlotOf(user), string(user), kind, body)
}

// propose proposes a change in a slot; those who share a lane wait in one queue.
func (s *Service) propose(ctx context.Context, slot id.Slot, lane, kind string, body any) ([]byte, error) {
	return s.cfg.Replica.Submit(ctx, replica.Proposal{Kind: kind, Slot: slot, Body: replica.Marshal(body), Lane: lane})
}

// UserID is the user id on this server that a person means by name: a user id, or a localpart, in capitals or not. Errors:
// errs.InvalidUsername.
func (s *Service) UserID(name string) (id.UserID, error) {
	local := name
	if full, ok := strings.CutPrefix(name, "@"); ok {
		var server string
		if local, server, _ = strings.Cut(full, ":"); server != string(s.cfg.Server) {
			return "", errs.New("account.UserID", errs.Invalid, errs.InvalidUsername, "the user is not of this server")
		}
	}
	return id.NewUserID(strings.ToLower(local), s.cfg.Server)
}

// Available is nil when the user name can be registered, or has been by a registration with this nonce (see Registration):
// otherwise errs.InvalidUsername or errs.UserInUse.
func (s *Service) Available(localpart, nonce string) error {
	user, err := id.NewUserID(strings.ToLower(localpart), s.cfg.Server)
	if err != nil {
		return err
	}
	if a, taken := Find(s.Rows(), user); taken && !a.repeats(nonce) {
		return userInUse()
	}
	return nil
}

// Registration is a wish for an account.
type Registration struct {
	Localpart    string // the user name; empty: one is made up
	Password     string
	Device       id.DeviceID // empty: one is made up
	DeviceName   string
	InhibitLogin bool // no device, no token
	Refresh      bool // the client knows refresh tokens
	// Nonce names this registration among the client's calls. When its answer was lost and it is sent again, with the same
	// nonce and password, it is answered with a new token instead of "the name is taken". Empty: no such favour.
	Nonce string
	// Invite is what Reserve said of the registration token for the session Session; empty: there was none.
	Invite  string
	Session string
}

// Login is what a client needs to act for a user. Device and Token are empty after a registration with InhibitLogin.
type Login struct {
	User    id.UserID
	Device  id.DeviceID
	Token   string
	Refresh string        // the refresh token; empty: none, and the access token has no end
	Life    time.Duration // of the access token, with Refresh
}

// NewSession is a wish for a device.
type NewSession struct {
	Device  id.DeviceID // empty: one is made up
	Name    string      // display name
	Refresh bool        // the client knows refresh tokens
}

// Register makes an account, its first device and the token in one write. Errors: errs.InvalidUsername, errs.WeakPassword,
// errs.UserInUse, errs.InvalidParam.
func (s *Service) Register(ctx context.Context, r Registration) (Login, error) {
	const op = "account.Register"
	if r.Localpart == "" {
		r.Localpart = newLocalpart()
	}
	user, err := id.NewUserID(strings.ToLower(r.Localpart), s.cfg.Server)
	if err != nil {
		return Login{}, err
	}
	if err := s.cfg.Passwords.Check(r.Password); err != nil {
		return Login{}, err
	}
	if a, taken := Find(s.Rows(), user); taken {
		return s.registered(ctx, user, a, r)
	}
	hash, err := s.cfg.Passwords.Hash(ctx, r.Password)
	if err != nil {
		return Login{}, errs.Wrap(op, err)
	}
	body := registerBody{User: user, Password: hash, Nonce: hashNonce(r.Nonce)}
	out := Login{User: user}
	if !r.InhibitLogin {
		if body.Device, out, err = s.newDevice(user, r.session()); err != nil {
			return Login{}, err
		}
	}
	var undo func()
	if body.Invite, undo, err = s.bound(ctx, r, user); err != nil {
		return Login{}, err
	}
	if _, err = s.submit(ctx, user, kindRegister, body); err != nil {
		if errs.Is(err, errs.Conflict) {
			undo()
		}
		if a, taken := Find(s.Rows(), user); taken && errs.Is(err, errs.Conflict) {
			return s.registered(ctx, user, a, r)
		}
		return Login{}, errs.Wrap(op, err)
	}
	return out, nil
}

// registered answers a registration of a name that is taken: with a login if it is the same registration again.
func (s *Service) registered(ctx context.Context, user id.UserID, a Account, r Registration) (Login, error) {
	if !a.repeats(r.Nonce) {
		return Login{}, userInUse()
	}
	if ok, err := s.cfg.Passwords.Verify(ctx, a.Password, r.Password); err != nil || !ok {
		if err == nil {
			err = userInUse()
		}
		return Login{}, errs.Wrap("account.Register", err)
	}
	if r.InhibitLogin {
		return Login{User: user}, nil
	}
	if known := Devices(s.Rows(), user); r.Device == "" && len(known) > 0 {
		r.Device = known[0].ID // the one that the lost answer named
	}
	return s.login(ctx, user, a, r.session())
}

// repeats reports whether the account was registered with this nonce, and its password not set since.
func (a Account) repeats(nonce string) bool {
	return nonce != "" && a.nonce == string(hashNonce(nonce))
}

func hashNonce(nonce string) []byte {
	if nonce == "" {
		return nil
	}
	h := sha256.Sum256([]byte(nonce))
	return h[:16]
}

// maxName is the longest display name of a device, in bytes.
const maxName = 255

func (r Registration) session() NewSession { return NewSession{r.Device, r.DeviceName, r.Refresh} }

// newDevice is a device with new tokens, for a proposal and for the client.
func (s *Service) newDevice(user id.UserID, n NewSession) (*newDevice, Login, error) {
	if n.Device == "" {
		n.Device = newDeviceID()
	}
	if _, err := id.ParseDeviceID(string(n.Device)); err != nil {
		return nil, Login{}, err
	}
	d := &newDevice{ID: n.Device, Name: cut(n.Name, maxName)}
	out := Login{User: user, Device: n.Device}
	out.Token, d.Token = newSecret(accessPrefix, user)
	if n.Refresh && s.enabled() {
		out.Refresh, d.Refresh = newSecret(refreshPrefix, user)
		out.Life, d.Life = s.cfg.TokenLife, s.cfg.TokenLife.Milliseconds()
	}
	return d, out, nil
}

// cut shortens s to at most n bytes without breaking a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Proof is what CheckPassword found: whose password was right, and which setting of it.
type Proof struct {
	User    id.UserID
	changes uint32
}

// CheckPassword is the proof that password is the user's, or errs.Forbidden. A user that is not known costs as much time as a
// wrong password. Name is as in UserID.
func (s *Service) CheckPassword(ctx context.Context, name, password string) (Proof, error) {
	const op = "account.CheckPassword"
	var a Account
	user, err := s.UserID(name)
	if err == nil {
		a, _ = Find(s.Rows(), user)
	}
	ok, err := s.cfg.Passwords.Verify(ctx, a.Password, password)
	if err != nil {
		return Proof{}, errs.Wrap(op, err)
	}
	if a.Deactivated {
		return Proof{}, deactivated(op)
	}
	if !ok {
		return Proof{}, errs.New(op, errs.Forbidden, "", "the user name or the password is wrong")
	}
	if a.Locked {
		return Proof{}, locked(op)
	}
	return Proof{user, a.Changes}, nil
}

// Login makes a device, or gives new tokens to a known one, for a user whose password was checked. The device's old tokens are
// not known any more. Errors: errs.InvalidParam, errs.Forbidden if the password has been changed since.
func (s *Service) Login(ctx context.Context, p Proof, n NewSession) (Login, error) {
	return s.login(ctx, p.User, Account{Changes: p.changes}, n)
}

func (s *Service) login(ctx context.Context, user id.UserID, a Account, n NewSession) (Login, error) {
	d, out, err := s.newDevice(user, n)
	if err != nil {
		return Login{}, err
	}
	if _, err := s.submit(ctx, user, kindLogin, loginBody{User: user, Changes: a.Changes, Device: *d}); err != nil {
		return Login{}, errs.Wrap("account.Login", err)
	}
	return out, nil
}

// Logout ends a session: its token and its device. A session that has ended is no error.
func (s *Service) Logout(ctx context.Context, ses Session, token string) error {
	_, hash, ok := parseSecret(accessPrefix, token)
	if !ok {
		return nil
	}
	_, err := s.submit(ctx, ses.User, kindLogout, logoutBody{User: ses.User, Device: ses.Device, Token: hash[:]})
	return errs.Wrap("account.Logout", err)
}

// LogoutAll ends all sessions of a user.
func (s *Service) LogoutAll(ctx context.Context, user id.UserID) error {
	_, err := s.submit(ctx, user, kindDevices, devicesBody{User: user, All: true})
	return errs.Wrap("account.LogoutAll", err)
}

// ChangePassword sets a new password for a user who proved to know the old one; with logout all devices end but keep. Errors:
// errs.WeakPassword, errs.Forbidden if the password has been changed since the proof.
func (s *Service) ChangePassword(ctx context.Context, p Proof, password string, logout bool, keep id.DeviceID) error {
	body := passwordBody{User: p.User, Changes: p.changes, Logout: logout, Keep: keep}
	return errs.Wrap("account.ChangePassword", s.setPassword(ctx, body, password))
}

func (s *Service) setPassword(ctx context.Context, body passwordBody, password string) (err error) {
	if err := s.cfg.Passwords.Check(password); err != nil {
		return err
	}
	if body.Password, err = s.cfg.Passwords.Hash(ctx, password); err != nil {
		return err
	}
	_, err = s.submit(ctx, body.User, kindPassword, body)
	return err
}

// CheckNewPassword refuses a password that is too weak or too long: errs.WeakPassword.
func (s *Service) CheckNewPassword(password string) error { return s.cfg.Passwords.Check(password) }

// RenameDevice sets the display name of a device, at most 255 bytes: errs.NotFound if there is no such device.
func (s *Service) RenameDevice(ctx context.Context, user id.UserID, device id.DeviceID, name string) error {
	const op = "account.RenameDevice"
	if len(name) > maxName {
		return errs.New(op, errs.Invalid, errs.InvalidParam, "a device's name has at most %d bytes", maxName)
	}
	d, ok := FindDevice(s.Rows(), user, device)
	if !ok {
		return noDevice()
	}
	if d.Name == name {
		return nil
	}
	_, err := s.submit(ctx, user, kindDevice, deviceBody{user, device, name})
	return errs.Wrap(op, err)
}

// DeleteDevices ends devices of a user who proved to know the password. Devices that are not there are no error.
func (s *Service) DeleteDevices(ctx context.Context, p Proof, devices []id.DeviceID) error {
	_, err := s.submit(ctx, p.User, kindDevices, devicesBody{User: p.User, Devices: devices, Changes: p.changes})
	return errs.Wrap("account.DeleteDevices", err)
}

// Deactivate closes the account of a user who proved to know the password. Its rooms are left soon. With erase, what the user has said is
// not shown to those who come later.
func (s *Service) Deactivate(ctx context.Context, p Proof, erase bool) error {
	_, err := s.submit(ctx, p.User, kindDeactivate, deactivateBody{User: p.User, Changes: p.changes, Erase: erase})
	if err == nil && s.cfg.ProfileChanged != nil {
		s.cfg.ProfileChanged(ctx, p.User)
	}
	return errs.Wrap("account.Deactivate", err)
}
