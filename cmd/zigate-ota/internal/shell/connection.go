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

// Broker says how the broker of the service is reached.
type Broker struct {
	URLs               []string // tried one after the other; their schemes are tcp, ssl, ws and wss
	Username, Password string
	TLS                *tls.Config // nil stands for the system's authorities
	Base               string      // base topic of the service
	// Embedded says that it is the service's own broker, which is there only while the service runs.
	Embedded bool
}

// name returns the broker's name for messages. URLs hold no user and password, but a query may be a secret.
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
	reconnectDelay   = 2 * time.Second // longest time between two attempts to reconnect
	farewell         = 250             // milliseconds for messages that are under way at the end
)

// update is one message or change of the connection. Updates come in their order.
type update struct {
	kind     updateKind
	topic    string // relative to the base topic
	payload  []byte
	retained bool
	err      error // set with isDenied
}

type updateKind int

const (
	isMessage updateKind = iota
	// isSubscribed says that the subscriptions are granted, for the first time or again. Messages that were
	// not retained in between are lost.
	isSubscribed
	isDenied // a subscription is not granted
	isLost   // the connection is lost; the client reconnects
	isTick   // a second has passed
)

// connection is a connection to the broker that reconnects when it is lost.
type connection struct {
	broker Broker
	client mqtt.Client
	// inbox has no bound: it holds the messages of one service, and its reader does nothing else.
	inbox *mailbox.Mailbox[update]
}

// connect connects and subscribes. filters are relative to the base topic and have the quality of service
// as values. The caller closes the connection.
func connect(ctx context.Context, b Broker, filters map[string]byte) (*connection, error) {
	c := &connection{broker: b, inbox: mailbox.New[update]()}
	wanted := make(map[string]byte, len(filters))
	for filter, qos := range filters {
		wanted[b.Base+"/"+filter] = qos
	}

	// With the service's own identifier the broker would disconnect the service.
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

// localAddress returns the address from which this machine reaches the broker. It is empty where there is
// none.
func (c *connection) localAddress(ctx context.Context) string {
	for _, text := range c.broker.URLs {
		u, err := url.Parse(text)
		if err != nil || u.Hostname() == "" {
			continue
		}
		port := u.Port()
		if port == "" {
			port = "1883" // any port will do, since nothing is sent
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

// publish hands a request to the broker. Where the connection is lost before the broker has acknowledged it,
// the broker may have handed it out or not.
func (c *connection) publish(ctx context.Context, topic string, payload []byte) error {
	token := c.client.Publish(c.broker.Base+"/"+topic, 1, false, payload)
	select {
	case <-token.Done():
	case <-ctx.Done():
		return ended(ctx, "it is not certain that the request reached the broker")
	case <-time.After(subscribeTimeout):
		if !c.client.IsConnectionOpen() {
			return failed(ExitUnreachable, "the connection to the broker at %s was lost, and it is not "+
				"certain that the request reached the broker; \"zigate-ota devices\" shows what the "+
				"service does", c.broker.name())
		}
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
	if errors.As(err, &network) { // this leaves out paho's text
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
