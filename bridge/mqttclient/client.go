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

// What <base>/status says, plain text. StatusOffline is the Last Will too.
const (
	StatusOnline  = "online"
	StatusOffline = "offline"
)

const (
	mqttBackoffMin   = time.Second
	mqttBackoffMax   = time.Minute
	mqttRefusedDelay = 30 * time.Second // between two attempts at a broker that refuses the client
	mqttStableAfter  = 30 * time.Second // a connection that lives this long is a good one
	mqttUnstableRuns = 3                // so many in a row that do not are not chance

	mqttConnectTimeout = 10 * time.Second // network and MQTT handshake together
	mqttKeepAlive      = 30 * time.Second // the broker publishes the Last Will after 1.5 times this
	mqttWriteTimeout   = 20 * time.Second // of one packet
	mqttAckTimeout     = time.Minute      // without any acknowledgement while some are awaited
	mqttDrainTimeout   = 5 * time.Second  // for what still waits at a clean stop
	mqttFarewell       = 2 * time.Second  // for "offline" and the disconnect after that
	mqttWindow         = 32               // messages in flight
	mqttEchoTimeout    = 10 * time.Second // for the first "online" to come back
	mqttEchoRetry      = time.Minute      // for the next ones
)

var (
	// ErrBrokerUnreachable: no broker could be reached, or the connection was lost.
	ErrBrokerUnreachable = errors.New("MQTT broker not reachable")
	// ErrBrokerRefused: the broker answers, and refuses the user, the client identifier, the
	// subscription or what is published. Trying again rarely helps, so it is done rarely.
	ErrBrokerRefused = errors.New("MQTT broker refuses this service")
	// ErrConnectionUnstable: the broker ends each connection within seconds. Most often another
	// client with the same client identifier is the cause: the two throw each other out for ever.
	ErrConnectionUnstable = errors.New("MQTT broker keeps ending the connection")
)

// MessageHandler takes one message that arrived. It is called from one goroutine at a time, in the
// order of arrival, and must not block: it stands between the broker and everything else that arrives.
// It may keep the payload. The message is acknowledged when it returns.
//
// retained: the broker had kept the message, and it was not published just now. duplicate: the broker
// says that it may have delivered it before. Some brokers say so of every message that had waited for
// this client, so it is no reason to drop one. A QoS 2 message is handed over once, however often it
// is delivered again after a lost connection.
type MessageHandler func(topic string, payload []byte, retained, duplicate bool)

// Subscription is one topic filter and what happens to its messages. Where several filters match a
// topic, the first one gets the message.
type Subscription struct {
	Filter  string
	Handler MessageHandler
	// Optional: the service is of use without it, so a broker that denies it is only told about.
	Optional bool
	// KeptOnly: what matters is what the broker had kept when the connection began. The subscription
	// is at QoS 0, so that nothing waits at the broker for it, and ends after a while.
	KeptOnly bool
}

// Observer is told what happens on the way to the broker. Its methods must not block.
type Observer interface {
	// BrokerConnected: the connection is there (subscriptions granted), or it is gone.
	BrokerConnected(up bool)
	// OutboxMessages: so many messages have not been acknowledged by the broker.
	OutboxMessages(n int)
	// OutboxDropped: n events or responses will never reach the broker.
	OutboxDropped(reason string, n int)
}

// Options says where the broker is and who the service is there.
type Options struct {
	// URLs of brokers, tried in turn: tcp, ssl, ws or wss (mqtt, mqtts, tls and unix are understood
	// too). Without a port the usual one is taken. May be empty where OpenConnection is set.
	URLs []string
	// Username and Password; the ones in a URL go before these.
	Username, Password string
	// ClientID must be the same at each start and unlike that of any other client: commands that
	// came while the service was away wait at the broker under it. Default: DefaultClientID(Base).
	ClientID string
	// TLS is for ssl and wss. The server name is taken from the URL where it is empty. nil: the
	// system's authorities, no client certificate.
	TLS *tls.Config
	// Base is the base topic. The Last Will is on <Base>/status.
	Base          string
	Subscriptions []Subscription
	// OpenConnection replaces the network (embedded broker, tests).
	OpenConnection func(uri *url.URL, options mqtt.ClientOptions) (net.Conn, error)
	Logger         *slog.Logger
	Observer       Observer // may be nil
	OutboxLimit    int      // default OutboxLimit
}

// Client is the service's connection to the broker: it connects, subscribes, publishes what is in its
// outbox, and does so again for as long as Run runs. Publishing never waits for the broker.
//
// How nothing is lost or overtaken when a connection breaks: each connection is a new paho client with
// a store that keeps nothing to send, so paho never sends anything again. The outbox alone does. It
// holds each message until the broker has acknowledged it; a new connection begins with the current
// value of every retained topic, and then the unacknowledged events, in their order, followed by the
// rest. So an old retained value cannot follow a newer one, and an event arrives at least once: a
// broker that took one but whose acknowledgement was lost sees it twice, which is what QoS 1 promises.
// (Paho's own reconnection with its own store would send old retained values after the new ones, keep
// an unlimited number of messages, and leave tokens open that nobody completes.)
type Client struct {
	options Options
	urls    []*url.URL
	log     *slog.Logger
	outbox  *Outbox
	held    heldMessages

	mu         sync.Mutex
	session    *mqttSession
	problem    error // why there is no connection
	suspicion  error // why the connection will not last
	denied     error // why nobody hears what is published
	reported   string
	observerMu sync.Mutex
}

// New checks the options. It connects to nothing yet.
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

// DefaultClientID derives a client identifier from a base topic: the base topic itself where it is one
// that every broker must accept (1 to 23 letters, digits, - and _), else its beginning and a digest,
// so that two base topics never share one.
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

// Publish sends an event or a response, not retained. It waits its turn while the broker is away.
func (c *Client) Publish(topic string, payload []byte) {
	if c.outbox.Publish(topic, payload) {
		c.dropped(DropOverflow, 1)
	}
	c.observeOutbox()
}

// Value returns what a retained topic holds, or is about to hold; false where it was never set, or was
// cleared and the broker knows that.
func (c *Client) Value(topic string) ([]byte, bool) { return c.outbox.Value(topic) }

// Waiting is how many messages the broker has not acknowledged yet, those included that were not sent.
func (c *Client) Waiting() int { return c.outbox.Len() }

// RepublishAll publishes every retained topic again.
func (c *Client) RepublishAll() {
	c.outbox.RepublishAll()
	c.observeOutbox()
}

// Connected reports whether the broker is there and has granted the subscriptions.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session != nil
}

// Health returns nil, or why the service cannot be reached over MQTT and what to do about it. The
// error is an ErrBrokerUnreachable, ErrBrokerRefused or ErrConnectionUnstable.
func (c *Client) Health() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return cmp.Or(c.suspicion, c.problem)
	}
	return cmp.Or(c.suspicion, c.denied)
}

// String names the task.
func (c *Client) String() string { return "MQTT client " + c.options.ClientID }

// Run keeps the connection until ctx ends. Then it publishes what still waits (for a few seconds at
// most), "offline", disconnects and returns nil. It is to be called once, and to be stopped after
// everything that publishes. The broker keeps the session: commands that come meanwhile wait there.
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
			c.unsuspect() // a broker that is away is another trouble
		}
		c.down(err)
		wait := time.NewTimer(delay)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
	}
	if n := c.outbox.DropAll(DropStopped); n > 0 {
		c.log.Warn("stopped before the MQTT broker had taken everything", "lost", n)
		c.dropped(DropStopped, n)
	}
	c.observeOutbox()
	return nil
}

// connect tries each broker once, in turn.
func (c *Client) connect(ctx context.Context) (*mqttSession, error) {
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
func (c *Client) up(s *mqttSession) {
	c.mu.Lock()
	c.session = s
	c.reported = ""
	level := slog.LevelInfo
	if c.suspicion != nil {
		level = slog.LevelDebug // it comes and goes, and that has been told
	}
	c.mu.Unlock()
	c.log.Log(context.Background(), level, "connected to the MQTT broker", "url", s.name,
		"clientId", c.options.ClientID)
	if c.options.Observer != nil {
		c.options.Observer.BrokerConnected(true)
	}
}

// gone is called when a connection that was up is none any more.
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

// down records why there is no connection, and tells so once.
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

// suspect records that connections do not last, and tells so once.
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

// unheard is called when our "online" should have come back and has not: told once a connection.
func (c *Client) unheard(s *mqttSession) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.denied != nil {
		return
	}
	c.denied = fmt.Errorf("%w: %s: it takes what is published, but %s/status does not come back: "+
		"most likely its access list does not let user %q publish, and then nobody sees this service; "+
		"let the user write below %s/, and read %s/status so that this can be told apart",
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

func (c *Client) unsuspect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.suspicion = nil
}

func (c *Client) dropped(reason DropReason, n int) {
	if n > 0 && c.options.Observer != nil {
		c.options.Observer.OutboxDropped(string(reason), n)
	}
}

// observeOutbox reads the length under the lock that it reports it under: of several at once, the last
// to report has read last.
func (c *Client) observeOutbox() {
	if c.options.Observer == nil {
		return
	}
	c.observerMu.Lock()
	defer c.observerMu.Unlock()
	c.options.Observer.OutboxMessages(c.outbox.Len())
}

// reconnectPlan says how long to wait before the next attempt.
type reconnectPlan struct {
	delay time.Duration
	short int // connections in a row that did not last
}

// next is called after each attempt: lived is 0 where it did not come to a connection.
func (p *reconnectPlan) next(lived time.Duration, refused bool) (delay time.Duration, unstable bool) {
	switch {
	case lived >= mqttStableAfter:
		p.short = 0
		p.delay = 0
	case lived == 0:
		p.short = 0
	case !refused:
		p.short++
	}
	p.delay = min(max(2*p.delay, mqttBackoffMin), mqttBackoffMax)
	if refused {
		p.delay = max(p.delay, mqttRefusedDelay)
	}
	return p.delay + rand.N(p.delay/4), p.short >= mqttUnstableRuns
}
