package client

import (
	"context"

	"bongsu/errs"
	"bongsu/room"
)

// reportRoutes are the endpoints by which users bring something to the operator's attention.
func (a Rooms) reportRoutes() []Route {
	const v3, maxBody = "/_matrix/client/v3/", 16 << 10
	return []Route{
		{Op: "reportRoom", Method: "POST", Path: v3 + "rooms/{roomId}/report", MaxBody: maxBody, Limit: LimitReport, Handle: a.reportRoom},
		{Op: "reportEvent", Method: "POST", Path: v3 + "rooms/{roomId}/report/{eventId}", MaxBody: maxBody, Limit: LimitReport, Handle: a.reportEvent},
		{Op: "reportUser", Method: "POST", Path: v3 + "users/{userId}/report", MaxBody: maxBody, Limit: LimitReport, Handle: a.reportUser},
	}
}

func (a Rooms) reportRoom(ctx context.Context, r *Request) (any, error) {
	in, err := r.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	return a.report(ctx, r, room.Report{Room: in}, true)
}

func (a Rooms) reportEvent(ctx context.Context, r *Request) (any, error) {
	in, err := r.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	e, err := r.EventID("eventId")
	if err != nil {
		return nil, err
	}
	return a.report(ctx, r, room.Report{Room: in, Event: e}, false)
}

func (a Rooms) reportUser(ctx context.Context, r *Request) (any, error) {
	user, err := r.UserID("userId")
	if err != nil {
		return nil, err
	}
	return a.report(ctx, r, room.Report{User: user}, true)
}

// report reads the reason, which may be blank, but not always left out.
func (a Rooms) report(ctx context.Context, r *Request, about room.Report, required bool) (any, error) {
	var body struct {
		Reason *string `json:"reason"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	switch {
	case body.Reason != nil:
		about.Reason = *body.Reason
	case required:
		return nil, errs.New("api."+r.Op(), errs.Invalid, errs.MissingParam, "reason is missing; it may be blank")
	}
	return nil, errs.Wrap("api."+r.Op(), a.Rooms.Report(ctx, r.User(), about))
}
