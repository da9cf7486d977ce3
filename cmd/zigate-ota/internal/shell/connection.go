package shell

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
	"github.com/zigate-ota/zigate-ota/zigate/mailbox"
)

// Broker is where the service is talked to.
type Broker struct {
	URLs               []string // tried one after another; their schemes are tcp, ssl, ws and wss
	Username, Password string
	TLS                *tls.Config // nil stands for the system's authorities
	Base               string      // base topic of the service
	// Embedded: it is the service's own, which is there only while the service runs.
	Embedded bool
}

// name is the broker in messages. URLs hold no credentials, but what stands behind a
// question mark may be one.
func (b Broker) name() string {
	names := make([]string, len(b.URLs))
	for i, u := range b.URLs {
		names[i], _, _ = strings.Cut(u, "?")
	}
	return strings.Join(names, ", ")
}

const (
	connectTimeout   = 5 * time.Second // for each of the broker's URLs
	subscribeTimeout = 10 * time.Second
	reconnectDelay   = 2 * time.Second // at most, between two attempts at a connection that was lost
	farewell         = 250             // milliseconds for what is still under way at the end
)

// update is one thing that came in, in the order in which it came.
type update struct {
	kind     updateKind
	topic    string // below the base topic
	payload  []byte
	retained bool
	err      error // of a subscription that was not granted
}

type updateKind int

const (
	isMessage updateKind = iota
	// The subscriptions are granted, for the first time or again; what was not retained in between is lost.
	isSubscribed
	isDenied // they are not
	isLost   // the connection is lost; it is tried again
	isTick   // a second is over
)

// connection is a connection to the broker that comes back when it is lost.
type connection struct {
	broker Broker
	client mqtt.Client
	// inbox has no bound: what comes in is what one service says, and it is read by somebody who does nothing
	// else.
	inbox *mailbox.Mailbox[update]
}

// connect connects and subscribes; filters are below the base topic, with the quality of service that they
// are wanted at. The result is to be closed.
func connect(ctx context.Context, b Broker, filters map[string]byte) (*connection, error) {
	c := &connection{broker: b, inbox: mailbox.New[update]()}
	wanted := make(map[string]byte, len(filters))
	for filter, qos := range filters {
		wanted[b.Base+"/"+filter] = qos
	}
	// An identifier of its own: with the service's it would throw the service out.
	clientID := "zigate-ota-" + randomHex(6)
	o := mqtt.NewClientOptions()
	for _, u := range b.URLs {
		o.AddBroker(u)
	}
	o.SetClientID(clientID).SetCleanSession(true).SetProtocolVersion(4)
	o.SetUsername(b.Username).SetPassword(b.Password)
	if b.TLS != nil {
		o.SetTLSConfig(b.TLS)
	}
	o.SetConnectTimeout(connectTimeout).SetAutoReconnect(true).SetMaxReconnectInterval(reconnectDelay)
	o.SetOrderMatters(true)
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		if topic, ok := strings.CutPrefix(m.Topic(), b.Base+"/"); ok {
			c.inbox.Post(update{topic: topic, payload: m.Payload(), retained: m.Retained()})
		}
	})
	o.SetConnectionLostHandler(func(mqtt.Client, error) { c.inbox.Post(update{kind: isLost}) })
	o.SetOnConnectHandler(func(client mqtt.Client) {
		token := client.SubscribeMultiple(wanted, nil).(*mqtt.SubscribeToken)
		if !token.WaitTimeout(subscribeTimeout) {
			c.inbox.Post(update{
				kind: isDenied, err: errors.New("the broker does not answer the subscription"),
			})
			return
		}
		if err := token.Error(); err != nil {
			c.inbox.Post(update{kind: isDenied, err: err})
			return
		}
		for filter, code := range token.Result() {
			if code == 0x80 { // MQTT 3.1.1, 3.9.3
				c.inbox.Post(update{kind: isDenied, err: fmt.Errorf("%w of %s", errSubscription, filter)})
				return
			}
		}
		c.inbox.Post(update{kind: isSubscribed})
	})
	c.client = mqtt.NewClient(o)
	token := c.client.Connect()
	select {
	case <-token.Done():
	case <-ctx.Done():
		c.close()
		return nil, ended(ctx, "")
	}
	if err := token.Error(); err != nil {
		return nil, connectProblem(b, clientID, err)
	}
	return c, nil
}

func (c *connection) close() { c.client.Disconnect(farewell) }

// localAddress is this machine's address on the way to the broker; it is "" where there is none.
func (c *connection) localAddress(ctx context.Context) string {
	for _, text := range c.broker.URLs {
		u, err := url.Parse(text)
		if err != nil || u.Hostname() == "" {
			continue
		}
		port := u.Port()
		if port == "" {
			port = "1883" // nothing is sent: any will do
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(u.Hostname(), port))
		if err != nil {
			continue
		}
		defer conn.Close()
		if addr, ok := conn.LocalAddr().(*net.UDPAddr); ok {
			return addr.IP.String()
		}
	}
	return ""
}

// publish hands a request to the broker.
func (c *connection) publish(ctx context.Context, topic string, payload []byte) error {
	token := c.client.Publish(c.broker.Base+"/"+topic, 1, false, payload)
	select {
	case <-token.Done():
	case <-ctx.Done():
		return ended(ctx, "it is not certain that the request reached the broker")
	case <-time.After(subscribeTimeout):
		return failed(ExitUnreachable, "the broker at %s does not take the request", c.broker.name())
	}
	if err := token.Error(); err != nil {
		return failed(ExitUnreachable, "the broker at %s does not take the request: %w", c.broker.name(), err)
	}
	return nil
}

// connectProblem says why there is no connection and what to do about it.
func connectProblem(b Broker, clientID string, err error) error {
	scheme, _, _ := strings.Cut(b.URLs[len(b.URLs)-1], "://") // the error is that of the last one
	attempt := mqttclient.Attempt{Scheme: scheme, Username: b.Username, ClientID: clientID}
	if problem := attempt.Problem(err); problem.Text != "" {
		return failed(ExitUnreachable, "the broker at %s %s", b.name(), problem.Text)
	}
	var network *net.OpError
	if errors.As(err, &network) { // without paho's words around it
		err = network
	}
	hint := "another broker is named with --broker or ZIGATE_OTA_MQTT_URL"
	if b.Embedded {
		hint = "is the service running here? (zigate-ota serve); where it uses another broker, " +
			"name that with --broker or ZIGATE_OTA_MQTT_URL"
	}
	return failed(ExitUnreachable, "the broker at %s cannot be reached: %w; %s", b.name(), err, hint)
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
