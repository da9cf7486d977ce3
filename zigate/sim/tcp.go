package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// ServeTCP lets hosts reach the dongle like a WiFi ZiGate: raw bytes, one client at a time. A second client
// is connected and hears nothing until the first has gone. It returns nil when the context ends, which also
// closes the listener.
func (d *Dongle) ServeTCP(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	defer listener.Close()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait for a host on %s: %w", listener.Addr(), err)
		}
		d.log.Info("host connected", "address", conn.RemoteAddr().String())
		if err := d.serve(ctx, conn); err != nil && ctx.Err() == nil {
			d.log.Info("host disconnected", "address", conn.RemoteAddr().String(), "reason", err)
		}
	}
}

// serve is the line for one connection, until either side or the context ends it. It closes the connection.
func (d *Dongle) serve(ctx context.Context, conn io.ReadWriteCloser) error {
	end, err := d.line.attach()
	if err != nil {
		conn.Close()
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() }) // unblocks a writer, too
	defer stop()

	var writer sync.WaitGroup
	writer.Go(func() {
		buffer := make([]byte, 4096)
		for {
			n, err := end.read(buffer)
			if err == nil {
				_, err = conn.Write(buffer[:n])
			}
			if err != nil {
				conn.Close() // unblocks the reader below
				return
			}
		}
	})
	buffer := make([]byte, 4096)
	for err == nil {
		var n int
		n, err = conn.Read(buffer)
		if n > 0 {
			err = errors.Join(err, d.write(buffer[:n]))
		}
	}
	conn.Close()
	d.line.detach(end)
	writer.Wait()
	return err
}
