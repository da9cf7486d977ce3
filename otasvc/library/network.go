package library

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// networkProblem says for a person why a server gave no answer, and what to do about it. at is the server's
// host, with its port where the URL has one. Where nothing better is known it is what the system says.
func networkProblem(err error, at string) string {
	var lookUp *net.DNSError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &lookUp) && lookUp.IsNotFound:
		return "there is no host of the name " + lookUp.Name +
			"; check the name, and that this machine can look names up"
	case errors.As(err, &lookUp):
		return "the name " + lookUp.Name + " cannot be looked up; check the network of this machine"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens at " + at +
			" (connection refused); check host and port, and that the server runs"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no way from this machine to " + at + "; check the network"
	case errors.Is(err, errNoByte), errors.Is(err, errTooSlow):
		return err.Error()
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return at + " does not answer in time; check that the server runs, and the network"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.ErrUnexpectedEOF):
		return at + " closes the connection without an answer"
	case isNoAnswer(err):
		return "what answers at " + at + " does not answer as a web server does"
	}
	if text := certificateProblem(err); text != "" {
		return text
	}
	return scrub(err.Error())
}

// certificateProblem is networkProblem for what is wrong with TLS; empty where the error is not about that.
func certificateProblem(err error) string {
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var noTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &authority):
		return "an authority that is not known has signed the server's certificate; if you trust the " +
			"server, set ZIGATE_OTA_IMAGE_CA_FILE to the certificate of that authority"
	case errors.As(err, &hostname):
		return "the server's certificate is for other names than " + hostname.Host +
			"; use one of those in the URL"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired, or is not valid yet; check the clock of this machine"
	case errors.As(err, &noTLS):
		return "the server does not speak TLS at this port; use http instead of https, or another port"
	default:
		return ""
	}
}

// isNoAnswer reports whether the error of a request says that the other side has answered something else than
// a web server. The standard library's texts for that repeat what was said, or are for its makers.
func isNoAnswer(err error) bool {
	text := err.Error()
	return strings.Contains(text, "malformed") || strings.Contains(text, "readLoopPeekFailLocked")
}
