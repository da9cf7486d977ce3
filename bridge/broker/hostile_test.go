package broker_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/zigate-ota/zigate-ota/bridge/broker"
)

// TestSilentConnection: who connects and does not say who it is, or not to the end, is cut off.
func TestSilentConnection(t *testing.T) {
	for _, begin := range []string{"", "\x10", "\x10\xf0\xff\x01\x00\x04MQTT"} {
		synctest.Test(t, func(t *testing.T) {
			b, stop := start(t, broker.Options{})
			defer stop()
			conn, err := b.Dial()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, begin); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("after %q: %v, want an end within a minute", begin, err)
			}
		})
	}
}

// TestManyConnections: so many and no more; the service's own connection is not among them, and who
// leaves makes room.
func TestManyConnections(t *testing.T) {
	defer goleak.VerifyNone(t)
	b, stop := start(t, broker.Options{Addr: "127.0.0.1:0"})
	defer stop()
	var open []net.Conn
	defer func() {
		for _, conn := range open {
			conn.Close()
		}
	}()
	turnedAway := func() bool {
		conn, err := net.Dial("tcp", b.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, err = conn.Read(make([]byte, 1))
		return !errors.Is(err, os.ErrDeadlineExceeded)
	}
	for range 256 {
		conn, err := net.Dial("tcp", b.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	for begun := time.Now(); !turnedAway(); {
		if time.Since(begun) > 5*time.Second {
			t.Fatalf("%d connections were let in", len(open))
		}
	}
	mustConnect(t, inside(b), "service").Disconnect(100)
	for _, conn := range open {
		conn.Close()
	}
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		c, err := connect(t, overTCP(b), "later", "", "")
		if err == nil {
			c.Disconnect(100)
			return
		}
		if time.Since(begun) > 5*time.Second {
			t.Fatalf("nobody is let in afterwards: %v", err)
		}
	}
}
