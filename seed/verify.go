package seed

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"bongsu/replica"
)

// Step tells how far something has come.
type Step struct {
	Doing string // in words, "checking files"
	Done  int64
	Of    int64 // 0: not known
}

// Report is told of steps; nil tells nobody.
type Report func(Step)

func (r Report) tell(doing string, done, of int) {
	if r != nil {
		r(Step{Doing: doing, Done: int64(done), Of: int64(of)})
	}
}

// Verify reads everything in the seed and checks it against its hashes. It fails with ErrDamaged, naming all that is wrong.
func Verify(ctx context.Context, dir string, report Report) (*Manifest, error) {
	m, err := Open(dir)
	if err != nil {
		return nil, err
	}
	var wrong []error
	for i := range m.Partitions {
		report.tell("checking partitions", i, len(m.Partitions))
		if _, err := m.checkpoint(dir, i); err != nil {
			wrong = append(wrong, err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	files, err := readList(dir, m)
	if err != nil {
		return nil, errors.Join(append(wrong, err)...)
	}
	shelf := newShelf(filepath.Join(dir, blobsDir))
	for i, f := range files {
		if i%100 == 0 {
			report.tell("checking files", i, len(files))
		}
		switch n, err := shelf.check(ctx, f.hash); {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			wrong = append(wrong, damaged(dir, "file %s is missing", f.hash))
		case err != nil:
			wrong = append(wrong, damaged(dir, "file %s: %v", f.hash, err))
		case n != f.size:
			wrong = append(wrong, damaged(dir, "file %s has %d bytes, not %d", f.hash, n, f.size))
		}
		if len(wrong) > 20 {
			wrong = append(wrong, damaged(dir, "and perhaps more"))
			break
		}
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return m, nil
}

// checkpoint verifies the checkpoint of partition i.
func (m *Manifest) checkpoint(dir string, i int) (*replica.CheckpointFile, error) {
	p := m.Partitions[i]
	c, err := replica.OpenCheckpoint(filepath.Join(dir, p.File))
	if err != nil {
		return nil, damaged(dir, "partition %d: %v", i, err)
	}
	if partition(c.Info, p.File, p.Bytes) != p || int(c.Info.Partition) != i || c.Info.Partitions != len(m.Partitions) {
		return nil, damaged(dir, "%s is not what %s says", p.File, manifestFile)
	}
	return c, nil
}

// partition is what a manifest says of a checkpoint.
func partition(info replica.CheckpointInfo, file string, bytes int64) Partition {
	return Partition{File: file, Position: uint64(info.Pos), Record: info.Record(), Digest: Hash(info.Digest),
		StateHash: Hash(info.StateHash), Rows: info.Rows, Bytes: bytes}
}
