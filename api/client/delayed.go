package client

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/room"
)

// Delayed events. Source: MSC4140, by its unstable names.

const (
	msc4140    = "org.matrix.msc4140"
	delayedAt  = "/_matrix/client/unstable/" + msc4140 + "/delayed_events"
	maxDelayed = 1000 // of an answer
)

func (a Rooms) delayedRoutes() []Route {
	return []Route{
		{Op: "getDelayedEvents", Class: Reading, Method: "GET", Path: delayedAt, Handle: a.getDelayedEvents},
		{Op: "updateDelayedEvent", Class: Text, Method: "POST", Path: delayedAt + "/{delayId}", Auth: Optional, Limit: LimitSend, Handle: a.updateDelayedEvent},
		{Op: "actOnDelayedEvent", Class: Text, Method: "POST", Path: delayedAt + "/{delayId}/{action}", Auth: Optional, Limit: LimitSend, Handle: a.actOnDelayedEvent},
	}
}

// delay sends an event later, where the query says so; ok is false where it does not.
func (a Rooms) delay(ctx context.Context, r *Request, in id.RoomID, l room.Later) (res any, ok bool, err error) {
	const name = msc4140 + ".delay"
	if r.http.URL.RawQuery == "" {
		return nil, false, nil // the usual case, at no cost
	}
	said, err := r.Query(name)
	if err != nil || said == "" {
		return nil, err != nil, err
	}
	ms, err := r.QueryInt(name, 0)
	if err == nil && ms <= 0 {
		err = badQuery(name, "is greater than zero")
	}
	if err != nil {
		return nil, true, err
	}
	if most := room.MaxDelay.Milliseconds(); ms > most {
		return tooLate(most), true, nil
	}
	l.Delay = time.Duration(ms) * time.Millisecond
	delay, err := a.Rooms.Delay(ctx, by(r), in, l)
	if err != nil {
		return nil, true, errs.Wrap("api."+r.Op(), err)
	}
	return struct {
		DelayID string `json:"delay_id"`
	}{delay}, true, nil
}

// tooLate refuses a delay that is over the limit, which it says.
func tooLate(most int64) Reply {
	return Reply{Status: http.StatusBadRequest, Body: struct {
		errorBody
		Code string `json:"org.matrix.msc4140.errcode"`
		Most int64  `json:"org.matrix.msc4140.max_delay"`
	}{errorBody{Errcode: "M_UNKNOWN", Error: "the delay is longer than this server allows"}, "M_MAX_DELAY_EXCEEDED", most}}
}

func (a Rooms) getDelayedEvents(_ context.Context, r *Request) (any, error) {
	type delayed struct {
		DelayID string       `json:"delay_id"`
		Room    id.RoomID    `json:"room_id"`
		Type    string       `json:"type"`
		Key     *string      `json:"state_key,omitempty"`
		Content event.Object `json:"content"`
		Delay   int64        `json:"delay"`
		Since   int64        `json:"running_since"`
	}
	out := struct {
		Delayed []delayed `json:"delayed_events"`
	}{[]delayed{}}
	for d := range a.Rooms.DelayedOf(r.User()) {
		if len(out.Delayed) == maxDelayed {
			break
		}
		out.Delayed = append(out.Delayed, delayed{room.DelayID(d.Room, d.ID), d.Room, d.Type, d.Key, d.Content, d.Delay, d.Since})
	}
	slices.SortStableFunc(out.Delayed, func(a, b delayed) int { return cmp.Compare(a.Since, b.Since) })
	return out, nil
}

func (a Rooms) updateDelayedEvent(ctx context.Context, r *Request) (any, error) {
	var body struct {
		Action string `json:"action"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	return nil, a.doDelayed(ctx, r, body.Action)
}

// actOnDelayedEvent is for those who were given the id to look after the event: it wants no access token.
func (a Rooms) actOnDelayedEvent(ctx context.Context, r *Request) (any, error) {
	return nil, a.doDelayed(ctx, r, r.Path("action"))
}

func (a Rooms) doDelayed(ctx context.Context, r *Request, action string) error {
	delay := r.Path("delayId")
	if err := a.mayDelayed(delay, action); err != nil {
		return err
	}
	return errs.Wrap("api."+r.Op(), a.Rooms.Delayed(ctx, r.User(), delay, action))
}
