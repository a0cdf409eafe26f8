package client

import (
	"context"

	"bongsu/ephemeral"
	"bongsu/errs"
)

func (s Sync) presenceRoutes() []Route {
	const status = "/_matrix/client/v3/presence/{userId}/status"
	return []Route{
		{Op: "getPresence", Method: "GET", Path: status, Handle: s.getPresence},
		{Op: "setPresence", Class: Typing, Method: "PUT", Path: status, Limit: LimitSend, MaxBody: 16 << 10, Local: true, Handle: s.setPresence},
	}
}

func (s Sync) setPresence(_ context.Context, r *Request) (any, error) {
	const op = "api.setPresence"
	user, err := r.UserID("userId")
	if err != nil {
		return nil, err
	}
	if user != r.User() {
		return nil, errs.New(op, errs.Forbidden, "", "you can say only of yourself whether you are there")
	}
	var body struct {
		Presence ephemeral.PresenceState `json:"presence"`
		Message  *string                 `json:"status_msg"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	switch {
	case body.Presence == "":
		return nil, errs.New(op, errs.Invalid, errs.MissingParam, "presence is missing")
	case !body.Presence.Known():
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "presence is online, unavailable or offline")
	case body.Message != nil && len(*body.Message) > ephemeral.MaxStatus:
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "a status message has at most %d bytes", ephemeral.MaxStatus)
	}
	if body.Message == nil {
		body.Message = new(string) // what is not said is no more
	}
	if s.Presence != nil {
		s.Presence.Set(user, r.Device(), body.Presence, body.Message)
	}
	return nil, nil
}

func (s Sync) getPresence(_ context.Context, r *Request) (any, error) {
	user, err := r.UserID("userId")
	if err != nil {
		return nil, err
	}
	if !s.Feed.MaySeePresence(r.User(), user) {
		return nil, errs.New("api.getPresence", errs.Forbidden, "", "you share no room with %s", user)
	}
	is := ephemeral.Status{State: ephemeral.Offline}
	if s.Presence != nil {
		is = s.Presence.Of(user)
	}
	out := struct {
		Presence ephemeral.PresenceState `json:"presence"`
		Ago      *int64                  `json:"last_active_ago,omitempty"` // milliseconds
		Message  string                  `json:"status_msg,omitempty"`
		Active   bool                    `json:"currently_active"`
	}{is.State, nil, is.Message, is.CurrentlyActive()}
	if !is.Active.IsZero() {
		ago := max(r.api.cfg.Clock.Now().Sub(is.Active).Milliseconds(), 0)
		out.Ago = &ago
	}
	return out, nil
}
