package blob

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"bongsu/disk"
	"bongsu/errs"
)

// scrubFile holds, beside the shelves, how far scrubbing has come: a process that starts anew goes on where it was.
const scrubFile = "scrub.json"

type scrub struct {
	Shelf int       `json:"shelf"` // the next one
	At    time.Time `json:"at"`    // when the last one was begun
	Ended time.Time `json:"ended"` // when the last round ended
}

// scrubber reads and checks all blobs, a shelf at a time: the 256 of them spread over ScrubEvery.
func (m *Mirror) scrubber() {
	path := filepath.Join(m.store.dir, scrubFile)
	var s scrub
	if text, err := os.ReadFile(path); err == nil {
		if json.Unmarshal(text, &s) != nil || s.Shelf < 0 || s.Shelf >= len(m.store.shelves) {
			s = scrub{} // a round more does no harm
		}
	}
	for {
		m.mu.Lock()
		m.status.Scrubbed = s.Ended
		m.mu.Unlock()
		if !m.until(s.At.Add(m.cfg.ScrubEvery / time.Duration(len(m.store.shelves)))) {
			return
		}
		s.At = m.cfg.Clock.Now()
		if err := m.scrubShelf(m.ctx, s.Shelf); m.ctx.Err() != nil {
			return
		} else if err != nil {
			m.cfg.Log.Error("blob: a directory of files cannot be read", "err", err)
		}
		if s.Shelf = (s.Shelf + 1) % len(m.store.shelves); s.Shelf == 0 {
			s.Ended = m.cfg.Clock.Now()
		}
		text, err := json.Marshal(s)
		if err == nil {
			err = disk.WriteFile(path, text)
		}
		if err != nil {
			m.cfg.Log.Warn("blob: the progress of scrubbing cannot be kept", "err", err)
		}
	}
}

// until waits for a time of the clock, and reports whether it came.
func (m *Mirror) until(due time.Time) bool {
	for {
		now := m.cfg.Clock.Now()
		if !now.Before(due) || due.Sub(now) > m.cfg.ScrubEvery { // or the clock was set back
			return m.ctx.Err() == nil
		}
		select {
		case <-time.After(min(due.Sub(now), time.Minute)):
		case <-m.ctx.Done():
			return false
		}
	}
}

// scrubShelf checks the blobs of one shelf.
func (m *Mirror) scrubShelf(ctx context.Context, shelf int) error {
	names, err := m.store.onShelf(shelf)
	if err != nil {
		return err
	}
	for _, h := range names {
		if err := m.store.verify(ctx, h, m.pace.WaitN); wrong(ctx, err) {
			m.replace(h, err)
		} else if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// wrong reports whether what Verify said means that the copy is of no use: other bytes, or a disk that cannot read them.
func wrong(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() == nil && !errs.Is(err, errs.NotFound)
}

// replace has a blob fetched anew whose copy here is wrong.
func (m *Mirror) replace(h Hash, err error) {
	m.mu.Lock()
	_, known := m.decayed[h]
	m.decayed[h] = struct{}{}
	m.mu.Unlock()
	if !known {
		m.cfg.Log.Error("blob: a file has decayed on this disk", "hash", h, "err", err)
	}
	m.Want(h)
}

func (m *Mirror) isDecayed(h Hash) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.decayed[h]
	return ok
}
