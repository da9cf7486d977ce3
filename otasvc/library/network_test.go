package library_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// failing is a way to a server that gives no answer.
type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

// Who asked is told what is wrong with the server or the network, and not what the standard library calls it.
func TestNetworkProblems(t *testing.T) {
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	tests := map[string]struct {
		err  error
		says string
	}{
		"no such host": {
			&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Name: "example.org", Server: "192.0.2.1:53", IsNotFound: true}},
			"there is no host of the name example.org; check the name",
		},
		"no look-up":           {&net.DNSError{Name: "example.org", IsTimeout: true}, "the name example.org cannot be looked up"},
		"refused":              {dial(syscall.ECONNREFUSED), "nothing listens at example.org:8443 (connection refused); check host and port"},
		"no way":               {dial(syscall.ENETUNREACH), "there is no way from this machine to example.org:8443"},
		"no answer":            {dial(syscall.ETIMEDOUT), "example.org:8443 does not answer in time"},
		"a deadline":           {os.ErrDeadlineExceeded, "example.org:8443 does not answer in time"},
		"closed":               {io.EOF, "example.org:8443 closes the connection without an answer"},
		"reset":                {dial(syscall.ECONNRESET), "example.org:8443 closes the connection without an answer"},
		"an unknown authority": {&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "set ZIGATE_OTA_IMAGE_CA_FILE"},
		"another name": {
			x509.HostnameError{Certificate: &x509.Certificate{}, Host: "example.org"},
			"the server's certificate is for other names than example.org",
		},
		"expired":        {x509.CertificateInvalidError{Reason: x509.Expired}, "check the clock of this machine"},
		"no TLS":         {tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "use http instead of https"},
		"no web server":  {errors.New(`malformed HTTP response "SSH-2.0"`), "what answers at example.org:8443 does not answer as a web server does"},
		"something else": {fmt.Errorf("the moon is %s", "full"), "the moon is full"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := open(t, library.Options{Transport: failing{tt.err}})
			_, err := l.Fetch(t.Context(), library.Request{URL: "https://example.org:8443/secret.ota?token=1"})
			if !errors.Is(err, library.ErrAccess) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
			for _, noise := range []string{"dial tcp", "connect:", "192.0.2.1", "SSH", "token=1", "x509:", "tls:"} {
				if strings.Contains(err.Error(), noise) {
					t.Errorf("%v has %q", err, noise)
				}
			}
		})
	}
}
