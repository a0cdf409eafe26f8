package client

import (
	"context"
	"encoding/json"

	"bongsu/account"
	"bongsu/errs"
	"bongsu/filter"
	"bongsu/id"
	"bongsu/pushrule"
)

func (a Accounts) dataRoutes() []Route {
	const (
		user    = "/_matrix/client/v3/user/{userId}"
		global  = user + "/account_data/{type}"
		perRoom = user + "/rooms/{roomId}/account_data/{type}"
		maxData = account.MaxContent + 4<<10 // white space is taken out later
	)
	return []Route{
		{Op: "setAccountData", Method: "PUT", Path: global, MaxBody: maxData, Handle: a.setAccountData},
		{Op: "getAccountData", Method: "GET", Path: global, Handle: a.getAccountData},
		{Op: "setAccountDataPerRoom", Method: "PUT", Path: perRoom, MaxBody: maxData, Handle: a.setAccountData},
		{Op: "getAccountDataPerRoom", Method: "GET", Path: perRoom, Handle: a.getAccountData},
		{Op: "defineFilter", Local: true, Method: "POST", Path: user + "/filter", MaxBody: account.MaxFilter + 4<<10, Handle: a.defineFilter},
		{Op: "getFilter", Method: "GET", Path: user + "/filter/{filterId}", Handle: a.getFilter},
	}
}

// dataPath is whose account data and of which room (empty: of none) the path is about.
func dataPath(rq *Request) (user id.UserID, room id.RoomID, err error) {
	if user, err = own(rq); err != nil {
		return "", "", err
	}
	if rq.Path("roomId") != "" {
		room, err = rq.RoomID("roomId")
	}
	return user, room, err
}

func (a Accounts) setAccountData(ctx context.Context, rq *Request) (any, error) {
	user, room, err := dataPath(rq)
	if err != nil {
		return nil, err
	}
	typ := rq.Path("type")
	if typ == account.TypeFullyRead || typ == account.TypePushRules {
		return nil, errs.New("api.setAccountData", errs.Forbidden, errs.ServerControlled, "Cannot set %s through this API", typ)
	}
	content, err := rq.Object()
	if err != nil {
		return nil, err
	}
	return nil, a.Service.SetData(ctx, user, room, typ, content)
}

func (a Accounts) getAccountData(_ context.Context, rq *Request) (any, error) {
	user, room, err := dataPath(rq)
	if err != nil {
		return nil, err
	}
	typ := rq.Path("type")
	e, ok := account.Data(a.Service.Rows(), user, room, typ)
	switch {
	case ok:
		return Raw(e.Content), nil
	case room == "" && typ == account.TypePushRules:
		return rulesReply{pushrule.Defaults(user)}, nil
	}
	return nil, errs.New("api.getAccountData", errs.NotFound, "", "Account data not found")
}

func (a Accounts) defineFilter(ctx context.Context, rq *Request) (any, error) {
	user, err := own(rq)
	if err != nil {
		return nil, err
	}
	body, err := rq.Object()
	if err != nil {
		return nil, err
	}
	f, err := filter.Parse(body)
	if err == nil {
		err = f.CheckIDs()
	}
	if err != nil {
		return nil, err
	}
	name, err := a.Service.DefineFilter(ctx, user, json.RawMessage(body))
	if err != nil {
		return nil, err
	}
	return struct {
		ID string `json:"filter_id"`
	}{name}, nil
}

func (a Accounts) getFilter(_ context.Context, rq *Request) (any, error) {
	user, err := own(rq)
	if err != nil {
		return nil, err
	}
	f := account.Filter(a.Service.Rows(), user, rq.Path("filterId"))
	if f == nil {
		return nil, errs.New("api.getFilter", errs.NotFound, "", "there is no such filter")
	}
	return Raw(f), nil
}
