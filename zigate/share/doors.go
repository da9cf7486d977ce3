package share

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/terminal"
)

// door is a way in for clients.
type door interface {
	// serve lets clients in until close. What it starts is known to users.
	serve(h *Hub, users *sync.WaitGroup)
	close()
}

// open makes the ways in that the options ask for.
func (h *Hub) open() (doors []door, err error) {
	defer func() {
		if err != nil {
			for _, d := range doors {
				d.close()
			}
			doors = nil
		}
	}()
	if h.opts.Listen != "" {
		l, err := net.Listen("tcp", h.opts.Listen)
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
// executed. Without an end, who connects again and again would fill the memory and keep the others waiting.
const maxLeftBehind = 16

// join adds a client. It is false if there are too many.
func (h *Hub) join(c *client) bool {
	connected := h.connections()
	if h.stopping {
		return false
	}
	if !c.lossy && (connected >= h.opts.MaxClients || h.gone() >= maxLeftBehind) {
		h.log.Warn("a program was not let in to share the dongle: too many are; see ZIGATE_OTA_SHARE_CLIENTS",
			"client", c.name, "limit", h.opts.MaxClients)
		h.observer.ShareReport(ReportTurnedAway)
		return false
	}
	// Alone it finds the dongle as the one before has left it.
	if !slices.ContainsFunc(h.clients, func(other *client) bool { return !other.gone }) {
		c.mode = h.stored
	}
	h.lastID++
	c.id = h.lastID
	h.clients = append(h.clients, c)
	h.number.Store(int64(len(h.clients)))
	if !c.lossy {
		h.log.Info("a program shares the dongle", "client", c.name)
		h.observer.ShareClients(connected + 1)
	}
	h.arrange()
	return true
}

// leave is called when a client has gone. The commands that it has sent are still executed, as a dongle does.
func (h *Hub) leave(c *client) {
	c.gone = true
	h.drop(c)
	h.log.Info("a program does not share the dongle any more", "client", c.name)
	h.observer.ShareClients(h.connections())
	h.arrange()
}

// drop takes a client that has gone off the list once it has nothing to be done any more.
func (h *Hub) drop(c *client) {
	if c.gone && len(c.waiting) == 0 {
		h.clients = slices.DeleteFunc(h.clients, func(other *client) bool { return other == c })
		h.number.Store(int64(len(h.clients)))
	}
}

// connections are the clients but the one of the pseudo-terminal.
func (h *Hub) connections() (n int) {
	for _, c := range h.clients {
		if !c.lossy && !c.gone {
			n++
		}
	}
	return n
}

// gone are the clients that have left commands behind.
func (h *Hub) gone() (n int) {
	for _, c := range h.clients {
		if c.gone {
			n++
		}
	}
	return n
}

// tcpDoor is a port, as a WiFi ZiGate has.
type tcpDoor struct{ net.Listener }

func (d tcpDoor) close() { d.Close() }

// acceptPause is how long a listener that fails is left alone.
const acceptPause = 100 * time.Millisecond

func (d tcpDoor) serve(h *Hub, users *sync.WaitGroup) {
	for {
		conn, err := d.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			h.log.Warn("a program that wants to share the dongle could not be let in", "err", err)
			time.Sleep(acceptPause)
			continue
		}
		if !h.allowed(conn.RemoteAddr()) {
			h.log.Warn("a program was not let in to share the dongle: "+
				"its address is not in ZIGATE_OTA_SHARE_ALLOW", "client", conn.RemoteAddr())
			h.observer.ShareReport(ReportTurnedAway)
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

// writeTimeout is how long a client may take nothing of what is written to it.
const writeTimeout = 10 * time.Second

// tcpConn is a connection whose writes do not hang when the other side has stopped reading.
type tcpConn struct{ net.Conn }

func (c tcpConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// ptyDoor is a serial port. It has one client, who is always there: nobody can tell whether a
// program has it open.
type ptyDoor struct{ *terminal.Terminal }

func (d *ptyDoor) close() { d.Close() }

func (d *ptyDoor) serve(h *Hub, _ *sync.WaitGroup) {
	h.attach(newClient(d.Terminal, d.Path(), true))
}
