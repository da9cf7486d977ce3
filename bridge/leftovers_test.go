package bridge_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// TestLeftovers: what an earlier life of the service retained and this one does not know is cleared at the broker; what
// this one knows, and what others retained, is not touched.
func TestLeftovers(t *testing.T) {
	const gone, dongle, dongleBefore message.IEEE = 0x000b57fffec60001, 0x00158d0001020304, 0x00158d0001020305
	options := homeassistant.Options{Prefix: "ha", Base: "base"}
	others := homeassistant.Options{Prefix: "ha", Base: "other"}
	device := func(o homeassistant.Options, euid message.IEEE) homeassistant.Document {
		return homeassistant.Device(o, otasvc.DeviceRecord{EUID: euid, Name: "Lamp"})
	}
	dongleOf := func(euid message.IEEE) homeassistant.Document {
		d, _ := homeassistant.Dongle(options, otasvc.InfoRecord{Dongle: otasvc.DongleInfo{EUID: euid}})
		return d
	}
	older := func(d homeassistant.Document) string { // of a version that had one component more
		return strings.Replace(string(d.Payload), `"components":{`, `"components":{"old":{"platform":"sensor","unique_id":"x"},`, 1)
	}
	tests := []struct {
		name     string
		topic    string
		payload  string
		dongle   message.IEEE // of this life, 0: not connected
		want     string       // at the broker in the end: "kept", "gone", "retired"
		newTopic string       // published in this life
	}{
		{name: "record of a device that is gone", topic: "base/device/0x000b57fffec60001", payload: "{}", want: "gone"},
		{name: "update state of a device that is gone", topic: "base/device/0x000b57fffec60001/update", payload: "{}", want: "gone"},
		{name: "record of a device that is there", topic: "base/device/0x000b57fffec60001", payload: "{}", newTopic: "{}", want: "kept"},
		{name: "a topic that is none of ours", topic: "base/device/kitchen", payload: "{}", want: "kept"},
		{name: "an euid in another form", topic: "base/device/000b57fffec60001", payload: "{}", want: "kept"},
		{name: "another base topic", topic: "other/device/0x000b57fffec60001", payload: "{}", want: "kept"},
		{name: "document of a device that is gone", topic: device(options, gone).Topic, payload: string(device(options, gone).Payload), want: "gone"},
		{name: "document of a device that is there", topic: device(options, gone).Topic, payload: string(device(options, gone).Payload), newTopic: string(device(options, gone).Payload), want: "kept"},
		{name: "document with a component that is no more", topic: device(options, gone).Topic, payload: older(device(options, gone)), newTopic: string(device(options, gone).Payload), want: "retired"},
		{name: "document of another service", topic: device(others, gone).Topic, payload: string(device(others, gone).Payload), want: "kept"},
		{name: "document of another program", topic: "ha/device/lamp/config", payload: `{"components":{}}`, want: "kept"},
		{name: "no document", topic: "ha/device/lamp/config", payload: `none`, want: "kept"},
		{name: "a dongle that is not connected yet", topic: dongleOf(dongle).Topic, payload: string(dongleOf(dongle).Payload), want: "kept"},
		{name: "a dongle that was replaced", topic: dongleOf(dongleBefore).Topic, payload: string(dongleOf(dongleBefore).Payload), dongle: dongle, want: "gone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := newMQTTNet(t)
				defer network.stopBroker()
				before := watchInBubble(t, network.open("before"), "nothing")
				before.publish(t, tt.topic, 1, true, tt.payload)
				before.close()

				var left *bridge.Leftovers
				c := newMQTTClient(t, bridge.ClientOptions{
					OpenConnection: network.open("service"),
					Subscriptions: bridge.LeftoverSubscriptions("base", "ha", func(topic string, payload []byte, retained, duplicate bool) {
						left.Handle(topic, payload, retained, duplicate)
					}),
				})
				left = bridge.NewLeftovers("base", "ha", c)
				stop := mqttRun(t, c)
				ctx, cancel := context.WithCancel(context.Background())
				var running sync.WaitGroup
				running.Go(func() { _ = left.Run(ctx) })
				mqttAfter(10 * time.Second)
				info := `{"dongle":{"euid":null}}`
				if tt.dongle != 0 {
					info = `{"dongle":{"euid":"` + tt.dongle.String() + `"}}`
				}
				c.Retain("base/info", []byte(info))
				if tt.newTopic != "" {
					c.Retain(tt.topic, []byte(tt.newTopic))
				}
				mqttAfter(2 * time.Minute)

				got := mqttRetained(t, network.open("watcher"), "#")
				index := slices.IndexFunc(got, func(s string) bool { return strings.HasPrefix(s, tt.topic+"=") })
				switch {
				case tt.want == "gone" && index >= 0:
					t.Errorf("still there: %s", got[index])
				case tt.want != "gone" && index < 0:
					t.Errorf("cleared; there are %q", got)
				case tt.want == "retired" && !strings.Contains(got[index], `"old":{"platform":"sensor"}`):
					t.Errorf("not removed the documented way: %s", got[index])
				}
				// It looks once: what is published later is not listened to.
				c.Retain("base/device/0x000b57fffec60002", []byte("{}"))
				mqttAfter(2 * time.Minute)
				if got := mqttRetained(t, network.open("watcher"), "base/device/0x000b57fffec60002"); len(got) != 1 {
					t.Errorf("a new device: %q", got)
				}
				cancel()
				running.Wait()
				stop()
			})
		})
	}
}
