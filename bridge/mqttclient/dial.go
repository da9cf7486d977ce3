package mqttclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// embeddedScheme is the scheme of the URL that stands for the broker of Options.OpenConnection.
const embeddedScheme = "embedded"

// parseBrokerURL parses a broker URL and adds the usual port of its scheme where it has none. Its errors do
// not show the URL, which may hold a password.
func parseBrokerURL(spec string) (*url.URL, error) {
	u, err := url.Parse(spec)
	if err != nil {
		return nil, errors.New("MQTT broker: not a URL (it is not shown, as it may hold a password)")
	}
	var port string
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

// brokerName returns the name of a broker in logs and errors. It leaves out what may be secret: user,
// password, path and query.
func brokerName(u *url.URL) string {
	switch u.Scheme {
	case embeddedScheme:
		return "embedded broker"
	case "unix":
		return "unix://" + u.Path
	}
	return u.Scheme + "://" + u.Host
}

// dialBroker opens the network connection to the broker at a URL. Paho could do this too, but would not stop
// when ctx ends.
func dialBroker(ctx context.Context, u *url.URL, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	dialer := &net.Dialer{}
	switch u.Scheme {
	case "unix":
		return dialer.DialContext(ctx, "unix", u.Path)
	case "ssl", "tls", "mqtts":
		return (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", u.Host)
	case "ws", "wss":
		bare := *u
		bare.User = nil // this is the MQTT user, which a WebSocket URL must not have
		return mqtt.NewWebsocket(bare.String(), config, connectTimeout, nil, nil)
	default:
		return dialer.DialContext(ctx, "tcp", u.Host)
	}
}

// brokerConn is a connection that abort ends with a reason, which Read and Write then return. Paho needs
// that: it ignores the error "use of closed network connection" and goes on as if the connection were open.
type brokerConn struct {
	net.Conn
	mu     sync.Mutex
	reason error
}

// abort ends the connection. The reason of the first call counts.
func (c *brokerConn) abort(reason error) {
	c.mu.Lock()
	if c.reason == nil {
		c.reason = reason
	}
	c.mu.Unlock()
	// Without a deadline, closing a TLS connection would wait until its last record is sent.
	_ = c.SetDeadline(time.Unix(1, 0))
	_ = c.Conn.Close()
}

// Read returns the reason of abort after abort was called.
func (c *brokerConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.explain(err)
}

// Write returns the reason of abort after abort was called.
func (c *brokerConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.explain(err)
}

// explain returns the reason of abort instead of the error that abort caused.
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
