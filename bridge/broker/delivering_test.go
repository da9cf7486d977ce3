package broker_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/zigate-ota/zigate-ota/bridge/broker"
)

// raw is a client of MQTT 3.1.1 that answers only what the test says.
type raw struct {
	t    *testing.T
	conn net.Conn
}

// dialRaw connects one that keeps its session, and checks whether the broker had it.
func dialRaw(t *testing.T, b *broker.Broker, present bool) raw {
	t.Helper()
	conn, err := b.Dial()
	if err != nil {
		t.Fatal(err)
	}
	r := raw{t: t, conn: conn}
	hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	hello.ProtocolName, hello.ProtocolVersion, hello.ClientIdentifier, hello.CleanSession = "MQTT", 4, "raw", false
	r.send(hello)
	if ack := r.next().(*packets.ConnackPacket); ack.SessionPresent != present {
		t.Errorf("session present: %v, want %v", ack.SessionPresent, present)
	}
	return r
}

func (r raw) send(packet packets.ControlPacket) {
	r.t.Helper()
	if err := packet.Write(r.conn); err != nil {
		r.t.Fatal(err)
	}
}

// answer sends a packet that only has an identifier.
func (r raw) answer(kind byte, id uint16) {
	r.t.Helper()
	switch p := packets.NewControlPacket(kind).(type) {
	case *packets.PubackPacket:
		p.MessageID = id
		r.send(p)
	case *packets.PubrecPacket:
		p.MessageID = id
		r.send(p)
	case *packets.PubcompPacket:
		p.MessageID = id
		r.send(p)
	}
}

func (r raw) next() packets.ControlPacket {
	r.t.Helper()
	packet, err := packets.ReadPacket(r.conn)
	if err != nil {
		r.t.Fatal(err)
	}
	return packet
}

// message returns the next packet, which must be a PUBLISH with this payload.
func (r raw) message(payload string, qos byte, again bool) uint16 {
	r.t.Helper()
	m, ok := r.next().(*packets.PublishPacket)
	if !ok || string(m.Payload) != payload || m.Qos != qos || m.Dup != again {
		r.t.Fatalf("got %v, want %q at QoS %d, again: %v", m, payload, qos, again)
	}
	return m.MessageID
}

// What a client has not acknowledged comes again over its next connection, in order and as a duplicate with the
// packet identifier that it had; of QoS 2 it goes on where it was. What it has acknowledged does not come again.
func TestRedelivery(t *testing.T) {
	b, stop := start(t, broker.Options{})
	publisher := mustConnect(t, inside(b), "publisher")
	r := dialRaw(t, b, false)
	all := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	all.Topics, all.Qoss, all.MessageID = []string{"#"}, []byte{2}, 1
	r.send(all)
	r.next() // SUBACK
	for i, qos := range []byte{1, 2, 1, 2} {
		wait(t, publisher.Publish("a", qos, false, fmt.Sprint(i)))
	}
	one := r.message("0", 1, false)
	two := r.message("1", 2, false)
	three := r.message("2", 1, false)
	four := r.message("3", 2, false)
	r.answer(packets.Puback, one)
	r.answer(packets.Pubrec, two)
	if release := r.next().(*packets.PubrelPacket); release.MessageID != two {
		t.Errorf("released %d, want %d", release.MessageID, two)
	}
	r.conn.Close()

	r = dialRaw(t, b, true)
	if release := r.next().(*packets.PubrelPacket); release.MessageID != two {
		t.Errorf("released %d, want %d", release.MessageID, two)
	}
	if id := r.message("2", 1, true); id != three {
		t.Errorf("identifier %d, want %d", id, three)
	}
	if id := r.message("3", 2, true); id != four {
		t.Errorf("identifier %d, want %d", id, four)
	}
	r.answer(packets.Pubcomp, two)
	r.answer(packets.Puback, three)
	r.answer(packets.Pubrec, four)
	if release := r.next().(*packets.PubrelPacket); release.MessageID != four {
		t.Errorf("released %d, want %d", release.MessageID, four)
	}
	r.answer(packets.Pubcomp, four)
	r.send(packets.NewControlPacket(packets.Pingreq))
	r.next() // PINGRESP: the broker has taken the acknowledgements
	r.conn.Close()

	r = dialRaw(t, b, true)
	wait(t, publisher.Publish("a", 1, false, "new"))
	r.message("new", 1, false)
	r.conn.Close()
	publisher.Disconnect(100)
	stop()
}

// The will of a client comes when its connection breaks, retained where it says so, and not when it leaves.
func TestWill(t *testing.T) {
	b, stop := start(t, broker.Options{})
	got := make(chan string, 10)
	reader := mustConnect(t, inside(b), "reader")
	wait(t, reader.Subscribe("will/#", 1, func(_ mqtt.Client, m mqtt.Message) {
		got <- fmt.Sprintf("%s %d %v", m.Payload(), m.Qos(), m.Retained())
	}))
	dying := func(end func(raw)) {
		conn, err := b.Dial()
		if err != nil {
			t.Fatal(err)
		}
		r := raw{t: t, conn: conn}
		hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
		hello.ProtocolName, hello.ProtocolVersion, hello.ClientIdentifier, hello.CleanSession = "MQTT", 4, "dying", true
		hello.WillFlag, hello.WillTopic, hello.WillMessage, hello.WillQos, hello.WillRetain = true, "will/a", []byte("gone"), 1, true
		r.send(hello)
		r.next() // CONNACK
		end(r)
		conn.Close()
	}
	dying(func(r raw) {
		r.send(packets.NewControlPacket(packets.Disconnect))
		_, _ = r.conn.Read(make([]byte, 1)) // the broker has closed the connection
	})
	dying(func(raw) {})
	if s := take(got, 1); s[0] != "gone 1 false" {
		t.Errorf("the will is %s", s[0])
	}
	wait(t, reader.Publish("will/b", 1, false, "after"))
	if s := take(got, 1); s[0] != "after 1 false" {
		t.Errorf("then came %s", s[0])
	}
	reader.Disconnect(100)
	if diff := kept(t, inside(b)); len(diff) != 1 || diff[0] != "will/a=gone" {
		t.Errorf("retained: %v", diff)
	}
	stop()
}

// After a kill a message that a client has not acknowledged comes with the packet identifier that it had, as a
// duplicate: by that a client knows what it has got already.
func TestRedeliveryAfterKill(t *testing.T) {
	dir := t.TempDir()
	options := broker.Options{SessionsFile: filepath.Join(dir, "sessions.jsonl")}
	b, stop := start(t, options)
	r := dialRaw(t, b, false)
	all := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	all.Topics, all.Qoss, all.MessageID = []string{"#"}, []byte{2}, 1
	r.send(all)
	r.next() // SUBACK
	publisher := mustConnect(t, inside(b), "publisher")
	var ids []uint16
	for i, qos := range []byte{1, 2} {
		wait(t, publisher.Publish("a", qos, false, fmt.Sprint(i)))
		ids = append(ids, r.message(fmt.Sprint(i), qos, false))
	}
	wait(t, publisher.Publish("a", 1, false, "2")) // acknowledged when it is on the disk, and so are the others
	killed := broker.Options{SessionsFile: filepath.Join(dir, "as-killed.jsonl")}
	data, err := os.ReadFile(options.SessionsFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(killed.SessionsFile, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r.conn.Close()
	publisher.Disconnect(100)
	stop()

	b, stop = start(t, killed)
	r = dialRaw(t, b, true)
	for i, qos := range []byte{1, 2} {
		if id := r.message(fmt.Sprint(i), qos, true); id != ids[i] {
			t.Errorf("message %d has identifier %d, want %d", i, id, ids[i])
		}
	}
	r.conn.Close()
	stop()
}
