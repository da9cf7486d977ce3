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

// supervisor tells systemd how the service is, as its manual page sd_notify(3) says it: that it is ready,
// what it is doing, that it stops, and, for as long as it is alive, that it is. Where no systemd asks for
// it, it does nothing.
//
// The protocol is one datagram a message and is spoken here rather than by a library, which would
// be the larger part.
type supervisor struct {
	socket string // empty where nobody listens
	// Systemd restarts a service that it has not heard from for so long; with 0 it does not watch.
	watchdog time.Duration
	pid      int // the process that is watched; 0 stands for whichever has these variables
	// alive returns nil while the service can do its work as far as that is its own doing: neither a dongle
	// nor a broker that is away is a reason to be restarted. It must come back before the context ends.
	alive func(context.Context) error
	// status is one line for "systemctl status".
	status func() string
	ready  <-chan struct{}
	log    *slog.Logger
}

// newSupervisor reads what systemd has put into the environment. A watchdog that is meant for another
// process is left alone.
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

// statusInterval is how often the line for "systemctl status" is looked at where no watchdog asks for more.
const statusInterval = 10 * time.Second

// Run tells until ctx is done.
func (s supervisor) Run(ctx context.Context) error {
	if s.socket == "" {
		<-ctx.Done()
		return nil
	}
	// An abstract one begins with "@" for systemd as for package net.
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
		interval = min(interval, s.watchdog/3) // so that one that comes late does no harm
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

// ask is alive within a time. What hangs without looking at its context is left behind: it is
// about to be killed.
func (s supervisor) ask(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := s.alive(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v: %w", limit, err)
	}
	return err
}
