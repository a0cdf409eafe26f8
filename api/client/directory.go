package client

import (
	"context"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/room"
)

// directoryRoutes are the endpoints about names of rooms.
func (a Rooms) directoryRoutes() []Route {
	const v3 = "/_matrix/client/v3/"
	const alias, list = v3 + "directory/room/{roomAlias}", v3 + "directory/list/room/{roomId}"
	return []Route{
		{Op: "getRoomIdByAlias", Class: Reading, Method: "GET", Path: alias, Auth: None, Limit: LimitDirectory, Handle: a.getRoomIDByAlias},
		{Op: "setRoomAlias", Method: "PUT", Path: alias, Limit: LimitSend, Handle: a.setRoomAlias},
		{Op: "deleteRoomAlias", Method: "DELETE", Path: alias, Limit: LimitSend, Handle: a.deleteRoomAlias},
		{Op: "getLocalAliases", Class: Reading, Method: "GET", Path: v3 + "rooms/{roomId}/aliases", Handle: a.getLocalAliases},
		{Op: "getRoomVisibilityOnDirectory", Class: Reading, Method: "GET", Path: list, Auth: None, Limit: LimitDirectory, Handle: a.getRoomVisibility},
		{Op: "setRoomVisibilityOnDirectory", Method: "PUT", Path: list, Limit: LimitSend, Handle: a.setRoomVisibility},
		// The specification lets strangers read the directory; a server is asked to show its rooms to its users.
		{Op: "getPublicRooms", Class: Reading, Method: "GET", Path: v3 + "publicRooms", Limit: LimitDirectory, Handle: a.getPublicRooms},
		{Op: "queryPublicRooms", Class: Reading, Method: "POST", Path: v3 + "publicRooms", Local: true, Limit: LimitDirectory, Handle: a.queryPublicRooms},
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

// visibility is whether a room is in the directory.
type visibility struct {
	Visibility string `json:"visibility"`
}

func (a Rooms) getRoomVisibility(_ context.Context, r *Request) (any, error) {
	in, err := r.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	public, err := a.Rooms.IsPublic(in)
	switch {
	case err != nil:
		return nil, errs.Wrap("api.getRoomVisibilityOnDirectory", err)
	case public:
		return visibility{"public"}, nil
	}
	return visibility{"private"}, nil
}

func (a Rooms) setRoomVisibility(ctx context.Context, r *Request) (any, error) {
	const op = "api.setRoomVisibilityOnDirectory"
	in, err := r.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	body := visibility{"public"}
	if err := r.DecodeOptional(&body); err != nil {
		return nil, err
	}
	if body.Visibility != "public" && body.Visibility != "private" {
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "visibility is public or private")
	}
	return nil, errs.Wrap(op, a.Rooms.SetPublic(ctx, by(r), in, body.Visibility == "public"))
}

// The number of rooms on a page of the directory.
const usualRooms, maxRooms = 50, 500

func (a Rooms) getPublicRooms(_ context.Context, r *Request) (any, error) {
	limit, err := r.QueryCount("limit", usualRooms, maxRooms)
	if err != nil {
		return nil, err
	}
	since, err := r.Query("since")
	if err != nil {
		return nil, err
	}
	return a.publicRooms(r, room.PublicQuery{Since: since, Limit: limit})
}

func (a Rooms) queryPublicRooms(_ context.Context, r *Request) (any, error) {
	const op = "api.queryPublicRooms"
	var body struct {
		Limit  *int64 `json:"limit"`
		Since  string `json:"since"`
		Filter struct {
			Words string    `json:"generic_search_term"`
			Types []*string `json:"room_types"`
		} `json:"filter"`
		AllNetworks bool   `json:"include_all_networks"`
		Network     string `json:"third_party_instance_id"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if body.AllNetworks && body.Network != "" {
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "third_party_instance_id and include_all_networks exclude each other")
	}
	if body.Network != "" {
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "there is no network %q here", body.Network)
	}
	q := room.PublicQuery{Since: body.Since, Limit: usualRooms, Words: body.Filter.Words}
	if body.Limit != nil {
		if *body.Limit < 0 {
			return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "limit is negative")
		}
		q.Limit = int(min(*body.Limit, maxRooms))
	}
	if body.Filter.Types != nil {
		q.Types = []string{}
	}
	for _, t := range body.Filter.Types {
		if t == nil {
			t = new(string)
		}
		q.Types = append(q.Types, *t)
	}
	return a.publicRooms(r, q)
}

// publicRooms reads a page. A limit of 0 asks for a page like any other, since one without rooms would lead nowhere.
func (a Rooms) publicRooms(r *Request, q room.PublicQuery) (any, error) {
	server, err := r.Query("server")
	if err != nil {
		return nil, err
	}
	if server != "" && id.ServerName(server) != a.Rooms.Server() {
		return nil, errs.New("api.publicRooms", errs.NotFound, "", "this server knows the rooms of %s only", a.Rooms.Server())
	}
	if q.Limit == 0 {
		q.Limit = usualRooms
	}
	page, err := a.Rooms.PublicRooms(q)
	return page, errs.Wrap("api.publicRooms", err)
}
