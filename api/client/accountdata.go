package client

import (
	"context"
	"encoding/json"

	"bongsu/account"
	"bongsu/errs"
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
		{Op: "defineFilter", Method: "POST", Path: user + "/filter", MaxBody: account.MaxFilter + 4<<10, Handle: a.defineFilter},
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

// filterPart and filterShape are the form of a filter: what is of another form is refused when it is defined, not when it is
// used. Specification: defineFilter.
type filterPart struct {
	Limit      *int64      `json:"limit"`
	Senders    []string    `json:"senders"`
	NotSenders []string    `json:"not_senders"`
	Types      []string    `json:"types"`
	NotTypes   []string    `json:"not_types"`
	Rooms      []id.RoomID `json:"rooms"`
	NotRooms   []id.RoomID `json:"not_rooms"`
	URL        *bool       `json:"contains_url"`
	Lazy       *bool       `json:"lazy_load_members"`
	Redundant  *bool       `json:"include_redundant_members"`
	Threads    *bool       `json:"unread_thread_notifications"`
}

type filterShape struct {
	Fields      []string   `json:"event_fields"`
	Format      string     `json:"event_format"`
	Presence    filterPart `json:"presence"`
	AccountData filterPart `json:"account_data"`
	Room        struct {
		Rooms       []id.RoomID `json:"rooms"`
		NotRooms    []id.RoomID `json:"not_rooms"`
		Leave       bool        `json:"include_leave"`
		Ephemeral   filterPart  `json:"ephemeral"`
		State       filterPart  `json:"state"`
		Timeline    filterPart  `json:"timeline"`
		AccountData filterPart  `json:"account_data"`
	} `json:"room"`
}

func (f *filterShape) check() error {
	const op = "api.defineFilter"
	if f.Format != "" && f.Format != "client" && f.Format != "federation" {
		return errs.New(op, errs.Invalid, errs.BadJSON, "event_format is client or federation")
	}
	for _, part := range []filterPart{f.Presence, f.AccountData, f.Room.Ephemeral, f.Room.State, f.Room.Timeline, f.Room.AccountData} {
		if part.Limit != nil && *part.Limit < 0 {
			return errs.New(op, errs.Invalid, errs.BadJSON, "a limit is not negative")
		}
	}
	return nil
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
	var shape filterShape
	if err := unmarshal(body, &shape); err != nil {
		return nil, err
	}
	if err := shape.check(); err != nil {
		return nil, err
	}
	filter, err := a.Service.DefineFilter(ctx, user, json.RawMessage(body))
	if err != nil {
		return nil, err
	}
	return struct {
		ID string `json:"filter_id"`
	}{filter}, nil
}

func (a Accounts) getFilter(_ context.Context, rq *Request) (any, error) {
	user, err := own(rq)
	if err != nil {
		return nil, err
	}
	filter := account.Filter(a.Service.Rows(), user, rq.Path("filterId"))
	if filter == nil {
		return nil, errs.New("api.getFilter", errs.NotFound, "", "there is no such filter")
	}
	return Raw(filter), nil
}
