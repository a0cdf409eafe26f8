package admin

import (
	"context"
	"errors"
	"time"

	"bongsu/api/client"
	"bongsu/seed"
)

// Backups writes the state of a running server to directories of its machine.
type Backups interface {
	// Begin starts a backup, which goes on in the background. Errors: Conflict when one is under way; Invalid.
	Begin(BackupOrder) error
	// Backup is how far the last one has come.
	Backup() BackupState
	// Stop ends the server, as a signal would.
	Stop()
}

// BackupOrder asks for a backup.
type BackupOrder struct {
	Dir      string `json:"dir"`                 // empty or absent; an absolute path
	LinkFrom string `json:"link_from,omitempty"` // an earlier backup whose files are shared
	// Seal ends all writing for good before the backup is made, so that nothing is acknowledged after it, and marks the data
	// directory so that the server is not started on it again.
	Seal bool `json:"seal,omitempty"`
}

// BackupState is how far a backup has come.
type BackupState struct {
	Running bool           `json:"running"`
	Doing   string         `json:"doing,omitempty"` // in words
	Done    int64          `json:"done"`
	Of      int64          `json:"of"` // 0: not known
	Error   string         `json:"error,omitempty"`
	Result  *seed.Manifest `json:"result,omitempty"` // when it has succeeded
}

// BackupRoutes are the operator's endpoints about backups.
func BackupRoutes(b Backups) []client.Route {
	h := backupHandlers{b}
	return []client.Route{
		{Op: "admin.beginBackup", Method: "POST", Path: "/_bongsu/admin/v1/backup", Auth: client.None, Handle: h.begin},
		{Op: "admin.backup", Method: "GET", Path: "/_bongsu/admin/v1/backup", Auth: client.None, Handle: h.state},
		{Op: "admin.stop", Method: "POST", Path: "/_bongsu/admin/v1/stop", Auth: client.None, Handle: h.stop},
	}
}

type backupHandlers struct{ backups Backups }

func (h backupHandlers) begin(_ context.Context, r *client.Request) (any, error) {
	var in BackupOrder
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	return nil, h.backups.Begin(in)
}

func (h backupHandlers) state(context.Context, *client.Request) (any, error) {
	return h.backups.Backup(), nil
}

func (h backupHandlers) stop(context.Context, *client.Request) (any, error) {
	h.backups.Stop()
	return nil, nil
}

// backupEvery is how often Backup asks how far it is.
const backupEvery = 100 * time.Millisecond

// Backup has a backup made and waits for it; progress is called with what is being done.
func (c *Client) Backup(ctx context.Context, o BackupOrder, progress func(BackupState)) (*seed.Manifest, error) {
	if err := c.do(ctx, "POST", "/backup", o, nil); err != nil {
		return nil, err
	}
	tick := time.NewTicker(backupEvery)
	defer tick.Stop()
	for {
		var s BackupState
		if err := c.do(ctx, "GET", "/backup", nil, &s); err != nil {
			return nil, err
		}
		switch {
		case s.Error != "":
			return nil, errors.New(s.Error)
		case !s.Running:
			return s.Result, nil
		}
		progress(s)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Stop ends the server.
func (c *Client) Stop(ctx context.Context) error { return c.do(ctx, "POST", "/stop", nil, nil) }
