//go:build unix

package statefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lock keeps other processes from using the state file. The lock ends with the process, however that ends. A
// folder in which no file can be made or locked goes without.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return func() {}, nil //nolint:nilerr // a disk that cannot be written is no reason not to start
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := os.ReadFile(path)
		_ = file.Close()
		return nil, fmt.Errorf("%w %s (process %s); stop it, or set ZIGATE_OTA_STATE_DIR to a folder of "+
			"its own for each", ErrInUse, filepath.Dir(path), strings.TrimSpace(string(holder)))
	}
	// Who has the folder is for the error above alone. The file stays open for reading: one that is open for
	// writing would keep the disk from being made read-only.
	_ = os.WriteFile(path, fmt.Appendln(nil, os.Getpid()), 0o600)
	return func() { _ = file.Close() }, nil
}
