package otasvc_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// Of "all", each device shows that its image is being fetched, and begins when that is there. Two of one image share
// the fetch; whose image cannot be had fails alone; a restart in between changes nothing.
func TestAllShowsItsFetches(t *testing.T) {
	types := map[message.IEEE]uint16{bulb: 0x2201, bulb + 1: 0x2202, bulb + 2: 0x2202, bulb + 3: 0x2203, bulb + 4: 0x2204}
	images := map[uint16][]byte{}
	for _, imageType := range []uint16{0x2201, 0x2202, 0x2203, 0x2204} {
		images[imageType] = otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: imageType, FileVersion: 2}, make([]byte, 3_000))
	}
	images[0x2203] = nil // it is listed, and not there
	for _, firmware := range firmwares {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, killed: %v", firmware, killed), func(t *testing.T) {
				t.Parallel()
				web := newSlowWeb()
				dir, lib, catalog := webHome(t, web, images)
				var devices []sim.DeviceConfig
				for i := range message.IEEE(len(types)) {
					devices = append(devices, typed(bulb+i, types[bulb+i]))
				}
				synctest.Test(t, func(t *testing.T) {
					w := &world{t: t, dir: dir, policy: defaultPolicy(), library: lib, catalog: catalog}
					w.policy.Canary = true
					w.run(sim.Config{Firmware: firmware, Devices: devices, Speed: 1}, func(w *world) {
						for e := range types {
							w.within(4*time.Minute, "an update is known", func() bool { return w.sink.device(e).UpdateAvailable })
						}
						w.service.Upgrade(otasvc.UpgradeRequest{All: true, Ticket: upgrade.Ticket(`"all"`)}, func(otasvc.Answer) {})
						slow := w.fetching(bulb+4, 20)
						if u := w.fetching(bulb+2, 20); u.ImageVersion == nil || *u.ImageVersion != 2 || slow.Size == 0 {
							t.Errorf("%+v, %+v", u, slow)
						}
						if killed {
							w.crash(10 * time.Second)
							w.fetching(bulb+4, 1)
						}
						w.within(time.Hour, "the first one has begun", func() bool { return w.stateOf(bulb) == upgrade.Downloading })
						if u := w.upgradeOf(bulb + 4); u.State != upgrade.Fetching {
							t.Errorf("meanwhile the last one is %+v", u)
						}
						w.within(3*time.Hour, "all are answered", func() bool { return len(w.sink.final("all")) > 0 })
						time.Sleep(time.Minute)
						answers := w.sink.final("all")
						if len(answers) != 1 || answers[0].Status != otasvc.Failure || len(answers[0].UpgradeResults) != len(types) {
							t.Fatalf("answered %+v", answers)
						}
						for _, r := range answers[0].UpgradeResults {
							want := upgrade.Succeeded
							if types[r.EUID] == 0x2203 {
								want = upgrade.Failed
							} else {
								w.holds(r.EUID, 2, images[types[r.EUID]])
							}
							if r.State != want || want == upgrade.Failed && r.Reason != upgrade.ReasonImageAccessFailed || w.stateOf(r.EUID) != want {
								t.Errorf("%v: %+v", r.EUID, r)
							}
						}
						if asked, _ := web.counts("/2202.ota"); asked > 2 || !killed && asked != 1 {
							t.Errorf("two devices had their image fetched %d times", asked)
						}
					})
				})
			})
		}
	}
}

// goneCatalog is a catalog that lists nothing any more from some moment on.
type goneCatalog struct {
	otasvc.Catalog
	gone atomic.Bool
}

func (c *goneCatalog) Best(d library.Device) (library.Candidate, bool) {
	if c.gone.Load() {
		return library.Candidate{}, false
	}
	return c.Catalog.Best(d)
}

// What is not listed any more when its fetch is to go on after a restart has failed for that, and says so.
func TestNotListedAfterARestart(t *testing.T) {
	for name, all := range map[string]bool{"all": true, "one": false} {
		t.Run(name, func(t *testing.T) {
			web := newSlowWeb()
			dir, lib, listed := webHome(t, web, map[uint16][]byte{0x2201: bulbImage(2, 3_000)})
			catalog := &goneCatalog{Catalog: listed}
			synctest.Test(t, func(t *testing.T) {
				w := &world{t: t, dir: dir, policy: defaultPolicy(), library: lib, catalog: catalog}
				w.run(sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}, Speed: 1}, func(w *world) {
					w.within(4*time.Minute, "an update is known", func() bool { return w.sink.device(bulb).UpdateAvailable })
					w.asks(otasvc.UpgradeRequest{All: all, Device: ref(bulb), Ticket: upgrade.Ticket(`"x"`)})
					w.fetching(bulb, 20)
					catalog.gone.Store(true)
					w.crash(10 * time.Second)
					if u := w.ended(3*time.Minute, bulb); u.State != upgrade.Failed || u.Reason != upgrade.ReasonImageInfoNotFound || u.Error == "" {
						t.Errorf("%+v", u)
					}
					time.Sleep(time.Minute)
					if a := w.sink.final("x"); len(a) != 1 || a[0].Status != otasvc.Failure {
						t.Errorf("answered %+v", a)
					}
				})
			})
		})
	}
}

// "cancel all" ends all that are being fetched for "all".
func TestCancelAllWhileFetching(t *testing.T) {
	images := map[uint16][]byte{}
	var devices []sim.DeviceConfig
	for i := range uint16(6) {
		images[0x2201+i] = otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201 + i, FileVersion: 2}, make([]byte, 3_000))
		devices = append(devices, typed(bulb+message.IEEE(i), 0x2201+i))
	}
	web := newSlowWeb()
	dir, lib, catalog := webHome(t, web, images)
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir, policy: defaultPolicy(), library: lib, catalog: catalog}
		w.run(sim.Config{Devices: devices, Speed: 1}, func(w *world) {
			for _, d := range devices {
				w.within(4*time.Minute, "an update is known", func() bool { return w.sink.device(d.IEEE).UpdateAvailable })
			}
			w.service.Upgrade(otasvc.UpgradeRequest{All: true, Ticket: upgrade.Ticket(`"all"`)}, func(otasvc.Answer) {})
			w.fetching(bulb+3, 10)
			if a := w.ask(w.service.CancelAll); a.Status != otasvc.Success {
				t.Errorf("%+v", a)
			}
			time.Sleep(10 * time.Minute)
			answers := w.sink.final("all")
			if len(answers) != 1 || len(answers[0].UpgradeResults) != len(devices) {
				t.Fatalf("answered %+v", answers)
			}
			for _, r := range answers[0].UpgradeResults {
				if r.State != upgrade.Cancelled || r.Reason != upgrade.ReasonCancelled || w.stateOf(r.EUID) != upgrade.Cancelled {
					t.Errorf("%+v", r)
				}
			}
			// Four at a time: the others were never asked for.
			for i := range uint16(6) {
				if asked, givenUp := web.counts(fmt.Sprintf("/%x.ota", 0x2201+i)); i >= 4 && asked > 0 || givenUp != 4 {
					t.Errorf("%x: asked for %d times, in all %d given up", 0x2201+i, asked, givenUp)
				}
			}
		})
	})
}

// What is fetched before anybody asks for it shows nothing. Who asks for it meanwhile sees how far it is, and waits for
// the same fetch.
func TestPrefetchShowsNothing(t *testing.T) {
	web := newSlowWeb()
	data := bulbImage(2, 3_000)
	dir, lib, catalog := webHome(t, web, map[uint16][]byte{0x2201: data})
	web.put("/2201.ota", data, 10*time.Minute)
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir, policy: defaultPolicy(), library: lib, catalog: catalog}
		w.policy.Prefetch = true
		w.run(sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}, Speed: 1}, func(w *world) {
			w.within(10*time.Minute, "it is being fetched", func() bool { asked, _ := web.counts("/2201.ota"); return asked > 0 })
			time.Sleep(5 * time.Minute)
			for _, d := range w.sink.recordsOf(bulb) {
				if d.Upgrade != nil {
					t.Fatalf("the record shows %+v", d.Upgrade)
				}
			}
			w.asks(otasvc.UpgradeRequest{Device: ref(bulb), Ticket: upgrade.Ticket(`"x"`)})
			if u := w.fetching(bulb, 40); u.Size != uint32(len(data)) {
				t.Errorf("%+v", u)
			}
			if a := w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(bulb), r) }); a.Status != otasvc.Success {
				t.Errorf("%+v", a)
			}
			if u := w.ended(time.Minute, bulb); u.State != upgrade.Cancelled {
				t.Errorf("%+v", u)
			}
			w.asks(otasvc.UpgradeRequest{Device: ref(bulb), Ticket: upgrade.Ticket(`"y"`)})
			w.within(time.Hour, "the second one has succeeded", func() bool { return len(w.sink.final("y")) > 0 })
			w.holds(bulb, 2, data)
			if asked, givenUp := web.counts("/2201.ota"); asked != 1 || givenUp != 0 {
				t.Errorf("asked for %d times, given up %d times", asked, givenUp)
			}
		})
	})
}

// An image that is added to be installed at once shows its fetch as well. Who cancels that has the image, and no
// upgrade; what cannot be fetched is an upgrade that failed, besides the answer.
func TestAddedImageShowsItsFetch(t *testing.T) {
	for name, tt := range map[string]struct {
		data   []byte
		cancel bool
		status otasvc.Status
		state  upgrade.State
	}{
		"installed":  {bulbImage(2, 3_000), false, otasvc.Success, upgrade.Succeeded},
		"cancelled":  {bulbImage(2, 3_000), true, otasvc.Success, upgrade.Cancelled},
		"no image":   {[]byte(strings.Repeat("nothing", 100)), false, otasvc.ImageValidationFailed, upgrade.Failed},
		"up to date": {bulbImage(1, 3_000), false, otasvc.Success, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWebWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world, web *slowWeb) {
				w.met(bulb)
				url := web.put("/a.ota", tt.data, 30*time.Second)
				final := make(chan otasvc.Answer, 1)
				w.service.AddImage(otasvc.AddImage{Device: ref(bulb), URL: url, Upgrade: true}, func(a otasvc.Answer) {
					if a.Status.Final() {
						final <- a
					}
				})
				w.fetching(bulb, 30)
				if tt.cancel {
					if a := w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(bulb), r) }); a.Status != otasvc.Success {
						t.Errorf("%+v", a)
					}
				}
				if a := <-final; a.Status != tt.status {
					t.Errorf("answered %+v", a)
				}
				time.Sleep(time.Hour)
				if state := w.stateOf(bulb); state != tt.state {
					t.Errorf("the upgrade is %q: %+v", state, w.upgradeOf(bulb))
				}
				if asked, _ := web.counts("/a.ota"); asked != 1 {
					t.Errorf("fetched %d times", asked)
				}
			})
		})
	}
}

// Once an image was added, which is answered, the upgrade that was asked for with it is not lost with the process, while
// the device is asked who it is.
func TestAddedImageOutlivesTheProcess(t *testing.T) {
	ends := map[string]func(w *world){
		"it dies":             func(w *world) { w.crash(5 * time.Second) },
		"it is stopped clean": func(w *world) { w.restart() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			cfg := quietConfig(bulb, 3)
			cfg.SilentToNotify = true
			inWebWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world, web *slowWeb) {
				w.within(2*time.Minute, "it is there", func() bool { return w.sink.device(bulb).NetworkAddress != nil })
				time.Sleep(2 * time.Minute)
				data := bulbImage(2, 3_000)
				url := web.put("/a.ota", data, 10*time.Second)
				a := w.ask(func(r otasvc.Respond) {
					w.service.AddImage(otasvc.AddImage{Device: ref(bulb), URL: url, Upgrade: true}, r)
				})
				if a.Status != otasvc.Success {
					t.Fatalf("%+v", a)
				}
				time.Sleep(2 * time.Second)
				u := w.sink.device(bulb).Upgrade
				if u == nil || u.State != upgrade.Fetching || u.ImageVersion == nil || *u.ImageVersion != 2 {
					t.Fatalf("while it is asked who it is: %+v", u)
				}
				end(w)
				w.within(3*time.Minute, "the device is notified of the image", func() bool {
					return w.stateOf(bulb) == upgrade.Notified
				})
			})
		})
	}
}

// An upgrade that the policy wants shows its fetch. One that it tries again in vain leaves the record as it was, and
// one that a person has cancelled meanwhile is not begun again.
func TestPolicyShowsItsFetches(t *testing.T) {
	for name, cancelled := range map[string]bool{"not there": false, "cancelled": true} {
		t.Run(name, func(t *testing.T) {
			web := newSlowWeb()
			var data []byte
			if cancelled {
				data = bulbImage(2, 3_000)
			}
			dir, lib, catalog := webHome(t, web, map[uint16][]byte{0x2201: data})
			synctest.Test(t, func(t *testing.T) {
				w := &world{t: t, dir: dir, policy: defaultPolicy(), library: lib, catalog: catalog}
				w.policy.Auto = true
				w.run(sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}, Speed: 1}, func(w *world) {
					if cancelled {
						w.fetching(bulb, 20)
						if a := w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(bulb), r) }); a.Status != otasvc.Success {
							t.Errorf("%+v", a)
						}
					}
					u := w.ended(10*time.Minute, bulb)
					time.Sleep(13 * time.Hour)
					if again := w.upgradeOf(bulb); again.Reason != u.Reason || !again.QueuedAt.Equal(u.QueuedAt) || len(w.sink.device(bulb).History) != 1 {
						t.Errorf("it was %+v and is %+v", u, again)
					}
					if asked, _ := web.counts("/2201.ota"); cancelled && asked != 1 || !cancelled && asked != 3 {
						t.Errorf("asked for %d times", asked)
					}
				})
			})
		})
	}
}
