package client

import (
	"context"

	"bongsu/account"
	"bongsu/errs"
	"bongsu/id"
)

func (a Accounts) moderationRoutes() []Route {
	const v3, v1 = "/_matrix/client/v3/admin", "/_matrix/client/v1/admin"
	return []Route{
		{Op: "getWhoIs", Method: "GET", Path: v3 + "/whois/{userId}", Handle: a.getWhoIs},
		{Op: "getAdminLockUser", Method: "GET", Path: v1 + "/lock/{userId}", Handle: a.getAdminLockUser},
		{Op: "setAdminLockUser", Method: "PUT", Path: v1 + "/lock/{userId}", Handle: a.setAdminLockUser},
		{Op: "getAdminSuspendUser", Method: "GET", Path: v1 + "/suspend/{userId}", Handle: a.getAdminSuspendUser},
		{Op: "setAdminSuspendUser", Method: "PUT", Path: v1 + "/suspend/{userId}", Handle: a.setAdminSuspendUser},
	}
}

type lockedReply struct {
	Locked bool `json:"locked"`
}

type suspendedReply struct {
	Suspended bool `json:"suspended"`
}

func (a Accounts) getAdminLockUser(_ context.Context, rq *Request) (any, error) {
	_, target, err := a.moderates(rq, "api.getAdminLockUser")
	if err != nil {
		return nil, err
	}
	return lockedReply{target.Locked}, nil
}

func (a Accounts) getAdminSuspendUser(_ context.Context, rq *Request) (any, error) {
	_, target, err := a.moderates(rq, "api.getAdminSuspendUser")
	if err != nil {
		return nil, err
	}
	return suspendedReply{target.Suspended}, nil
}

func (a Accounts) setAdminLockUser(ctx context.Context, rq *Request) (any, error) {
	var in struct {
		Locked *bool `json:"locked"`
	}
	user, err := a.toModerate(rq, "api.setAdminLockUser", &in)
	if err != nil {
		return nil, err
	}
	if in.Locked == nil {
		return nil, errs.New("api.setAdminLockUser", errs.Invalid, errs.MissingParam, "locked is required")
	}
	return lockedReply{*in.Locked}, a.Service.Lock(ctx, user, *in.Locked, false)
}

func (a Accounts) setAdminSuspendUser(ctx context.Context, rq *Request) (any, error) {
	var in struct {
		Suspended *bool `json:"suspended"`
	}
	user, err := a.toModerate(rq, "api.setAdminSuspendUser", &in)
	if err != nil {
		return nil, err
	}
	if in.Suspended == nil {
		return nil, errs.New("api.setAdminSuspendUser", errs.Invalid, errs.MissingParam, "suspended is required")
	}
	return suspendedReply{*in.Suspended}, a.Service.Suspend(ctx, user, *in.Suspended, false)
}

// toModerate reads the body of a change to the account of somebody else.
func (a Accounts) toModerate(rq *Request, op string, body any) (id.UserID, error) {
	user, _, err := a.moderates(rq, op)
	if err != nil {
		return "", err
	}
	if user == rq.User() {
		return "", errs.New(op, errs.Forbidden, "", "nobody may do that to themselves")
	}
	return user, rq.Decode(body)
}

// getWhoIs says where a user is logged in, to the user and to administrators.
func (a Accounts) getWhoIs(_ context.Context, rq *Request) (any, error) {
	const op = "api.getWhoIs"
	user, err := rq.UserID("userId")
	if err != nil {
		return nil, err
	}
	if me, _ := account.Find(a.Service.Rows(), rq.User()); user != rq.User() && !me.Admin {
		return nil, errs.New(op, errs.Forbidden, "", "only the user and administrators of this server may ask that")
	}
	if _, ok := account.Find(a.Service.Rows(), user); !ok {
		return nil, errs.New(op, errs.NotFound, "", "there is no such account")
	}
	type connection struct {
		IP        string `json:"ip"`
		LastSeen  int64  `json:"last_seen"`
		UserAgent string `json:"user_agent"`
	}
	type session struct {
		Connections []connection `json:"connections"`
	}
	type device struct {
		Sessions []session `json:"sessions"`
	}
	out := struct {
		User    id.UserID              `json:"user_id"`
		Devices map[id.DeviceID]device `json:"devices"`
	}{user, map[id.DeviceID]device{}}
	for _, d := range account.Devices(a.Service.Rows(), user) {
		s := session{[]connection{}}
		if seen, ok := account.LastSeen(a.Service.Rows(), user, d.ID); ok {
			s.Connections = append(s.Connections, connection{seen.Address, seen.At, seen.UserAgent})
		}
		out.Devices[d.ID] = device{[]session{s}}
	}
	return out, nil
}
