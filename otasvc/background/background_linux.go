// Package background lets work that can wait give way to work that cannot. It knows nothing of what the work
// is.
package background

import (
	"runtime"
	"syscall"
)

// niceness of threads that do what can wait.
const backgroundNiceness = 15

// GiveWay lets the calling goroutine have a thread of its own that gives way to every other: fetching,
// hashing and unwrapping an image takes tens of milliseconds of a core, and a block request that comes
// meanwhile must not wait for that. The thread ends with the goroutine; raising its priority again
// would take a privilege.
func GiveWay() {
	runtime.LockOSThread()
	// Without it, it is only slower.
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, syscall.Gettid(), backgroundNiceness)
}
