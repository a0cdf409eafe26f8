package account

import (
	"encoding/json"

	"bongsu/id"
	"bongsu/kv"
)

// TypeIgnoredUsers is the type of the account data that names whom a user ignores.
const TypeIgnoredUsers = "m.ignored_user_list"

// Ignored are the users whom a user does not want to hear; nil: none. Nobody can ignore themselves.
//
// Source: client-server API, "Ignoring Users".
func Ignored(r kv.Reader, user id.UserID) map[id.UserID]bool {
	e, ok := Data(r, user, "", TypeIgnoredUsers)
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
