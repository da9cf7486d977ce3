package mqttclient_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
)

// What a failed connection means, and what mends it, for everybody who connects.
func TestProblem(t *testing.T) {
	reset := &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, tt := range []struct {
		name    string
		attempt mqttclient.Attempt
		err     error
		refused bool
		want    []string // all in the text; none: there is no text
	}{
		{"no user", mqttclient.Attempt{}, packets.ErrorRefusedNotAuthorised, true, []string{"wants a user name", "ZIGATE_OTA_MQTT_USERNAME"}},
		{"wrong password", mqttclient.Attempt{Username: "u", ClientID: "me"}, packets.ErrorRefusedBadUsernameOrPassword, true, []string{"refuses the user", "ZIGATE_OTA_MQTT_PASSWORD", `"me"`}},
		{"identifier", mqttclient.Attempt{ClientID: "me"}, packets.ErrorRefusedIDRejected, true, []string{`"me"`, "ZIGATE_OTA_MQTT_CLIENT_ID"}},
		{"version", mqttclient.Attempt{}, packets.ErrorRefusedBadProtocolVersion, true, []string{"MQTT 3.1.1"}},
		{"authority", mqttclient.Attempt{Scheme: "ssl"}, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, false, []string{"unknown authority", "ZIGATE_OTA_MQTT_CA_FILE"}},
		{"other name", mqttclient.Attempt{Scheme: "ssl"}, &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"broker.lan"}}, Host: "localhost"}}, false, []string{"broker.lan", "ZIGATE_OTA_MQTT_URL"}},
		{"no TLS there", mqttclient.Attempt{Scheme: "ssl"}, tls.RecordHeaderError{Msg: "first record"}, false, []string{"does not speak TLS", "tcp:// instead of ssl://"}},
		{"certificate wanted", mqttclient.Attempt{Scheme: "ssl"}, errors.New("remote error: tls: certificate required"), false, []string{"client certificate", "ZIGATE_OTA_MQTT_CERT_FILE"}},
		{"closed", mqttclient.Attempt{Scheme: "tcp"}, fmt.Errorf("network Error : %w", io.EOF), false, []string{"closes the connection", "ssl://"}},
		{"closed with TLS", mqttclient.Attempt{Scheme: "wss"}, io.EOF, false, []string{"closes the connection", "ZIGATE_OTA_MQTT_CERT_FILE", "tcp://"}},
		{"reset", mqttclient.Attempt{Scheme: "tcp"}, reset, false, []string{"closes the connection"}},
		{"nobody listens", mqttclient.Attempt{Scheme: "tcp"}, refused, false, nil},
	} {
		got := tt.attempt.Problem(tt.err)
		if got.Refused != tt.refused || !errors.Is(got.Err, tt.err) || (got.Text == "") != (tt.want == nil) {
			t.Errorf("%s: %+v", tt.name, got)
		}
		for _, part := range tt.want {
			if !strings.Contains(got.Text, part) {
				t.Errorf("%s: %q is not in %q", tt.name, part, got.Text)
			}
		}
	}
}
