package otasvc_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// secondType is the image type of the bulb's second processor.
const secondType uint16 = 0x2202

// onSecondEndpoint gives a bulb a second OTA client on another endpoint; onSameEndpoint has its one endpoint ask
// for a second image type, that of a processor which is upgraded through it.
func onSecondEndpoint(d *sim.DeviceConfig) {
	d.OtherClients = []sim.ClientConfig{{Endpoint: 2, ImageType: secondType, FileVersion: 5}}
}

func onSameEndpoint(d *sim.DeviceConfig) {
	d.OtherClients = []sim.ClientConfig{{ImageType: secondType, FileVersion: 5}}
}

// other is what is told of a device's second image.
func other(d otasvc.DeviceRecord) (o otasvc.OtherImage, known bool) {
	if len(d.OtherImages) != 1 {
		return otasvc.OtherImage{}, false
	}
	return d.OtherImages[0], true
}

// holdsOther checks that a device's second processor has installed exactly these bytes.
func (w *world) holdsOther(e message.IEEE, version uint32, data []byte) {
	w.t.Helper()
	o := w.sim.Device(e).OtherClients()[0]
	if o.FileVersion != version || !bytes.Equal(o.Installed, data) {
		w.t.Errorf("the second image of %v: version 0x%08x, %d bytes installed; want 0x%08x with exactly the image's %d bytes",
			e, o.FileVersion, len(o.Installed), version, len(data))
	}
}

// apart watches that what is told of a device's two images stays that of each: no version of the one ever
// stands at the other.
func (w *world) apart(e message.IEEE, main, second []uint32) {
	w.sink.watchDevices(func(d otasvc.DeviceRecord) {
		if d.EUID != e {
			return
		}
		among := func(v *uint32, of []uint32) bool {
			for _, known := range of {
				if v == nil || *v == known {
					return true
				}
			}
			return false
		}
		if d.ImageType == nil || *d.ImageType != 0x2201 || !among(d.CurrentVersion, main) {
			w.t.Errorf("told of the main image: %+v", d)
		}
		if o, known := other(d); !known || o.ImageType != secondType || !among(o.CurrentVersion, second) {
			w.t.Errorf("told of the other image: %+v", d.OtherImages)
		}
	})
}

// knowsBoth waits until both images of a bulb are known. A second type at the same endpoint is told by its
// query alone.
func (w *world) knowsBoth(e message.IEEE) {
	w.t.Helper()
	w.met(e)
	w.within(10*time.Minute, "both images are known", func() bool {
		o, known := other(w.sink.device(e))
		if !known && w.sink.info.Dongle.Connected {
			w.sim.Device(e).Query() // as it does now and then
		}
		return known && o.CurrentVersion != nil
	})
}

// both registers a newer image for each of a bulb's two types.
func (w *world) both(e message.IEEE) (main, second []byte) {
	w.t.Helper()
	url, main := w.image(0x117C, 0x2201, 2, 12_000)
	w.add(e, url)
	url, second = w.image(0x117C, secondType, 6, 9_000)
	w.add(e, url)
	return main, second
}

// shownImages is what a device's record says of its two images: versions, and whether there is a newer one.
func shownImages(d otasvc.DeviceRecord) string {
	version := func(v *uint32) string {
		if v == nil {
			return "?"
		}
		return fmt.Sprint(*v)
	}
	text := fmt.Sprintf("main %s %v", version(d.CurrentVersion), d.UpdateAvailable)
	for _, o := range d.OtherImages {
		text += fmt.Sprintf(", 0x%04x at %d: %s %v", o.ImageType, o.Endpoint, version(o.CurrentVersion), o.UpdateAvailable)
	}
	return text
}

// upgradesBoth upgrades both images of a bulb, each by name.
func upgradesBoth(w *world, endpoint uint8) {
	w.knowsBoth(bulb)
	w.apart(bulb, []uint32{1, 2}, []uint32{5, 6})
	main, second := w.both(bulb)
	w.within(time.Minute, "updates of both are told", func() bool {
		want := fmt.Sprintf("main 1 true, 0x2202 at %d: 5 true", endpoint)
		return shownImages(w.sink.device(bulb)) == want
	})

	a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb), ImageType: ptr(secondType), Ticket: upgrade.Ticket(`"second"`)})
	if a.Status != otasvc.InProgress || *a.Operation.ImageType != secondType || *a.Operation.OldImageVersion != 5 {
		w.t.Fatalf("upgrade of the second: %+v %+v", a, a.Operation)
	}
	if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb)}); a.Reason != upgrade.ReasonAlreadyQueued {
		w.t.Errorf("a second upgrade at the same time: %+v", a)
	}
	u := w.ended(time.Hour, bulb)
	if u.State != upgrade.Succeeded || *u.ImageType != secondType || *u.ImageVersion != 6 || *u.OldImageVersion != 5 {
		w.t.Fatalf("the second ended %+v", u)
	}
	w.holdsOther(bulb, 6, second)
	want := fmt.Sprintf("main 1 true, 0x2202 at %d: 6 false", endpoint)
	if got := shownImages(w.sink.device(bulb)); got != want {
		w.t.Errorf("after the second: %s, want %s", got, want)
	}
	w.within(time.Minute, "the final answer", func() bool { return len(w.sink.final("second")) == 1 })
	if a := w.sink.final("second")[0]; a.Status != otasvc.Success || *a.Operation.ImageType != secondType {
		w.t.Errorf("the answer: %+v", a)
	}

	if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb)}); a.Status != otasvc.InProgress {
		w.t.Fatalf("upgrade of the main one: %+v", a)
	}
	w.within(time.Hour, "the main one ends", func() bool {
		u := w.sink.device(bulb).Upgrade
		return u.ImageType == nil && u.State.Ended()
	})
	if u := w.sink.device(bulb).Upgrade; u.State != upgrade.Succeeded || *u.ImageVersion != 2 {
		w.t.Fatalf("the main one ended %+v", u)
	}
	w.holds(bulb, 2, main)
	w.holdsOther(bulb, 6, second)

	for range 5 { // whatever asks, the other is as it was
		w.sim.Device(bulb).Query()
		time.Sleep(10 * time.Second)
	}
	want = fmt.Sprintf("main 2 false, 0x2202 at %d: 6 false", endpoint)
	if got := shownImages(w.sink.device(bulb)); got != want {
		w.t.Errorf("in the end: %s, want %s", got, want)
	}
	history := w.sink.device(bulb).History
	if len(history) != 2 || history[0].Kind != nil || history[1].Kind == nil || history[1].Kind.ImageType != secondType {
		w.t.Errorf("history: %+v", history)
	}
}

// A device with two OTA clients, or two image types, gets both upgraded, each by its image type. What is told
// of the one is never told of the other.
func TestBothImagesOfADevice(t *testing.T) {
	for _, firmware := range []sim.Firmware{sim.V131C, sim.V1323, sim.V2324} {
		for name, at := range map[string]struct {
			device   func(*sim.DeviceConfig)
			endpoint uint8
		}{"two endpoints": {onSecondEndpoint, 2}, "two types": {onSameEndpoint, 1}} {
			t.Run(name+" "+firmware.String(), func(t *testing.T) {
				cfg := bulbConfig(bulb)
				at.device(&cfg)
				inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
					upgradesBoth(w, at.endpoint)
				})
			})
		}
	}
}

// Where no queries are watched, nobody knows of a second type at the same endpoint. A person who does can name
// it; the device then proves it. What the main one runs says nothing of it.
func TestSecondTypeByName(t *testing.T) {
	for _, firmware := range []sim.Firmware{sim.V131C, sim.V1323, sim.V2324} {
		for name, watch := range map[string]otasvc.QueryWatch{"unwatched": otasvc.WatchNever, "watched": otasvc.WatchIdle} {
			t.Run(name+" "+firmware.String(), func(t *testing.T) { secondTypeByName(t, firmware, watch) })
		}
	}
}

// secondTypeByName is TestSecondTypeByName with one firmware.
func secondTypeByName(t *testing.T, firmware sim.Firmware, watch otasvc.QueryWatch) {
	cfg := bulbConfig(bulb)
	onSameEndpoint(&cfg)
	inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		w.met(bulb)
		w.policy.QueryWatch = watch
		w.restart()
		w.met(bulb)
		url, main := w.image(0x117C, 0x2201, 2, 12_000)
		w.add(bulb, url)
		url, second := w.image(0x117C, secondType, 6, 9_000)

		a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb), URL: url})
		if a.Status != otasvc.Failure || a.Reason != upgrade.ReasonImageValidationFailed {
			t.Errorf("an image of another type, not named: %+v", a)
		}
		a = w.queue(otasvc.UpgradeRequest{Device: ref(bulb), URL: url, ImageType: ptr(uint16(0x2203))})
		if a.Status != otasvc.Failure || a.Reason != upgrade.ReasonImageValidationFailed {
			t.Errorf("another type is named than the image's: %+v", a)
		}
		a = w.queue(otasvc.UpgradeRequest{Device: ref(bulb), ImageType: ptr(secondType)})
		if a.Status != otasvc.Failure || a.Reason != upgrade.ReasonImageInfoNotFound {
			t.Errorf("no image of the type: %+v", a)
		}
		a = w.queue(otasvc.UpgradeRequest{Device: ref(bulb), URL: url, ImageType: ptr(secondType)})
		if a.Status != otasvc.InProgress {
			t.Fatalf("upgrade: %+v", a)
		}
		w.within(time.Hour, "it has the second image", func() bool {
			return w.sim.Device(bulb).OtherClients()[0].Installs == 1
		})
		w.holdsOther(bulb, 6, second)
		u := w.ended(2*time.Hour, bulb)
		if u.OldImageVersion != nil && *u.OldImageVersion != 5 {
			t.Errorf("the second one ran %d before", *u.OldImageVersion)
		}
		if watch == otasvc.WatchIdle && u.State != upgrade.Succeeded {
			t.Errorf("ended %+v", u)
		}
		if o, known := other(w.sink.device(bulb)); !known || o.ImageType != secondType || o.Endpoint == 0 {
			t.Errorf("told: %+v", w.sink.device(bulb).OtherImages)
		}
		if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb)}); a.Status != otasvc.InProgress {
			t.Fatalf("upgrade of the main one: %+v", a)
		}
		w.within(time.Hour, "it has the main one", func() bool { return w.sim.Device(bulb).Snapshot().Installs == 1 })
		w.holds(bulb, 2, main)
	})
}

// A coprocessor whose image the device asks for only once it has its first one is met then, and is another
// image, although the first one's type was not told since its upgrade.
func TestSecondTypeAfterTheFirst(t *testing.T) {
	for _, firmware := range []sim.Firmware{sim.V131C, sim.V1323, sim.V2324} {
		t.Run(firmware.String(), func(t *testing.T) {
			cfg := bulbConfig(bulb)
			onSameEndpoint(&cfg)
			cfg.OtherClients[0].AfterFirst = true
			cfg.UnsupportedAttributes = []uint16{
				message.AttrOTAImageType, message.AttrOTAManufacturer, message.AttrOTAFileVersion,
			}
			inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				known := func() string {
					w.sim.Device(bulb).Query()
					time.Sleep(time.Second)
					return shownImages(w.sink.device(bulb))
				}
				w.within(10*time.Minute, "its own image is known", func() bool { return known() == "main 1 false" })
				main, second := w.both(bulb)
				w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
				if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
					t.Fatalf("the first ended %+v", u)
				}
				w.holds(bulb, 2, main)
				w.within(10*time.Minute, "the other is known", func() bool {
					return known() == "main 2 false, 0x2202 at 1: 5 true"
				})
				if a := w.group("all")(); a.Status != otasvc.Success || len(a.UpgradeResults) != 1 {
					t.Fatalf("all: %+v", a)
				}
				w.holdsOther(bulb, 6, second)
				if got := shownImages(w.sink.device(bulb)); got != "main 2 false, 0x2202 at 1: 6 false" {
					t.Error(got)
				}
			})
		})
	}
}

// An image that changes the type of its OTA client leaves no second one behind.
func TestTypeChangesWithTheImage(t *testing.T) {
	for name, tc := range map[string]struct {
		device func(*sim.DeviceConfig)
		others int
	}{"one client": {func(*sim.DeviceConfig) {}, 0}, "two clients": {onSecondEndpoint, 1}} {
		t.Run(name, func(t *testing.T) {
			cfg := bulbConfig(bulb)
			tc.device(&cfg)
			cfg.Becomes.ImageType = 0x2299
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				w.met(bulb)
				known := func() bool { return len(w.sink.device(bulb).OtherImages) == tc.others }
				w.within(time.Minute, "all is known", known)
				url, data := w.image(0x117C, 0x2201, 2, 12_000)
				w.add(bulb, url)
				w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
				if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
					t.Fatalf("ended %+v", u)
				}
				w.holds(bulb, 2, data)
				w.within(10*time.Minute, "the new type is told", func() bool {
					w.sim.Device(bulb).Query()
					return *w.sink.device(bulb).ImageType == 0x2299
				})
				d := w.sink.device(bulb)
				if !known() || *d.CurrentVersion != 2 || d.Upgrade.ImageType != nil || d.History[0].Kind != nil {
					t.Errorf("told: %+v", d)
				}
			})
		})
	}
}

// In a home behind a real TCP port both images of a device get there, by "all" and by name.
func TestBothImagesOverTCP(t *testing.T) {
	cfg := bulbConfig(bulb)
	onSecondEndpoint(&cfg)
	policy := defaultPolicy()
	policy.NotifyInterval = time.Second
	w := &world{t: t, dir: t.TempDir(), policy: policy, real: true, tcp: true}
	w.run(sim.Config{Speed: 50, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		w.knowsBoth(bulb)
		main, second := w.both(bulb)
		a := w.group("all")()
		if want := []string{"b2 succeeded", "b2 0x2202 succeeded"}; !slices.Equal(results(a), want) {
			t.Errorf("ended %v", results(a))
		}
		w.holds(bulb, 2, main)
		w.holdsOther(bulb, 6, second)
		url, third := w.image(0x117C, secondType, 7, 4_000)
		a = w.queue(otasvc.UpgradeRequest{Device: ref(bulb), URL: url, ImageType: ptr(secondType), Ticket: upgrade.Ticket(`"by name"`)})
		if a.Status != otasvc.InProgress {
			t.Fatalf("upgrade by name: %+v", a)
		}
		w.within(5*time.Minute, "the second one again", func() bool { return len(w.sink.final("by name")) == 1 })
		w.holdsOther(bulb, 7, third)
	})
}

// Whoever asks for an upgrade of a device that has nothing newer itself is told of its other images. A check of
// all reads the versions of these, too.
func TestOtherUpdatesAreTold(t *testing.T) {
	cfg := bulbConfig(bulb)
	onSecondEndpoint(&cfg)
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		w.knowsBoth(bulb)
		url, _ := w.image(0x117C, secondType, 6, 3_000)
		w.add(bulb, url)
		told := func(a otasvc.Answer) bool { return strings.Contains(a.Error, "give imageTypeId, one of 0x2202") }
		a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		if a.Reason != upgrade.ReasonImageInfoNotFound || !told(a) || strings.Contains(a.Error, "the device asks for others") {
			t.Errorf("without an image of its own: %+v", a)
		}
		url, _ = w.image(0x117C, 0x2201, 1, 3_000)
		w.add(bulb, url)
		if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb)}); a.Reason != upgrade.ReasonUpToDate || !told(a) {
			t.Errorf("with one that it runs: %+v", a)
		}
		info := w.ask(func(r otasvc.Respond) { w.service.ImageInfo(ref(bulb), ptr(secondType), r) })
		if !*info.UpdateAvailable || *info.Operation.ImageVersion != 6 || *info.Operation.OldImageVersion != 5 {
			t.Errorf("image_info: %+v", info)
		}

		var asked atomic.Int32
		w.losing(func(m message.Message) bool {
			at, ok := m.(message.Attribute)
			if ok && at.Endpoint == 2 && at.ID == message.AttrOTAFileVersion {
				asked.Add(1)
			}
			return false
		})
		all := w.ask(func(r otasvc.Respond) { w.service.CheckAll(r) })
		if asked.Load() != 1 || len(all.CheckResults) != 1 || !all.CheckResults[0].UpdateAvailable {
			t.Errorf("check of all: %+v; the other version was told %d times", all.CheckResults, asked.Load())
		}
		one := w.ask(func(r otasvc.Respond) { w.service.Check(ref(bulb), ptr(secondType), r) })
		if asked.Load() != 2 || !*one.UpdateAvailable {
			t.Errorf("check of the other: %+v", one)
		}
	})
}

// A device with OTA clients on two endpoints that tell nothing by attributes is asked at each of them, once.
func TestBothClientsAreAsked(t *testing.T) {
	cfg := quietConfig(bulb, 7)
	cfg.OtherClients = []sim.ClientConfig{{Endpoint: 2, ImageType: secondType, FileVersion: 5, HardwareVersion: ptr(uint16(9))}}
	inHomes(t, []sim.DeviceConfig{cfg}, func(w *world, air *notices) {
		want := "main 1 false, 0x2202 at 2: 5 false"
		w.within(90*time.Second, "both are known", func() bool {
			return w.hasSaid(cfg) && shownImages(w.sink.device(bulb)) == want
		})
		time.Sleep(10 * time.Minute)
		if list := air.take(); len(list) != 2 || list[0].endpoint != 1 || list[1].endpoint != 2 {
			w.t.Errorf("asked: %+v", list)
		}
		w.restart()
		time.Sleep(10 * time.Minute)
		// What it runs it tells by a query alone; the other one was known before.
		if list := air.take(); len(list) != 1 || list[0].endpoint != 1 || shownImages(w.sink.device(bulb)) != want {
			w.t.Errorf("asked after the restart: %+v; known: %s", list, shownImages(w.sink.device(bulb)))
		}
	})
}

// Two types at the same endpoint are both known by one notification.
func TestClientsAreAskedOnce(t *testing.T) {
	cfg := quietConfig(bulb, 7)
	onSameEndpoint(&cfg)
	cfg.OtherClients[0].HardwareVersion = ptr(uint16(9))
	inHomes(t, []sim.DeviceConfig{cfg}, func(w *world, air *notices) {
		w.within(90*time.Second, "both are known", func() bool {
			return w.hasSaid(cfg) && shownImages(w.sink.device(bulb)) == "main 1 false, 0x2202 at 1: 5 false"
		})
		time.Sleep(10 * time.Minute)
		if list := air.take(); len(list) != 1 {
			w.t.Errorf("asked: %+v", list)
		}
	})
}
