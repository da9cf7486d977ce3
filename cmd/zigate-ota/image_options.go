package main

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// library is the configuration in the library's terms. The file of authorities was read when the configuration was
// checked, and may be another one by now.
func (c ImageConfig) library(log *slog.Logger) (library.Options, error) {
	authorities, err := c.authorities()
	if err != nil {
		return library.Options{}, fmt.Errorf("%s: %w", imageCAFileVariable, err)
	}
	return library.Options{
		Dir: c.Dir, MaxBytes: c.MaxBytes, AllowedHosts: c.AllowedHosts, FetchTimeout: c.FetchTimeout,
		DirectorURL: string(c.DirectorURL), Authorities: authorities, Logger: log,
	}, nil
}

// authorities are the system's and those of the file; nil, which stands for the system's, where no file is named.
func (c ImageConfig) authorities() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	certificates, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // there are none, as in a container of nothing but the program
	}
	if !pool.AppendCertsFromPEM(certificates) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", c.CAFile)
	}
	return pool, nil
}
