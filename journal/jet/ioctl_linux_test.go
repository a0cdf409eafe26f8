package jet

import "golang.org/x/sys/unix"

// ioctlInt passes a number to an ioctl by address.
func ioctlInt(fd uintptr, request uint, value int) error {
	return unix.IoctlSetPointerInt(int(fd), request, value)
}
