package client

import (
	"context"

	"bongsu/errs"
	"bongsu/room"
	"bongsu/roomstate"
)

// spaceRoutes are the endpoints that show rooms to who is not in them.
func (a Rooms) spaceRoutes() []Route {
	return []Route{
		{Op: "getRoomSummary", Class: Reading, Method: "GET", Path: "/_matrix/client/v1/room_summary/{roomIdOrAlias}",
			Also: []string{"/_matrix/client/unstable/im.nheko.summary/summary/{roomIdOrAlias}",
				"/_matrix/client/unstable/im.nheko.summary/rooms/{roomIdOrAlias}/summary"},
			Auth: Optional, Limit: LimitDirectory, Handle: a.getRoomSummary},
		{Op: "getSpaceHierarchy", Class: Reading, Method: "GET", Path: "/_matrix/client/v1/rooms/{roomId}/hierarchy", Limit: LimitDirectory,
			Handle: a.getSpaceHierarchy},
	}
}

func (a Rooms) getRoomSummary(_ context.Context, r *Request) (any, error) {
	in, err := a.roomOrAlias(r)
	if err != nil {
		return nil, err
	}
	summary, membership, err := a.Rooms.Summarize(r.User(), in)
	if err != nil {
		return nil, errs.Wrap("api.getRoomSummary", err)
	}
	if r.User() == "" {
		membership = ""
	}
	return struct {
		room.Summary
		Membership roomstate.Membership `json:"membership,omitempty"`
	}{summary, membership}, nil
}

// The number of rooms on a page of a space.
const usualSpace, maxSpace = 50, 200

func (a Rooms) getSpaceHierarchy(_ context.Context, r *Request) (any, error) {
	in, err := r.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	var q room.HierarchyQuery
	if q.Limit, err = r.QueryCount("limit", usualSpace, maxSpace); err != nil {
		return nil, err
	}
	if q.Limit == 0 {
		return nil, badQuery("limit", "is at least 1")
	}
	if q.MaxDepth, err = r.QueryCount("max_depth", room.MaxSpaceDepth, room.MaxSpaceDepth); err != nil {
		return nil, err
	}
	if q.Suggested, err = r.QueryBool("suggested_only"); err != nil {
		return nil, err
	}
	if q.From, err = r.Query("from"); err != nil {
		return nil, err
	}
	page, err := a.Rooms.Hierarchy(r.User(), in, q)
	return page, errs.Wrap("api.getSpaceHierarchy", err)
}
