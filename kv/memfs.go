package kv

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// MemFS is a file system in memory for tests that close and reopen a store, crash it, or break its disk.
type MemFS struct {
	fs *vfs.MemFS

	mu          sync.Mutex
	read, write error
}

// NewMemFS makes an empty one.
func NewMemFS() *MemFS { return &MemFS{fs: vfs.NewCrashableMem()} }

// Crash returns what a power loss would leave: only what was synced. It is sound again.
func (m *MemFS) Crash() *MemFS {
	return &MemFS{fs: m.fs.CrashClone(vfs.CrashCloneCfg{})}
}

// Fail makes every read and every write of a file fail with these errors from now on; nil heals. syscall.ENOSPC is a full disk.
func (m *MemFS) Fail(read, write error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.read, m.write = read, write
}

func (m *MemFS) faulty() vfs.FS {
	return errorfs.Wrap(m.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		switch op.Kind {
		case errorfs.OpOpen, errorfs.OpFileRead, errorfs.OpFileReadAt:
			return m.read
		case errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFilePreallocate:
			return m.write
		}
		return nil
	}))
}
