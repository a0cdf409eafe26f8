package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bongsu/api/admin"
	"bongsu/config"
	"bongsu/freeport"
	"bongsu/journal"
)

// bundles makes the files of a cluster of three sites on this machine, and returns their settings.
func bundles(t *testing.T, dir string) []config.Config {
	t.Helper()
	p := ClusterPlan{ServerName: "localhost", Data: filepath.Join(dir, "data-{site}")}
	for _, name := range []string{"seoul", "chuncheon", "busan"} {
		port, err := freeport.Ports(3)
		if err != nil {
			t.Fatal(err)
		}
		p.Sites = append(p.Sites, ClusterSite{Name: name, Host: "127.0.0.1", Clients: port, Link: port + 1, Routes: port + 2})
	}
	if _, err := InitCluster(filepath.Join(dir, "bundles"), p); err != nil {
		t.Fatal(err)
	}
	var all []config.Config
	for _, s := range p.Sites {
		c, err := config.Load([]string{"--config", filepath.Join(dir, "bundles", s.Name, "site.toml")})
		if err != nil {
			t.Fatal(err)
		}
		c.OpenRegistration, c.API.RateLimits = true, "off"
		all = append(all, c)
	}
	return all
}

// openAll opens all sites of a cluster and waits until each serves.
func openAll(t *testing.T, sites []config.Config) []*Server {
	t.Helper()
	all := make([]*Server, len(sites))
	var wg sync.WaitGroup
	for i, cfg := range sites {
		wg.Go(func() {
			s, err := Open(context.Background(), cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Errorf("%s: %v", cfg.Site, err)
				return
			}
			all[i] = s
		})
	}
	wg.Wait()
	t.Cleanup(func() { shutAll(t, all) })
	if t.Failed() {
		t.FailNow()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, s := range all {
		if err := s.replica.Ready(ctx); err != nil {
			t.Fatalf("%s: %v", s.cfg.Site, err)
		}
		for !s.begun.Load() {
			if ctx.Err() != nil {
				t.Fatalf("%s has not begun", s.cfg.Site)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err := s.replica.CatchUp(ctx); err != nil {
			t.Fatalf("%s: %v", s.cfg.Site, err)
		}
	}
	return all
}

// shutAll closes all sites at once.
func shutAll(t *testing.T, all []*Server) {
	var wg sync.WaitGroup
	for i, s := range all {
		if s == nil {
			continue
		}
		all[i] = nil
		wg.Go(func() { shut(t, s) })
	}
	wg.Wait()
}

// TestGrowAndRecover turns a single node into three sites, and what one of them has, when the two others are gone, into a new
// cluster. Nothing that was acknowledged is lost on the way.
func TestGrowAndRecover(t *testing.T) {
	if testing.Short() {
		t.Skip("three sites")
	}
	root := t.TempDir()
	data := filepath.Join(root, "node")
	s := open(t, settings(data))
	token := register(t, s, "amy")
	room := call(t, s, token, "POST", "/_matrix/client/v3/createRoom", `{"name":"hill"}`)["room_id"].(string)
	uri := upload(t, s, token, "a picture")
	var sent []told
	for i := range 10 {
		sent = append(sent, say(t, s, token, room, fmt.Sprint("t", i)))
	}
	since := call(t, s, token, "GET", "/_matrix/client/v3/sync", "")["next_batch"].(string)
	shut(t, s)

	sites := bundles(t, root)
	plan := GrowPlan{Data: data, Seed: filepath.Join(root, "seed"), Bundles: filepath.Join(root, "bundles"), Now: time.Now,
		Backup: func(ctx context.Context, o admin.BackupOrder) (*Seed, error) { return backup(t, data, o) }}
	g, err := Grow(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("writes paused for %v until the sites can be started", g.Pause)
	if len(g.Sites) != 3 || !g.Seed.Sealed {
		t.Errorf("%+v", g)
	}
	if _, err := Grow(t.Context(), plan); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("grown again: %v", err)
	}
	began := time.Now()
	all := openAll(t, sites)
	t.Logf("the cluster serves after %v", time.Since(began))
	for _, s := range all {
		if s.replica.Epoch() != 1 {
			t.Errorf("%s: epoch %d", s.cfg.Site, s.replica.Epoch())
		}
		if code, body := download(t, s, token, uri); code != http.StatusOK || body != "a picture" {
			t.Errorf("%s: the file: %d %q", s.cfg.Site, code, body)
		}
		for _, m := range sent {
			if again := say(t, s, token, room, m.txn); again != m {
				t.Errorf("%s: a retry of %s got %s", s.cfg.Site, m, again)
			}
		}
	}
	news := say(t, all[0], token, room, "grown")
	sent = append(sent, news)
	if text := fmt.Sprint(call(t, all[1], token, "GET", "/_matrix/client/v3/sync?timeout=10000&since="+since, "")["rooms"]); !strings.Contains(text, news.event) || strings.Contains(text, sent[9].event) {
		t.Errorf("an old sync token finds %s", text)
	}
	if text := siteNamesOf(all[2]); text != "busan,chuncheon,seoul" {
		t.Errorf("the state knows the sites %s", text)
	}
	saved := filepath.Join(root, "backup") // of the cluster, taken at one of its sites
	if m, err := backup(t, sites[1].Data, admin.BackupOrder{Dir: saved}); err != nil || m.Site != "chuncheon" || m.Files.Count != 1 {
		t.Errorf("a backup of the cluster: %+v, %v", m, err)
	}
	if _, err := backup(t, sites[1].Data, admin.BackupOrder{Dir: filepath.Join(root, "no"), Seal: true}); err == nil || !strings.Contains(err.Error(), "one site") {
		t.Errorf("a cluster was sealed: %v", err)
	}
	shutAll(t, all)

	all = openAll(t, sites) // as any other
	if text := siteNamesOf(all[2]); text != "busan,chuncheon,seoul" {
		t.Errorf("after a start the state knows the sites %s", text)
	}
	if again := say(t, all[1], token, room, news.txn); again != news {
		t.Errorf("a retry of %s got %s", news, again)
	}
	// One site is gone: whatever is acknowledged from now on, both others have promised. Then everything stops at once; of one site the
	// disk is left, as it is, without the rows.
	shut(t, all[2])
	all[2] = nil
	sent = append(sent, burst(t, all[0], token, room)...)
	survivor := sites[1]
	survivor.Data = filepath.Join(root, "survivor")
	leave(t, sites[1].Data, survivor.Data)
	shutAll(t, all)
	r, err := OpenRecovery(t.Context(), survivor, filepath.Join(root, "scratch"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.Write(t.Context(), filepath.Join(root, "saved"), time.Now(), nil)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	if m.Files.Count != 1 {
		t.Errorf("%+v", m.Files)
	}
	again := filepath.Join(root, "again")
	if err := os.Mkdir(again, 0o700); err != nil {
		t.Fatal(err)
	}
	sites = bundles(t, again)
	var epoch uint64
	for _, c := range sites {
		if _, epoch, err = Restore(t.Context(), RestorePlan{Seed: filepath.Join(root, "saved"), Config: c}); err != nil {
			t.Fatal(err)
		}
	}
	all = openAll(t, sites)
	for _, s := range all {
		if s.replica.Epoch() != epoch || epoch == 1 {
			t.Errorf("%s: epoch %d, want %d", s.cfg.Site, s.replica.Epoch(), epoch)
		}
		for _, m := range sent {
			if again := say(t, s, token, room, m.txn); again != m {
				t.Errorf("%s: a retry of %s got %s", s.cfg.Site, m, again)
			}
		}
	}
	if text := fmt.Sprint(call(t, all[1], token, "GET", "/_matrix/client/v3/sync?since="+since, "")["rooms"]); !strings.Contains(text, "m.room.create") {
		t.Errorf("a token of the old epoch finds %s", text)
	}
	shutAll(t, all)
}

// burst sends messages from several goroutines and returns what was acknowledged.
func burst(t *testing.T, s *Server, token, room string) (sent []told) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 10 {
				var m told
				for {
					txn := fmt.Sprintf("b%d-%d", w, i)
					code, body := try(t, s, token, "PUT", fmt.Sprintf("/_matrix/client/v3/rooms/%s/send/m.room.message/%s", room, txn), `{"msgtype":"m.text","body":"x"}`)
					if code == http.StatusOK {
						m = told{txn, strings.Split(body, `"`)[3]}
						break
					}
					if code != http.StatusServiceUnavailable {
						t.Errorf("%s: %d %s", txn, code, body)
						return
					}
				}
				mu.Lock()
				sent = append(sent, m)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return sent
}

// leave copies what is left of a running site's data directory after a power cut, but for its rows.
func leave(t *testing.T, from, to string) {
	t.Helper()
	for _, name := range []string{"journal", "checkpoints", "blobs"} {
		if err := os.CopyFS(filepath.Join(to, name), os.DirFS(filepath.Join(from, name))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"format.json", "boot", "lock"} {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// siteNamesOf are the sites that the state knows.
func siteNamesOf(s *Server) string {
	var names []string
	for _, site := range s.replica.Status(journal.Partition(0)).Sites {
		names = append(names, site.Site)
	}
	return strings.Join(names, ",")
}
