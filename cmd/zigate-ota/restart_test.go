package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// restartedHome is a simulated home that outlives the service, with four bulbs that take one image.
type restartedHome struct {
	*sim.Dongle
	address string

	mu     sync.Mutex
	blocks int                 // that the dongle has put on air
	waits  map[uint16]struct{} // network addresses of the devices that were told to wait
}

func newRestartedHome(t *testing.T) *restartedHome {
	t.Helper()
	devices := manyDevices(8)[4:]
	for i := range devices {
		devices[i].BlockInterval = time.Second
		devices[i].Retries = 1000 // however long a start takes here: who gives up in real homes is not the question
	}
	h := &restartedHome{waits: map[uint16]struct{}{}}
	cfg := simulationConfig(devices, 10)
	cfg.OnAir = h.onAir
	h.Dongle = sim.New(cfg)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = "tcp://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = h.Run(ctx) })
	running.Go(func() { _ = h.ServeTCP(ctx, listener) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return h
}

// onAir counts the dongle's answers to block requests: ZCL command 0x05, then the status.
func (h *restartedHome) onAir(f sim.AirFrame) {
	if !f.FromDongle || f.Cluster != message.ClusterOTA || len(f.Payload) < 4 || f.Payload[2] != 0x05 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch f.Payload[3] {
	case message.OTASuccess:
		h.blocks++
	case message.OTAWaitForData:
		h.waits[f.Addr] = struct{}{}
	}
}

func (h *restartedHome) seen() (blocks, waits int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.blocks, len(h.waits)
}

// until waits until something is so with each device.
func (h *restartedHome) until(t *testing.T, what string, so func(sim.DeviceSnapshot) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		n := 0
		for _, d := range h.Devices() {
			if so(d.Snapshot()) {
				n++
			}
		}
		if n == len(h.Devices()) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: only %d of %d devices in time", what, n, len(h.Devices()))
		}
	}
}

// A service that is stopped while four devices download tells each to wait before it goes. After that, and after a
// kill, all go on where they were, and none begins again. How long both take is logged.
func TestRestartInMidDownload(t *testing.T) {
	t.Parallel()
	home := newRestartedHome(t)
	dir, broker := t.TempDir(), freePort(t)
	images := filepath.Join(dir, "state", "images")
	if err := os.MkdirAll(images, 0o700); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(images, "bulb.ota")
	if err := os.WriteFile(image, bulbImage(newerVersion, 12_000), 0o600); err != nil {
		t.Fatal(err)
	}
	serve := func() *process {
		t.Helper()
		p := start(t, environ(dir, "ZIGATE_OTA_BROKER_ADDR="+broker, "ZIGATE_OTA_DONGLE="+home.address, "ZIGATE_OTA_UPGRADE_CONCURRENCY=4",
			"ZIGATE_OTA_UPGRADE_CANARY=false"),
			programPath(t), "serve")
		p.stderr.await(t, "the dongle", func(line string) bool { return strings.Contains(line, "the dongle is connected") })
		p.stderr.await(t, "ready", func(line string) bool { return strings.Contains(line, "msg=ready") })
		return p
	}
	service := serve()
	client := connected(t, "tcp://"+broker)
	for _, d := range home.Devices() {
		service.stderr.await(t, "interview", func(line string) bool {
			return strings.Contains(line, "was interviewed") && strings.Contains(line, d.IEEE().String())
		})
		request := fmt.Sprintf(`{"deviceId":"%v","url":"file://%s"}`, d.IEEE(), image)
		if token := client.Publish("zigate-ota/request/upgrade", 1, false, request); token.Wait() && token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	home.until(t, "all download", func(s sim.DeviceSnapshot) bool { return s.Offset > 1000 })
	client.Disconnect(0)

	stopped := time.Now()
	if err := service.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-service.done
	took := time.Since(stopped)
	if _, waits := home.seen(); waits != 4 {
		t.Errorf("%d of 4 devices were told to wait; the stop took %v", waits, took)
	}
	service = serve()
	home.until(t, "all go on", func(s sim.DeviceSnapshot) bool { return s.Offset > 4000 })

	killed := time.Now()
	service.stop()
	before, _ := home.seen()
	serve()
	for now := before; now == before; now, _ = home.seen() {
		if time.Since(killed) > patience {
			t.Fatal("no device has got a block since the kill")
		}
		time.Sleep(time.Millisecond)
	}
	t.Logf("told to wait and stopped within %v; %v from the kill to the next block", took, time.Since(killed))
	home.until(t, "all have the image", func(s sim.DeviceSnapshot) bool { return s.FileVersion == newerVersion })
	for _, d := range home.Devices() {
		if s := d.Snapshot(); s.Sessions != 1 || s.GivenUp != 0 {
			t.Errorf("%v began %d times and gave up %d times", s.IEEE, s.Sessions, s.GivenUp)
		}
	}
}
