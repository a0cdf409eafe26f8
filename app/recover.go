package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"bongsu/blob"
	"bongsu/config"
	"bongsu/errs"
	"bongsu/journal"
	"bongsu/journal/jet"
	"bongsu/kv"
	"bongsu/media"
	"bongsu/obs"
	"bongsu/replica"
	"bongsu/seed"
)

// Recovery is what a site that is left alone for good has, read from its stopped data directory. The directory is not changed: what
// is made is made in a directory of its own, which Close removes.
type Recovery struct {
	Parts []RecoveredPart // in order

	cfg     config.Config
	lock    *os.File
	scratch string
	stopped *jet.Stopped
	rows    *kv.DB
	applied []journal.Position // by the rows as they were found
	replica *replica.Replica
	cut     *replica.Cut
}

// RecoveredPart is what there is of one partition.
type RecoveredPart struct {
	jet.Holding
	Rows journal.Position // up to here the site had applied it
	Used journal.Position // up to where it fits the other partitions
}

// Promised is how many of the records that are used were promised by this site and may or may not have been acknowledged.
func (p RecoveredPart) Promised() int {
	return int(max(p.Used, p.Applied, p.Rows) - max(p.Applied, p.Rows))
}

// LeftOut is how many records are there and do not fit the other partitions.
func (p RecoveredPart) LeftOut() int { return int(max(p.Last, p.Rows, p.Used) - p.Used) }

// fitPatience is how long partitions are waited for that do not fit together, when no more records can come.
const fitPatience = 10 * time.Millisecond

// OpenRecovery reads the stopped data directory of cfg and applies, in scratch, what its journal holds to what its rows hold, up to the
// latest place where all partitions fit together.
func OpenRecovery(ctx context.Context, cfg config.Config, scratch string) (*Recovery, error) {
	r, err := openStopped(cfg, scratch)
	if err == nil {
		err = r.fit(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// openStopped is OpenRecovery that applies nothing yet. It returns what is to be closed also when it fails.
func openStopped(cfg config.Config, scratch string) (*Recovery, error) {
	r := &Recovery{cfg: cfg, scratch: scratch}
	f, err := readFormat(cfg.Data)
	if err != nil {
		return r, err
	}
	if want := formatOf(&cfg); f.ServerName != want.ServerName || f.Site != want.Site || f.Cluster != want.Cluster || f.Partitions != want.Partitions {
		return r, fmt.Errorf("%s is of server %q, site %q, and the settings are not: give the settings with which it was run", cfg.Data, f.ServerName, f.Site)
	}
	if r.lock, err = lockStopped(cfg.Data); err != nil {
		return r, err
	}
	if r.stopped, err = jet.OpenStopped(filepath.Join(cfg.Data, "journal"), cfg.Disk.Partitions); err != nil {
		return r, err
	}
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return r, err
	}
	rows := filepath.Join(cfg.Data, "rows")
	if _, err := os.Stat(rows); err == nil { // else they are made from the journal
		if err := os.CopyFS(filepath.Join(scratch, "rows"), os.DirFS(rows)); err != nil {
			return r, err
		}
	}
	if r.rows, err = kv.Open(kv.Config{Dir: filepath.Join(scratch, "rows")}); err != nil {
		return r, fmt.Errorf("the rows of this site cannot be read: %w; move %s aside, and they are made from checkpoints and the journal", err, rows)
	}
	return r, r.trustRows()
}

// trustRows lets rows stand that go further than the journal's records do that are known to have been kept by a quorum: what was
// applied was kept by one. If the records behind are others, it is they that never were.
func (r *Recovery) trustRows() (err error) {
	defer kv.Recover(&err)
	for p := range journal.Partition(r.stopped.Partitions()) { //nolint:gosec // at most 64
		pos, record, ok := replica.Applied(r.rows, p)
		r.applied = append(r.applied, pos)
		if !ok || pos <= r.stopped.Holds(p).Applied {
			continue
		}
		e, err := r.stopped.Read(context.Background(), p, pos)
		switch {
		case errors.Is(err, io.EOF) || err == nil && sha256.Sum256(e.Data) != record:
			r.stopped.Rest(p, pos)
		case err != nil:
			return err
		}
	}
	return nil
}

// lockStopped takes the lock of a data directory, which no process may hold.
func lockStopped(data string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(data, "lock"), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { //nolint:gosec // a file descriptor fits
		return nil, errors.Join(fmt.Errorf("a server runs on %s: stop it first", data), f.Close())
	}
	return f, nil
}

// fit applies the journal, and ends partitions earlier until all fit together. Each round leaves out at least one record.
func (r *Recovery) fit(ctx context.Context) error {
	for {
		if err := r.apply(ctx); err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, fitPatience)
		cut, err := r.replica.Cut(wait)
		cancel()
		var gap *replica.Gap
		switch {
		case err == nil:
			r.cut = cut
			for p, pos := range cut.Positions() {
				r.Parts = append(r.Parts, RecoveredPart{r.stopped.Holds(journal.Partition(p)), r.applied[p], pos}) //nolint:gosec // at most 64
			}
			return nil
		case ctx.Err() != nil || !errors.As(err, &gap):
			return err
		}
		r.replica.Close()
		r.replica = nil
		if err := r.endBefore(ctx, gap); err != nil {
			return err
		}
	}
}

// apply brings the rows to where the journal ends.
func (r *Recovery) apply(ctx context.Context) (err error) {
	r.replica, err = replica.Open(ctx, replica.Config{DB: r.rows, Journal: r.stopped, Machines: machines(), Rules: rulesVersion, Site: r.cfg.Site, Boot: 1,
		Observer: true, Checkpoint: newestCheckpoint(filepath.Join(r.cfg.Data, "checkpoints")), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return r.replica.Start(ctx, nil)
}

// endBefore ends the partition that is ahead before the record that opens the gap.
func (r *Recovery) endBefore(ctx context.Context, gap *replica.Gap) error {
	p := gap.Ahead()
	first, end, err := r.stopped.Bounds(ctx, p)
	if err != nil {
		return err
	}
	found := errors.New("found")
	if first > end { // the rows go further than the journal does, and too far for the others
		r.stopped.End(p, r.stopped.Holds(p).Last)
		return nil
	}
	lost := fmt.Errorf("%w, and the record where that began is no longer in the journal: restore from a backup", gap)
	err = r.stopped.Follow(ctx, p, first-1, func(e journal.Entry) error {
		if gap.Opens(e.Data) {
			r.stopped.End(p, e.Pos-1)
			return found
		}
		if e.Pos == end {
			return lost
		}
		return nil
	})
	if errors.Is(err, found) {
		return nil
	}
	return err
}

// Write writes what was recovered to a seed, with the files that are here.
func (r *Recovery) Write(ctx context.Context, dir string, now time.Time, report func(Step)) (*Seed, error) {
	blobs := filepath.Join(r.cfg.Data, "blobs")
	return seed.Write(ctx, seed.Plan{Dir: dir, Server: r.cfg.ServerName, Site: r.cfg.Site, Build: obs.ReadBuild().String(), Made: now, Cut: r.cut,
		Named: media.Hashes, Share: blobs, Report: report,
		Open: func(_ context.Context, h blob.Hash) (io.ReadCloser, error) {
			f, err := os.Open(filepath.Join(blobs, string(h[:2]), string(h)))
			if errors.Is(err, os.ErrNotExist) {
				return nil, errs.New("app.Recovery", errs.NotFound, "", "the file is not at this site")
			}
			return f, err
		}})
}

// Close frees what was opened and removes the scratch directory.
func (r *Recovery) Close() error {
	if r.cut != nil {
		r.cut.Close()
	}
	if r.replica != nil {
		r.replica.Close()
	}
	var all error
	if r.rows != nil {
		all = errors.Join(all, r.rows.Close())
	}
	if r.stopped != nil {
		all = errors.Join(all, r.stopped.Close())
	}
	if r.lock != nil {
		all = errors.Join(all, r.lock.Close(), os.RemoveAll(r.scratch))
	}
	return all
}

// newestCheckpoint is the newest checkpoint of a partition in dir, if it is at atLeast or later.
func newestCheckpoint(dir string) func(context.Context, journal.Partition, journal.Position) (*replica.CheckpointFile, error) {
	return func(_ context.Context, p journal.Partition, atLeast journal.Position) (*replica.CheckpointFile, error) {
		names, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("p%d-*.checkpoint", p)))
		if err != nil || len(names) == 0 {
			return nil, err
		}
		f, err := replica.OpenCheckpoint(names[len(names)-1]) // their names sort as their positions
		if err != nil || f.Info.Pos < atLeast {
			return nil, err
		}
		return f, nil
	}
}
