package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// writeTrace makes a trace file of some frames and of one line that is none.
func writeTrace(t *testing.T, broken bool) string {
	t.Helper()
	text := []byte(zigate.TraceHeader + "\n")
	at := time.Date(2026, 11, 21, 22, 1, 2, 0, time.UTC)
	for _, f := range []zigate.TracedFrame{
		{Time: at, Direction: message.ToDongle, Frame: message.Frame{Type: message.TypeGetVersion}},
		{Time: at.Add(time.Millisecond), Frame: message.Frame{Type: message.TypeVersion, Payload: []byte{0, 4, 3, 0x23, 0}}},
	} {
		text = zigate.AppendTraceLine(text, f)
	}
	if broken {
		text = append(text, "and so on\n"...)
	}
	path := filepath.Join(t.TempDir(), "frames.trace")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInspectTrace(t *testing.T) {
	var stdout, stderr strings.Builder
	if code := run(t.Context(), []string{"inspect", writeTrace(t, false)}, nil, &stdout, &stderr); code != commandline.ExitOK {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	for _, line := range []string{
		"22:01:02.000000 -> 0x0010 get version\n", "22:01:02.001000 <- 0x8010 version: major 0x0004, minor 0x0323\n", "a trace of 2 frames\n",
	} {
		if !strings.Contains(stdout.String(), line) {
			t.Errorf("does not say %q:\n%s", line, stdout.String())
		}
	}
}

func TestInspectBrokenTrace(t *testing.T) {
	var stdout, stderr strings.Builder
	code := run(t.Context(), []string{"inspect", "--json", writeTrace(t, true)}, nil, &stdout, &stderr)
	if code != commandline.ExitFailed || !strings.Contains(stderr.String(), "line 4") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	var shown inspection
	if err := json.Unmarshal([]byte(stdout.String()), &shown); err != nil {
		t.Fatal(err)
	}
	if len(shown.Frames) != 2 || shown.OK || shown.Frames[1].Direction != "received" || shown.Frames[1].Payload != "0004032300" {
		t.Errorf("%+v", shown)
	}
}
