// Package admin is the edge for the operator: a few endpoints on a socket in the data directory, and their client.
//
// Invariant: whoever can open the socket may do everything here; the data directory's permissions are the authentication.
//
// Limits: accounts, registration tokens, sites and backups. The socket speaks HTTP with the errors of the Client-Server API.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"bongsu/account"
	"bongsu/api/client"
	"bongsu/id"
)

// Users are the accounts, as an operator handles them.
type Users interface {
	AddUser(ctx context.Context, localpart, password string, admin bool) (id.UserID, error)
	SetPassword(ctx context.Context, user id.UserID, password string, logout bool) error
	UserID(name string) (id.UserID, error)
	ListUsers(after id.UserID, limit int) []account.User
}

// User is a line of the list of users.
type User struct {
	ID          id.UserID `json:"user_id"`
	Admin       bool      `json:"admin"`
	Deactivated bool      `json:"deactivated"`
	Locked      bool      `json:"locked"`
	Suspended   bool      `json:"suspended"`
	CreatedMS   int64     `json:"created_ms"` // Unix milliseconds
}

// NewUser asks for an account.
type NewUser struct {
	Name     string `json:"name"` // the localpart
	Password string `json:"password"`
	Admin    bool   `json:"admin"`
}

// NewPassword asks for another password.
type NewPassword struct {
	Password string `json:"password"`
	Logout   bool   `json:"logout_devices"`
}

// pageSize is how many users a page has unless asked otherwise.
const pageSize = 500

// Routes are the operator's endpoints.
func Routes(users Users) []client.Route {
	h := handlers{users}
	return []client.Route{
		{Op: "admin.addUser", Method: "POST", Path: "/_bongsu/admin/v1/users", Auth: client.None, Handle: h.addUser},
		{Op: "admin.setPassword", Method: "PUT", Path: "/_bongsu/admin/v1/users/{user}/password", Auth: client.None, Handle: h.setPassword},
		{Op: "admin.listUsers", Method: "GET", Path: "/_bongsu/admin/v1/users", Auth: client.None, Handle: h.listUsers},
	}
}

type handlers struct{ users Users }

func (h handlers) addUser(ctx context.Context, r *client.Request) (any, error) {
	var in NewUser
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	user, err := h.users.AddUser(ctx, in.Name, in.Password, in.Admin)
	return User{ID: user, Admin: in.Admin}, err
}

func (h handlers) setPassword(ctx context.Context, r *client.Request) (any, error) {
	var in NewPassword
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	user, err := h.users.UserID(r.Path("user"))
	if err != nil {
		return nil, err
	}
	return nil, h.users.SetPassword(ctx, user, in.Password, in.Logout)
}

func (h handlers) listUsers(_ context.Context, r *client.Request) (any, error) {
	limit, err := r.QueryCount("limit", pageSize, pageSize)
	if err != nil {
		return nil, err
	}
	after, err := r.Query("after")
	if err != nil {
		return nil, err
	}
	out := struct {
		Users []User `json:"users"`
	}{[]User{}}
	for _, u := range h.users.ListUsers(id.UserID(after), limit) {
		out.Users = append(out.Users, User{ID: u.ID, Admin: u.Admin, Deactivated: u.Deactivated, Locked: u.Locked, Suspended: u.Suspended,
			CreatedMS: u.Created})
	}
	return out, nil
}

// Client talks to the socket of a running server.
type Client struct{ http *http.Client }

// NewClient makes a client for the socket at path.
func NewClient(path string) *Client {
	return &Client{&http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}}}
}

// AddUser makes an account.
func (c *Client) AddUser(ctx context.Context, u NewUser) (User, error) {
	var out User
	return out, c.do(ctx, "POST", "/users", u, &out)
}

// SetPassword sets the password of a user, named by localpart or id.
func (c *Client) SetPassword(ctx context.Context, user string, p NewPassword) error {
	return c.do(ctx, "PUT", "/users/"+url.PathEscape(user)+"/password", p, nil)
}

// Users is all users, in the order of their ids; each is called for every one until it fails.
func (c *Client) Users(ctx context.Context, each func(User) error) error {
	after := ""
	for {
		var page struct{ Users []User }
		q := url.Values{"after": {after}, "limit": {strconv.Itoa(pageSize)}}
		if err := c.do(ctx, "GET", "/users?"+q.Encode(), nil, &page); err != nil {
			return err
		}
		for _, u := range page.Users {
			if err := each(u); err != nil {
				return err
			}
		}
		if len(page.Users) < pageSize {
			return nil
		}
		after = string(page.Users[len(page.Users)-1].ID)
	}
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://bongsu/_bongsu/admin/v1"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		var e struct{ Errcode, Error string }
		if json.Unmarshal(data, &e) != nil || e.Error == "" {
			return fmt.Errorf("the server answered %s", resp.Status)
		}
		return errors.New(e.Error)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}
