package client

import (
	"context"
	"encoding/json"

	"bongsu/account"
	"bongsu/errs"
	"bongsu/id"
)

func (a Accounts) profileRoutes() []Route {
	const (
		profile = "/_matrix/client/v3/profile/{userId}"
		field   = profile + "/{keyName}"
		maxBody = 80 << 10 // a profile and what stands around a value
	)
	return []Route{
		{Op: "getUserProfile", Class: Reading, Method: "GET", Path: profile, Auth: None, Handle: a.getUserProfile},
		{Op: "getProfileField", Class: Reading, Method: "GET", Path: field, Auth: None, Handle: a.getProfileField},
		{Op: "setProfileField", Method: "PUT", Path: field, MaxBody: maxBody, Handle: a.setProfileField},
		{Op: "deleteProfileField", Method: "DELETE", Path: field, Handle: a.deleteProfileField},
	}
}

// profileOf is the user in the path, if they have a profile.
func (a Accounts) profileOf(rq *Request) (id.UserID, error) {
	user, err := rq.UserID("userId")
	if err != nil {
		return "", err
	}
	acc, ok := account.Find(a.Service.Rows(), user)
	if !ok || acc.Deactivated {
		return "", errs.New("api.profile", errs.NotFound, "", "Profile not found")
	}
	return user, nil
}

func (a Accounts) getUserProfile(_ context.Context, rq *Request) (any, error) {
	user, err := a.profileOf(rq)
	if err != nil {
		return nil, err
	}
	fields := map[string]json.RawMessage{}
	for field, value := range account.ProfileFields(a.Service.Rows(), user) {
		fields[field] = value
	}
	return fields, nil
}

func (a Accounts) getProfileField(_ context.Context, rq *Request) (any, error) {
	user, err := a.profileOf(rq)
	if err != nil {
		return nil, err
	}
	field := rq.Path("keyName")
	value := account.ProfileField(a.Service.Rows(), user, field)
	if value == nil {
		return nil, errs.New("api.getProfileField", errs.NotFound, "", "the profile has no such field")
	}
	return map[string]json.RawMessage{field: value}, nil
}

// own is the user in the path, who must be the one who asks.
func own(rq *Request) (id.UserID, error) {
	if user, err := rq.UserID("userId"); err != nil || user != rq.User() {
		if err == nil {
			err = errs.New("api.own", errs.Forbidden, "", "this belongs to another user")
		}
		return "", err
	}
	return rq.User(), nil
}

func (a Accounts) setProfileField(ctx context.Context, rq *Request) (any, error) {
	user, err := own(rq)
	if err != nil {
		return nil, err
	}
	field := rq.Path("keyName")
	if err := account.CheckField(field); err != nil {
		return nil, err
	}
	var in map[string]json.RawMessage
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	value, ok := in[field]
	if !ok {
		return nil, errs.New("api.setProfileField", errs.Invalid, errs.MissingParam, "the body has no %q", field)
	}
	return nil, a.Service.SetProfile(ctx, user, field, value)
}

func (a Accounts) deleteProfileField(ctx context.Context, rq *Request) (any, error) {
	user, err := own(rq)
	if err != nil {
		return nil, err
	}
	return nil, a.Service.SetProfile(ctx, user, rq.Path("keyName"), nil)
}
