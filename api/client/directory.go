package client

import (
	"context"

	"bongsu/errs"
	"bongsu/id"
)

// directoryRoutes are the endpoints about names of rooms.
func (a Rooms) directoryRoutes() []Route {
	const alias = "/_matrix/client/v3/directory/room/{roomAlias}"
	return []Route{
		{Op: "getRoomIdByAlias", Class: Reading, Method: "GET", Path: alias, Auth: None, Limit: LimitDirectory, Handle: a.getRoomIDByAlias},
		{Op: "setRoomAlias", Method: "PUT", Path: alias, Limit: LimitSend, Handle: a.setRoomAlias},
		{Op: "deleteRoomAlias", Method: "DELETE", Path: alias, Limit: LimitSend, Handle: a.deleteRoomAlias},
		{Op: "getLocalAliases", Class: Reading, Method: "GET", Path: "/_matrix/client/v3/rooms/{roomId}/aliases", Handle: a.getLocalAliases},
	}
}

// RoomAlias is the alias in the path's segment name.
func (rq *Request) RoomAlias(name string) (id.RoomAlias, error) {
	return id.ParseRoomAlias(rq.Path(name))
}

func (a Rooms) getRoomIDByAlias(_ context.Context, r *Request) (any, error) {
	alias, err := r.RoomAlias("roomAlias")
	if err != nil {
		return nil, err
	}
	in, err := a.Rooms.Resolve(alias)
	if err != nil {
		return nil, errs.Wrap("api.getRoomIdByAlias", err)
	}
	return struct {
		RoomID  id.RoomID       `json:"room_id"`
		Servers []id.ServerName `json:"servers"`
	}{in, []id.ServerName{alias.Server()}}, nil
}

func (a Rooms) setRoomAlias(ctx context.Context, r *Request) (any, error) {
	alias, err := r.RoomAlias("roomAlias")
	if err != nil {
		return nil, err
	}
	var body struct {
		RoomID *string `json:"room_id"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if body.RoomID == nil {
		return nil, errs.New("api.setRoomAlias", errs.Invalid, errs.MissingParam, "room_id is missing")
	}
	in, err := id.ParseRoomID(*body.RoomID)
	if err != nil {
		return nil, err
	}
	return nil, errs.Wrap("api.setRoomAlias", a.Rooms.SetAlias(ctx, by(r), alias, in))
}

func (a Rooms) deleteRoomAlias(ctx context.Context, r *Request) (any, error) {
	alias, err := r.RoomAlias("roomAlias")
	if err != nil {
		return nil, err
	}
	return nil, errs.Wrap("api.deleteRoomAlias", a.Rooms.DeleteAlias(ctx, by(r), alias))
}

func (a Rooms) getLocalAliases(_ context.Context, r *Request) (any, error) {
	in, err := r.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	aliases, err := a.Rooms.Aliases(r.User(), in)
	if err != nil {
		return nil, errs.Wrap("api.getLocalAliases", err)
	}
	return struct {
		Aliases []id.RoomAlias `json:"aliases"`
	}{aliases}, nil
}
