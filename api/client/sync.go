package client

import (
	"context"
	"net/http"
	"time"

	"bongsu/ephemeral"
	"bongsu/errs"
	"bongsu/feed"
	"bongsu/kv"
	"bongsu/room"
)

// Sync are the endpoints that tell clients what is new, who is typing, and who is there.
type Sync struct {
	Feed     *feed.Feed
	Typing   *ephemeral.Typing
	Presence *ephemeral.Presence // nil: there is none, and everybody is offline
	Rows     kv.Reader           // the newest rows
}

// Routes are the endpoints of syncing.
func (s Sync) Routes() []Route {
	const v3 = "/_matrix/client/v3/"
	return append([]Route{
		{Op: "sync", Class: Text, Method: "GET", Path: v3 + "sync", LongPoll: true, Handle: s.sync},
		{Op: "setTyping", Class: Typing, Method: "PUT", Path: v3 + "rooms/{roomId}/typing/{userId}", Local: true, Handle: s.setTyping},
	}, s.presenceRoutes()...)
}

func (s Sync) sync(ctx context.Context, r *Request) (any, error) {
	rq := feed.Request{User: r.User(), Device: r.Device(), Draining: r.Draining()}
	var err error
	if rq.Since, err = r.Query("since"); err != nil {
		return nil, err
	}
	if rq.Filter, err = r.Query("filter"); err != nil {
		return nil, err
	}
	if rq.FullState, err = r.QueryBool("full_state"); err != nil {
		return nil, err
	}
	if rq.StateAfter, err = r.QueryBool("use_state_after"); err != nil {
		return nil, err
	}
	if rq.Timeout, err = r.QueryMillis("timeout", 0, feed.MaxTimeout); err != nil {
		return nil, err
	}
	as, err := r.QueryOneOf("set_presence", "online", "online", "offline", "unavailable")
	if err != nil {
		return nil, err
	}
	rq.Presence = ephemeral.PresenceState(as)
	answer, err := s.Feed.Stream(ctx, rq)
	if err != nil {
		return nil, errs.Wrap("api.sync", err)
	}
	if out, ok := answer.Whole(); ok {
		return Raw(out), nil
	}
	return Stream{Header: http.Header{"Content-Type": typeJSON}, Body: answer, Size: -1}, nil
}

// typingTime is how long somebody types who does not say how long.
const typingTime = 30 * time.Second

func (s Sync) setTyping(_ context.Context, r *Request) (any, error) {
	const op = "api.setTyping"
	in, err := r.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	user, err := r.UserID("userId")
	if err != nil {
		return nil, err
	}
	if user != r.User() {
		return nil, errs.New(op, errs.Forbidden, "", "you can say only of yourself that you are typing")
	}
	var body struct {
		Typing  *bool  `json:"typing"`
		Timeout *int64 `json:"timeout"` // milliseconds
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if body.Typing == nil {
		return nil, errs.New(op, errs.Invalid, errs.MissingParam, "typing is missing")
	}
	v, ok := room.Open(s.Rows, in)
	if !ok || !v.IsJoined(user) {
		return nil, errs.New(op, errs.Forbidden, "", "you are not in the room")
	}
	if s.Presence != nil {
		s.Presence.Active(user)
	}
	if !*body.Typing {
		s.Typing.Stop(in, user)
		return nil, nil
	}
	d := typingTime
	if body.Timeout != nil {
		if *body.Timeout < 0 {
			return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "timeout is negative")
		}
		d = time.Duration(min(*body.Timeout, ephemeral.MaxTyping.Milliseconds())) * time.Millisecond
	}
	s.Typing.Start(in, user, d)
	return nil, nil
}
