package account

import (
	"bytes"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// Changed is the note that a user's account data or push rules have changed.
type Changed struct{ User id.UserID }

// Ended is the note that devices are gone and their tokens with them.
type Ended struct {
	User    id.UserID
	Devices []id.DeviceID
}

// The kinds of proposal. All go to the slot of the user.
const (
	kindRegister   = "account.register"
	kindLogin      = "account.login"
	kindLogout     = "account.logout"
	kindPassword   = "account.password"
	kindDevice     = "account.device"
	kindDevices    = "account.devices"
	kindAdmin      = "account.admin"
	kindDeactivate = "account.deactivate"
	kindProfile    = "account.profile"
	kindData       = "account.data"
	kindFilter     = "account.filter"
	kindShown      = "account.shown"
	kindRefresh    = "account.refresh"
	kindUsed       = "account.used"
	kindModerate   = "account.moderate"
	kindSucceed    = "account.succeed" // sent by package room
	kindSeen       = "account.seen"

	kindLoginToken    = "account.logintoken"
	kindLoginTokenEnd = "account.logintoken.end"
	kindTokenLogin    = "account.tokenlogin"
	kindOpenID        = "account.openid"
	kindOpenIDEnd     = "account.openid.end"

	kindClaimAddress   = "account.address.claim" // in the slot of the address
	kindReleaseAddress = "account.address.release"
	kindKeepAddress    = "account.address.keep"
	kindDropAddress    = "account.address.drop"

	kindConfirm       = "account.confirm" // in the slot of the session
	kindConfirmBegin  = "account.confirm.begin"
	kindConfirmUnsent = "account.confirm.unsent"
	kindConfirmEnd    = "account.confirm.end"

	kindStage     = "account.stage" // in the slot of the session
	kindStagesEnd = "account.stages.end"

	kindRegToken        = "account.regtoken" // these in registrationSlot
	kindRegTokenDrop    = "account.regtoken.drop"
	kindRegTokenReserve = "account.regtoken.reserve"
	kindRegTokenBind    = "account.regtoken.bind"
	kindRegTokenRelease = "account.regtoken.release"
	kindRegTokenUse     = "account.regtoken.use"

	kindForget = "keys.forget" // of package keys: {"user","devices"}
)

// Machine is the state machine of accounts.
func Machine() replica.Machine {
	return replica.Machine{Name: "account", Byte: machineByte, Derive: derive, Derived: derivedVersion, Kinds: map[string]replica.Kind{
		kindRegister:   {Apply: replica.JSON(register)},
		kindLogin:      {Apply: replica.JSON(login)},
		kindLogout:     {Apply: replica.JSON(logout)},
		kindPassword:   {Apply: replica.JSON(password)},
		kindDevice:     {Apply: replica.JSON(renameDevice)},
		kindDevices:    {Apply: replica.JSON(deleteDevices)},
		kindAdmin:      {Apply: replica.JSON(setAdmin)},
		kindDeactivate: {Apply: replica.JSON(deactivate)},
		kindProfile:    {Apply: replica.JSON(setProfile)},
		kindData:       {Apply: replica.JSON(setData)},
		kindFilter:     {Apply: replica.JSON(defineFilter)},
		kindShown:      {Since: sinceRules, Apply: replica.JSON(shown)},
		kindRefresh:    {Since: rulesAccounts, Apply: replica.JSON(refresh)},
		kindUsed:       {Since: rulesAccounts, Apply: replica.JSON(used)},
		kindSeen:       {Since: rulesAccounts, Apply: replica.JSON(noteSeen)},
		kindModerate:   {Since: rulesAccounts, Apply: replica.JSON(moderate)},
		kindSucceed:    {Since: rulesAccounts, Apply: replica.JSON(succeed)},

		kindClaimAddress:   {Since: rulesAccounts, Apply: replica.JSON(claim)},
		kindReleaseAddress: {Since: rulesAccounts, Apply: replica.JSON(releaseAddress)},
		kindKeepAddress:    {Since: rulesAccounts, Apply: replica.JSON(keepAddress)},
		kindDropAddress:    {Since: rulesAccounts, Apply: replica.JSON(dropAddress)},
		kindConfirm:        {Since: rulesAccounts, Apply: replica.JSON(confirm)},
		kindConfirmBegin:   {Since: rulesAccounts, Apply: replica.JSON(beginConfirmation)},
		kindConfirmUnsent:  {Since: rulesAccounts, Apply: replica.JSON(unsentConfirmation)},
		kindConfirmEnd:     {Since: rulesAccounts, Apply: replica.JSON(endConfirmation)},

		kindLoginToken:      {Since: rulesAccounts, Apply: replica.JSON(addLoginToken)},
		kindLoginTokenEnd:   {Since: rulesAccounts, Apply: replica.JSON(endLoginToken)},
		kindTokenLogin:      {Since: rulesAccounts, Apply: replica.JSON(tokenLogin)},
		kindOpenID:          {Since: rulesAccounts, Apply: replica.JSON(addOpenID)},
		kindOpenIDEnd:       {Since: rulesAccounts, Apply: replica.JSON(endOpenID)},
		kindStage:           {Since: rulesAccounts, Apply: replica.JSON(passStage)},
		kindStagesEnd:       {Since: rulesAccounts, Apply: replica.JSON(endStages)},
		kindRegToken:        {Since: rulesAccounts, Apply: replica.JSON(addRegToken)},
		kindRegTokenDrop:    {Since: rulesAccounts, Apply: replica.JSON(dropRegToken)},
		kindRegTokenReserve: {Since: rulesAccounts, Apply: replica.JSON(reserve)},
		kindRegTokenBind:    {Since: rulesAccounts, Apply: replica.JSON(bind)},
		kindRegTokenRelease: {Since: rulesAccounts, Apply: replica.JSON(release)},
		kindRegTokenUse:     {Since: rulesAccounts, Apply: replica.JSON(useRegToken)},
	}}
}

// changed is the result of a write that made a difference; without one the result is empty.
var changed = []byte{1}

// newDevice is a device with the hash of its token, in the bodies of register and login.
type newDevice struct {
	ID    id.DeviceID `json:"id"`
	Name  string      `json:"name,omitempty"`
	Token []byte      `json:"token"` // SHA-256
	// Since rules 3: a refresh token, as SHA-256, and how long the access token is good, in milliseconds.
	Refresh []byte `json:"refresh,omitempty"`
	Life    int64  `json:"life,omitempty"`
}

type registerBody struct {
	User     id.UserID  `json:"user"`
	Password string     `json:"password"` // PHC string
	Admin    bool       `json:"admin,omitempty"`
	Nonce    []byte     `json:"nonce,omitempty"`
	Device   *newDevice `json:"device,omitempty"`
	// Since rules 3: the registration token that the account is made with.
	Invite *reservation `json:"invite,omitempty"`
}

func register(tx *replica.Tx, b registerBody) ([]byte, error) {
	if tx.Get(accountKey(b.User)) != nil {
		return nil, userInUse()
	}
	a := Account{Admin: b.Admin, Created: tx.Wall(), Password: b.Password, Changes: 1, nonce: string(b.Nonce)}
	tx.Set(accountKey(b.User), a.encode())
	tx.Set(namesKey(tx.Partition(), b.User), []byte{})
	rename(tx, b.User, "", "")
	if b.Device != nil {
		putDevice(tx, b.User, *b.Device)
	}
	if b.Invite != nil && tx.Rules() >= rulesAccounts {
		tx.Send(registrationSlot(), kindRegTokenUse, replica.Marshal(b.Invite))
	}
	return nil, nil
}

func userInUse() error {
	return errs.New("account.Register", errs.Conflict, errs.UserInUse, "this user name is taken")
}

// find is the account of a user who may act.
func find(tx *replica.Tx, op string, user id.UserID) (Account, error) {
	v := tx.Get(accountKey(user))
	if v == nil {
		return Account{}, noAccount(op)
	}
	a := decodeAccount(v)
	if a.Deactivated {
		return a, deactivated(op)
	}
	return a, nil
}

func noAccount(op string) error {
	return errs.New(op, errs.NotFound, "", "there is no such account")
}

func deactivated(op string) error {
	return errs.New(op, errs.Forbidden, errs.UserDeactivated, "this account has been closed")
}

// stale refuses what was allowed by a password that is the password no more.
func stale(op string) error {
	return errs.New(op, errs.Forbidden, "", "the password has been changed meanwhile")
}

type loginBody struct {
	User    id.UserID `json:"user"`
	Changes uint32    `json:"changes"` // Account.Changes of the password that was checked
	Device  newDevice `json:"device"`
}

func login(tx *replica.Tx, b loginBody) ([]byte, error) {
	const op = "account.Login"
	a, err := find(tx, op, b.User)
	if err != nil {
		return nil, err
	}
	if a.Changes != b.Changes {
		return nil, stale(op)
	}
	if a.Locked {
		return nil, locked(op)
	}
	putDevice(tx, b.User, b.Device)
	return nil, nil
}

// putDevice gives a token to a device, new or known. A known one keeps its name and loses its old token.
func putDevice(tx *replica.Tx, user id.UserID, n newDevice) {
	key := deviceKey(user, n.ID)
	d := deviceRow{created: tx.Wall(), name: n.Name, token: string(n.Token)}
	if v := tx.Get(key); v != nil {
		old := decodeDevice(v)
		dropToken(tx, old.token)
		dropLease(tx, user, n.ID)
		d.created, d.name = old.created, old.name
	}
	tx.Set(key, d.encode())
	if n.Refresh != nil && tx.Rules() >= rulesAccounts {
		grant(tx, user, n)
		return
	}
	setToken(tx, string(n.Token), tokenRow{user: user, device: n.ID})
}

type logoutBody struct {
	User   id.UserID   `json:"user"`
	Device id.DeviceID `json:"device"`
	Token  []byte      `json:"token"` // SHA-256
}

// logout ends the device of a token. If the token is gone already, so is what was asked for; the device may have a new one.
func logout(tx *replica.Tx, b logoutBody) ([]byte, error) {
	v := tx.Get(tokenKey(tx.Slot(), b.Token))
	if v == nil {
		return nil, nil
	}
	if t := decodeToken(v); t.user != b.User || t.device != b.Device {
		return nil, nil
	}
	dropDevices(tx, b.User, []id.DeviceID{b.Device})
	return nil, nil
}

// dropDevices removes those of the devices that are there, and has their keys forgotten.
func dropDevices(tx *replica.Tx, user id.UserID, devices []id.DeviceID) {
	var gone []id.DeviceID
	for _, device := range devices {
		key := deviceKey(user, device)
		v := tx.Get(key)
		if v == nil {
			continue
		}
		dropToken(tx, decodeDevice(v).token)
		dropLease(tx, user, device)
		tx.Delete(seenKey(user, device))
		tx.Delete(key)
		gone = append(gone, device)
	}
	if len(gone) == 0 {
		return
	}
	tx.Send(tx.Slot(), kindForget, replica.Marshal(struct {
		User    id.UserID     `json:"user"`
		Devices []id.DeviceID `json:"devices"`
		At      replica.Place `json:"at"` // a device that comes back later keeps what it brings
	}{user, gone, tx.Place()}))
	tx.Note(Ended{user, gone})
}

// devicesBut is every device of the user except one.
func devicesBut(tx *replica.Tx, user id.UserID, keep id.DeviceID) []id.DeviceID {
	var out []id.DeviceID
	for _, d := range Devices(tx, user) {
		if d.ID != keep {
			out = append(out, d.ID)
		}
	}
	return out
}

type passwordBody struct {
	User     id.UserID   `json:"user"`
	Password string      `json:"password"`          // PHC string of the new one
	Changes  uint32      `json:"changes,omitempty"` // Account.Changes of the password that was checked; 0: an operator asks
	Logout   bool        `json:"logout,omitempty"`  // end all devices
	Keep     id.DeviceID `json:"keep,omitempty"`    // but this one
}

func password(tx *replica.Tx, b passwordBody) ([]byte, error) {
	const op = "account.SetPassword"
	a, err := find(tx, op, b.User)
	if err != nil {
		return nil, err
	}
	if b.Changes != 0 && a.Changes != b.Changes {
		return nil, stale(op)
	}
	a.Password, a.Changes, a.nonce = b.Password, a.Changes+1, ""
	tx.Set(accountKey(b.User), a.encode())
	if b.Logout {
		dropDevices(tx, b.User, devicesBut(tx, b.User, b.Keep))
	}
	return nil, nil
}

type deviceBody struct {
	User   id.UserID   `json:"user"`
	Device id.DeviceID `json:"device"`
	Name   string      `json:"name"`
}

func renameDevice(tx *replica.Tx, b deviceBody) ([]byte, error) {
	key := deviceKey(b.User, b.Device)
	v := tx.Get(key)
	if v == nil {
		return nil, noDevice()
	}
	d := decodeDevice(v)
	d.name = b.Name
	tx.Set(key, d.encode())
	return nil, nil
}

func noDevice() error {
	return errs.New("account.Device", errs.NotFound, "", "there is no such device")
}

type devicesBody struct {
	User    id.UserID     `json:"user"`
	Devices []id.DeviceID `json:"devices,omitempty"`
	All     bool          `json:"all,omitempty"`     // in place of Devices
	Changes uint32        `json:"changes,omitempty"` // Account.Changes of the password that was checked; 0: none was needed
}

func deleteDevices(tx *replica.Tx, b devicesBody) ([]byte, error) {
	const op = "account.DeleteDevices"
	a, err := find(tx, op, b.User)
	if err != nil {
		return nil, err
	}
	if b.Changes != 0 && a.Changes != b.Changes {
		return nil, stale(op)
	}
	if b.All {
		b.Devices = devicesBut(tx, b.User, "")
	}
	dropDevices(tx, b.User, b.Devices)
	return nil, nil
}

type adminBody struct {
	User  id.UserID `json:"user"`
	Admin bool      `json:"admin"`
}

func setAdmin(tx *replica.Tx, b adminBody) ([]byte, error) {
	a, err := find(tx, "account.SetAdmin", b.User)
	if err != nil {
		return nil, err
	}
	a.Admin = b.Admin
	tx.Set(accountKey(b.User), a.encode())
	return nil, nil
}

type deactivateBody struct {
	User    id.UserID `json:"user"`
	Changes uint32    `json:"changes,omitempty"` // as in devicesBody
	Erase   bool      `json:"erase,omitempty"`   // since rules 3
}

// deactivate closes an account: no password, no devices, no profile, no account data. The name stays taken.
func deactivate(tx *replica.Tx, b deactivateBody) ([]byte, error) {
	const op = "account.Deactivate"
	a, err := find(tx, op, b.User)
	if err != nil {
		return nil, err
	}
	if b.Changes != 0 && a.Changes != b.Changes {
		return nil, stale(op)
	}
	dropDevices(tx, b.User, devicesBut(tx, b.User, ""))
	unname(tx, b.User)
	for _, table := range []byte{tableProfile, tableData, tableByPlace, tableFilter} {
		var keys [][]byte
		lo := row(b.User, table)
		for k := range tx.Scan(lo, kv.End(lo)) {
			keys = append(keys, bytes.Clone(k))
		}
		for _, k := range keys {
			tx.Delete(k)
		}
	}
	if tx.Rules() >= rulesAccounts {
		dropAddresses(tx, b.User)
	}
	owe(tx, b.User)
	closed := Account{Deactivated: true, Created: a.Created, Changes: a.Changes + 1}
	closed.Erased = b.Erase && tx.Rules() >= rulesAccounts
	tx.Set(accountKey(b.User), closed.encode())
	return changed, nil
}
