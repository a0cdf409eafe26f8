package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bongsu/api/admin"
	"bongsu/config"
	"bongsu/journal"
)

func settings(dir string) config.Config {
	cfg := config.Default()
	cfg.Data, cfg.ServerName, cfg.OpenRegistration, cfg.API.RateLimits = dir, "localhost", true, "off"
	return cfg
}

// open builds a server; it is closed at the end of the test, or before by the test.
func open(t testing.TB, cfg config.Config) *Server {
	t.Helper()
	s, err := Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, s) })
	return s
}

func shut(t testing.TB, s *Server) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// call makes a request and returns the answer's body; any status but 200 fails the test.
func call(t *testing.T, s *Server, token, method, path, body string) map[string]any {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rec := httptest.NewRecorder()
	s.Handler.ServeHTTP(rec, req)
	text, _ := io.ReadAll(rec.Result().Body)
	if rec.Code != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, rec.Code, text)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
	return out
}

func register(t *testing.T, s *Server, name string) (token string) {
	t.Helper()
	out := call(t, s, "", "POST", "/_matrix/client/v3/register",
		fmt.Sprintf(`{"username":%q,"password":"correct horse","auth":{"type":"m.login.dummy"}}`, name))
	return out["access_token"].(string)
}

func digests(s *Server) []string {
	var out []string
	for i := range s.replica.Partitions() {
		st := s.replica.Status(journal.Partition(i))
		out = append(out, fmt.Sprintf("%d %x", st.Applied, st.Digest))
	}
	return out
}

// The rows are made again from the journal: without them the server starts and knows everything.
func TestRowsAreMadeAgainFromTheJournal(t *testing.T) {
	dir := t.TempDir()
	s := open(t, settings(dir))
	token := register(t, s, "amy")
	room := call(t, s, token, "POST", "/_matrix/client/v3/createRoom", `{"name":"hill"}`)["room_id"].(string)
	var last string
	for i := range 20 {
		last = call(t, s, token, "PUT", fmt.Sprintf("/_matrix/client/v3/rooms/%s/send/m.room.message/t%d", room, i),
			`{"msgtype":"m.text","body":"smoke"}`)["event_id"].(string)
	}
	since := call(t, s, token, "GET", "/_matrix/client/v3/sync", "")["next_batch"].(string)
	shut(t, s)
	if err := os.RemoveAll(filepath.Join(dir, "rows")); err != nil {
		t.Fatal(err)
	}

	s = open(t, settings(dir))
	page := call(t, s, token, "GET", "/_matrix/client/v3/rooms/"+room+"/messages?dir=b&limit=100", "")
	if n := len(page["chunk"].([]any)); n < 25 {
		t.Errorf("%d events after the rows were lost", n)
	}
	again := call(t, s, token, "PUT", "/_matrix/client/v3/rooms/"+room+"/send/m.room.message/t19", `{"msgtype":"m.text","body":"smoke"}`)
	if again["event_id"] != last {
		t.Errorf("a retry got %v, the first answer was %s", again["event_id"], last)
	}
	if out := call(t, s, token, "GET", "/_matrix/client/v3/sync?since="+since, ""); out["rooms"] != nil {
		if joined, _ := out["rooms"].(map[string]any)["join"].(map[string]any); len(joined) != 0 {
			t.Errorf("an old sync token finds news: %v", joined)
		}
	}
	shut(t, s)

	s = open(t, settings(dir)) // with rows this time, and nobody asks for anything
	with := digests(s)
	shut(t, s)
	if err := os.RemoveAll(filepath.Join(dir, "rows")); err != nil {
		t.Fatal(err)
	}
	s = open(t, settings(dir))
	for i, d := range digests(s) {
		if d != with[i] {
			t.Errorf("partition %d: %s with rows, %s without", i, with[i], d)
		}
	}
}

func TestDataDirectoryRefuses(t *testing.T) {
	dir := t.TempDir()
	shut(t, open(t, settings(dir)))
	discard := slog.New(slog.DiscardHandler)
	for what, c := range map[string]struct {
		change func(*config.Config)
		words  string
	}{
		"another server":     {func(c *config.Config) { c.ServerName = "example.org" }, "belongs to server"},
		"another site":       {func(c *config.Config) { c.Site = "busan" }, "belongs to site"},
		"other partitions":   {func(c *config.Config) { c.Disk.Partitions = 7 }, "4 partitions, not 7"},
		"a stranger's files": {func(c *config.Config) { c.Data = filepath.Join(dir, "rows") }, "not a data directory"},
		"no directory":       {func(c *config.Config) { c.Data = filepath.Join(dir, "lock", "x") }, "not a directory"},
	} {
		cfg := settings(dir)
		c.change(&cfg)
		if _, err := Open(t.Context(), cfg, discard); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", what, err)
		}
	}

	s := open(t, settings(dir))
	if _, err := Open(t.Context(), settings(dir), discard); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second process: %v", err)
	}
	shut(t, s)

	text, err := os.ReadFile(filepath.Join(dir, "format.json"))
	if err != nil {
		t.Fatal(err)
	}
	for version, words := range map[string]string{`"version": 2`: "has format 2", `"version": 0`: "has format 0"} {
		other := strings.Replace(string(text), `"version": 1`, version, 1)
		if err := os.WriteFile(filepath.Join(dir, "format.json"), []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), settings(dir), discard); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", version, err)
		}
	}
}

func TestBootNumbersGrow(t *testing.T) {
	dir := t.TempDir()
	var last uint64
	for range 5 {
		d, err := openData(dir, format{ServerName: "x", Site: "main", Partitions: 1})
		if err != nil {
			t.Fatal(err)
		}
		if d.boot <= last {
			t.Errorf("boot %d after %d", d.boot, last)
		}
		last = d.boot
		d.close()
	}
}

// The operator's commands work whether or not a server runs.
func TestAdminister(t *testing.T) {
	dir := t.TempDir()
	ctx := t.Context()
	add := func(name string) error {
		return Administer(ctx, dir, func(c *admin.Client) error {
			_, err := c.AddUser(ctx, admin.NewUser{Name: name, Password: "correct horse", Admin: name == "amy"})
			return err
		})
	}
	if err := add("amy"); err == nil {
		t.Error("a directory without a server took a user")
	}
	s := open(t, settings(dir))
	if err := add("amy"); err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	if err := add("bob"); err != nil {
		t.Fatal(err)
	}
	if err := add("bob"); err == nil || !strings.Contains(err.Error(), "taken") {
		t.Errorf("a name twice: %v", err)
	}
	var got []string
	err := Administer(ctx, dir, func(c *admin.Client) error {
		if err := c.SetPassword(ctx, "nobody", admin.NewPassword{Password: "correct horse"}); err == nil {
			t.Error("a password for nobody")
		}
		if err := c.SetPassword(ctx, "bob", admin.NewPassword{Password: "battery staple", Logout: true}); err != nil {
			return err
		}
		return c.Users(ctx, func(u admin.User) error {
			got = append(got, fmt.Sprintf("%s %v", u.ID, u.Admin))
			return nil
		})
	})
	if err != nil || strings.Join(got, ",") != "@amy:localhost true,@bob:localhost false" {
		t.Errorf("%v %v", got, err)
	}
	s = open(t, settings(dir))
	call(t, s, "", "POST", "/_matrix/client/v3/login",
		`{"type":"m.login.password","identifier":{"type":"m.id.user","user":"bob"},"password":"battery staple"}`)
}

// Run tells when it is ready, serves, and ends when it is told to.
func TestRun(t *testing.T) {
	cfg := settings(t.TempDir())
	cfg.Listen, cfg.Log.Level = "127.0.0.1:0", "error"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg, in) }()
	line := make([]byte, 200)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	url, ok := strings.CutPrefix(strings.TrimSpace(string(line[:n])), "bongsu is ready on ")
	if !ok {
		t.Fatalf("said %q", line[:n])
	}
	for _, path := range []string{"/health", "/_bongsu/status", "/metrics", "/_matrix/client/versions"} {
		resp, err := http.Get(url + path) //nolint:noctx // of this process
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
