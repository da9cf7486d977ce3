package sim_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// start runs a dongle outside of a bubble.
func start(t *testing.T, cfg sim.Config) *sim.Dongle {
	t.Helper()
	dongle := sim.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- dongle.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return dongle
}

// download lets a host upgrade the lamp over a port, and closes the port.
func download(t *testing.T, dongle *sim.Dongle, port zigate.Port, version uint32) {
	t.Helper()
	file := image(version, 5000)
	h := newHost(t, port, file)
	go h.run()
	h.send(loadImage(file))
	h.send(notify(lampAddr))
	deadline := time.Now().Add(time.Minute)
	for dongle.Device(lamp).Snapshot().FileVersion != version {
		if time.Now().After(deadline) {
			t.Fatalf("no upgrade: %+v, %+v", dongle.Device(lamp).Snapshot(), dongle.Stats())
		}
		time.Sleep(time.Millisecond)
	}
	if err := port.Close(); err != nil {
		t.Error(err)
	}
	<-h.done
	if !bytes.Equal(dongle.Device(lamp).Snapshot().Installed, file) {
		t.Error("the device has other bytes")
	}
	if h.errors != (message.FrameErrors{}) {
		t.Errorf("damaged frames: %+v", h.errors)
	}
}

func TestMemoryPort(t *testing.T) {
	dongle := start(t, sim.Config{Devices: []sim.DeviceConfig{lampConfig()}})
	dialer := dongle.Dialer("sim")
	if dialer.String() != "sim" {
		t.Error(dialer)
	}
	port, err := dialer.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dialer.Dial(t.Context()); !errors.Is(err, sim.ErrPortInUse) {
		t.Errorf("second host: %v", err)
	}
	download(t, dongle, port, newVersion)
	if _, err := port.Write([]byte{3}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write after close: %v", err)
	}
	if err := port.Close(); err != nil {
		t.Error(err)
	}
	port, err = dialer.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dongle.Disconnect()
	if _, err := port.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read after the line was cut: %v", err)
	}
	port.Close()
	port, err = dialer.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	download(t, dongle, port, newVersion+1)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dialer.Dial(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("dial with an ended context: %v", err)
	}
}

func TestStoppedDongle(t *testing.T) {
	dongle := sim.New(sim.Config{})
	port, err := dongle.Dialer("sim").Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := port.Write([]byte{3}); err != nil {
		t.Error(err) // waits for Run
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- dongle.Run(ctx) }()
	if n, err := port.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := dongle.Run(ctx); !errors.Is(err, sim.ErrAlreadyRunning) {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(port); err != nil {
		t.Error(err)
	}
	if _, err := port.Write([]byte{3}); err == nil {
		t.Error("a dongle without power takes bytes")
	}
	port.Close()
	if _, err := dongle.Dialer("sim").Dial(t.Context()); !errors.Is(err, sim.ErrStopped) {
		t.Error(err)
	}
	dongle.Reset()
}

func TestTCP(t *testing.T) {
	dongle := start(t, sim.Config{Devices: []sim.DeviceConfig{lampConfig()}})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- dongle.ServeTCP(ctx, listener) }()
	for version := range uint32(2) {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		download(t, dongle, conn, newVersion+version)
	}
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(message.AppendFrame(nil, message.TypeGetVersion, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(conn); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Log(err) // reset by peer is fine
	}
}

func TestPTY(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no pseudo-terminals here")
	}
	dongle := start(t, sim.Config{Devices: []sim.DeviceConfig{lampConfig()}})
	link := filepath.Join(t.TempDir(), "zigate")
	if err := os.Symlink("/nowhere", link); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	paths := make(chan string, 1)
	go func() { ended <- dongle.ServePTY(ctx, link, func(path string) { paths <- path }) }()
	var path string
	select {
	case path = <-paths:
	case err := <-ended:
		t.Fatal(err)
	}
	if path != link {
		t.Errorf("path %s", path)
	}
	for version := range uint32(3) {
		port, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		download(t, dongle, port, newVersion+version)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(link); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the link is still there: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dongle.ServePTY(t.Context(), file, nil); err == nil {
		t.Error("a file was replaced by a link")
	}
}

// Firmware v1 cuts what does not fit its transmit queue; v2 waits.
func TestOutputQueue(t *testing.T) {
	for _, firmware := range sim.Firmwares() {
		t.Run(firmware.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := sim.Config{Firmware: firmware, LineRate: 11520}
				for i := range 40 {
					device := lampConfig()
					device.IEEE, device.Addr = lamp+message.IEEE(i), uint16(i+1)
					cfg.Devices = append(cfg.Devices, device)
				}
				l := newLab(t, cfg, nil)
				defer l.stop()
				l.send(message.GetDevices{})
				time.Sleep(time.Second)
				l.send(message.GetVersion{})
				time.Sleep(time.Second)
				synctest.Wait()
				got := l.take()
				lists := of[message.DeviceList](got)
				lost := l.dongle.Stats().OutputLost
				if firmware.V2() {
					if len(lists) != 1 || len(lists[0].Devices) != 40 || lost != 0 {
						t.Errorf("%d lists, %d bytes lost", len(lists), lost)
					}
				} else if len(lists) != 0 || lost == 0 || l.errors.Truncated != 1 {
					t.Errorf("%d lists, %d bytes lost, %+v", len(lists), lost, l.errors)
				}
				if len(of[message.Version](got)) != 1 {
					t.Error("the next message did not arrive")
				}
			})
		})
	}
}

// Of a burst about 250 bytes get through on v1, because the queue drains while the firmware fills it: a status
// and a list of 12 devices. Behind other messages such a list is cut.
func TestOutputQueueDrains(t *testing.T) {
	for name, tc := range map[string]struct {
		devices int
		before  int // questions right before, each with an answer of its own
		whole   bool
	}{
		"a list of 12":                       {devices: 12, whole: true},
		"a list of 16":                       {devices: 16},
		"a list of 12 behind other messages": {devices: 12, before: 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := sim.Config{LineRate: 11520}
				for i := range tc.devices {
					device := lampConfig()
					device.IEEE, device.Addr = 0x842e14fffe000000+message.IEEE(0x11*i), uint16(0x5555+i)
					device.LQI = 0x80
					cfg.Devices = append(cfg.Devices, device)
				}
				l := newLab(t, cfg, nil)
				defer l.stop()
				var burst []byte
				for range tc.before {
					burst = message.AppendFrame(burst, message.TypeGetTime, nil)
				}
				burst = message.AppendFrame(burst, message.TypeGetDevices, nil)
				l.raw(burst)
				time.Sleep(time.Second)
				synctest.Wait()
				if n := len(of[message.DeviceList](l.take())); (n == 1) != tc.whole {
					t.Errorf("%d lists, %d bytes lost", n, l.dongle.Stats().OutputLost)
				}
			})
		})
	}
}

// The line takes its time in both directions.
func TestLineRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, sim.Config{LineRate: 1000}, nil)
		defer l.stop()
		began := time.Now()
		l.send(message.GetVersion{}) // 10 bytes to the dongle
		var status time.Duration
		for len(of[message.Version](l.take())) == 0 {
			time.Sleep(time.Millisecond)
			synctest.Wait()
			status = time.Since(began)
		}
		// 0x8000 with 9 bytes takes 30, 0x8010 with 5 bytes 20 or so.
		if status < 50*time.Millisecond || status > 70*time.Millisecond {
			t.Errorf("the answer took %s", status)
		}
	})
}

type run struct {
	Stats    sim.Stats
	Device   sim.DeviceSnapshot
	Messages []message.MsgType
}

// badDay is a download with everything that can go wrong, and a host that knows only to start again.
func badDay(t *testing.T, seed uint64) run {
	var result run
	synctest.Test(t, func(t *testing.T) {
		device := lampConfig()
		device.QueryInterval = time.Minute
		file := image(newVersion, 20_000)
		l := newLab(t, sim.Config{
			Speed: 1, LineRate: 11520, Seed: seed, Devices: []sim.DeviceConfig{device},
			Faults: sim.Faults{
				LoseFromDongle: 0.02, LoseToDongle: 0.02, Corrupt: 0.02, Duplicate: 0.02, Late: 0.02,
				LoseAir: 0.02, LoseAck: 0.02, Refuse: 0.02, ResetEvery: 10 * time.Minute, SilentResets: seed%2 == 0,
			},
		}, file)
		defer l.stop()
		for range 120 {
			l.send(loadImage(file))
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		result.Device = l.dongle.Device(lamp).Snapshot()
		result.Stats = l.dongle.Stats()
		for _, m := range l.take() {
			result.Messages = append(result.Messages, m.Type())
		}
	})
	return result
}

// The same seed gives the same run, another one another, and what is installed is right in all of them.
func TestFaults(t *testing.T) {
	first := badDay(t, 1)
	if diff := cmp.Diff(first, badDay(t, 1)); diff != "" {
		t.Errorf("the same seed gives another run:\n%s", diff)
	}
	if cmp.Equal(first.Stats, badDay(t, 2).Stats) {
		t.Error("another seed gives the same run")
	}
	for seed := range uint64(5) {
		day := badDay(t, seed)
		if !bytes.Equal(day.Device.Installed, image(newVersion, 20_000)) {
			t.Errorf("seed %d: not installed, or other bytes: %+v", seed, day.Device.State)
		}
		s := day.Stats
		if s.LineFaults == 0 || s.AirLost == 0 || s.Resets == 0 || s.FramesRejected == 0 ||
			s.Refused[sim.Refusal{Type: message.ImageBlockResponse{}.Type(), Status: message.StatusNoBuffer}] == 0 {
			t.Errorf("seed %d: too little went wrong: %+v", seed, s)
		}
	}
}

// Thousands of devices download the same image side by side.
func TestManyDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const devices = 2000
		file := image(newVersion, 1500)
		cfg := sim.Config{}
		for i := range devices {
			device := lampConfig()
			device.IEEE, device.Addr = lamp+message.IEEE(i), 0
			cfg.Devices = append(cfg.Devices, device)
		}
		l := newLab(t, cfg, file)
		defer l.stop()
		l.send(loadImage(file))
		all := notify(0x0100)
		all.AddrMode = message.AddrModeBroadcast
		for range 5 {
			l.send(all)
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		done := 0
		for _, device := range l.dongle.Devices() {
			if s := device.Snapshot(); s.FileVersion == newVersion && bytes.Equal(s.Installed, file) {
				done++
			}
		}
		if done != devices {
			t.Errorf("%d of %d devices are done: %+v", done, devices, l.dongle.Stats())
		}
	})
}

func TestParseFirmware(t *testing.T) {
	for _, firmware := range sim.Firmwares() {
		if got, err := sim.ParseFirmware(firmware.String()); err != nil || got != firmware {
			t.Errorf("%s: %s, %v", firmware, got, err)
		}
	}
	for name, want := range map[string]sim.Firmware{"": sim.V1323, "v1": sim.V1323, "V2": sim.V2324, "3.1E": sim.V131E, " 3.24 ": sim.V2324} {
		if got, err := sim.ParseFirmware(name); err != nil || got != want {
			t.Errorf("%q: %s, %v", name, got, err)
		}
	}
	if _, err := sim.ParseFirmware("3.99"); err == nil {
		t.Error("3.99 exists")
	}
}
