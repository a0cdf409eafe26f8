package harness_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"bongsu/harness"
)

// SIGTERM lets what is in flight finish: a request whose body is still on its way is served, a long poll is answered with
// what there is, and what was acknowledged is there afterwards.
func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	s := start(t, "")
	anna := user(t, s, "anna")
	ctx := limit(t, time.Minute)
	room, err := anna.CreateRoom(ctx, map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := anna.Sync(ctx, "", 0, "")
	if err != nil {
		t.Fatal(err)
	}

	polled := make(chan error, 1)
	go func() {
		r, err := anna.Sync(ctx, first.Next, 30*time.Second, "")
		if err == nil && r.Next == "" {
			err = fmt.Errorf("an answer without token")
		}
		polled <- err
	}()
	body := `{"body":"half before, half after","marker":"m"}`
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
		harness.Path("v3", "rooms", room, "send", "m.room.message", "t"), anna.Token, len(body), body[:10])
	awaitInFlight(t, s, anna)

	began := time.Now()
	if err := s.Terminate(); err != nil {
		t.Fatal(err)
	}
	if err := <-polled; err != nil {
		t.Errorf("long poll at the end: %v", err)
	}
	if _, err := io.WriteString(conn, body[10:]); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	var sent struct {
		ID string `json:"event_id"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&sent); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("request in flight: %s, %v", resp.Status, err)
	}
	if err := s.Wait(ctx); err != nil {
		t.Errorf("the end: %v", err)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the end took %v", took)
	}
	if _, err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	var e harness.Event
	if err := anna.Do(ctx, http.MethodGet, harness.Path("v3", "rooms", room, "event", sent.ID), nil, &e); err != nil || e.Marker() != "m" {
		t.Errorf("the event afterwards: %+v, %v", e, err)
	}
}

// awaitInFlight waits until the server is at work on three requests: the long poll, the one whose body is incomplete, and the
// one that asks.
func awaitInFlight(t *testing.T, s *harness.Server, c *harness.Client) {
	t.Helper()
	for ctx := limit(t, patience); ctx.Err() == nil; wait(ctx, 5*time.Millisecond) {
		var text []byte
		if err := c.Do(ctx, http.MethodGet, "/metrics", nil, &text); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var n float64
			if _, err := fmt.Sscanf(line, "bongsu_api_requests_in_flight %g", &n); err == nil && n >= 3 {
				return
			}
		}
	}
	t.Fatal("the server never saw the requests")
}
