// Package kv keeps rows on the local disk, ordered by key. It is the only importer of Pebble.
//
// Invariants: a Batch is applied whole or not at all, and batches survive a crash in the order of their commits: what is on
// disk after a crash is the result of a prefix of them. There is no write-ahead log: the journal is the truth, and the rows
// that a crash takes are applied again from it.
//
// Reads do not return errors. A disk that cannot be read is a Fault, thrown as a panic, because no caller of a read can do
// anything about it. It is recovered (Recover) where a goroutine begins, and nowhere else: a replica halts its partition, the
// edge answers 503, what works in the background gives up that piece of work.
//
// On a full disk the store waits for space: reads go on, rows stay in memory, and commits block once the write buffers are full.
//
// Limits: keys up to 64 KiB; values up to 16 MiB; a batch up to 64 MiB.
package kv

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Reader reads rows. A DB reads the newest committed rows, a View those of one moment, a Batch its own writes over the
// newest rows.
type Reader interface {
	// Get returns a copy of the value at key, nil when there is no such row. A row with an empty value reads as an empty,
	// non-nil slice.
	Get(key []byte) []byte
	// Scan yields the rows with lo <= key < hi in ascending order; ScanBack in descending order. Key and value are valid
	// until the next step.
	Scan(lo, hi []byte) iter.Seq2[[]byte, []byte]
	ScanBack(lo, hi []byte) iter.Seq2[[]byte, []byte]
}

// Fault is what a read panics with when the store cannot be read.
type Fault struct{ Err error }

func (f Fault) Error() string { return "kv: " + f.Err.Error() }
func (f Fault) Unwrap() error { return f.Err }

// Recover, deferred, turns a Fault that was thrown into *err; other panics go on. A goroutine that reads rows and is neither a
// replica's nor an HTTP server's must defer it, or a disk that cannot be read ends the process.
func Recover(err *error) {
	p := recover()
	if p == nil {
		return
	}
	var f Fault
	if e, ok := p.(error); ok && errors.As(e, &f) {
		*err = f
		return
	}
	panic(p)
}

// Aside runs do on a goroutine of its own and waits for it; a panic passes through. Reading rows goes deep, and a stack that has
// grown stays with its goroutine: whoever reads a little and then waits for minutes, ten thousand times over, reads aside.
func Aside(do func()) {
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		do()
	}()
	if p := <-done; p != nil {
		panic(p)
	}
}

// Config says where and how to keep rows.
type Config struct {
	Dir      string       // directory of the store; empty keeps everything in memory, for tests
	FS       *MemFS       // with Dir empty: memory that outlives the handle; nil for a fresh one
	Cache    int64        // block cache in bytes; 0 means 32 MiB
	MemTable uint64       // write buffer in bytes; 0 means 16 MiB. Up to twice this is applied again after a crash
	Log      *slog.Logger // nil discards
	OnFull   func(error)  // called when a background write fails, from the store's goroutine; nil ignores
	// OnDamage is called, perhaps often, when a file turns out to be damaged; it must not block. Whoever reads what was in it gets a
	// Fault, now and ever after: the store must be made anew. Nil ignores.
	OnDamage func(error)
}

// ErrDamaged is what Open says of a store whose files are damaged: it must be made anew.
var ErrDamaged = errors.New("kv: the store is damaged")

// DB is an open store.
type DB struct {
	p       *pebble.DB
	cache   *pebble.Cache
	closing chan struct{} // closed by Close: nothing waits for space any more
	limit   time.Duration // closeLimit
}

// Open opens or creates the store. It fails when another process has it open.
func Open(cfg Config) (*DB, error) {
	if cfg.Cache == 0 {
		cfg.Cache = 32 << 20
	}
	if cfg.MemTable == 0 {
		cfg.MemTable = 16 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cache := pebble.NewCache(cfg.Cache)
	opts := &pebble.Options{
		Cache:                       cache,
		DisableWAL:                  true,
		MemTableSize:                cfg.MemTable,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		MaxOpenFiles:                500,
		FormatMajorVersion:          pebble.FormatVirtualSSTables,
		Logger:                      logger{cfg.Log},
		EventListener: &pebble.EventListener{
			// The read that found it throws a Fault, and that is enough; the library's own answer would end the process.
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				cfg.Log.Error("store: damaged on disk", "err", info.String())
				if cfg.OnDamage != nil {
					cfg.OnDamage(fmt.Errorf("%w: %w", ErrDamaged, info.Details))
				}
			},
			BackgroundError: func(err error) {
				cfg.Log.Error("store: background write failed", "err", err)
				if cfg.OnFull != nil {
					cfg.OnFull(err)
				}
			},
		},
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	fs := vfs.Default
	if cfg.Dir == "" {
		if cfg.FS == nil {
			cfg.FS = NewMemFS()
		}
		fs = cfg.FS.faulty()
	}
	closing := make(chan struct{})
	opts.FS = vfs.OnDiskFull(fs, func() { awaitSpace(fs, cfg.Dir, 2*cfg.MemTable, closing) })
	p, err := pebble.Open(cfg.Dir, opts)
	if err != nil {
		cache.Unref()
		if pebble.IsCorruptionError(err) {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return nil, fmt.Errorf("kv: open: %w", err)
	}
	return &DB{p: p, cache: cache, closing: closing, limit: closeLimit}, nil
}

// fullPause is how often a full disk is looked at, and the least time between two attempts to write to it.
const fullPause = time.Second

// awaitSpace returns when a write that found the disk full should be tried again, once. Without it the library tries in a tight
// loop, and gives up the process when the write is of its manifest.
func awaitSpace(fs vfs.FS, dir string, want uint64, closing <-chan struct{}) {
	for {
		select {
		case <-closing:
			return
		case <-time.After(fullPause):
		}
		if u, err := fs.GetDiskUsage(dir); err != nil || u.AvailBytes >= want {
			return
		}
	}
}

// closeLimit is how long Close tries to write what is in memory.
const closeLimit = 10 * time.Second

// Close writes what is in memory to disk and closes the store. It does not wait for space on a full disk: it then closes all the
// same and says so, and what was in memory is made again from the journal.
func (db *DB) Close() error {
	flushed, err := db.p.AsyncFlush()
	if err == nil {
		select {
		case <-flushed:
		case <-time.After(db.limit):
			err = errors.New("kv: the rows in memory could not be written in time")
		}
	}
	return errors.Join(err, db.shut())
}

func (db *DB) shut() error {
	close(db.closing)
	err := db.p.Close()
	db.cache.Unref()
	return err
}

// Abandon closes the store without writing what is in memory, as a crash would; for tests.
func (db *DB) Abandon() { _ = db.shut() }

// Flush writes what is in memory to stable storage.
func (db *DB) Flush() error { return db.p.Flush() }

// Size is the bytes that the store takes on disk.
func (db *DB) Size() uint64 { return db.p.Metrics().DiskSpaceUsage() }

// Get implements Reader.
func (db *DB) Get(key []byte) []byte { return get(db.p, key) }

// Scan implements Reader.
func (db *DB) Scan(lo, hi []byte) iter.Seq2[[]byte, []byte] { return scan(db.p, lo, hi, false) }

// ScanBack implements Reader.
func (db *DB) ScanBack(lo, hi []byte) iter.Seq2[[]byte, []byte] { return scan(db.p, lo, hi, true) }

// View is the store as it was at one moment.
type View struct{ s *pebble.Snapshot }

// View takes one. Close it soon: old rows are kept for it.
func (db *DB) View() *View { return &View{db.p.NewSnapshot()} }

// Close frees the view.
func (v *View) Close() { _ = v.s.Close() }

// Get implements Reader.
func (v *View) Get(key []byte) []byte { return get(v.s, key) }

// Scan implements Reader.
func (v *View) Scan(lo, hi []byte) iter.Seq2[[]byte, []byte] { return scan(v.s, lo, hi, false) }

// ScanBack implements Reader.
func (v *View) ScanBack(lo, hi []byte) iter.Seq2[[]byte, []byte] { return scan(v.s, lo, hi, true) }

// Batch gathers writes and reads through them.
type Batch struct{ b *pebble.Batch }

// Batch begins one.
func (db *DB) Batch() *Batch { return &Batch{db.p.NewIndexedBatch()} }

// Get implements Reader.
func (b *Batch) Get(key []byte) []byte { return get(b.b, key) }

// Scan implements Reader.
func (b *Batch) Scan(lo, hi []byte) iter.Seq2[[]byte, []byte] { return scan(b.b, lo, hi, false) }

// ScanBack implements Reader.
func (b *Batch) ScanBack(lo, hi []byte) iter.Seq2[[]byte, []byte] { return scan(b.b, lo, hi, true) }

// Set writes a row. Key and value are copied.
func (b *Batch) Set(key, value []byte) { must(b.b.Set(key, value, nil)) }

// Delete removes a row.
func (b *Batch) Delete(key []byte) { must(b.b.Delete(key, nil)) }

// DeleteRange removes all rows with lo <= key < hi.
func (b *Batch) DeleteRange(lo, hi []byte) { must(b.b.DeleteRange(lo, hi, nil)) }

// Len is the size of the batch in bytes.
func (b *Batch) Len() int { return b.b.Len() }

// Commit makes the writes visible, all at once, and frees the batch. They reach the disk later, in order.
func (b *Batch) Commit() error {
	err := b.b.Commit(pebble.NoSync)
	return errors.Join(err, b.b.Close())
}

// Discard frees the batch without its writes.
func (b *Batch) Discard() { _ = b.b.Close() }

func get(r pebble.Reader, key []byte) []byte {
	v, c, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	must(err)
	out := append(make([]byte, 0, len(v)), v...)
	must(c.Close())
	return out
}

func scan(r pebble.Reader, lo, hi []byte, back bool) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		it, err := r.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
		must(err)
		defer func() { _ = it.Close() }() // errors of an iterator show in Error below
		ok := false
		if back {
			ok = it.Last()
		} else {
			ok = it.First()
		}
		for ok {
			v, err := it.ValueAndErr()
			must(err)
			if !yield(it.Key(), v) {
				return
			}
			if back {
				ok = it.Prev()
			} else {
				ok = it.Next()
			}
		}
		must(it.Error())
	}
}

func must(err error) {
	if err != nil {
		panic(Fault{err})
	}
}

// logger sends Pebble's messages to slog. A fatal one is thrown as a Fault: the library would otherwise end the process.
type logger struct{ l *slog.Logger }

func (l logger) Infof(format string, args ...any) {
	l.l.Debug("store: " + fmt.Sprintf(format, args...))
}
func (l logger) Errorf(format string, args ...any) {
	l.l.Error("store: " + fmt.Sprintf(format, args...))
}
func (l logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	l.l.Error("store: fatal", "err", err)
	panic(Fault{err})
}
