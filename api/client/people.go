package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"bongsu/account"
	"bongsu/errs"
	"bongsu/id"
	"bongsu/room"
)

// People says whom users find in the directory of users.
type People string

// The choices.
const (
	PeopleMet People = "met" // who shares a room with the user or is in a room that is open to all; the default
	PeopleAll People = "all" // everybody: right for a company
	PeopleOff People = "off" // nobody
)

// TypeDirectory is the account data by which users say that strangers must not find them: {"listed":false}. Who shares a room with them does.
const TypeDirectory = "org.bongsu.user_directory"

const (
	defaultPeople = 10
	maxPeople     = 100
	// maxKnown is how many users that were found are looked at, to show the best of them.
	maxKnown = 1000
)

// person is somebody who was found.
type person struct {
	User   id.UserID `json:"user_id"`
	Name   string    `json:"display_name,omitempty"`
	Avatar string    `json:"avatar_url,omitempty"`
	rank   int
}

func (a Rooms) searchUserDirectory(_ context.Context, rq *Request) (any, error) {
	var in struct {
		Term  *string `json:"search_term"`
		Limit *int64  `json:"limit"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	if in.Term == nil {
		return nil, missing("search_term")
	}
	limit := int64(defaultPeople)
	if in.Limit != nil {
		if limit = *in.Limit; limit < 0 {
			return nil, errs.New("api.searchUserDirectory", errs.Invalid, errs.InvalidParam, "limit is negative")
		}
	}
	found := a.people(rq.User(), *in.Term)
	shown := found[:min(int64(len(found)), limit, maxPeople)]
	return struct {
		Results []person `json:"results"`
		Limited bool     `json:"limited"`
	}{append([]person{}, shown...), len(shown) < len(found)}, nil
}

// maxMutual is how many rooms one answer of getMutualRooms has.
const maxMutual = 200

// getMutualRooms lists the rooms that the user shares with another one. The token of a page is the room that the one before ended with.
func (a Rooms) getMutualRooms(_ context.Context, rq *Request) (any, error) {
	if err := rq.needs("user_id"); err != nil {
		return nil, err
	}
	text, err := rq.Query("user_id")
	if err != nil {
		return nil, err
	}
	other, err := id.ParseUserID(text)
	if err != nil {
		return nil, badQuery("user_id", "is no user id")
	}
	if other == rq.User() {
		return nil, badQuery("user_id", "is your own")
	}
	token, err := rq.Query("from")
	if err != nil {
		return nil, err
	}
	after, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil && token != "" {
		_, err = id.ParseRoomID(string(after))
	}
	if err != nil {
		return nil, badQuery("from", "is no token of an earlier answer")
	}
	view := a.Rooms.View()
	defer view.Close()
	shared := room.NewAcquaintances(view, len(view.Positions()), rq.User()).Shared(other)
	out := struct {
		Joined []id.RoomID `json:"joined"`
		Count  int         `json:"count"`
		Next   string      `json:"next_batch,omitempty"`
	}{Count: len(shared)}
	i, found := slices.BinarySearch(shared, id.RoomID(after))
	if found {
		i++
	}
	if out.Joined = shared[i:]; len(out.Joined) > maxMutual {
		out.Joined = out.Joined[:maxMutual]
		out.Next = base64.RawURLEncoding.EncodeToString([]byte(out.Joined[maxMutual-1]))
	}
	return out, nil
}

// people are the users whom somebody may find by a term, the likeliest first: those whose names are the term, those who share a room.
func (a Rooms) people(user id.UserID, term string) []person {
	if a.People == PeopleOff {
		return nil
	}
	view := a.Rooms.View()
	defer view.Close()
	n := len(view.Positions())
	known := room.NewAcquaintances(view, n, user)
	var found []person
	for other, profile := range account.FindNamed(view, n, term) {
		shared, open := known.Of(other)
		if other != user && !shared && (!open && a.People != PeopleAll || unlisted(account.Data(view, other, "", TypeDirectory))) {
			continue
		}
		p := person{User: other, Name: profile.Displayname, Avatar: profile.AvatarURL}
		if shared {
			p.rank += 2
		}
		if strings.EqualFold(profile.Displayname, term) || strings.EqualFold(other.Localpart(), term) || string(other) == term {
			p.rank += 4
		}
		if profile != (account.Profile{}) {
			p.rank++
		}
		if found = append(found, p); len(found) == maxKnown {
			break
		}
	}
	slices.SortFunc(found, func(x, y person) int {
		if x.rank != y.rank {
			return y.rank - x.rank
		}
		return strings.Compare(string(x.User), string(y.User))
	})
	return found
}

// unlisted reports whether somebody does not want to be found by strangers.
func unlisted(e account.Entry, ok bool) bool {
	var body struct {
		Listed *bool `json:"listed"`
	}
	return ok && json.Unmarshal(e.Content, &body) == nil && body.Listed != nil && !*body.Listed
}
