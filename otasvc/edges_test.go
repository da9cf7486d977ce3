package otasvc_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// pausing a queued upgrade while another image is in the slot gives it a transfer with the
// other image's bytes.
func TestPausedInTheQueueNeverGetsAnotherImage(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb), plugConfig()}}, func(w *world) {
		w.met(bulb)
		w.met(plug)
		bulbURL, bulbData := w.image(0x117C, 0x2201, 2, 30_000)
		plugURL, plugData := w.image(0x100B, 0x0112, 11, 30_000)
		w.add(bulb, bulbURL)
		w.add(plug, plugURL)
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		w.within(time.Minute, "the bulb downloads", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 1000 })
		w.queue(otasvc.UpgradeRequest{Device: ref(plug)})
		if a := w.ask(func(r otasvc.Respond) { w.service.Pause(ref(plug), 0, r) }); a.Status != otasvc.Success {
			t.Fatalf("pause: %+v", a)
		}
		w.ended(20*time.Minute, bulb)
		w.holds(bulb, 2, bulbData)
		time.Sleep(2 * time.Minute)
		w.sim.Device(plug).Query() // it looks for an image by itself, as devices do
		time.Sleep(10 * time.Second)
		if a := w.ask(func(r otasvc.Respond) { w.service.Resume(ref(plug), r) }); a.Status != otasvc.Success {
			t.Fatalf("resume: %+v", a)
		}
		u := w.ended(2*time.Hour, plug)
		if u.State != upgrade.Succeeded {
			t.Errorf("ended %+v", u)
		}
		w.holds(plug, 11, plugData)
	})
}

// pausing a queued upgrade that stands earlier in the queue takes the slot away under a running download.
func TestPausedInTheQueueLeavesTheSlotAlone(t *testing.T) {
	p := plugConfig()
	p.AbortAt, p.FailFirst = 2000, 1
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb), p}}, func(w *world) {
		w.met(bulb)
		w.met(plug)
		bulbURL, bulbData := w.image(0x117C, 0x2201, 2, 60_000)
		plugURL, _ := w.image(0x100B, 0x0112, 11, 60_000)
		w.add(bulb, bulbURL)
		w.add(plug, plugURL)
		w.queue(otasvc.UpgradeRequest{Device: ref(plug)})
		time.Sleep(time.Second)
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		w.within(10*time.Minute, "the plug gave up and the bulb downloads", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 1000 })
		if a := w.ask(func(r otasvc.Respond) { w.service.Pause(ref(plug), 0, r) }); a.Status != otasvc.Success {
			t.Fatalf("pause: %+v", a)
		}
		time.Sleep(time.Minute)
		if n := w.sim.Stats().BlocksRefused(); n != 0 {
			t.Errorf("the dongle refused %d blocks", n)
		}
		if u := w.ended(2*time.Hour, bulb); u.State != upgrade.Succeeded || u.Attempt != 1 {
			t.Errorf("ended %+v", u)
		}
		w.holds(bulb, 2, bulbData)
	})
}

// away for longer than the rejoin time-out while the device installs.
func TestTimeAwayDoesNotCountWhileApplying(t *testing.T) {
	for name, away := range map[string]func(w *world){
		"service": func(w *world) { w.stop(); time.Sleep(20 * time.Minute); w.start() },
		"dongle": func(w *world) {
			w.service.HandleDisconnected(context.Canceled)
			time.Sleep(20 * time.Minute)
			w.service.HandleConnected(zigate.Info{Major: 3, Minor: 0x323, Firmware: "3.23"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := bulbConfig(bulb)
			cfg.RebootTime = time.Minute
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				upgraded(w, 5_000)
				w.within(10*time.Minute, "it installs", func() bool {
					return w.sink.device(bulb).Upgrade != nil && w.stateOf(bulb) == upgrade.Applying
				})
				away(w)
				u := w.ended(time.Hour, bulb)
				if u.State != upgrade.Succeeded {
					t.Errorf("it runs version %d, and the upgrade ended %s, %s", w.sim.Device(bulb).Snapshot().FileVersion, u.State, u.Reason)
				}
			})
		})
	}
}

// the dongle is away for longer than the stall time-out in the middle of a download.
func TestTimeAwayDoesNotCountWhileDownloading(t *testing.T) {
	cfg := bulbConfig(bulb)
	cfg.RetryInterval, cfg.Retries = 5*time.Second, 500
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		w.policy.Retries = 0
		w.restart()
		upgraded(w, 30_000)
		w.within(10*time.Minute, "it downloads", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
		// the cable is out: the service is told, and no request reaches it
		w.losing(func(message.Message) bool { return true })
		w.service.HandleDisconnected(context.Canceled)
		w.sim.Device(bulb).PowerOff() // nothing arrives; (stands for the cable)
		time.Sleep(6 * time.Minute)
		w.losing(func(message.Message) bool { return false })
		w.service.HandleConnected(zigate.Info{Major: 3, Minor: 0x323, Firmware: "3.23"})
		time.Sleep(5 * time.Second)
		u := w.sink.device(bulb).Upgrade
		if u.State != upgrade.Downloading {
			t.Errorf("5 s after the dongle came back: %s, %s", u.State, u.Reason)
		}
	})
}

// open requests at a stop.
func TestManyOpenRequestsAreAnsweredAtAStop(t *testing.T) {
	var devices []sim.DeviceConfig
	for i := range 9 {
		devices = append(devices, bulbConfig(message.IEEE(0x000b57fffe000000+uint64(i))))
	}
	for name, request := range map[string]func(w *world, r otasvc.Respond){
		"check all": func(w *world, r otasvc.Respond) { w.service.CheckAll(r) },
		"image notify": func(w *world, r otasvc.Respond) {
			w.service.ImageNotify(otasvc.ImageNotify{Device: ref(devices[0].IEEE)}, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, sim.Config{Devices: devices}, func(w *world) {
				for _, d := range devices {
					w.met(d.IEEE)
				}
				for _, d := range devices {
					w.sim.Device(d.IEEE).PowerOff()
				}
				url, _ := w.image(0x117C, 0x2201, 2, 3000)
				w.add(devices[0].IEEE, url)
				var mu sync.Mutex
				finals := 0
				request(w, func(a otasvc.Answer) {
					mu.Lock()
					defer mu.Unlock()
					if a.Status.Final() {
						finals++
					}
				})
				if name == "check all" {
					time.Sleep(time.Second)
				} else {
					time.Sleep(time.Millisecond)
				}
				w.stopService()
				time.Sleep(time.Hour)
				if finals != 1 {
					t.Errorf("%d final answers", finals)
				}
				w.start()
			})
		})
	}
}

// a final answer given during a clean stop is given again at the next start.
func TestOneFinalAnswerOverACleanStop(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		upgraded(w, 30_000)
		w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
		w.service.Cancel(ref(bulb), func(otasvc.Answer) {})
		w.stopService()
		before := len(w.sink.final("t"))
		w.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := before + len(w.sink.final("t")); n != 1 {
			t.Errorf("%d final answers: %d before the restart, %d after", n, before, n-before)
		}
	})
}

// a device that has lost its address.
func TestDeviceWhoseAddressIsTakenIsLookedFor(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.met(bulb)
		url, _ := w.image(0x117C, 0x2201, 2, 3000)
		w.add(bulb, url)
		addr := *w.sink.device(bulb).NetworkAddress
		w.losing(func(m message.Message) bool { a, ok := m.(message.DeviceAnnounce); return ok && a.IEEE == bulb })
		w.sim.Device(bulb).ChangeAddress(0x7777) // its announce is lost on the line
		// And another device has its old address now.
		w.service.HandleMessage(message.DeviceAnnounce{Addr: addr, IEEE: 0x1122334455667788}, 1)
		time.Sleep(time.Second)
		n := 0
		w.service.Interview(ref(bulb), func(a otasvc.Answer) {
			if a.Status.Final() {
				n++
			}
		})
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if n != 1 {
			t.Errorf("interview: %d final answers after 2 days", n)
		}
		if u := w.sink.device(bulb).Upgrade; u == nil || !u.State.Ended() {
			t.Errorf("upgrade after 2 days: %+v", u)
		}
	})
}

// hold with page requests.
func TestInstallationIsHeldForPages(t *testing.T) {
	for name, fw := range map[string]sim.Firmware{"v1": sim.V1323, "v2": sim.V2324} {
		t.Run(name, func(t *testing.T) {
			cfg := bulbConfig(bulb)
			cfg.PageRequests, cfg.PageSize = true, 1024
			inWorld(t, sim.Config{Firmware: fw, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				w.met(bulb)
				url, _ := w.image(0x117C, 0x2201, 2, 10_000)
				w.add(bulb, url)
				w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Install: upgrade.InstallHold})
				// On v2 it cannot be held: better not at all than at the wrong time.
				want := map[string]upgrade.State{"v1": upgrade.Downloaded, "v2": upgrade.Cancelled}[name]
				w.within(20*time.Minute, "it is downloaded or given up", func() bool { return w.stateOf(bulb) == want })
				time.Sleep(10 * time.Minute)
				if d := w.sim.Device(bulb).Snapshot(); d.FileVersion != 1 {
					t.Errorf("not held: version %d, %s", d.FileVersion, w.stateOf(bulb))
				}
			})
		})
	}
}

// unsolicited serve gives a device the version that it runs, or an older one.
func TestUnsolicitedGetsNothingOlder(t *testing.T) {
	newer := bulbConfig(bulb2)
	newer.FileVersion = 3
	inWorld(t, sim.Config{Firmware: sim.V2324, Devices: []sim.DeviceConfig{bulbConfig(bulb), newer}}, func(w *world) {
		w.policy.ServeUnsolicited = true
		w.restart()
		w.met(bulb2)
		upgraded(w, 30_000)
		w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 1000 })
		w.sim.Device(bulb2).Query()
		time.Sleep(30 * time.Minute)
		if d := w.sim.Device(bulb2).Snapshot(); d.FileVersion != 3 || d.BlocksReceived != 0 {
			t.Errorf("it ran 3 and now runs %d, having got %d blocks", d.FileVersion, d.BlocksReceived)
		}
	})
}

// identity learnt from a garbled page request.
func TestPageRequestTellsNoIdentity(t *testing.T) {
	other := bulbConfig(bulb2)
	other.PageRequests = true
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb), other}}, func(w *world) {
		w.met(bulb2)
		upgraded(w, 30_000)
		w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 1000 })
		w.sim.Device(bulb2).Query()
		time.Sleep(time.Minute)
		d := w.sink.device(bulb2)
		if *d.ManufacturerCode != 0x117C || *d.ImageType != 0x2201 {
			t.Errorf("bulb2 is said to be 0x%04x/0x%04x", *d.ManufacturerCode, *d.ImageType)
		}
	})
}

// the upgrade end request is lost on the line.
func TestLostUpgradeEnd(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.losing(func(m message.Message) bool { _, ok := m.(message.UpgradeEndRequest); return ok })
		upgraded(w, 10_000)
		u := w.ended(24*time.Hour, bulb)
		if u.State != upgrade.Succeeded {
			t.Errorf("it runs version %d, and the upgrade ended %s, %s, attempt %d", w.sim.Device(bulb).Snapshot().FileVersion, u.State, u.Reason, u.Attempt)
		}
	})
}

// progress of a second attempt.
func TestProgressOfTheSecondAttempt(t *testing.T) {
	cfg := bulbConfig(bulb)
	cfg.AbortAt, cfg.FailFirst = 6000, 1
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		upgraded(w, 12_000)
		w.ended(time.Hour, bulb)
		last := map[int]uint32{}
		for _, r := range w.sink.history[bulb] {
			if r.Upgrade == nil {
				continue
			}
			if r.Upgrade.Offset < last[r.Upgrade.Attempt] {
				t.Errorf("attempt %d, %s: offset %d after %d", r.Upgrade.Attempt, r.Upgrade.State, r.Upgrade.Offset, last[r.Upgrade.Attempt])
			}
			last[r.Upgrade.Attempt] = r.Upgrade.Offset
		}
	})
}

// resume while a held device is being told to wait for another image's turn.
func TestResumeDuringATurnover(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb), plugConfig()}}, func(w *world) {
		w.policy.Slice = 2 * time.Minute
		w.restart()
		bulbURL, _ := w.image(0x117C, 0x2201, 2, 200_000)
		plugURL, _ := w.image(0x100B, 0x0112, 11, 200_000)
		for e, url := range map[message.IEEE]string{bulb: bulbURL, plug: plugURL} {
			w.met(e)
			w.add(e, url)
		}
		start := time.Now()
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		w.queue(otasvc.UpgradeRequest{Device: ref(plug)})
		time.Sleep(time.Until(start.Add(10 * time.Second)))
		w.ask(func(r otasvc.Respond) { w.service.Pause(ref(bulb), 0, r) })
		time.Sleep(time.Until(start.Add(124 * time.Second)))
		w.ask(func(r otasvc.Respond) { w.service.Resume(ref(bulb), r) })
		time.Sleep(10 * time.Minute)
		if n := w.sim.Stats().BlocksRefused(); n != 0 {
			t.Errorf("the dongle refused %d blocks", n)
		}
	})
}

// node address leftovers on v2.
func TestPageRequestNamesNoNode(t *testing.T) {
	pages, node := bulbConfig(bulb), bulbConfig(bulb2)
	pages.PageRequests = true
	node.NodeAddressInRequests = true
	inWorld(t, sim.Config{Firmware: sim.V2324, Devices: []sim.DeviceConfig{pages, node}}, func(w *world) {
		w.met(bulb)
		w.met(bulb2)
		a1, a2 := *w.sink.device(bulb).NetworkAddress, *w.sink.device(bulb2).NetworkAddress
		url, data := w.image(0x117C, 0x2201, 2, 30_000)
		for _, e := range []message.IEEE{bulb, bulb2} {
			w.add(e, url)
			w.queue(otasvc.UpgradeRequest{Device: ref(e)})
		}
		for _, e := range []message.IEEE{bulb, bulb2} {
			u := w.ended(3*time.Hour, e)
			if u.State != upgrade.Succeeded || u.Attempt != 1 {
				t.Errorf("%v ended %+v", e, u)
			}
			w.holds(e, 2, data)
		}
		n := 0
		for _, r := range w.sink.history[bulb] {
			if r.NetworkAddress == nil || *r.NetworkAddress != a1 {
				n++
			}
		}
		for _, r := range w.sink.history[bulb2] {
			if r.NetworkAddress == nil || *r.NetworkAddress != a2 {
				n++
			}
		}
		if n > 0 {
			t.Errorf("%d records have a wrong network address", n)
		}
	})
}

// apply now for a held image, when: later
func TestHeldDeviceTakesOnlyTheWordToInstall(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.met(bulb)
		url, _ := w.image(0x117C, 0x2201, 2, 10_000)
		w.add(bulb, url)
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Install: upgrade.InstallHold})
		w.within(10*time.Minute, "it is downloaded", func() bool { return w.stateOf(bulb) == upgrade.Downloaded })
		v := uint32(77)
		a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb), At: time.Now().Add(5 * time.Hour), ImageVersion: &v})
		time.Sleep(10 * time.Minute)
		if d := w.sim.Device(bulb).Snapshot(); d.FileVersion != 1 {
			t.Errorf("asked for version 77 in 5 hours: installed version %d at once (%s)", d.FileVersion, a.Status)
		}
		if a.Status != otasvc.Failure || a.Reason != upgrade.ReasonAlreadyQueued {
			t.Errorf("%+v", a)
		}
	})
}

// a frame sent by hand whose status is on its way when the service stops.
func TestFrameByHandAtAStop(t *testing.T) {
	inWorld(t, sim.Config{LineRate: 11520, Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.met(bulb)
		url, _ := w.image(0x117C, 0x2201, 2, 3000)
		w.add(bulb, url)
		time.Sleep(10 * time.Second)
		finals := 0
		w.service.ImageNotify(otasvc.ImageNotify{Device: ref(bulb)}, func(a otasvc.Answer) {
			if a.Status.Final() {
				finals++
			}
		})
		time.Sleep(time.Millisecond)
		w.stopService()
		time.Sleep(time.Hour)
		if finals != 1 {
			t.Errorf("%d final answers", finals)
		}
		w.start()
	})
}

// add_image with upgrade, again, after the device called the image invalid.
func TestAddedAgainButCalledInvalid(t *testing.T) {
	cfg := bulbConfig(bulb)
	cfg.InvalidAtEnd = true
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		w.met(bulb)
		url, _ := w.image(0x117C, 0x2201, 2, 5_000)
		for range 3 {
			w.ask(func(r otasvc.Respond) {
				w.service.AddImage(otasvc.AddImage{Device: ref(bulb), URL: url, Upgrade: true}, r)
			})
			time.Sleep(20 * time.Minute)
		}
		if n := w.sim.Device(bulb).Snapshot().Sessions; n != 1 {
			t.Errorf("the device downloaded the image that it calls invalid %d times", n)
		}
	})
}

// a request that comes when the service has stopped and the MQTT client has not.
func TestRequestAfterAStop(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.met(bulb)
		w.stopService()
		finals := 0
		w.service.ServiceStatus(nil, func(a otasvc.Answer) { finals++ })
		time.Sleep(time.Hour)
		if finals != 1 {
			t.Errorf("%d final answers", finals)
		}
		w.start()
	})
}

// held devices of one image with others of the same downloading.
func TestHeldImageIsNotOfferedToOthers(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(bulb2)}}, func(w *world) {
		w.met(bulb)
		w.met(bulb2)
		url, _ := w.image(0x117C, 0x2201, 2, 300_000)
		w.add(bulb, url)
		w.add(bulb2, url)
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Install: upgrade.InstallHold})
		w.within(30*time.Minute, "it is downloaded", func() bool { return w.stateOf(bulb) == upgrade.Downloaded })
		a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb2)})
		if a.Status != otasvc.InProgress || a.Error == "" {
			t.Errorf("the user is not told that it waits: %+v", a)
		}
		time.Sleep(3 * time.Hour)
		if d := w.sim.Device(bulb).Snapshot(); d.FileVersion != 1 {
			t.Errorf("not held: version %d, %s", d.FileVersion, w.stateOf(bulb))
		}
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		for _, e := range []message.IEEE{bulb, bulb2} {
			if u := w.ended(3*time.Hour, e); u.State != upgrade.Succeeded {
				t.Errorf("%v ended %+v", e, u)
			}
		}
	})
}

// TestAnnouncedWithoutEnd: however many devices are announced that there are not, no more are kept than a network has; what
// is known stays, and so does a device that something was registered for.
func TestAnnouncedWithoutEnd(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.met(bulb)
		const wanted, first, many = message.IEEE(0x5000_0000_0000_0001), message.IEEE(0x5000_0000_0000_0002), 1100
		announce := func(euid message.IEEE, addr uint16) {
			w.service.HandleMessage(message.DeviceAnnounce{Addr: addr, IEEE: euid, Capability: message.CapabilityRxOnWhenIdle}, 100)
		}
		announce(wanted, 0x2000)
		synctest.Wait()
		w.service.Rename(ref(wanted), "Hall lamp", func(otasvc.Answer) {})
		for i := range many {
			announce(first+message.IEEE(i), 0x2001+uint16(i))
			if i%100 == 0 {
				time.Sleep(time.Second)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		known := func(euid message.IEEE) bool {
			defer w.sink.lock()()
			_, ok := w.sink.devices[euid]
			return ok
		}
		unlock := w.sink.lock()
		n := len(w.sink.devices)
		unlock()
		if n > 1024+3 {
			t.Errorf("%d devices are kept", n)
		}
		for euid, want := range map[message.IEEE]bool{bulb: true, wanted: true, first: false, first + many - 1: true} {
			if known(euid) != want {
				t.Errorf("%v is known: %v", euid, !want)
			}
		}
	})
}
