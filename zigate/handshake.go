package zigate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// handshakeTries is how often a question of the handshake is asked. Opening the port may have reset the
// dongle, which then takes a few seconds to boot.
const handshakeTries = 4

// handshake learns who answers: the firmware's version first, for it tells whether that is a dongle at all;
// then the raw mode is set, which the dongle keeps over resets and which cannot be read; then its network.
// When it returns without an error the Handler has been told.
func (c *conn) handshake(ctx context.Context) error {
	if c.d.revival.due(c.name) {
		if err := c.revive(ctx); err != nil {
			return err
		}
	}
	if err := c.ask(ctx, message.GetVersion{}, c.gotVersion); err != nil {
		return err
	}
	if err := c.ask(ctx, message.SetRawMode{Mode: c.d.opts.RawMode}, nil); err != nil {
		return err
	}
	c.askedNetwork.Store(true)
	return c.ask(ctx, message.GetNetworkState{}, c.ready)
}

// ask repeats a command until its answer comes; without an answer, until its status comes.
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

// try sends a command once. A command that the firmware refuses is no error: early firmware lacks some, and a
// command with an answer gets it or not.
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
		return nil // if its status is still to come, it is still expected, and then dropped
	case <-timer.C:
		c.waiting.forget(cmd)
		return noAnswer(cmd.typ, c.d.opts.CommandTimeout)
	}
}

// consume takes the answers to questions of the handshake and of probes; other messages are for the Handler.
func (c *conn) consume(m message.Message) bool {
	switch m := m.(type) {
	case message.Version:
		if !c.knowsVer {
			c.version = m
			c.knowsVer = true
			close(c.gotVersion)
			return true
		}
		return c.probed()
	case message.NetworkState:
		if c.connected() || !c.askedNetwork.Load() {
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
	d.accept(c.version)
	d.opts.Observer.Connected(true)
	if c.again {
		d.opts.Observer.Reconnected()
	}
	d.opts.Handler.HandleConnected(Info{
		Port:        c.name,
		Major:       c.version.Major,
		Minor:       c.version.Minor,
		Firmware:    c.version.Firmware(),
		Family:      c.version.Family(),
		IEEE:        n.IEEE,
		NetworkAddr: n.Addr,
		PANID:       n.PANID,
		Channel:     n.Channel,
		NetworkUp:   n.Up(),
	})
	close(c.ready)
}
