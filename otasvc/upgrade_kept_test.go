package otasvc_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	defer w.sink.lock()()
	found := false
	for _, d := range w.sink.devices {
		found = found || d.Name == name && d.Queue != nil && d.Queue.Position > 0
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

// A final answer that nobody has got is given again by the next life of the service, the same each time, and
// not any more once whoever asked has it: of one upgrade, and of one that all were asked for with.
func TestFinalAnswerIsOwedUntilItIsThere(t *testing.T) {
	for name, req := range map[string]otasvc.UpgradeRequest{
		"one": {Device: ref(bulb), Ticket: upgrade.Ticket(`"t"`)},
		"all": {All: true, Ticket: upgrade.Ticket(`"t"`)},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
				url, _ := w.image(0x117C, 0x2201, 2, 6_000)
				w.met(bulb)
				w.add(bulb, url)
				w.brokerAway.Store(true)
				w.queue(req)
				var all []otasvc.Answer
				given := func(what string) {
					w.within(time.Hour, what, func() bool { return len(w.sink.final("t")) == 1 })
					all = append(all, w.sink.final("t")...)
				}
				given("the upgrade ends")
				began := time.Now()
				w.stop()
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("took %v to stop", took)
				}
				w.start()
				given("the answer is given again")
				w.crash(time.Minute)
				given("and again")
				w.brokerAway.Store(false)
				w.restart()
				given("and now it is there")
				for _, again := range []func(){func() { w.crash(time.Minute) }, w.restart} {
					again()
					time.Sleep(time.Hour)
					if more := w.sink.final("t"); len(more) > 0 {
						t.Errorf("it is given once more: %+v", more)
					}
				}
				for _, a := range all {
					if diff := cmp.Diff(all[0], a); diff != "" {
						t.Errorf("not the same each time:\n%s", diff)
					}
				}
			})
		})
	}
}

// A further upgrade of the device does not make the answer about the one before it forgotten.
func TestFinalAnswerIsOwedThroughAnotherUpgrade(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.met(bulb)
		w.brokerAway.Store(true)
		for version := range uint32(2) {
			url, _ := w.image(0x117C, 0x2201, 2+version, 6_000)
			w.add(bulb, url)
			ticket := fmt.Sprintf(`"%d"`, version)
			w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Ticket: upgrade.Ticket(ticket)})
			w.ended(time.Hour, bulb)
		}
		w.crash(time.Minute)
		for _, ticket := range []string{"0", "1"} {
			w.within(time.Minute, "the answer is given again", func() bool { return len(w.sink.final(ticket)) == 1 })
		}
		w.brokerAway.Store(false)
		w.restart()
		time.Sleep(time.Minute)
		w.restart()
		time.Sleep(time.Hour)
		for _, ticket := range []string{"0", "1"} {
			if n := len(w.sink.final(ticket)); n != 0 {
				t.Errorf("%s was given %d times more", ticket, n)
			}
		}
	})
}
