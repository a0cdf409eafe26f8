package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"bongsu/auth"
)

// challenge is the answer to a call that needs a stage of user-interactive authentication, if err is an *auth.Challenge; any other
// error is returned. Specification: "User-Interactive API in the REST API".
func challenge(err error) (any, error) {
	var c *auth.Challenge
	if !errors.As(err, &c) {
		return nil, err
	}
	body := struct {
		Errcode   string         `json:"errcode,omitempty"`
		Error     string         `json:"error,omitempty"`
		Flows     []auth.Flow    `json:"flows"`
		Params    map[string]any `json:"params"`
		Session   string         `json:"session"`
		Completed []string       `json:"completed,omitempty"`
	}{Flows: c.Flows, Params: c.Params, Session: c.Session, Completed: c.Completed}
	if body.Params == nil {
		body.Params = map[string]any{}
	}
	if c.Cause != nil {
		e := asError(c.Cause)
		body.Errcode, body.Error = lookup(e.Kind, e.Code).Errcode, e.Message
	}
	return Reply{Status: http.StatusUnauthorized, Body: body}, nil
}

// Confirm lets the user of a request confirm with the password: answer is the challenge to be sent instead, nil once it is passed.
func (a Accounts) Confirm(ctx context.Context, rq *Request, attempt json.RawMessage) (answer any, err error) {
	_, answer, err = a.prove(ctx, rq, attempt)
	return answer, err
}
