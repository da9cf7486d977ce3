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

const subackFailure = 0x80 // MQTT 3.1.1, 3.9.3: the return code of a subscription that is denied

// mqttSession is one connection to a broker, from CONNECT to its end.
type mqttSession struct {
	client *Client
	name   string // of the broker
	paho   mqtt.Client
	user   string        // whom the broker knows this service as; may be empty
	lost   chan error    // has the reason when paho has given the connection up
	rejoin chan struct{} // someone said "offline" in our name
	echo   chan struct{} // our "online" came back

	window   []awaited // in the order of sending, which is the order of acknowledgement
	announce bool      // "online" is to be published next
	echoes   bool      // the broker has granted the subscription of our own status
	stopping chan struct{}

	mu      sync.Mutex
	conn    *brokerConn
	dialErr error
	aborted error
}

type awaited struct {
	token mqtt.Token
	id    uint64 // of the outbox; 0 for "online"
}

// open connects to one broker.
func (c *Client) open(ctx context.Context, u *url.URL) (*mqttSession, error) {
	s := &mqttSession{
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
	o.SetProtocolVersion(4) // MQTT 3.1.1, or paho tries each refused connection again with 3.1
	o.SetClientID(c.options.ClientID)
	o.SetUsername(c.options.Username)
	o.SetPassword(c.options.Password)
	o.SetCleanSession(false) // commands wait at the broker while the service is away
	o.SetStore(&inboundStore{held: &c.held})
	o.SetOrderMatters(true)
	o.SetAutoReconnect(false) // Client.Run does
	o.SetConnectRetry(false)
	o.SetConnectTimeout(mqttConnectTimeout)
	o.SetKeepAlive(mqttKeepAlive)
	o.SetPingTimeout(mqttKeepAlive / 2)
	o.SetWriteTimeout(mqttWriteTimeout)
	o.SetBinaryWill(c.statusTopic(), []byte(StatusOffline), 1, true)
	// Messages that waited may come before the subscription is granted: no route would match yet.
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { s.receive(m) })
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { s.lost <- err })
	o.SetCustomOpenConnectionFn(func(u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
		return s.dial(ctx, u, o)
	})

	s.paho = mqtt.NewClient(o)
	token := s.paho.Connect()
	select {
	case <-token.Done():
	case <-ctx.Done():
		s.abort(ctx.Err())
		<-token.Done()
	}
	err := token.Error()
	if err == nil {
		return s, nil
	}
	if s.dialErr != nil {
		err = s.dialErr // without paho's wrapping
	}
	return nil, connectProblem(s.name, c.options.ClientID, err)
}

func (s *mqttSession) dial(ctx context.Context, u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
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
	s.conn = &brokerConn{Conn: conn}
	return s.conn, nil
}

// abort ends the connection at once; paho then reports it as lost.
func (s *mqttSession) abort(reason error) {
	s.mu.Lock()
	s.aborted = reason
	conn := s.conn
	s.mu.Unlock()
	if conn != nil {
		conn.abort(reason)
	}
}

// serve uses the connection until it is lost, which is an error, or ctx ends, which is none.
func (s *mqttSession) serve(ctx context.Context) error {
	// Whatever hangs below, it does not hang a stop for ever: at the end the connection is cut.
	var last *time.Timer
	cut := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		last = time.AfterFunc(mqttDrainTimeout+mqttFarewell, func() { s.abort(ctx.Err()) })
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
	if errors.Is(err, errConnectionLost) {
		s.client.gone()
		return fmt.Errorf("%w: %s: %w", ErrBrokerUnreachable, s.name, err)
	}
	s.farewell()
	s.client.gone()
	return err
}

var errConnectionLost = errors.New("connection lost")

// subscribe asks for all subscriptions and returns when they are granted.
func (s *mqttSession) subscribe(ctx context.Context) error {
	filters := map[string]byte{}
	optional := map[string]bool{}
	// One's own status: see receive. QoS 0, so that nothing of it waits while the service is away.
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
		patience := time.NewTimer(mqttAckTimeout)
		select {
		case <-token.Done():
			patience.Stop()
		case err := <-s.lost:
			patience.Stop()
			return fmt.Errorf("%w while subscribing: %w", errConnectionLost, err)
		case <-patience.C:
			return s.fail(errors.New("the broker does not answer the subscription"))
		case <-ctx.Done():
			patience.Stop()
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
		// A broker may deny it only because the packet identifier is that of a message which it
		// delivers at the same moment (seen with mochi): the next attempt has another one.
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

// unsubscribe ends the subscriptions that are about what was kept: all that comes on them now
// is what we publish.
func (s *mqttSession) unsubscribe() {
	var filters []string
	for _, sub := range s.client.options.Subscriptions {
		if sub.KeptOnly {
			filters = append(filters, sub.Filter)
		}
	}
	if len(filters) > 0 {
		s.paho.Unsubscribe(filters...) // without it, messages come that nobody looks at
	}
}

// publish hands the outbox to the broker. It returns nil when ctx has ended and the rest is published
// or time is up.
func (s *mqttSession) publish(ctx context.Context) error {
	outbox := s.client.outbox
	stable := time.NewTimer(mqttStableAfter)
	defer stable.Stop()
	patience := time.NewTimer(mqttAckTimeout)
	defer patience.Stop()
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
			overdue = patience.C
			if !waiting {
				patience.Reset(mqttAckTimeout)
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
			patience.Reset(mqttAckTimeout)
		case <-outbox.Wake():
		case <-s.rejoin:
			s.announce = true
		case <-s.echo:
			heard.came()
			s.client.heard()
		case <-heard.C():
			if len(s.echo) > 0 {
				continue // it has come, while filling the window of a slow broker took all the time
			}
			s.client.unheard(s)
			s.announce = true // until it comes back: somebody may mend the access list
		case err := <-s.lost:
			return fmt.Errorf("%w: %w", errConnectionLost, err)
		case <-overdue:
			return s.fail(fmt.Errorf("no acknowledgement for %v", mqttAckTimeout))
		case <-stable.C:
			s.client.stable()
			s.unsubscribe()
		case <-ended:
			ended = nil
			timer := time.NewTimer(mqttDrainTimeout)
			defer timer.Stop()
			drained = timer.C
		case <-drained:
			return nil
		}
	}
}

// echoWatch waits for our own "online" to come back. A broker acknowledges what its access list denies like
// anything else (MQTT 3.1.1 has no other answer): that nothing comes back is the only sign.
type echoWatch struct {
	timer *time.Timer
	wait  time.Duration
	done  bool // it came, so publishing is allowed
}

func newEchoWatch() *echoWatch {
	w := &echoWatch{timer: time.NewTimer(mqttEchoTimeout), wait: mqttEchoTimeout}
	w.timer.Stop()
	return w
}

// expect is called when the broker has taken an "online".
func (w *echoWatch) expect() {
	if !w.done {
		w.timer.Reset(w.wait)
		w.wait = mqttEchoRetry
	}
}

func (w *echoWatch) came() {
	w.done = true
	w.timer.Stop()
}

// C has a value when the echo is overdue.
func (w *echoWatch) C() <-chan time.Time { return w.timer.C }

func (w *echoWatch) stop() { w.timer.Stop() }

// fill sends until the window is full or nothing is left to send.
func (s *mqttSession) fill() error {
	for len(s.window) < mqttWindow {
		if s.announce {
			s.announce = false
			if err := s.send(0, s.client.statusTopic(), []byte(StatusOnline), true); err != nil {
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

// send blocks for as long as the broker takes nothing off the network, mqttWriteTimeout at most.
func (s *mqttSession) send(id uint64, topic string, payload []byte, retained bool) error {
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

// fail gives a connection up that has not been lost by itself, and waits until paho is done with it.
func (s *mqttSession) fail(reason error) error {
	s.abort(reason)
	patience := time.NewTimer(mqttFarewell)
	defer patience.Stop()
	select {
	case err := <-s.lost:
		if !errors.Is(err, reason) && !errors.Is(reason, err) {
			reason = fmt.Errorf("%w (%w)", reason, err)
		}
	case <-patience.C:
		s.paho.Disconnect(uint(mqttFarewell.Milliseconds()))
	}
	return fmt.Errorf("%w: %w", errConnectionLost, reason)
}

// farewell ends a good connection: "offline", then the disconnect that keeps the Last Will from
// being published.
func (s *mqttSession) farewell() {
	token := s.paho.Publish(s.client.statusTopic(), 1, true, []byte(StatusOffline))
	patience := time.NewTimer(mqttFarewell)
	defer patience.Stop()
	select {
	case <-token.Done():
	case <-s.lost:
		return
	case <-patience.C:
	}
	s.paho.Disconnect(uint(mqttFarewell.Milliseconds()))
	s.abort(net.ErrClosed)
}

// receive is called by paho for each message, one at a time.
func (s *mqttSession) receive(m mqtt.Message) {
	c := s.client
	if m.Topic() == c.statusTopic() {
		// The will of a connection of ours that the broker has given up only now (a half-open one,
		// or that of a service before this) says "offline" after this one has said "online".
		if m.Retained() {
			return
		}
		said := s.echo
		if string(m.Payload()) == StatusOffline {
			said = s.rejoin
		}
		select {
		case <-s.stopping:
		case said <- struct{}{}:
		default:
		}
		return
	}
	if m.Qos() == 2 && !c.held.take(m.MessageID(), m.Duplicate()) {
		return
	}
	for _, sub := range c.options.Subscriptions {
		if FilterMatches(sub.Filter, m.Topic()) {
			sub.Handler(m.Topic(), m.Payload(), m.Retained(), m.Duplicate())
			return
		}
	}
	// A subscription of an earlier configuration, which the broker still has in the session.
	c.log.Debug("MQTT message that nobody asked for", "topic", m.Topic())
}

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

// heldMessages remembers which QoS 2 messages were handed over but not yet released by the broker. It
// outlives the connection, as the broker's side of it does: paho itself hands such a message over
// again when the broker delivers it again.
type heldMessages struct {
	mu  sync.Mutex
	ids map[uint16]struct{}
}

// take reports whether the message is to be handed over.
func (h *heldMessages) take(id uint16, duplicate bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.ids[id]; known && duplicate {
		return false
	}
	if h.ids == nil {
		h.ids = make(map[uint16]struct{})
	}
	h.ids[id] = struct{}{}
	return true
}

func (h *heldMessages) release(id uint16) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.ids, id)
}

// inboundStore is paho's message store, and stores nothing (see Client). It is where paho says that a
// QoS 2 message has been released.
type inboundStore struct{ held *heldMessages }

func (s *inboundStore) Open()                             {}
func (s *inboundStore) Close()                            {}
func (s *inboundStore) Reset()                            {}
func (s *inboundStore) Put(string, packets.ControlPacket) {}
func (s *inboundStore) Get(string) packets.ControlPacket  { return nil }
func (s *inboundStore) All() []string                     { return nil }

// Del has keys "i.<id>" for what came in and "o.<id>" for what went out.
func (s *inboundStore) Del(key string) {
	if digits, inbound := strings.CutPrefix(key, "i."); inbound {
		if id, err := strconv.ParseUint(digits, 10, 16); err == nil {
			s.held.release(uint16(id))
		}
	}
}
