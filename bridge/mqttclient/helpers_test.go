package mqttclient_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/broker"
	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
)

// fakeNetwork is a network with at most one broker in it.
type fakeNetwork struct {
	t *testing.T

	mu     sync.Mutex
	broker *broker.Broker
	stop   func()
	conns  map[string][]net.Conn // by client
	barred map[string]bool       // clients that cannot reach the broker
	dials  []time.Time
}

func newNetwork(t *testing.T) *fakeNetwork {
	n := &fakeNetwork{t: t, conns: map[string][]net.Conn{}, barred: map[string]bool{}}
	n.startBroker()
	return n
}

// startBroker starts a broker that knows nothing.
func (n *fakeNetwork) startBroker() {
	n.t.Helper()
	b := broker.New(broker.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Run(ctx); err != nil {
			n.t.Errorf("broker: %v", err)
		}
	}()
	<-b.Ready()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.broker = b
	n.stop = func() { cancel(); <-done }
}

func (n *fakeNetwork) stopBroker() {
	n.mu.Lock()
	stop := n.stop
	n.broker, n.stop = nil, nil
	n.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// open is the way of one client to the broker.
func (n *fakeNetwork) open(client string) func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
	return func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.dials = append(n.dials, time.Now())
		if n.broker == nil || n.barred[client] {
			return nil, errors.New("connection refused")
		}
		conn, err := n.broker.Dial()
		if err == nil {
			n.conns[client] = append(n.conns[client], conn)
		}
		return conn, err
	}
}

// cut ends a client's connections as a pulled plug does; where barred, it cannot come back.
func (n *fakeNetwork) cut(client string, barred bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.barred[client] = barred
	for _, conn := range n.conns[client] {
		_ = conn.Close()
	}
	n.conns[client] = nil
}

// seenMessage is what a watcher saw.
type seenMessage struct {
	Topic, Payload string
	Retained       bool
}

// brokerWatcher is another client of the broker, which sees everything.
type brokerWatcher struct {
	client mqtt.Client
	mu     sync.Mutex
	seen   []seenMessage
}

func watchBroker(t *testing.T, open mqtt.OpenConnectionFunc, filter string) *brokerWatcher {
	t.Helper()
	w := &brokerWatcher{}
	o := mqtt.NewClientOptions().AddBroker("tcp://test").SetClientID("watcher " + t.Name()).SetAutoReconnect(false).
		SetProtocolVersion(4).SetCustomOpenConnectionFn(open)
	w.client = mqtt.NewClient(o)
	if token := w.client.Connect(); token.Wait() && token.Error() != nil {
		t.Fatalf("watcher: %v", token.Error())
	}
	token := w.client.Subscribe(filter, 1, func(_ mqtt.Client, m mqtt.Message) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen = append(w.seen, seenMessage{m.Topic(), string(m.Payload()), m.Retained()})
	})
	if token.Wait() && token.Error() != nil {
		t.Fatalf("watcher: %v", token.Error())
	}
	return w
}

// watchInBubble is watchBroker in fake time: it returns when the broker has handed out all that it had kept,
// which it does after it has confirmed the subscription.
func watchInBubble(t *testing.T, open mqtt.OpenConnectionFunc, filter string) *brokerWatcher {
	t.Helper()
	w := watchBroker(t, open, filter)
	synctest.Wait()
	return w
}

// take returns what was seen since the last take, as "topic=payload", retained ones marked.
func (w *brokerWatcher) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, m := range w.seen {
		s := m.Topic + "=" + m.Payload
		if m.Retained {
			s += " (retained)"
		}
		all = append(all, s)
	}
	w.seen = nil
	return all
}

func (w *brokerWatcher) publish(t *testing.T, topic string, qos byte, retained bool, payload string) {
	t.Helper()
	if token := w.client.Publish(topic, qos, retained, payload); token.Wait() && token.Error() != nil {
		t.Fatalf("publishing %s: %v", topic, token.Error())
	}
}

func (w *brokerWatcher) close() { w.client.Disconnect(1000) }

// retainedAt returns the retained messages at the broker.
func retainedAt(t *testing.T, open mqtt.OpenConnectionFunc, filter string) []string {
	t.Helper()
	w := watchBroker(t, open, filter)
	sleepPast(time.Second)
	defer w.close()
	return w.take()
}

// runClient runs a client until the returned function is called.
func runClient(t *testing.T, c *mqttclient.Client) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	return func() { cancel(); <-done }
}

func newClient(t *testing.T, options mqttclient.Options) *mqttclient.Client {
	t.Helper()
	if options.Base == "" {
		options.Base = "base"
	}
	c, err := mqttclient.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// messageInbox records what a subscription handed over.
type messageInbox struct {
	mu  sync.Mutex
	got []string
}

func (i *messageInbox) handle(topic string, payload []byte, retained, _ bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := topic + "=" + string(payload)
	if retained {
		s += " (retained)"
	}
	i.got = append(i.got, s)
}

// command takes a command, and acknowledges it at once.
func (i *messageInbox) command(c mqttclient.Command) {
	i.handle(c.Topic, c.Payload, c.Retained, false)
	c.Acknowledge(func() {})
}

func (i *messageInbox) take() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	got := i.got
	i.got = nil
	return got
}

// logLines is a log whose lines can be counted.
type logLines struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

func (l *logLines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, nil))
}

func (l *logLines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for line := range strings.Lines(l.buffer.String()) {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

type countingObserver struct {
	mu      sync.Mutex
	up      []bool
	waiting int
	dropped map[string]int
}

func (o *countingObserver) BrokerConnected(up bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.up = append(o.up, up)
}

func (o *countingObserver) OutboxMessages(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = n
}

func (o *countingObserver) OutboxDropped(reason string, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dropped == nil {
		o.dropped = map[string]int{}
	}
	o.dropped[reason] += n
}

func wantMQTT(t *testing.T, what string, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// scriptedBroker answers one connection after the other as a test says.
type scriptedBroker struct {
	t     *testing.T
	conns chan net.Conn
	dials []time.Time
	// session says that there was a connection before.
	session bool
}

func (s *scriptedBroker) open(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
	client, server := net.Pipe()
	s.conns <- server
	return client, nil
}

// accept takes the next connection and answers its CONNECT.
func (s *scriptedBroker) accept(code byte) (net.Conn, *packets.ConnectPacket) {
	s.t.Helper()
	conn := <-s.conns
	s.dials = append(s.dials, time.Now())
	connect, ok := s.read(conn).(*packets.ConnectPacket)
	if !ok {
		s.t.Fatal("no CONNECT")
	}
	ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	ack.ReturnCode = code
	if code == packets.Accepted {
		ack.SessionPresent = s.session // a broker keeps the session of before
		s.session = true
	}
	s.write(conn, ack)
	return conn, connect
}

// isAcknowledgement reports whether a packet acknowledges what was delivered.
func isAcknowledgement(p packets.ControlPacket) bool {
	switch p.(type) {
	case *packets.PubrecPacket, *packets.PubackPacket:
		return true
	default:
		return false
	}
}

// subscribed takes the next SUBSCRIBE and answers it, with the code for what deny holds.
func (s *scriptedBroker) subscribed(conn net.Conn, deny string) {
	s.t.Helper()
	// Acknowledgements of what was delivered before may stand in front of it.
	p := s.read(conn)
	for isAcknowledgement(p) {
		p = s.read(conn)
	}
	sub, ok := p.(*packets.SubscribePacket)
	if !ok {
		s.t.Fatalf("no SUBSCRIBE but %T", p)
	}
	ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
	ack.MessageID = sub.MessageID
	for i, topic := range sub.Topics {
		code := sub.Qoss[i]
		if deny != "" && strings.HasPrefix(topic, deny) {
			code = 0x80
		}
		ack.ReturnCodes = append(ack.ReturnCodes, code)
	}
	s.write(conn, ack)
}

func (s *scriptedBroker) read(conn net.Conn) packets.ControlPacket {
	p, err := packets.ReadPacket(conn)
	if err != nil {
		return nil
	}
	return p
}

func (s *scriptedBroker) write(conn net.Conn, p packets.ControlPacket) {
	s.t.Helper()
	if err := p.Write(conn); err != nil {
		s.t.Errorf("scripted broker: %v", err)
	}
}

// serve acknowledges what comes until the connection ends, and returns what was published.
func (s *scriptedBroker) serve(conn net.Conn) (published []string) {
	for {
		switch p := s.read(conn).(type) {
		case nil, *packets.DisconnectPacket:
			conn.Close()
			return published
		case *packets.PublishPacket:
			published = append(published, p.TopicName+"="+string(p.Payload))
			ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
			ack.MessageID = p.MessageID
			s.write(conn, ack)
		case *packets.PingreqPacket:
			s.write(conn, packets.NewControlPacket(packets.Pingresp))
		}
	}
}

// sleepPast lets time pass, and then lets everything that is due happen.
func sleepPast(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func sorted(all []string) []string {
	slices.Sort(all)
	return all
}
