package share_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/share"
)

// counter is a dongle that executes nothing but remembers which command of which client comes next: clients
// number theirs in the seconds of a clock, with their own number on top.
type counter struct {
	mu   sync.Mutex
	next [3]uint32
	bad  []string
}

const ownNumber = 30 // bits above are the client's number

func (*counter) String() string { return "counter" }

// Dial is a dongle at the other end of a pipe.
func (c *counter) Dial(context.Context) (zigate.Port, error) {
	near, far := net.Pipe()
	go c.serve(far)
	return near, nil
}

func (c *counter) serve(line net.Conn) {
	defer line.Close()
	var decoder message.Decoder
	buf := make([]byte, 4096)
	for {
		n, err := line.Read(buf)
		if err != nil {
			return
		}
		for in := buf[:n]; len(in) > 0; {
			f, rest, ok := decoder.Feed(in)
			if in = rest; !ok {
				break
			}
			out := appendMessage(nil, message.Status{Request: f.Type})
			switch f.Type {
			case message.TypeGetVersion:
				out = appendMessage(out, message.Version{Major: 4, Minor: 0x0323})
			case message.GetNetworkState{}.Type():
				out = appendMessage(out, message.NetworkState{Channel: 15})
			case message.SetTime{}.Type():
				m, _ := message.ParseCommand(f.Type, f.Payload)
				c.count(m.(message.SetTime).Seconds)
			}
			if _, err := line.Write(out); err != nil {
				return
			}
		}
	}
}

func (c *counter) count(seconds uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	who, n := seconds>>ownNumber, seconds&(1<<ownNumber-1)
	if n != c.next[who] && len(c.bad) < 10 {
		c.bad = append(c.bad, fmt.Sprintf("client %d: command %d came in the place of %d", who, n, c.next[who]))
	}
	c.next[who] = n + 1
}

func appendMessage(dst []byte, m message.Message) []byte {
	return message.AppendFrame(dst, m.Type(), append(message.AppendPayload(nil, m), 0))
}

// passFrames sends so many commands of two clients at once, as fast as they are taken, and counts
// what comes of them.
func passFrames(t testing.TB, each int) {
	dongle := &counter{}
	hub := share.New(zigate.Options{Dialer: dongle, Handler: silent{}}, share.Options{MaxClients: 2})
	ctx, stop := context.WithCancel(context.Background())
	var users sync.WaitGroup
	users.Go(func() { _ = hub.Dongle().Run(ctx) })
	users.Go(func() {
		if err := hub.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	<-hub.Ready()
	var clients sync.WaitGroup
	for who := uint32(1); who <= 2; who++ {
		near, far := net.Pipe()
		users.Go(func() { hub.Attach(far, fmt.Sprint(who)) })
		users.Go(func() {
			for n := range each {
				if _, err := near.Write(wire(message.SetTime{Seconds: who<<ownNumber | uint32(n)})); err != nil {
					t.Errorf("client %d: %v", who, err)
					return
				}
			}
		})
		clients.Go(func() {
			defer near.Close()
			var decoder message.Decoder
			buf := make([]byte, 4096)
			for statuses := 0; statuses < each; {
				n, err := near.Read(buf)
				if err != nil {
					t.Errorf("client %d has got %d of %d statuses: %v", who, statuses, each, err)
					return
				}
				for in := buf[:n]; len(in) > 0; {
					f, rest, ok := decoder.Feed(in)
					if in = rest; ok && f.Type == message.TypeStatus {
						statuses++
					}
				}
			}
		})
	}
	clients.Wait()
	stop()
	users.Wait()
	for who := 1; who <= 2; who++ {
		if got := dongle.next[who]; got != uint32(each) {
			t.Errorf("client %d: the dongle has got %d of %d commands", who, got, each)
		}
	}
	for _, bad := range dongle.bad {
		t.Error(bad)
	}
}

// None of the clients' commands is lost, and none comes out of order.
func TestOrder(t *testing.T) { passFrames(t, 5000) }

// BenchmarkOrder is TestOrder for as many as are asked for: a million with -benchtime 500000x, for
// there are two clients.
func BenchmarkOrder(b *testing.B) {
	passFrames(b, b.N)
	b.ReportMetric(2*float64(b.N)/b.Elapsed().Seconds(), "commands/s")
}
