package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is an ext4 file system in a file, mounted, whose power can be cut. It needs root.
type Disk struct {
	Dir   string // where it is mounted
	image string

	slow *stalls // nil: it is as fast as it is
}

// NewDisk makes and mounts a file system of size bytes; its file and its mount point are in dir.
func NewDisk(dir string, size int64) (*Disk, error) {
	d := &Disk{Dir: filepath.Join(dir, "mount"), image: filepath.Join(dir, "image")}
	f, err := os.OpenFile(d.image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(size), f.Close(), os.Mkdir(d.Dir, 0o700)); err != nil {
		return nil, err
	}
	if err := command("mkfs.ext4", "-q", "-F", "-m", "0", d.image); err != nil {
		return nil, err
	}
	return d, d.mount()
}

func (d *Disk) mount() error { return command("mount", "-o", "loop", d.image, d.Dir) }

// Cut is a power loss: nothing that is not on the disk by now will get there, and every access fails until Remount.
func (d *Disk) Cut() error {
	const (
		shutdown   = 0x8004587d // EXT4_IOC_SHUTDOWN
		noLogFlush = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
	)
	f, err := os.Open(d.Dir)
	if err != nil {
		return err
	}
	err = unix.IoctlSetPointerInt(int(f.Fd()), shutdown, noLogFlush) //nolint:gosec // a file descriptor fits
	return errors.Join(err, f.Close())
}

// Remount is what happens when power returns: the file system's own journal is replayed. No process may use the disk.
func (d *Disk) Remount() error {
	if err := d.Close(); err != nil {
		return err
	}
	return d.mount()
}

// Close unmounts, which gives the loop device back.
func (d *Disk) Close() error { return errors.Join(d.Slow(0), command("umount", d.Dir)) }

// Slow makes the disk stand still for a while at a time, with a moment in between in which what has waited is done: so a write, or a
// sync of something written, takes up to that long. Reads are as fast as ever. 0 lets the disk be as it is.
func (d *Disk) Slow(stall time.Duration) (err error) {
	if d.slow != nil {
		err = d.slow.end()
		d.slow = nil
	}
	if err == nil && stall > 0 {
		d.slow, err = beginStalls(d.Dir, stall)
	}
	return err
}

// stalls is a file system that is frozen and thawed again and again.
type stalls struct {
	dir  *os.File
	stop context.CancelFunc
	done chan error
}

// respite is how long a slow disk works between two stalls; the beginning of a stall, which puts everything in order, adds some
// milliseconds in which what was begun is finished.
const respite = time.Millisecond

// beginStalls makes the first stall, which says whether there can be any.
func beginStalls(dir string, stall time.Duration) (*stalls, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &stalls{dir: f, stop: cancel, done: make(chan error, 1)}
	if err := s.freeze(); err != nil {
		cancel()
		return nil, errors.Join(err, f.Close())
	}
	go func() { s.done <- s.run(ctx, stall) }()
	return s, nil
}

// run thaws and freezes the frozen file system in turns; it ends with a thaw.
func (s *stalls) run(ctx context.Context, stall time.Duration) error {
	for {
		pause(ctx, stall)
		if err := s.thaw(); err != nil || ctx.Err() != nil {
			return err
		}
		pause(ctx, respite)
		if err := s.freeze(); err != nil {
			return err
		}
	}
}

// end lets the file system work again.
func (s *stalls) end() error {
	s.stop()
	return errors.Join(<-s.done, s.dir.Close())
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// freeze puts the file system in order and lets every write wait; also the end of a process that writes.
func (s *stalls) freeze() error { return s.ioctl("freeze", 0xc0045877) } // FIFREEZE

func (s *stalls) thaw() error { return s.ioctl("thaw", 0xc0045878) } // FITHAW

func (s *stalls) ioctl(what string, request uint) error {
	if err := unix.IoctlSetInt(int(s.dir.Fd()), request, 0); err != nil { //nolint:gosec // a file descriptor fits
		return fmt.Errorf("harness: %s %s: %w", what, s.dir.Name(), err)
	}
	return nil
}

// Fill writes a file until no byte is left, and returns its path.
func (d *Disk) Fill() (string, error) {
	name := filepath.Join(d.Dir, "filler")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else if err != nil {
			return "", errors.Join(err, f.Close())
		}
	}
	return name, errors.Join(f.Sync(), f.Close())
}

func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("harness: %s %v: %w: %s", name, args, err, out)
	}
	return nil
}
