package app

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"sync"
	"time"

	"bongsu/api/admin"
	"bongsu/blob"
	"bongsu/errs"
	"bongsu/media"
	"bongsu/obs"
	"bongsu/seed"
)

const (
	// cutPatience is how long a backup waits for partitions that fit together, and sealPatience for writes in flight.
	cutPatience, sealPatience = time.Minute, 30 * time.Second
	// sealedWords is what clients of a sealed server are told when they write.
	sealedWords = "the server is being moved: it can be read, and writes will be taken again in a little while"
)

// backups makes backups of a server, one at a time; it implements admin.Backups.
type backups struct {
	s      *Server
	data   string
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex
	state admin.BackupState
}

func newBackups(s *Server, data string) *backups {
	b := &backups{s: s, data: data}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// close breaks off what is under way.
func (b *backups) close() error {
	b.cancel()
	b.work.Wait()
	return nil
}

// Begin implements admin.Backups.
func (b *backups) Begin(o admin.BackupOrder) error {
	const op = "app.Backup"
	if !filepath.IsAbs(o.Dir) || o.LinkFrom != "" && !filepath.IsAbs(o.LinkFrom) {
		return errs.New(op, errs.Invalid, errs.InvalidParam, "a backup needs the absolute path of its directory")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state.Running {
		return errs.New(op, errs.Conflict, "", "a backup is being made already")
	}
	if b.ctx.Err() != nil {
		return errs.New(op, errs.Unavailable, "", "the server is stopping")
	}
	b.state = admin.BackupState{Running: true}
	b.work.Go(func() {
		m, err := b.write(o)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.state = admin.BackupState{Result: m}
		if err != nil {
			b.state = admin.BackupState{Error: said(err)}
			b.s.log.Error("the backup failed", "dir", o.Dir, "err", err)
			return
		}
		b.s.log.Info("a backup was made", "dir", o.Dir, "files", m.Files.Count, "missing", len(m.Files.Missing))
	})
	return nil
}

// Backup implements admin.Backups.
func (b *backups) Backup() admin.BackupState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// Stop implements admin.Backups.
func (b *backups) Stop() { b.s.stop() }

func (b *backups) report(step seed.Step) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.Doing, b.state.Done, b.state.Of = step.Doing, step.Done, step.Of
}

// write makes one backup.
func (b *backups) write(o admin.BackupOrder) (*seed.Manifest, error) {
	s := b.s
	plan := seed.Plan{Dir: o.Dir, Server: s.cfg.ServerName, Site: s.cfg.Site, Build: obs.ReadBuild().String(), Made: s.clock.Now(),
		Named: media.Hashes, LinkFrom: o.LinkFrom, Sealed: o.Seal, Report: b.report,
		Open: func(ctx context.Context, h blob.Hash) (io.ReadCloser, error) { return s.blobs.Open(ctx, h) }}
	if o.Seal {
		// The files stay on this machine until the sites have theirs: there is no need to have them twice.
		plan.Share, plan.Seal = filepath.Join(b.data, "blobs"), func() error { return seal(b.data, o.Dir) }
		ctx, cancel := context.WithTimeout(b.ctx, sealPatience)
		defer cancel()
		if err := s.replica.Seal(ctx, sealedWords); err != nil {
			return nil, err
		}
		s.log.Info("writes have ended: the server is being moved", "seed", o.Dir)
	}
	ctx, cancel := context.WithTimeout(b.ctx, cutPatience)
	defer cancel()
	if err := s.replica.CatchUp(ctx); err != nil {
		return nil, err
	}
	cut, err := s.replica.Cut(ctx)
	if err != nil {
		return nil, err
	}
	defer cut.Close()
	plan.Cut = cut
	return seed.Write(b.ctx, plan)
}

// said is what an error says to a person.
func said(err error) string {
	var e *errs.Error
	if errors.As(err, &e) && e.Message != "" {
		return e.Message
	}
	return err.Error()
}
