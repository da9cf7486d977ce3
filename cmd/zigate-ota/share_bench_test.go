package main

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// BenchmarkSharedBlock measures the whole service with ten downloading devices, in turn with nobody else
// and with two programs that share the dongle and ask for its version again as soon as they have it: so
// many blocks of each.
func BenchmarkSharedBlock(b *testing.B) {
	const devices = 10
	w := newWiredService(b, devices, "ZIGATE_OTA_SHARE_ADDR=127.0.0.1:0")
	blocks := w.play(b, func() {})
	var polling atomic.Bool
	var users sync.WaitGroup
	defer users.Wait()
	for range 2 {
		client, err := net.Dial("tcp", w.app.hub.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		users.Go(func() { poll(client, &polling) })
		defer client.Close()
	}
	const phase = 500 // blocks, before it is the other's turn
	var quiet, busy []time.Duration
	commands, n := int64(0), 0
	b.ResetTimer()
	for done := 0; done < b.N; done += phase {
		for _, with := range []bool{false, true} {
			polling.Store(with)
			before := w.commands.Load()
			for range min(phase, b.N-done) {
				frame := wireFrame(wireRequest(n%devices, uint32(n/devices%16000)*64, 64))
				n++
				start := time.Now()
				if _, err := w.conn.Write(frame); err != nil {
					b.Fatal(err)
				}
				took := (<-blocks).Sub(start)
				if with {
					busy = append(busy, took)
				} else {
					quiet = append(quiet, took)
				}
				time.Sleep(time.Millisecond) // of the radio
			}
			if with {
				commands += w.commands.Load() - before
			}
		}
	}
	b.StopTimer()
	slices.Sort(quiet)
	slices.Sort(busy)
	p99 := func(d []time.Duration) float64 { return float64(d[len(d)*99/100].Nanoseconds()) / 1000 }
	b.ReportMetric(p99(quiet), "alone-p99-us")
	b.ReportMetric(p99(busy), "shared-p99-us")
	b.ReportMetric(p99(busy)/p99(quiet), "ratio")
	b.ReportMetric(float64(commands)/float64(len(busy)), "commands/block")
}

// poll asks for the version, and again when it is there.
func poll(client net.Conn, on *atomic.Bool) {
	question := message.AppendFrame(nil, message.TypeGetVersion, nil)
	var decoder message.Decoder
	buf := make([]byte, 4096)
	for {
		for !on.Load() {
			if _, err := client.Write(nil); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
		if _, err := client.Write(question); err != nil {
			return
		}
		for answered := false; !answered; {
			n, err := client.Read(buf)
			if err != nil {
				return
			}
			for in := buf[:n]; len(in) > 0; {
				f, rest, ok := decoder.Feed(in)
				answered = answered || ok && f.Type == message.TypeVersion
				in = rest
			}
		}
	}
}
