package bridge_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// attic is one more bulb of that kind.
const attic message.IEEE = 0x000b57fffec6a5d0

var threeBulbs = []message.IEEE{bulb, cellar, attic}

// inHomeOfThree runs a test in a home of three bulbs, of which change may make the first another one, with an
// image for each of them.
func inHomeOfThree(
	t *testing.T, change func(*sim.DeviceConfig), policy func(*otasvc.Policy), f func(h *home),
) {
	t.Helper()
	cfg := sim.Config{Devices: []sim.DeviceConfig{
		bulbConfig(bulb, 0x4f4f), bulbConfig(cellar, 0x5050), bulbConfig(attic, 0x5151),
	}}
	if change != nil {
		change(&cfg.Devices[0])
	}
	inHomeOf(t, cfg, surroundings{policy: policy}, func(h *home) {
		url := h.image(newer, 6000)
		for _, e := range threeBulbs {
			known := func() bool { return h.record(e)["currentFileVersion"] != nil }
			h.within(time.Hour, "it is known", known)
			h.request("add_image", `{"deviceId":"`+e.String()+`","url":"`+url+`"}`)
			offered := func() bool { return h.record(e)["updateAvailable"] == true }
			h.within(time.Minute, "its image is there", offered)
		}
		f(h)
	})
}

// record is the newest record of a device.
func (h *home) record(e message.IEEE) object {
	o, _ := parse(h.out.value("zigate-ota/device/" + e.String()))
	return o
}

// upgradeOf is what the newest record of a device says of its upgrade.
func (h *home) upgradeOf(e message.IEEE) object {
	u, _ := h.record(e)["upgrade"].(object)
	return u
}

// stateOf is the state of a device's upgrade; nil where it has none.
func (h *home) stateOf(e message.IEEE) any { return h.upgradeOf(e)["state"] }

// install presses the button of a device in Home Assistant.
func (h *home) install(e message.IEEE) {
	h.t.Helper()
	id := strings.TrimPrefix(e.String(), "0x")
	document := h.out.value("homeassistant/device/zigate_ota_" + id + "/config")
	fields := strings.Fields(entities(h.t, document)["update"])
	h.request("upgrade", fields[len(fields)-1])
}

// waitedFor are the devices that a device was said to wait for, in order.
func (h *home) waitedFor(e message.IEEE) (canaries []message.IEEE) {
	h.t.Helper()
	last := ""
	for _, m := range h.out.all("zigate-ota/device/" + e.String()) {
		o, _ := parse(m.payload)
		u, _ := o["upgrade"].(object)
		canary, _ := u["waitsFor"].(string)
		if canary != "" && u["state"] != "queued" {
			h.t.Errorf("it waits, and is %v", u["state"])
		}
		if canary == last || canary == "" {
			continue
		}
		last = canary
		for _, e := range threeBulbs {
			if e.String() == canary {
				canaries = append(canaries, e)
			}
		}
	}
	return canaries
}

// TestCanaryAsPublished: an image that no device here runs is given to one device first, whether all are
// asked for or one button after the other is pressed in Home Assistant. What its end says of the image
// decides what becomes of the others, and the records name whom they wait for.
func TestCanaryAsPublished(t *testing.T) {
	const failed = "canaryFailed"
	off := func(h *home) { h.sim.Device(bulb).PowerOff() }
	for name, tt := range map[string]struct {
		first  func(*sim.DeviceConfig)
		before func(*home) // the requests
		during func(*home) // when the first one downloads
		reason string      // how the first one ends; empty for a success
		others string      // and the others
		next   bool        // the second one goes first then
	}{
		"succeeds": {},
		"invalid": {
			first:  func(d *sim.DeviceConfig) { d.InvalidAtEnd = true },
			reason: "invalidImage", others: failed,
		},
		"version as it was": {
			first:  func(d *sim.DeviceConfig) { d.KeepsOldVersion = true },
			reason: "versionUnchanged", others: failed,
		},
		"does not return": {
			first:  func(d *sim.DeviceConfig) { d.NeverReturns = true },
			reason: "notRejoined", others: failed,
		},
		"wants more": {
			first:  func(d *sim.DeviceConfig) { d.RequireMore = true },
			reason: "requireMoreImages", others: failed,
		},
		"gives up each time": {
			first:  func(d *sim.DeviceConfig) { d.AbortAt = 2000 },
			reason: "deviceAborted", others: failed,
		},
		"gives up once": {first: func(d *sim.DeviceConfig) { d.AbortAt, d.FailFirst = 2000, 1 }},
		"is off":        {before: off, reason: "noResponse", next: true},
		"falls silent": {
			first:  func(d *sim.DeviceConfig) { d.StopsAt = 2000 },
			reason: "stalled", next: true,
		},
		"is cancelled": {
			during: func(h *home) { h.request("cancel", `{`+bulbID+`}`) }, reason: "cancelled", next: true,
		},
		"loses its image": {
			during: func(h *home) { h.request("remove_image", `{`+bulbID+`,"imageTypeId":8705}`) },
			reason: "imageRemoved", next: true,
		},
		"all are cancelled": {
			during: func(h *home) { h.request("cancel", `{"deviceId":"all"}`) },
			reason: "cancelled", others: "cancelled",
		},
	} {
		for _, all := range []bool{true, false} {
			t.Run(name+map[bool]string{true: ", all", false: ", one by one"}[all], func(t *testing.T) {
				inHomeOfThree(t, tt.first, nil, func(h *home) {
					if tt.before != nil {
						tt.before(h)
					}
					h.askForThree(all)
					if tt.during != nil {
						h.within(time.Minute, "the first one downloads, and the others wait", func() bool {
							return h.stateOf(bulb) == "downloading" &&
								h.upgradeOf(cellar)["waitsFor"] == bulb.String() &&
								h.upgradeOf(attic)["waitsFor"] == bulb.String()
						})
						tt.during(h)
					}
					h.threeEnd(all, ends{bulb: tt.reason, cellar: tt.others, attic: tt.others})
					canaries := []message.IEEE{bulb}
					if tt.next {
						canaries = append(canaries, cellar)
					}
					if diff := cmp.Diff(canaries, h.waitedFor(attic)); diff != "" {
						t.Errorf("the last one waited for (-want +got):\n%s", diff)
					}
				})
			})
		}
	}
}

// askForThree asks for the upgrades of all, or of one after the other.
func (h *home) askForThree(all bool) {
	h.t.Helper()
	if all {
		h.request("upgrade", `{"deviceId":"all","transaction":"all"}`)
		return
	}
	for _, e := range threeBulbs {
		h.install(e)
	}
}

// ends are how devices end, by their reasons; empty for a success.
type ends map[message.IEEE]string

// threeEnd waits until the upgrades have ended, and holds all that is told of how they did against the
// contract.
func (h *home) threeEnd(all bool, reasons ends) {
	h.t.Helper()
	told := func(reason string) (state, event string) {
		switch reason {
		case "":
			return "succeeded", "upgradeSucceeded"
		case "cancelled", "imageRemoved":
			return "cancelled", "upgradeCancelled"
		default:
			return "failed", "upgradeFailed"
		}
	}
	or := func(reason string) any {
		if reason == "" {
			return nil
		}
		return reason
	}
	want, got := map[string]object{}, map[string]object{}
	for e, reason := range reasons {
		state, event := told(reason)
		h.within(5*time.Hour, e.String()+" is "+state, func() bool { return h.stateOf(e) == state })
		u := h.upgradeOf(e)
		want[e.String()] = object{"euid": e.String(), "state": state, "reason": or(reason)}
		got[e.String()] = object{"euid": e.String(), "state": u["state"], "reason": u["reason"]}
		if u["waitsFor"] != nil {
			h.t.Errorf("%v waits still: %v", e, u)
		}
		events := 0
		for _, m := range h.out.all("zigate-ota/event/" + event) {
			if o, _ := parse(m.payload); o["euid"] == e.String() && o["reason"] == or(reason) {
				events++
			}
		}
		if events != 1 {
			h.t.Errorf("%d times %s of %v", events, event, e)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("records (-want +got):\n%s", diff)
	}
	h.answeredFor(all, want)
}

// answeredFor holds the final answers to the requests against how the upgrades ended.
func (h *home) answeredFor(all bool, want map[string]object) {
	h.t.Helper()
	status := func(reason any) string {
		if reason == nil {
			return "success"
		}
		return "failure"
	}
	if all {
		answer := h.finalTo("upgrade", "all", false)
		got, worst := map[string]object{}, any(nil)
		for _, result := range answer["results"].([]any) {
			o := result.(object)
			got[o["euid"].(string)] = o
			if o["reason"] != nil {
				worst = o["reason"]
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || answer["status"] != status(worst) {
			h.t.Errorf("answered %v; results (-want +got):\n%s", answer["status"], diff)
		}
		return
	}
	time.Sleep(time.Second)
	answers := map[string]int{}
	for _, m := range h.out.all("zigate-ota/response/upgrade") {
		o, _ := parse(m.payload)
		if o["status"] == "inProgress" {
			continue
		}
		euid, _ := o["euid"].(string)
		answers[euid]++
		if reason := want[euid]["reason"]; o["status"] != status(reason) || o["reason"] != reason {
			h.t.Errorf("answered %s", m.payload)
		}
	}
	one := map[string]int{bulb.String(): 1, cellar.String(): 1, attic.String(): 1}
	if diff := cmp.Diff(one, answers); diff != "" {
		h.t.Errorf("final answers (-want +got):\n%s", diff)
	}
}

// TestCanaryIsGonePast: nobody waits for the first device of an image, whatever becomes of it, where that is
// forced or turned off.
func TestCanaryIsGonePast(t *testing.T) {
	for name, tt := range map[string]struct {
		policy func(*otasvc.Policy)
		more   string // in the requests
		others string // how the others end
		waited []message.IEEE
	}{
		"as ever":    {others: "canaryFailed", waited: []message.IEEE{bulb}},
		"forced":     {more: `,"force":true`},
		"turned off": {policy: func(p *otasvc.Policy) { p.Canary = false }},
	} {
		t.Run(name, func(t *testing.T) {
			invalid := func(d *sim.DeviceConfig) { d.InvalidAtEnd = true }
			inHomeOfThree(t, invalid, tt.policy, func(h *home) {
				for _, e := range threeBulbs {
					h.request("upgrade", `{"deviceId":"`+e.String()+`"`+tt.more+`}`)
				}
				h.threeEnd(false, ends{bulb: "invalidImage", cellar: tt.others, attic: tt.others})
				if diff := cmp.Diff(tt.waited, h.waitedFor(attic)); diff != "" {
					t.Errorf("the last one waited for (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestCanaryIsChosen: of those that all are asked for at once the one goes first that is awake, on mains,
// well linked and was heard of lately.
func TestCanaryIsChosen(t *testing.T) {
	for name, tt := range map[string]struct {
		first  func(*sim.DeviceConfig)
		before func(*home)
		canary message.IEEE
	}{
		"one like the other": {canary: bulb},
		"one sleeps":         {first: func(d *sim.DeviceConfig) { d.Sleepy = true }, canary: cellar},
		"one has a battery, and was just heard": {
			first:  func(d *sim.DeviceConfig) { d.Sleepy = true },
			before: func(h *home) { h.sim.Device(bulb).Announce() },
			canary: cellar,
		},
		"one is badly linked": {first: func(d *sim.DeviceConfig) { d.LQI = 20 }, canary: cellar},
		"one was not heard for long": {
			before: func(h *home) {
				h.sim.Device(bulb).PowerOff()
				time.Sleep(2 * time.Hour)
				h.sim.Device(cellar).Announce()
				h.sim.Device(attic).Announce()
			},
			canary: cellar,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inHomeOfThree(t, tt.first, nil, func(h *home) {
				if tt.before != nil {
					tt.before(h)
					time.Sleep(time.Second) // the service has heard of it
				}
				h.request("upgrade", `{"deviceId":"all","transaction":"all"}`)
				h.within(time.Minute, "the canary has the image offered", func() bool {
					u := h.upgradeOf(tt.canary)
					return u != nil && u["state"] != "fetching" && u["state"] != "queued"
				})
				for _, e := range threeBulbs {
					if e == tt.canary {
						continue
					}
					if diff := cmp.Diff([]message.IEEE{tt.canary}, h.waitedFor(e)); diff != "" {
						t.Errorf("%v waited for (-want +got):\n%s", e, diff)
					}
				}
			})
		})
	}
}
