package otasvc_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// group asks for all devices and waits for the answer.
func (w *world) group(ticket string) func() otasvc.Answer {
	w.t.Helper()
	a := w.queue(otasvc.UpgradeRequest{All: true, Ticket: upgrade.Ticket(`"` + ticket + `"`)})
	if a.Status != otasvc.InProgress {
		w.t.Fatalf("upgrade of all: %+v", a)
	}
	return func() otasvc.Answer {
		w.t.Helper()
		w.within(3*time.Hour, "all have ended", func() bool { return len(w.sink.final(ticket)) == 1 })
		return w.sink.final(ticket)[0]
	}
}

// results are how the members of a group ended: the device's last digits, the image type of another image, and
// the state.
func results(a otasvc.Answer) (list []string) {
	for _, r := range a.UpgradeResults {
		text := fmt.Sprintf("%02x", uint8(r.EUID))
		if r.ImageType != nil {
			text += fmt.Sprintf(" 0x%04x", *r.ImageType)
		}
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s %s %s", text, r.State, r.Reason)))
	}
	return list
}

// "all" takes the images of a device one after the other, over a restart in the middle, too. Of each image one
// device goes first.
func TestAllTakesBothImages(t *testing.T) {
	for _, firmware := range []sim.Firmware{sim.V131C, sim.V1323, sim.V2324} {
		for name, meanwhile := range map[string]func(w *world){
			"undisturbed":                func(*world) {},
			"a restart in the first":     func(w *world) { w.restart() },
			"a crash while one follows":  func(w *world) { w.crash(10 * time.Second) },
			"a query of the other image": func(w *world) { w.sim.Device(bulb).Query() },
		} {
			t.Run(name+" "+firmware.String(), func(t *testing.T) {
				devices := []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(bulb2)}
				for i := range devices {
					onSecondEndpoint(&devices[i])
				}
				inWorld(t, sim.Config{Firmware: firmware, Devices: devices}, func(w *world) {
					var main, second []byte
					for _, e := range []message.IEEE{bulb, bulb2} {
						w.knowsBoth(e)
						main, second = w.both(e)
					}
					answer := w.group("all")
					w.within(time.Hour, "the first downloads", func() bool {
						u := w.sink.device(bulb).Upgrade
						return u != nil && u.Offset > 3000
					})
					meanwhile(w)
					w.apart(bulb, []uint32{1, 2}, []uint32{5, 6})
					a := answer()
					want := []string{"b2 succeeded", "b2 0x2202 succeeded", "b3 succeeded", "b3 0x2202 succeeded"}
					if a.Status != otasvc.Success || !slices.Equal(results(a), want) {
						t.Errorf("ended %s %v", a.Status, results(a))
					}
					for _, e := range []message.IEEE{bulb, bulb2} {
						w.holds(e, 2, main)
						w.holdsOther(e, 6, second)
						if got := shownImages(w.sink.device(e)); got != "main 2 false, 0x2202 at 2: 6 false" {
							t.Errorf("%v: %s", e, got)
						}
						if n := w.sim.Device(e).Snapshot().Installs + w.sim.Device(e).OtherClients()[0].Installs; n != 2 {
							t.Errorf("%v installed %d images", e, n)
						}
					}
				})
			})
		}
	}
}

// The policy takes both images of a device, and none of them twice.
func TestPolicyTakesBothImages(t *testing.T) {
	cfg := bulbConfig(bulb)
	onSecondEndpoint(&cfg)
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		w.knowsBoth(bulb)
		w.policy.Auto = true
		w.restart()
		main, second := w.both(bulb)
		w.within(2*time.Hour, "both run", func() bool {
			return shownImages(w.sink.device(bulb)) == "main 2 false, 0x2202 at 2: 6 false"
		})
		w.holds(bulb, 2, main)
		w.holdsOther(bulb, 6, second)

		// What failed is left alone for a day, however the two take turns.
		w.sim.Device(bulb).PowerOff()
		url, _ := w.image(0x117C, 0x2201, 3, 5_000)
		w.add(bulb, url)
		url, _ = w.image(0x117C, secondType, 7, 5_000)
		w.add(bulb, url)
		ended := func() int { return len(w.sink.device(bulb).History) }
		w.within(48*time.Hour, "both have failed", func() bool { return ended() == 4 })
		time.Sleep(12 * time.Hour)
		if n := ended(); n != 4 {
			t.Errorf("%d upgrades: some were tried again", n)
		}
	})
}

// An image that a device did not come back from goes to no other one, also where the upgrade to it was to follow
// another one of its device; the other image goes on.
func TestCanaryOfOtherImage(t *testing.T) {
	for name, interval := range map[string]time.Duration{
		"it waits for that device":   100 * time.Millisecond,
		"it is to follow its device": 6 * time.Second, // which takes the first image meanwhile
	} {
		t.Run(name, func(t *testing.T) { canaryOfOther(t, interval) })
	}
}

// canaryOfOther is TestCanaryOfOtherImage for a second device that asks for blocks at an interval.
func canaryOfOther(t *testing.T, interval time.Duration) {
	inWorld(t, sim.Config{Devices: canaryAndOther(interval)}, func(w *world) {
		w.policy.Canary = true
		w.restart()
		var main []byte
		for _, e := range []message.IEEE{bulb, bulb2} {
			w.knowsBoth(e)
			main, _ = w.both(e)
		}
		w.secondImageIsBad(nil)
		w.holds(bulb2, 2, main)
	})
}

// canaryAndOther are two bulbs with a second OTA client each, the first of which goes first. The second one asks for
// blocks at an interval.
func canaryAndOther(interval time.Duration) []sim.DeviceConfig {
	devices := []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(bulb2)}
	for i := range devices {
		onSecondEndpoint(&devices[i])
	}
	devices[0].LQI, devices[1].LQI = 200, 40
	devices[1].BlockInterval = interval
	return devices
}

// secondImageIsBad has both images of two bulbs installed, of which the first one does not come back with its second
// image: the other one must not get it. during is called while it installs; it may be nil.
func (w *world) secondImageIsBad(during func(*world)) {
	w.t.Helper()
	answer := w.group("all")
	w.within(time.Hour, "the first image of the first device is done", func() bool {
		return *w.sink.device(bulb).CurrentVersion == 2
	})
	w.within(time.Hour, "it installs its second one", func() bool {
		u := w.sink.device(bulb).Upgrade
		return u.ImageType != nil && *u.ImageType == secondType && u.State == upgrade.Applying
	})
	if during != nil {
		during(w)
	}
	w.sim.Device(bulb).PowerOff()
	want := []string{
		"b2 succeeded", "b2 0x2202 failed notRejoined", "b3 succeeded", "b3 0x2202 failed canaryFailed",
	}
	if a := answer(); a.Status != otasvc.Failure || !slices.Equal(results(a), want) {
		w.t.Errorf("ended %s %v", a.Status, results(a))
	}
	if n := w.sim.Device(bulb2).OtherClients()[0].Installs; n != 0 {
		w.t.Error("the image went to the other device all the same")
	}
}

// The image whose canary failed need not have been here when the other device's upgrade to it was to follow: an index
// has it, which does not tell its digest. That holds over a restart.
func TestCanaryOfOtherImageOfAnIndex(t *testing.T) {
	for name, during := range map[string]func(*world){"told": nil, "restarted": (*world).restart} {
		t.Run(name, func(t *testing.T) {
			web := newSlowWeb()
			dir, lib, catalog := webHome(t, web, map[uint16][]byte{
				0x2201: bulbImage(2, 5_000),
				secondType: otafile.Build(otafile.Header{
					ManufacturerCode: 0x117C, ImageType: secondType, FileVersion: 2,
				}, make([]byte, 5_000)),
			})
			devices := canaryAndOther(30 * time.Second)
			for i := range devices {
				devices[i].OtherClients[0].FileVersion = 1
			}
			synctest.Test(t, func(t *testing.T) {
				w := &world{t: t, dir: dir, policy: defaultPolicy(), library: lib, catalog: catalog}
				w.policy.Canary = true
				w.run(sim.Config{Devices: devices, Speed: 1}, func(w *world) {
					for _, e := range []message.IEEE{bulb, bulb2} {
						w.knowsBoth(e)
						w.within(5*time.Minute, "an update is known", func() bool { return w.sink.device(e).UpdateAvailable })
					}
					w.secondImageIsBad(during)
				})
			})
		})
	}
}

// To cancel a device's upgrade ends those of its other images, too, that were to follow. To exclude the device ends only
// these: its download goes on.
func TestCancelEndsWhatFollows(t *testing.T) {
	for name, cancel := range map[string]func(w *world, r otasvc.Respond){
		"the device": func(w *world, r otasvc.Respond) { w.service.Cancel(ref(bulb), r) },
		"all":        func(w *world, r otasvc.Respond) { w.service.CancelAll(r) },
		"forget":     func(w *world, r otasvc.Respond) { w.service.Forget(ref(bulb), r) },
		"exclude": func(w *world, r otasvc.Respond) {
			w.service.Configure(ref(bulb), func(set needs.Settings) needs.Settings {
				set.Excluded = ptr(true)
				return set
			}, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := bulbConfig(bulb)
			onSecondEndpoint(&cfg)
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				w.knowsBoth(bulb)
				w.both(bulb)
				answer := w.group("all")
				w.within(time.Hour, "the first downloads", func() bool {
					u := w.sink.device(bulb).Upgrade
					return u != nil && u.State == upgrade.Downloading
				})
				if a := w.ask(func(r otasvc.Respond) { cancel(w, r) }); a.Status != otasvc.Success {
					t.Fatalf("cancel: %+v", a)
				}
				first := "b2 cancelled cancelled"
				if name == "exclude" {
					w.ended(time.Hour, bulb)
					first = "b2 succeeded"
				}
				want := []string{first, "b2 0x2202 cancelled cancelled"}
				if a := answer(); !slices.Equal(results(a), want) {
					t.Errorf("ended %v", results(a))
				}
				time.Sleep(time.Hour)
				if s := w.sim.Device(bulb).OtherClients()[0]; s.Sessions != 0 {
					t.Error("the second image was downloaded all the same")
				}
			})
		})
	}
}

// A state file from before devices were known to have several images is read as it was: the request for all
// that it has is answered, and its history is that of the device's own image.
func TestOlderStateOfAGroup(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.met(bulb)
		url, _ := w.image(0x117C, 0x2201, 2, 3_000)
		w.add(bulb, url)
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		w.ended(time.Hour, bulb)
		url, data := w.image(0x117C, 0x2201, 3, 12_000)
		w.add(bulb, url)
		answer := w.group("all")
		w.stop()
		w.editState(func(state map[string]any) {
			for _, g := range state["groups"].([]any) {
				group := g.(map[string]any)
				delete(group, "follow")
				for _, m := range group["members"].([]any) {
					delete(m.(map[string]any), "image")
					delete(m.(map[string]any), "sha256")
				}
			}
			for _, d := range state["devices"].([]any) {
				device := d.(map[string]any)
				delete(device, "toldAt")
				delete(device, "installed")
				for _, p := range device["history"].([]any) {
					delete(p.(map[string]any), "kind")
					delete(p.(map[string]any), "sha256")
				}
			}
		})
		w.start()
		if a := answer(); a.Status != otasvc.Success || !slices.Equal(results(a), []string{"b2 succeeded"}) {
			t.Errorf("ended %s %v", a.Status, results(a))
		}
		w.holds(bulb, 3, data)
		if d := w.sink.device(bulb); len(d.OtherImages) != 0 || len(d.History) != 2 || d.History[1].Kind != nil {
			t.Errorf("told: %+v", d)
		}
	})
}

// editState changes the state file of a service that is stopped.
func (w *world) editState(edit func(map[string]any)) {
	w.t.Helper()
	data, err := os.ReadFile(w.stateFile())
	if err != nil {
		w.t.Fatal(err)
	}
	var state map[string]any
	if err := json.Unmarshal(data, &state); err != nil {
		w.t.Fatal(err)
	}
	edit(state)
	if data, err = json.Marshal(state); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(w.stateFile(), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
}
