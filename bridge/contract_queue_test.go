package bridge_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// place is what the newest record of a device says of its place in the queue.
func (h *home) place(e message.IEEE) object {
	place, _ := h.upgradeOf(e)["queue"].(object)
	return place
}

// TestWaitsAsPublished: an upgrade that waits while another one downloads says at once what for, and names no
// time where nobody can tell one.
func TestWaitsAsPublished(t *testing.T) {
	anotherImage := func(second *sim.DeviceConfig) { second.ImageType = 0x2202 }
	noCanary := func(p *otasvc.Policy) { p.Canary = false }
	for word, tt := range map[string]struct {
		second func(*sim.DeviceConfig)
		policy func(*otasvc.Policy)
		more   [2]string // in the requests
		then   func(*home)
		state  string
		ends   bool // it is told when its download ends
	}{
		"canary": {state: "queued", ends: true},
		"slot":   {second: anotherImage, state: "queued", ends: true},
		"place": {
			policy: func(p *otasvc.Policy) { p.Canary, p.Concurrency = false, 1 },
			state:  "queued", ends: true,
		},
		"device": {
			second: func(d *sim.DeviceConfig) { d.SilentToNotify = true },
			policy: noCanary, state: "notified",
		},
		"time":   {more: [2]string{1: `,"when":"2000-01-01T05:00:00Z"`}, state: "scheduled", ends: true},
		"person": {then: func(h *home) { h.request("pause", `{"deviceId":"0x5050"}`) }, state: "paused"},
		"holder": {policy: noCanary, more: [2]string{`,"apply":"hold"`}, state: "queued"},
		"dongle": {second: anotherImage, then: func(h *home) { h.unplug() }, state: "queued"},
	} {
		t.Run(word, func(t *testing.T) {
			devices := []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f), bulbConfig(cellar, 0x5050)}
			if tt.second != nil {
				tt.second(&devices[1])
			}
			inHomeOf(t, sim.Config{Devices: devices}, surroundings{policy: tt.policy}, func(h *home) {
				h.twoQueue(devices, tt.more)
				if tt.then != nil {
					tt.then(h)
				}
				says := func() bool { return h.place(cellar)["waitsFor"] == word }
				h.within(time.Minute, "it waits for "+word, says)
				place := h.place(cellar)
				if ends := place["expectedEnd"] != nil; h.stateOf(cellar) != tt.state || ends != tt.ends {
					t.Errorf("it is %v, and its place is %v", h.stateOf(cellar), place)
				}
				waits := tt.state != "notified"
				if waits && place["position"] != json.Number("1") || !waits && place["position"] != nil {
					t.Errorf("its place is %v", place)
				}
			})
		})
	}
}

// twoQueue asks for the upgrades of two devices, each to an image that it takes for two minutes: for the
// second once the first one downloads.
func (h *home) twoQueue(devices []sim.DeviceConfig, more [2]string) {
	h.t.Helper()
	for i, d := range devices {
		url := h.imageOf(d.ImageType, newer, 60_000)
		h.request("upgrade", `{"deviceId":"`+d.IEEE.String()+`","url":"`+url+`"`+more[i]+`}`)
		h.within(time.Minute, "the first one downloads", h.inState("downloading", 1000))
	}
	h.within(time.Minute, "the other one has its image", func() bool {
		return h.stateOf(cellar) != nil && h.stateOf(cellar) != "fetching"
	})
}

// TestQuickerAsPublished: a slow download is put off for a quicker one, which is told, and is done in its
// first attempt. The service's record says when the last download is done, and that comes about.
func TestQuickerAsPublished(t *testing.T) {
	cfg := sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f), bulbConfig(cellar, 0x5050)}}
	cfg.Devices[0].BlockInterval = 2 * time.Second
	cfg.Devices[1].ImageType = 0x2202
	around := surroundings{policy: func(p *otasvc.Policy) { p.Slice = 5 * time.Minute }}
	inHomeOf(t, cfg, around, func(h *home) {
		slow, quick := h.image(newer, 60_000), h.imageOf(0x2202, newer, 60_000)
		h.request("upgrade", `{`+bulbID+`,"url":"`+slow+`"}`)
		h.within(10*time.Minute, "the slow one downloads", h.inState("downloading", 3000))
		h.request("upgrade", `{"deviceId":"0x5050","url":"`+quick+`"}`)
		h.within(10*time.Minute, "the slow one is put off", func() bool {
			return h.place(bulb)["waitsFor"] == "quicker" && h.place(bulb)["position"] != nil
		})
		quickDone := func() bool { return h.stateOf(cellar) == "succeeded" }
		h.within(10*time.Minute, "the quick one is done", quickDone)
		if u := h.upgradeOf(bulb); u["state"] == "succeeded" || u["attempt"] != json.Number("1") {
			t.Errorf("the slow one is %v", u)
		}
		h.within(10*time.Minute, "the slow one goes on", h.inState("downloading", 4000))
		time.Sleep(5 * time.Minute)
		foreseen, err := time.Parse(time.RFC3339, fmt.Sprint(h.downloadsEnd()))
		if err != nil || h.downloadsEnd() != h.place(bulb)["expectedEnd"] {
			t.Fatalf("all is done at %v, the last download at %v: %v", h.downloadsEnd(), h.place(bulb), err)
		}
		h.within(time.Hour, "the slow one has its image", h.inState("applying", 60_000))
		if off := time.Since(foreseen).Abs(); off > 3*time.Minute {
			t.Errorf("%v from what was foreseen", off)
		}
		if h.place(bulb) != nil || h.downloadsEnd() != nil {
			t.Errorf("then the place is %v, and all ends at %v", h.place(bulb), h.downloadsEnd())
		}
		h.within(time.Hour, "it has succeeded", h.inState("succeeded", 60_000))
		if u := h.upgradeOf(bulb); u["attempt"] != json.Number("1") {
			t.Errorf("it ended %v", u)
		}
	})
}

// downloadsEnd is what the newest record of the service says of the end of all downloads.
func (h *home) downloadsEnd() any {
	info, _ := parse(h.out.value("zigate-ota/info"))
	return info["upgrades"].(object)["expectedEnd"]
}

// inHomeOfImages runs a test in a home of three bulbs, of an image type each, where the first downloads its
// image, which takes minutes, and the second waits for the slot: both of "all".
func inHomeOfImages(t *testing.T, change func([]sim.DeviceConfig), f func(h *home)) {
	t.Helper()
	devices := []sim.DeviceConfig{
		bulbConfig(bulb, 0x4f4f), bulbConfig(cellar, 0x5050), bulbConfig(attic, 0x5151),
	}
	devices[1].ImageType, devices[2].ImageType = 0x2202, 0x2203
	change(devices)
	around := surroundings{policy: func(p *otasvc.Policy) { p.Canary = false }}
	inHomeOf(t, sim.Config{Devices: devices}, around, func(h *home) {
		for _, d := range devices[:2] {
			url := h.imageOf(d.ImageType, newer, 100_000)
			h.request("add_image", `{"deviceId":"`+d.IEEE.String()+`","url":"`+url+`"}`)
			offered := func() bool { return h.record(d.IEEE)["updateAvailable"] == true }
			h.within(time.Minute, "its image is there", offered)
		}
		h.request("upgrade", `{"deviceId":"all","transaction":"all"}`)
		h.within(time.Minute, "the first one downloads, and the second one waits", func() bool {
			return h.stateOf(bulb) == "downloading" && h.place(cellar)["waitsFor"] == "slot"
		})
		url := h.imageOf(devices[2].ImageType, newer, 100_000)
		h.request("upgrade", `{"deviceId":"0x5151","url":"`+url+`"}`)
		f(h)
	})
}

// TestNamedGoFirst: a device that is named comes before those of "all" that wait, though its download takes
// longer; and no download is interrupted for it.
func TestNamedGoFirst(t *testing.T) {
	slower := func(devices []sim.DeviceConfig) { devices[2].BlockInterval = 200 * time.Millisecond }
	inHomeOfImages(t, slower, func(h *home) {
		h.within(time.Minute, "it is the next", func() bool {
			first, second := h.place(attic)["position"], h.place(cellar)["position"]
			return first == json.Number("1") && second == json.Number("2")
		})
		h.within(time.Hour, "it has succeeded", func() bool { return h.stateOf(attic) == "succeeded" })
		if h.stateOf(cellar) == "succeeded" || h.stateOf(bulb) != "succeeded" {
			t.Errorf("before it, the others are %v and %v", h.stateOf(bulb), h.stateOf(cellar))
		}
		if answer := h.finalTo("upgrade", "all", false); answer["status"] != "success" {
			t.Errorf("answered %v", answer)
		}
		for _, e := range threeBulbs {
			if u := h.upgradeOf(e); u["attempt"] != json.Number("1") {
				t.Errorf("it ended %v", u)
			}
		}
		if paused := h.out.on("zigate-ota/event/downloadPaused"); len(paused) > 0 {
			t.Errorf("told of %s", paused)
		}
	})
}

// TestJoinsTheLoadedImage: a device of the image that is being downloaded joins in at once, before those that
// have waited for the slot.
func TestJoinsTheLoadedImage(t *testing.T) {
	same := func(devices []sim.DeviceConfig) { devices[2].ImageType = devices[0].ImageType }
	inHomeOfImages(t, same, func(h *home) {
		h.within(30*time.Second, "it downloads beside the first one", func() bool {
			return h.stateOf(attic) == "downloading" && h.stateOf(bulb) == "downloading"
		})
		if h.stateOf(cellar) != "queued" {
			t.Errorf("the one that waits is %v", h.stateOf(cellar))
		}
	})
}
