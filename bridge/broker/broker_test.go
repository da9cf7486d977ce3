package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"go.uber.org/goleak"

	"github.com/zigate-ota/zigate-ota/bridge/broker"
)

// start runs a broker until the returned function is called.
func start(t *testing.T, options broker.Options) (*broker.Broker, func()) {
	t.Helper()
	b := broker.New(options)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	select {
	case <-b.Ready():
	case err := <-done:
		t.Fatalf("Run: %v", err)
	}
	return b, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func inside(b *broker.Broker) mqtt.OpenConnectionFunc {
	return func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return b.Dial() }
}

func overTCP(b *broker.Broker) mqtt.OpenConnectionFunc {
	return func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
		return net.Dial("tcp", b.Addr().String())
	}
}

func connect(t *testing.T, open mqtt.OpenConnectionFunc, id, username, password string) (mqtt.Client, error) {
	t.Helper()
	o := mqtt.NewClientOptions().AddBroker("tcp://test").SetClientID(id).SetProtocolVersion(4).SetAutoReconnect(false).
		SetUsername(username).SetPassword(password).SetCustomOpenConnectionFn(open)
	c := mqtt.NewClient(o)
	token := c.Connect()
	token.Wait()
	return c, token.Error()
}

func mustConnect(t *testing.T, open mqtt.OpenConnectionFunc, id string) mqtt.Client {
	t.Helper()
	c, err := connect(t, open, id, "", "")
	if err != nil {
		t.Fatalf("connecting %s: %v", id, err)
	}
	return c
}

func wait(t *testing.T, token mqtt.Token) {
	t.Helper()
	if token.Wait(); token.Error() != nil {
		t.Fatal(token.Error())
	}
}

func TestBroker(t *testing.T) {
	tests := []struct {
		name string
		addr string
		open func(*broker.Broker) mqtt.OpenConnectionFunc
	}{
		{name: "TCP", addr: "127.0.0.1:0", open: overTCP},
		{name: "inside the process", open: inside},
		{name: "inside the process beside TCP", addr: "127.0.0.1:0", open: inside},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			b, stop := start(t, broker.Options{Addr: tt.addr})
			defer stop()
			if tt.addr == "" && b.Addr() != nil {
				t.Errorf("Addr = %v, want none", b.Addr())
			}
			publisher := mustConnect(t, tt.open(b), "publisher")
			defer publisher.Disconnect(1000)
			wait(t, publisher.Publish("a/b", 1, true, "kept"))
			// The broker acknowledges a message before it hands it out; when it has acknowledged the next one
			// of the same client, it has done both with the first.
			wait(t, publisher.Publish("elsewhere", 1, false, "next"))
			subscriber := mustConnect(t, tt.open(b), "subscriber")
			defer subscriber.Disconnect(1000)
			got := make(chan string, 10)
			wait(t, subscriber.Subscribe("a/#", 2, func(_ mqtt.Client, m mqtt.Message) {
				got <- fmt.Sprintf("%s=%s %d %v", m.Topic(), m.Payload(), m.Qos(), m.Retained())
			}))
			wait(t, publisher.Publish("a/c", 2, false, "now"))
			for _, want := range []string{"a/b=kept 1 true", "a/c=now 2 false"} {
				if s := <-got; s != want {
					t.Errorf("got %q, want %q", s, want)
				}
			}
		})
	}
}

// TestRetainedForEver: retained messages outlive the day after which the library deletes them by
// default, and wait for a client that is away.
func TestRetainedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := start(t, broker.Options{})
		publisher := mustConnect(t, inside(b), "publisher")
		wait(t, publisher.Publish("a", 1, true, "kept"))
		publisher.Disconnect(1000)
		time.Sleep(25 * time.Hour)
		subscriber := mustConnect(t, inside(b), "subscriber")
		got := make(chan string, 1)
		wait(t, subscriber.Subscribe("a", 1, func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) }))
		time.Sleep(time.Second)
		select {
		case s := <-got:
			if s != "kept" {
				t.Errorf("retained %q", s)
			}
		default:
			t.Error("the retained message is gone")
		}
		subscriber.Disconnect(1000)
		stop()
	})
}

// TestBothWaysAtOnce: clients that publish to each other as fast as they can do not block each other.
func TestBothWaysAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := start(t, broker.Options{})
		const messages = 500
		payload := bytes.Repeat([]byte("x"), 2000)
		var arrived, sent sync.WaitGroup
		var clients []mqtt.Client
		for i := range 2 {
			c := mustConnect(t, inside(b), fmt.Sprint("client", i))
			clients = append(clients, c)
			arrived.Add(messages)
			wait(t, c.Subscribe(fmt.Sprint("to", i), 2, func(mqtt.Client, mqtt.Message) { arrived.Done() }))
		}
		for i, c := range clients {
			sent.Go(func() {
				for range messages {
					c.Publish(fmt.Sprint("to", 1-i), 2, false, payload).WaitTimeout(time.Second)
				}
			})
		}
		sent.Wait()
		arrived.Wait()
		for _, c := range clients {
			c.Disconnect(1000)
		}
		stop()
	})
}

func TestPassword(t *testing.T) {
	defer goleak.VerifyNone(t)
	b, stop := start(t, broker.Options{Addr: "127.0.0.1:0", Username: "user", Password: "secret"})
	defer stop()
	tests := []struct {
		name               string
		username, password string
		want               error
	}{
		{name: "right", username: "user", password: "secret"},
		{name: "wrong password", username: "user", password: "wrong", want: packets.ErrorRefusedNotAuthorised},
		{name: "wrong user", username: "other", password: "secret", want: packets.ErrorRefusedNotAuthorised},
		{name: "none", want: packets.ErrorRefusedNotAuthorised},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := connect(t, overTCP(b), "client", tt.username, tt.password)
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if err == nil {
				c.Disconnect(1000)
			}
		})
	}
	mustConnect(t, inside(b), "the service").Disconnect(1000)
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = broker.New(broker.Options{Addr: taken.Addr().String()}).Run(t.Context())
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{taken.Addr().String(), "stop that one", "ZIGATE_OTA_MQTT_URL", "ZIGATE_OTA_BROKER_ADDR"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
}

func TestNotRunning(t *testing.T) {
	b, stop := start(t, broker.Options{})
	idle := broker.New(broker.Options{})
	if _, err := idle.Dial(); !errors.Is(err, broker.ErrNotRunning) {
		t.Errorf("before Run: %v", err)
	}
	conn, err := b.Dial()
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := b.Dial(); !errors.Is(err, broker.ErrNotRunning) {
		t.Errorf("after Run: %v", err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives the broker")
	}
	if err := b.Run(t.Context()); err == nil {
		t.Error("Run twice: no error")
	}
}

// TestStopWithStuckClients: neither a client that never says who it is nor one that never reads keeps
// the broker from stopping. Not in fake time: the library waits for the second with a lock held, and
// then fake time stands still.
func TestStopWithStuckClients(t *testing.T) {
	defer goleak.VerifyNone(t)
	b, stop := start(t, broker.Options{})
	if _, err := b.Dial(); err != nil {
		t.Fatal(err)
	}
	deaf, err := b.Dial()
	if err != nil {
		t.Fatal(err)
	}
	hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	hello.ProtocolName, hello.ProtocolVersion, hello.ClientIdentifier, hello.CleanSession, hello.Keepalive = "MQTT", 4, "deaf", true, 3600
	if err := hello.Write(deaf); err != nil {
		t.Fatal(err)
	}
	all := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	all.Topics, all.Qoss, all.MessageID = []string{"#"}, []byte{0}, 1
	if err := all.Write(deaf); err != nil {
		t.Fatal(err)
	}
	for range 2 { // CONNACK, SUBACK
		if _, err := packets.ReadPacket(deaf); err != nil {
			t.Fatal(err)
		}
	}
	publisher := mustConnect(t, inside(b), "publisher")
	for range 40 { // more than the connection buffers
		wait(t, publisher.Publish("a", 1, false, make([]byte, 100_000)))
	}
	publisher.Disconnect(1000)
	stop()
}

// TestQuiet: clients that come and go are told at debug level only.
func TestQuiet(t *testing.T) {
	var log bytes.Buffer
	b, stop := start(t, broker.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))})
	conn, err := b.Dial()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	mustConnect(t, inside(b), "client").Disconnect(1000)
	stop()
	if log.Len() > 0 {
		t.Errorf("told:\n%s", log.String())
	}
}

func TestPipeDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := start(t, broker.Options{})
		conn, err := b.Dial()
		if err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		if err := conn.SetReadDeadline(before.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err = conn.Read(make([]byte, 1))
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(before) != time.Second {
			t.Errorf("Read: %v after %v", err, time.Since(before))
		}
		if err := conn.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		// No CONNECT: the broker ends the connection.
		if _, err := conn.Write([]byte{0xc0, 0}); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("Read: %v", err)
		}
		conn.Close()
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read after Close: %v", err)
		}
		stop()
	})
}

// Clients that leave at the moment at which the broker stops do not keep it from stopping.
func TestStopWhileClientsLeave(t *testing.T) {
	defer goleak.VerifyNone(t)
	for range 20 {
		b, stop := start(t, broker.Options{})
		var leaving sync.WaitGroup
		for i := range 20 {
			c := mustConnect(t, inside(b), fmt.Sprint("client", i))
			leaving.Go(func() { c.Disconnect(0) })
		}
		stop()
		leaving.Wait()
	}
}
