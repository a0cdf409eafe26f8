package client

import (
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
		Errcode string      `json:"errcode,omitempty"`
		Error   string      `json:"error,omitempty"`
		Flows   []auth.Flow `json:"flows"`
		Params  struct{}    `json:"params"` // none of our stages has any
		Session string      `json:"session"`
	}{Flows: c.Flows, Session: c.Session}
	if c.Cause != nil {
		e := asError(c.Cause)
		body.Errcode, body.Error = lookup(e.Kind, e.Code).Errcode, e.Message
	}
	return Reply{Status: http.StatusUnauthorized, Body: body}, nil
}
