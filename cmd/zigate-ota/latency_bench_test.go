package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// wireDongle is the far end of a TCP connection to the service: it plays a dongle with one device, by hand,
// so that the time between a request's bytes and the answer's bytes can be measured on the wire.
type wireDongle struct {
	tb       testing.TB
	conn     net.Conn
	decoder  message.Decoder
	buf      []byte
	pending  []byte
	out      []byte
	devices  int          // how many it has; 0: one
	commands atomic.Int64 // that were answered, blocks apart
}

// The first device behind the wire; the others follow it.
const (
	wireDevice message.IEEE = 0x000b57fffec6a5b2
	wireAddr   uint16       = 0x4f4f
)

func (w *wireDongle) write(m message.Message) {
	w.out = w.out[:0]
	payload := append(message.AppendPayload(nil, m), 0) // link quality
	// At the end of a benchmark it is closed while commands are still being answered.
	if _, err := w.conn.Write(message.AppendFrame(w.out, m.Type(), payload)); err != nil && !errors.Is(err, net.ErrClosed) {
		w.tb.Error(err)
	}
}

// next reads one command.
func (w *wireDongle) next() message.Frame {
	f, err := w.read()
	if err != nil {
		w.tb.Fatal(err)
	}
	return f
}

func (w *wireDongle) read() (message.Frame, error) {
	for {
		if len(w.pending) > 0 {
			f, rest, ok := w.decoder.Feed(w.pending)
			w.pending = rest
			if ok {
				return f, nil
			}
		}
		n, err := w.conn.Read(w.buf)
		if err != nil {
			return message.Frame{}, err
		}
		w.pending = w.buf[:n]
	}
}

// until answers commands as a dongle does until one of the given type has come.
func (w *wireDongle) until(t message.MsgType) message.Frame {
	for {
		f := w.next()
		if f.Type == (message.ImageBlockResponse{}).Type() && t == f.Type {
			return f
		}
		w.answer(f)
		if f.Type == t {
			return f
		}
	}
}

// answer answers a command as a dongle does.
func (w *wireDongle) answer(f message.Frame) {
	w.commands.Add(1)
	w.write(message.Status{Request: f.Type, Form: message.StatusFormBuffers})
	switch f.Type {
	case message.TypeGetVersion:
		w.write(message.Version{Major: 4, Minor: 0x0323})
	case message.GetNetworkState{}.Type():
		w.write(message.NetworkState{IEEE: 0x00158d0001020304, PANID: 0x1234, Channel: 15})
	case message.TypeGetDevices:
		var list message.DeviceList
		for i := range max(w.devices, 1) {
			list.Devices = append(list.Devices, message.ListedDevice{
				Addr: wireAddr + uint16(i), IEEE: wireDevice + message.IEEE(i), PowerSource: 1, LQI: 100,
			})
		}
		w.write(list)
	case message.PowerDescriptorRequest{}.Type():
		w.write(message.PowerDescriptor{})
	default:
		w.interviewed(f)
	}
}

// interviewed answers what the device is asked.
func (w *wireDongle) interviewed(f message.Frame) {
	m, err := message.ParseCommand(f.Type, f.Payload)
	if err != nil {
		w.tb.Error(err)
	}
	switch m := m.(type) {
	case message.NodeDescriptorRequest:
		w.write(message.NodeDescriptor{Addr: m.Addr, MACFlags: message.CapabilityRxOnWhenIdle})
	case message.ActiveEndpointsRequest:
		w.write(message.ActiveEndpoints{Addr: m.Addr, Endpoints: []uint8{1}})
	case message.SimpleDescriptorRequest:
		w.write(message.SimpleDescriptor{Addr: m.Addr, Endpoint: 1, OutClusters: []uint16{message.ClusterOTA}})
	case message.ReadAttributes:
		for _, id := range m.IDs {
			a := message.Attribute{Kind: message.TypeReadAttribute, Addr: m.Addr, Endpoint: 1, Cluster: m.Cluster, ID: id, Status: 0x86, DataType: 0xFF}
			if m.Cluster == message.ClusterOTA && id == message.AttrOTAFileVersion {
				const uint32Type = 0x23
				a.Status, a.DataType, a.Data = 0, uint32Type, []byte{0, 0, 0, 1}
			}
			w.write(a)
		}
	}
}

// wiredService is the whole service, on a wire whose far end the test plays, with downloads under way.
type wiredService struct {
	*wireDongle
	app   *app
	image string // file of the image that is being downloaded
}

// newWiredService starts a service with so many devices, which all download the same image of 1 MiB.
func newWiredService(b *testing.B, devices int, more ...string) *wiredService {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	cfg, err := config.Load(append([]string{
		"ZIGATE_OTA_DONGLE=tcp://" + listener.Addr().String(), "ZIGATE_OTA_STATE_DIR=" + b.TempDir(), "ZIGATE_OTA_BROKER_ADDR=127.0.0.1:0",
		"ZIGATE_OTA_HTTP_ADDR=127.0.0.1:0", "ZIGATE_OTA_IMAGE_INDEXES=none", "ZIGATE_OTA_DONGLE_QUERY_WATCH=off", "ZIGATE_OTA_UPGRADE_CANARY=false", fmt.Sprintf("ZIGATE_OTA_UPGRADE_CONCURRENCY=%d", devices),
	}, more...))
	if err != nil {
		b.Fatal(err)
	}
	a, err := newApp(cfg, newLogger(io.Discard, cfg.Log), nil)
	if err != nil {
		b.Fatal(err)
	}
	image := otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 2}, firmware(1<<20))
	file := filepath.Join(cfg.Image.Dir, "image.ota")
	if err := os.WriteFile(file, image, 0o600); err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	conn, err := listener.Accept()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { stop(); conn.Close(); <-ended })
	w := &wireDongle{tb: b, conn: conn, buf: make([]byte, 4096), out: make([]byte, 0, 512), devices: devices}
	w.until(message.TypeGetDevices)
	for i := range devices {
		a.service.Upgrade(otasvc.UpgradeRequest{
			Device: registry.ParseRef((wireDevice + message.IEEE(i)).String()), URL: "file://" + file,
		}, func(otasvc.Answer) {})
	}
	for range devices {
		w.until(message.TypeImageNotify)
	}
	return &wiredService{wireDongle: w, app: a, image: file}
}

// play has the far end answer commands at any time from now on, as a dongle does, on a goroutine that runs
// begin first. What it returns says of each block when its last byte was there.
func (w *wiredService) play(b *testing.B, begin func()) <-chan time.Time {
	blocks := make(chan time.Time, 16)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		begin()
		for {
			f, err := w.read()
			if err != nil {
				return
			}
			if f.Type == (message.ImageBlockResponse{}).Type() {
				blocks <- time.Now()
				_, _ = w.conn.Write(blockStatus)
				continue
			}
			w.answer(f)
		}
	}()
	b.Cleanup(func() { w.conn.Close(); <-ended })
	return blocks
}

// wireRequest is an image block request of one of the devices, for the block at an offset.
func wireRequest(device int, offset uint32, size uint8) message.ImageBlockRequest {
	return message.ImageBlockRequest{
		Sequence: uint8(offset / uint32(size)), Endpoint: 1, Cluster: message.ClusterOTA, AddrMode: message.AddrModeNetwork,
		Addr: wireAddr + uint16(device), Offset: offset, FileVersion: 2, ImageType: 0x2201, ManufacturerCode: 0x117C,
		BlockRequestDelay: message.NoBlockRequestDelay, MaxDataSize: size,
	}
}

// wireFrame is a message of the dongle as it stands on the wire.
func wireFrame(m message.Message) []byte {
	return message.AppendFrame(nil, m.Type(), append(message.AppendPayload(nil, m), 100)) // link quality
}

// BenchmarkServedBlock measures the whole service as it runs in a home, with its broker, metrics and
// state: one device in a closed loop over TCP on loopback, in turn with a responder that does nothing but
// write a ready-made frame.
func BenchmarkServedBlock(b *testing.B) {
	w := newWiredService(b, 1).wireDongle
	w.write(wireRequest(0, 0, 64))
	ready := w.until(message.ImageBlockResponse{}.Type())
	bare := &wireDongle{tb: b, conn: bareResponder(b, message.AppendFrame(nil, ready.Type, ready.Payload)), buf: make([]byte, 4096), out: make([]byte, 0, 512)}

	round := func(w *wireDongle, frame []byte) time.Duration {
		start := time.Now()
		if _, err := w.conn.Write(frame); err != nil {
			b.Fatal(err)
		}
		w.until(message.ImageBlockResponse{}.Type())
		return time.Since(start)
	}
	var ours, theirs []time.Duration
	b.ResetTimer()
	for i := range b.N {
		frame := wireFrame(wireRequest(0, uint32(i%1000)*64, 64))
		ours = append(ours, round(w, frame))
		theirs = append(theirs, round(bare, frame))
	}
	b.StopTimer()
	slices.Sort(ours)
	slices.Sort(theirs)
	median, bareMedian, p99 := ours[len(ours)/2], theirs[len(theirs)/2], ours[len(ours)*99/100]
	b.ReportMetric(float64(median.Nanoseconds())/1000, "service-us")
	b.ReportMetric(float64(p99.Nanoseconds())/1000, "service-p99-us")
	b.ReportMetric(float64(bareMedian.Nanoseconds())/1000, "bare-us")
	b.ReportMetric(float64(median)/float64(bareMedian), "ratio")
}

// bareResponder answers each frame that it reads with the same bytes.
func bareResponder(b *testing.B, answer []byte) net.Conn {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				if !errors.Is(err, io.EOF) {
					fmt.Fprintln(os.Stderr, "bare responder:", err)
				}
				return
			}
			if buf[n-1] == 0x03 { // the end of a frame
				if _, err := conn.Write(answer); err != nil {
					return
				}
			}
		}
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}
