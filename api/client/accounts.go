package client

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"bongsu/account"
	"bongsu/auth"
	"bongsu/errs"
	"bongsu/id"
)

// Accounts holds what belongs to one user: registration, login, devices, profile, account data, filters and push rules.
type Accounts struct {
	Service *account.Service // required
	Open    bool             // whether everybody may register
}

// passwordPatience is the deadline of calls that hash a password: many at once wait for their turn.
const passwordPatience = 30 * time.Second

// Routes are the endpoints of accounts.
func (a Accounts) Routes() []Route {
	const v3 = "/_matrix/client/v3"
	return slices.Concat([]Route{
		{Op: "register", Method: "POST", Path: v3 + "/register", Auth: None, Limit: LimitRegister, Deadline: passwordPatience,
			Handle: a.register},
		{Op: "checkUsernameAvailability", Method: "GET", Path: v3 + "/register/available", Auth: None, Limit: LimitRegister,
			Handle: a.checkUsernameAvailability},
		{Op: "getLoginFlows", Method: "GET", Path: v3 + "/login", Auth: None, Static: true, Handle: a.getLoginFlows},
		{Op: "login", Method: "POST", Path: v3 + "/login", Auth: None, Limit: LimitLogin, Deadline: passwordPatience, Handle: a.login},
		{Op: "logout", Method: "POST", Path: v3 + "/logout", Handle: a.logout},
		{Op: "logout_all", Method: "POST", Path: v3 + "/logout/all", Handle: a.logoutAll},
		{Op: "getTokenOwner", Method: "GET", Path: v3 + "/account/whoami", Static: true, Handle: a.getTokenOwner},
		{Op: "changePassword", Method: "POST", Path: v3 + "/account/password", Handle: a.changePassword},
		{Op: "deactivateAccount", Method: "POST", Path: v3 + "/account/deactivate", Handle: a.deactivateAccount},
	}, a.deviceRoutes(), a.profileRoutes(), a.dataRoutes(), a.tagRoutes(), a.pushRuleRoutes())
}

// loginReply is the answer of register and login.
type loginReply struct {
	User   id.UserID   `json:"user_id"`
	Device id.DeviceID `json:"device_id,omitempty"`
	Token  string      `json:"access_token,omitempty"`
}

func (a Accounts) register(ctx context.Context, rq *Request) (any, error) {
	const op = "api.register"
	kind, err := rq.QueryOneOf("kind", "user", "user", "guest")
	if err != nil {
		return nil, err
	}
	if kind == "guest" {
		return nil, errs.New(op, errs.Forbidden, "", "Guest accounts are not offered here")
	}
	if err := a.open(op); err != nil {
		return nil, err
	}
	var in struct {
		Username   string          `json:"username"`
		Password   *string         `json:"password"`
		Device     id.DeviceID     `json:"device_id"`
		DeviceName string          `json:"initial_device_display_name"`
		Inhibit    bool            `json:"inhibit_login"`
		Auth       json.RawMessage `json:"auth"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	attempt, err := auth.ParseAttempt(in.Auth)
	if err != nil {
		return nil, err
	}
	// What is wrong with the wish is said before anybody authenticates for it.
	if in.Username != "" {
		if err := a.Service.Available(in.Username, attempt.Session); err != nil {
			return nil, err
		}
	}
	if in.Password != nil {
		if err := a.Service.CheckNewPassword(*in.Password); err != nil {
			return nil, err
		}
	}
	if err := auth.Interactive(ctx, attempt, auth.Dummy, nil); err != nil {
		return challenge(err)
	}
	if in.Password == nil {
		return nil, errs.New(op, errs.Invalid, errs.MissingParam, "a password is required")
	}
	out, err := a.Service.Register(ctx, account.Registration{Localpart: in.Username, Password: *in.Password, Device: in.Device,
		DeviceName: in.DeviceName, InhibitLogin: in.Inhibit, Nonce: attempt.Session})
	if err != nil {
		return nil, err
	}
	return loginReply(out), nil
}

// open refuses while registration is closed.
func (a Accounts) open(op string) error {
	if a.Open {
		return nil
	}
	return errs.New(op, errs.Forbidden, "", "Registration has been disabled")
}

func (a Accounts) checkUsernameAvailability(_ context.Context, rq *Request) (any, error) {
	const op = "api.checkUsernameAvailability"
	if err := a.open(op); err != nil {
		return nil, err
	}
	names, err := rq.QueryAll("username")
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errs.New(op, errs.Invalid, errs.MissingParam, "username is required")
	}
	if err := a.Service.Available(names[0], ""); err != nil {
		return nil, err
	}
	return struct {
		Available bool `json:"available"`
	}{true}, nil
}

func (a Accounts) getLoginFlows(context.Context, *Request) (any, error) {
	type flow struct {
		Type string `json:"type"`
	}
	return struct {
		Flows []flow `json:"flows"`
	}{[]flow{{auth.Password}}}, nil
}

func (a Accounts) login(ctx context.Context, rq *Request) (any, error) {
	const op = "api.login"
	var in struct {
		Type       *string         `json:"type"`
		Identifier auth.Identifier `json:"identifier"`
		User       string          `json:"user"`
		Password   *string         `json:"password"`
		Device     id.DeviceID     `json:"device_id"`
		DeviceName string          `json:"initial_device_display_name"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	if in.Type == nil {
		return nil, errs.New(op, errs.Invalid, errs.MissingParam, "type is required")
	}
	if *in.Type != auth.Password {
		return nil, errs.New(op, errs.Unsupported, "", "login by %q is not offered", *in.Type)
	}
	name, err := in.Identifier.Name(in.User)
	if err != nil {
		return nil, err
	}
	if name == "" || in.Password == nil {
		return nil, errs.New(op, errs.Invalid, errs.MissingParam, "a user and a password are required")
	}
	proof, err := a.checkPassword(ctx, rq, name, *in.Password)
	if err != nil {
		return nil, err
	}
	out, err := a.Service.Login(ctx, proof, in.Device, in.DeviceName)
	if err != nil {
		return nil, err
	}
	return loginReply(out), nil
}

// checkPassword checks a password against the latest state. Guesses are limited for each account, whoever makes them.
func (a Accounts) checkPassword(ctx context.Context, rq *Request, name, password string) (account.Proof, error) {
	user, err := a.Service.UserID(name)
	if err != nil {
		user = "" // such names share one bucket
	}
	if err := rq.Allow(LimitAccount, string(user)); err != nil {
		return account.Proof{}, err
	}
	if err := rq.CatchUp(ctx); err != nil {
		return account.Proof{}, err
	}
	return a.Service.CheckPassword(ctx, name, password)
}

// prove has the user of the session show that they know their password. Unless they did, answer is the challenge, to be returned.
func (a Accounts) prove(ctx context.Context, rq *Request, raw json.RawMessage) (proof account.Proof, answer any, err error) {
	attempt, err := auth.ParseAttempt(raw)
	if err != nil {
		return proof, nil, err
	}
	err = auth.Interactive(ctx, attempt, auth.Password, func(ctx context.Context, at auth.Attempt) error {
		name, err := at.Identifier.Name(at.User)
		if err != nil {
			return err
		}
		if user, err := a.Service.UserID(name); name != "" && (err != nil || user != rq.User()) {
			return errs.New("api.prove", errs.Forbidden, "", "this is not the user who is logged in")
		}
		proof, err = a.checkPassword(ctx, rq, string(rq.User()), at.Password)
		return err
	})
	if err != nil {
		answer, err = challenge(err)
	}
	return proof, answer, err
}

func (a Accounts) logout(ctx context.Context, rq *Request) (any, error) {
	token, err := rq.token()
	if err != nil {
		return nil, err
	}
	return nil, a.Service.Logout(ctx, account.Session(rq.session), token)
}

func (a Accounts) logoutAll(ctx context.Context, rq *Request) (any, error) {
	return nil, a.Service.LogoutAll(ctx, rq.User())
}

func (a Accounts) getTokenOwner(_ context.Context, rq *Request) (any, error) {
	return struct {
		User   id.UserID   `json:"user_id"`
		Device id.DeviceID `json:"device_id"`
		Guest  bool        `json:"is_guest"`
	}{rq.User(), rq.Device(), false}, nil
}

func (a Accounts) changePassword(ctx context.Context, rq *Request) (any, error) {
	in := struct {
		Password *string         `json:"new_password"`
		Logout   bool            `json:"logout_devices"`
		Auth     json.RawMessage `json:"auth"`
	}{Logout: true}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	if in.Password != nil {
		if err := a.Service.CheckNewPassword(*in.Password); err != nil {
			return nil, err
		}
	}
	proof, answer, err := a.prove(ctx, rq, in.Auth)
	if err != nil || answer != nil {
		return answer, err
	}
	if in.Password == nil {
		return nil, errs.New("api.changePassword", errs.Invalid, errs.MissingParam, "new_password is required")
	}
	return nil, a.Service.ChangePassword(ctx, proof, *in.Password, in.Logout, rq.Device())
}

func (a Accounts) deactivateAccount(ctx context.Context, rq *Request) (any, error) {
	var in struct {
		Auth json.RawMessage `json:"auth"`
	}
	if err := rq.DecodeOptional(&in); err != nil {
		return nil, err
	}
	proof, answer, err := a.prove(ctx, rq, in.Auth)
	if err != nil || answer != nil {
		return answer, err
	}
	if err := a.Service.Deactivate(ctx, proof); err != nil {
		return nil, err
	}
	return struct {
		Unbind string `json:"id_server_unbind_result"`
	}{"success"}, nil // there was nothing to unbind
}
