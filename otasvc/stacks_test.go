package otasvc_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// stackScenarios are played with a device of each stack.
var stackScenarios = []scenario{
	{name: "nothing happens"},
	{name: "a reset of the dongle", meanwhile: func(s *scene) { s.w.sim.Reset() }},
	{name: "a reset that nobody tells of", meanwhile: func(s *scene) { s.w.sim.SilentReset() }},
	{name: "the cable is pulled out for 15 seconds", meanwhile: func(s *scene) { s.w.unplug(); s.wait(15 * time.Second); s.w.plug() }},
	{name: "the cable is pulled out for ten minutes", meanwhile: func(s *scene) { s.w.unplug(); s.wait(10 * time.Minute); s.w.plug() }},
	{name: "a reset that nobody tells of, just before the end", meanwhile: func(s *scene) {
		s.nearEnd()
		s.w.sim.SilentReset()
	}},
	{name: "the service is started again", meanwhile: func(s *scene) { s.w.restart() }},
	{name: "the service is killed", meanwhile: func(s *scene) { s.w.crash(10 * time.Second) }},
	{name: "the last block is lost", meanwhile: func(s *scene) { s.loseLast() }},
	{name: "the device has no power for a minute", meanwhile: func(s *scene) {
		s.w.sim.Device(bulb).PowerOff()
		s.wait(time.Minute)
		s.w.sim.Device(bulb).PowerOn()
	}},
	{name: "paused for ten minutes", meanwhile: func(s *scene) {
		s.w.service.Pause(ref(bulb), 10*time.Minute, func(otasvc.Answer) {})
	}},
	{
		name: "3 percent of frames lost", faults: sim.Faults{LoseFromDongle: 0.03, LoseToDongle: 0.03, LoseAir: 0.03},
		// One answer that is lost sets it back to the start.
		without: map[sim.Stack]upgrade.Reason{sim.EspressifV2: upgrade.ReasonStalled},
	},
}

func TestStackScenarios(t *testing.T) {
	for _, stack := range sim.Stacks() {
		for _, sc := range stackScenarios {
			t.Run(stack.String()+"/"+sc.name, func(t *testing.T) {
				t.Parallel()
				sc.device = func(d *sim.DeviceConfig) { takesStack(d, stack) }
				cfg, seen := sc.config(1)
				inWorld(t, cfg, func(w *world) {
					if reason, known := sc.without[stack]; known {
						sc.playInVain(w, reason)
						return
					}
					sc.play(w, seen, 12*24*time.Hour)
				})
			})
		}
	}
}

// A device of each stack keeps its image for an hour and a half, and installs it when it is released.
func TestStackHolds(t *testing.T) {
	for _, stack := range sim.Stacks() {
		t.Run(stack.String(), func(t *testing.T) {
			t.Parallel()
			cfg := bulbConfig(bulb)
			takesStack(&cfg, stack)
			inWorld(t, sim.Config{Speed: 1, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				w.met(bulb)
				url, data := w.image(0x117C, 0x2201, 2, scenarioSize)
				w.add(bulb, url)
				w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Install: upgrade.InstallHold})
				w.within(10*time.Minute, "it is downloaded", func() bool {
					u := w.sink.device(bulb).Upgrade
					return u != nil && u.State == upgrade.Downloaded
				})
				time.Sleep(90 * time.Minute)
				if v := w.sim.Device(bulb).Snapshot().FileVersion; v != 1 {
					t.Errorf("it runs version %d", v)
				}
				w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
				if u := w.ended(5*time.Minute, bulb); u.State != upgrade.Succeeded {
					t.Errorf("ended %s, reason %q", u.State, u.Reason)
				}
				w.holds(bulb, 2, data)
			})
		})
	}
}

// TestStackHoldsForLong: a device of each stack keeps its image for more than a day and asks each hour, but for those
// of Telink and of Texas Instruments. That they will not is told when it is asked for, and in the record.
func TestStackHoldsForLong(t *testing.T) {
	plain := bytes.Repeat([]byte{0x5A, 1}, scenarioSize/2)
	own := map[sim.Stack][]byte{sim.Telink: telinkFirmware(scenarioSize, 0), sim.TI: oadFirmware(scenarioSize)}
	for _, stack := range sim.Stacks() {
		for name, install := range map[string]func(*otasvc.UpgradeRequest){
			"until it is released": func(r *otasvc.UpgradeRequest) { r.Install = upgrade.InstallHold },
			"until a time": func(r *otasvc.UpgradeRequest) {
				r.Install = upgrade.InstallAt
				r.InstallAt = time.Now().Add(26 * time.Hour)
			},
		} {
			t.Run(stack.String()+"/"+name, func(t *testing.T) {
				t.Parallel()
				cfg := bulbConfig(bulb)
				takesStack(&cfg, stack)
				inWorld(t, sim.Config{Speed: 1, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
					w.met(bulb)
					firmware, limited := own[stack]
					if !limited {
						firmware = plain
					}
					data := otafile.Build(
						otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 2}, firmware)
					w.add(bulb, w.file("held.ota", data))
					req := otasvc.UpgradeRequest{Device: ref(bulb)}
					install(&req)
					says := "installs the image by itself"
					if a := w.queue(req); strings.Contains(a.Error, says) != limited {
						t.Errorf("the answer says %q", a.Error)
					}
					w.within(20*time.Minute, "it is downloaded", func() bool {
						return w.stateOf(bulb) == upgrade.Downloaded
					})
					if told := w.upgradeOf(bulb).Error; strings.Contains(told, says) != limited {
						t.Errorf("the record says %q", told)
					}

					time.Sleep(4 * time.Hour)
					w.restart()
					time.Sleep(20 * time.Hour)
					installed := w.sim.Device(bulb).Snapshot().FileVersion == 2
					if installed != limited {
						t.Errorf("after a day it has installed: %t", installed)
					}
					if req.Install == upgrade.InstallHold && !limited {
						w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
					}
					if u := w.ended(3*time.Hour, bulb); u.State != upgrade.Succeeded || u.Error != "" {
						t.Errorf("ended %s, reason %q: %s", u.State, u.Reason, u.Error)
					}
					w.holds(bulb, 2, data)
				})
			})
		}
	}
}

// telinkFirmware is about so many bytes with the marks of firmware for Telink's chips; mark tells two of them apart.
func telinkFirmware(size int, mark byte) []byte {
	firmware := make([]byte, size)
	copy(firmware[8:], "KNLT")
	binary.LittleEndian.PutUint32(firmware[0x18:], uint32(len(firmware)+4))
	firmware[100] = mark
	return binary.LittleEndian.AppendUint32(firmware, ^crc32.ChecksumIEEE(firmware))
}

// oadFirmware is so many bytes with the header of firmware for the chips of Texas Instruments.
func oadFirmware(size int) []byte {
	const checkAt, checkedFrom, versionAt, sizeAt, programAt = 8, 12, 13, 24, 28
	firmware := make([]byte, size)
	copy(firmware, "CC26x2R1")
	firmware[versionAt] = 1
	binary.LittleEndian.PutUint32(firmware[sizeAt:], uint32(len(firmware)))
	binary.LittleEndian.PutUint32(firmware[programAt:], 44)
	binary.LittleEndian.PutUint32(firmware[checkAt:], crc32.ChecksumIEEE(firmware[checkedFrom:]))
	return firmware
}

// A device of each stack downloads beside one of another maker. Neither may be disturbed by the other's image.
func TestStackBesideAnother(t *testing.T) {
	for _, stack := range sim.Stacks() {
		t.Run(stack.String(), func(t *testing.T) {
			t.Parallel()
			cfg := bulbConfig(bulb)
			takesStack(&cfg, stack)
			inWorld(t, sim.Config{Speed: 1, Devices: []sim.DeviceConfig{cfg, plugConfig()}}, func(w *world) {
				w.met(bulb)
				w.met(plug)
				url, data := w.image(0x117C, 0x2201, 2, 100_000)
				other, otherData := w.image(0x100B, 0x0112, 11, 50_000)
				w.add(bulb, url)
				w.add(plug, other)
				w.accepted(bulb, "")
				w.within(10*time.Minute, "the bulb downloads", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 1000 })
				w.accepted(plug, "")
				for _, e := range []message.IEEE{bulb, plug} {
					if u := w.ended(2*time.Hour, e); u.State != upgrade.Succeeded {
						t.Errorf("%v ended %s, reason %q", e, u.State, u.Reason)
					}
				}
				w.holds(bulb, 2, data)
				w.holds(plug, 11, otherData)
				if n := w.sim.Device(bulb).Snapshot().Sessions; n != 1 {
					t.Errorf("the bulb has begun %d times", n)
				}
			})
		})
	}
}

// takesStack gives a device the OTA client of a stack, as its makers deliver it.
func takesStack(d *sim.DeviceConfig, stack sim.Stack) {
	d.Stack = stack
	d.MaxDataSize = 0
	d.RetryInterval = 0
	d.Retries = 0
}

// A device of each stack that is slow gives way to a quick one of another image, and goes on where it was when its
// wait is over.
func TestStackGivesWay(t *testing.T) {
	for _, stack := range sim.Stacks() {
		t.Run(stack.String(), func(t *testing.T) {
			t.Parallel()
			cfg := bulbConfig(bulb)
			takesStack(&cfg, stack)
			cfg.BlockInterval = 6 * time.Second
			inWorld(t, sim.Config{Speed: 1, Devices: []sim.DeviceConfig{cfg, plugConfig()}}, func(w *world) {
				w.met(bulb)
				w.met(plug)
				url, data := w.image(0x117C, 0x2201, 2, 80_000) // two hours, and more
				other, otherData := w.image(0x100B, 0x0112, 11, 50_000)
				w.add(bulb, url)
				w.add(plug, other)
				w.accepted(bulb, "")
				w.within(30*time.Minute, "the bulb downloads", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 4000 })
				begun := time.Now()
				w.accepted(plug, "")
				u := w.ended(2*time.Hour, plug)
				if u.State != upgrade.Succeeded || time.Since(begun) > 30*time.Minute {
					t.Errorf("the plug ended %s, reason %q, after %v", u.State, u.Reason, time.Since(begun))
				}
				if s := w.sim.Device(bulb).Snapshot(); s.FileVersion != 1 {
					t.Error("the bulb did not give way")
				}
				if u := w.ended(24*time.Hour, bulb); u.State != upgrade.Succeeded || u.Attempt != 1 {
					t.Errorf("the bulb ended %s, reason %q, attempt %d", u.State, u.Reason, u.Attempt)
				}
				w.holds(bulb, 2, data)
				w.holds(plug, 11, otherData)
				if n := w.sim.Device(bulb).Snapshot().Sessions; n != 1 {
					t.Errorf("the bulb has begun %d times", n)
				}
			})
		})
	}
}

// A home with two devices of each stack, each stack with an image of its own. None begins twice.
func TestHomeOfAllStacks(t *testing.T) {
	t.Parallel()
	var devices []sim.DeviceConfig
	for i, stack := range append(sim.Stacks(), sim.Stacks()...) {
		d := bulbConfig(bulb + message.IEEE(i))
		takesStack(&d, stack)
		d.ImageType = 0x2200 + uint16(stack)
		devices = append(devices, d)
	}
	inWorld(t, sim.Config{Speed: 1, Devices: devices}, func(w *world) {
		images := map[uint16][]byte{}
		for _, d := range devices {
			w.met(d.IEEE)
			var url string
			url, images[d.ImageType] = w.image(0x117C, d.ImageType, 2, 30_000)
			w.add(d.IEEE, url)
		}
		for _, d := range devices {
			w.accepted(d.IEEE, "")
		}
		for _, d := range devices {
			if u := w.ended(24*time.Hour, d.IEEE); u.State != upgrade.Succeeded {
				t.Errorf("%v ended %s, reason %q, attempt %d", d.Stack, u.State, u.Reason, u.Attempt)
			}
			w.holds(d.IEEE, 2, images[d.ImageType])
			if n := w.sim.Device(d.IEEE).Snapshot().Sessions; n != 1 {
				t.Errorf("%v has begun %d times", d.Stack, n)
			}
		}
	})
}
