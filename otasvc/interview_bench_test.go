package otasvc_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// latencies keeps how long block requests took from their last byte read to their answer written.
type latencies struct {
	mu   sync.Mutex
	took []time.Duration
}

func (*latencies) FrameSent(message.MsgType)     {}
func (*latencies) FrameReceived(message.MsgType) {}
func (*latencies) FrameError(string)             {}
func (*latencies) Connected(bool)                {}
func (*latencies) Reconnected()                  {}
func (*latencies) Buffers(uint8, uint8)          {}
func (l *latencies) BlockAnswered(d time.Duration) {
	l.mu.Lock()
	l.took = append(l.took, d)
	l.mu.Unlock()
}

// quantile is the latency that the part q of all did not exceed.
func (l *latencies) quantile(q float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.took) == 0 {
		return 0
	}
	slices.Sort(l.took)
	return l.took[min(int(q*float64(len(l.took))), len(l.took)-1)]
}

// BenchmarkInterviewsBesideDownloads has ten devices download in real time at the pace of a real radio, by
// themselves and while a hundred others are interviewed, one after the other in each round. What counts is
// the relation of the two.
func BenchmarkInterviewsBesideDownloads(b *testing.B) {
	alone, beside := &latencies{}, &latencies{}
	for b.Loop() {
		downloadsWith(b, 0, alone)
		downloadsWith(b, 100, beside)
	}
	for name, l := range map[string]*latencies{"alone": alone, "beside": beside} {
		for _, q := range []float64{0.5, 0.99} {
			b.ReportMetric(float64(l.quantile(q).Nanoseconds())/1e3, fmt.Sprintf("us-p%.0f-%s", 100*q, name))
		}
		b.ReportMetric(float64(len(l.took)), "blocks-"+name)
	}
	b.ReportMetric(0, "ns/op")
}

// downloadsWith lets ten devices download for as long as it takes to interview the others, or for as long as
// that would take about.
func downloadsWith(b *testing.B, others int, l *latencies) {
	b.Helper()
	const downloads, blockInterval, alone = 10, 100 * time.Millisecond, 10 * time.Second
	cfg := sim.Config{Speed: 1}
	for i := range downloads {
		d := bulbConfig(bulb + message.IEEE(i))
		d.BlockInterval = blockInterval
		cfg.Devices = append(cfg.Devices, d)
	}
	home := sim.New(cfg)
	dir := b.TempDir()
	lib, err := library.Open(library.Options{Dir: filepath.Join(dir, "images")})
	if err != nil {
		b.Fatal(err)
	}
	policy := defaultPolicy()
	policy.Concurrency, policy.Canary = downloads, false
	log := slog.New(slog.DiscardHandler)
	service, err := otasvc.New(otasvc.Options{Images: lib, Observer: noObserver{}, Logger: log, StateDir: filepath.Join(dir, "state"), Policy: policy})
	if err != nil {
		b.Fatal(err)
	}
	dongle := zigate.NewDongle(zigate.Options{Dialer: home.Dialer("sim"), Handler: service, Observer: l, Logger: log})
	sink := newRecorder()
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = home.Run(ctx) })
	running.Go(func() { _ = dongle.Run(ctx) })
	running.Go(func() { _ = service.Run(ctx, dongle, sink) })

	known := func(list []message.IEEE) func() bool {
		return func() bool {
			return !slices.ContainsFunc(list, func(e message.IEEE) bool { return sink.device(e).CurrentVersion == nil })
		}
	}
	var bulbs, strangers []message.IEEE
	for _, d := range cfg.Devices {
		bulbs = append(bulbs, d.IEEE)
	}
	until(b, "the bulbs are known", known(bulbs))
	image := otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 2}, make([]byte, 400_000))
	path := filepath.Join(dir, "images", "bulb.ota")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		b.Fatal(err)
	}
	for _, e := range bulbs {
		service.AddImage(otasvc.AddImage{Device: ref(e), URL: "file://" + path, Upgrade: true}, func(otasvc.Answer) {})
	}
	until(b, "the bulbs download", func() bool {
		return !slices.ContainsFunc(home.Devices()[:downloads], func(d *sim.Device) bool { return d.Snapshot().Offset == 0 })
	})
	l.mu.Lock()
	before := len(l.took)
	l.mu.Unlock()
	if others == 0 {
		time.Sleep(alone)
	}
	for i := range others {
		d := bulbConfig(bulb + message.IEEE(0x1000+i))
		v, err := home.AddDevice(d)
		if err != nil {
			b.Fatal(err)
		}
		v.Announce()
		strangers = append(strangers, d.IEEE)
	}
	until(b, "all are interviewed", known(strangers))
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.took)-before < downloads {
		b.Fatalf("%d blocks were served", len(l.took)-before)
	}
}

// until waits, in real time, for a minute at most.
func until(b *testing.B, what string, cond func() bool) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("not within a minute: %s", what)
		}
	}
}
