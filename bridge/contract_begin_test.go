package bridge_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// index is a catalog with one image for the bulbs, which it has only once it was read.
type index struct {
	images *library.Library
	url    string
	read   chan struct{}
}

func (i *index) All(d library.Device) []library.Candidate {
	select {
	case <-i.read:
		if i.url == "" || d.ImageType != 0x2201 {
			return nil
		}
		return []library.Candidate{{
			Source: library.SourceIndex, ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: newer,
		}}
	default:
		return nil
	}
}

func (i *index) Best(d library.Device) (best library.Candidate, ok bool) {
	if all := i.All(d); len(all) > 0 {
		return all[0], true
	}
	return best, false
}

func (i *index) Ensure(ctx context.Context, _ library.Candidate) (library.Image, error) {
	return i.images.Fetch(ctx, library.Request{URL: i.url})
}

func (i *index) Explain(library.Device) error { return library.ErrNoMatch }
func (i *index) Refresh()                     {}
func (i *index) Changed() <-chan struct{}     { return nil }
func (i *index) Read() <-chan struct{}        { return i.read }

// TestUpgradeBeforeImagesAreRead: who asks for an upgrade while the image folder and the indexes are still
// being read is told so, and waits for them; nothing has failed before.
func TestUpgradeBeforeImagesAreRead(t *testing.T) {
	const reading = "still being read"
	for _, found := range []bool{true, false} {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprintf("found %t, all %t", found, all), func(t *testing.T) {
				var late *index
				around := surroundings{catalog: func(images *library.Library) otasvc.Catalog {
					late = &index{images: images, read: make(chan struct{})}
					return late
				}}
				cfg := sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}}
				inHomeOf(t, cfg, around, func(h *home) {
					device, want := bulbID, "success"
					if all {
						device = `"deviceId":"all"`
					}
					if found {
						late.url = h.image(newer, 6000)
					} else if !all {
						want = "failure"
					}
					h.request("upgrade", `{`+device+`,"transaction":"t"}`)
					time.Sleep(10 * time.Second)
					said := h.out.on("zigate-ota/response/upgrade")
					if len(said) != 1 {
						t.Fatalf("answered %q", said)
					}
					first, _ := parse(said[0])
					why, _ := first["error"].(string)
					if first["status"] != "inProgress" || !strings.Contains(why, reading) {
						t.Errorf("answered %v", first)
					}
					if failed := h.out.on("zigate-ota/event/upgradeFailed"); len(failed) > 0 {
						t.Errorf("told of %s", failed)
					}
					close(late.read)
					answer := h.finalTo("upgrade", "t", !all)
					noImage := answer["reason"] == "imageInfoNotFound"
					if answer["status"] != want || noImage != (want == "failure") {
						t.Errorf("answered %v", answer)
					}
					if runs := h.latest(bulb) == "0x23095631"; runs != found {
						t.Errorf("the update state is %s", h.out.value(updateTopic))
					}
				})
			})
		}
	}
}

// TestUnsolicitedAsPublished: a device that asks for blocks without an upgrade is refused, which an event
// tells, once a minute at most; or it is served, where that is configured, and its upgrade is told as any
// other.
func TestUnsolicitedAsPublished(t *testing.T) {
	for name, tt := range map[string]struct {
		serve  bool
		events string
	}{
		"refused": {false, "unsolicitedRequest"},
		"served":  {true, "downloadStarted downloadFinished upgradeApplying upgradeSucceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			around := surroundings{policy: func(p *otasvc.Policy) { p.ServeUnsolicited = tt.serve }}
			devices := []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f), bulbConfig(cellar, 0x5050)}
			inHomeOf(t, sim.Config{Devices: devices}, around, func(h *home) {
				h.request("upgrade", `{`+bulbID+`,"url":"`+h.image(newer, 60_000)+`"}`)
				h.within(time.Minute, "the other one downloads", h.inState("downloading", 1000))
				for range 3 {
					h.sim.Device(cellar).Query()
					time.Sleep(5 * time.Second)
				}
				h.within(time.Hour, "the other one has succeeded", h.inState("succeeded", 60_000))
				time.Sleep(10 * time.Minute)
				var events []string
				beside := []string{"downloadProgress", "deviceAnnounced"}
				for _, m := range h.out.all("zigate-ota/event/") {
					name := strings.TrimPrefix(m.topic, "zigate-ota/event/")
					e, _ := parse(m.payload)
					if e["euid"] == cellar.String() && !slices.Contains(beside, name) {
						events = append(events, name)
					}
				}
				if diff := cmp.Diff(strings.Fields(tt.events), events); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
				want := map[bool]any{true: "succeeded", false: nil}[tt.serve]
				if state := h.stateOf(cellar); state != want {
					t.Errorf("its upgrade is %v, want %v", state, want)
				}
				h.checkEvents()
			})
		})
	}
}
