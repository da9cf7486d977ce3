package main

import (
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// byteTime is how long a byte takes on a line of 115,200 baud, with its start and stop bit.
const byteTime = time.Second * 10 / 115_200

// pacedLine is one direction of such a line. Bytes travel one behind the other; what a driver takes at
// once still trickles.
type pacedLine struct{ free time.Time }

// over waits until n bytes that were given to the line now, or when it was free, are over.
func (l *pacedLine) over(n int) { waitUntil(l.reserve(n)) }

func (l *pacedLine) reserve(n int) time.Time {
	if now := time.Now(); l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(n) * byteTime)
	return l.free
}

// waitUntil is more exact than a sleep, which on some systems lasts a millisecond at least.
func waitUntil(t time.Time) {
	if d := time.Until(t) - time.Millisecond; d > 0 {
		time.Sleep(d)
	}
	for time.Now().Before(t) {
		runtime.Gosched()
	}
}

// trickle writes a frame as the line brings it: the service gets pieces of it, the last when the
// last byte is over.
func (l *pacedLine) trickle(b *testing.B, conn net.Conn, frame []byte) {
	const piece = 16 // what a UART hands over at a time
	for len(frame) > 0 {
		n := min(piece, len(frame))
		l.over(n)
		if _, err := conn.Write(frame[:n]); err != nil {
			b.Fatal(err)
		}
		frame = frame[n:]
	}
}

// BenchmarkPacedLine serves blocks over a line of 115,200 baud, in real time, and compares the blocks a
// second with what the bytes of the frames allow, escapes included. With one device everything is in
// sequence: request, block, and the dongle's status, behind which the next request stands; a device that
// takes no time at all to ask again. With several devices both directions are in use at once, and the busier
// one sets the bound: the requests with the statuses, or the blocks. percent-of-wire is to be 97 at least.
func BenchmarkPacedLine(b *testing.B) {
	for _, size := range []uint8{40, 48, 50, 63, 64} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) { pacedDownload(b, size) })
	}
	b.Run("devices=8", pacedDownloads)
}

var blockStatus = wireFrame(message.Status{Request: message.ImageBlockResponse{}.Type(), Form: message.StatusFormBuffers})

func pacedDownload(b *testing.B, size uint8) {
	w := newWiredService(b, 1)
	var fromDongle, toDongle pacedLine
	var bytes int
	block := func(offset uint32) {
		request := wireFrame(wireRequest(0, offset, size))
		fromDongle.trickle(b, w.conn, request)
		f := w.until(message.ImageBlockResponse{}.Type())
		n := len(message.AppendFrame(nil, f.Type, f.Payload))
		toDongle.over(n)
		fromDongle.trickle(b, w.conn, blockStatus)
		bytes += len(request) + n + len(blockStatus)
	}
	block(0)
	bytes = 0
	b.ResetTimer()
	began := time.Now()
	for i := range b.N {
		block(uint32(i%1000+1) * uint32(size))
	}
	took := time.Since(began)
	b.StopTimer()
	reportPaced(b, took, bytes)
}

func reportPaced(b *testing.B, took time.Duration, bytes int) {
	bound := time.Duration(bytes) * byteTime
	b.ReportMetric(float64(b.N)/took.Seconds(), "blocks/s")
	b.ReportMetric(float64(b.N)/bound.Seconds(), "bound-blocks/s")
	b.ReportMetric(100*bound.Seconds()/took.Seconds(), "percent-of-wire")
}

// pacedDownloads has several devices, each of which asks for its next block as soon as it has one.
func pacedDownloads(b *testing.B) {
	const devices, size = 8, 64
	w := newWiredService(b, devices)
	ready := make(chan int, devices) // devices that ask next
	statuses := make(chan struct{}, devices)
	var sent, received int // bytes
	var line sync.WaitGroup
	begin := make(chan struct{})
	line.Go(func() { // dongle to host
		<-begin
		var fromDongle pacedLine
		offsets := make([]uint32, devices)
		write := func(frame []byte) {
			fromDongle.trickle(b, w.conn, frame)
			sent += len(frame)
		}
		for requests, acknowledged := 0, 0; acknowledged < b.N; {
			var device chan int
			if requests < b.N {
				device = ready
			}
			select {
			case <-statuses:
				write(blockStatus)
				acknowledged++
			case d := <-device:
				write(wireFrame(wireRequest(d, offsets[d], size)))
				offsets[d] = (offsets[d] + size) % (1000 * size)
				requests++
			}
		}
	})
	for d := range devices {
		ready <- d
	}
	b.ResetTimer()
	began := time.Now()
	close(begin)
	var toDongle pacedLine
	for range b.N {
		f := w.until(message.ImageBlockResponse{}.Type())
		n := len(message.AppendFrame(nil, f.Type, f.Payload))
		toDongle.over(n)
		received += n
		statuses <- struct{}{}
		ready <- int(uint16(f.Payload[1])<<8|uint16(f.Payload[2])) - int(wireAddr)
	}
	line.Wait()
	took := time.Since(began)
	b.StopTimer()
	reportPaced(b, took, max(sent, received))
}
