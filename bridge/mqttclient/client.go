package mqttclient

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// Payloads of <base>/status, plain text. statusOffline is also the Last Will.
const (
	statusOnline  = "online"
	statusOffline = "offline"
)

const (
	backoffMin   = time.Second
	backoffMax   = time.Minute
	refusedDelay = 30 * time.Second // shortest backoff while the broker refuses the client
	stableAfter  = 30 * time.Second // a connection that has lasted this long counts as stable
	unstableRuns = 3                // so many unstable connections in a row are reported

	connectTimeout  = 10 * time.Second // for the network connection and the MQTT handshake
	keepAlive       = 30 * time.Second // the broker publishes the Last Will after 1.5 times this
	writeTimeout    = 20 * time.Second // for one packet
	ackTimeout      = time.Minute      // longest time without an acknowledgement while some are due
	drainTimeout    = 5 * time.Second  // for the messages that wait at a clean stop
	farewellTimeout = 2 * time.Second  // for "offline" and the disconnect that follows it
	windowSize      = 32               // most messages in flight
	echoTimeout     = 10 * time.Second // for the first "online" to come back
	echoInterval    = time.Minute      // for each further one
)

// The errors of Client.Health; test for them with errors.Is.
var (
	// ErrBrokerUnreachable means that no broker could be reached, or that the connection was lost.
	ErrBrokerUnreachable = errors.New("MQTT broker not reachable")
	// ErrBrokerRefused means that the broker answers, but refuses the user, the client identifier, the
	// subscription or what is published. Another attempt rarely helps, so the backoff is longer.
	ErrBrokerRefused = errors.New("MQTT broker refuses this service")
	// ErrConnectionUnstable means that the broker ends each connection within seconds. Most often another
	// client has the same client identifier: then the broker ends each connection when the other client
	// connects.
	ErrConnectionUnstable = errors.New("MQTT broker keeps ending the connection")
)

// MessageHandler receives one message. It is called from one goroutine at a time, in the order of arrival. It
// must not block, because no other message is received before it returns. It may keep the payload. The
// message is acknowledged when it returns.
//
// retained is true when the broker had kept the message, so that it was not published just now. duplicate is
// true when the broker says that it may have delivered the message before. Some brokers say so of every
// message that had waited for this client, so it is no reason to drop one. A message is handed over once,
// however often the broker delivers it again after a lost connection.
type MessageHandler func(topic string, payload []byte, retained, duplicate bool)

// Command is a message that asks for something.
type Command struct {
	Topic   string
	Payload []byte
	// Retained says that the broker had kept the message, so that it was not published just now.
	Retained bool
	// Delivery differs from that of every other message, and is the same where the broker delivers one again
	// to a later life of the service; see [Client.Expect]. It is empty at QoS 0.
	Delivery string
	// Acknowledge tells the broker that it need not deliver the message again. It must be called once the
	// command cannot be lost any more, soon, and by any goroutine; more calls do no harm. Without it the
	// broker may stop delivering commands until a minute has passed. then is called, on any goroutine, when
	// the broker will know before all that is published from then on, or cannot know, as the connection has
	// ended: then it delivers the message again.
	Acknowledge func(then func())
}

// Subscription is a topic filter and the handler of its messages. Where several filters match a topic, the
// first one gets the message.
type Subscription struct {
	Filter  string
	Handler MessageHandler
	// Optional says that the service works without the subscription: it is only logged that a broker denies
	// it.
	Optional bool
	// KeptOnly says that only the messages matter that the broker had kept when the connection began. The
	// subscription has QoS 0, so that no messages wait at the broker for it, and ends when the connection is
	// stable.
	KeptOnly bool
	// Commands, where it is not nil, takes the messages in the place of Handler, under the same rules. A
	// retained message comes as retained alone, also where it waited in the service's session at the broker.
	Commands func(Command)
}

// Observer counts what happens between the service and the broker. Its methods must not block.
type Observer interface {
	// BrokerConnected is called with true when a broker is connected and has granted the subscriptions, and
	// with false when that connection has ended.
	BrokerConnected(up bool)
	// OutboxMessages is called with the number of messages that the broker has not acknowledged.
	OutboxMessages(n int)
	// OutboxDropped is called when n events or responses were dropped; reason is one of DropReasons.
	OutboxDropped(reason string, n int)
}

// Options says where the brokers are, how the service identifies itself there and what it subscribes to.
type Options struct {
	// URLs are those of brokers, tried one after the other. The schemes are tcp, ssl, ws, wss, mqtt, mqtts,
	// tls and unix. A URL without a port stands for the usual port of its scheme. URLs may be empty where
	// OpenConnection is set.
	URLs []string
	// Username and Password are used unless a URL has its own.
	Username, Password string
	// ClientID must be the same at each start and differ from that of any other client: the broker keeps the
	// commands that come while the service is away under it. An empty one stands for DefaultClientID(Base).
	ClientID string
	// TLS is for ssl and wss. An empty server name stands for that of the URL. Without a TLS configuration
	// the broker's certificate must be signed by an authority of the system, and there is no client
	// certificate.
	TLS *tls.Config
	// Base is the base topic. The Last Will is on <Base>/status.
	Base          string
	Subscriptions []Subscription
	// OpenConnection replaces the network, for the embedded broker and tests.
	OpenConnection func(uri *url.URL, options mqtt.ClientOptions) (net.Conn, error)
	Logger         *slog.Logger // may be nil
	Observer       Observer     // may be nil
	OutboxLimit    int          // most events and responses that wait; 0 stands for the constant OutboxLimit
}

// Client is the service's connection to the broker: it connects, subscribes and publishes what is in its
// outbox, and connects again as long as Run runs. Publishing never waits for the broker.
//
// When a connection breaks, no message is lost and none overtakes another. Each connection is a new paho
// client whose store keeps no outgoing messages, so that paho never sends one again; only the outbox does. It
// holds each message until the broker has acknowledged it. A new connection begins with the current value of
// every retained topic; the unacknowledged events follow in their order, then the rest. So an old retained
// value cannot follow a newer one, and an event arrives at least once: it arrives twice where the broker's
// acknowledgement was lost, as QoS 1 allows. (Paho's own reconnection and store would send old retained
// values after new ones, keep an unlimited number of messages, and leave tokens open that nobody completes.)
type Client struct {
	options    Options
	urls       []*url.URL
	log        *slog.Logger
	outbox     *Outbox
	deliveries deliveries
	back       heldBack

	mu         sync.Mutex
	session    *session
	problem    error  // why there is no connection
	suspicion  error  // why connections do not last; nil while they do
	denied     error  // why published messages reach nobody; nil while they do
	reported   string // the problem that was logged last
	observerMu sync.Mutex
}

// New makes a client that Run connects. The error names an option that is wrong.
func New(options Options) (*Client, error) {
	if options.Base == "" || strings.ContainsAny(options.Base, "+#\x00") ||
		strings.HasPrefix(options.Base, "/") || strings.HasSuffix(options.Base, "/") {
		return nil, fmt.Errorf("MQTT base topic %q: must not be empty, begin or end with /, "+
			"or contain + or #", options.Base)
	}

	c := &Client{
		options: options,
		log:     options.Logger,
		outbox:  NewOutbox(cmp.Or(options.OutboxLimit, OutboxLimit)),
		problem: fmt.Errorf("%w: not connected yet", ErrBrokerUnreachable),
	}

	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.options.ClientID == "" {
		c.options.ClientID = DefaultClientID(options.Base)
	}

	for _, spec := range options.URLs {
		u, err := parseBrokerURL(spec)
		if err != nil {
			return nil, err
		}
		c.urls = append(c.urls, u)
	}

	if len(c.urls) == 0 {
		if options.OpenConnection == nil {
			return nil, errors.New("no MQTT broker given: set ZIGATE_OTA_MQTT_URL")
		}
		c.urls = []*url.URL{{Scheme: embeddedScheme, Host: "broker"}}
	}
	return c, nil
}

// DefaultClientID derives a client identifier from a base topic. It returns the base topic itself where every
// broker must accept that (1 to 23 letters, digits, - and _), else its beginning and a digest, so that two
// base topics do not share an identifier.
func DefaultClientID(base string) string {
	id := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, base)
	if id == base && len(id) <= 23 {
		return id
	}
	digest := sha256.Sum256([]byte(base))
	return id[:min(len(id), 14)] + "-" + hex.EncodeToString(digest[:4])
}

// Retain sets the value of a retained topic; see Outbox.Retain.
func (c *Client) Retain(topic string, payload []byte) {
	c.outbox.Retain(topic, payload)
	c.observeOutbox()
}

// Clear removes a retained topic from the broker.
func (c *Client) Clear(topic string) { c.Retain(topic, nil) }

// Publish puts an event or a response, which is not retained, into the outbox. The oldest one that waits is
// dropped when there are more than Options.OutboxLimit.
func (c *Client) Publish(topic string, payload []byte) {
	if c.outbox.Publish(topic, payload) {
		c.dropped(DropOverflow, 1)
	}
	c.observeOutbox()
}

// PublishOwed puts a response into the outbox that was promised; see Outbox.PublishOwed.
func (c *Client) PublishOwed(topic string, payload []byte, acknowledged func()) {
	if c.outbox.PublishOwed(topic, payload, acknowledged) {
		c.dropped(DropOverflow, 1)
	}
	c.observeOutbox()
}

// Value returns the newest value of a retained topic, whether or not the broker has it yet. It returns false
// for a topic that was never set, or whose clearing the broker has acknowledged.
func (c *Client) Value(topic string) ([]byte, bool) { return c.outbox.Value(topic) }

// Waiting returns how many messages the broker has not acknowledged yet, including those that were not sent.
func (c *Client) Waiting() int { return c.outbox.Len() }

// RepublishAll publishes the value of every retained topic again.
func (c *Client) RepublishAll() {
	c.outbox.RepublishAll()
	c.observeOutbox()
}

// Connected reports whether a broker is connected and has granted the subscriptions.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session != nil
}

// Health returns nil while the service can be reached over MQTT. Else the error says why it cannot and what
// to do about it; it is an ErrBrokerUnreachable, ErrBrokerRefused or ErrConnectionUnstable.
func (c *Client) Health() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return cmp.Or(c.suspicion, c.problem)
	}
	return cmp.Or(c.suspicion, c.denied)
}

// String returns a name for logs.
func (c *Client) String() string { return "MQTT client " + c.options.ClientID }

// Expect tells which commands an earlier life of the service has taken, by their [Command.Delivery]. Where
// the broker delivers one again it is acknowledged, and not handed over. It must be called before Run.
func (c *Client) Expect(deliveries []string) { c.deliveries.expect(deliveries) }

// Run connects, and connects again, until ctx ends. Then it publishes the messages that wait, for 5 seconds
// at most, and "offline", disconnects and returns nil. Call it once, and stop it after everything that
// publishes. The broker keeps the session, so commands that come while the service is away wait there.
func (c *Client) Run(ctx context.Context) error {
	var plan reconnectPlan
	for ctx.Err() == nil {
		session, err := c.connect(ctx)
		var lived time.Duration
		if err == nil {
			started := time.Now()
			err = session.serve(ctx)
			lived = time.Since(started)
		}
		if ctx.Err() != nil {
			break
		}
		delay, unstable := plan.next(lived, errors.Is(err, ErrBrokerRefused))
		switch {
		case unstable:
			c.suspect(err)
		case lived == 0:
			c.unsuspect() // a broker that cannot be reached is another problem
		}
		c.down(err)
		wait := time.NewTimer(delay)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
	}

	if n := c.outbox.DropAll(); n > 0 {
		c.log.Warn("stopped before the MQTT broker had acknowledged all messages; the others are lost",
			"lost", n)
		c.dropped(DropStopped, n)
	}
	c.observeOutbox()
	return nil
}

// connect tries each broker once, one after the other. Its error joins those of all attempts.
func (c *Client) connect(ctx context.Context) (*session, error) {
	var problems []error
	for _, u := range c.urls {
		session, err := c.open(ctx, u)
		if err == nil {
			return session, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		problems = append(problems, err)
	}
	return nil, errors.Join(problems...)
}

// up is called when the subscriptions have been granted.
func (c *Client) up(s *session) {
	c.mu.Lock()
	c.session = s
	c.reported = ""
	level := slog.LevelInfo
	if c.suspicion != nil {
		level = slog.LevelDebug // suspect has logged already that connections come and go
	}
	c.mu.Unlock()
	c.log.Log(context.Background(), level, "connected to the MQTT broker", "url", s.name,
		"clientId", c.options.ClientID)
	if c.options.Observer != nil {
		c.options.Observer.BrokerConnected(true)
	}
}

// gone is called when a connection has ended.
func (c *Client) gone() {
	c.mu.Lock()
	was := c.session != nil
	c.session = nil
	c.denied = nil
	c.problem = fmt.Errorf("%w: disconnected", ErrBrokerUnreachable)
	c.mu.Unlock()
	if was && c.options.Observer != nil {
		c.options.Observer.BrokerConnected(false)
	}
}

// down records why there is no connection. It logs each problem once in a row as a warning.
func (c *Client) down(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problem = err
	level := slog.LevelWarn
	if c.suspicion != nil || err.Error() == c.reported {
		level = slog.LevelDebug
	}
	c.reported = err.Error()
	c.log.Log(context.Background(), level, "no connection to the MQTT broker", "error", err)
}

// suspect records that connections do not last, and logs it once.
func (c *Client) suspect(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.suspicion != nil {
		return
	}
	c.suspicion = fmt.Errorf("%w within seconds: is another client connected as %q (a second zigate-ota "+
		"with the same base topic or ZIGATE_OTA_MQTT_CLIENT_ID)? Else its log says why; "+
		"an access list may not let this user publish below %s/ (%w)",
		ErrConnectionUnstable, c.options.ClientID, c.options.Base, err)
	c.log.Error("the connection to the MQTT broker does not last", "error", c.suspicion)
}

// stable is called when a connection has lasted.
func (c *Client) stable() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.suspicion != nil {
		c.suspicion = nil
		c.log.Info("the connection to the MQTT broker lasts again")
	}
}

// unheard is called when our "online" has not come back in time. It logs that once for each connection.
func (c *Client) unheard(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.denied != nil {
		return
	}
	c.denied = fmt.Errorf("%w: %s: it takes what is published, but %s/status does not come back: "+
		"most likely its access list does not let user %q publish, and then nobody sees this service; "+
		"let the user write below %s/, and read %s/status so that the service can check this",
		ErrBrokerRefused, s.name, c.options.Base, s.user, c.options.Base, c.options.Base)
	c.log.Error("the MQTT broker seems to deny what is published", "error", c.denied)
}

// heard is called when our "online" came back.
func (c *Client) heard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.denied != nil {
		c.denied = nil
		c.log.Info("what is published reaches the MQTT broker's clients again")
	}
}

// unsuspect forgets that connections do not last.
func (c *Client) unsuspect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.suspicion = nil
}

// dropped tells the observer about events and responses that were dropped.
func (c *Client) dropped(reason DropReason, n int) {
	if n > 0 && c.options.Observer != nil {
		c.options.Observer.OutboxDropped(string(reason), n)
	}
}

// observeOutbox tells the observer how many messages are unacknowledged. It reads the number with the lock
// held, so that of several calls at once the last one reports the newest number.
func (c *Client) observeOutbox() {
	if c.options.Observer == nil {
		return
	}
	c.observerMu.Lock()
	defer c.observerMu.Unlock()
	c.options.Observer.OutboxMessages(c.outbox.Len())
}

// reconnectPlan computes the backoff before the next attempt.
type reconnectPlan struct {
	delay time.Duration
	short int // number of connections in a row that did not last
}

// next is called after each attempt and returns the backoff, with some jitter. lived is how long the
// connection lasted, and 0 where there was none. unstable is true after unstableRuns connections in a row
// that did not last.
func (p *reconnectPlan) next(lived time.Duration, refused bool) (delay time.Duration, unstable bool) {
	switch {
	case lived >= stableAfter:
		p.short = 0
		p.delay = 0
	case lived == 0:
		p.short = 0
	case !refused:
		p.short++
	}
	p.delay = min(max(2*p.delay, backoffMin), backoffMax)
	if refused {
		p.delay = max(p.delay, refusedDelay)
	}
	return p.delay + rand.N(p.delay/4), p.short >= unstableRuns
}
