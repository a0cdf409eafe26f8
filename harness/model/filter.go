package model

import (
	"slices"
	"strings"
)

// Events is a filter of events. Source: defineFilter.
type Events struct {
	Limit    *int     `json:"limit,omitempty"`
	Types    []string `json:"types,omitempty"`
	NotTypes []string `json:"not_types,omitempty"`
	Senders  []string `json:"senders,omitempty"`
	Lazy     bool     `json:"lazy_load_members,omitempty"`
	URL      *bool    `json:"contains_url,omitempty"`
}

// Filter is a filter of /sync.
type Filter struct {
	Room struct {
		NotRooms     []string `json:"not_rooms,omitempty"`
		IncludeLeave bool     `json:"include_leave,omitempty"`
		Timeline     Events   `json:"timeline"`
		State        Events   `json:"state"`
		Ephemeral    Events   `json:"ephemeral"`
		AccountData  Events   `json:"account_data"`
	} `json:"room"`
}

// passes reports whether the filter wants an event.
func (f *Events) passes(e *Event) bool {
	_, url := e.Content["url"]
	return f.wants(e.Type) && (f.Senders == nil || slices.Contains(f.Senders, e.Sender)) && (f.URL == nil || *f.URL == url)
}

func (f *Events) wants(typ string) bool {
	is := func(pattern string) bool {
		head, star := strings.CutSuffix(pattern, "*")
		return pattern == typ || star && strings.HasPrefix(typ, head)
	}
	return !slices.ContainsFunc(f.NotTypes, is) && (f.Types == nil || slices.ContainsFunc(f.Types, is))
}

// all reports whether everything passes.
func (f *Events) all() bool {
	return f.Types == nil && f.NotTypes == nil && f.Senders == nil && f.URL == nil
}

// limit is how many events may come; where the filter does not say, the server chooses, up to most.
func (f *Events) limit(most int) int {
	if f.Limit == nil {
		return most
	}
	return *f.Limit
}
