package checkpoint

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bongsu/journal"
	"bongsu/replica"
)

const (
	keep        = 2              // checkpoints of each partition
	rereadEvery = 24 * time.Hour // how often a file is verified again
	suffix      = ".checkpoint"
	partial     = ".part" // what is being written or fetched
)

// Entry is a checkpoint as sites list it to each other.
type Entry struct {
	Partition  journal.Partition `json:"partition"`
	Partitions int               `json:"partitions"` // of how many
	Pos        journal.Position  `json:"pos"`
	Digest     string            `json:"digest"` // the chain hash at Pos, hex
	State      string            `json:"state"`  // hash of all state rows, hex
	Size       int64             `json:"size"`   // bytes of the file
	Tag        string            `json:"tag"`    // hash of the whole file, hex; derived rows may make it differ where State is equal
}

// same reports whether two entries are of the same state at the same place.
func (e Entry) same(o Entry) bool {
	return e.Partition == o.Partition && e.Partitions == o.Partitions && e.Pos == o.Pos && e.Digest == o.Digest && e.State == o.State
}

// file is a verified checkpoint on this disk.
type file struct {
	Entry
	path     string
	info     replica.CheckpointInfo
	verified time.Time
}

func (f *file) checkpoint() *replica.CheckpointFile {
	return &replica.CheckpointFile{Path: f.path, Info: f.info}
}

// name is where a checkpoint is kept.
func (k *Keeper) name(p journal.Partition, pos journal.Position) string {
	return filepath.Join(k.cfg.Dir, fmt.Sprintf("p%d-%020d%s", p, pos, suffix))
}

// list are the paths of the checkpoints in the directory, newest first. What a writing was cut off at is removed; a fetch goes on.
func (k *Keeper) list() ([]string, error) {
	entries, err := os.ReadDir(k.cfg.Dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		path := filepath.Join(k.cfg.Dir, e.Name())
		switch {
		case strings.HasSuffix(e.Name(), suffix):
			paths = append(paths, path)
		case strings.HasSuffix(e.Name(), partial) && strings.HasPrefix(e.Name(), "write-"):
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		}
	}
	slices.Reverse(paths) // the position ends the name
	return paths, nil
}

// load verifies what was in the directory at start. What is damaged is removed: another site has it, or the next is made soon.
func (k *Keeper) load(paths []string) {
	for _, path := range paths {
		if k.ctx.Err() != nil {
			return
		}
		f, err := k.verify(path)
		if err != nil {
			k.discard(path, err)
			continue
		}
		k.add(f)
	}
}

// verify reads a checkpoint and checks its hashes.
func (k *Keeper) verify(path string) (file, error) {
	c, err := replica.OpenCheckpoint(path)
	if err != nil {
		return file{}, err
	}
	size, tag, err := tagOf(path)
	if err != nil {
		return file{}, err
	}
	i := c.Info
	return file{path: path, info: i, verified: k.cfg.Clock.Now(), Entry: Entry{Partition: i.Partition, Partitions: i.Partitions, Pos: i.Pos,
		Digest: hex.EncodeToString(i.Digest[:]), State: hex.EncodeToString(i.StateHash[:]), Size: size, Tag: tag}}, nil
}

// tagOf is a file's size, and its last bytes: there a checkpoint has the hash of all before them.
func tagOf(path string) (int64, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close() //nolint:errcheck // it was only read
	var tag replica.Digest
	size, err := f.Seek(-int64(len(tag)), io.SeekEnd)
	if err == nil {
		_, err = io.ReadFull(f, tag[:])
	}
	return size + int64(len(tag)), hex.EncodeToString(tag[:]), err
}

func (k *Keeper) discard(path string, why error) {
	k.cfg.Log.Error("checkpoint: a file is damaged and is removed", "path", path, "err", why)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.cfg.Log.Warn("checkpoint: a file cannot be removed", "path", path, "err", err)
	}
}

// add lists a verified checkpoint and removes those that are too many.
func (k *Keeper) add(f file) {
	k.mu.Lock()
	list := slices.DeleteFunc(k.files[f.Partition], func(o file) bool { return o.Pos == f.Pos })
	list = append(list, f)
	slices.SortFunc(list, func(a, b file) int { return cmp.Compare(a.Pos, b.Pos) })
	old := list[:max(len(list)-keep, 0)]
	k.files[f.Partition] = slices.Clone(list[len(old):])
	k.mu.Unlock()
	for _, o := range old {
		if err := os.Remove(o.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			k.cfg.Log.Warn("checkpoint: a file cannot be removed", "path", o.path, "err", err)
		}
	}
}

// drop takes checkpoints off the list and removes them.
func (k *Keeper) drop(p journal.Partition, why error, which func(file) bool) {
	var gone []file
	k.mu.Lock()
	k.files[p] = slices.DeleteFunc(k.files[p], func(f file) bool {
		if which(f) {
			gone = append(gone, f)
			return true
		}
		return false
	})
	k.mu.Unlock()
	for _, f := range gone {
		k.discard(f.path, why)
	}
}

// of are the checkpoints of a partition here, oldest first.
func (k *Keeper) of(p journal.Partition) []file {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.files[p])
}

// entries are all checkpoints here, by partition and position.
func (k *Keeper) entries() []Entry {
	out := []Entry{}
	for p := range k.cfg.Journal.Partitions() {
		for _, f := range k.of(journal.Partition(p)) { //nolint:gosec // at most 64
			out = append(out, f.Entry)
		}
	}
	return out
}

// reread verifies a file again whose last time was long ago; one in each round.
func (k *Keeper) reread() {
	for p := range k.cfg.Journal.Partitions() {
		p := journal.Partition(p) //nolint:gosec // at most 64
		for _, f := range k.of(p) {
			if k.cfg.Clock.Now().Sub(f.verified).Abs() < rereadEvery {
				continue
			}
			if again, err := k.verify(f.path); err != nil {
				k.drop(p, err, func(o file) bool { return o.path == f.path })
			} else {
				k.add(again)
			}
			return
		}
	}
}

// Distrust removes the checkpoints of a partition above agreed: they may be of a wrong state. For replica.Config.Diverged.
func (k *Keeper) Distrust(p journal.Partition, agreed journal.Position) {
	why := fmt.Errorf("checkpoint: this site's state was another than that of the other sites after %d", agreed)
	k.mu.Lock()
	if s := k.waiting[p]; s != nil && s.Pos() > agreed {
		s.Close()
		delete(k.waiting, p)
	}
	k.mu.Unlock()
	k.drop(p, why, func(f file) bool { return f.Pos > agreed })
}
