package client

import (
	"context"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
)

// upgradeRoutes are the endpoints that replace rooms.
func (a Rooms) upgradeRoutes() []Route {
	return []Route{{Op: "upgradeRoom", Method: "POST", Path: "/_matrix/client/v3/rooms/{roomId}/upgrade", Limit: LimitSend, Handle: a.upgradeRoom}}
}

func (a Rooms) upgradeRoom(ctx context.Context, r *Request) (any, error) {
	in, err := r.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	var body struct {
		Version  *event.RoomVersion `json:"new_version"`
		Creators []id.UserID        `json:"additional_creators"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if body.Version == nil {
		return nil, errs.New("api.upgradeRoom", errs.Invalid, errs.MissingParam, "new_version is missing")
	}
	to, err := a.Rooms.Upgrade(ctx, by(r), in, *body.Version, body.Creators)
	if err != nil {
		return nil, errs.Wrap("api.upgradeRoom", err)
	}
	return struct {
		Replacement id.RoomID `json:"replacement_room"`
	}{to}, nil
}
