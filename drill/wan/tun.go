package wan

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// openTun makes a device of raw IP packets in a namespace ("": this one).
func openTun(space, device string) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	made := make(chan result, 1)
	go func() {
		// The thread that has entered a namespace is never used again: it ends with this goroutine.
		runtime.LockOSThread()
		if space == "" {
			runtime.UnlockOSThread()
		} else if err := enter(space); err != nil {
			made <- result{nil, err}
			return
		}
		f, err := newTun(device)
		made <- result{f, err}
	}()
	r := <-made
	return r.f, r.err
}

func enter(space string) error {
	f, err := os.Open(filepath.Join("/run/netns", space))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil { //nolint:gosec // a file descriptor fits
		return fmt.Errorf("enter %s: %w", space, err)
	}
	return nil
}

func newTun(device string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(device)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", device, errClose(fd, err))
	}
	return os.NewFile(uintptr(fd), device), nil
}

// errClose closes fd, and is err.
func errClose(fd int, err error) error {
	_ = unix.Close(fd) // nothing was written
	return err
}
