package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"bongsu/disk"
)

// memoryFile holds what a site remembers, in its data directory.
const memoryFile = "cluster.json"

// record is the content of the file.
type record struct {
	Admitted uint64            `json:"admitted"` // boot under which the directory took part last
	Founded  bool              `json:"founded"`  // the cluster has been complete once
	Stale    bool              `json:"stale"`    // the directory turned out to be a stale copy when it already took part
	Age      uint64            `json:"age"`      // counts up while the directory takes part
	Boots    map[string]uint64 `json:"boots"`    // newest boot known of each site
	Ages     map[string]uint64 `json:"ages"`     // greatest age known of each site
}

func (r record) clone() record {
	r.Boots, r.Ages = maps.Clone(r.Boots), maps.Clone(r.Ages)
	return r
}

// merge takes what another site knows better. It reports whether anything was new.
func (r *record) merge(boots, ages map[string]uint64, founded bool) (changed bool) {
	changed = raise(r.Boots, boots)
	changed = raise(r.Ages, ages) || changed
	if founded && !r.Founded {
		r.Founded, changed = true, true
	}
	return changed
}

// raise takes the greater number of each site.
func raise(into, from map[string]uint64) (changed bool) {
	for site, n := range from {
		if n > into[site] {
			into[site], changed = n, true
		}
	}
	return changed
}

func newRecord() record { return record{Boots: map[string]uint64{}, Ages: map[string]uint64{}} }

// memory keeps a record on stable storage.
type memory struct {
	dir string

	save sync.Mutex // held while the file is written: one writer at a time, and no reader waits for it
	mu   sync.Mutex
	rec  record
}

// openMemory reads the file. One that is damaged is as good as none, but then nobody knows what this directory has been part of: it
// counts as a stale copy of a cluster that has been complete, which the others fill again.
func openMemory(dir string, log *slog.Logger) (*memory, error) {
	m := &memory{dir: dir, rec: newRecord()}
	text, err := os.ReadFile(filepath.Join(dir, memoryFile)) //nolint:gosec // the data directory's own file
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m, nil
	case err != nil:
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if err := json.Unmarshal(text, &m.rec); err != nil || m.rec.Boots == nil || m.rec.Ages == nil {
		log.Error("the memory of the other sites is damaged: this site's journal will be made anew from theirs",
			"file", filepath.Join(dir, memoryFile), "err", err)
		m.rec = newRecord()
		m.rec.Stale, m.rec.Founded = true, true
	}
	return m, nil
}

// now is what is remembered.
func (m *memory) now() record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rec.clone()
}

// change lets edit change what is remembered, and returns when that is on stable storage. Nobody sees it before. edit reports whether it
// changed anything. The result is what was remembered before.
func (m *memory) change(edit func(*record) bool) (before record, err error) {
	m.save.Lock()
	defer m.save.Unlock()
	before = m.now()
	next := before.clone()
	if !edit(&next) {
		return before, nil
	}
	text, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return before, err
	}
	if err := disk.WriteFile(filepath.Join(m.dir, memoryFile), append(text, '\n')); err != nil {
		return before, fmt.Errorf("cluster: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rec = next
	return before, nil
}
