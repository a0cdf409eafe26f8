package app

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"bongsu/api/admin"
	"bongsu/config"
	"bongsu/seed"
)

// backup makes a backup of the server on a data directory.
func backup(t *testing.T, data string, o admin.BackupOrder) (m *seed.Manifest, err error) {
	t.Helper()
	err = Administer(t.Context(), data, func(c *admin.Client) error {
		m, err = c.Backup(t.Context(), o, func(admin.BackupState) {})
		return err
	})
	return m, err
}

// try makes a request and returns the answer's status and body.
func try(t *testing.T, s *Server, token, method, path, body string) (int, string) {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+token)
	rec := httptest.NewRecorder()
	s.Handler.ServeHTTP(rec, req)
	return rec.Code, rec.Body.String()
}

func upload(t *testing.T, s *Server, token, body string) string {
	t.Helper()
	return call(t, s, token, "POST", "/_matrix/media/v3/upload?filename=a.txt", body)["content_uri"].(string)
}

func download(t *testing.T, s *Server, token, uri string) (int, string) {
	t.Helper()
	return try(t, s, token, "GET", "/_matrix/client/v1/media/download/"+strings.TrimPrefix(uri, "mxc://"), "")
}

// told is a message that was acknowledged.
type told struct{ txn, event string }

func say(t *testing.T, s *Server, token, room, txn string) told {
	t.Helper()
	out := call(t, s, token, "PUT", fmt.Sprintf("/_matrix/client/v3/rooms/%s/send/m.room.message/%s", room, txn), `{"msgtype":"m.text","body":"smoke"}`)
	return told{txn, out["event_id"].(string)}
}

// TestBackupAndRestore backs a server up under load and restores it twice. Everything that was acknowledged before the backup is
// there, with its transaction ids; what came after is not; tokens of before get full state; a second server does not take the first
// one's tokens for its own.
func TestBackupAndRestore(t *testing.T) {
	root := t.TempDir()
	data := filepath.Join(root, "data")
	s := open(t, settings(data))
	token := register(t, s, "amy")
	room := call(t, s, token, "POST", "/_matrix/client/v3/createRoom", `{"name":"hill"}`)["room_id"].(string)
	uri := upload(t, s, token, "a picture")
	var before []told
	for i := range 20 {
		before = append(before, say(t, s, token, room, fmt.Sprint("t", i)))
	}
	since := call(t, s, token, "GET", "/_matrix/client/v3/sync", "")["next_batch"].(string)

	stop := make(chan struct{})
	var load sync.WaitGroup
	for w := range 3 {
		load.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					say(t, s, token, room, fmt.Sprintf("w%d-%d", w, i))
				}
			}
		})
	}
	first := filepath.Join(root, "first")
	m, err := backup(t, data, admin.BackupOrder{Dir: first})
	close(stop)
	load.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if m.Server != "localhost" || m.Epoch != 1 || m.Files.Count != 1 || len(m.Files.Missing) != 0 || m.Sealed {
		t.Errorf("%+v", m)
	}
	after := say(t, s, token, room, "after")
	later := upload(t, s, token, "a second picture")
	second := filepath.Join(root, "second")
	if m, err = backup(t, data, admin.BackupOrder{Dir: second, LinkFrom: first}); err != nil || m.Files.Count != 2 {
		t.Fatalf("a second backup: %+v, %v", m, err)
	}
	if n := linked(t, first, second); n != 1 {
		t.Errorf("the backups share %d files", n)
	}
	if _, err := backup(t, data, admin.BackupOrder{Dir: first}); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("a backup over another: %v", err)
	}
	if _, err := backup(t, data, admin.BackupOrder{Dir: "relative"}); err == nil || !strings.Contains(err.Error(), "absolute") {
		t.Errorf("a relative path: %v", err)
	}
	shut(t, s)

	restored := filepath.Join(root, "restored")
	epoch := restore(t, first, restored)
	for round := range 2 { // the second start is as any other
		s = open(t, settings(restored))
		if s.replica.Epoch() != epoch || s.first != nil && round == 1 {
			t.Errorf("round %d: epoch %d, want %d; first %v", round, s.replica.Epoch(), epoch, s.first)
		}
		for _, m := range before {
			if again := say(t, s, token, room, m.txn); again != m {
				t.Errorf("round %d: a retry of %s got %s", round, m, again)
			}
		}
		if code, body := try(t, s, token, "GET", "/_matrix/client/v3/rooms/"+room+"/event/"+after.event, ""); code != http.StatusNotFound {
			t.Errorf("an event from after the backup: %d %s", code, body)
		}
		if code, body := download(t, s, token, uri); code != http.StatusOK || body != "a picture" {
			t.Errorf("the file: %d %q", code, body)
		}
		if code, _ := download(t, s, token, later); code != http.StatusNotFound {
			t.Errorf("the file from after the backup: %d", code)
		}
		shut(t, s)
	}

	// The state, too: rows are made again from checkpoint and journal, and are the same.
	s = open(t, settings(restored))
	was := digests(s)
	shut(t, s)
	if err := os.RemoveAll(filepath.Join(restored, "rows")); err != nil {
		t.Fatal(err)
	}
	s = open(t, settings(restored))
	for i, d := range digests(s) {
		if d[:20] == was[i][:20] && d != was[i] {
			t.Errorf("partition %d: %s with rows, %s without", i, was[i], d)
		}
	}
	// A token of the old epoch gets everything, once.
	answer := call(t, s, token, "GET", "/_matrix/client/v3/sync?since="+since, "")
	if text := fmt.Sprint(answer["rooms"]); !strings.Contains(text, "m.room.create") || !strings.Contains(text, "limited:true") {
		t.Errorf("an old sync token finds %s", text)
	}
	answer = call(t, s, token, "GET", "/_matrix/client/v3/sync?since="+answer["next_batch"].(string), "")
	if text := fmt.Sprint(answer["rooms"]); strings.Contains(text, "m.room.create") {
		t.Errorf("the next token finds %s", text)
	}
	shut(t, s)

	other := filepath.Join(root, "other")
	if again := restore(t, first, other); again == epoch || again>>32 != epoch>>32 {
		t.Errorf("restored again: epoch %d after %d", again, epoch)
	}
}

// restore restores a backup with the settings of tests, and returns the new epoch.
func restore(t *testing.T, from, to string) uint64 {
	t.Helper()
	_, epoch, err := Restore(t.Context(), RestorePlan{Seed: from, Config: settings(to)})
	if err != nil {
		t.Fatal(err)
	}
	return epoch
}

// linked is how many files two backups share.
func linked(t *testing.T, a, b string) (n int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(a, "blobs", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		rel, _ := filepath.Rel(a, name)
		x, err1 := os.Stat(name)
		y, err2 := os.Stat(filepath.Join(b, rel))
		if err1 == nil && err2 == nil && os.SameFile(x, y) {
			n++
		}
	}
	return n
}

func TestRestoreRefuses(t *testing.T) {
	root := t.TempDir()
	data, from := filepath.Join(root, "data"), filepath.Join(root, "backup")
	s := open(t, settings(data))
	register(t, s, "amy")
	shut(t, s)
	if _, err := backup(t, data, admin.BackupOrder{Dir: from}); err != nil { // of a stopped server
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		change func(*RestorePlan)
		words  string
	}{
		"a directory that is not empty": {func(p *RestorePlan) { p.Config.Data = data }, "is not empty"},
		"another server":                {func(p *RestorePlan) { p.Config.ServerName = "example.org" }, `is of server "localhost"`},
		"other partitions":              {func(p *RestorePlan) { p.Config.Disk.Partitions = 7 }, "set partitions = 4"},
		"no backup":                     {func(p *RestorePlan) { p.Seed = root }, "is not a backup"},
		"a server that went on":         {func(p *RestorePlan) { p.Continue = true }, "was not sealed"},
		"sites that are none": {func(p *RestorePlan) { p.Config.Cluster = config.Cluster{ID: "c", ClusterSites: []string{"x"}} },
			"cluster-sites"},
	} {
		p := RestorePlan{Seed: from, Config: settings(filepath.Join(root, "to"))}
		c.change(&p)
		if _, _, err := Restore(t.Context(), p); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// A restore that was cut off is not started, and says what to do.
	to := filepath.Join(root, "cut off")
	restore(t, from, to)
	if err := os.Remove(filepath.Join(to, "format.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), settings(to), s.log); err == nil || !strings.Contains(err.Error(), "restore that was not finished") {
		t.Errorf("cut off: %v", err)
	}
}

// TestSealedServer: a sealed server writes nothing any more, is not started again, and its seed goes on in the same epoch with the
// same sync tokens.
func TestSealedServer(t *testing.T) {
	root := t.TempDir()
	data, to := filepath.Join(root, "data"), filepath.Join(root, "seed")
	s := open(t, settings(data))
	token := register(t, s, "amy")
	room := call(t, s, token, "POST", "/_matrix/client/v3/createRoom", `{"name":"hill"}`)["room_id"].(string)
	uri := upload(t, s, token, "a picture")
	m := say(t, s, token, room, "t1")
	since := call(t, s, token, "GET", "/_matrix/client/v3/sync", "")["next_batch"].(string)
	if _, err := backup(t, data, admin.BackupOrder{Dir: to, Seal: true}); err != nil {
		t.Fatal(err)
	}
	if code, body := try(t, s, token, "PUT", "/_matrix/client/v3/rooms/"+room+"/send/m.room.message/t2", `{}`); code != http.StatusServiceUnavailable ||
		!strings.Contains(body, "is being moved") {
		t.Errorf("a write: %d %s", code, body)
	}
	call(t, s, token, "GET", "/_matrix/client/v3/rooms/"+room+"/messages?dir=b", "")
	shut(t, s)
	if _, err := Open(t.Context(), settings(data), s.log); err == nil || !strings.Contains(err.Error(), "bongsu cluster unseal") {
		t.Fatalf("started again: %v", err)
	}

	next := filepath.Join(root, "next")
	if _, epoch, err := Restore(t.Context(), RestorePlan{Seed: to, Config: settings(next), Continue: true, Share: true}); err != nil || epoch != 1 {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
	s = open(t, settings(next))
	if again := say(t, s, token, room, "t1"); again != m {
		t.Errorf("a retry of %s got %s", m, again)
	}
	if code, body := download(t, s, token, uri); code != http.StatusOK || body != "a picture" {
		t.Errorf("the file: %d %q", code, body)
	}
	news := say(t, s, token, room, "t3")
	out, _ := call(t, s, token, "GET", "/_matrix/client/v3/sync?since="+since, "")["rooms"].(map[string]any)
	if text := fmt.Sprint(out); !strings.Contains(text, news.event) || strings.Contains(text, m.event) {
		t.Errorf("an old sync token finds %s", text)
	}
	shut(t, s)

	if err := Unseal(data); err != nil {
		t.Fatal(err)
	}
	s = open(t, settings(data))
	say(t, s, token, room, "t2")
	if err := Unseal(data); err == nil || !strings.Contains(err.Error(), "is not sealed") {
		t.Errorf("unsealed twice: %v", err)
	}
}
