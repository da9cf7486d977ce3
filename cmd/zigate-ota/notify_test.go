package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
)

// systemd is the socket that a service is watched over.
type systemd struct {
	path  string
	heard *journal[string]
}

func newSystemd(t *testing.T) *systemd {
	t.Helper()
	s := &systemd{path: filepath.Join(t.TempDir(), "notify"), heard: newJournal[string]()}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		datagram := make([]byte, 4096)
		for {
			n, err := conn.Read(datagram)
			if err != nil {
				return
			}
			s.heard.add(string(datagram[:n]))
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return s
}

func TestSupervisorEnvironment(t *testing.T) {
	tests := []struct {
		name     string
		environ  []string
		socket   string
		watchdog time.Duration
	}{
		{"nothing", nil, "", 0},
		{"ready only", []string{"NOTIFY_SOCKET=/run/systemd/notify"}, "/run/systemd/notify", 0},
		{"watched", []string{"NOTIFY_SOCKET=@abstract", "WATCHDOG_USEC=60000000"}, "@abstract", time.Minute},
		{"no number", []string{"NOTIFY_SOCKET=@abstract", "WATCHDOG_USEC=soon"}, "@abstract", 0},
		{"another process is watched", []string{"NOTIFY_SOCKET=@abstract", "WATCHDOG_USEC=60000000", "WATCHDOG_PID=1"}, "@abstract", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSupervisor(tt.environ)
			if s.socket != tt.socket || s.watchdog != tt.watchdog {
				t.Errorf("socket %q, watchdog %v", s.socket, s.watchdog)
			}
		})
	}
}

// The watchdog hears of the service for as long as it is alive, not longer, and again when it is.
func TestWatchdogIsFedByLiveness(t *testing.T) {
	manager := newSystemd(t)
	var stuck atomic.Pointer[string]
	var asked atomic.Int64
	ready := make(chan struct{})
	status := "dongle: gone"
	log := newLines()
	s := newSupervisor([]string{"NOTIFY_SOCKET=" + manager.path, "WATCHDOG_USEC=30000"})
	s.ready, s.log, s.status = ready, slog.New(slog.NewTextHandler(log, nil)), func() string { return status }
	s.alive = func(context.Context) error {
		asked.Add(1)
		if why := stuck.Load(); why != nil {
			return errors.New(*why)
		}
		return nil
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	if heard, _ := manager.heard.all(); len(heard) > 0 {
		t.Errorf("heard %q before the service was ready", heard)
	}
	close(ready)
	manager.heard.await(t, "ready", func(m string) bool { return m == "READY=1\nSTATUS=dongle: gone" })
	manager.heard.await(t, "watchdog", func(m string) bool { return m == "WATCHDOG=1" })

	stuck.Store(new("nobody comes round"))
	log.await(t, "the log", func(line string) bool {
		return strings.Contains(line, "the service is stuck") && strings.Contains(line, "nobody comes round")
	})
	before, _ := manager.heard.all()
	for from := asked.Load(); asked.Load() < from+3; {
		time.Sleep(time.Millisecond)
	}
	if after, _ := manager.heard.all(); len(after) != len(before) {
		t.Errorf("fed while it was stuck: %q", after[len(before):])
	}
	stuck.Store(nil)
	log.await(t, "the log", func(line string) bool { return strings.Contains(line, "alive again") })
	fed := func() int { return len(manager.heard.each(func(m string) bool { return m == "WATCHDOG=1" })) }
	for from := fed(); fed() == from; {
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	manager.heard.await(t, "the stop", func(m string) bool { return m == "STOPPING=1" })
	if told := log.journal.each(func(line string) bool { return strings.Contains(line, "is stuck") }); len(told) != 1 {
		t.Errorf("told %d times: %q", len(told), told)
	}
}

func TestSupervisorWithoutSystemd(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := newSupervisor(nil).Run(ctx); err != nil {
		t.Error(err)
	}
	gone := newSupervisor([]string{"NOTIFY_SOCKET=" + filepath.Join(t.TempDir(), "none")})
	if err := gone.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "NOTIFY_SOCKET") {
		t.Errorf("error %v for a socket that is not there", err)
	}
}

// The process as systemd sees it: ready, alive, with a status that follows the dongle, another log level at
// SIGHUP, and stopping.
func TestSupervisedProcess(t *testing.T) {
	t.Parallel()
	onLinux(t)
	manager := newSystemd(t)
	service := start(t, environ(t.TempDir(), "ZIGATE_OTA_DONGLE=sim", "NOTIFY_SOCKET="+manager.path, "WATCHDOG_USEC=3000000"), programPath(t))
	manager.heard.await(t, "ready", func(m string) bool { return strings.HasPrefix(m, "READY=1\nSTATUS=") })
	manager.heard.await(t, "the dongle", func(m string) bool { return strings.HasSuffix(m, "STATUS=ready for upgrades") })
	manager.heard.await(t, "watchdog", func(m string) bool { return m == "WATCHDOG=1" })
	for _, now := range []string{"from=INFO to=DEBUG", "from=DEBUG to=INFO"} {
		if err := service.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		service.stderr.await(t, now, func(line string) bool {
			return strings.Contains(line, "changed by SIGHUP") && strings.Contains(line, now)
		})
	}
	if err := service.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-service.done
	if code := service.cmd.ProcessState.ExitCode(); code != commandline.ExitOK {
		t.Errorf("exit code %d", code)
	}
	heard, _ := manager.heard.all()
	if diff := cmp.Diff("STOPPING=1", heard[len(heard)-1]); diff != "" {
		t.Error(diff)
	}
}

// TestWatchdogBesideSilentConnections: however many connections others open, the service is found alive.
func TestWatchdogBesideSilentConnections(t *testing.T) {
	s := serveHere(t, 50)
	for range 400 {
		conn, err := net.Dial("tcp", s.app.httpAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := s.app.alive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	code, stdout, stderr := ran(t, environ(t.TempDir(), "ZIGATE_OTA_HTTP_ADDR="+s.app.httpAddr()), "healthcheck")
	if !strings.Contains(stdout, `"checks"`) {
		t.Errorf("healthcheck ended with %d: %s %s", code, stdout, stderr)
	}
}
