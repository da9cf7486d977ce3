package main

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/zigate"
)

// sharedWire is a dongle with ten devices that download, at the far end of a TCP connection.
type sharedWire struct {
	wireDongle
	commands atomic.Int64
}

const sharedDevices = 10

func sharedDevice(i int) (zigate.IEEE, uint16) {
	return wireDevice + zigate.IEEE(i), 0x1000 + uint16(i)
}

// answer does what a dongle does with a command.
func (w *sharedWire) answer(f zigate.Frame) {
	w.commands.Add(1)
	w.write(zigate.Status{Request: f.Type, Form: zigate.StatusFormBuffers})
	switch f.Type {
	case zigate.TypeGetVersion:
		w.write(zigate.Version{Major: 4, Minor: 0x0323})
	case zigate.TypeGetNetworkState:
		w.write(zigate.NetworkState{IEEE: 0x00158d0001020304, PANID: 0x1234, Channel: 15})
	case zigate.TypeGetDevices:
		var list zigate.DeviceList
		for i := range sharedDevices {
			ieee, addr := sharedDevice(i)
			list.Devices = append(list.Devices, zigate.ListedDevice{Addr: addr, IEEE: ieee, PowerSource: 1, LQI: 100})
		}
		w.write(list)
	case zigate.TypePowerDescriptorRequest:
		w.write(zigate.PowerDescriptor{})
	default:
		w.interviewed(f)
	}
}

// serve answers commands as they come and hands out the times of block answers.
func (w *sharedWire) serve(blocks chan<- time.Time, ended *sync.WaitGroup) {
	defer ended.Done()
	defer close(blocks)
	for {
		n, err := w.conn.Read(w.buf)
		now := time.Now()
		if err != nil {
			return
		}
		for in := w.buf[:n]; len(in) > 0; {
			f, rest, ok := w.decoder.Feed(in)
			if in = rest; !ok {
				break
			}
			if f.Type == zigate.TypeBlockSend {
				blocks <- now
				continue
			}
			w.answer(f)
		}
	}
}

// BenchmarkSharedBlock measures the whole service with ten downloading devices, in turn with nobody else and with two
// programs that share the dongle and ask for its version again as soon as they have it: so many blocks of each.
func BenchmarkSharedBlock(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	cfg, err := LoadConfig([]string{
		"ZIGATE_OTA_DONGLE=tcp://" + listener.Addr().String(), "ZIGATE_OTA_STATE_DIR=" + b.TempDir(),
		"ZIGATE_OTA_BROKER_ADDR=127.0.0.1:0", "ZIGATE_OTA_HTTP_ADDR=127.0.0.1:0", "ZIGATE_OTA_DONGLE_QUERY_WATCH=off",
		"ZIGATE_OTA_UPGRADE_CONCURRENCY=10", "ZIGATE_OTA_SHARE_ADDR=127.0.0.1:0",
	})
	if err != nil {
		b.Fatal(err)
	}
	a, err := newApp(cfg, newLogger(io.Discard, cfg.Log), nil)
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(cfg.Image.Dir, "image.ota")
	image := otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 2}, make([]byte, 1<<20))
	if err := os.WriteFile(file, image, 0o600); err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	defer func() { stop(); <-ended }()

	conn, err := listener.Accept()
	if err != nil {
		b.Fatal(err)
	}
	w := &sharedWire{wireDongle: wireDongle{tb: b, conn: conn, buf: make([]byte, 4096), out: make([]byte, 0, 512)}}
	notified := 0
	for listed := false; notified < sharedDevices; {
		f := w.next()
		w.answer(f)
		switch {
		case f.Type == zigate.TypeGetDevices && !listed:
			listed = true
			for i := range sharedDevices {
				ieee, _ := sharedDevice(i)
				a.service.Upgrade(otasvc.UpgradeRequest{Device: otasvc.ParseDeviceRef(ieee.String()), URL: "file://" + file}, func(otasvc.Answer) {})
			}
		case f.Type == zigate.TypeImageNotify:
			notified++
		}
	}

	request := func(n int) []byte {
		_, addr := sharedDevice(n % sharedDevices)
		offset := uint32(n/sharedDevices%16000) * 64
		r := zigate.BlockRequest{
			Sequence: uint8(n / sharedDevices), Endpoint: 1, Cluster: zigate.ClusterOTA, AddrMode: zigate.AddrModeShort, Addr: addr,
			Offset: offset, FileVersion: 2, ImageType: 0x2201, ManufacturerCode: 0x117C, BlockRequestDelay: zigate.NoBlockRequestDelay, MaxDataSize: 64,
		}
		return zigate.AppendFrame(nil, r.Type(), append(r.AppendPayload(nil), 100))
	}
	var polling atomic.Bool
	var users sync.WaitGroup
	defer users.Wait()
	for range 2 {
		client, err := net.Dial("tcp", a.hub.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		users.Go(func() { poll(client, &polling) })
		defer client.Close()
	}
	const phase = 500 // blocks, before it is the other's turn
	var quiet, busy []time.Duration
	blocks := make(chan time.Time, 1)
	var serving sync.WaitGroup
	serving.Add(1)
	go w.serve(blocks, &serving)
	defer serving.Wait()
	defer conn.Close()
	commands, n := int64(0), 0
	b.ResetTimer()
	for done := 0; done < b.N; done += phase {
		for _, with := range []bool{false, true} {
			polling.Store(with)
			before := w.commands.Load()
			for range min(phase, b.N-done) {
				frame := request(n)
				n++
				start := time.Now()
				if _, err := conn.Write(frame); err != nil {
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
	question := zigate.AppendFrame(nil, zigate.TypeGetVersion, nil)
	var decoder zigate.Decoder
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
				answered = answered || ok && f.Type == zigate.TypeVersion
				in = rest
			}
		}
	}
}
