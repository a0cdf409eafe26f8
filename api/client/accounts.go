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
	Service      *account.Service // required
	Registration Registration     // who may register
	Guard        *auth.Guard      // slows down whoever guesses passwords; nil: nobody does
}

// passwordPatience is the deadline of calls that hash a password: many at once wait for their turn.
const passwordPatience = 30 * time.Second

// Routes are the endpoints of accounts.
func (a Accounts) Routes() []Route {
	const v3 = "/_matrix/client/v3"
	return slices.Concat([]Route{
		{Op: "getTokenOwner", Method: "GET", Path: v3 + "/account/whoami", Static: true, Handle: a.getTokenOwner},
		{Op: "changePassword", Method: "POST", Path: v3 + "/account/password", Auth: Optional, Limit: LimitLogin, Deadline: passwordPatience,
			Handle: a.changePassword},
		{Op: "deactivateAccount", Method: "POST", Path: v3 + "/account/deactivate", Handle: a.deactivateAccount},
	}, a.loginRoutes(), a.registerRoutes(), a.fallbackRoutes(), a.openIDRoutes(), a.emailRoutes(), a.deviceRoutes(), a.moderationRoutes(), a.profileRoutes(), a.dataRoutes(), a.tagRoutes(), a.pushRuleRoutes())
}

// maxCounted is how much of a name counts where guesses are counted, in bytes.
const maxCounted = 255

// checkPassword checks a password against the latest state. Guesses are limited for each account, whoever makes them.
func (a Accounts) checkPassword(ctx context.Context, rq *Request, name, password string) (account.Proof, error) {
	who := name // what is no name is counted as well, or it could be told from one
	if user, err := a.Service.UserID(name); err == nil {
		who = string(user)
	}
	who = who[:min(len(who), maxCounted)]
	if err := rq.Allow(LimitAccount, who); err != nil {
		return account.Proof{}, err
	}
	if err := rq.CatchUp(ctx); err != nil {
		return account.Proof{}, err
	}
	if wait := a.Guard.Try(who); wait > 0 {
		return account.Proof{}, &errs.Error{Op: "api.checkPassword", Kind: errs.Limited, RetryAfter: wait,
			Message: "too many wrong passwords for this account; wait, and try again"}
	}
	proof, err := a.Service.CheckPassword(ctx, name, password)
	if err == nil {
		a.Guard.Right(who)
	}
	return proof, err
}

// prove has the user of the session show that they know their password. Unless they did, answer is the challenge, to be returned.
func (a Accounts) prove(ctx context.Context, rq *Request, raw json.RawMessage) (proof account.Proof, answer any, err error) {
	attempt, err := auth.ParseAttempt(raw)
	if err != nil {
		return proof, nil, err
	}
	call := auth.Call{Flows: []auth.Flow{{Stages: []string{auth.Password}}}}
	call.Check = func(ctx context.Context, _ string, at auth.Attempt) (string, error) {
		name, err := a.named(at.Identifier.Legacy(at.User, "", ""))
		if err != nil {
			return "", err
		}
		if user, err := a.Service.UserID(name); name != "" && (err != nil || user != rq.User()) {
			return "", errs.New("api.prove", errs.Forbidden, "", "this is not the user who is logged in")
		}
		proof, err = a.checkPassword(ctx, rq, string(rq.User()), at.Password)
		return "", err
	}
	_, err = call.Interactive(ctx, attempt)
	if err != nil {
		answer, err = challenge(err)
	}
	return proof, answer, err
}

func (a Accounts) getTokenOwner(_ context.Context, rq *Request) (any, error) {
	return struct {
		User   id.UserID   `json:"user_id"`
		Device id.DeviceID `json:"device_id"`
		Guest  bool        `json:"is_guest"`
	}{rq.User(), rq.Device(), false}, nil
}

// newPassword is the body of changePassword.
type newPassword struct {
	Password *string         `json:"new_password"`
	Logout   bool            `json:"logout_devices"`
	Auth     json.RawMessage `json:"auth"`
}

func (a Accounts) changePassword(ctx context.Context, rq *Request) (any, error) {
	in := newPassword{Logout: true}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	if in.Password != nil {
		if err := a.Service.CheckNewPassword(*in.Password); err != nil {
			return nil, err
		}
	}
	if rq.User() == "" {
		return a.resetPassword(ctx, rq, in)
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
		Auth  json.RawMessage `json:"auth"`
		Erase bool            `json:"erase"`
	}
	if err := rq.DecodeOptional(&in); err != nil {
		return nil, err
	}
	proof, answer, err := a.prove(ctx, rq, in.Auth)
	if err != nil || answer != nil {
		return answer, err
	}
	if err := a.Service.Deactivate(ctx, proof, in.Erase); err != nil {
		return nil, err
	}
	return struct {
		Unbind string `json:"id_server_unbind_result"`
	}{"success"}, nil // there was nothing to unbind
}
