package mqttclient_test

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
)

func TestClientPublishesAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newNetwork(t)
		defer network.stopBroker()
		watcher := watchInBubble(t, network.open("watcher"), "#")
		defer watcher.close()
		observer := &countingObserver{}
		c := newClient(t, mqttclient.Options{OpenConnection: network.open("service"), Observer: observer})
		if c.Connected() || c.Health() == nil {
			t.Errorf("before Run: Connected %v, Health %v", c.Connected(), c.Health())
		}
		c.Retain("base/info", []byte("1"))
		c.Publish("base/event/a", []byte("1"))
		stop := runClient(t, c)
		sleepPast(time.Minute)
		if !c.Connected() || c.Health() != nil {
			t.Errorf("running: Connected %v, Health %v", c.Connected(), c.Health())
		}
		c.Retain("base/info", []byte("1"))
		c.Retain("base/info", []byte("2"))
		c.Publish("base/event/a", []byte("2"))
		synctest.Wait()
		c.Retain("base/gone", []byte("1"))
		synctest.Wait()
		c.Clear("base/gone")
		synctest.Wait()
		wantMQTT(t, "published", []string{
			"base/status=online", "base/info=1", "base/event/a=1", "base/info=2", "base/event/a=2", "base/gone=1", "base/gone=",
		}, watcher.take())

		c.Publish("base/event/a", []byte("last"))
		stop()
		synctest.Wait()
		wantMQTT(t, "published at the stop", []string{"base/event/a=last", "base/status=offline"}, watcher.take())
		wantMQTT(t, "retained", []string{"base/info=2 (retained)", "base/status=offline (retained)"},
			sorted(retainedAt(t, network.open("reader"), "base/#")))
		if c.Connected() {
			t.Error("still connected")
		}
		want := &countingObserver{up: []bool{true, false}}
		if diff := cmp.Diff(want.up, observer.up); diff != "" || observer.waiting != 0 || observer.dropped != nil {
			t.Errorf("observed %v (%s), %d waiting, %v dropped", observer.up, diff, observer.waiting, observer.dropped)
		}
	})
}

func TestClientLastWill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newNetwork(t)
		defer network.stopBroker()
		watcher := watchInBubble(t, network.open("watcher"), "base/status")
		defer watcher.close()
		c := newClient(t, mqttclient.Options{OpenConnection: network.open("service")})
		defer runClient(t, c)()
		sleepPast(time.Second)
		network.cut("service", true)
		sleepPast(time.Minute)
		wantMQTT(t, "status", []string{"base/status=online", "base/status=offline"}, watcher.take())
		if err := c.Health(); !errors.Is(err, mqttclient.ErrBrokerUnreachable) {
			t.Errorf("Health = %v", err)
		}
		network.cut("service", false)
		sleepPast(2 * time.Minute)
		wantMQTT(t, "status", []string{"base/status=online"}, watcher.take())
		if err := c.Health(); err != nil {
			t.Errorf("Health = %v", err)
		}
	})
}

// TestClientStatusReclaimed: the Last Will of a connection that the broker gives up late arrives after
// the next connection has said "online".
func TestClientStatusReclaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newNetwork(t)
		defer network.stopBroker()
		watcher := watchInBubble(t, network.open("watcher"), "base/status")
		defer watcher.close()
		c := newClient(t, mqttclient.Options{OpenConnection: network.open("service")})
		defer runClient(t, c)()
		sleepPast(time.Second)
		watcher.publish(t, "base/status", 1, true, "offline")
		sleepPast(time.Second)
		wantMQTT(t, "status", []string{"base/status=online", "base/status=offline", "base/status=online"}, watcher.take())
	})
}

func TestClientReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newNetwork(t)
		var log logLines
		c := newClient(t, mqttclient.Options{OpenConnection: network.open("service"), Logger: log.logger()})
		stop := runClient(t, c)
		c.Retain("base/device/1", []byte("a"))
		c.Retain("base/device/2", []byte("a"))
		c.Retain("base/device/3", []byte("a"))
		sleepPast(time.Hour)

		network.stopBroker()
		sleepPast(time.Hour)
		c.Publish("base/event/a", []byte("1"))
		c.Retain("base/device/2", []byte("b"))
		c.Retain("base/device/4", []byte("a"))
		c.Clear("base/device/3")
		c.Publish("base/event/a", []byte("2"))
		c.Retain("base/device/2", []byte("c"))
		network.startBroker() // one that knows nothing
		watcher := watchInBubble(t, network.open("watcher"), "#")
		sleepPast(2 * time.Minute)
		wantMQTT(t, "published again", []string{
			"base/status=online",
			"base/device/1=a", "base/device/2=c", "base/device/3=", "base/device/4=a",
			"base/event/a=1", "base/event/a=2",
		}, watcher.take())

		c.RepublishAll()
		synctest.Wait()
		wantMQTT(t, "published on demand", []string{"base/device/1=a", "base/device/2=c", "base/device/4=a"}, watcher.take())
		// Lost once, away once, though it was tried many times; connected twice.
		if n := log.count("no connection to the MQTT broker"); n != 2 {
			t.Errorf("told %d times that the broker is away, want 2:\n%s", n, log.buffer.String())
		}
		if n := log.count("connected to the MQTT broker"); n != 2 {
			t.Errorf("told %d times that it is there, want 2", n)
		}
		stop()
		watcher.close()
		network.stopBroker()
	})
}

func TestClientBrokerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newNetwork(t)
		observer := &countingObserver{}
		c := newClient(t, mqttclient.Options{OpenConnection: network.open("service"), Observer: observer})
		stop := runClient(t, c)
		sleepPast(time.Second)
		network.stopBroker()
		const events = 20_000
		var want []string
		for i := range events {
			c.Publish("base/event/a", fmt.Append(nil, i))
			c.Retain("base/info", fmt.Append(nil, i))
			if i >= events-mqttclient.OutboxLimit {
				want = append(want, fmt.Sprintf("base/event/a=%d", i))
			}
		}
		want = append([]string{"base/status=online", fmt.Sprintf("base/info=%d", events-1)}, want...)
		network.startBroker()
		watcher := watchInBubble(t, network.open("watcher"), "#")
		sleepPast(5 * time.Minute)
		wantMQTT(t, "published", want, watcher.take())
		if observer.waiting != 0 || observer.dropped["overflow"] != events-mqttclient.OutboxLimit {
			t.Errorf("%d waiting, %v dropped", observer.waiting, observer.dropped)
		}
		stop()
		watcher.close()
		network.stopBroker()
	})
}

func TestClientQueuedCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newNetwork(t)
		defer network.stopBroker()
		watcher := watchInBubble(t, network.open("watcher"), "base/status")
		defer watcher.close()
		start := func(inbox *messageInbox) func() {
			return runClient(t, newClient(t, mqttclient.Options{
				OpenConnection: network.open("service"),
				Subscriptions:  []mqttclient.Subscription{{Filter: "base/request/#", Commands: inbox.command}},
			}))
		}
		var inbox messageInbox
		stop := start(&inbox)
		sleepPast(time.Second)
		watcher.publish(t, "base/request/a", 0, false, "0")
		watcher.publish(t, "base/request/a", 1, false, "1")
		watcher.publish(t, "base/request/b", 2, false, "2")
		sleepPast(time.Second)
		wantMQTT(t, "commands", []string{"base/request/a=0", "base/request/a=1", "base/request/b=2"}, inbox.take())
		stop()

		for i := range 5 {
			watcher.publish(t, "base/request/a", byte(1+i%2), false, fmt.Sprint(i))
			sleepPast(2 * time.Second) // the broker sorts by the second
		}
		watcher.publish(t, "base/request/c", 1, true, "kept")
		var later messageInbox
		stop = start(&later) // a new process
		sleepPast(10 * time.Second)
		got := later.take()
		// The retained message comes before those that waited, which are held back for it.
		slices.SortStableFunc(got, func(a, b string) int { return strings.Compare(a[:len("base/request/c")], b[:len("base/request/c")]) })
		want := []string{"base/request/a=0", "base/request/a=1", "base/request/a=2", "base/request/a=3", "base/request/a=4",
			"base/request/c=kept (retained)"}
		wantMQTT(t, "commands of the time away", want, got)
		stop()
		synctest.Wait()
		wantMQTT(t, "status", []string{"base/status=online", "base/status=offline", "base/status=online", "base/status=offline"}, watcher.take())
	})
}

func TestClientSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newNetwork(t)
		defer network.stopBroker()
		watcher := watchInBubble(t, network.open("watcher"), "base/status")
		defer watcher.close()
		var requests, births, deep messageInbox
		c := newClient(t, mqttclient.Options{
			OpenConnection: network.open("service"),
			Subscriptions: []mqttclient.Subscription{
				{Filter: "base/request/+", Handler: requests.handle},
				{Filter: "ha/status", Handler: births.handle},
				{Filter: "base/+/x/#", Handler: deep.handle},
			},
		})
		defer runClient(t, c)()
		sleepPast(time.Second)
		for _, topic := range []string{"base/request/a", "base/request/a/b", "base/request", "ha/status", "ha/status/x", "ha", "base/y/x", "base/y/x/z/z", "base/y/z"} {
			watcher.publish(t, topic, 1, false, "1")
		}
		sleepPast(time.Second)
		wantMQTT(t, "requests", []string{"base/request/a=1"}, requests.take())
		wantMQTT(t, "births", []string{"ha/status=1"}, births.take())
		wantMQTT(t, "deep", []string{"base/y/x=1", "base/y/x/z/z=1"}, deep.take())
	})
}

func TestClientTriesBrokersInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newNetwork(t)
		defer network.stopBroker()
		open := network.open("service")
		var tried []string
		c := newClient(t, mqttclient.Options{
			URLs: []string{"tcp://first", "wss://user:secret@second/mqtt", "mqtts://third:1"},
			OpenConnection: func(u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
				tried = append(tried, u.Scheme+" "+u.Host)
				if len(tried) < 6 {
					return nil, fmt.Errorf("attempt %d", len(tried))
				}
				return open(u, o)
			},
		})
		defer runClient(t, c)()
		synctest.Wait()
		err := c.Health()
		for _, part := range []string{"first:1883: attempt 1", "wss://second:443: attempt 2", "third:1: attempt 3"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("Health = %v: lacks %q", err, part)
			}
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("Health = %v: tells the password", err)
		}
		sleepPast(time.Minute)
		want := []string{"tcp first:1883", "wss second:443", "mqtts third:1", "tcp first:1883", "wss second:443", "mqtts third:1"}
		wantMQTT(t, "tried", want, tried)
		if !c.Connected() {
			t.Error("not connected")
		}
	})
}

func TestNewClientErrors(t *testing.T) {
	tests := []struct {
		name    string
		options mqttclient.Options
		want    string
	}{
		{name: "no base topic", options: mqttclient.Options{URLs: []string{"tcp://host"}}, want: "base topic"},
		{name: "wildcard", options: mqttclient.Options{Base: "a/#", URLs: []string{"tcp://host"}}, want: `"a/#"`},
		{name: "trailing slash", options: mqttclient.Options{Base: "a/", URLs: []string{"tcp://host"}}, want: `"a/"`},
		{name: "no broker", options: mqttclient.Options{Base: "a"}, want: "ZIGATE_OTA_MQTT_URL"},
		{name: "no scheme", options: mqttclient.Options{Base: "a", URLs: []string{"host:1883"}}, want: "tcp://"},
		{name: "wrong scheme", options: mqttclient.Options{Base: "a", URLs: []string{"http://u:secret@host"}}, want: "must begin with tcp://"},
		{name: "forgotten scheme", options: mqttclient.Options{Base: "a", URLs: []string{"user:secret@host"}}, want: "tcp://"},
		{name: "no host", options: mqttclient.Options{Base: "a", URLs: []string{"tcp://:1883"}}, want: "no host"},
		{name: "no URL", options: mqttclient.Options{Base: "a", URLs: []string{"tcp://u:secret@[host"}}, want: "not a URL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := mqttclient.New(tt.options)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error tells the password: %v", err)
			}
		})
	}
}

func TestDefaultClientID(t *testing.T) {
	tests := []struct{ base, want string }{
		{"zigate-ota", "zigate-ota"},
		{"home/zigate-ota", "home-zigate-ot-05e9961d"},
		{"home-zigate-ota", "home-zigate-ota"},
		{"a-very-long-base-topic-of-a-service", "a-very-long-ba-05f1bc9a"},
		{"Büro", "B-ro-96eecebc"},
	}
	seen := map[string]bool{}
	for _, tt := range tests {
		got := mqttclient.DefaultClientID(tt.base)
		if len(got) > 23 || seen[got] || got != mqttclient.DefaultClientID(tt.base) {
			t.Errorf("DefaultClientID(%q) = %q: too long, not unique or not stable", tt.base, got)
		}
		if got != tt.want {
			t.Errorf("DefaultClientID(%q) = %q, want %q", tt.base, got, tt.want)
		}
		seen[got] = true
	}
}

// FuzzBrokerURL: whatever is given as a broker is taken or refused, and no refusal tells the password.
func FuzzBrokerURL(f *testing.F) {
	for _, spec := range []string{
		"tcp://host", "ssl://user:hunter2secret@host:8883", "ws://[::1]/mqtt", "wss://host/", "unix:///run/mqtt", "mqtt://", "host:1883",
		"http://u:hunter2secret@host", "tcp://u:hunter2secret@[host", "tcp://u:hunter2secret@host:port", ":", "",
	} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		c, err := mqttclient.New(mqttclient.Options{Base: "base", URLs: []string{spec}})
		switch {
		case (c == nil) != (err != nil):
			t.Errorf("client %v with error %v", c, err)
		case err != nil && strings.Contains(spec, ":hunter2secret@") && strings.Contains(err.Error(), "hunter2secret"):
			t.Errorf("%q: the error tells the password: %v", spec, err)
		}
	})
}
