package client

import (
	"context"
	"encoding/json"

	"bongsu/account"
	"bongsu/errs"
	"bongsu/id"
)

func (a Accounts) tagRoutes() []Route {
	const tags = "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags"
	return []Route{
		{Op: "getRoomTags", Method: "GET", Path: tags, Handle: a.getRoomTags},
		{Op: "setRoomTag", Method: "PUT", Path: tags + "/{tag}", Limit: LimitSend, MaxBody: 16 << 10, Handle: a.setRoomTag},
		{Op: "deleteRoomTag", Method: "DELETE", Path: tags + "/{tag}", Limit: LimitSend, Handle: a.deleteRoomTag},
	}
}

// tagged is the tags in a piece of account data, which clients may also have written themselves.
func tagged(content json.RawMessage) map[string]json.RawMessage {
	var c struct {
		Tags map[string]json.RawMessage `json:"tags"`
	}
	if json.Unmarshal(content, &c) != nil || c.Tags == nil {
		return map[string]json.RawMessage{}
	}
	return c.Tags
}

func (a Accounts) getRoomTags(_ context.Context, rq *Request) (any, error) {
	user, room, err := dataPath(rq)
	if err != nil {
		return nil, err
	}
	e, _ := account.Data(a.Service.Rows(), user, room, account.TypeTags)
	return map[string]any{"tags": tagged(e.Content)}, nil
}

func (a Accounts) setRoomTag(ctx context.Context, rq *Request) (any, error) {
	const op = "api.setRoomTag"
	body, err := rq.Object()
	if err != nil {
		return nil, err
	}
	var known struct {
		Order *float64 `json:"order"`
	}
	if err := json.Unmarshal(body, &known); err != nil {
		return nil, errs.New(op, errs.Invalid, errs.BadJSON, "a tag's order is a number")
	}
	if known.Order != nil && (*known.Order < 0 || *known.Order > 1) {
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "a tag's order is from 0 to 1")
	}
	return nil, a.editTags(ctx, rq, func(tags map[string]json.RawMessage, tag string) { tags[tag] = json.RawMessage(body) })
}

func (a Accounts) deleteRoomTag(ctx context.Context, rq *Request) (any, error) {
	return nil, a.editTags(ctx, rq, func(tags map[string]json.RawMessage, tag string) { delete(tags, tag) })
}

// editTags changes the tags of a room. edit may be called more than once, each time with newer tags.
func (a Accounts) editTags(ctx context.Context, rq *Request, edit func(tags map[string]json.RawMessage, tag string)) error {
	user, room, err := dataPath(rq)
	if err != nil {
		return err
	}
	tag := rq.Path("tag")
	if len(tag) > id.MaxLen {
		return errs.New("api.editTags", errs.Invalid, errs.InvalidParam, "a tag has at most %d bytes", id.MaxLen)
	}
	return a.Service.EditData(ctx, user, room, account.TypeTags, func(old json.RawMessage) (json.RawMessage, error) {
		tags := tagged(old)
		edit(tags, tag)
		all := map[string]any{}
		if old != nil {
			if err := json.Unmarshal(old, &all); err != nil {
				return nil, errs.Wrap("api.editTags", err)
			}
		}
		all["tags"] = tags
		return json.Marshal(all)
	})
}
