package broker_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/zigate-ota/zigate-ota/bridge/broker"
)

// A packet of 256 KiB passes; the sender of a larger one is cut off, and nobody else suffers.
func TestPacketSize(t *testing.T) {
	b, stop := start(t, broker.Options{Addr: "127.0.0.1:0"})
	defer stop()
	const head = 2 + len("a") + 2 // length of the topic, the topic, the packet identifier
	tests := []struct {
		name    string
		payload int
		passes  bool
	}{
		{name: "largest", payload: 256<<10 - 1 - head, passes: true},
		{name: "a byte more", payload: 256<<10 - head},
		{name: "4 MB", payload: 4 << 20},
	}
	other := mustConnect(t, overTCP(b), "other")
	defer other.Disconnect(100)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sender := mustConnect(t, overTCP(b), "sender")
			defer sender.Disconnect(100)
			token := sender.Publish("a", 1, false, make([]byte, tt.payload))
			token.Wait()
			if passed := token.Error() == nil && sender.IsConnectionOpen(); passed != tt.passes {
				t.Errorf("passed: %v, want %v (%v)", passed, tt.passes, token.Error())
			}
			wait(t, other.Publish("b", 1, false, "1"))
		})
	}
}

// Nobody who comes over the network gets the session of the service by its client identifier.
func TestServiceIdentity(t *testing.T) {
	var log bytes.Buffer
	b, stop := start(t, broker.Options{
		Addr: "127.0.0.1:0", ServiceID: "zigate-ota", Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	thief := func(when string) {
		t.Helper()
		c, err := connect(t, overTCP(b), "zigate-ota", "", "")
		if !errors.Is(err, packets.ErrorRefusedIDRejected) {
			t.Errorf("%s: %v, want the identifier refused", when, err)
		}
		if err == nil {
			c.Disconnect(100)
		}
	}
	thief("before the service has connected")
	service := mustConnect(t, inside(b), "zigate-ota")
	thief("while the service is connected")
	if !service.IsConnectionOpen() {
		t.Error("the service was disconnected")
	}
	wait(t, service.Publish("a", 1, false, "1"))
	service.Disconnect(100)
	thief("after the service has left")
	mustConnect(t, overTCP(b), "another").Disconnect(100)
	stop()
	if !strings.Contains(log.String(), "client identifier of the service") {
		t.Errorf("told:\n%s", log.String())
	}
}

// Clients that begin large packets and do not go on have no more than a few megabytes between them; who
// goes on in time is served.
func TestLargePacketsUnfinished(t *testing.T) {
	b, stop := start(t, broker.Options{Addr: "127.0.0.1:0"})
	defer stop()
	begin := append([]byte{0x30, 0xf0, 0xff, 0x0f, 0, 1, 'a'}, make([]byte, 20_000)...)
	cut := 0
	for i := range 40 { // of 256 KiB each
		conn := named(t, b, fmt.Sprint("client", i))
		defer conn.Close()
		if _, err := conn.Write(begin); err != nil {
			cut++
			continue
		}
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			cut++
		}
	}
	if cut < 20 || cut > 30 {
		t.Errorf("%d of 40 were cut off, want those beyond 4 MiB", cut)
	}
	c := mustConnect(t, overTCP(b), "small")
	wait(t, c.Publish("a", 1, false, "1"))
	c.Disconnect(100)
}

// named connects a client by hand.
func named(t *testing.T, b *broker.Broker, id string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	hello.ProtocolName, hello.ProtocolVersion, hello.ClientIdentifier, hello.CleanSession = "MQTT", 4, id, true
	if err := hello.Write(conn); err != nil {
		t.Fatal(err)
	}
	if _, err := packets.ReadPacket(conn); err != nil { // CONNACK
		t.Fatal(err)
	}
	return conn
}

// Clients that have sent a large packet and stay leave room for the large packets of others.
func TestLargePacketsFinished(t *testing.T) {
	b, stop := start(t, broker.Options{Addr: "127.0.0.1:0"})
	defer stop()
	for i := range 40 { // of 250 KB each
		c := mustConnect(t, overTCP(b), fmt.Sprint("client", i))
		defer c.Disconnect(0)
		wait(t, c.Publish("a", 1, false, make([]byte, 250_000)))
	}
}

// The first packet, of which a part is kept as long as the session, may not be large.
func TestFirstPacketLarge(t *testing.T) {
	b, stop := start(t, broker.Options{Addr: "127.0.0.1:0"})
	defer stop()
	for size, passes := range map[int]bool{10_000: true, 20_000: false} {
		o := mqtt.NewClientOptions().AddBroker("tcp://test").SetClientID("client").SetProtocolVersion(4).
			SetAutoReconnect(false).SetCustomOpenConnectionFn(overTCP(b)).
			SetWill("a", strings.Repeat("x", size), 0, false)
		c := mqtt.NewClient(o)
		token := c.Connect()
		token.Wait()
		if passed := token.Error() == nil; passed != passes {
			t.Errorf("a will of %d bytes: %v", size, token.Error())
		}
		c.Disconnect(0)
	}
}

// A client with too many subscriptions is cut off, be it by their number or by their levels; others go on.
func TestSubscriptionsBound(t *testing.T) {
	b, stop := start(t, broker.Options{Addr: "127.0.0.1:0"})
	defer stop()
	other := mustConnect(t, overTCP(b), "other")
	defer other.Disconnect(100)
	tests := []struct {
		name    string
		filter  func(i int) string
		filters int
		passes  bool
	}{
		{name: "a thousand", filter: func(i int) string { return fmt.Sprint("a/", i) }, filters: 1000, passes: true},
		{name: "many", filter: func(i int) string { return fmt.Sprint("a/", i) }, filters: 4000},
		{name: "deep", filter: func(int) string { return strings.Repeat("/", 10_000) }, filters: 1},
		{name: "the same", filter: func(int) string { return "a" }, filters: 5000, passes: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := mustConnect(t, overTCP(b), "subscriber")
			defer c.Disconnect(100)
			passed := true
			for i := 0; i < tt.filters && passed; i += 100 {
				filters := map[string]byte{}
				for j := i; j < min(i+100, tt.filters); j++ {
					filters[tt.filter(j)] = 1
				}
				token := c.SubscribeMultiple(filters, nil)
				passed = token.Wait() && token.Error() == nil
			}
			if passed != tt.passes {
				t.Errorf("passed: %v, want %v", passed, tt.passes)
			}
			wait(t, other.Publish("a/1", 1, false, "1"))
		})
	}
}
