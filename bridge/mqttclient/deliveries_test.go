package mqttclient_test

import (
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
)

// commandInbox takes commands, and acknowledges none of them by itself.
type commandInbox struct {
	mu  sync.Mutex
	all []mqttclient.Command
	// told are those of which it was said that their acknowledgement is on its way.
	told []string
}

func (i *commandInbox) take(c mqttclient.Command) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.all = append(i.all, c)
}

// texts are the payloads of all that came.
func (i *commandInbox) texts() (list []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, c := range i.all {
		list = append(list, string(c.Payload))
	}
	return list
}

// acknowledge acknowledges the command with a payload.
func (i *commandInbox) acknowledge(text string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, c := range i.all {
		if string(c.Payload) == text {
			c.Acknowledge(func() {
				i.mu.Lock()
				defer i.mu.Unlock()
				i.told = append(i.told, text)
			})
		}
	}
}

// delivering is a broker that delivers commands, and what the client acknowledges.
type delivering struct {
	*scriptedBroker
	conn net.Conn

	mu    sync.Mutex
	acked []uint16
}

// connected takes a connection. What comes on it is read from then on.
func (d *delivering) connected() {
	d.t.Helper()
	d.conn, _ = d.accept(packets.Accepted)
	d.subscribed(d.conn, "")
	conn := d.conn
	go func() {
		for {
			p, err := packets.ReadPacket(conn)
			if err != nil {
				return
			}
			d.answer(conn, p)
		}
	}()
}

// answer acknowledges what the client publishes, and notes what it acknowledges.
func (d *delivering) answer(conn net.Conn, p packets.ControlPacket) {
	switch p := p.(type) {
	case *packets.PublishPacket:
		ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
		ack.MessageID = p.MessageID
		d.write(conn, ack)
	case *packets.PingreqPacket:
		d.write(conn, packets.NewControlPacket(packets.Pingresp))
	case *packets.PubackPacket:
		d.note(p.MessageID)
	case *packets.PubrecPacket:
		d.note(p.MessageID)
	}
}

func (d *delivering) note(id uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.acked = append(d.acked, id)
}

// acknowledged are the packet identifiers that were acknowledged, in order.
func (d *delivering) acknowledged() []uint16 {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.acked)
}

func (d *delivering) deliver(id uint16, qos byte, text string, again bool) {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName = "base/request/a"
	p.Payload = []byte(text)
	p.Qos = qos
	p.MessageID = id
	p.Dup = again
	d.write(d.conn, p)
	synctest.Wait()
}

// withCommands runs a test with a client that takes commands, connected for more than a second.
func withCommands(t *testing.T, expected []string, test func(t *testing.T, d *delivering, inbox *commandInbox)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &delivering{scriptedBroker: &scriptedBroker{t: t, conns: make(chan net.Conn)}}
		d.session = expected != nil // there was an earlier life of the service
		inbox := &commandInbox{}
		c := newClient(t, mqttclient.Options{
			OpenConnection: d.open,
			Subscriptions:  []mqttclient.Subscription{{Filter: "base/request/#", Commands: inbox.take}},
		})
		c.Expect(expected)
		stop := runClient(t, c)
		d.connected()
		sleepPast(2 * time.Second)
		test(t, d, inbox)
		stop()
		d.conn.Close()
	})
}

func wantTexts(t *testing.T, inbox *commandInbox, want ...string) {
	t.Helper()
	if got := inbox.texts(); !slices.Equal(got, want) {
		t.Errorf("commands %q, want %q", got, want)
	}
}

func wantAcknowledged(t *testing.T, d *delivering, want ...uint16) {
	t.Helper()
	if got := d.acknowledged(); !slices.Equal(got, want) {
		t.Errorf("acknowledged %d, want %d", got, want)
	}
}

// Commands are acknowledged when that is asked for, in any order.
func TestCommandsAreAcknowledged(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		withCommands(t, nil, func(t *testing.T, d *delivering, inbox *commandInbox) {
			for i, text := range []string{"a", "b", "c"} {
				d.deliver(uint16(i+1), qos, text, false)
			}
			wantTexts(t, inbox, "a", "b", "c")
			wantAcknowledged(t, d)
			inbox.acknowledge("b")
			wantAcknowledged(t, d, 2)
			inbox.acknowledge("a")
			wantAcknowledged(t, d, 2, 1)
			inbox.acknowledge("b")
			inbox.acknowledge("c")
			wantAcknowledged(t, d, 2, 1, 3)
			if want := []string{"b", "a", "b", "c"}; !slices.Equal(inbox.told, want) {
				t.Errorf("told of %q, want %q", inbox.told, want)
			}
		})
	}
}

// A command that is never acknowledged does not keep others away for ever.
func TestForgottenCommandIsAcknowledged(t *testing.T) {
	withCommands(t, nil, func(t *testing.T, d *delivering, inbox *commandInbox) {
		d.deliver(1, 1, "a", false)
		time.Sleep(59 * time.Second)
		wantAcknowledged(t, d)
		time.Sleep(2 * time.Second)
		wantAcknowledged(t, d, 1)
	})
}

// What the broker delivers again on another connection is not handed over again, and is acknowledged there.
func TestCommandComesAgain(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		for name, acknowledge := range map[string]struct{ before, after bool }{
			"it was not acknowledged":        {after: true},
			"its acknowledgement was lost":   {before: true},
			"it was acknowledged in between": {},
		} {
			t.Run(name, func(t *testing.T) {
				withCommands(t, nil, func(t *testing.T, d *delivering, inbox *commandInbox) {
					d.deliver(7, qos, "a", false)
					if acknowledge.before {
						inbox.acknowledge("a")
						wantAcknowledged(t, d, 7)
					}
					d.conn.Close()
					synctest.Wait()
					if !acknowledge.before && !acknowledge.after {
						inbox.acknowledge("a")
					}
					d.acked = nil
					d.connected()
					d.deliver(7, qos, "a", true)
					if acknowledge.after {
						sleepPast(2 * time.Second)
						wantAcknowledged(t, d)
						inbox.acknowledge("a")
					}
					wantAcknowledged(t, d, 7)
					wantTexts(t, inbox, "a")
				})
			})
		}
	}
}

// However long the broker was away, what it delivers again then is not handed over again.
func TestCommandComesAgainMuchLater(t *testing.T) {
	withCommands(t, nil, func(t *testing.T, d *delivering, inbox *commandInbox) {
		d.deliver(7, 1, "a", false)
		inbox.acknowledge("a")
		wantAcknowledged(t, d, 7)
		d.acked = nil
		d.conn.Close()
		for back := time.Now().Add(10 * time.Minute); time.Now().Before(back); {
			conn := <-d.conns
			conn.Close()
		}
		d.connected()
		d.deliver(7, 1, "a", true)
		wantAcknowledged(t, d, 7)
		wantTexts(t, inbox, "a")
	})
}

// A packet identifier comes back with another command, and a broker may call each one that has waited a duplicate.
func TestAnotherCommandWithTheSameIdentifier(t *testing.T) {
	withCommands(t, nil, func(t *testing.T, d *delivering, inbox *commandInbox) {
		d.deliver(7, 1, "a", false)
		inbox.acknowledge("a")
		d.deliver(7, 1, "b", true)
		d.deliver(8, 1, "a", true)
		wantTexts(t, inbox, "a", "b", "a")
		inbox.acknowledge("b")
		inbox.acknowledge("a")
		sleepPast(2 * time.Minute)
		d.deliver(7, 1, "b", true) // too late to be the same one
		wantTexts(t, inbox, "a", "b", "a", "b")
	})
}

// What an earlier life of the service has taken is acknowledged, and not handed over.
func TestExpectedCommandIsNotHandedOver(t *testing.T) {
	var key string
	withCommands(t, nil, func(t *testing.T, d *delivering, inbox *commandInbox) {
		d.deliver(7, 1, "a", false)
		key = inbox.all[0].Delivery
	})
	for name, comes := range map[string]struct {
		after time.Duration
		id    uint16
		text  string
		again bool
		want  []string
	}{
		"again":                          {id: 7, text: "a", again: true},
		"published again much later":     {after: 2 * time.Minute, id: 7, text: "a", again: true, want: []string{"a"}},
		"published again":                {id: 7, text: "a", want: []string{"a"}},
		"another one":                    {id: 7, text: "b", again: true, want: []string{"b"}},
		"with another packet identifier": {id: 8, text: "a", again: true, want: []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			withCommands(t, []string{key}, func(t *testing.T, d *delivering, inbox *commandInbox) {
				sleepPast(comes.after)
				d.deliver(comes.id, 1, comes.text, comes.again)
				wantTexts(t, inbox, comes.want...)
				if comes.want == nil {
					wantAcknowledged(t, d, comes.id)
				}
			})
		})
	}
}
