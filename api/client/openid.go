package client

import (
	"context"

	"bongsu/account"
	"bongsu/errs"
	"bongsu/id"
)

// A user shows another service who they are with a token which that service brings here. Services ask by a path of the federation, and it
// is the only one of those that we have.

func (a Accounts) openIDRoutes() []Route {
	return []Route{
		{Op: "requestOpenIdToken", Method: "POST", Path: "/_matrix/client/v3/user/{userId}/openid/request_token", Limit: LimitOpenID,
			Handle: a.requestOpenIDToken},
		{Op: "exchangeOpenIdToken", Method: "GET", Path: "/_matrix/federation/v1/openid/userinfo", Auth: None, Limit: LimitDirectory,
			Handle: a.exchangeOpenIDToken},
	}
}

func (a Accounts) requestOpenIDToken(ctx context.Context, rq *Request) (any, error) {
	user, err := own(rq)
	if err != nil {
		return nil, err
	}
	if err := rq.DecodeOptional(&struct{}{}); err != nil {
		return nil, err
	}
	token, err := a.Service.OpenIDToken(ctx, user)
	if err != nil {
		return nil, err
	}
	return struct {
		Token   string        `json:"access_token"`
		Type    string        `json:"token_type"`
		Server  id.ServerName `json:"matrix_server_name"`
		Expires int64         `json:"expires_in"` // seconds
	}{token, "Bearer", a.Service.Server(), int64(account.OpenIDLife.Seconds())}, nil
}

func (a Accounts) exchangeOpenIDToken(_ context.Context, rq *Request) (any, error) {
	token, err := rq.Query("access_token")
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, errs.New("api.exchangeOpenIdToken", errs.Unauthenticated, errs.MissingToken, "no access token was sent")
	}
	user, err := a.Service.OpenIDUser(token)
	if err != nil {
		return nil, err
	}
	return struct {
		User id.UserID `json:"sub"`
	}{user}, nil
}
