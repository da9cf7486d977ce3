package otasvc_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// failures are the events of upgrades that failed.
func (w *imageWorld) failures() []otasvc.Event {
	synctest.Wait()
	defer w.sink.lock()()
	return slices.DeleteFunc(slices.Clone(w.sink.events), func(e otasvc.Event) bool { return e.Name != otasvc.EventUpgradeFailed })
}

// refusedFor holds the record of the device and the events against the reason of an upgrade that was refused last.
func (w *imageWorld) refusedFor(reason upgrade.Reason, says string, events int) {
	w.t.Helper()
	u := w.sink.device(bulb).Upgrade
	if u == nil || u.State != upgrade.Failed || u.Reason != reason || !strings.Contains(u.Error, says) {
		w.t.Errorf("the record has %+v", u)
	}
	if got := w.failures(); len(got) != events || events > 0 && (got[events-1].Reason != reason || !strings.Contains(got[events-1].Error, says)) {
		w.t.Errorf("the events are %+v", got)
	}
}

// An upgrade that was refused is as it was after a restart.
func TestRefusedUpgradeIsKept(t *testing.T) {
	inImageWorld(t, nil, func(w *imageWorld) {
		if a := w.upgrade(otasvc.UpgradeRequest{URL: "file:///nothing.ota"}); a.Status != otasvc.Failure || a.Reason != upgrade.ReasonImageAccessFailed {
			t.Errorf("%+v", a)
		}
		w.refusedFor(upgrade.ReasonImageAccessFailed, "nothing.ota", 1)
		before := w.sink.device(bulb)
		w.stop()
		w.start()
		w.refusedFor(upgrade.ReasonImageAccessFailed, "nothing.ota", 0)
		after := w.sink.device(bulb)
		if before.Upgrade.Error != after.Upgrade.Error || after.Upgrade.ImageVersion != nil || len(after.History) != 1 {
			t.Errorf("%+v, then %+v", before.Upgrade, after.Upgrade)
		}
	})
}

// Who asks for all is told which images could not be had, and so is everybody.
func TestAllTellsWhatWasNotHad(t *testing.T) {
	entry := `[{"url":"http://example.com/a.ota","manufacturerCode":4476,"imageType":8705,"fileVersion":2}]`
	inImageWorld(t, map[string]string{"index.json": entry}, func(w *imageWorld) {
		w.serves(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") })
		for n := range 2 {
			w.service.Upgrade(otasvc.UpgradeRequest{All: true, Ticket: upgrade.Ticket(fmt.Sprintf(`"all%d"`, n))}, func(otasvc.Answer) {})
			time.Sleep(time.Hour)
			a := w.sink.final(fmt.Sprintf("all%d", n))
			if len(a) != 1 || a[0].Status != otasvc.Failure || len(a[0].UpgradeResults) != 1 || a[0].UpgradeResults[0].Reason != upgrade.ReasonImageAccessFailed {
				t.Errorf("%+v", a)
			}
		}
		w.refusedFor(upgrade.ReasonImageAccessFailed, "no route", 1)
		if u := w.sink.device(bulb).Upgrade; u.ImageVersion == nil || *u.ImageVersion != 2 {
			t.Errorf("%+v", u)
		}
	})
}

// The policy tells once that an image cannot be had, goes on trying, and takes the image once it can be had.
func TestPolicyTellsOnceWhatIsNotHad(t *testing.T) {
	image := lampImage(2, nil)
	entry := `[{"url":"http://example.com/a.ota","manufacturerCode":4476,"imageType":8705,"fileVersion":2}]`
	inImageWorld(t, map[string]string{"index.json": entry}, func(w *imageWorld) {
		var asked atomic.Int32
		var there atomic.Bool
		w.serves(func(r *http.Request) (*http.Response, error) {
			if !there.Load() {
				asked.Add(1)
				return nil, errors.New("no route")
			}
			return &http.Response{StatusCode: 200, Header: http.Header{}, ContentLength: int64(len(image)), Body: io.NopCloser(bytes.NewReader(image)), Request: r}, nil
		})
		w.stop()
		w.policy = func(p *otasvc.Policy) { p.Auto = true }
		w.start()
		time.Sleep(30 * time.Hour)
		if n := asked.Load(); n < 4 || n > 6 {
			t.Errorf("asked %d times", n)
		}
		w.refusedFor(upgrade.ReasonImageAccessFailed, "no route", 1)
		there.Store(true)
		time.Sleep(7 * time.Hour)
		if u := w.sink.device(bulb).Upgrade; u.Attempt == 0 || u.Reason == upgrade.ReasonImageAccessFailed {
			t.Errorf("%+v", u)
		}
	})
}

// Of a device with two OTA clients each has its own image, also where both have the same version: that it cannot be had
// is told once of each.
func TestPolicyTellsOnceOfEachClient(t *testing.T) {
	dir, lib, catalog := webHome(t, newSlowWeb(), map[uint16][]byte{0x2201: nil, secondType: nil})
	cfg := bulbConfig(bulb)
	onSecondEndpoint(&cfg)
	cfg.OtherClients[0].FileVersion = 1
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir, policy: defaultPolicy(), library: lib, catalog: catalog}
		w.policy.Auto = true
		w.run(sim.Config{Devices: []sim.DeviceConfig{cfg}, Speed: 1}, func(w *world) {
			w.knowsBoth(bulb)
			time.Sleep(15 * time.Hour)
			w.restart()
			time.Sleep(15 * time.Hour)
			told := map[uint16]int{}
			for _, past := range w.sink.device(bulb).History {
				imageType := uint16(0x2201)
				if past.Kind != nil {
					imageType = past.Kind.ImageType
				}
				if past.Reason != upgrade.ReasonImageAccessFailed {
					t.Errorf("%+v", past)
				}
				told[imageType]++
			}
			if diff := cmp.Diff(map[uint16]int{0x2201: 1, secondType: 1}, told); diff != "" {
				t.Error(diff)
			}
		})
	})
}

// What a person has chosen against the limits of hardware versions is refused as such; what nobody can judge yet is not,
// and force goes past both.
func TestHardwareLimits(t *testing.T) {
	limited := lampImage(2, func(h *otafile.Header) {
		least, most := uint16(3), uint16(4)
		h.MinHardwareVersion, h.MaxHardwareVersion = &least, &most
	})
	listed := `[{"url":"a.ota","manufacturerCode":4476,"imageType":8705,"fileVersion":2,"hardwareVersionMin":3,"hardwareVersionMax":4}]`
	later := time.Now().Add(24 * 365 * 100 * time.Hour)
	const unheard = "has not said yet which hardware version it has"
	version := uint32(2)
	plain := otasvc.UpgradeRequest{At: later}
	named := otasvc.UpgradeRequest{At: later, ImageVersion: &version}
	forced := otasvc.UpgradeRequest{At: later, ImageVersion: &version, Force: true}
	fromURL := otasvc.UpgradeRequest{At: later, URL: "file:a.ota"}
	fromURLForced := otasvc.UpgradeRequest{At: later, URL: "file:a.ota", Force: true}
	const mismatch, notFound = upgrade.ReasonHardwareMismatch, upgrade.ReasonImageInfoNotFound
	for _, tt := range []struct {
		name     string
		added    bool    // the image is registered, else an index lists it
		hardware []uint8 // none: the device tells none
		silent   bool    // the device was not heard yet
		request  otasvc.UpgradeRequest
		reason   upgrade.Reason // empty: it is accepted
		says     string
	}{
		{"listed, inside", false, []uint8{3}, false, plain, "", ""},
		{"listed, outside", false, []uint8{5}, false, plain, notFound, "from 3 to 4, not 5"},
		{"listed, outside, named", false, []uint8{5}, false, named, mismatch, "from 3 to 4, not 5"},
		{"listed, outside, forced", false, []uint8{5}, false, forced, "", ""},
		{"listed, none", false, nil, false, plain, notFound, "reports none"},
		{"listed, none, named", false, nil, false, named, mismatch, "reports none"},
		{"listed, none, forced", false, nil, false, forced, "", ""},
		{"listed, not heard", false, nil, true, plain, notFound, unheard},
		{"listed, not heard, named", false, nil, true, named, notFound, unheard},
		{"listed, not heard, forced", false, nil, true, forced, "", unheard},
		{"added, inside", true, []uint8{4}, false, plain, "", ""},
		{"added, outside", true, []uint8{2}, false, plain, mismatch, "from 3 to 4, not 2"},
		{"added, outside, named", true, []uint8{2}, false, named, mismatch, "from 3 to 4, not 2"},
		{"added, outside, forced", true, []uint8{2}, false, forced, "", ""},
		{"added, none", true, nil, false, plain, "", ""},
		{"added, not heard", true, nil, true, plain, "", unheard},
		{"url, inside", false, []uint8{3}, false, fromURL, "", ""},
		{"url, outside", false, []uint8{2}, false, fromURL, mismatch, `"force": true`},
		{"url, outside, forced", false, []uint8{2}, false, fromURLForced, "", ""},
		{"url, none", false, nil, false, fromURL, "", ""},
		{"url, not heard", false, nil, true, fromURL, "", unheard},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"index.json": listed, "a.ota": string(limited)}
			if tt.added || tt.request.URL != "" {
				files = nil
			}
			inImageWorld(t, files, func(w *imageWorld) {
				url := w.file("a.ota", limited)
				if tt.silent {
					w.stop()
					w.silent = true
					w.forgetState()
					w.start()
				}
				if len(tt.hardware) > 0 {
					w.queried(tt.hardware...)
				}
				if tt.added {
					if a := final(w.add(otasvc.AddImage{URL: url})); a.Status != otasvc.Success {
						t.Fatalf("%+v", a)
					}
				}
				if tt.request.URL != "" {
					tt.request.URL = url
				}
				a := w.upgrade(tt.request)
				u := w.sink.device(bulb).Upgrade
				if tt.reason == "" {
					if a.Status != otasvc.InProgress || !strings.Contains(a.Error, tt.says) || tt.says == "" && a.Error != "" || u == nil || u.State != upgrade.Scheduled {
						t.Errorf("%+v, %+v", a, u)
					}
					return
				}
				if a.Status != otasvc.Failure || a.Reason != tt.reason || !strings.Contains(a.Error, tt.says) {
					t.Errorf("%+v", a)
				}
				w.refusedFor(tt.reason, tt.says, 1)
			})
		})
	}
}

// What a header limits to hardware versions of which the device has not told its own is for people to judge: it is
// offered, and neither "all" nor the policy takes it until the device was heard.
func TestUnheardHardwareIsForPeople(t *testing.T) {
	limited := lampImage(2, func(h *otafile.Header) {
		least, most := uint16(3), uint16(4)
		h.MinHardwareVersion, h.MaxHardwareVersion = &least, &most
	})
	inImageWorld(t, nil, func(w *imageWorld) {
		w.stop()
		w.forgetState()
		w.silent = true
		w.policy = func(p *otasvc.Policy) { p.Auto = true }
		w.start()
		if a := final(w.add(otasvc.AddImage{URL: w.file("a.ota", limited)})); a.Status != otasvc.Success {
			t.Fatalf("%+v", a)
		}
		w.service.Upgrade(otasvc.UpgradeRequest{All: true, Ticket: upgrade.Ticket(`"all"`)}, func(otasvc.Answer) {})
		time.Sleep(time.Hour)
		d := w.sink.device(bulb)
		if !d.UpdateAvailable || d.Offer == nil || !strings.Contains(d.Offer.ReleaseNotes, "has not said yet which hardware version it has") {
			t.Errorf("%v, %+v", d.UpdateAvailable, d.Offer)
		}
		if a := w.sink.final("all"); d.Upgrade != nil || len(a) != 1 || len(a[0].UpgradeResults) != 0 {
			t.Errorf("%+v, %+v", d.Upgrade, a)
		}
		w.queried(3)
		time.Sleep(10 * time.Minute)
		if d := w.sink.device(bulb); d.Upgrade == nil || d.Offer.ReleaseNotes != "" {
			t.Errorf("%+v, %+v", d.Upgrade, d.Offer)
		}
	})
}

// An image that is added for a device and to be installed at once, and is for other hardware, is registered; its
// upgrade has failed, and force goes past that.
func TestAddedForOtherHardware(t *testing.T) {
	limited := lampImage(2, func(h *otafile.Header) {
		least, most := uint16(3), uint16(4)
		h.MinHardwareVersion, h.MaxHardwareVersion = &least, &most
	})
	inImageWorld(t, nil, func(w *imageWorld) {
		w.queried(1)
		if a := final(w.add(otasvc.AddImage{URL: w.file("a.ota", limited), Upgrade: true})); a.Status != otasvc.Success {
			t.Errorf("%+v", a)
		}
		w.refusedFor(upgrade.ReasonHardwareMismatch, "from 3 to 4, not 1", 1)
		if d := w.sink.device(bulb); d.UpdateAvailable || d.Offer != nil {
			t.Errorf("%+v", d.Offer)
		}
		a := final(w.answers(func(r otasvc.Respond) { w.service.ImageInfo(ref(bulb), nil, r) }))
		if a.Status != otasvc.ImageInfoNotFound || !strings.Contains(a.Error, `not 1; say "force"`) {
			t.Errorf("%+v", a)
		}
		if a := w.upgrade(otasvc.UpgradeRequest{Force: true, At: time.Now().Add(time.Hour)}); a.Status != otasvc.InProgress {
			t.Errorf("%+v", a)
		}
	})
}

// With every kind of firmware: what a person has chosen for a device of other hardware is refused, and given to it by
// force, upon which the simulated device refuses it itself; one that tells none fits the limits of a header.
func TestHardwareOnTheAir(t *testing.T) {
	one := uint16(1)
	for name, firmware := range map[string]sim.Firmware{"3.1c": sim.V131C, "3.23": sim.V1323, "v2": sim.V2324} {
		for kind, hardware := range map[string]*uint16{"other hardware": &one, "none": nil} {
			t.Run(name+", "+kind, func(t *testing.T) {
				cfg := bulbConfig(bulb)
				cfg.HardwareVersion = hardware
				inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
					w.met(bulb)
					time.Sleep(2 * time.Minute) // idle long enough
					w.sim.Device(bulb).Query()
					time.Sleep(10 * time.Second)
					url, data := w.limited(3, 4)
					told := w.sink.device(bulb).HardwareVersion
					a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb), URL: url})
					if told != nil {
						if a.Status != otasvc.Failure || a.Reason != upgrade.ReasonHardwareMismatch {
							t.Fatalf("%+v", a)
						}
						w.within(time.Second, "the log says so", func() bool { return w.said.has("reason=hardwareMismatch") })
						a = w.queue(otasvc.UpgradeRequest{Device: ref(bulb), URL: url, Force: true})
					}
					if (hardware != nil) != (told != nil) {
						t.Errorf("it has told %v", told)
					}
					if a.Status != otasvc.InProgress {
						t.Fatalf("%+v", a)
					}
					u := w.ended(time.Hour, bulb)
					if hardware != nil {
						if u.Reason != upgrade.ReasonInvalidImage {
							t.Errorf("ended %+v", u)
						}
						return
					}
					if u.State != upgrade.Succeeded {
						t.Errorf("ended %+v", u)
					}
					w.holds(bulb, 2, data)
				})
			})
		}
	}
}

// An upgrade that nobody could judge is judged when its device tells its hardware version; one that was forced goes on.
func TestHardwareThatIsToldLater(t *testing.T) {
	limited := lampImage(2, func(h *otafile.Header) {
		least, most := uint16(3), uint16(4)
		h.MinHardwareVersion, h.MaxHardwareVersion = &least, &most
	})
	for name, tt := range map[string]struct {
		hardware uint8
		force    bool
		ends     bool
	}{"inside": {3, false, false}, "outside": {5, false, true}, "outside, forced": {5, true, false}} {
		t.Run(name, func(t *testing.T) {
			inImageWorld(t, nil, func(w *imageWorld) {
				w.stop()
				w.forgetState()
				w.silent = true
				w.start()
				url := w.file("a.ota", limited)
				if a := w.upgrade(otasvc.UpgradeRequest{URL: url, At: time.Now().Add(time.Hour), Force: tt.force}); a.Status != otasvc.InProgress {
					t.Fatalf("%+v", a)
				}
				w.queried(tt.hardware)
				time.Sleep(time.Second)
				if !tt.ends {
					if u := w.sink.device(bulb).Upgrade; u.State != upgrade.Scheduled {
						t.Errorf("%+v", u)
					}
					return
				}
				w.refusedFor(upgrade.ReasonHardwareMismatch, "the image is for hardware versions from 3 to 4, not 5; say", 1)
				if a := w.sink.final("x"); len(a) != 1 || a[0].Status != otasvc.Failure || a[0].Reason != upgrade.ReasonHardwareMismatch {
					t.Errorf("answered %+v", a)
				}
			})
		})
	}
}

// What a person asks for in vain does not have the policy try again what it has tried before.
func TestRefusalDoesNotHideWhatWasTried(t *testing.T) {
	cfg := bulbConfig(bulb)
	cfg.KeepsOldVersion = true
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		w.met(bulb)
		url, _ := w.image(0x117C, 0x2201, 2, 3_000)
		w.add(bulb, url)
		if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb)}); a.Status != otasvc.InProgress {
			t.Fatalf("%+v", a)
		}
		if u := w.ended(time.Hour, bulb); u.Reason != upgrade.ReasonVersionUnchanged {
			t.Fatalf("%+v", u)
		}
		for range 2 {
			if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb), URL: "file:///nothing.ota"}); a.Reason != upgrade.ReasonImageAccessFailed {
				t.Errorf("%+v", a)
			}
		}
		w.stop()
		w.policy.Auto = true
		w.start()
		time.Sleep(3 * time.Hour)
		if u := w.sink.device(bulb).Upgrade; u.Reason != upgrade.ReasonImageAccessFailed || len(w.sink.device(bulb).History) != 3 {
			t.Errorf("%+v", u)
		}
	})
}
