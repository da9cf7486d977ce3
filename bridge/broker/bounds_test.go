package broker_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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

// Clients that begin large packets and do not go on have no more than 4 MiB between them; who goes on in time
// is served.
func TestLargePacketsUnfinished(t *testing.T) {
	b, stop := start(t, broker.Options{Addr: "127.0.0.1:0"})
	defer stop()
	const clients, fit = 40, 16 // of 256 KiB each
	whole := append([]byte{0x30, 0xf0, 0xff, 0x0f, 0, 1, 'a'}, make([]byte, 256<<10-16-3)...)
	begun := whole[:20_000]
	rest := append(whole[len(begun):], packets.Pingreq<<4, 0)

	type result struct {
		client int
		cut    bool // the connection has ended; otherwise something came
	}
	results := make(chan result, clients)
	var conns []net.Conn
	for i := range clients {
		conn := named(t, b, fmt.Sprint("client", i))
		defer conn.Close()
		conns = append(conns, conn)
		go func() {
			_, err := conn.Read(make([]byte, 1))
			results <- result{i, err != nil}
		}()
	}

	for _, conn := range conns {
		_, _ = conn.Write(begun) // an error where it was cut off already
	}
	cut := map[int]bool{}
	for range clients - fit {
		r := <-results
		if !r.cut {
			t.Fatalf("client %d got something before its packet was whole", r.client)
		}
		cut[r.client] = true
	}
	for i, conn := range conns {
		if cut[i] {
			continue
		}
		if _, err := conn.Write(rest); err != nil {
			t.Errorf("client %d: %v", i, err)
		}
	}
	for range fit {
		if r := <-results; r.cut {
			t.Errorf("client %d was cut off, though there was room and it went on", r.client)
		}
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

// counts is an observer.
type counts struct {
	mu      sync.Mutex
	cut     int
	dropped map[broker.DropReason]int
}

func (c *counts) BrokerClientCut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut++
}

func (c *counts) BrokerDropped(reason broker.DropReason, messages int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped == nil {
		c.dropped = map[broker.DropReason]int{}
	}
	c.dropped[reason] += messages
}

func (c *counts) get() (int, map[broker.DropReason]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut, c.dropped
}

// deaf connects a client that subscribes to everything and does not read afterwards.
func deaf(t *testing.T, conn net.Conn, id string, qos byte, clean bool) {
	t.Helper()
	hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	hello.ProtocolName, hello.ProtocolVersion, hello.ClientIdentifier, hello.CleanSession = "MQTT", 4, id, clean
	if err := hello.Write(conn); err != nil {
		t.Fatal(err)
	}
	all := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	all.Topics, all.Qoss, all.MessageID = []string{"#"}, []byte{qos}, 1
	if err := all.Write(conn); err != nil {
		t.Fatal(err)
	}
	for range 2 { // CONNACK, SUBACK
		if _, err := packets.ReadPacket(conn); err != nil {
			t.Fatal(err)
		}
	}
}

// A client that does not read is cut off, whatever keep-alive it asked for, and nobody waits for it: neither
// who publishes nor who reads.
func TestClientThatDoesNotRead(t *testing.T) {
	for qos := range byte(3) {
		for name, size := range map[string]int{"many small": 2_000, "few large": 250_000} {
			t.Run(fmt.Sprintf("QoS %d, %s", qos, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var seen counts
					b, stop := start(t, broker.Options{Observer: &seen})
					conn, err := b.Dial()
					if err != nil {
						t.Fatal(err)
					}
					deaf(t, conn, "deaf", qos, true)
					reader := mustConnect(t, inside(b), "reader")
					var arrived sync.WaitGroup
					wait(t, reader.Subscribe("#", 1, func(mqtt.Client, mqtt.Message) { arrived.Done() }))
					publisher := mustConnect(t, inside(b), "publisher")
					begun := time.Now()
					messages := 6_000_000 / size
					arrived.Add(messages)
					for range messages {
						wait(t, publisher.Publish("a", 1, false, make([]byte, size)))
					}
					arrived.Wait()
					if took := time.Since(begun); took > 30*time.Second {
						t.Errorf("others waited for %v", took)
					}
					time.Sleep(20 * time.Second)
					arrived.Add(1)
					wait(t, publisher.Publish("a", 1, false, make([]byte, size)))
					arrived.Wait()
					time.Sleep(time.Second)
					if cut, _ := seen.get(); cut != 1 {
						t.Errorf("cut off: %d, want 1", cut)
					}
					reader.Disconnect(100)
					publisher.Disconnect(100)
					conn.Close()
					stop()
				})
			})
		}
	}
}

// What waits for a client that is away is bounded: what is too much is dropped, counted and told of once. The
// rest comes in order.
func TestQueueFull(t *testing.T) {
	var log bytes.Buffer
	var seen counts
	b, stop := start(t, broker.Options{Observer: &seen, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	away, _ := resume(t, inside(b), "away")
	wait(t, away.Subscribe("#", 1, nil))
	away.Disconnect(100)
	publisher := mustConnect(t, inside(b), "publisher")
	filler := strings.Repeat("x", 100_000)
	const messages = 20
	for i := range messages {
		wait(t, publisher.Publish("a", 1, false, fmt.Sprint(i, " ", filler)))
	}
	_, dropped := seen.get()
	lost := dropped[broker.DroppedQueueFull]
	if lost < 8 || lost > 12 {
		t.Fatalf("dropped %v, want what is beyond 1 MiB", dropped)
	}
	away, got := resume(t, inside(b), "away")
	for i, s := range take(got, messages-lost) {
		if !strings.HasPrefix(s, fmt.Sprintf("a=%d ", i)) {
			t.Fatalf("message %d is %.10s", i, s)
		}
	}
	wait(t, publisher.Publish("a", 1, false, "later"))
	if s := take(got, 1); s[0] != "a=later" {
		t.Errorf("then came %.10s", s[0])
	}
	away.Disconnect(100)
	publisher.Disconnect(100)
	stop()
	if n := strings.Count(log.String(), "queue of a client is full"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
}

// All queues together are bounded too.
func TestAllQueues(t *testing.T) {
	var seen counts
	b, stop := start(t, broker.Options{Addr: "127.0.0.1:0", Observer: &seen})
	const sessions, each = 11, 9
	for i := range sessions {
		c, _ := resume(t, overTCP(b), fmt.Sprint("away", i))
		wait(t, c.Subscribe(fmt.Sprint("to", i), 1, nil))
		c.Disconnect(100)
	}
	publisher := mustConnect(t, overTCP(b), "publisher")
	for i := range sessions {
		for range each {
			wait(t, publisher.Publish(fmt.Sprint("to", i), 1, false, make([]byte, 100_000)))
		}
	}
	_, dropped := seen.get()
	if n := dropped[broker.DroppedMemory]; n != 2*each {
		t.Errorf("dropped %v, want the longest queues", dropped)
	}
	c, got := resume(t, overTCP(b), "away10")
	take(got, each)
	c.Disconnect(100)
	publisher.Disconnect(100)
	stop()
}

// Others than the service cannot retain without bound; the service can, and what is cleared makes room.
func TestRetainedBound(t *testing.T) {
	var log bytes.Buffer
	var seen counts
	b, stop := start(t, broker.Options{
		Addr: "127.0.0.1:0", Observer: &seen, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	service, other := mustConnect(t, inside(b), "service"), mustConnect(t, overTCP(b), "other")
	for i := range 100 {
		wait(t, other.Publish(fmt.Sprint("other/", i), 1, true, make([]byte, 100_000)))
		wait(t, service.Publish(fmt.Sprint("service/", i), 1, true, make([]byte, 100_000)))
	}
	_, dropped := seen.get()
	refused := dropped[broker.DroppedRetainedFull]
	if refused < 10 || refused > 20 {
		t.Errorf("not retained: %v, want what is beyond 8 MiB", dropped)
	}
	if got := len(kept(t, inside(b))); got != 200-refused {
		t.Errorf("%d are kept, want all but %d", got, refused)
	}
	wait(t, other.Publish("other/0", 1, true, ""))
	wait(t, other.Publish("other/new", 1, true, make([]byte, 1000)))
	if got := len(kept(t, inside(b))); got != 200-refused {
		t.Errorf("%d are kept after one was cleared and one came", got)
	}
	service.Disconnect(100)
	other.Disconnect(100)
	stop()
	if n := strings.Count(log.String(), "not retained"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
}

// What the properties of a message of MQTT 5 take counts, too.
func TestPropertiesBound(t *testing.T) {
	var seen counts
	b, stop := start(t, broker.Options{Observer: &seen})
	away, _ := resume(t, inside(b), "away")
	wait(t, away.Subscribe("#", 1, nil))
	away.Disconnect(100)
	conn, err := b.Dial()
	if err != nil {
		t.Fatal(err)
	}
	hello := []byte{0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 1, 'x'}
	// 3,000 user properties of 7 bytes: 21,000 bytes of properties, in a packet of 21,010 bytes.
	properties := bytes.Repeat([]byte{0x26, 0, 1, 'k', 0, 1, 'v'}, 3000)
	message := append([]byte{0x32, 0x92, 0xa4, 0x01, 0, 1, 'a', 0, 1, 0x88, 0xa4, 0x01}, properties...)
	message = append(message, '1', '2')
	if _, err := conn.Write(append(hello, bytes.Repeat(message, 100)...)); err != nil {
		t.Fatal(err)
	}
	for acknowledged, buffer := 0, make([]byte, 4096); acknowledged < 100; {
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		acknowledged += bytes.Count(buffer[:n], []byte{packets.Puback << 4, 2, 0, 1})
	}
	if _, dropped := seen.get(); dropped[broker.DroppedQueueFull] < 90 {
		t.Errorf("dropped %v, want all but what fits into 1 MiB", dropped)
	}
	conn.Close()
	stop()
}
