package client

import (
	"encoding/json"

	"bongsu/account"
	"bongsu/id"
	"bongsu/kv"
)

// ignoredBy are the users whom a user does not want to hear; nil: none. Nobody can ignore themselves.
//
// Specification: "Ignoring Users".
func ignoredBy(r kv.Reader, user id.UserID) map[id.UserID]bool {
	e, ok := account.Data(r, user, "", "m.ignored_user_list")
	if !ok {
		return nil
	}
	var content struct {
		Users map[id.UserID]json.RawMessage `json:"ignored_users"`
	}
	if json.Unmarshal(e.Content, &content) != nil {
		return nil // the user wrote it, and it is none
	}
	out := map[id.UserID]bool{}
	for name := range content.Users {
		if name != user {
			out[name] = true
		}
	}
	return out
}
