//go:build !unix

package zigate

import "errors"

// errPortLocked says that another process uses a serial port.
var errPortLocked = errors.New("serial port in use")

// portLock does nothing: the operating system opens a serial port only once.
type portLock struct{}

func lockPort(string) (portLock, error) { return portLock{}, nil }

func (portLock) release() {}
