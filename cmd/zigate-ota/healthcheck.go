package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// healthcheck asks the service that runs with the same configuration whether it is ready.
func (p *program) healthcheck(ctx context.Context) error {
	cfg, err := p.config()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	answer, err := askHealth(ctx, nil, reachable(string(cfg.HTTP.Addr)), "/readyz")
	if answer != "" {
		fmt.Fprintln(p.stdout, answer)
	}
	return err
}

// askHealth asks the service that listens on an address for its health, over a connection that dial opens;
// nil stands for one by the network. It returns the answer even with an error.
func askHealth(
	ctx context.Context, dial func(ctx context.Context, network, addr string) (net.Conn, error),
	addr, path string,
) (answer string, err error) {
	url := "http://" + addr + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	// This transport ignores the proxies that the environment names.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	res, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("the service does not answer at %s (ZIGATE_OTA_HTTP_ADDR): %w", url, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if err != nil {
		return "", fmt.Errorf("reading the answer of %s: %w", url, err)
	}
	answer = strings.TrimSpace(string(body))
	if res.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("the service is not ready: %s", res.Status)
	}
	return answer, nil
}

// reachable returns the address under which a server that listens on addr is reached from this machine.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
