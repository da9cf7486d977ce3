//go:build unix

package zigate

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// errPortLocked says that another process uses a serial port.
var errPortLocked = errors.New("serial port in use")

// portLock keeps other processes off a serial port. The exclusive mode that the serial library asks the
// terminal for does not stop a privileged process, which services in containers often are; this lock does,
// where the other program uses it too.
type portLock struct {
	file *os.File
}

// lockPort locks a port. The error is errPortLocked where another process has the port, or that of opening
// it.
func lockPort(path string) (portLock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.EBUSY) {
		return portLock{}, fmt.Errorf("%w: %w", errPortLocked, err)
	}
	if err != nil {
		return portLock{}, err
	}
	switch err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		file.Close()
		return portLock{}, fmt.Errorf("%w: %w", errPortLocked, err)
	case err != nil:
		file.Close()
		return portLock{}, nil //nolint:nilerr // not every kind of port can be locked; those go without
	}
	return portLock{file: file}, nil
}

// release allows other processes to use the port.
func (l portLock) release() {
	if l.file != nil {
		l.file.Close()
	}
}
