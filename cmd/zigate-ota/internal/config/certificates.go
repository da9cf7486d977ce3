package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS returns the TLS configuration of the broker's connection, made of the files that the variables name. It
// returns nil where none is named, which means the system's authorities and no client certificate. The files
// are read anew with each call; errors name the variable.
func (c MQTTConfig) TLS() (*tls.Config, error) {
	if c.CAFile == "" && c.CertFile == "" {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ZIGATE_OTA_MQTT_CA_FILE: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("ZIGATE_OTA_MQTT_CA_FILE: " + c.CAFile +
				" holds no certificate in PEM form")
		}
	}
	if c.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("ZIGATE_OTA_MQTT_CERT_FILE and ZIGATE_OTA_MQTT_KEY_FILE: %w", err)
		}
		t.Certificates = []tls.Certificate{cert}
	}
	return t, nil
}

// Authorities returns the system's certificate authorities and those of the file that
// ZIGATE_OTA_IMAGE_CA_FILE names. It returns nil, which stands for the system's alone, where no file
// is named. The file is read anew with each call; the error says what is wrong with it, without the
// name of the variable.
func (c ImageConfig) Authorities() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	certificates, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // there are none, as in a container with nothing but the program
	}
	if !pool.AppendCertsFromPEM(certificates) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", c.CAFile)
	}
	return pool, nil
}
