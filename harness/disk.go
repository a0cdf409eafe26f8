package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Disk is an ext4 file system in a file, mounted, whose power can be cut. It needs root.
type Disk struct {
	Dir   string // where it is mounted
	image string
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
func (d *Disk) Close() error { return command("umount", d.Dir) }

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
