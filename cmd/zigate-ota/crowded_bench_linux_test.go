package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// BenchmarkCrowdedLatency measures how long a block takes, from the request that was read to the answer that
// was written, for one device alone and in a crowd: with a hundred devices that download as fast as a line of
// 115,200 baud lets them, a broker that has stopped reading, the state being written all the time, and images
// being fetched. Quiet and crowded rounds take turns, so that both see the same machine, and come at the same
// pace, that of the line: a processor that did nothing for ten milliseconds is slower at a block than one
// that has just answered another, crowd or no crowd. p99-ratio is to be 2 at most. What a device sees on the
// wire besides (wire-p99) has the operating system in it, and the goroutines of the benchmark itself.
func BenchmarkCrowdedLatency(b *testing.B) {
	defer runtime.KeepAlive(tuneRuntime())
	const devices = 100
	quiet := newLivelyWire(b, 1)
	crowded := newLivelyWire(b, devices, "ZIGATE_OTA_MQTT_URL=tcp://"+stuckBroker(b))
	trouble := newTrouble(b, crowded.wiredService)

	frames := make([][]byte, devices)
	for i := range frames {
		frames[i] = wireFrame(wireRequest(i, 64, 64))
	}
	var alone, among []time.Duration
	const (
		chunk = 50
		pace  = 10 * time.Millisecond // from an answer to the next request
	)
	b.ResetTimer()
	for done := 0; done < b.N; done += chunk {
		n := min(chunk, b.N-done)
		for range n {
			alone = append(alone, quiet.round(b, frames[0]))
			time.Sleep(pace)
		}
		trouble.on.Store(true)
		for i := range n {
			among = append(among, crowded.round(b, frames[i%devices]))
			time.Sleep(pace)
		}
		trouble.on.Store(false)
		time.Sleep(20 * time.Millisecond)
	}
	b.StopTimer()
	at := func(list []time.Duration, percent int) float64 {
		slices.Sort(list)
		return float64(list[min(len(list)*percent/100, len(list)-1)].Nanoseconds()) / 1000
	}
	ours, theirs := at(quiet.within, 99), at(crowded.within, 99)
	b.ReportMetric(at(quiet.within, 50), "quiet-median-us")
	b.ReportMetric(at(crowded.within, 50), "crowded-median-us")
	b.ReportMetric(ours, "quiet-p99-us")
	b.ReportMetric(theirs, "crowded-p99-us")
	b.ReportMetric(theirs/ours, "p99-ratio")
	b.ReportMetric(at(alone, 99), "quiet-wire-p99-us")
	b.ReportMetric(at(among, 99), "crowded-wire-p99-us")
	b.ReportMetric(float64(trouble.done.Load())/float64(b.N), "saves+fetches/op")
}

// livelyWire is a wire whose far end answers commands at any time, as a dongle does.
type livelyWire struct {
	*wiredService
	blocks <-chan time.Time // when an answer was read

	mu     sync.Mutex
	asked  time.Time
	within []time.Duration // from a request that was read to its answer that was written, in the service
}

// trace takes the service's frames, on the goroutine that reads: requests when they were read,
// answers when written.
func (w *livelyWire) trace(_ message.Direction, f message.Frame) {
	switch f.Type {
	case message.TypeImageBlockRequest:
		w.asked = time.Now()
	case message.ImageBlockResponse{}.Type():
		w.mu.Lock()
		w.within = append(w.within, time.Since(w.asked))
		w.mu.Unlock()
	}
}

func newLivelyWire(b *testing.B, devices int, more ...string) *livelyWire {
	w := &livelyWire{wiredService: newWiredService(b, devices, more...)}
	w.app.dongle.TraceTo(w.trace)
	w.blocks = w.play(b, func() { beElsewhere(b) })
	return w
}

// beElsewhere has the calling goroutine take no processor from the service: what it plays, a dongle or a web
// server, has its own in a home. Woken by an answer, it would otherwise run at once in place of the
// goroutine that wrote it.
func beElsewhere(tb testing.TB) {
	runtime.LockOSThread() // and never unlock it: the thread ends with the goroutine
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, syscall.Gettid(), 15); err != nil {
		tb.Error(err)
	}
}

// round is one request and its answer.
func (w *livelyWire) round(b *testing.B, frame []byte) time.Duration {
	start := time.Now()
	if _, err := w.conn.Write(frame); err != nil {
		b.Fatal(err)
	}
	return (<-w.blocks).Sub(start)
}

// stuckBroker takes a client in and then reads nothing any more.
func stuckBroker(b *testing.B) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			b.Cleanup(func() { conn.Close() })
			_, _ = conn.Read(make([]byte, 1024))              // CONNECT
			_, _ = conn.Write([]byte{0x20, 0x02, 0x00, 0x00}) // CONNACK
		}
	}()
	return listener.Addr().String()
}

// trouble is what a service has to do beside serving blocks.
type trouble struct {
	on   atomic.Bool
	done atomic.Int64
}

// newTrouble has a service write its state and fetch images, whenever it is switched on.
func newTrouble(b *testing.B, w *wiredService) *trouble {
	image := otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 2}, firmware(1<<20))
	files := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		beElsewhere(b)
		rw.Header().Set("Content-Length", strconv.Itoa(len(image)))
		_, _ = rw.Write(image)
	}))
	ctx, stop := context.WithCancel(context.Background())
	t := &trouble{}
	var running sync.WaitGroup
	repeat := func(ask func(i int, respond otasvc.Respond)) {
		running.Go(func() {
			for i := 0; ctx.Err() == nil; {
				if !t.on.Load() {
					time.Sleep(time.Millisecond)
					continue
				}
				answered := make(chan struct{})
				ask(i, func(a otasvc.Answer) {
					if a.Status.Final() {
						close(answered)
					}
				})
				select {
				case <-answered:
					i++
					t.done.Add(1)
				case <-ctx.Done():
				}
			}
		})
	}
	device := registry.ParseRef(wireDevice.String())
	repeat(func(i int, respond otasvc.Respond) {
		w.app.service.Rename(device, fmt.Sprintf("bulb no. %d", i), respond)
	})
	repeat(func(i int, respond otasvc.Respond) {
		w.app.service.AddImage(otasvc.AddImage{Device: device, URL: fmt.Sprintf("%s/%d.ota", files.URL, i)}, respond)
	})
	b.Cleanup(func() { stop(); running.Wait(); files.Close() })
	return t
}
