package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
)

// A state folder that the service's user may not write, with a state file that it may not read, from an
// earlier life as another user: it is told, nothing of it is touched, and the service does its work.
func TestPermissionDenied(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can start a program as somebody else")
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "zigate-ota-denied-") // t.TempDir is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	state, images := filepath.Join(dir, "state"), filepath.Join(dir, "images")
	for path, mode := range map[string]os.FileMode{dir: 0o755, state: 0o755, images: 0o777} {
		if err := os.MkdirAll(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(state, "state.json")
	if err := os.WriteFile(file, []byte(`{"version":1,"devices":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(programPath(t))
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "zigate-ota")
	if err := os.WriteFile(copied, program, 0o755); err != nil {
		t.Fatal(err)
	}

	cmd := exec.Command(copied)
	cmd.Env, cmd.Dir = environ(dir, "ZIGATE_OTA_DONGLE=sim", "ZIGATE_OTA_STATE_DIR="+state, "ZIGATE_OTA_IMAGE_DIR="+images), dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	service := startCommand(t, cmd)
	told := func(words string) func(string) bool {
		return func(line string) bool {
			return strings.Contains(line, words) && strings.Contains(line, "permission denied")
		}
	}
	service.stderr.await(t, "the file", told("the state file cannot be read"))
	service.stderr.await(t, "what to do", told("make the folder writable"))
	service.stderr.await(t, "the disk", told("the state cannot be written"))
	service.stderr.await(t, "a device", func(line string) bool { return strings.Contains(line, "a new device") })
	if err := service.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-service.done
	if code := service.cmd.ProcessState.ExitCode(); code != commandline.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != `{"version":1,"devices":[]}` {
		t.Errorf("the file was touched: %v %q", err, content)
	}
}
