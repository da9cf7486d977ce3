package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// brokerMemory is how many bytes may be resident whatever clients do to the embedded broker.
const brokerMemory = 100 << 20

// TestBrokerMemory: ten clients that subscribe to everything and do not read, and messages of 250 KB and of 4 MB.
// The process stays small, and a client that reads gets what it is to get. The whole of it takes a minute:
//
//	ZIGATE_OTA_TEST_LONG=1 go test -run TestBrokerMemory -v ./cmd/zigate-ota
func TestBrokerMemory(t *testing.T) {
	huge, large := 10, 60
	if os.Getenv("ZIGATE_OTA_TEST_LONG") != "" {
		huge, large = 200, 200
	}
	addr := freePort(t)
	service := start(t, environ(t.TempDir(), "ZIGATE_OTA_BROKER_ADDR="+addr, "ZIGATE_OTA_DONGLE=sim"), programPath(t), "serve")
	service.stderr.await(t, "ready", func(line string) bool { return strings.Contains(line, "msg=ready") })

	for i := range 10 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// One half at QoS 0, the other with a session and at QoS 1.
		qos := byte(i % 2)
		connect := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
		connect.ProtocolName, connect.ProtocolVersion, connect.ClientIdentifier = "MQTT", 4, fmt.Sprint("deaf", i)
		connect.CleanSession = qos == 0
		subscribe := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
		subscribe.Topics, subscribe.Qoss, subscribe.MessageID = []string{"#"}, []byte{qos}, 1
		for _, packet := range []packets.ControlPacket{connect, subscribe} {
			if err := packet.Write(conn); err != nil {
				t.Fatal(err)
			}
		}
	}
	client := func(id string) mqtt.Client {
		c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID(id).SetAutoReconnect(false))
		if token := c.Connect(); token.Wait() && token.Error() != nil {
			t.Fatal(token.Error())
		}
		return c
	}
	reader := client("reader")
	heard := newHeard(t)
	token := reader.Subscribe("size/#", 1, func(_ mqtt.Client, m mqtt.Message) {
		heard.add(published{m.Topic(), string(m.Payload()[:1]), m.Retained()})
	})
	if token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}

	publisher := client("publisher")
	for i := range large {
		payload := append([]byte("x"), make([]byte, 250_000)...)
		if token := publisher.Publish(fmt.Sprint("size/", i), 1, i%4 == 0, payload); token.Wait() && token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	publisher.Disconnect(0)
	for range huge {
		publisher := client("publisher")
		publisher.Publish("size/huge", 1, true, make([]byte, 4<<20)).Wait()
		publisher.Disconnect(0)
	}

	heard.await(t, "the last message", func(m published) bool { return m.Topic == fmt.Sprint("size/", large-1) })
	now, most := resident(t, service), memory(t, service, "VmHWM:")
	t.Logf("%.1f MB resident, %.1f MB at most", float64(now)/(1<<20), float64(most)/(1<<20))
	if most > brokerMemory {
		t.Errorf("%d MB were resident, at most %d are allowed", most>>20, brokerMemory>>20)
	}
	for _, want := range []string{"does not read was cut off", "larger than 256 KiB"} {
		service.stderr.await(t, want, func(line string) bool { return strings.Contains(line, want) })
	}
	reader.Disconnect(0)
}
