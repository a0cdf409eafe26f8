package app

import (
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// diskEvery is how often the free space is looked at.
const diskEvery = time.Second

// DiskStatus is the space where the data directory lies.
type DiskStatus struct {
	FreeBytes    int64  `json:"free_bytes"`
	ReserveBytes int64  `json:"reserve_bytes"` // below this, writes are refused
	RowsBytes    uint64 `json:"rows_bytes"`    // of the state
	Full         bool   `json:"full"`
}

// diskWatch looks at the free space and warns before writes have to be refused. The refusing itself is the journal's.
type diskWatch struct {
	path    string
	reserve int64
	log     *slog.Logger

	mu     sync.Mutex
	now    DiskStatus
	warned bool

	stop chan struct{}
	done sync.WaitGroup
}

func watchDisk(path string, reserve int64, log *slog.Logger) *diskWatch {
	d := &diskWatch{path: path, reserve: reserve, log: log, stop: make(chan struct{})}
	d.look()
	d.done.Go(func() {
		tick := time.NewTicker(diskEvery)
		defer tick.Stop()
		for {
			select {
			case <-d.stop:
				return
			case <-tick.C:
				d.look()
			}
		}
	})
	return d
}

// look reads the free space; it logs when a border is crossed, not every time.
func (d *diskWatch) look() {
	var st unix.Statfs_t
	if err := unix.Statfs(d.path, &st); err != nil {
		d.log.Warn("cannot read the free disk space", "path", d.path, "err", err)
		return
	}
	free := int64(st.Bavail) * st.Bsize //nolint:gosec // disks are smaller than 2^63 bytes
	full := free < d.reserve
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.now
	d.now = DiskStatus{FreeBytes: free, ReserveBytes: d.reserve, Full: full}
	switch low := free < 4*d.reserve; {
	case full && !was.Full:
		d.log.Error("the disk is full: writes are refused until there is space, reads go on", "free", free, "reserve", d.reserve)
	case !full && was.Full:
		d.log.Info("there is disk space again: writes are accepted", "free", free)
	case low && !d.warned:
		d.log.Warn("disk space runs low", "free", free, "reserve", d.reserve)
	}
	d.warned = free < 4*d.reserve
}

func (d *diskWatch) status() DiskStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

func (d *diskWatch) close() error {
	close(d.stop)
	d.done.Wait()
	return nil
}
