package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"slices"

	"bongsu/api/admin"
	"bongsu/api/client"
	"bongsu/config"
)

// adminSocket is the operator's socket in the data directory.
const adminSocket = "admin.sock"

// serveAdmin opens the operator's socket, which also shows what the process spends time and memory on (net/http/pprof). What is left of an earlier run is removed: the directory's lock is ours.
func (s *Server) serveAdmin(ctx context.Context, data *dataDir) error {
	backups := newBackups(s, data.path)
	s.onClose(backups.close)
	routes := slices.Concat(admin.Routes(s.accounts), admin.AccountRoutes(s.accounts), admin.ReportRoutes(s.rooms), admin.SiteRoutes(operator{s}),
		admin.BackupRoutes(backups))
	api, err := client.New(client.Config{Sessions: sessions{s.sessions}, Fresh: s.replica, State: s.replica, Clock: s.clock, Log: s.log}, routes)
	if err != nil {
		return err
	}
	path := data.join(adminSocket)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("the operator's socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", api)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	srv := client.NewHTTPServer(mux, s.log)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	s.onClose(func() error {
		err := srv.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
	return nil
}

// Administer calls do with a client for the server that runs on the data directory. When none runs, one is opened for as
// long as do takes, without a port; the directory must exist.
func Administer(ctx context.Context, dir string, do func(*admin.Client) error) error {
	path := filepath.Join(dir, adminSocket)
	var d net.Dialer
	if conn, err := d.DialContext(ctx, "unix", path); err == nil {
		_ = conn.Close()
		return do(admin.NewClient(path))
	}
	f, err := readFormat(dir)
	if err != nil {
		return err
	}
	if f.Cluster != "" {
		return fmt.Errorf("no server runs on %s: a site of a cluster is asked while it runs; ask another one, or start this one", dir)
	}
	cfg := config.Default()
	cfg.Data, cfg.ServerName, cfg.Site, cfg.Disk.Partitions = dir, f.ServerName, f.Site, f.Partitions
	s, err := Open(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return errors.Join(do(admin.NewClient(path)), s.Close())
}
