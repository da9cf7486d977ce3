package mqttclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// subackFailure is the return code of a subscription that the broker denies (MQTT 3.1.1, 3.9.3).
const subackFailure = 0x80

// session is one connection to a broker, from CONNECT to its end.
type session struct {
	client *Client
	name   string // name of the broker in logs and errors
	paho   mqtt.Client
	user   string        // the MQTT user; may be empty
	lost   chan error    // has the reason after paho has given the connection up
	rejoin chan struct{} // has a value after "offline" was published on our status topic
	echo   chan struct{} // has a value after our "online" came back

	window   []awaited     // unacknowledged messages, in the order of sending and acknowledgement
	announce bool          // "online" is to be published next
	echoes   bool          // the broker has granted the subscription of our status topic
	stopping chan struct{} // closed when the session publishes no more

	mu      sync.Mutex
	conn    *brokerConn
	dialErr error // why there is no network connection
	aborted error // the reason that was given to abort
}

// awaited is a message whose acknowledgement is awaited.
type awaited struct {
	token mqtt.Token
	id    uint64 // ID of the message in the outbox; 0 for "online"
}

// open connects to one broker. It subscribes to nothing yet.
func (c *Client) open(ctx context.Context, u *url.URL) (*session, error) {
	s := &session{
		client:   c,
		name:     brokerName(u),
		user:     c.options.Username,
		lost:     make(chan error, 1),
		rejoin:   make(chan struct{}, 1),
		echo:     make(chan struct{}, 1),
		stopping: make(chan struct{}),
	}
	if u.User != nil {
		s.user = u.User.Username()
	}
	o := mqtt.NewClientOptions()
	o.Servers = []*url.URL{u}
	o.SetProtocolVersion(4) // MQTT 3.1.1; without a version paho tries a refused connection again with 3.1
	o.SetClientID(c.options.ClientID)
	o.SetUsername(c.options.Username)
	o.SetPassword(c.options.Password)
	o.SetCleanSession(false) // commands wait at the broker while the service is away
	o.SetStore(&inboundStore{deliveries: &c.deliveries})
	o.SetOrderMatters(true)
	o.SetAutoAckDisabled(true) // see receive
	o.SetAutoReconnect(false)  // Client.Run connects again
	o.SetConnectRetry(false)
	o.SetConnectTimeout(connectTimeout)
	o.SetKeepAlive(keepAlive)
	o.SetPingTimeout(keepAlive / 2)
	o.SetWriteTimeout(writeTimeout)
	o.SetBinaryWill(c.statusTopic(), []byte(statusOffline), 1, true)
	// Messages that waited at the broker may come before the subscriptions, and so before any route of paho.
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { s.receive(m) })
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { s.lost <- err })
	o.SetCustomOpenConnectionFn(func(u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
		return s.dial(ctx, u, o)
	})

	s.paho = mqtt.NewClient(o)
	c.back.begin()
	token := s.paho.Connect().(*mqtt.ConnectToken)
	select {
	case <-token.Done():
	case <-ctx.Done():
		s.abort(ctx.Err())
		<-token.Done()
	}
	err := token.Error()
	if err == nil {
		if !token.SessionPresent() { // so nothing has waited there
			c.deliveries.forget()
			c.back.end()
		}
		return s, nil
	}
	if s.dialErr != nil {
		err = s.dialErr // the same error without paho's text
	}
	attempt := Attempt{Scheme: u.Scheme, Username: s.user, ClientID: c.options.ClientID}
	return nil, attempt.Problem(err).of(s.name)
}

// dial opens the network connection for paho.
func (s *session) dial(ctx context.Context, u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
	var conn net.Conn
	var err error
	if s.client.options.OpenConnection != nil {
		conn, err = s.client.options.OpenConnection(u, o)
	} else {
		conn, err = dialBroker(ctx, u, s.client.options.TLS)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.dialErr = err
		return nil, err
	}
	if s.aborted != nil {
		_ = conn.Close()
		return nil, s.aborted
	}
	s.client.deliveries.begin()
	s.conn = &brokerConn{Conn: conn}
	return s.conn, nil
}

// abort ends the connection at once; paho then reports it as lost.
func (s *session) abort(reason error) {
	s.mu.Lock()
	s.aborted = reason
	conn := s.conn
	s.mu.Unlock()
	if conn != nil {
		conn.abort(reason)
	}
}

// serve subscribes and publishes until the connection is lost or ctx ends. It returns nil where ctx ended.
func (s *session) serve(ctx context.Context) error {
	// A call below may hang. It does not hang a stop for ever, because the connection is cut at the end.
	var last *time.Timer
	cut := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		last = time.AfterFunc(drainTimeout+farewellTimeout, func() { s.abort(ctx.Err()) })
		close(cut)
	})
	defer func() {
		if !unwatch() {
			<-cut
			last.Stop()
		}
	}()

	err := s.subscribe(ctx)
	if err == nil && ctx.Err() == nil {
		s.client.dropped(DropOverflow, s.client.outbox.Restart())
		s.announce = true
		s.client.up(s)
		err = s.publish(ctx)
		s.client.observeOutbox()
	}
	close(s.stopping)
	s.client.back.end() // what came must not wait for a further connection
	if errors.Is(err, errConnectionLost) {
		s.client.gone()
		return fmt.Errorf("%w: %s: %w", ErrBrokerUnreachable, s.name, err)
	}
	s.farewell()
	s.client.gone()
	return err
}

var errConnectionLost = errors.New("connection lost")

// subscribe subscribes to all filters and returns when the broker has granted them, or when ctx ends.
func (s *session) subscribe(ctx context.Context) error {
	filters := map[string]byte{}
	optional := map[string]bool{}
	// The client subscribes to its own status topic; see receive. With QoS 0 no message of it waits at the
	// broker while the service is away.
	status := s.client.statusTopic()
	filters[status] = 0
	optional[status] = true
	for _, sub := range s.client.options.Subscriptions {
		filters[sub.Filter] = 2
		optional[sub.Filter] = sub.Optional
		if sub.KeptOnly {
			filters[sub.Filter] = 0
		}
	}

	for attempt := 1; ; attempt++ {
		token := s.paho.SubscribeMultiple(filters, nil).(*mqtt.SubscribeToken)
		timeout := time.NewTimer(ackTimeout)
		select {
		case <-token.Done():
			timeout.Stop()
		case err := <-s.lost:
			timeout.Stop()
			return fmt.Errorf("%w while subscribing: %w", errConnectionLost, err)
		case <-timeout.C:
			return s.fail(errors.New("the broker does not answer the subscription"))
		case <-ctx.Done():
			timeout.Stop()
			return nil
		}
		if err := token.Error(); err != nil {
			return s.fail(fmt.Errorf("subscribing: %w", err))
		}
		var denied []string
		s.echoes = token.Result()[status] != subackFailure
		for filter, code := range token.Result() {
			switch {
			case code != subackFailure:
			case filter == status:
				s.client.log.Debug("the MQTT broker does not let this user read its own status",
					"topic", filter)
			case optional[filter]:
				s.client.log.Warn("the MQTT broker denies a subscription that the service can do without",
					"filter", filter)
			default:
				denied = append(denied, filter)
			}
		}
		if len(denied) == 0 {
			return nil
		}
		// A broker may deny a subscription only because its packet identifier is that of a message which the
		// broker delivers at the same moment (seen with mochi). The next attempt has another identifier.
		if attempt == 3 {
			return fmt.Errorf("%w: %s: its access list denies the subscription of %s: let user %q read it, "+
				"and publish below %s/",
				ErrBrokerRefused, s.name, strings.Join(denied, ", "), s.user, s.client.options.Base)
		}
		pause := time.NewTimer(time.Second)
		select {
		case <-pause.C:
		case err := <-s.lost:
			pause.Stop()
			return fmt.Errorf("%w while subscribing: %w", errConnectionLost, err)
		case <-ctx.Done():
			pause.Stop()
			return nil
		}
	}
}

// unsubscribe ends the KeptOnly subscriptions: all that comes on them now are our own messages.
func (s *session) unsubscribe() {
	var filters []string
	for _, sub := range s.client.options.Subscriptions {
		if sub.KeptOnly {
			filters = append(filters, sub.Filter)
		}
	}
	if len(filters) > 0 {
		s.paho.Unsubscribe(filters...) // a failure does no harm: the handlers get messages that they ignore
	}
}

// publish sends the messages of the outbox to the broker. It returns nil after ctx has ended, when all
// messages are acknowledged or drainTimeout is over.
func (s *session) publish(ctx context.Context) error {
	outbox := s.client.outbox
	stable := time.NewTimer(stableAfter)
	defer stable.Stop()
	unacknowledged := time.NewTimer(ackTimeout)
	defer unacknowledged.Stop()
	kept := time.NewTimer(keptTimeout)
	defer kept.Stop()
	heard := newEchoWatch()
	defer heard.stop()
	var drained <-chan time.Time
	ended := ctx.Done()
	for {
		if ended == nil && len(s.window) == 0 && outbox.Len() == 0 {
			return nil
		}
		waiting := len(s.window) > 0
		if err := s.fill(); err != nil {
			return s.fail(err)
		}
		var oldest <-chan struct{}
		var overdue <-chan time.Time
		if len(s.window) > 0 {
			oldest = s.window[0].token.Done()
			overdue = unacknowledged.C
			if !waiting {
				unacknowledged.Reset(ackTimeout)
			}
		}
		select {
		case <-oldest:
			if err := s.window[0].token.Error(); err != nil {
				return s.fail(err)
			}
			if s.window[0].id == 0 && s.echoes {
				heard.expect()
			}
			outbox.Done(s.window[0].id)
			s.window = s.window[1:]
			s.client.observeOutbox()
			unacknowledged.Reset(ackTimeout)
		case <-outbox.Wake():
		case <-s.rejoin:
			s.announce = true
		case <-s.echo:
			heard.came()
			s.client.heard()
		case <-heard.C():
			if len(s.echo) > 0 {
				continue // it came while fill waited for a slow broker
			}
			s.client.unheard(s)
			s.announce = true // "online" is sent until it comes back: somebody may correct the access list
		case err := <-s.lost:
			return fmt.Errorf("%w: %w", errConnectionLost, err)
		case <-overdue:
			return s.fail(fmt.Errorf("no acknowledgement for %v", ackTimeout))
		case <-kept.C:
			s.client.back.end()
		case <-stable.C:
			s.client.stable()
			s.unsubscribe()
		case <-ended:
			ended = nil
			s.client.back.end() // a clean stop answers what it does not carry out
			timer := time.NewTimer(drainTimeout)
			defer timer.Stop()
			drained = timer.C
		case <-drained:
			return nil
		}
	}
}

// echoWatch is the timer for our own "online" to come back. A broker also acknowledges messages that its
// access list denies, since MQTT 3.1.1 has no other answer. That "online" does not come back is the only sign
// of it.
type echoWatch struct {
	timer *time.Timer
	wait  time.Duration
	done  bool // "online" came back, so publishing is allowed
}

func newEchoWatch() *echoWatch {
	w := &echoWatch{timer: time.NewTimer(echoTimeout), wait: echoTimeout}
	w.timer.Stop()
	return w
}

// expect is called when the broker has acknowledged an "online".
func (w *echoWatch) expect() {
	if !w.done {
		w.timer.Reset(w.wait)
		w.wait = echoInterval
	}
}

// came is called when "online" came back.
func (w *echoWatch) came() {
	w.done = true
	w.timer.Stop()
}

// C returns a channel that has a value when "online" is overdue.
func (w *echoWatch) C() <-chan time.Time { return w.timer.C }

func (w *echoWatch) stop() { w.timer.Stop() }

// fill sends messages until the window is full or the outbox has no more.
func (s *session) fill() error {
	for len(s.window) < windowSize {
		if s.announce {
			s.announce = false
			if err := s.send(0, s.client.statusTopic(), []byte(statusOnline), true); err != nil {
				return err
			}
		}
		m, ok := s.client.outbox.Next()
		if !ok {
			return nil
		}
		if err := s.send(m.ID, m.Topic, m.Payload, m.Retained); err != nil {
			return err
		}
	}
	return nil
}

// send sends one message and adds it to the window. It blocks while the network takes no bytes, for
// writeTimeout at most.
func (s *session) send(id uint64, topic string, payload []byte, retained bool) error {
	token := s.paho.Publish(topic, 1, retained, payload)
	select {
	case <-token.Done():
		if err := token.Error(); err != nil {
			return fmt.Errorf("publishing %s: %w", topic, err)
		}
	default:
	}
	s.window = append(s.window, awaited{token: token, id: id})
	return nil
}

// fail ends a connection for a reason, waits until paho has given it up, and returns the error.
func (s *session) fail(reason error) error {
	s.abort(reason)
	timeout := time.NewTimer(farewellTimeout)
	defer timeout.Stop()
	select {
	case err := <-s.lost:
		if !errors.Is(err, reason) && !errors.Is(reason, err) {
			reason = fmt.Errorf("%w (%w)", reason, err)
		}
	case <-timeout.C:
		s.paho.Disconnect(uint(farewellTimeout.Milliseconds()))
	}
	return fmt.Errorf("%w: %w", errConnectionLost, reason)
}

// farewell ends a working connection. It publishes "offline" and disconnects, so that the broker does not
// publish the Last Will.
func (s *session) farewell() {
	token := s.paho.Publish(s.client.statusTopic(), 1, true, []byte(statusOffline))
	timeout := time.NewTimer(farewellTimeout)
	defer timeout.Stop()
	select {
	case <-token.Done():
	case err := <-s.lost:
		s.client.log.Debug("the connection to the MQTT broker was lost while it was ended", "error", err)
		return
	case <-timeout.C:
	}
	s.paho.Disconnect(uint(farewellTimeout.Milliseconds()))
	s.abort(net.ErrClosed)
}

// receive hands one message to its handler. Paho calls it for one message at a time.
func (s *session) receive(m mqtt.Message) {
	c := s.client
	if m.Topic() == c.statusTopic() {
		m.Ack() // at QoS 0 it does nothing; an older configuration may have subscribed with a higher one
		// A broker can notice late that a connection of ours has ended, such as that of a service that was
		// killed. The Last Will then says "offline" after this connection has said "online", so it is said
		// again.
		if m.Retained() {
			return
		}
		said := s.echo
		if string(m.Payload()) == statusOffline {
			said = s.rejoin
		}
		select {
		case <-s.stopping:
		case said <- struct{}{}:
		default:
		}
		return
	}

	acknowledge := func(then func()) { then() }
	key := ""
	if m.Qos() > 0 {
		d, fresh := c.deliveries.take(m)
		if !fresh {
			return
		}
		acknowledge = func(then func()) { c.deliveries.finish(d, then) }
		key = d.key
	}
	for _, sub := range c.options.Subscriptions {
		switch {
		case !FilterMatches(sub.Filter, m.Topic()):
			continue
		case sub.Commands != nil:
			c.deliver(sub, Command{
				Topic:       m.Topic(),
				Payload:     m.Payload(),
				Retained:    m.Retained(),
				Delivery:    key,
				Acknowledge: acknowledge,
			})
		default:
			sub.Handler(m.Topic(), m.Payload(), m.Retained(), m.Duplicate())
			acknowledge(func() {})
		}
		return
	}
	// The broker still has a subscription of an earlier configuration in the session.
	c.log.Debug("MQTT message without a handler", "topic", m.Topic())
	acknowledge(func() {})
}

// deliver hands a command to its handler, now or when it is known what the broker retains.
func (c *Client) deliver(sub Subscription, command Command) {
	message := heldMessage{command: command, deliver: func() { sub.Commands(command) }}
	if command.Retained {
		c.back.takeRetained(message)
		return
	}
	c.back.take(message)
}

// statusTopic returns the topic that says whether the service is connected.
func (c *Client) statusTopic() string { return c.options.Base + "/status" }

// FilterMatches reports whether a topic matches a topic filter with + and # (MQTT 3.1.1, 4.7).
func FilterMatches(filter, topic string) bool {
	for {
		f, filterRest, filterMore := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, topicRest, topicMore := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		if !topicMore {
			return !filterMore || filterRest == "#"
		}
		if !filterMore {
			return false
		}
		filter = filterRest
		topic = topicRest
	}
}

// inboundStore is paho's message store. It stores nothing (see Client): paho uses it to say that a QoS 2
// message has been released.
type inboundStore struct{ deliveries *deliveries }

// Open does nothing.
func (s *inboundStore) Open() {}

// Close does nothing.
func (s *inboundStore) Close() {}

// Reset does nothing.
func (s *inboundStore) Reset() {}

// Put stores nothing.
func (s *inboundStore) Put(string, packets.ControlPacket) {}

// Get finds nothing.
func (s *inboundStore) Get(string) packets.ControlPacket { return nil }

// All finds nothing, so paho sends nothing again.
func (s *inboundStore) All() []string { return nil }

// Del releases a message. Paho's keys are "i.<id>" for received messages and "o.<id>" for sent ones.
func (s *inboundStore) Del(key string) {
	if digits, inbound := strings.CutPrefix(key, "i."); inbound {
		if id, err := strconv.ParseUint(digits, 10, 16); err == nil {
			s.deliveries.release(uint16(id))
		}
	}
}
