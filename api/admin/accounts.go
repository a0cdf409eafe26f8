package admin

import (
	"context"
	"net/url"
	"time"

	"bongsu/account"
	"bongsu/api/client"
	"bongsu/errs"
	"bongsu/id"
)

// Moderation is what an operator does to the accounts of others.
type Moderation interface {
	UserID(name string) (id.UserID, error)
	SetAdmin(ctx context.Context, user id.UserID, admin bool) error
	Lock(ctx context.Context, user id.UserID, on, operator bool) error
	Suspend(ctx context.Context, user id.UserID, on, operator bool) error
	CloseAccount(ctx context.Context, user id.UserID, erase bool) error

	AddRegistrationToken(ctx context.Context, token string, t account.RegistrationToken) (string, error)
	RemoveRegistrationToken(ctx context.Context, name string) error
	RegistrationTokens() []account.RegistrationToken
	Ends(life time.Duration) int64
}

// Change says what becomes of an account; what is absent stays as it is.
type Change struct {
	Admin     *bool `json:"admin,omitempty"`
	Locked    *bool `json:"locked,omitempty"`
	Suspended *bool `json:"suspended,omitempty"`
	Close     bool  `json:"close,omitempty"` // for good
	Erase     bool  `json:"erase,omitempty"` // with Close
}

// NewToken asks for a registration token.
type NewToken struct {
	Name   string `json:"name"`
	Token  string `json:"token,omitempty"`   // empty: one is made up
	Uses   uint32 `json:"uses,omitempty"`    // 0: any number
	LifeMS int64  `json:"life_ms,omitempty"` // 0: no end
}

// Token is a registration token; the token itself is shown once, to whoever made it.
type Token struct {
	Name      string `json:"name"`
	Token     string `json:"token,omitempty"`
	Uses      uint32 `json:"uses"`
	Completed uint32 `json:"completed"`
	Pending   uint32 `json:"pending"`
	CreatedMS int64  `json:"created_ms"`
	ExpiresMS int64  `json:"expires_ms"` // 0: never
}

// AccountRoutes are the operator's endpoints about accounts and who may make one.
func AccountRoutes(m Moderation) []client.Route {
	h := moderation{m}
	const v1 = "/_bongsu/admin/v1"
	return []client.Route{
		{Op: "admin.changeUser", Method: "PUT", Path: v1 + "/users/{user}", Auth: client.None, Handle: h.change},
		{Op: "admin.addToken", Method: "POST", Path: v1 + "/registration_tokens", Auth: client.None, Handle: h.addToken},
		{Op: "admin.listTokens", Method: "GET", Path: v1 + "/registration_tokens", Auth: client.None, Handle: h.listTokens},
		{Op: "admin.removeToken", Method: "DELETE", Path: v1 + "/registration_tokens/{name}", Auth: client.None, Handle: h.removeToken},
	}
}

type moderation struct{ accounts Moderation }

func (h moderation) change(ctx context.Context, r *client.Request) (any, error) {
	var in Change
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	user, err := h.accounts.UserID(r.Path("user"))
	if err != nil {
		return nil, err
	}
	if in.Admin != nil {
		if err := h.accounts.SetAdmin(ctx, user, *in.Admin); err != nil {
			return nil, err
		}
	}
	if in.Locked != nil {
		if err := h.accounts.Lock(ctx, user, *in.Locked, true); err != nil {
			return nil, err
		}
	}
	if in.Suspended != nil {
		if err := h.accounts.Suspend(ctx, user, *in.Suspended, true); err != nil {
			return nil, err
		}
	}
	if in.Close {
		return nil, h.accounts.CloseAccount(ctx, user, in.Erase)
	}
	return nil, nil
}

func (h moderation) addToken(ctx context.Context, r *client.Request) (any, error) {
	var in NewToken
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	if in.LifeMS < 0 {
		return nil, errs.New("admin.addToken", errs.Invalid, errs.InvalidParam, "a token lives for some time")
	}
	t := account.RegistrationToken{Name: in.Name, Uses: in.Uses, Expires: h.accounts.Ends(time.Duration(in.LifeMS) * time.Millisecond)}
	token, err := h.accounts.AddRegistrationToken(ctx, in.Token, t)
	return Token{Name: t.Name, Token: token, Uses: t.Uses, ExpiresMS: t.Expires}, err
}

func (h moderation) listTokens(context.Context, *client.Request) (any, error) {
	out := struct {
		Tokens []Token `json:"tokens"`
	}{[]Token{}}
	for _, t := range h.accounts.RegistrationTokens() {
		out.Tokens = append(out.Tokens, Token{Name: t.Name, Uses: t.Uses, Completed: t.Completed, Pending: t.Pending,
			CreatedMS: t.Created, ExpiresMS: t.Expires})
	}
	return out, nil
}

func (h moderation) removeToken(ctx context.Context, r *client.Request) (any, error) {
	return nil, h.accounts.RemoveRegistrationToken(ctx, r.Path("name"))
}

// ChangeUser changes an account, named by localpart or id.
func (c *Client) ChangeUser(ctx context.Context, user string, ch Change) error {
	return c.do(ctx, "PUT", "/users/"+url.PathEscape(user), ch, nil)
}

// AddToken makes a registration token.
func (c *Client) AddToken(ctx context.Context, t NewToken) (Token, error) {
	var out Token
	return out, c.do(ctx, "POST", "/registration_tokens", t, &out)
}

// Tokens are all registration tokens.
func (c *Client) Tokens(ctx context.Context) ([]Token, error) {
	var out struct{ Tokens []Token }
	return out.Tokens, c.do(ctx, "GET", "/registration_tokens", nil, &out)
}

// RemoveToken removes the registration token of a name.
func (c *Client) RemoveToken(ctx context.Context, name string) error {
	return c.do(ctx, "DELETE", "/registration_tokens/"+url.PathEscape(name), nil, nil)
}
