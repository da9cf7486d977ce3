package mqttclient

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Attempt describes an attempt to connect to a broker, as far as the meaning of its error depends on it.
type Attempt struct {
	Scheme   string // of the broker's URL
	Username string // empty where the client has none
	ClientID string
}

// Problem is why an attempt failed.
type Problem struct {
	// Refused says that the broker answered and refuses the client. Otherwise it did not answer.
	Refused bool
	// Text says what the broker does and how to mend that, as a clause that follows "the broker"; it is
	// empty where Err says enough.
	Text string
	Err  error
}

// Problem finds out what an error of the attempt means for the person who has to mend it. The error is
// paho's, or that of the network connection.
func (a Attempt) Problem(err error) Problem {
	switch {
	case errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword),
		errors.Is(err, packets.ErrorRefusedNotAuthorised):
		return Problem{Refused: true, Text: a.credentials(), Err: err}
	case errors.Is(err, packets.ErrorRefusedIDRejected):
		text := fmt.Sprintf("refuses the client identifier %q: set ZIGATE_OTA_MQTT_CLIENT_ID",
			a.ClientID)
		return Problem{Refused: true, Text: text, Err: err}
	case errors.Is(err, packets.ErrorRefusedBadProtocolVersion):
		return Problem{Refused: true, Text: "does not speak MQTT 3.1.1", Err: err}
	}
	text := tlsProblem(err)
	if text == "" && isClosed(err) {
		text = a.closed()
	}
	return Problem{Text: text, Err: err}
}

// credentials says why the broker refuses the user.
func (a Attempt) credentials() string {
	if a.Username == "" {
		return "wants a user name and a password: set ZIGATE_OTA_MQTT_USERNAME and " +
			"ZIGATE_OTA_MQTT_PASSWORD (or ..._FILE)"
	}
	return fmt.Sprintf("refuses the user: check ZIGATE_OTA_MQTT_USERNAME and ZIGATE_OTA_MQTT_PASSWORD, "+
		"and that the user may connect as client %q", a.ClientID)
}

// closed says why the broker may have ended the connection without an answer.
func (a Attempt) closed() string {
	const text = "closes the connection instead of answering; "
	if slices.Contains([]string{"ssl", "tls", "mqtts", "wss"}, a.Scheme) {
		// The alert that asks for a certificate can be lost with the connection.
		return text + "perhaps it asks for a client certificate (ZIGATE_OTA_MQTT_CERT_FILE, " +
			"ZIGATE_OTA_MQTT_KEY_FILE), and a port without TLS needs tcp://"
	}
	return text + "a port for TLS needs ssl://"
}

func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) ||
		strings.Contains(err.Error(), "connection reset") // where paho has only kept the text
}

// tlsProblem says what is wrong with TLS. It is empty where the error is not about TLS.
func tlsProblem(err error) string {
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var noTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &authority):
		return fmt.Sprintf("has a certificate that an unknown authority signed (%v): "+
			"set ZIGATE_OTA_MQTT_CA_FILE to the certificate of that authority", authority)
	case errors.As(err, &hostname):
		return fmt.Sprintf("has a certificate for other names (%v): use one of those in ZIGATE_OTA_MQTT_URL",
			hostname)
	case errors.As(err, &noTLS):
		return "does not speak TLS on this port: use tcp:// instead of ssl://, or another port"
	case strings.Contains(err.Error(), "remote error: tls: ") && strings.Contains(err.Error(), "certificate"):
		// The tls package has no error type for an alert of the other side.
		return fmt.Sprintf("asks for a client certificate that its authority signed (%v): "+
			"check ZIGATE_OTA_MQTT_CERT_FILE and ZIGATE_OTA_MQTT_KEY_FILE", err)
	default:
		return ""
	}
}

// of returns the problem as an error of the client, for a broker that is called name. It is an
// [ErrBrokerRefused] or an [ErrBrokerUnreachable].
func (p Problem) of(name string) error {
	kind := ErrBrokerUnreachable
	if p.Refused {
		kind = ErrBrokerRefused
	}
	if p.Text == "" {
		return fmt.Errorf("%w: %s: %w", kind, name, p.Err)
	}
	return fmt.Errorf("%w: %s: it %s", kind, name, p.Text)
}
