package otasvc_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// limitedOf writes an image whose header is for some hardware versions only.
func (w *world) limitedOf(version uint32, least, most uint16) string {
	w.t.Helper()
	data := otafile.Build(otafile.Header{
		ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: version, MinHardwareVersion: &least, MaxHardwareVersion: &most,
	}, make([]byte, 5000))
	return w.file(fmt.Sprintf("limited-%d-%d-%d.ota", version, least, most), data)
}

// Who asks for something that depends on who a device is has it asked at once, and judged by its answer.
func TestWhoAsksIsNotToldBeforeTheDeviceHasSaid(t *testing.T) {
	cfg := quietConfig(bulb, 7)
	// Right after the start, and before the inventory has come to the device.
	soon := func(w *world) {
		w.within(time.Minute, "the bulb is met", func() bool { return w.sink.device(bulb).EUID == bulb })
		if w.hasSaid(cfg) {
			w.t.Fatal("it has said already who it is")
		}
	}
	tests := map[string]func(w *world){
		"check": func(w *world) {
			soon(w)
			a := w.ask(func(r otasvc.Respond) { w.service.Check(ref(bulb), nil, r) })
			if a.Status != otasvc.Success || a.Operation.OldImageVersion == nil || *a.Operation.OldImageVersion != 1 {
				w.t.Errorf("%+v", a)
			}
		},
		"check all": func(w *world) {
			soon(w)
			a := w.ask(func(r otasvc.Respond) { w.service.CheckAll(r) })
			if a.Status != otasvc.Success || len(a.CheckResults) != 1 || a.CheckResults[0].Status != otasvc.Success {
				w.t.Errorf("%+v", a)
			}
		},
		"interview": func(w *world) {
			soon(w)
			a := w.ask(func(r otasvc.Respond) { w.service.Interview(ref(bulb), r) })
			if a.Status != otasvc.Success || a.Operation.ImageType == nil || *a.Operation.ImageType != 0x2201 {
				w.t.Errorf("%+v", a)
			}
		},
		"upgrade to an image for other hardware": func(w *world) {
			soon(w)
			w.add(bulb, w.limitedOf(2, 1, 3))
			a := w.ask(func(r otasvc.Respond) { w.service.Upgrade(otasvc.UpgradeRequest{Device: ref(bulb)}, r) })
			if a.Status != otasvc.Failure || a.Reason != upgrade.ReasonHardwareMismatch {
				w.t.Errorf("%+v", a)
			}
		},
		"upgrade to an image for its hardware": func(w *world) {
			soon(w)
			w.add(bulb, w.limitedOf(2, 5, 9))
			if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb)}); a.Status != otasvc.InProgress {
				w.t.Fatalf("%+v", a)
			}
			if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded || u.OldImageVersion == nil || *u.OldImageVersion != 1 {
				w.t.Errorf("ended %+v", u)
			}
		},
		"an image for other hardware is added with its upgrade": func(w *world) {
			soon(w)
			a := w.ask(func(r otasvc.Respond) {
				w.service.AddImage(otasvc.AddImage{Device: ref(bulb), URL: w.limitedOf(2, 1, 3), Upgrade: true}, r)
			})
			time.Sleep(time.Minute)
			u := w.sink.device(bulb).Upgrade
			if a.Status != otasvc.Success || u == nil || u.Reason != upgrade.ReasonHardwareMismatch {
				w.t.Errorf("%+v, and %+v", a, u)
			}
		},
		"upgrade of all": func(w *world) {
			soon(w)
			w.add(bulb, w.limitedOf(2, 1, 3))
			w.service.Upgrade(otasvc.UpgradeRequest{All: true, Ticket: upgrade.Ticket(`"all"`)}, func(otasvc.Answer) {})
			w.within(2*time.Minute, "the answer", func() bool { return len(w.sink.final("all")) == 1 })
			if a := w.sink.final("all")[0]; len(a.UpgradeResults) != 0 {
				w.t.Errorf("%+v", a)
			}
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inHomes(t, []sim.DeviceConfig{cfg}, func(w *world, air *notices) {
				test(w)
				w.within(time.Second, "it had said who it is, or is being upgraded", func() bool {
					return w.hasSaid(cfg) || w.sink.device(bulb).Upgrade != nil
				})
				gentle(w.t.(*testing.T), air.take())
			})
		})
	}
}

// Whoever waits for a device that does not answer is told in the end, with what is known.
func TestWhoWaitsIsToldInTheEnd(t *testing.T) {
	cfg := bulbConfig(bulb)
	cfg.SilentToNotify = true
	inHomes(t, []sim.DeviceConfig{cfg}, func(w *world, _ *notices) {
		time.Sleep(time.Hour)
		begun := time.Now()
		a := w.ask(func(r otasvc.Respond) { w.service.Interview(ref(bulb), r) })
		if took := time.Since(begun); a.Status != otasvc.Success || took > 40*time.Second {
			w.t.Errorf("after %v: %+v", took, a)
		}
		url, _ := w.image(0x117C, 0x2201, 2, 5000)
		w.add(bulb, url)
		begun = time.Now()
		if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb)}); a.Status != otasvc.InProgress || time.Since(begun) > 40*time.Second {
			w.t.Errorf("after %v: %+v", time.Since(begun), a)
		}
	})
}

// A check of all devices judges each as a check of it alone does, also one that tells its version and not what it
// takes: an image that was added for it by hand is one that it can be judged by.
func TestCheckOfAllJudgesAsACheckOfOne(t *testing.T) {
	cfg := bulbConfig(bulb)
	cfg.SilentToNotify = true
	cfg.UnsupportedAttributes = []uint16{message.AttrOTAManufacturer, message.AttrOTAImageType}
	off := bulbConfig(bulb2)
	inHomes(t, []sim.DeviceConfig{cfg, off}, func(w *world, _ *notices) {
		w.met(bulb)
		w.met(bulb2)
		w.sim.Device(bulb2).PowerOff()
		judged := func(want map[message.IEEE]otasvc.Status) {
			all := w.ask(func(r otasvc.Respond) { w.service.CheckAll(r) })
			for _, r := range all.CheckResults {
				one := w.ask(func(respond otasvc.Respond) { w.service.Check(ref(r.EUID), nil, respond) })
				update := one.UpdateAvailable != nil && *one.UpdateAvailable
				if r.Status != want[r.EUID] || one.Status != r.Status || update != r.UpdateAvailable {
					w.t.Errorf("%v: of all %+v, alone %s, %q, update %t", r.EUID, r, one.Status, one.Error, update)
				}
			}
			if len(all.CheckResults) != len(want) {
				w.t.Errorf("%+v", all)
			}
		}
		judged(map[message.IEEE]otasvc.Status{bulb: otasvc.Failure, bulb2: otasvc.Failure})
		url, _ := w.image(0x117C, 0x2201, 2, 5000)
		w.add(bulb, url)
		w.add(bulb2, url)
		judged(map[message.IEEE]otasvc.Status{bulb: otasvc.Success, bulb2: otasvc.Failure})
	})
}

// whileOthersDownload has the plug download for long, and a quiet bulb join meanwhile, which cannot be asked who it is. It
// returns what the plug is to have in the end.
func whileOthersDownload(w *world) (plugData []byte) {
	w.t.Helper()
	w.met(plug)
	other, plugData := w.image(0x100B, 0x0112, 11, 200_000)
	w.add(plug, other)
	w.accepted(plug, "")
	w.within(10*time.Minute, "the plug downloads", func() bool { return w.stateOf(plug) == upgrade.Downloading })
	d, err := w.sim.AddDevice(quietConfig(bulb, 3))
	if err != nil {
		w.t.Fatal(err)
	}
	d.Announce()
	w.within(time.Minute, "the late one is there", func() bool { return w.sink.device(bulb).NetworkAddress != nil })
	time.Sleep(20 * time.Second)
	if r := w.sink.device(bulb); r.ManufacturerCode != nil && r.ImageType != nil {
		w.t.Fatalf("it has said who it is: %+v", r)
	}
	return plugData
}

// waits asks for an upgrade of the bulb, and expects that the request waits for the bulb's word.
func waits(w *world) {
	w.t.Helper()
	said := &said{}
	w.service.Upgrade(otasvc.UpgradeRequest{Device: ref(bulb), Ticket: upgrade.Ticket(`"late"`)}, said.respond)
	time.Sleep(time.Minute)
	a := said.last()
	if a.Status != otasvc.InProgress || !a.Kept || !strings.Contains(a.Error, "the request waits") {
		w.t.Fatalf("upgrade: %+v", a)
	}
}

// While others download nobody is asked who it is. Who wants an upgrade of a device that has not said so waits until it
// can be asked, whatever happens meanwhile; a check and an interview say why they cannot tell.
func TestWhoHasNotSaidWhileOthersDownload(t *testing.T) {
	meanwhile := map[string]func(w *world){
		"nothing":            func(*world) {},
		"the process dies":   func(w *world) { w.crash(10 * time.Second) },
		"a clean stop":       func(w *world) { w.restart() },
		"the dongle is away": func(w *world) { w.unplug(); time.Sleep(5 * time.Second); w.plug() },
	}
	for name, happens := range meanwhile {
		t.Run(name, func(t *testing.T) {
			inHomes(t, []sim.DeviceConfig{plugConfig()}, func(w *world, _ *notices) {
				plugData := whileOthersDownload(w)
				for name, ask := range map[string]func(otasvc.Respond){
					"check":     func(r otasvc.Respond) { w.service.Check(ref(bulb), nil, r) },
					"interview": func(r otasvc.Respond) { w.service.Interview(ref(bulb), r) },
				} {
					a := w.ask(ask)
					if a.Status != otasvc.Failure || !strings.Contains(a.Error, "cannot be asked while others download") {
						w.t.Errorf("%s: %s, %q", name, a.Status, a.Error)
					}
				}
				url, data := w.limited(2, 4)
				w.add(bulb, url)
				waits(w)
				happens(w)
				for _, e := range []message.IEEE{plug, bulb} {
					if u := w.ended(2*time.Hour, e); u.State != upgrade.Succeeded {
						w.t.Errorf("%v ended %s, reason %q: %s", e, u.State, u.Reason, u.Error)
					}
				}
				w.holds(plug, 11, plugData)
				w.holds(bulb, 2, data)
				if finals := w.sink.final("late"); len(finals) != 1 || finals[0].Status != otasvc.Success {
					w.t.Errorf("answered %+v", finals)
				}
			})
		})
	}
}

// A request that waits for a device's word is seen, is the device's one upgrade, and can be cancelled.
func TestWaitingForAWordIsCancelled(t *testing.T) {
	inHomes(t, []sim.DeviceConfig{plugConfig()}, func(w *world, _ *notices) {
		whileOthersDownload(w)
		url, _ := w.limited(2, 4)
		w.add(bulb, url)
		waits(w)
		if s := w.stateOf(bulb); s != upgrade.Fetching {
			w.t.Errorf("the record says %q", s)
		}
		second := w.ask(func(r otasvc.Respond) { w.service.Upgrade(otasvc.UpgradeRequest{Device: ref(bulb)}, r) })
		if second.Reason != upgrade.ReasonAlreadyQueued {
			w.t.Errorf("a second one: %+v", second)
		}
		if a := w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(bulb), r) }); a.Status != otasvc.Success {
			w.t.Errorf("cancel: %+v", a)
		}
		time.Sleep(2 * time.Hour)
		if s := w.stateOf(bulb); s != upgrade.Cancelled {
			w.t.Errorf("it was cancelled, and is %s", s)
		}
		if finals := w.sink.final("late"); len(finals) != 1 || finals[0].Reason != upgrade.ReasonCancelled {
			w.t.Errorf("answered %+v", finals)
		}
	})
}

// Who asks for several upgrades right after the start waits for nobody's word once the first device downloads, where what
// is known of the others will do.
func TestUpgradesRightAfterTheStart(t *testing.T) {
	var devices []sim.DeviceConfig
	for i := range 4 {
		devices = append(devices, bulbConfig(bulb+message.IEEE(i)))
	}
	inHomes(t, devices, func(w *world, _ *notices) {
		url, _ := w.image(0x117C, 0x2201, 2, 100_000)
		for _, d := range devices {
			w.within(time.Minute, "it is known", func() bool { return w.sink.device(d.IEEE).CurrentVersion != nil })
			w.service.Upgrade(otasvc.UpgradeRequest{Device: ref(d.IEEE), URL: url}, func(otasvc.Answer) {})
		}
		w.within(time.Minute, "all download", func() bool {
			for _, d := range devices {
				if w.stateOf(d.IEEE) != upgrade.Downloading {
					return false
				}
			}
			return true
		})
	})
}

// said is what a request was answered.
type said struct {
	mu      sync.Mutex
	answers []otasvc.Answer
}

func (s *said) respond(a otasvc.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = append(s.answers, a)
}

// all are the answers so far.
func (s *said) all() []otasvc.Answer {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.answers)
}

// last is the last answer so far; the zero answer where there is none.
func (s *said) last() (a otasvc.Answer) {
	if answers := s.all(); len(answers) > 0 {
		a = answers[len(answers)-1]
	}
	return a
}
