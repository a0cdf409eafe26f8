package client

import (
	"context"
	"encoding/json"
	"math"

	"bongsu/account"
	"bongsu/auth"
	"bongsu/errs"
)

func (a Accounts) emailRoutes() []Route {
	const v3 = "/_matrix/client/v3"
	request := func(op, path string, purpose account.Purpose, who Auth) Route {
		return Route{Op: op, Method: "POST", Path: v3 + path, Auth: who, Limit: LimitMail, Deadline: mailPatience,
			Handle: func(ctx context.Context, rq *Request) (any, error) { return a.requestToken(ctx, rq, purpose) }}
	}
	phone := func(op, path string, who Auth) Route {
		return Route{Op: op, Method: "POST", Path: v3 + path, Auth: who, Static: true, Handle: noPhone}
	}
	return []Route{
		request("requestTokenToRegisterEmail", "/register/email/requestToken", account.ForRegistration, None),
		request("requestTokenToResetPasswordEmail", "/account/password/email/requestToken", account.ForPassword, None),
		request("requestTokenTo3PIDEmail", "/account/3pid/email/requestToken", account.ForAddress, Optional),
		phone("requestTokenToRegisterMSISDN", "/register/msisdn/requestToken", None),
		phone("requestTokenToResetPasswordMSISDN", "/account/password/msisdn/requestToken", None),
		phone("requestTokenTo3PIDMSISDN", "/account/3pid/msisdn/requestToken", Optional),

		{Op: "getAccount3PIDs", Method: "GET", Path: v3 + "/account/3pid", Handle: a.getAccount3PIDs},
		{Op: "post3PIDs", Method: "POST", Path: v3 + "/account/3pid", Deadline: passwordPatience, Handle: a.post3PIDs},
		{Op: "add3PID", Method: "POST", Path: v3 + "/account/3pid/add", Deadline: passwordPatience, Handle: a.add3PID},
		{Op: "delete3pidFromAccount", Method: "POST", Path: v3 + "/account/3pid/delete", Handle: a.delete3pidFromAccount},
		{Op: "bind3PID", Method: "POST", Path: v3 + "/account/3pid/bind", Static: true, Handle: a.bind3PID},
		{Op: "unbind3pidFromAccount", Method: "POST", Path: v3 + "/account/3pid/unbind", Static: true, Handle: a.unbind3pidFromAccount},

		{Op: "confirmationPage", Method: "GET", Path: account.ConfirmPath, Auth: None, Static: true, Handle: a.confirmationPage},
		{Op: "confirm", Method: "POST", Path: account.ConfirmPath, Auth: None, Limit: LimitRegister, Handle: a.confirm},
	}
}

// mailPatience is the deadline of calls that wait for a mail server.
const mailPatience = passwordPatience

func (a Accounts) requestToken(ctx context.Context, rq *Request, purpose account.Purpose) (any, error) {
	op := "api." + rq.Op()
	var in struct {
		Secret  *string `json:"client_secret"`
		Email   *string `json:"email"`
		Attempt *int64  `json:"send_attempt"`
		Next    string  `json:"next_link"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	if in.Secret == nil || in.Email == nil || in.Attempt == nil {
		return nil, errs.New(op, errs.Invalid, errs.MissingParam, "client_secret, email and send_attempt are required")
	}
	if *in.Attempt < 1 || *in.Attempt > math.MaxInt32 {
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "send_attempt is a number from 1")
	}
	if purpose == account.ForRegistration {
		if err := a.open(op); err != nil {
			return nil, err
		}
	}
	sid, err := a.sendLink(ctx, rq, account.Request{Purpose: purpose, Address: *in.Email, Secret: *in.Secret,
		Attempt: uint32(*in.Attempt), Next: in.Next, User: rq.User()}) //nolint:gosec // bounded above
	if err != nil {
		return nil, err
	}
	return struct {
		SID string `json:"sid"`
	}{sid}, nil
}

// sendLink sends a message with a link to an address, and returns the session in which that is confirmed.
func (a Accounts) sendLink(ctx context.Context, rq *Request, want account.Request) (sid string, err error) {
	if want.Address, err = account.ParseAddress(want.Address); err != nil {
		return "", err
	}
	if err := rq.Allow(LimitMail, want.Address); err != nil { // whoever asks: nobody shall be flooded
		return "", err
	}
	if err := rq.CatchUp(ctx); err != nil { // what the message says depends on whose address it is
		return "", err
	}
	return a.Service.RequestConfirmation(ctx, want)
}

// noPhone refuses telephone numbers.
func noPhone(_ context.Context, rq *Request) (any, error) {
	return nil, errs.New("api."+rq.Op(), errs.Unsupported, errs.ThreepidMedium, "telephone numbers are not used on this server")
}

func (a Accounts) getAccount3PIDs(_ context.Context, rq *Request) (any, error) {
	type threepid struct {
		Medium    string `json:"medium"`
		Address   string `json:"address"`
		Confirmed int64  `json:"validated_at"`
		Added     int64  `json:"added_at"`
	}
	out := struct {
		Threepids []threepid `json:"threepids"`
	}{[]threepid{}}
	for _, t := range a.Service.Addresses(rq.User()) {
		out.Threepids = append(out.Threepids, threepid{auth.MediumEmail, t.Address, t.Confirmed, t.Added})
	}
	return out, nil
}

func (a Accounts) add3PID(ctx context.Context, rq *Request) (any, error) {
	var in struct {
		auth.Credentials
		Auth json.RawMessage `json:"auth"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	return a.addAddress(ctx, rq, in.Credentials, in.Auth)
}

// post3PIDs is the form of add3PID from before that asked for the password. It asks, too: whoever has found an access token would get at
// the account for good by an address of their own.
func (a Accounts) post3PIDs(ctx context.Context, rq *Request) (any, error) {
	var in struct {
		Creds auth.Credentials `json:"three_pid_creds"`
		Auth  json.RawMessage  `json:"auth"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	return a.addAddress(ctx, rq, in.Creds, in.Auth)
}

// addAddress adds an address that was confirmed to the account of a user who proves to know the password.
func (a Accounts) addAddress(ctx context.Context, rq *Request, creds auth.Credentials, attempt json.RawMessage) (any, error) {
	if creds.Session == "" || creds.Secret == "" {
		return nil, errs.New("api."+rq.Op(), errs.Invalid, errs.MissingParam, "sid and client_secret are required")
	}
	_, answer, err := a.prove(ctx, rq, attempt)
	if err != nil || answer != nil {
		return answer, err
	}
	c, err := a.Service.Confirmed(account.ForAddress, creds.Session, creds.Secret)
	if err != nil {
		return nil, err
	}
	return nil, a.Service.AddAddress(ctx, rq.User(), c)
}

// threepidIn is the body of what removes an address.
type threepidIn struct {
	Medium  *string `json:"medium"`
	Address *string `json:"address"`
}

// threepid reads it.
func (rq *Request) threepid() (in threepidIn, err error) {
	if err := rq.Decode(&in); err != nil {
		return in, err
	}
	switch {
	case in.Medium == nil || in.Address == nil:
		return in, errs.New("api."+rq.Op(), errs.Invalid, errs.MissingParam, "medium and address are required")
	case *in.Medium != auth.MediumEmail && *in.Medium != "msisdn":
		return in, errs.New("api."+rq.Op(), errs.Invalid, errs.InvalidParam, "medium is email or msisdn")
	}
	return in, nil
}

type unbound struct {
	Result string `json:"id_server_unbind_result"`
}

func (a Accounts) delete3pidFromAccount(ctx context.Context, rq *Request) (any, error) {
	in, err := rq.threepid()
	if err != nil {
		return nil, err
	}
	if rq.session.Suspended { // the operator may want to know who it was
		return nil, suspended("api.delete3pidFromAccount")
	}
	if *in.Medium != auth.MediumEmail {
		return unbound{"no-support"}, nil // there is none
	}
	if err := a.Service.RemoveAddress(ctx, rq.User(), *in.Address); err != nil {
		return nil, err
	}
	return unbound{"no-support"}, nil // no identity server was told of it
}

func (a Accounts) bind3PID(context.Context, *Request) (any, error) {
	return nil, errs.New("api.bind3PID", errs.Unsupported, errs.ServerNotTrusted, "this server tells no identity server of its users")
}

func (a Accounts) unbind3pidFromAccount(_ context.Context, rq *Request) (any, error) {
	if _, err := rq.threepid(); err != nil {
		return nil, err
	}
	return unbound{"no-support"}, nil
}

// resetPassword sets the password of whoever confirmed the address of their account, without being logged in.
func (a Accounts) resetPassword(ctx context.Context, rq *Request, in newPassword) (any, error) {
	if !a.Service.SendsMail() {
		return nil, errs.New("api.changePassword", errs.Unauthenticated, errs.MissingToken, "no access token was sent")
	}
	attempt, err := auth.ParseAttempt(in.Auth)
	if err != nil {
		return nil, err
	}
	if err := rq.CatchUp(ctx); err != nil {
		return nil, err
	}
	var proof account.Proof
	call := auth.Call{Flows: []auth.Flow{{Stages: []string{auth.Email}}}}
	call.Check = func(_ context.Context, _ string, at auth.Attempt) (_ string, err error) {
		proof, err = a.Service.ProofByAddress(at.Creds.Session, at.Creds.Secret)
		return "", err
	}
	if _, err := call.Interactive(ctx, attempt); err != nil {
		return challenge(err)
	}
	if in.Password == nil {
		return nil, errs.New("api.changePassword", errs.Invalid, errs.MissingParam, "new_password is required")
	}
	return nil, a.Service.ChangePassword(ctx, proof, *in.Password, in.Logout, "")
}
