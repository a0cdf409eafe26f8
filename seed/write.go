package seed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"bongsu/blob"
	"bongsu/disk"
	"bongsu/errs"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// Plan says what a seed is made of.
type Plan struct {
	Dir    string // made if it is absent; refused when it holds anything
	Server string // the server's name
	Site   string
	Build  string
	Made   time.Time

	Cut *replica.Cut
	// Named yields the files that the rows name, in any order, perhaps several times.
	Named func(kv.Reader) iter.Seq[blob.Hash]
	// Open opens a file, from this site or another; errs.NotFound and errs.Unavailable count as missing.
	Open func(context.Context, blob.Hash) (io.ReadCloser, error)

	// LinkFrom is an earlier seed whose files are shared instead of copied, where they are sound; "": none.
	LinkFrom string
	// Share is a directory of blobs whose files are shared instead of copied; "": none.
	Share string
	// Sealed says that nothing was acknowledged after the cut, nor will be. Seal, if there is one, sees to that: it is called when
	// everything is written, before the seed counts as one.
	Sealed bool
	Seal   func() error

	Report Report
}

// Write makes a seed, reads it back, and returns what it says of itself. The caller keeps the cut open until then. After an
// error the directory may hold a part of it, without a manifest.
func Write(ctx context.Context, p Plan) (_ *Manifest, err error) {
	defer kv.Recover(&err)
	var earlier *shelf
	if p.LinkFrom != "" {
		if _, err := Open(p.LinkFrom); err != nil {
			return nil, err
		}
		earlier = newShelf(filepath.Join(p.LinkFrom, blobsDir))
	}
	if err := takeEmpty(p.Dir); err != nil {
		return nil, err
	}
	boot, err := p.Cut.Boot()
	if err != nil {
		return nil, err
	}
	m := &Manifest{Format: format, Server: p.Server, Site: p.Site, MadeMS: p.Made.UnixMilli(), Build: p.Build,
		Epoch: p.Cut.Epoch(), Rules: p.Cut.Rules(), Boot: boot, Sealed: p.Sealed}
	if err := p.writeRows(ctx, m); err != nil {
		return nil, err
	}
	if err := p.writeFiles(ctx, m, earlier); err != nil {
		return nil, err
	}
	if err := disk.SyncDir(p.Dir); err != nil {
		return nil, err
	}
	if p.Seal != nil {
		if err := p.Seal(); err != nil {
			return nil, err
		}
	}
	if err := m.write(p.Dir); err != nil {
		return nil, err
	}
	return Open(p.Dir)
}

// writeRows writes the checkpoints and reads them back.
func (p *Plan) writeRows(ctx context.Context, m *Manifest) error {
	for i, pos := range p.Cut.Positions() {
		p.Report.tell("writing partitions", i, len(p.Cut.Positions()))
		if err := ctx.Err(); err != nil {
			return err
		}
		name := fmt.Sprintf("p%d-%020d.checkpoint", i, pos)
		f, err := os.OpenFile(filepath.Join(p.Dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		info, err := p.Cut.WriteCheckpoint(journal.Partition(i), f) //nolint:gosec // at most 64
		var size int64
		if err == nil {
			size, err = f.Seek(0, io.SeekEnd)
		}
		if err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		m.Partitions = append(m.Partitions, partition(info, name, size))
	}
	for i := range m.Partitions {
		p.Report.tell("checking partitions", i, len(m.Partitions))
		if _, err := m.checkpoint(p.Dir, i); err != nil {
			return err
		}
	}
	return nil
}

// writeFiles brings the files that the rows name into the seed, and reads them back.
func (p *Plan) writeFiles(ctx context.Context, m *Manifest, earlier *shelf) error {
	var names []blob.Hash
	for h := range p.Named(p.Cut) {
		names = append(names, h)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	own := newShelf(filepath.Join(p.Dir, blobsDir))
	files := make([]file, 0, len(names))
	for i, h := range names {
		if i%10 == 0 {
			p.Report.tell("writing files", i, len(names))
		}
		switch n, err := p.writeFile(ctx, own, earlier, h); {
		case err == nil:
			files = append(files, file{h, n})
			m.Files.Bytes += n
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errOther), errs.Is(err, errs.NotFound), errs.Is(err, errs.Unavailable):
			m.Files.Missing = append(m.Files.Missing, h)
		default:
			return fmt.Errorf("file %s: %w", h, err)
		}
	}
	m.Files.Count = len(files)
	if err := own.sync(); err != nil {
		return err
	}
	var err error
	m.Files.List, err = writeList(ctx, p.Dir, files)
	return err
}

// writeFile shares a file with an earlier seed or with the store, or else copies it. Either way its bytes are read and checked.
func (p *Plan) writeFile(ctx context.Context, own, earlier *shelf, h blob.Hash) (int64, error) {
	var from []string
	if earlier != nil {
		from = append(from, earlier.path(h))
	}
	if p.Share != "" {
		from = append(from, newShelf(p.Share).path(h))
	}
	for _, path := range from {
		if own.link(h, path) != nil {
			continue // not there, or on another file system
		}
		n, err := own.check(ctx, h)
		if err == nil || ctx.Err() != nil {
			return n, err
		}
		if err := os.Remove(own.path(h)); err != nil { // it has decayed there
			return 0, err
		}
	}
	r, err := p.Open(ctx, h)
	if err != nil {
		return 0, err
	}
	if _, err = own.put(ctx, h, r); err == nil {
		err = r.Close()
	} else {
		_ = r.Close() // it was only read
	}
	if err != nil {
		return 0, err
	}
	return own.check(ctx, h)
}
