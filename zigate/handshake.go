package zigate

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// handshakeTries is how often each command of the handshake is sent. Opening the port may have reset the
// dongle, which then takes a few seconds to boot.
const handshakeTries = 4

// greeting is how far the handshake of a connection has come.
type greeting struct {
	askedNetwork atomic.Bool
	gotVersion   chan struct{} // closed when version has been told
	ready        chan struct{} // closed at the end

	// Only the reader uses these.
	version      message.Version
	knowsVersion bool
}

func newGreeting() greeting {
	return greeting{gotVersion: make(chan struct{}), ready: make(chan struct{})}
}

// tell takes the dongle's version, and reports whether it is the answer that the handshake waits for.
func (g *greeting) tell(v message.Version) bool {
	if g.knowsVersion {
		return false
	}
	g.version = v
	g.knowsVersion = true
	close(g.gotVersion)
	return true
}

// handshake asks for the firmware's version first, which shows whether a dongle answers at all. Then it
// sets the raw mode, which the dongle keeps over resets and which cannot be read. Then it asks for the
// network. The Handler's HandleConnected has been called when it returns without an error.
func (c *conn) handshake(ctx context.Context) error {
	if c.d.revival.due(c.name) {
		if err := c.revive(ctx); err != nil {
			return err
		}
	}
	if err := c.ask(ctx, message.GetVersion{}, c.greeting.gotVersion); err != nil {
		return err
	}
	if err := c.ask(ctx, message.SetRawMode{Mode: c.d.opts.RawMode}, nil); err != nil {
		return err
	}
	c.greeting.askedNetwork.Store(true)
	return c.ask(ctx, message.GetNetworkState{}, c.greeting.ready)
}

// ask repeats a command until its answer comes. Where answer is nil it waits for the status.
func (c *conn) ask(ctx context.Context, m message.Message, answer <-chan struct{}) error {
	for range handshakeTries {
		err := c.try(ctx, m, answer)
		if !errors.Is(err, ErrNoAnswer) {
			return err
		}
	}
	t := m.Type()
	return fmt.Errorf("%s (%s): %w after %d tries: is it a ZiGate, at this baud rate, "+
		"and used by nobody else?",
		t, t.Name(), ErrNoAnswer, handshakeTries)
}

// try sends a command once. A status other than 0 is no error: early firmware lacks some commands, and
// where an answer is expected, only that counts.
func (c *conn) try(ctx context.Context, m message.Message, answer <-chan struct{}) error {
	status := make(chan struct{}, 1)
	cmd, _ := newCommand(m, func(s message.Status, err error) {
		if err != nil {
			c.d.log.Debug("handshake", "err", err)
		}
		status <- struct{}{}
	})
	if answer == nil {
		answer = status
	}
	c.d.begin(cmd, 0)
	defer c.d.end(cmd, false)
	timer := time.NewTimer(c.d.opts.CommandTimeout)
	defer timer.Stop()
	c.send(cmd)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-c.failed:
		return err
	case <-answer:
		return nil // its status may still come, and is dropped then
	case <-timer.C:
		c.waiting.forget(cmd)
		return noAnswer(cmd.typ, c.d.opts.CommandTimeout)
	}
}

// consume takes the answers to the handshake and to probes. It returns false for other messages, which are
// for the Handler.
func (c *conn) consume(m message.Message) bool {
	switch m := m.(type) {
	case message.Version:
		return c.greeting.tell(m) || c.probed()
	case message.NetworkState:
		if c.connected() || !c.greeting.askedNetwork.Load() {
			return false
		}
		c.announce(m)
		return true
	}
	return false
}

// announce completes the handshake.
func (c *conn) announce(n message.NetworkState) {
	d := c.d
	d.accept(c.greeting.version)
	d.opts.Observer.Connected(true)
	if c.again {
		d.opts.Observer.Reconnected()
	}
	d.opts.Handler.HandleConnected(Info{
		Port:        c.name,
		Major:       c.greeting.version.Major,
		Minor:       c.greeting.version.Minor,
		Firmware:    c.greeting.version.Firmware(),
		Family:      c.greeting.version.Family(),
		IEEE:        n.IEEE,
		NetworkAddr: n.Addr,
		PANID:       n.PANID,
		Channel:     n.Channel,
		NetworkUp:   n.Up(),
		Line:        c.line,
	})
	close(c.greeting.ready)
}
