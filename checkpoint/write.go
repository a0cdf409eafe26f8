package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"bongsu/disk"
	"bongsu/kv"
	"bongsu/replica"
)

// pacedPart is how much is written of a snapshot before asking for leave again.
const pacedPart = 1 << 20

// Take writes a snapshot to a file, later, and closes it; for replica.Config.Snapshot. It does not block: of several that wait for
// one partition the newest is written.
func (k *Keeper) Take(s *replica.Snapshot) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := s
	if !k.closed {
		old = k.waiting[s.Partition()]
		k.waiting[s.Partition()] = s
	}
	if old != nil {
		old.Close()
	}
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

// writer writes what waits, one at a time.
func (k *Keeper) writer() {
	if k.ready(k.ctx) != nil {
		return
	}
	for {
		if s := k.nextSnapshot(); s != nil {
			if err := k.write(s); err != nil && k.ctx.Err() == nil {
				k.cfg.Log.Error("checkpoint: not written", "partition", s.Partition(), "pos", s.Pos(), "err", err)
				var f kv.Fault
				if errors.As(err, &f) {
					k.remake(s.Partition(), err)
				}
			}
			s.Close()
			continue
		}
		select {
		case <-k.poke:
		case <-k.ctx.Done():
			return
		}
	}
}

func (k *Keeper) nextSnapshot() *replica.Snapshot {
	k.mu.Lock()
	defer k.mu.Unlock()
	for p, s := range k.waiting {
		delete(k.waiting, p)
		return s
	}
	return nil
}

// errLow: there is no space to write to.
var errLow = errors.New("the disk is low on space")

// space says whether a file of a size may be written.
func (k *Keeper) space(size int64) error {
	free, err := disk.Free(k.cfg.Dir)
	if err == nil && free < k.cfg.Reserve+size {
		err = fmt.Errorf("%w: %d MiB are free, %d MiB are kept free, and %d MiB are needed", errLow, free>>20, k.cfg.Reserve>>20, size>>20)
	}
	return err
}

// write makes a file of a snapshot, and lists it when it has been read back.
func (k *Keeper) write(s *replica.Snapshot) error {
	list := k.of(s.Partition())
	if slices.ContainsFunc(list, func(f file) bool { return f.Pos == s.Pos() }) {
		return nil // it was fetched
	}
	size := int64(0)
	if n := len(list); n > 0 {
		size = list[n-1].Size + list[n-1].Size/4 // it has grown since
	}
	if err := k.space(size); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(k.cfg.Dir, "write-*"+partial)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when renamed
	began := k.cfg.Clock.Now()
	_, err = s.Write(&pacedWriter{k, tmp})
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	f, err := k.accept(tmp.Name())
	if err == nil {
		k.cfg.Log.Info("checkpoint: written", "partition", f.Partition, "pos", f.Pos, "bytes", f.Size, "took", k.cfg.Clock.Now().Sub(began))
	}
	return err
}

// accept verifies a synced file, gives it its name and lists it.
func (k *Keeper) accept(tmp string) (file, error) {
	f, err := k.verify(tmp)
	if err != nil {
		return file{}, err
	}
	f.path = k.name(f.Partition, f.Pos)
	if err := disk.Rename(tmp, f.path); err != nil {
		return file{}, err
	}
	k.add(f)
	return f, nil
}

// pacedWriter leaves the disk to others in between, and ends with the Keeper.
type pacedWriter struct {
	k *Keeper
	w io.Writer
}

func (p *pacedWriter) Write(b []byte) (n int, err error) {
	for part := range slices.Chunk(b, pacedPart) {
		if err := p.k.pace.WaitN(p.k.ctx, len(part)); err != nil {
			return n, err
		}
		m, err := p.w.Write(part)
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}
