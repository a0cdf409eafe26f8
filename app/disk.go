package app

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"bongsu/disk"
	"bongsu/journal"
)

// diskEvery is how often the free space is looked at.
const diskEvery = time.Second

// DiskStatus is the space where the data directory lies.
type DiskStatus struct {
	FreeBytes    int64  `json:"free_bytes"`
	ReserveBytes int64  `json:"reserve_bytes"` // below this, writes are refused
	RowsBytes    uint64 `json:"rows_bytes"`    // of the state
	Full         bool   `json:"full"`          // writes are refused for want of space
	Slow         bool   `json:"slow"`          // of a site: it leads nothing while another one would
}

// diskWatch looks at the free space, warns before writes have to be refused, and says when they are. The refusing is the
// journal's.
type diskWatch struct {
	path     string
	reserve  int64
	refusing func() error // why the journal would refuse a write now, or nil
	log      *slog.Logger

	mu      sync.Mutex
	now     DiskStatus
	refused error // what refusing said last
	warned  bool

	stop chan struct{}
	done sync.WaitGroup
}

func watchDisk(path string, reserve int64, refusing func() error, log *slog.Logger) *diskWatch {
	d := &diskWatch{path: path, reserve: reserve, refusing: refusing, log: log, stop: make(chan struct{})}
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
	free, err := disk.Free(d.path)
	if err != nil {
		d.log.Warn("cannot read the free disk space", "path", d.path, "err", err)
		return
	}
	refused := d.refusing()
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.refused
	d.refused = refused
	d.now = DiskStatus{FreeBytes: free, ReserveBytes: d.reserve, Full: errors.Is(refused, journal.ErrFull)}
	low := free < 4*d.reserve
	switch {
	case refused != nil && was == nil:
		d.log.Error("writes are refused, reads go on", "err", refused, "free", free, "reserve", d.reserve)
	case refused == nil && was != nil:
		d.log.Info("writes are accepted again", "free", free)
	case low && !d.warned:
		d.log.Warn("disk space runs low", "free", free, "reserve", d.reserve)
	}
	d.warned = low
}

// status is what was seen last, and why writes are refused, or nil.
func (d *diskWatch) status() (DiskStatus, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now, d.refused
}

func (d *diskWatch) close() error {
	close(d.stop)
	d.done.Wait()
	return nil
}
