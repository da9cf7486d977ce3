package share

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/terminal"
)

// door is a way in for clients.
type door interface {
	// serve lets clients in until close. The goroutines that it starts belong to users.
	serve(h *Hub, users *sync.WaitGroup)
	// close ends serve. It does not end the connections of clients.
	close()
}

// open makes the ways in that the options ask for.
func (h *Hub) open(ctx context.Context) (doors []door, err error) {
	defer func() {
		if err != nil {
			for _, d := range doors {
				d.close()
			}
			doors = nil
		}
	}()
	if h.opts.Listen != "" {
		var config net.ListenConfig
		l, err := config.Listen(ctx, "tcp", h.opts.Listen)
		if err != nil {
			return doors, fmt.Errorf("opening the port for programs that share the dongle: %w", err)
		}
		doors = append(doors, tcpDoor{l})
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			h.addr.Store(a)
			if !a.IP.IsLoopback() && len(h.opts.Allow) == 0 {
				h.log.Warn("the dongle's shared port is open to the network, but only programs on this "+
					"machine are let in; name the others in ZIGATE_OTA_SHARE_ALLOW", "address", a)
			}
		}
		h.log.Info("the dongle is shared", "address", l.Addr())
	}
	if h.opts.PTY != "" {
		t, err := terminal.Open(h.opts.PTY)
		if err != nil {
			return doors, fmt.Errorf("opening the serial port for programs that share the dongle: %w", err)
		}
		doors = append(doors, &ptyDoor{t})
		h.log.Info("the dongle is shared", "path", t.Path())
	}
	return doors, nil
}

// attach makes a client of a connection and serves it until it ends.
func (h *Hub) attach(c *client) {
	joined := make(chan bool, 1)
	if !h.inbox.Post(func() { joined <- h.join(c) }) || !<-joined {
		c.close()
		return
	}
	var writer sync.WaitGroup
	writer.Go(c.write)
	c.read(h)
	c.close()
	writer.Wait()
	h.inbox.Post(func() { h.leave(c) })
}

// maxLeftBehind is how many clients that have gone may have left commands behind, which are still to be
// executed. Without a bound, a program that connects again and again would fill the memory and keep the
// others waiting.
const maxLeftBehind = 16

// join adds a client. It reports false if there are too many.
func (h *Hub) join(c *client) bool {
	if h.clients.stopping {
		return false
	}
	connected := h.clients.connections()
	if !c.lossy && (connected >= h.opts.MaxClients || h.clients.gone() >= maxLeftBehind) {
		h.log.Warn("a program was not let in to share the dongle: too many are; see ZIGATE_OTA_SHARE_CLIENTS",
			"client", c.name, "limit", h.opts.MaxClients)
		h.opts.Observer.ShareReport(ReportTurnedAway)
		return false
	}
	if h.clients.alone() { // it finds the dongle as the one before has left it
		c.mode = h.settings.stored
	}
	h.clients.add(c)
	if !c.lossy {
		h.log.Info("a program shares the dongle", "client", c.name)
		h.opts.Observer.ShareClients(connected + 1)
	}
	h.arrange()
	return true
}

// leave notes that a client has gone. The commands that it has sent are still executed, as a dongle does.
func (h *Hub) leave(c *client) {
	c.gone = true
	h.clients.drop(c)
	h.log.Info("a program does not share the dongle any more", "client", c.name)
	h.opts.Observer.ShareClients(h.clients.connections())
	h.arrange()
}

// tcpDoor is a port, as a WiFi ZiGate has.
type tcpDoor struct{ net.Listener }

func (d tcpDoor) close() { d.Close() }

// acceptBackoff is how long a listener that fails is left alone.
const acceptBackoff = 100 * time.Millisecond

func (d tcpDoor) serve(h *Hub, users *sync.WaitGroup) {
	for {
		conn, err := d.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			h.log.Warn("a program that wants to share the dongle could not be let in", "err", err)
			time.Sleep(acceptBackoff)
			continue
		}
		if !h.allowed(conn.RemoteAddr()) {
			h.log.Warn("a program was not let in to share the dongle: "+
				"its address is not in ZIGATE_OTA_SHARE_ALLOW", "client", conn.RemoteAddr())
			h.opts.Observer.ShareReport(ReportTurnedAway)
			conn.Close()
			continue
		}
		users.Go(func() { h.attach(newClient(tcpConn{conn}, conn.RemoteAddr().String(), false)) })
	}
}

// allowed tells whether a client may come from an address: this machine always may.
func (h *Hub) allowed(from net.Addr) bool {
	tcp, ok := from.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.IsLoopback() {
		return true
	}
	for _, p := range h.opts.Allow {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// writeTimeout is how long a write to a client may take; after it the client is cut off.
const writeTimeout = 10 * time.Second

// tcpConn is a connection whose writes do not hang when the other side has stopped reading.
type tcpConn struct{ net.Conn }

func (c tcpConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// ptyDoor is a serial port. It has one client, which is always there: nobody can tell whether a
// program has the port open.
type ptyDoor struct{ *terminal.Terminal }

func (d *ptyDoor) close() { _ = d.Close() } // the terminal is given up in any case

func (d *ptyDoor) serve(h *Hub, _ *sync.WaitGroup) {
	h.attach(newClient(d.Terminal, d.Path(), true))
}
