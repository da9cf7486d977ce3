package mqttclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// embeddedScheme is that of the URL that stands for a broker which OpenConnection alone knows.
const embeddedScheme = "embedded"

// parseBrokerURL understands what ZIGATE_OTA_MQTT_URL may hold, and fills in the usual port.
func parseBrokerURL(spec string) (*url.URL, error) {
	u, err := url.Parse(spec)
	if err != nil {
		return nil, errors.New("MQTT broker: not a URL (it is not shown, as it may hold a password)")
	}
	port := ""
	switch u.Scheme {
	case "tcp", "mqtt":
		port = "1883"
	case "ssl", "tls", "mqtts":
		port = "8883"
	case "ws":
		port = "80"
	case "wss":
		port = "443"
	case "unix":
		if u.Path == "" {
			return nil, errors.New("MQTT broker: unix: needs a path: unix:///path/of/socket")
		}
		return u, nil
	default:
		// "user:password@host" parses, with the user as scheme: nothing of it is safe to show.
		return nil, errors.New("MQTT broker: must begin with tcp://, ssl://, ws:// or wss:// (what was " +
			"given is not shown, as it may hold a password)")
	}
	if u.Hostname() == "" {
		return nil, fmt.Errorf("MQTT broker %s://…: no host", u.Scheme)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return u, nil
}

// brokerName is what a broker is called in logs and errors: user, password, path and query may be secret.
func brokerName(u *url.URL) string {
	switch u.Scheme {
	case embeddedScheme:
		return "embedded broker"
	case "unix":
		return "unix://" + u.Path
	}
	return u.Scheme + "://" + u.Host
}

// dialBroker opens the network connection that an MQTT URL names. Paho would do this too, but not give
// up when ctx ends.
func dialBroker(ctx context.Context, u *url.URL, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, mqttConnectTimeout)
	defer cancel()
	dialer := &net.Dialer{}
	switch u.Scheme {
	case "unix":
		return dialer.DialContext(ctx, "unix", u.Path)
	case "ssl", "tls", "mqtts":
		return (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", u.Host)
	case "ws", "wss":
		bare := *u
		bare.User = nil // the MQTT user; the library refuses one in the URL
		return mqtt.NewWebsocket(bare.String(), config, mqttConnectTimeout, nil, nil)
	default:
		return dialer.DialContext(ctx, "tcp", u.Host)
	}
}

// connectProblem turns what a connection attempt failed with into a sentence for the one who can
// mend it.
func connectProblem(name, clientID string, err error) error {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		notTLS    tls.RecordHeaderError
	)
	scheme, _, _ := strings.Cut(name, "://")
	secure := slices.Contains([]string{"ssl", "tls", "mqtts", "wss"}, scheme)
	switch {
	case errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword),
		errors.Is(err, packets.ErrorRefusedNotAuthorised):
		return fmt.Errorf("%w: %s: %w: check ZIGATE_OTA_MQTT_USERNAME and ZIGATE_OTA_MQTT_PASSWORD, "+
			"and that the user may connect as client %q", ErrBrokerRefused, name, err, clientID)
	case errors.Is(err, packets.ErrorRefusedIDRejected):
		return fmt.Errorf("%w: %s: it does not like the client identifier %q: set ZIGATE_OTA_MQTT_CLIENT_ID",
			ErrBrokerRefused, name, clientID)
	case errors.Is(err, packets.ErrorRefusedBadProtocolVersion):
		return fmt.Errorf("%w: %s: it does not speak MQTT 3.1.1", ErrBrokerRefused, name)
	case errors.As(err, &authority):
		return fmt.Errorf("%w: %s: %w: set ZIGATE_OTA_MQTT_CA_FILE to the certificate of the authority "+
			"that signed the broker's", ErrBrokerUnreachable, name, err)
	case errors.As(err, &hostname):
		return fmt.Errorf("%w: %s: %w: use a name in ZIGATE_OTA_MQTT_URL that is in the broker's certificate",
			ErrBrokerUnreachable, name, err)
	case errors.As(err, &notTLS):
		return fmt.Errorf("%w: %s: it does not speak TLS on this port: tcp:// instead of ssl://, "+
			"or another port", ErrBrokerUnreachable, name)
	case strings.Contains(err.Error(), "remote error: tls: ") && strings.Contains(err.Error(), "certificate"):
		// An alert has no type to ask for.
		return fmt.Errorf("%w: %s: %w: the broker asks for a client certificate that its authority signed: "+
			"check ZIGATE_OTA_MQTT_CERT_FILE and ZIGATE_OTA_MQTT_KEY_FILE", ErrBrokerUnreachable, name, err)
	case secure && (errors.Is(err, io.EOF) || strings.Contains(err.Error(), "connection reset")):
		// The alert can be lost with it.
		return fmt.Errorf(
			"%w: %s: it closed the connection instead of answering: perhaps it asks for a client "+
				"certificate (ZIGATE_OTA_MQTT_CERT_FILE, ZIGATE_OTA_MQTT_KEY_FILE): %w",
			ErrBrokerUnreachable, name, err,
		)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %s: it closed the connection instead of answering (a port for TLS needs "+
			"ssl://): %w", ErrBrokerUnreachable, name, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrBrokerUnreachable, name, err)
}

// brokerConn is a connection that can be ended from outside with a reason. Paho takes no notice when a
// connection fails with "use of closed network connection", and goes on as if it were open: this one
// fails with the reason instead.
type brokerConn struct {
	net.Conn
	mu     sync.Mutex
	reason error
}

func (c *brokerConn) abort(reason error) {
	c.mu.Lock()
	if c.reason == nil {
		c.reason = reason
	}
	c.mu.Unlock()
	_ = c.SetDeadline(time.Unix(1, 0)) // a TLS connection sends a farewell when it closes
	_ = c.Conn.Close()
}

func (c *brokerConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.explain(err)
}

func (c *brokerConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.explain(err)
}

func (c *brokerConn) explain(err error) error {
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != nil {
		return c.reason
	}
	return err
}
