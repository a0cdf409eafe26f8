package client

import (
	"context"
	"encoding/json"
	"slices"

	"bongsu/account"
	"bongsu/auth"
	"bongsu/errs"
	"bongsu/id"
)

// Registration says who may make an account, and what for. The zero value: nobody.
type Registration struct {
	Open   bool // everybody
	Tokens bool // who has a registration token; of no effect when it is open
	Terms  []Policy
	Email  Email // whether people confirm an e-mail address
}

// Email says whether people confirm an e-mail address to make an account.
type Email string

// What may be asked for.
const (
	EmailOff      Email = ""
	EmailOptional Email = "optional"
	EmailRequired Email = "required"
)

// Policy is a document that people must accept to make an account. Specification: "Terms of service at registration".
type Policy struct {
	ID      string // "privacy_policy"
	Version string // "1.2"
	Texts   []PolicyText
}

// PolicyText is a policy in one language.
type PolicyText struct {
	Language string // "en"
	Name     string
	URL      string
}

func (a Accounts) registerRoutes() []Route {
	const v3, v1 = "/_matrix/client/v3", "/_matrix/client/v1"
	return []Route{
		{Op: "register", Method: "POST", Path: v3 + "/register", Auth: None, Limit: LimitRegister, Deadline: passwordPatience,
			Handle: a.register},
		{Op: "checkUsernameAvailability", Method: "GET", Path: v3 + "/register/available", Auth: None, Limit: LimitRegister,
			Handle: a.checkUsernameAvailability},
		{Op: "registrationTokenValidity", Method: "GET", Path: v1 + "/register/m.login.registration_token/validity", Auth: None,
			Limit: LimitRegister, Handle: a.registrationTokenValidity},
	}
}

// registration is the body of register.
type registration struct {
	Username   string          `json:"username"`
	Password   *string         `json:"password"`
	Device     id.DeviceID     `json:"device_id"`
	DeviceName string          `json:"initial_device_display_name"`
	Inhibit    bool            `json:"inhibit_login"`
	Refresh    bool            `json:"refresh_token"`
	Auth       json.RawMessage `json:"auth"`
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
	var in registration
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	attempt, err := auth.ParseAttempt(in.Auth)
	if err != nil {
		return nil, err
	}
	if err := a.acceptable(in, attempt.Session); err != nil {
		return nil, err
	}
	call := a.registration()
	// Another site may have heard of the stages before. A session alone comes from a fallback page.
	if attempt.Session != "" && (len(call.Flows[0].Stages) > 1 || attempt.Type == auth.Email || attempt.Type == "") {
		if err := rq.CatchUp(ctx); err != nil {
			return nil, err
		}
	}
	passed, err := call.Interactive(ctx, attempt)
	if err != nil {
		return challenge(err)
	}
	if in.Password == nil {
		return nil, errs.New(op, errs.Invalid, errs.MissingParam, "a password is required")
	}
	address, confirmed := account.ParseConfirmation(passed.Notes[auth.Email])
	if confirmed {
		if err := a.free(address.Address, in.Username); err != nil {
			return nil, err
		}
	}
	out, err := a.Service.Register(ctx, account.Registration{Localpart: in.Username, Password: *in.Password, Device: in.Device,
		DeviceName: in.DeviceName, InhibitLogin: in.Inhibit, Refresh: in.Refresh, Nonce: attempt.Session,
		Session: passed.Session, Invite: passed.Notes[auth.RegistrationToken]})
	if err != nil {
		return nil, err
	}
	if confirmed {
		if err := a.Service.AddAddress(ctx, out.User, address); err != nil && !errs.Is(err, errs.Conflict) {
			return nil, err
		} // that somebody else was faster with the address does not undo the account
	}
	return loggedIn(out), nil
}

// free refuses a confirmed address that an account has been made with, unless it was this one: the answer may have been lost.
func (a Accounts) free(address, username string) error {
	owner := a.Service.ByAddress(address)
	if user, err := a.Service.UserID(username); owner == "" || err == nil && user == owner {
		return nil
	}
	return errs.New("api.register", errs.Conflict, errs.ThreepidInUse, "this address belongs to another account")
}

// acceptable says what is wrong with a wish for an account before anybody authenticates for it.
func (a Accounts) acceptable(in registration, session string) error {
	if in.Username != "" {
		if err := a.Service.Available(in.Username, session); err != nil {
			return err
		}
	}
	if in.Password != nil {
		return a.Service.CheckNewPassword(*in.Password)
	}
	return nil
}

// registration is what must be passed to make an account.
func (a Accounts) registration() auth.Call {
	c := auth.Call{Params: map[string]any{}, Progress: a.Service, Check: a.checkStage}
	var stages []string
	if !a.Registration.Open {
		stages = append(stages, auth.RegistrationToken)
	}
	if len(a.Registration.Terms) > 0 {
		stages = append(stages, auth.Terms)
		c.Params[auth.Terms] = termsParams(a.Registration.Terms)
	}
	with := func(stage string) auth.Flow { return auth.Flow{Stages: append(slices.Clone(stages), stage)} }
	switch {
	case a.Registration.Email == EmailRequired:
		c.Flows = []auth.Flow{with(auth.Email)}
	case a.Registration.Email == EmailOptional:
		c.Flows = []auth.Flow{with(auth.Email), with(auth.Dummy)}
	case len(stages) == 0:
		c.Flows = []auth.Flow{with(auth.Dummy)}
	default:
		c.Flows = []auth.Flow{{Stages: stages}}
	}
	return c
}

// checkStage decides a stage of a registration.
func (a Accounts) checkStage(ctx context.Context, session string, at auth.Attempt) (note string, err error) {
	switch at.Type {
	case auth.RegistrationToken:
		return a.Service.Reserve(ctx, at.Token, session)
	case auth.Email:
		c, err := a.Service.Confirmed(account.ForRegistration, at.Creds.Session, at.Creds.Secret)
		return c.Note(), err
	case auth.Terms: // who sends it has accepted them
		return "", nil
	}
	return "", errs.New("api.register", errs.Forbidden, errs.Unrecognized, "there is no such stage in the flows")
}

// termsParams is what a client shows of the terms. Specification: m.login.terms params.
func termsParams(terms []Policy) any {
	type text struct {
		Name string `json:"name"`
		URL  string `json:"url"`
	}
	policies := map[string]map[string]any{}
	for _, p := range terms {
		policy := map[string]any{"version": p.Version}
		for _, t := range p.Texts {
			policy[t.Language] = text{t.Name, t.URL}
		}
		policies[p.ID] = policy
	}
	return map[string]any{"policies": policies}
}

// open refuses while registration is closed.
func (a Accounts) open(op string) error {
	if a.Registration.Open || a.Registration.Tokens {
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

func (a Accounts) registrationTokenValidity(ctx context.Context, rq *Request) (any, error) {
	const op = "api.registrationTokenValidity"
	tokens, err := rq.QueryAll("token")
	if err != nil {
		return nil, err
	}
	if len(tokens) == 0 {
		return nil, errs.New(op, errs.Invalid, errs.MissingParam, "token is required")
	}
	if !a.Registration.Tokens {
		return nil, errs.New(op, errs.Forbidden, "", "Registration with a token has been disabled")
	}
	if err := rq.CatchUp(ctx); err != nil { // "not valid" is a denial, although it is no error
		return nil, err
	}
	return struct {
		Valid bool `json:"valid"`
	}{a.Service.ValidRegistrationToken(tokens[0])}, nil
}
