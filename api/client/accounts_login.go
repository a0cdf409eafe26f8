package client

import (
	"context"
	"encoding/json"
	"strings"

	"bongsu/account"
	"bongsu/auth"
	"bongsu/errs"
	"bongsu/id"
)

func (a Accounts) loginRoutes() []Route {
	const v3, v1 = "/_matrix/client/v3", "/_matrix/client/v1"
	return []Route{
		{Op: "getLoginFlows", Method: "GET", Path: v3 + "/login", Auth: None, Static: true, Handle: a.getLoginFlows},
		{Op: "login", Method: "POST", Path: v3 + "/login", Auth: None, Limit: LimitLogin, Deadline: passwordPatience, Handle: a.login},
		{Op: "generateLoginToken", Method: "POST", Path: v1 + "/login/get_token", Deadline: passwordPatience,
			Handle: a.generateLoginToken},
		{Op: "refresh", Method: "POST", Path: v3 + "/refresh", Auth: None, Limit: LimitLogin, Handle: a.refresh},
		{Op: "logout", Method: "POST", Path: v3 + "/logout", Moderated: true, Handle: a.logout},
		{Op: "logout_all", Method: "POST", Path: v3 + "/logout/all", Moderated: true, Handle: a.logoutAll},
	}
}

// loginReply is the answer of register and login.
type loginReply struct {
	User   id.UserID   `json:"user_id"`
	Device id.DeviceID `json:"device_id,omitempty"`
	tokens
}

// tokens are the part of it that refresh answers, too.
type tokens struct {
	Access    string `json:"access_token,omitempty"`
	Refresh   string `json:"refresh_token,omitempty"`
	ExpiresIn int64  `json:"expires_in_ms,omitempty"`
}

func loggedIn(l account.Login) loginReply {
	return loginReply{l.User, l.Device, tokensOf(l)}
}

func tokensOf(l account.Login) tokens {
	return tokens{l.Token, l.Refresh, l.Life.Milliseconds()}
}

func (a Accounts) getLoginFlows(context.Context, *Request) (any, error) {
	type flow struct {
		Type     string `json:"type"`
		GetToken bool   `json:"get_login_token,omitempty"`
	}
	return struct {
		Flows []flow `json:"flows"`
	}{[]flow{{Type: auth.Password}, {auth.Token, true}}}, nil
}

func (a Accounts) login(ctx context.Context, rq *Request) (any, error) {
	const op = "api.login"
	var in struct {
		Type       *string         `json:"type"`
		Identifier auth.Identifier `json:"identifier"`
		User       string          `json:"user"`
		Medium     string          `json:"medium"`
		Address    string          `json:"address"`
		Password   *string         `json:"password"`
		Token      *string         `json:"token"`
		Device     id.DeviceID     `json:"device_id"`
		DeviceName string          `json:"initial_device_display_name"`
		Refresh    bool            `json:"refresh_token"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	if in.Type == nil {
		return nil, errs.New(op, errs.Invalid, errs.MissingParam, "type is required")
	}
	session := account.NewSession{Device: in.Device, Name: in.DeviceName, Refresh: in.Refresh}
	switch *in.Type {
	case auth.Password:
		name, err := a.named(in.Identifier.Legacy(in.User, in.Medium, in.Address))
		if err != nil {
			return nil, err
		}
		if name == "" || in.Password == nil {
			return nil, errs.New(op, errs.Invalid, errs.MissingParam, "a user and a password are required")
		}
		return a.passwordLogin(ctx, rq, name, *in.Password, session)
	case auth.Token:
		if in.Token == nil {
			return nil, errs.New(op, errs.Invalid, errs.MissingParam, "a token is required")
		}
		out, err := a.Service.TokenLogin(ctx, *in.Token, session)
		if err != nil {
			return nil, err
		}
		return loggedIn(out), nil
	}
	return nil, errs.New(op, errs.Unsupported, "", "login by %q is not offered", *in.Type)
}

func (a Accounts) passwordLogin(ctx context.Context, rq *Request, name, password string, session account.NewSession) (any, error) {
	proof, err := a.checkPassword(ctx, rq, name, password)
	if err != nil {
		return nil, err
	}
	out, err := a.Service.Login(ctx, proof, session)
	if err != nil {
		return nil, err
	}
	return loggedIn(out), nil
}

// named is the user whom an identifier names; "" for none. For an address that is not known it is what no user is called: checking a
// password for it takes as long, and is counted like any other.
func (a Accounts) named(i auth.Identifier) (string, error) {
	return i.Resolve(func(address string) string {
		if user := a.Service.ByAddress(address); user != "" {
			return string(user)
		}
		return "@" + strings.ToLower(address)
	})
}

func (a Accounts) generateLoginToken(ctx context.Context, rq *Request) (any, error) {
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
	if err := rq.Allow(LimitToken, string(rq.User())); err != nil {
		return nil, err
	}
	token, err := a.Service.LoginToken(ctx, proof)
	if err != nil {
		return nil, err
	}
	return struct {
		Token     string `json:"login_token"`
		ExpiresIn int64  `json:"expires_in_ms"`
	}{token, account.LoginTokenLife.Milliseconds()}, nil
}

func (a Accounts) refresh(ctx context.Context, rq *Request) (any, error) {
	var in struct {
		Token *string `json:"refresh_token"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	if in.Token == nil {
		return nil, errs.New("api.refresh", errs.Invalid, errs.MissingParam, "refresh_token is required")
	}
	out, err := a.Service.Refresh(ctx, *in.Token)
	if err != nil {
		return nil, err
	}
	return tokensOf(out), nil
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
