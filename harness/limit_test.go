package harness_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"bongsu/harness"
)

// Who is told that it was too often waits for as long as it is told, and then is served: nothing had happened.
func TestClientWaitsWhenLimited(t *testing.T) {
	asked := map[string][]time.Time{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path] = append(asked[r.URL.Path], time.Now())
		if len(asked[r.URL.Path]) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"errcode":"M_LIMIT_EXCEEDED","error":"slowly"}`)
			return
		}
		fmt.Fprint(w, `{"access_token":"t","user_id":"@anna:x","joined_rooms":["!r:x"]}`)
	}))
	t.Cleanup(s.Close)
	c := harness.NewClient(s.URL)
	t.Cleanup(c.Close)
	if err := c.Register(t.Context(), "anna", "password"); err != nil || c.Token != "t" {
		t.Errorf("registered with token %q: %v", c.Token, err)
	}
	if rooms, err := c.JoinedRooms(t.Context()); err != nil || len(rooms) != 1 {
		t.Errorf("rooms %q: %v", rooms, err)
	}
	if len(asked) != 2 {
		t.Errorf("asked for %d things", len(asked))
	}
	for path, at := range asked {
		if len(at) != 2 || at[1].Sub(at[0]) < time.Second {
			t.Errorf("%s was asked at %v", path, at)
		}
	}
}
