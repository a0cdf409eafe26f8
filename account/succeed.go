package account

import (
	"encoding/json"
	"slices"

	"bongsu/id"
	"bongsu/pushrule"
	"bongsu/replica"
)

// The account data that says how a user wants a room. They are the client's; the server copies them when a room takes the place of another.
const (
	TypeTags   = "m.tag"    // of a room
	TypeDirect = "m.direct" // user -> rooms
)

// succeedBody is sent by package room when the user has come into a room that has taken the place of another.
type succeedBody struct {
	User id.UserID `json:"user"`
	From id.RoomID `json:"from"`
	To   id.RoomID `json:"to"`
}

// succeed copies what a user has set for one room to another. What is set there already stays.
func succeed(tx *replica.Tx, b succeedBody) ([]byte, error) {
	if _, err := find(tx, "account.Succeed", b.User); err != nil {
		return nil, nil //nolint:nilerr // a closed account has nothing to copy, and nobody to tell
	}
	if tags, ok := Data(tx, b.User, b.From, TypeTags); ok {
		if _, set := Data(tx, b.User, b.To, TypeTags); !set {
			putData(tx, b.User, b.To, TypeTags, tags.Content)
		}
	}
	for _, d := range [...]struct {
		typ  string
		edit func(json.RawMessage, succeedBody) json.RawMessage
	}{{TypeDirect, succeedDirect}, {TypePushRules, succeedRules}} {
		e, ok := Data(tx, b.User, "", d.typ)
		if !ok {
			continue
		}
		if content := d.edit(e.Content, b); content != nil && len(content) <= MaxContent {
			putData(tx, b.User, "", d.typ, content)
		}
	}
	return nil, nil
}

// succeedDirect is m.direct with the new room beside the old one; nil: nothing changes.
func succeedDirect(content json.RawMessage, b succeedBody) json.RawMessage {
	var all map[id.UserID]json.RawMessage
	if json.Unmarshal(content, &all) != nil {
		return nil
	}
	changed := false
	for user, list := range all {
		var rooms []id.RoomID
		if json.Unmarshal(list, &rooms) != nil || !slices.Contains(rooms, b.From) || slices.Contains(rooms, b.To) {
			continue
		}
		all[user] = replica.Marshal(append(rooms, b.To))
		changed = true
	}
	if !changed {
		return nil
	}
	return replica.Marshal(all)
}

// succeedRules are the push rules with those of the old room for the new one; nil: nothing changes.
func succeedRules(content json.RawMessage, b succeedBody) json.RawMessage {
	var body struct {
		Global json.RawMessage `json:"global"`
	}
	if json.Unmarshal(content, &body) != nil {
		return nil
	}
	rules, err := pushrule.Parse(body.Global)
	if err != nil || !rules.Succeed(string(b.From), string(b.To)) {
		return nil
	}
	return replica.Marshal(struct {
		Global pushrule.Ruleset `json:"global"`
	}{rules})
}
