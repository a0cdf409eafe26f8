package room

import (
	"slices"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/roomstate"
)

// TypeSpace is the type of rooms that hold other rooms.
const TypeSpace = "m.space"

// Card is what the directory shows of a room. Source: client-server API, PublishedRoomsChunk.
type Card struct {
	Room          id.RoomID    `json:"room_id"`
	Alias         id.RoomAlias `json:"canonical_alias,omitempty"`
	Name          string       `json:"name,omitempty"`
	Topic         string       `json:"topic,omitempty"`
	Avatar        string       `json:"avatar_url,omitempty"`
	Joined        int64        `json:"num_joined_members"`
	WorldReadable bool         `json:"world_readable"`
	GuestCanJoin  bool         `json:"guest_can_join"`
	JoinRule      string       `json:"join_rule"`
	Type          string       `json:"room_type,omitempty"`
}

// Summary is what somebody is shown who may join a room. Source: client-server API, RoomSummary.
type Summary struct {
	Card
	Allowed    []id.RoomID       `json:"allowed_room_ids,omitempty"`
	Encryption string            `json:"encryption,omitempty"`
	Version    event.RoomVersion `json:"room_version"`
}

// Card reads what the directory shows of the room.
func (v *View) Card() Card {
	c := Card{Room: v.ID, Joined: v.Joined, WorldReadable: v.visibility() == worldReadable, JoinRule: v.Rules().JoinRule(), Type: v.Type()}
	c.Name = v.Text(event.TypeName, "name")
	c.Avatar = v.Text(event.TypeAvatar, "url")
	c.GuestCanJoin = v.Text(event.TypeGuestAccess, "guest_access") == "can_join"
	if s, ok := v.StateEvent(event.TypeTopic, ""); ok {
		c.Topic = plainTopic(s.Content)
	}
	if alias, err := id.ParseRoomAlias(v.Text(event.TypeCanonicalAlias, "alias")); err == nil {
		c.Alias = alias
	}
	return c
}

// Summary reads what somebody is shown who may join.
func (v *View) Summary() Summary {
	s := Summary{Card: v.Card(), Version: v.Version, Encryption: v.Text(event.TypeEncryption, "algorithm")}
	if s.JoinRule == roomstate.JoinRestricted || s.JoinRule == roomstate.JoinKnockRestricted {
		s.Allowed = v.Rules().AllowedRooms()
	}
	return s
}

// Type is the type that the room was made with, "m.space" for a space; mostly there is none.
func (v *View) Type() string { return v.Text(event.TypeCreate, "type") }

// Text is a string in the content of a state event with an empty key; empty if there is none.
func (v *View) Text(typ, field string) string {
	s, ok := v.StateEvent(typ, "")
	if !ok {
		return ""
	}
	text, _ := s.Content.String(field)
	return text
}

// plainTopic is a topic as plain text. Source: m.room.topic.
func plainTopic(content event.Object) string {
	for e := range event.Elements(content.Object("m.topic").Field("m.text")) {
		o := event.Object(e)
		if mime, ok := o.String("mimetype"); !ok || mime == "text/plain" {
			body, _ := o.String("body")
			return body
		}
	}
	topic, _ := content.String("topic")
	return topic
}

// Shown reports whether the user may see what room it is: whoever is in it or could come in, or knock, and everybody if its history is
// open to the world. The empty user is somebody without an account.
//
// Source: client-server API, getSpaceHierarchy and getRoomSummary.
func (v *View) Shown(user id.UserID) bool {
	membership := roomstate.Membership("")
	if user != "" {
		membership = v.Member(user).Membership
	}
	switch {
	case v.visibility() == worldReadable,
		membership == roomstate.Join, membership == roomstate.Invite, membership == roomstate.Knock:
		return true
	case membership == roomstate.Ban:
		return false
	}
	rules := v.Rules()
	switch rules.JoinRule() {
	case roomstate.JoinPublic, roomstate.JoinKnock, roomstate.JoinKnockRestricted:
		return true
	case roomstate.JoinRestricted:
		return user != "" && opens(v.r, rules, user)
	}
	return false
}

// opens reports whether the user is in a room that lets its members into the one with these rules.
func opens(r kv.Reader, rules *roomstate.Rules, user id.UserID) bool {
	return slices.ContainsFunc(rules.AllowedRooms(), func(other id.RoomID) bool {
		o, ok := Open(r, other)
		return ok && o.IsJoined(user)
	})
}

// Summarize is a room's summary and the user's membership, "leave" if there is none. Errors: NotFound, also for a room that is not
// shown to the user.
func (s *Service) Summarize(user id.UserID, room id.RoomID) (Summary, roomstate.Membership, error) {
	rows := s.cfg.Replica.View()
	defer rows.Close()
	v, ok := Open(rows, room)
	if !ok || !v.Shown(user) {
		return Summary{}, "", errs.New("room.Summarize", errs.NotFound, "", "there is no such room, or it is not shown to you")
	}
	membership := roomstate.Leave
	if m := v.Member(user).Membership; user != "" && m != "" {
		membership = m
	}
	return v.Summary(), membership, nil
}
