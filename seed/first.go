package seed

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"bongsu/disk"
	"bongsu/journal"
)

// firstFile is what a data directory that was made from a seed begins with.
const firstFile = "first.json"

// First is how a data directory begins that was made from a seed: until its first start has done what it says.
type First struct {
	Positions []journal.Position `json:"positions"` // of the checkpoints: the journal begins after them
	Epoch     uint64             `json:"epoch"`     // to begin; that of the seed when nothing was lost
	Sites     []string           `json:"sites"`     // all sites
}

// Journal is where each partition of the journal begins; nil as for any other, of a nil First.
func (f *First) Journal() []journal.Position {
	if f == nil {
		return nil
	}
	out := make([]journal.Position, len(f.Positions))
	for i, pos := range f.Positions {
		out[i] = pos + 1
	}
	return out
}

// ReadFirst reads how the data directory begins; nil: as any other.
func ReadFirst(data string) (*First, error) {
	text, err := os.ReadFile(filepath.Join(data, firstFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := new(First)
	if err := json.Unmarshal(text, f); err != nil {
		return nil, fmt.Errorf("%s: %w; restore into an empty directory again", filepath.Join(data, firstFile), err)
	}
	return f, nil
}

// Begun removes what ReadFirst reads: the data directory has begun.
func Begun(data string) error {
	if err := os.Remove(filepath.Join(data, firstFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return disk.SyncDir(data)
}

// Target says what data directory is made from a seed.
type Target struct {
	Data  string // absent or empty
	First First  // without Positions
	// Share lets the files be those of the seed instead of copies of them, where the file system can.
	Share bool
	// NoFiles leaves the files away: another site of the cluster has them.
	NoFiles bool
	Report  Report
}

// Prepare checks the seed in dir and makes a data directory from it, but for what package app keeps there: until that is written, the
// directory cannot be started. Everything is on stable storage when it returns.
func Prepare(ctx context.Context, dir string, t Target) (*Manifest, error) {
	m, err := Open(dir)
	if err != nil {
		return nil, err
	}
	if err := takeEmpty(t.Data); err != nil {
		return nil, err
	}
	checkpoints := filepath.Join(t.Data, "checkpoints")
	if err := os.Mkdir(checkpoints, 0o700); err != nil {
		return nil, err
	}
	for i, p := range m.Partitions {
		t.Report.tell("bringing partitions", i, len(m.Partitions))
		if err := bring(ctx, filepath.Join(dir, p.File), filepath.Join(checkpoints, p.File)); err != nil {
			return nil, err
		}
		if _, err := m.checkpoint(checkpoints, i); err != nil { // of what was written: what is right here was right there
			return nil, fmt.Errorf("%w (read from %s)", err, dir)
		}
	}
	if err := disk.SyncDir(checkpoints); err != nil {
		return nil, err
	}
	if !t.NoFiles {
		if err := bringFiles(ctx, dir, m, t); err != nil {
			return nil, err
		}
	}
	t.First.Positions = m.Positions()
	text, err := json.MarshalIndent(t.First, "", "  ")
	if err != nil {
		return nil, err
	}
	return m, disk.WriteFile(filepath.Join(t.Data, firstFile), append(text, '\n'))
}

// bring copies one file.
func bring(ctx context.Context, from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	_, _, err = writeNew(ctx, to, f)
	return errors.Join(err, f.Close())
}

// bringFiles copies or shares the files of users, and checks each.
func bringFiles(ctx context.Context, dir string, m *Manifest, t Target) error {
	files, err := readList(dir, m)
	if err != nil {
		return err
	}
	from, to := newShelf(filepath.Join(dir, blobsDir)), newShelf(filepath.Join(t.Data, "blobs"))
	for i, f := range files {
		if i%10 == 0 {
			t.Report.tell("bringing files", i, len(files))
		}
		if t.Share && to.link(f.hash, from.path(f.hash)) == nil {
			_, err = to.check(ctx, f.hash)
		} else {
			err = to.copy(ctx, f.hash, from)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return damaged(dir, "file %s: %v", f.hash, err)
		}
	}
	return to.sync()
}

// NextEpoch is an epoch after the given one, for a server that goes on from a backup. It is the same for all sites of a cluster, and
// another one for every cluster and, on a single node, every time: of two servers that were restored from one backup, neither takes
// the other's tokens for its own.
func NextEpoch(epoch uint64, cluster string) uint64 {
	if cluster == "" {
		cluster = rand.Text()
	}
	h := sha256.Sum256([]byte("epoch " + cluster))
	return (epoch>>32+1)<<32 | uint64(binary.BigEndian.Uint32(h[:]))
}
