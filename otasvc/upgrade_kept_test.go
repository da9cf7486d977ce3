package otasvc_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// keptDevices are the upgrades in a state file, by the name of the device.
func keptDevices(t *testing.T, file string) map[string]map[string]any {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var state struct {
		Devices []struct {
			Name    string
			Upgrade map[string]any
		}
	}
	if err := json.Unmarshal(data, &state); err != nil {
		t.Fatal(err)
	}
	kept := map[string]map[string]any{}
	for _, d := range state.Devices {
		kept[d.Name] = d.Upgrade
	}
	return kept
}

// A state file of the version that kept the life of an upgrade as flags is read, and written as it was. Its devices
// are named after what is special about their upgrades.
func TestUpgradesOfAnEarlierVersion(t *testing.T) {
	const file = "testdata/state.upgrades.v1.json"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before := keptDevices(t, file)
	inWorld(t, sim.Config{}, func(w *world) {
		w.stop()
		w.unplug() // nothing happens to the upgrades meanwhile
		if err := os.WriteFile(w.stateFile(), data, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC)))
		w.start()
		time.Sleep(time.Second)
		w.toldAs(t, before)
		for _, name := range []string{"paused+held", "queued"} {
			w.queuedAs(t, name)
		}
		w.stop()
		if left, _ := filepath.Glob(w.stateFile() + ".unreadable*"); len(left) > 0 {
			t.Fatal("the file was set aside")
		}
		for name, after := range keptDevices(t, w.stateFile()) {
			sameUpgrade(t, name, before[name], after)
		}
		w.start()
	})
}

// toldAs checks that every device is told with the state that its upgrade has.
func (w *world) toldAs(t *testing.T, kept map[string]map[string]any) {
	t.Helper()
	defer w.sink.lock()()
	for _, d := range w.sink.devices {
		if d.Upgrade == nil || string(d.Upgrade.State) != kept[d.Name]["state"] {
			t.Errorf("%s is told as %+v", d.Name, d.Upgrade)
		}
	}
}

// queuedAs checks that the queue has the upgrade of a device only where it stands in it.
func (w *world) queuedAs(t *testing.T, name string) {
	t.Helper()
	answer := make(chan []otasvc.QueuedUpgrade, 1)
	w.service.Queue(func(q []otasvc.QueuedUpgrade) { answer <- q })
	found := false
	for _, u := range <-answer {
		found = found || w.sink.device(u.EUID).Name == name
	}
	if !found {
		t.Errorf("%s does not stand in the queue", name)
	}
}

// sameUpgrade compares what is kept of an upgrade. A pause and a putting off mean nothing for one that has ended, and
// final answers have been given.
func sameUpgrade(t *testing.T, name string, before, after map[string]any) {
	t.Helper()
	if upgrade.State(before["state"].(string)).Ended() {
		for _, key := range []string{"held", "pausedUntil", "asideUntil", "asideTold", "tickets"} {
			delete(before, key)
		}
	}
	if !reflect.DeepEqual(before, after) {
		t.Errorf("%s\nwas  %v\nthen %v", name, before, after)
	}
}
