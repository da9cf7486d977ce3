package otasvc_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/otasvc/wholefile"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// A service that cannot write from the beginning works all the same, and stops in time.
func TestDiskIsNeverWritable(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.stop()
		if err := os.RemoveAll(filepath.Dir(w.stateFile())); err != nil {
			t.Fatal(err)
		}
		w.start()
		synctest.Wait() // it may be writing
		// The name is taken, by what is no file.
		if err := os.MkdirAll(w.stateFile()+wholefile.Suffix+"/full", 0o700); err != nil {
			t.Fatal(err)
		}
		url, data := w.image(0x117C, 0x2201, 2, 5_000)
		w.met(bulb)
		w.add(bulb, url)
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
			t.Errorf("%s %s", u.State, u.Reason)
		}
		w.holds(bulb, 2, data)
		began := time.Now()
		w.stopService()
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("took %v to stop", took)
		}
		w.start()
	})
}

// A state file that cannot be understood is set aside, under another name and whole, is told, and
// the service starts.
func TestUnreadableState(t *testing.T) {
	tests := map[string]string{
		"empty":           "",
		"cut":             `{"version":1,"devices":[{"euid":"0x000b57fffec6a5b2"`,
		"zeros":           strings.Repeat("\x00", 4096),
		"of the future":   `{"version":99,"devices":[]}`,
		"of no version":   `{"devices":[]}`,
		"of another kind": `[1,2,3]`,
		"null device":     `{"version":1,"devices":[null]}`,
		"null group":      `{"version":1,"devices":[],"groups":[null]}`,
		"no address":      `{"version":1,"devices":[{"euid":"bulb"}]}`,
	}
	for name, content := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
				w.stop()
				if err := os.WriteFile(w.stateFile(), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				w.start()
				w.met(bulb)
				aside, _ := filepath.Glob(w.stateFile() + ".unreadable-*")
				if len(aside) != 1 {
					t.Fatalf("set aside: %q", aside)
				}
				if got, err := os.ReadFile(aside[0]); err != nil || string(got) != content {
					t.Errorf("%v %q", err, got)
				}
				if said := w.said.String(); !strings.Contains(said, "the state file cannot be read") || !strings.Contains(said, aside[0]) {
					t.Errorf("said %s", said)
				}
				w.restart()
				if aside, _ = filepath.Glob(w.stateFile() + ".unreadable-*"); len(aside) != 1 {
					t.Errorf("set aside again: %q", aside)
				}
			})
		})
	}
}

// The state file of version 1, as its first release wrote it, in the middle of an upgrade: what is in
// it is known again.
func TestStateOfVersion1(t *testing.T) {
	stored, err := os.ReadFile("testdata/state.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb), plugConfig()}}, func(w *world) {
		w.stop()
		if err := os.WriteFile(w.stateFile(), stored, 0o600); err != nil {
			t.Fatal(err)
		}
		_, data := w.image(0x117C, 0x2201, 2, 20_000)
		lib, err := library.Open(library.Options{Dir: filepath.Join(w.dir, "images"), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lib.Fetch(w.t.Context(), library.Request{URL: "file://" + filepath.Join(w.dir, "images", "117c-2201-00000002-20000.ota")}); err != nil {
			t.Fatal(err)
		}
		w.start()
		if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
			t.Errorf("%s %s", u.State, u.Reason)
		}
		w.holds(bulb, 2, data)
		if n := len(w.sink.final("stored")); n != 1 {
			t.Errorf("%d final answers", n)
		}
		if diff := cmp.Diff("Kitchen bulb", w.sink.device(bulb).Name); diff != "" {
			t.Error(diff)
		}
		if u := w.sink.device(plug).Upgrade; u == nil || u.State != upgrade.Scheduled {
			t.Errorf("the plug: %+v", u)
		}
		if diff := cmp.Diff(2, len(w.sink.images)); diff != "" {
			t.Error(diff)
		}
	})
}

// Where nothing happens, nothing is written: memory cards wear out. During an upgrade it is a
// write now and then.
func TestStateIsWrittenRarely(t *testing.T) {
	t.Parallel()
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		writes := func(d time.Duration) int {
			n, before := 0, ""
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				info, err := os.Stat(w.stateFile())
				if err != nil {
					t.Fatal(err)
				}
				if now := fmt.Sprint(info.Sys().(*syscall.Stat_t).Ino, info.ModTime()); now != before {
					n, before = n+1, now
				}
			}
			return n - 1
		}
		w.met(bulb)
		time.Sleep(time.Hour)
		if n := writes(24 * time.Hour); n > 0 {
			t.Errorf("%d writes on a quiet day", n)
		}
		url, _ := w.image(0x117C, 0x2201, 2, 200_000)
		w.add(bulb, url)
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		if n := writes(time.Hour); n > 30 {
			t.Errorf("%d writes for an upgrade", n)
		}
		if u := w.ended(time.Second, bulb); u.State != upgrade.Succeeded {
			t.Errorf("%s %s", u.State, u.Reason)
		}
	})
}
