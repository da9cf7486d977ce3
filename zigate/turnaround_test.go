package zigate_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// quietHandler answers block requests from an image in memory, as a service does, and nothing else.
type quietHandler struct {
	image     []byte
	block     message.ImageBlockResponse
	statuses  int
	connected chan struct{}
}

func newQuietHandler() *quietHandler {
	image := make([]byte, 1<<16)
	for i := range image {
		image[i] = byte(i * 31)
	}
	return &quietHandler{image: image, connected: make(chan struct{}, 1)}
}

func (h *quietHandler) HandleBlockRequest(req *message.ImageBlockRequest, dst []byte) []byte {
	size := min(uint32(req.MaxDataSize), 64)
	h.block = message.ImageBlockResponse{
		Target:   message.Target{AddrMode: req.AddrMode, Addr: req.Addr, SrcEndpoint: message.OTAEndpoint, DstEndpoint: req.Endpoint},
		Sequence: req.Sequence, Offset: req.Offset, FileVersion: req.FileVersion, ImageType: req.ImageType,
		ManufacturerCode: req.ManufacturerCode, Data: h.image[req.Offset:][:size],
	}
	return message.AppendImageBlockResponse(dst, &h.block)
}

func (h *quietHandler) HandleBlockStatus(*message.Status)    { h.statuses++ }
func (h *quietHandler) HandleMessage(message.Message, uint8) {}
func (h *quietHandler) HandleConnected(zigate.Info)          { h.connected <- struct{}{} }
func (h *quietHandler) HandleDisconnected(error)             {}
func (h *quietHandler) answer(wire []byte, dst []byte) []byte {
	return h.turn(new(message.Decoder), wire, dst)
}

// turn is everything between a port's read and its write.
func (h *quietHandler) turn(d *message.Decoder, wire []byte, dst []byte) []byte {
	f, _, ok := d.Feed(wire)
	if !ok {
		return nil
	}
	payload, _, err := f.Message()
	if err != nil {
		return nil
	}
	var req message.ImageBlockRequest
	if err := req.Parse(payload); err != nil {
		return nil
	}
	return h.HandleBlockRequest(&req, dst)
}

func blockRequestFrame() []byte {
	return fromDongle(message.ImageBlockRequest{
		Sequence: 0x2C, Endpoint: 1, Cluster: message.ClusterOTA, AddrMode: message.AddrModeNetwork, Addr: 0x9021,
		Offset: 0x1234, FileVersion: 0x20016630, ImageType: 0x1101, ManufacturerCode: 0x117C,
		BlockRequestDelay: message.NoBlockRequestDelay, MaxDataSize: 64,
	})
}

func TestTurnDoesNotAllocate(t *testing.T) {
	h, d := newQuietHandler(), new(message.Decoder)
	wire, dst := blockRequestFrame(), make([]byte, 0, 512)
	if got := h.turn(d, wire, dst); len(got) == 0 {
		t.Fatal("no answer")
	}
	if n := testing.AllocsPerRun(1000, func() { h.turn(d, wire, dst) }); n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
	wait := message.WaitForData{Target: message.Target{AddrMode: message.AddrModeNetwork, Addr: 0x9021}, Status: message.OTAWaitForData}
	if n := testing.AllocsPerRun(1000, func() { message.AppendWaitForData(dst, &wait) }); n != 0 {
		t.Errorf("%v allocations to answer with wait for data", n)
	}
}

// runDongle runs a Dongle on a port until the test ends, past its handshake. The far end is
// served by the caller.
func runDongle(tb testing.TB, dialer zigate.Dialer, far func() io.ReadWriteCloser, h *quietHandler, o zigate.Observer) io.ReadWriteCloser {
	tb.Helper()
	dongle := zigate.NewDongle(zigate.Options{Dialer: dialer, Handler: h, Observer: o})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- dongle.Run(ctx) }()
	end := far()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
		end.Close()
	})
	var decoder message.Decoder
	buf := make([]byte, 512)
	for answered := 0; answered < 3; {
		n, err := end.Read(buf)
		if err != nil {
			tb.Fatal(err)
		}
		for _, f := range frames(&decoder, buf[:n]) {
			answered++
			if _, err := end.Write(ordinaryAnswer(f.Type)); err != nil {
				tb.Fatal(err)
			}
		}
	}
	<-h.connected
	return end
}

// pipeDialer opens one end of a pipe, once.
type pipeDialer struct{ ends chan net.Conn }

func (d pipeDialer) String() string { return "pipe" }

func (d pipeDialer) Dial(ctx context.Context) (zigate.Port, error) {
	select {
	case c := <-d.ends:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestDongleTurnDoesNotAllocate counts the whole way: request read, answered, written, and the
// answer's status handled.
func TestDongleTurnDoesNotAllocate(t *testing.T) {
	host, far := net.Pipe()
	dialer := pipeDialer{make(chan net.Conn, 1)}
	dialer.ends <- host
	h := newQuietHandler()
	end := runDongle(t, dialer, func() io.ReadWriteCloser { return far }, h, new(countingObserver))

	request, status := blockRequestFrame(), fromDongle(ok(message.ImageBlockResponse{}.Type()))
	want := h.answer(request, nil)
	got := make([]byte, len(want))
	turn := func() {
		if _, err := end.Write(request); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(end, got); err != nil {
			t.Error(err)
		}
		if _, err := end.Write(status); err != nil {
			t.Error(err)
		}
	}
	turn()
	if !bytes.Equal(got, want) {
		t.Fatalf("answered %x, want %x", got, want)
	}
	if n := testing.AllocsPerRun(1000, turn); n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
}

// countingObserver counts as metrics do: without allocating.
type countingObserver struct {
	frames   int
	answered time.Duration
}

func (o *countingObserver) FrameSent(message.MsgType)     {}
func (o *countingObserver) FrameReceived(message.MsgType) { o.frames++ }
func (o *countingObserver) FrameError(string)             {}
func (o *countingObserver) Connected(bool)                {}
func (o *countingObserver) Reconnected()                  {}
func (o *countingObserver) Buffers(uint8, uint8)          {}
func (o *countingObserver) BlockAnswered(d time.Duration) { o.answered += d }

// BenchmarkBlockTurnaround is the time from a request's bytes to the answer's bytes, without a port.
func BenchmarkBlockTurnaround(b *testing.B) {
	h, d := newQuietHandler(), new(message.Decoder)
	wire, dst := blockRequestFrame(), make([]byte, 0, 512)
	b.ReportAllocs()
	b.SetBytes(64)
	for b.Loop() {
		if len(h.turn(d, wire, dst)) == 0 {
			b.Fatal("no answer")
		}
	}
}

// BenchmarkBlockTurnaroundTCP sends one request after the other over TCP on loopback, alternately to a Dongle
// and to a responder that does nothing but write a ready answer, and compares the medians: what is left is
// this package's part.
func BenchmarkBlockTurnaroundTCP(b *testing.B) {
	request := blockRequestFrame()
	h := newQuietHandler()
	answer := h.answer(request, nil)

	dongle := listenAndRun(b, h)
	bare := listenAndRespond(b, request, answer)

	ours, theirs := make([]time.Duration, 0, b.N), make([]time.Duration, 0, b.N)
	got := make([]byte, len(answer))
	round := func(c io.ReadWriter) time.Duration {
		start := time.Now()
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, got); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	for range 200 {
		round(dongle)
		round(bare)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		ours = append(ours, round(dongle))
		theirs = append(theirs, round(bare))
	}
	b.StopTimer()
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	b.ReportMetric(us(median(ours)), "dongle-us")
	b.ReportMetric(us(median(theirs)), "bare-us")
	b.ReportMetric(float64(median(ours))/float64(median(theirs)), "ratio")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func listen(b *testing.B) net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	return listener
}

// listenAndRun connects a Dongle and gives the far end.
func listenAndRun(b *testing.B, h *quietHandler) io.ReadWriter {
	listener := listen(b)
	dialer, err := zigate.NewDialer(fmt.Sprintf("tcp://%s", listener.Addr()), 0)
	if err != nil {
		b.Fatal(err)
	}
	return runDongle(b, dialer, func() io.ReadWriteCloser {
		conn, err := listener.Accept()
		if err != nil {
			b.Fatal(err)
		}
		return conn
	}, h, new(countingObserver))
}

// listenAndRespond connects a loop that writes the answer for each request's worth of bytes, and
// gives the far end.
func listenAndRespond(b *testing.B, request, answer []byte) io.ReadWriter {
	listener := listen(b)
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	far, err := listener.Accept()
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, len(request))
		for {
			if _, err := io.ReadFull(conn, buf); err != nil {
				return
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}()
	b.Cleanup(func() {
		far.Close()
		<-ended
		conn.Close()
	})
	return far
}
