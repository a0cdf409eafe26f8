package harness

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Event is an event as a client is given it.
type Event struct {
	ID       string          `json:"event_id"`
	Type     string          `json:"type"`
	Sender   string          `json:"sender"`
	StateKey *string         `json:"state_key"`
	Content  json.RawMessage `json:"content"`
	Unsigned struct {
		Txn string `json:"transaction_id"`
	} `json:"unsigned"`
}

// Marker is the text by which the harness knows its own events again, or "".
func (e Event) Marker() string {
	var c struct {
		Marker string `json:"marker"`
	}
	if json.Unmarshal(e.Content, &c) != nil {
		return ""
	}
	return c.Marker
}

// SyncResponse is what the harness reads of a sync.
type SyncResponse struct {
	Next  string `json:"next_batch"`
	Rooms struct {
		Join   map[string]SyncRoom        `json:"join"`
		Invite map[string]json.RawMessage `json:"invite"`
		Leave  map[string]SyncRoom        `json:"leave"`
	} `json:"rooms"`
	ToDevice struct {
		Events []Event `json:"events"`
	} `json:"to_device"`
}

// SyncRoom is a room of a sync.
type SyncRoom struct {
	State    struct{ Events []Event } `json:"state"`
	Timeline struct {
		Events  []Event `json:"events"`
		Limited bool    `json:"limited"`
		Prev    string  `json:"prev_batch"`
	} `json:"timeline"`
}

// Page is an answer of /messages.
type Page struct {
	Chunk []Event `json:"chunk"`
	End   string  `json:"end"`
}

// Register makes an account and logs in.
func (c *Client) Register(ctx context.Context, name, password string) error {
	return c.session(ctx, "register", map[string]any{
		"username": name, "password": password, "auth": map[string]string{"type": "m.login.dummy"},
	})
}

// Login makes a device of an account.
func (c *Client) Login(ctx context.Context, name, password string) error {
	return c.session(ctx, "login", map[string]any{
		"type": "m.login.password", "password": password, "identifier": map[string]string{"type": "m.id.user", "user": name},
	})
}

func (c *Client) session(ctx context.Context, op string, body any) error {
	var out struct {
		User   string `json:"user_id"`
		Device string `json:"device_id"`
		Token  string `json:"access_token"`
	}
	err := c.Do(ctx, http.MethodPost, Path("v3", op), body, &out)
	var e *Error
	for errors.As(err, &e) && e.Status == http.StatusTooManyRequests { // nothing has happened: this may be repeated
		select {
		case <-ctx.Done():
			return err
		case <-time.After(untilNext(err)):
		}
		err = c.Do(ctx, http.MethodPost, Path("v3", op), body, &out)
	}
	c.User, c.Device, c.Token = out.User, out.Device, out.Token
	return err
}

// CreateRoom makes a room; options are the body of the request.
func (c *Client) CreateRoom(ctx context.Context, options map[string]any) (string, error) {
	var out struct {
		Room string `json:"room_id"`
	}
	err := c.Insist(ctx, http.MethodPost, Path("v3", "createRoom"), options, &out)
	return out.Room, err
}

// Join joins a room.
func (c *Client) Join(ctx context.Context, room string) error {
	return c.Insist(ctx, http.MethodPost, Path("v3", "rooms", room, "join"), struct{}{}, nil)
}

// Invite invites a user.
func (c *Client) Invite(ctx context.Context, room, user string) error {
	return c.Insist(ctx, http.MethodPost, Path("v3", "rooms", room, "invite"), map[string]string{"user_id": user}, nil)
}

// Leave leaves a room and forgets it.
func (c *Client) Leave(ctx context.Context, room string) error {
	err := c.Insist(ctx, http.MethodPost, Path("v3", "rooms", room, "leave"), struct{}{}, nil)
	if err != nil {
		return err
	}
	return c.Insist(ctx, http.MethodPost, Path("v3", "rooms", room, "forget"), struct{}{}, nil)
}

// Deactivate ends the account and all its sessions, for ever. An account that is gone already is no error.
func (c *Client) Deactivate(ctx context.Context, password string) error {
	err := c.Insist(ctx, http.MethodPost, Path("v3", "account", "deactivate"), map[string]any{"auth": map[string]any{
		"type": "m.login.password", "identifier": map[string]string{"type": "m.id.user", "user": c.User}, "password": password}}, nil)
	var e *Error
	if errors.As(err, &e) && e.Code == "M_UNKNOWN_TOKEN" { // an answer was lost, and this was the second time
		return nil
	}
	return err
}

// Send sends an event until it is acknowledged, always with the same transaction id.
func (c *Client) Send(ctx context.Context, room, kind, txn string, content any) (string, error) {
	var out struct {
		ID string `json:"event_id"`
	}
	err := c.Insist(ctx, http.MethodPut, Path("v3", "rooms", room, "send", kind, txn), content, &out)
	return out.ID, err
}

// SetState sets a piece of state.
func (c *Client) SetState(ctx context.Context, room, kind, key string, content any) (string, error) {
	var out struct {
		ID string `json:"event_id"`
	}
	err := c.Insist(ctx, http.MethodPut, Path("v3", "rooms", room, "state", kind, key), content, &out)
	return out.ID, err
}

// Sync asks once for what is new.
func (c *Client) Sync(ctx context.Context, since string, timeout time.Duration, filter string) (*SyncResponse, error) {
	q := url.Values{"timeout": {strconv.FormatInt(timeout.Milliseconds(), 10)}}
	if since != "" {
		q.Set("since", since)
	}
	if filter != "" {
		q.Set("filter", filter)
	}
	var out SyncResponse
	err := c.Do(ctx, http.MethodGet, Path("v3", "sync")+"?"+q.Encode(), nil, &out)
	return &out, err
}

// Messages reads a page of a room's history; from may be empty. dir is "f" or "b".
func (c *Client) Messages(ctx context.Context, room, from, dir string, limit int) (*Page, error) {
	q := url.Values{"dir": {dir}, "limit": {strconv.Itoa(limit)}}
	if from != "" {
		q.Set("from", from)
	}
	var out Page
	err := c.Insist(ctx, http.MethodGet, Path("v3", "rooms", room, "messages")+"?"+q.Encode(), nil, &out)
	return &out, err
}

// Timeline reads all of a room's history in one direction.
func (c *Client) Timeline(ctx context.Context, room, dir string) ([]Event, error) {
	var all []Event
	for from := ""; ; {
		page, err := c.Messages(ctx, room, from, dir, 500)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Chunk...)
		if page.End == "" {
			return all, nil
		}
		from = page.End
	}
}

// JoinedRooms are the rooms that the user is in.
func (c *Client) JoinedRooms(ctx context.Context) ([]string, error) {
	var out struct {
		Rooms []string `json:"joined_rooms"`
	}
	err := c.Insist(ctx, http.MethodGet, Path("v3", "joined_rooms"), nil, &out)
	return out.Rooms, err
}

// Upload uploads a file and returns its mxc:// address.
func (c *Client) Upload(ctx context.Context, data []byte) (string, error) {
	var out struct {
		URI string `json:"content_uri"`
	}
	err := c.Insist(ctx, http.MethodPost, "/_matrix/media/v3/upload?filename=x.bin", data, &out)
	return out.URI, err
}

// Download is the content of an mxc:// address.
func (c *Client) Download(ctx context.Context, uri string) ([]byte, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, err
	}
	var data []byte
	err = c.Insist(ctx, http.MethodGet, Path("v1", "media", "download", u.Host)+u.EscapedPath(), nil, &data)
	return data, err
}

// UploadOneTimeKeys adds keys, by id such as "signed_curve25519:AAAA".
func (c *Client) UploadOneTimeKeys(ctx context.Context, keys map[string]any) error {
	return c.Insist(ctx, http.MethodPost, Path("v3", "keys", "upload"), map[string]any{"one_time_keys": keys}, nil)
}

// ClaimKey takes a one-time key of a device. It is not repeated: a key that nobody was told of is gone. The id is empty if there
// was none.
func (c *Client) ClaimKey(ctx context.Context, user, device string) (id string, key json.RawMessage, err error) {
	var out struct {
		Keys map[string]map[string]map[string]json.RawMessage `json:"one_time_keys"`
	}
	body := map[string]any{"one_time_keys": map[string]any{user: map[string]string{device: "signed_curve25519"}}}
	if err := c.Do(ctx, http.MethodPost, Path("v3", "keys", "claim"), body, &out); err != nil {
		return "", nil, err
	}
	for id, key := range out.Keys[user][device] {
		return id, key, nil
	}
	return "", nil, nil
}

// SendToDevice sends content to one device.
func (c *Client) SendToDevice(ctx context.Context, user, device, kind, txn string, content any) error {
	body := map[string]any{"messages": map[string]any{user: map[string]any{device: content}}}
	return c.Insist(ctx, http.MethodPut, Path("v3", "sendToDevice", kind, txn), body, nil)
}
