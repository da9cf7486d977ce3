package otasvc_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/statefile"
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
		said := map[string]func(otasvc.Respond){
			"add_image": func(r otasvc.Respond) { w.service.AddImage(otasvc.AddImage{Device: ref(bulb), URL: url}, r) },
			"rename":    func(r otasvc.Respond) { w.service.Rename(ref(bulb), "Kitchen", r) },
		}
		for name, request := range said {
			a := w.ask(request)
			if a.Status != otasvc.Failure || !strings.Contains(a.Error, "it is done, but cannot be written") {
				t.Errorf("%s: %+v", name, a)
			}
		}
		if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb)}); a.Kept {
			t.Errorf("the state has what it does not have: %+v", a)
		}
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
		"of no version":   `{"devices":[]}`,
		"of another kind": `[1,2,3]`,
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

// A file of a newer version is left as it is, and the service does not start: what it means only that version
// knows.
func TestStateOfTheFuture(t *testing.T) {
	for _, content := range []string{`{"version":99,"devices":[]}`, `{"version":99,"writtenAs":99,"devices":[]}`} {
		dir := t.TempDir()
		file := filepath.Join(dir, "state.json")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := otasvc.New(otasvc.Options{StateDir: dir, Logger: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, statefile.ErrRefused) || !strings.Contains(err.Error(), "start the newer version again") {
			t.Errorf("%v", err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != content {
			t.Errorf("the file holds %q, %v", got, err)
		}
	}
}

// An entry that makes no sense is left out and told, the others stay, and the file is kept for people.
func TestStateWithEntriesThatMakeNoSense(t *testing.T) {
	const good = `{"euid":"0x000b57fffec6a5b2","name":"Hall"}`
	tests := map[string]string{
		"null device":          `{"version":1,"devices":[null,` + good + `]}`,
		"null group":           `{"version":1,"devices":[` + good + `],"groups":[null]}`,
		"no address":           `{"version":1,"devices":[` + good + `,{"euid":"bulb"}]}`,
		"twice":                `{"version":1,"devices":[` + good + `,` + good + `]}`,
		"an upgrade of nobody": `{"version":1,"devices":[` + good + `,{"euid":"0x00178801aabbccdd","upgrade":7}]}`,
		"an image of nobody":   `{"version":1,"devices":[` + good + `],"registry":[{"sha256":"ab"}]}`,
		"a damaged version":    `{"version":7,"writtenAs":1,"devices":[` + good + `,null]}`,
		"not JSON":             "{\"version\":1,\n\n\"devices\":[\n\n" + good + ",\n\n{\"euid\":",
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
				if got := w.sink.device(bulb).Name; got != "Hall" {
					t.Errorf("the good one is called %q", got)
				}
				kept, _ := filepath.Glob(w.stateFile() + ".damaged-*")
				if len(kept) != 1 {
					t.Fatalf("kept: %q", kept)
				}
				if got, err := os.ReadFile(kept[0]); err != nil || string(got) != content {
					t.Errorf("kept was %q, %v", got, err)
				}
				if !w.said.has("parts of the state file are damaged") || !w.said.has(kept[0]) {
					t.Errorf("said %s", w.said.String())
				}
			})
		})
	}
}

// What a newer version has written and this one does not know is there still when that is started again.
func TestUnknownFieldsStay(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.stop()
		content := `{"version":1,"weather":{"rain":true},"devices":[{"euid":"0x000b57fffec6a5b2","colour":"blue"}]}`
		if err := os.WriteFile(w.stateFile(), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.met(bulb)
		w.restart()
		w.stop()
		got, err := os.ReadFile(w.stateFile())
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"weather":{"rain":true}`, `"colour":"blue"`, `"modelId":"TRADFRI bulb E27"`} {
			if !strings.Contains(string(got), want) {
				t.Errorf("no %s in %s", want, got)
			}
		}
		w.start()
	})
}

// A byte that is damaged anywhere in the file costs one device at most.
func TestDamagedStateByByte(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "state", "state.json")
	devices := []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(bulb2), plugConfig()}
	var good []byte
	inWorld(t, sim.Config{Devices: devices}, func(w *world) {
		for _, d := range devices {
			w.met(d.IEEE)
		}
		w.stop()
		var err error
		if good, err = os.ReadFile(w.stateFile()); err != nil {
			t.Fatal(err)
		}
		w.start()
	})
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	step := 61
	if os.Getenv("ZIGATE_OTA_TEST_LONG") != "" {
		step = 1
	}
	for at := 0; at < len(good); at += step {
		bad := slices.Clone(good)
		bad[at] ^= 0x15
		if n := devicesOf(t, file, bad); n < len(devices)-1 {
			t.Fatalf("byte %d of %d as %q: %d devices are left", at, len(good), bad[at], n)
		}
	}
}

// devicesOf is how many devices a service finds in a state file.
func devicesOf(t *testing.T, file string, content []byte) (n int) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: filepath.Dir(filepath.Dir(file)), policy: defaultPolicy()}
		w.run(sim.Config{}, func(w *world) {
			w.within(time.Minute, "the devices are told", func() bool { return w.sink.count() > 0 })
			n = w.sink.count()
		})
	})
	return n
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
