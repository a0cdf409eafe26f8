package roam

import (
	"errors"
	"net"
	"net/http"
	"strings"
)

// Repeatable reports whether a request may reach the servers twice and still have one effect:
//
//   - GET, HEAD and OPTIONS change nothing; DELETE and PUT name what they make or change, and in Matrix a PUT that sends carries its
//     transaction id in the path;
//   - a POST with an Idempotency-Key header, by that key;
//   - a POST to an endpoint that only asks, or sets what the body and the path say: see repeatablePosts.
//
// All other POSTs are not: createRoom and upload would make a second one, login and register another device, keys/claim
// would take another key, invite and kick may meet a room that has gone on.
func Repeatable(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	case http.MethodPost:
		return req.Header.Get("Idempotency-Key") != "" || repeatablePost(req.URL.Path)
	}
	return false
}

// repeatablePosts are endpoints below /_matrix/client/v3; "*" stands for one segment.
var repeatablePosts = [][]string{
	{"keys", "query"}, {"keys", "upload"}, {"keys", "signatures", "upload"},
	{"rooms", "*", "join"}, {"join", "*"},
	{"rooms", "*", "receipt", "*", "*"}, {"rooms", "*", "read_markers"},
	{"user", "*", "filter"}, {"search"}, {"user_directory", "search"}, {"publicRooms"},
}

func repeatablePost(path string) bool {
	_, rest, ok := strings.Cut(path, "/_matrix/client/")
	_, rest, versioned := strings.Cut(rest, "/")
	if !ok || !versioned {
		return false
	}
	got := strings.Split(rest, "/")
	for _, want := range repeatablePosts {
		if matches(got, want) {
			return true
		}
	}
	return false
}

func matches(got, want []string) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if want[i] != "*" && want[i] != got[i] {
			return false
		}
	}
	return true
}

// neverLeft reports whether err says that no byte of the request can have reached a server.
func neverLeft(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
