package mqttclient_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
)

// slowConn takes a moment for each write.
type slowConn struct {
	net.Conn
	pause  time.Duration
	closed chan struct{}
	once   sync.Once
}

func (c *slowConn) Write(p []byte) (int, error) {
	select {
	case <-time.After(c.pause):
	case <-c.closed:
	}
	return c.Conn.Write(p)
}

func (c *slowConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func TestClientSlowBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newNetwork(t)
		defer network.stopBroker()
		watcher := watchInBubble(t, network.open("watcher"), "#")
		defer watcher.close()
		open := network.open("service")
		dials := 0
		c := newClient(t, mqttclient.Options{
			OpenConnection: func(u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
				conn, err := open(u, o)
				dials++
				return &slowConn{Conn: conn, pause: 3 * time.Second, closed: make(chan struct{})}, err
			},
		})
		defer runClient(t, c)()
		want := []string{"base/status=online", "base/info=99"}
		start := time.Now()
		for i := range 100 {
			c.Retain("base/info", fmt.Append(nil, i))
			c.Publish("base/event/a", fmt.Append(nil, i))
			want = append(want, fmt.Sprintf("base/event/a=%d", i))
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("publishing took %v", d)
		}
		sleepPast(10 * time.Minute)
		wantMQTT(t, "published", want, watcher.take())
		if dials != 1 {
			t.Errorf("%d connections, want 1", dials)
		}
	})
}

// TestClientStuckBroker: a broker that takes nothing off the network any more costs neither the service
// nor its end, and what it had not acknowledged goes to the next connection.
func TestClientStuckBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newNetwork(t)
		defer network.stopBroker()
		open := network.open("service")
		stuck := make(chan struct{})
		dials := 0
		c := newClient(t, mqttclient.Options{
			OpenConnection: func(u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
				conn, err := open(u, o)
				dials++
				if dials != 2 {
					return &stuckConn{Conn: conn, stuck: stuck, closed: make(chan struct{})}, err
				}
				return conn, err
			},
		})
		stop := runClient(t, c)
		sleepPast(time.Minute)
		close(stuck) // the first connection, and the third
		var want []string
		for i := range 100 {
			c.Publish("base/event/a", fmt.Append(nil, i))
			want = append(want, fmt.Sprintf("base/event/a=%d", i))
		}
		watcher := watchInBubble(t, network.open("watcher"), "base/event/#")
		sleepPast(10 * time.Minute)
		wantMQTT(t, "published", want, watcher.take())
		if dials != 2 || !c.Connected() {
			t.Errorf("%d connections, connected: %v", dials, c.Connected())
		}

		network.cut("service", false)
		sleepPast(2 * time.Second)
		c.Publish("base/event/a", []byte("lost"))
		start := time.Now()
		stop()
		if d := time.Since(start); d > 15*time.Second {
			t.Errorf("stopped after %v", d)
		}
		watcher.close()
	})
}

// stuckConn takes no more writes after stuck is closed.
type stuckConn struct {
	net.Conn
	stuck, closed chan struct{}
	once          sync.Once
}

func (c *stuckConn) Write(p []byte) (int, error) {
	select {
	case <-c.stuck:
		<-c.closed
		return 0, io.ErrClosedPipe
	default:
		return c.Conn.Write(p)
	}
}

func (c *stuckConn) SetWriteDeadline(t time.Time) error {
	if !t.IsZero() {
		time.AfterFunc(time.Until(t), func() {
			select {
			case <-c.stuck:
				c.Close()
			default:
			}
		})
	}
	return nil
}

func (c *stuckConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// TestClientSharedID: two services with one client identifier throw each other out.
func TestClientSharedID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newNetwork(t)
		defer network.stopBroker()
		var logs [2]logLines
		var stops []func()
		var clients []*mqttclient.Client
		for i := range 2 {
			c := newClient(t, mqttclient.Options{OpenConnection: network.open(fmt.Sprint("service", i)), Logger: logs[i].logger()})
			clients = append(clients, c)
			stops = append(stops, runClient(t, c))
			sleepPast(time.Hour)
			if c.Health() != nil && i == 0 {
				t.Errorf("alone: %v", c.Health())
			}
		}
		found := false
		for i, c := range clients {
			if logs[i].count("level=ERROR") > 0 {
				found = true
				if n := logs[i].count("is another client connected as"); n > 30 {
					t.Errorf("service %d told %d times", i, n)
				}
			}
			if err := c.Health(); err != nil && errors.Is(err, mqttclient.ErrConnectionUnstable) && !strings.Contains(err.Error(), `"base"`) {
				t.Errorf("Health = %v: does not name the client identifier", err)
			}
		}
		if !found {
			t.Error("neither says so")
		}
		network.mu.Lock()
		dials := len(network.dials)
		network.mu.Unlock()
		if dials > 400 {
			t.Errorf("%d connections in an hour", dials)
		}
		stops[1]()
		sleepPast(10 * time.Minute)
		if err := clients[0].Health(); err != nil {
			t.Errorf("alone again: %v", err)
		}
		stops[0]()
	})
}

func TestClientRefused(t *testing.T) {
	for _, code := range []byte{packets.ErrRefusedBadUsernameOrPassword, packets.ErrRefusedNotAuthorised, packets.ErrRefusedIDRejected} {
		t.Run(packets.ConnackReturnCodes[code], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scriptedBroker{t: t, conns: make(chan net.Conn)}
				var log logLines
				c := newClient(t, mqttclient.Options{OpenConnection: s.open, Logger: log.logger(), Username: "user", Password: "secret"})
				stop := runClient(t, c)
				const attempts = 5
				for range attempts {
					conn, connect := s.accept(code)
					if connect.Username != "user" || string(connect.Password) != "secret" || connect.CleanSession || connect.ProtocolVersion != 4 {
						t.Errorf("CONNECT: %v", connect)
					}
					s.serve(conn)
				}
				synctest.Wait()
				if err := c.Health(); !errors.Is(err, mqttclient.ErrBrokerRefused) {
					t.Errorf("Health = %v", err)
				}
				if n := log.count("refuses"); n != 1 {
					t.Errorf("told %d times, want once", n)
				}
				if log.count("secret") > 0 {
					t.Error("the password is in the log")
				}
				for i := 1; i < len(s.dials); i++ {
					if d := s.dials[i].Sub(s.dials[i-1]); d < 30*time.Second {
						t.Errorf("tried again after %v", d)
					}
				}
				conn, _ := s.accept(packets.Accepted)
				s.subscribed(conn, "")
				go s.serve(conn)
				sleepPast(time.Second)
				if err := c.Health(); err != nil {
					t.Errorf("Health = %v", err)
				}
				stop()
			})
		})
	}
}

func TestClientSubscriptionDenied(t *testing.T) {
	ignore := func(string, []byte, bool, bool) {}
	subscriptions := []mqttclient.Subscription{
		{Filter: "base/request/#", Handler: ignore},
		{Filter: "ha/status", Handler: ignore, Optional: true},
	}
	t.Run("needed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &scriptedBroker{t: t, conns: make(chan net.Conn)}
			var log logLines
			c := newClient(t, mqttclient.Options{OpenConnection: s.open, Logger: log.logger(), Subscriptions: subscriptions, Username: "user"})
			stop := runClient(t, c)
			c.Publish("base/event/a", nil)
			for range 3 {
				conn, _ := s.accept(packets.Accepted)
				for range 3 {
					s.subscribed(conn, "base/request/#")
				}
				wantMQTT(t, "published", []string{"base/status=offline"}, s.serve(conn))
			}
			synctest.Wait()
			err := c.Health()
			if !errors.Is(err, mqttclient.ErrBrokerRefused) || !strings.Contains(err.Error(), "base/request/#") || !strings.Contains(err.Error(), `"user"`) {
				t.Errorf("Health = %v", err)
			}
			if n := log.count("refuses"); n != 1 {
				t.Errorf("told %d times, want once", n)
			}
			for i := 1; i < len(s.dials); i++ {
				if d := s.dials[i].Sub(s.dials[i-1]); d < 30*time.Second {
					t.Errorf("tried again after %v", d)
				}
			}
			stop()
		})
	})
	t.Run("only because the packet identifier is in use", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &scriptedBroker{t: t, conns: make(chan net.Conn)}
			c := newClient(t, mqttclient.Options{OpenConnection: s.open, Subscriptions: subscriptions})
			stop := runClient(t, c)
			conn, _ := s.accept(packets.Accepted)
			s.subscribed(conn, "base/")
			s.subscribed(conn, "")
			go s.serve(conn)
			sleepPast(time.Second)
			if err := c.Health(); err != nil {
				t.Errorf("Health = %v", err)
			}
			stop()
		})
	})
	t.Run("not needed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &scriptedBroker{t: t, conns: make(chan net.Conn)}
			var log logLines
			c := newClient(t, mqttclient.Options{OpenConnection: s.open, Logger: log.logger(), Subscriptions: subscriptions})
			stop := runClient(t, c)
			conn, _ := s.accept(packets.Accepted)
			s.subscribed(conn, "ha/")
			go s.serve(conn)
			sleepPast(time.Second)
			if err := c.Health(); err != nil {
				t.Errorf("Health = %v", err)
			}
			if n := log.count("ha/status"); n != 1 {
				t.Errorf("told %d times, want once", n)
			}
			stop()
		})
	})
}

// TestClientPublishDenied: a broker that takes what is published, and hands nothing out, is told of; so is
// its change of mind. One that does not grant the subscription of one's own status cannot be found out.
func TestClientPublishDenied(t *testing.T) {
	for _, readable := range []bool{true, false} {
		t.Run(fmt.Sprintf("status readable %v", readable), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scriptedBroker{t: t, conns: make(chan net.Conn)}
				var log logLines
				c := newClient(t, mqttclient.Options{OpenConnection: s.open, Logger: log.logger(), Username: "user", Password: "secret"})
				stop := runClient(t, c)
				conn, _ := s.accept(packets.Accepted)
				deny := ""
				if !readable {
					deny = "base/status"
				}
				s.subscribed(conn, deny)
				var published []string
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					published = s.serve(conn)
				}()
				sleepPast(9 * time.Second)
				if err := c.Health(); err != nil {
					t.Errorf("Health at first = %v", err)
				}
				sleepPast(10 * time.Minute)
				switch err := c.Health(); {
				case readable && (!errors.Is(err, mqttclient.ErrBrokerRefused) || !strings.Contains(err.Error(), `"user"`)):
					t.Errorf("Health = %v", err)
				case !readable && err != nil:
					t.Errorf("Health = %v, though there is no telling", err)
				}
				if !c.Connected() {
					t.Error("it gave the connection up")
				}
				if want := len(deny) == 0; log.count("deny what is published") == 1 != want {
					t.Errorf("told %d times", log.count("deny what is published"))
				}
				if readable {
					echo := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
					echo.TopicName, echo.Payload = "base/status", []byte("online")
					s.write(conn, echo)
					sleepPast(time.Second)
					if err := c.Health(); err != nil {
						t.Errorf("Health after the change = %v", err)
					}
				}
				stop()
				<-ended
				if n := len(published); readable && (n < 5 || n > 12) || !readable && n != 2 {
					t.Errorf("%d messages in ten minutes: %v", n, published)
				}
			})
		})
	}
}

// TestClientQoS2Once: a QoS 2 message is handed over once, though its acknowledgement was lost.
func TestClientQoS2Once(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scriptedBroker{t: t, conns: make(chan net.Conn)}
		var inbox messageInbox
		c := newClient(t, mqttclient.Options{
			OpenConnection: s.open,
			Subscriptions:  []mqttclient.Subscription{{Filter: "base/request/#", Handler: inbox.handle}},
		})
		stop := runClient(t, c)
		deliver := func(conn net.Conn, id uint16, payload string, duplicate bool) {
			p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
			p.TopicName, p.Payload, p.Qos, p.MessageID, p.Dup = "base/request/a", []byte(payload), 2, id, duplicate
			s.write(conn, p)
		}
		release := func(conn net.Conn, id uint16) {
			p := packets.NewControlPacket(packets.Pubrel).(*packets.PubrelPacket)
			p.MessageID = id
			s.write(conn, p)
		}
		conn, _ := s.accept(packets.Accepted)
		s.subscribed(conn, "")
		deliver(conn, 7, "one", false)
		sleepPast(time.Second)
		conn.Close() // the PUBREC is lost

		conn, _ = s.accept(packets.Accepted)
		deliver(conn, 7, "one", true) // before the subscription, as brokers do
		deliver(conn, 8, "waited", true)
		s.subscribed(conn, "")
		go s.serve(conn)
		sleepPast(time.Second)
		release(conn, 7)
		sleepPast(time.Second)
		deliver(conn, 7, "two", false)
		sleepPast(time.Second)
		release(conn, 7)
		sleepPast(time.Second)
		deliver(conn, 7, "three", true) // a broker that says so of every message
		sleepPast(time.Second)
		wantMQTT(t, "commands", []string{"base/request/a=one", "base/request/a=waited", "base/request/a=two", "base/request/a=three"}, inbox.take())
		stop()
	})
}

// TestClientUnacknowledged: what the broker has not acknowledged when the connection breaks is
// published again, in order, and a retained value is never followed by an older one.
func TestClientUnacknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scriptedBroker{t: t, conns: make(chan net.Conn)}
		c := newClient(t, mqttclient.Options{OpenConnection: s.open})
		stop := runClient(t, c)
		conn, _ := s.accept(packets.Accepted)
		s.subscribed(conn, "")
		c.Retain("base/info", []byte("old"))
		for i := range 50 {
			c.Publish("base/event/a", fmt.Append(nil, i))
		}
		for range 20 { // read, not acknowledged
			s.read(conn)
		}
		conn.Close()
		c.Retain("base/info", []byte("new"))
		c.Publish("base/event/a", []byte("50"))

		conn, _ = s.accept(packets.Accepted)
		s.subscribed(conn, "")
		want := []string{"base/status=online", "base/info=new"}
		for i := range 51 {
			want = append(want, fmt.Sprintf("base/event/a=%d", i))
		}
		go func() {
			sleepPast(time.Second)
			stop()
		}()
		got := s.serve(conn)
		wantMQTT(t, "published again", append(want, "base/status=offline"), got)
		synctest.Wait()
	})
}
