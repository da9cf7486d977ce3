package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
)

// onTerminal starts a program at a terminal of 100 columns. typed takes keys; shown is all
// that was shown so far.
func onTerminal(t *testing.T, cmd *exec.Cmd) (typed *os.File, shown func() string) {
	t.Helper()
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: 100, Rows: 30})
	if err != nil {
		t.Fatal(err)
	}
	screen := &lockedBuffer{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 4096)
		for {
			n, err := terminal.Read(b)
			_, _ = screen.Write(b[:n])
			if err != nil { // when the last program at the terminal has ended
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it may have been waited for
		terminal.Close()
		<-read
	})
	return terminal, screen.String
}

// awaits waits until what is shown is as wanted.
func awaits(t *testing.T, what string, shown func() string, wanted func(text string) bool) {
	t.Helper()
	for late := time.Now().Add(patience); time.Now().Before(late); awaitTick(t) {
		if wanted(shown()) {
			return
		}
	}
	t.Fatalf("did not come: %s:\n%s", what, shown())
}

// At a terminal the bars are drawn again in place; Ctrl-C ends the waiting, and the upgrade goes on
// until it is cancelled.
func TestShellAtTerminal(t *testing.T) {
	onLinux(t)
	t.Parallel()
	s := serveHere(t, 20, "ZIGATE_OTA_UPGRADE_CANARY=false")
	s.settle()
	u := &shellUser{t, []string{"ZIGATE_OTA_MQTT_URL=" + s.app.brokerURLs()[0], "TERM=xterm", "PATH=" + os.Getenv("PATH")}}
	file := imageFile(t, "bulb.ota", bulbImage(newerVersion, 100_000))
	for _, euid := range []string{kitchen, hall} {
		u.run(commandline.ExitOK, "add-image", euid, file)
	}
	cmd := exec.Command(programPath(t), "upgrade", kitchen, hall)
	cmd.Env = u.environ
	keys, shown := onTerminal(t, cmd)
	// In the order of the answers.
	bar := `(?:` + kitchen + `|` + hall + `) \[#*\.+\] +[1-9][0-9.]* % downloading `
	twice := regexp.MustCompile(`\x1b\[2A\x1b\[J` + bar + `[^\n]*\r\n` + bar)
	awaits(t, "two bars", shown, twice.MatchString)
	if _, err := keys.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("ended with %v, want 130", err)
	}
	awaits(t, "what goes on", shown, func(text string) bool {
		return strings.Contains(text, `zigate-ota upgrade: interrupted; the upgrades go on; "zigate-ota devices" shows them, "zigate-ota cancel" ends them`)
	})
	for line := range strings.Lines(regexp.MustCompile(`\x1b\[[0-9]*[A-Z]`).ReplaceAllString(shown(), "")) {
		if strings.Contains(line, "[") && len(strings.TrimRight(line, "\r\n")) > 100 {
			t.Errorf("wider than the terminal: %q", line)
		}
	}
	u.shows(`(?m)^`+kitchen+` .* downloading \d+ %`, "devices")
	u.shows(`^all: cancelled\n$`, "cancel", "all")
	u.shows(`(?m)^`+kitchen+` .* cancelled `, "devices")
	colours := exec.Command(programPath(t), "devices")
	colours.Env = u.environ
	_, shown = onTerminal(t, colours)
	awaits(t, "a heading that stands out", shown, func(text string) bool { return strings.Contains(text, "\x1b[1mNAME\x1b[0m ") })
}
