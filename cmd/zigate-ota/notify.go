package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// supervisor reports to systemd by the protocol of sd_notify(3): that the service is ready, its state in a
// line, that it stops, and, at intervals, that it is alive. It does nothing where systemd has not started
// the service.
//
// A message of the protocol is one datagram, so this needs no library.
type supervisor struct {
	socket string // empty where systemd does not listen
	// watchdog is the time after which systemd restarts a service that has not reported; 0 where it does
	// not watch.
	watchdog time.Duration
	pid      int // the process that is watched; 0 stands for any
	// alive returns nil unless a restart could help. A restart does not help when the dongle or the broker
	// is away. It must return before the context ends.
	alive func(context.Context) error
	// status returns one line for "systemctl status".
	status func() string
	ready  <-chan struct{}
	log    *slog.Logger
}

// newSupervisor reads what systemd has put into the environment. It ignores a watchdog that is meant for
// another process.
func newSupervisor(environ []string) supervisor {
	var s supervisor
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch name {
		case "NOTIFY_SOCKET":
			s.socket = value
		case "WATCHDOG_USEC":
			if us, err := strconv.ParseInt(value, 10, 64); err == nil && us > 0 {
				s.watchdog = time.Duration(us) * time.Microsecond
			}
		case "WATCHDOG_PID":
			s.pid, _ = strconv.Atoi(value)
		}
	}
	if s.pid != 0 && s.pid != os.Getpid() {
		s.watchdog = 0
	}
	return s
}

// Lines of sd_notify(3).
const (
	notifyReady    = "READY=1"
	notifyAlive    = "WATCHDOG=1"
	notifyStopping = "STOPPING=1"
	notifyStatus   = "STATUS="
)

// statusInterval is how often the line for "systemctl status" is renewed, unless the watchdog needs reports
// more often.
const statusInterval = 10 * time.Second

// Run reports until ctx is done.
func (s supervisor) Run(ctx context.Context) error {
	if s.socket == "" {
		<-ctx.Done()
		return nil
	}
	// The name of an abstract socket begins with "@" for systemd, and for the package net too.
	conn, err := (&net.Dialer{}).DialContext(ctx, "unixgram", s.socket)
	if err != nil {
		return fmt.Errorf("systemd cannot be told that the service is ready (NOTIFY_SOCKET): %w", err)
	}
	defer conn.Close()
	tell := func(lines ...string) {
		if _, err := conn.Write([]byte(strings.Join(lines, "\n"))); err != nil {
			s.log.Warn("systemd cannot be told how the service is", "err", err)
		}
	}
	defer tell(notifyStopping)
	select {
	case <-s.ready:
	case <-ctx.Done():
		return nil
	}
	said := s.status()
	tell(notifyReady, notifyStatus+said)

	interval := statusInterval
	if s.watchdog > 0 {
		interval = min(interval, s.watchdog/3) // so that one report may come late
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	wellness := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := s.ask(ctx, interval)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && wellness:
			s.log.Error("the service is stuck; systemd is not told any more that it is alive and "+
				"will restart it", "err", err)
		case err == nil && !wellness:
			s.log.Info("the service is alive again")
		}
		if wellness = err == nil; wellness && s.watchdog > 0 {
			tell(notifyAlive)
		}
		if now := s.status(); now != said {
			said = now
			tell(notifyStatus + said)
		}
	}
}

// ask calls alive with a deadline.
func (s supervisor) ask(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := s.alive(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v: %w", limit, err)
	}
	return err
}
