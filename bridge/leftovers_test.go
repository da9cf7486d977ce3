package bridge_test

import (
	"context"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/broker"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// TestLeftovers: what an earlier life of the service retained and this one does not know is cleared at the
// broker; what this one knows, and what others retained, is not touched.
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
				b, stopBroker := runBroker(t)
				defer stopBroker()
				before, stopBefore := runClient(t, b, "before")
				before.Retain(tt.topic, []byte(tt.payload))
				after(time.Second)
				stopBefore()

				var left *bridge.Leftovers
				c := newClient(t, b, "base", bridge.LeftoverSubscriptions("base", "ha",
					func(topic string, payload []byte, retained, duplicate bool) {
						left.Handle(topic, payload, retained, duplicate)
					})...)
				left = bridge.NewLeftovers("base", "ha", c) // before its first message can come
				stop := running(t, c)
				ctx, cancel := context.WithCancel(context.Background())
				var looking sync.WaitGroup
				looking.Go(func() { _ = left.Run(ctx) })
				after(10 * time.Second)
				info := `{"dongle":{"euid":null}}`
				if tt.dongle != 0 {
					info = `{"dongle":{"euid":"` + tt.dongle.String() + `"}}`
				}
				c.Retain("base/info", []byte(info))
				if tt.newTopic != "" {
					c.Retain(tt.topic, []byte(tt.newTopic))
				}
				after(2 * time.Minute)

				got := retained(t, b, "watcher", "#")
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
				after(2 * time.Minute)
				if got := retained(t, b, "later", "base/device/0x000b57fffec60002"); len(got) != 1 {
					t.Errorf("a new device: %q", got)
				}
				cancel()
				looking.Wait()
				stop()
			})
		})
	}
}

// runBroker runs an embedded broker until the returned function is called.
func runBroker(t *testing.T) (b *broker.Broker, stop func()) {
	t.Helper()
	b = broker.New(broker.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Errorf("broker: %v", err)
		}
	})
	<-b.Ready()
	return b, func() { cancel(); running.Wait() }
}

// runClient runs a client of the broker, named like its base topic, until the returned function is called.
func runClient(t *testing.T, b *broker.Broker, base string, all ...mqttclient.Subscription) (c *mqttclient.Client, stop func()) {
	t.Helper()
	c = newClient(t, b, base, all...)
	return c, running(t, c)
}

// newClient makes a client of the broker, which does not run yet.
func newClient(t *testing.T, b *broker.Broker, base string, all ...mqttclient.Subscription) *mqttclient.Client {
	t.Helper()
	c, err := mqttclient.New(mqttclient.Options{
		Base: base, Subscriptions: all,
		OpenConnection: func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return b.Dial() },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// running runs a client until stop is called.
func running(t *testing.T, c *mqttclient.Client) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return func() { cancel(); done.Wait() }
}

// retained lists the retained messages at the broker, as "topic=payload". Each name of a client is good for
// one call: the broker keeps its subscription.
func retained(t *testing.T, b *broker.Broker, name, filter string) []string {
	t.Helper()
	var got []string
	var mu sync.Mutex
	_, stop := runClient(t, b, name, mqttclient.Subscription{Filter: filter, Handler: func(topic string, payload []byte, kept, _ bool) {
		mu.Lock()
		defer mu.Unlock()
		if kept {
			got = append(got, topic+"="+string(payload))
		}
	}})
	after(time.Second)
	stop()
	mu.Lock()
	defer mu.Unlock()
	return got
}

// after lets time pass, and then lets everything that is due happen.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
