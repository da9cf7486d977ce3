package bridge_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// states are those of the bulb's upgrades so far, in order.
func (h *home) states() (states []string) {
	h.t.Helper()
	h.follow(func(d deviceRecord) {
		if u := d.Upgrade; u != nil && (len(states) == 0 || states[len(states)-1] != u.State) {
			states = append(states, u.State)
		}
	})
	return states
}

// TestEndsAsPublished: how a device ends its download is told by the ZCL status that it gave, in the event,
// and by the reason, in the answer, the event and the record. After an end before its time nothing is said to
// be downloaded.
func TestEndsAsPublished(t *testing.T) {
	for reason, tt := range map[string]struct {
		change    func(*sim.DeviceConfig)
		zclStatus any
	}{
		"deviceAborted":     {func(d *sim.DeviceConfig) { d.AbortAt = 2000 }, json.Number("149")},
		"invalidImage":      {func(d *sim.DeviceConfig) { d.InvalidAtEnd = true }, json.Number("150")},
		"requireMoreImages": {func(d *sim.DeviceConfig) { d.RequireMore = true }, json.Number("153")},
		"stalled":           {func(d *sim.DeviceConfig) { d.StopsAt = 2000 }, nil},
	} {
		t.Run(reason, func(t *testing.T) {
			cfg := bulbConfig(bulb, 0x4f4f)
			tt.change(&cfg)
			inHome(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(h *home) {
				h.request("upgrade", `{`+bulbID+`,"url":"`+h.image(newer, 6000)+`","transaction":"t"}`)
				answer := h.finalTo("upgrade", "t", true)
				if answer["status"] != "failure" || answer["reason"] != reason {
					t.Errorf("answered %v", answer)
				}
				u := h.upgradeOf(bulb)
				if u["state"] != "failed" || u["reason"] != reason || u["error"] == nil {
					t.Errorf("the record has %v", u)
				}
				failed := h.out.on("zigate-ota/event/upgradeFailed")
				if len(failed) != 1 {
					t.Fatalf("the events are %s", failed)
				}
				if e, _ := parse(failed[0]); e["reason"] != reason || e["zclStatus"] != tt.zclStatus {
					t.Errorf("the event is %s", failed[0])
				}
				if finished := h.out.on("zigate-ota/event/downloadFinished"); len(finished) > 0 {
					t.Errorf("told of %s", finished)
				}
				h.checkEvents()
			})
		})
	}
}

// TestHeldAsPublished: a device keeps its image until it is told to install it, which ends both requests.
func TestHeldAsPublished(t *testing.T) {
	inHome(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}}, func(h *home) {
		url := h.image(newer, 6000)
		h.request("upgrade", `{`+bulbID+`,"url":"`+url+`","apply":"hold","transaction":"held"}`)
		h.within(time.Hour, "it has its image", h.inState("downloaded", 6000))
		time.Sleep(5 * time.Hour)
		if u := h.upgradeOf(bulb); u["state"] != "downloaded" || u["error"] != nil || u["queue"] != nil {
			t.Errorf("the record has %v", u)
		}
		h.request("upgrade", `{`+bulbID+`,"apply":"now","transaction":"now"}`)
		for _, transaction := range []string{"held", "now"} {
			if answer := h.finalTo("upgrade", transaction, true); answer["status"] != "success" {
				t.Errorf("answered %v", answer)
			}
		}
		want := strings.Fields("fetching queued notified downloading downloaded applying succeeded")
		if diff := cmp.Diff(want, h.states()); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
	})
}

// TestHeldForTooLong: that a device installs by itself what it is to keep is said beforehand, and in its
// record.
func TestHeldForTooLong(t *testing.T) {
	firmware := make([]byte, 6000) // with the marks of Telink's
	copy(firmware[8:], "KNLT")
	binary.LittleEndian.PutUint32(firmware[0x18:], uint32(len(firmware)+4))
	firmware = binary.LittleEndian.AppendUint32(firmware, ^crc32.ChecksumIEEE(firmware))
	header := otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: newer}
	image := otafile.Build(header, firmware)
	device := bulbConfig(bulb, 0x4f4f)
	device.Stack = sim.Telink
	inHome(t, sim.Config{Devices: []sim.DeviceConfig{device}}, func(h *home) {
		const says = "installs the image by itself"
		url := h.file("telink.ota", image)
		h.request("upgrade", `{`+bulbID+`,"url":"`+url+`","apply":"hold","transaction":"t"}`)
		h.within(time.Hour, "it has its image", h.inState("downloaded", uint32(len(image))))
		if said := h.out.on("zigate-ota/response/upgrade"); !strings.Contains(said[len(said)-1], says) {
			t.Errorf("answered %q", said)
		}
		if told, _ := h.upgradeOf(bulb)["error"].(string); !strings.Contains(told, says) {
			t.Errorf("the record has %v", h.upgradeOf(bulb))
		}
		if answer := h.finalTo("upgrade", "t", true); answer["status"] != "success" {
			t.Errorf("answered %v", answer)
		}
		if u := h.upgradeOf(bulb); u["error"] != nil {
			t.Errorf("in the end the record has %v", u)
		}
	})
}

// TestScheduledAsPublished: an upgrade that is to begin, or to be installed, at a time is not before it.
func TestScheduledAsPublished(t *testing.T) {
	at := time.Date(2000, 1, 1, 3, 0, 0, 0, time.UTC)
	for key, tt := range map[string]struct{ before, states string }{
		"when":  {"scheduled", "fetching scheduled queued notified downloading applying succeeded"},
		"apply": {"downloaded", "fetching queued notified downloading downloaded applying succeeded"},
	} {
		t.Run(key, func(t *testing.T) {
			inHome(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}}, func(h *home) {
				request := `{` + bulbID + `,"url":"` + h.image(newer, 6000) + `","transaction":"t"`
				h.request("upgrade", request+`,"`+key+`":"2000-01-01T04:00:00+01:00"}`)
				time.Sleep(time.Until(at) - time.Second)
				if u := h.upgradeOf(bulb); u["state"] != tt.before {
					t.Errorf("the record has %v", u)
				}
				answer := h.finalTo("upgrade", "t", true)
				if answer["status"] != "success" || time.Since(at) > 10*time.Minute {
					t.Errorf("at %v answered %v", time.Now(), answer)
				}
				if diff := cmp.Diff(strings.Fields(tt.states), h.states()); diff != "" {
					t.Errorf("states (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestVersionsAskedFor: the version that runs is installed again with force and an older one with
// allowDowngrade, and with neither not. Where the dongle's firmware compares versions, that this may end
// badly is said beforehand.
func TestVersionsAskedFor(t *testing.T) {
	const running, older = 0x22010631, 0x22010600
	for name, tt := range map[string]struct {
		version uint32
		more    string
		reason  any
	}{
		"the same":                    {running, ``, "upToDate"},
		"the same, forced":            {running, `,"force":true`, nil},
		"the same as a downgrade":     {running, `,"allowDowngrade":true`, "upToDate"},
		"an older one":                {older, ``, "downgradeRefused"},
		"an older one, forced":        {older, `,"force":true`, "downgradeRefused"},
		"an older one as a downgrade": {older, `,"allowDowngrade":true`, nil},
	} {
		for _, compares := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, compared %t", name, compares), func(t *testing.T) {
				firmware := map[bool]sim.Firmware{false: sim.V131C, true: sim.V1323}[compares]
				cfg := sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}}
				inHome(t, cfg, func(h *home) {
					url := h.image(tt.version, 6000)
					h.request("upgrade", `{`+bulbID+`,"url":"`+url+`","transaction":"t"`+tt.more+`}`)
					answer := h.finalTo("upgrade", "t", true)
					said := h.out.on("zigate-ota/response/upgrade")
					before := strings.Join(said[:len(said)-1], "")
					warned := strings.Contains(before, "the outcome is uncertain")
					if warned != (compares && tt.reason == nil) {
						t.Errorf("warned: %t", warned)
					}
					want := tt.reason
					if warned {
						want = "invalidImage" // the simulated device looks into the file's header
					}
					if answer["reason"] != want || (answer["status"] == "success") != (want == nil) {
						t.Errorf("answered %v", answer)
					}
					runs := h.record(bulb)["currentFileVersion"]
					asked := json.Number(fmt.Sprint(tt.version))
					if want == nil && (runs != asked || answer["runningVersion"] != nil) {
						t.Errorf("it runs %v, and the answer is %v", runs, answer)
					}
				})
			})
		}
	}
}

// TestWaitedFor: a device that does not hear the offer has not responded; one that has been seen to ask by
// itself is waited for instead, until it asks again, or for 30 days.
func TestWaitedFor(t *testing.T) {
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		asks     time.Duration // how often, by itself
		leaves   bool          // it has no power from when it is offered the image
		earliest time.Duration // that its upgrade ends
		latest   time.Duration
		reason   any
	}{
		"never asks":    {earliest: 5 * time.Minute, latest: time.Hour, reason: "noResponse"},
		"asks each day": {asks: day, earliest: time.Hour, latest: 25 * time.Hour},
		"asks no more": {
			asks: time.Hour, leaves: true, earliest: 30 * day, latest: 31 * day, reason: "noResponse",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := bulbConfig(bulb, 0x4f4f)
			cfg.SilentToNotify, cfg.QueryInterval = true, tt.asks
			around := surroundings{policy: func(p *otasvc.Policy) { p.QueryWatch = otasvc.WatchIdle }}
			inHomeOf(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, around, func(h *home) {
				time.Sleep(2 * day) // one that asks has done so by then
				begun := time.Now()
				h.request("upgrade", `{`+bulbID+`,"url":"`+h.image(newer, 6000)+`","transaction":"t"}`)
				if tt.leaves {
					h.within(time.Minute, "it is offered the image", h.inState("notified", 0))
					h.sim.Device(bulb).PowerOff()
				}
				time.Sleep(tt.earliest)
				if u := h.upgradeOf(bulb); u["state"] != "notified" {
					t.Errorf("after %v the record has %v", tt.earliest, u)
				}
				time.Sleep(tt.latest - time.Since(begun))
				answer := h.finalTo("upgrade", "t", true)
				if answer["reason"] != tt.reason || (answer["status"] == "success") != (tt.reason == nil) {
					t.Errorf("answered %v", answer)
				}
			})
		})
	}
}

// TestEndsBeforeItsTime: of a device that calls its download complete before it has asked for the whole image
// nobody is told that it has it.
func TestEndsBeforeItsTime(t *testing.T) {
	cfg := bulbConfig(bulb, 0x4f4f)
	cfg.SucceedsAt = 4000
	inHome(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(h *home) {
		h.request("upgrade", `{`+bulbID+`,"url":"`+h.image(newer, 12_000)+`","transaction":"t"}`)
		h.within(time.Hour, "it installs", h.inState("applying", 3900))
		finished, _ := parse(h.out.on("zigate-ota/event/downloadFinished")[0])
		for what, told := range map[string]object{"record": h.upgradeOf(bulb), "event": finished} {
			offset, progress := told["offset"].(json.Number), told["progress"].(json.Number)
			if len(offset) != 4 || !strings.HasPrefix(progress.String(), "3") {
				t.Errorf("the %s has offset %s, %s %%", what, offset, progress)
			}
		}
		if answer := h.finalTo("upgrade", "t", true); answer["status"] != "success" {
			t.Errorf("answered %v", answer)
		}
	})
}

// An image that is removed while it downloads ends the upgrade first, and then is gone.
func TestRemovedImageEndsItsUpgradeFirst(t *testing.T) {
	inHome(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}}, func(h *home) {
		h.request("upgrade", `{`+bulbID+`,"url":"`+h.image(newer, 20_000)+`","transaction":"u"}`)
		h.within(time.Hour, "it downloads", h.inState("downloading", 1000))
		h.request("remove_image", `{`+bulbID+`,"imageTypeId":8705}`)
		h.within(time.Minute, "the upgrade has ended", h.inState("cancelled", 0))
		events := h.events()
		last := events[max(0, len(events)-2):]
		if diff := cmp.Diff([]string{"upgradeCancelled", "imageRemoved"}, last); diff != "" {
			t.Errorf("the last events (-want +got):\n%s", diff)
		}
		final := h.finalTo("upgrade", "u", true)
		if final["status"] != "failure" || final["reason"] != "imageRemoved" {
			t.Errorf("answered %v", final)
		}
	})
}
