package jet

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bongsu/journal"
)

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func TestGuard(t *testing.T) {
	write := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			name := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name       string
		existing   bool // prepare changes a journal, not an empty directory
		prepare    func(t *testing.T, dir string)
		partitions int
		want       string // in the error; empty: it opens
	}{
		{name: "again", existing: true, partitions: 2},
		{name: "other number of partitions", existing: true, partitions: 3, want: "2 partitions"},
		{name: "cluster's directory", existing: true, partitions: 2, want: "mode",
			prepare: write(manifestFile, `{"format":1,"mode":"cluster","partitions":2}`)},
		{name: "cluster's traces", existing: true, partitions: 2, want: "mode",
			prepare: write("store/jetstream/$SYS/_js_/x", "")},
		{name: "newer format", existing: true, partitions: 2, want: "format 2",
			prepare: write(manifestFile, `{"format":2,"mode":"standalone","partitions":2}`)},
		{name: "somebody else's directory", partitions: 2, want: "holds", prepare: write("thesis.txt", "x")},
		{name: "interrupted making", partitions: 2, prepare: write("store/jetstream/$G/streams/p0/meta.inf", "{}")},
		{name: "no partitions", partitions: -1, want: "partitions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.existing {
				j := open(t, Config{Dir: dir, Partitions: 2})
				fill(t, j, 0, 1, 2, 10)
				closed(t, j)
			}
			if c.prepare != nil {
				c.prepare(t, dir)
			}
			j, err := Open(quiet(Config{Dir: dir, Partitions: c.partitions}))
			if err == nil {
				defer closed(t, j)
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestOneProcessOnly(t *testing.T) {
	c := Config{Dir: t.TempDir(), Partitions: 1}
	j := open(t, c)
	if _, err := Open(quiet(c)); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("got %v", err)
	}
	closed(t, j)
	open(t, c)
}

func TestIllness(t *testing.T) {
	full := &os.PathError{Op: "write", Path: "1.blk", Err: syscall.ENOSPC}
	for _, c := range []struct {
		format string
		args   []any
		want   error
	}{
		{"Critical write error: %v", []any{full}, errNoSpace},
		{"anything: %v", []any{fmt.Errorf("wrapped: %w", full)}, errNoSpace},
		{"JetStream stream '%s > %s' critical write error: %v", []any{"$G", "p0", syscall.EIO}, errWrite},
		{"Error writing full state: %v", []any{syscall.EIO}, nil},
		{"something with no error", nil, nil},
	} {
		if got := illness(c.format, c.args); !errors.Is(got, c.want) || (c.want == nil) != (got == nil) {
			t.Errorf("%s %v: %v, want %v", c.format, c.args, got, c.want)
		}
	}
}

// Errors name what a person needs: partition, position, what to do.
func TestDamagedSaysWhatToDo(t *testing.T) {
	for cluster, what := range map[bool]string{false: "restore it from a backup", true: "the other sites fill it again"} {
		err := remedy(damaged(3, 17, "so and so"), cluster)
		for _, part := range []string{"partition 3", "position 17", "so and so", what} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q lacks %q", err, part)
			}
		}
		if !errors.Is(err, journal.ErrDamaged) {
			t.Error("not ErrDamaged")
		}
	}
	if err := remedy(journal.ErrFull, true); !errors.Is(err, journal.ErrFull) || strings.Contains(err.Error(), "wiped") {
		t.Errorf("a full disk: %v", err)
	}
}
