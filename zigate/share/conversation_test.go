package share_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/share"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// A conversation is held twice: with the simulated dongle alone, and with the same dongle through a Hub. Each
// client must hear the same.

// air is who begins a step that no client begins: a device, or the dongle's button.
const air = 0

// step is something that happens, and then all is quiet before the next.
type step struct {
	who  int // client 1 or 2, or air
	send []byte
	act  func(*sim.Dongle)
	// shared: what follows is not the client's business alone. Others hear it too, but for statuses.
	shared bool
	wait   time.Duration
}

// quiet is shorter than what lets a v2 dongle begin a conversation of its own.
const quiet = 5 * time.Second

func (s step) pause() time.Duration {
	if s.wait > 0 {
		return s.wait
	}
	return quiet
}

// isRawMode tells whether the step is a client's choice of its raw mode.
func (s step) isRawMode() bool {
	var d message.Decoder
	f, _, ok := d.Feed(s.send)
	return ok && f.Type == message.TypeSetRawMode
}

// frames gathers what somebody reads.
type frames struct {
	mu      sync.Mutex
	decoder message.Decoder
	got     []string
	bad     message.FrameErrors
}

func (f *frames) read(r interface{ Read([]byte) (int, error) }) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		f.mu.Lock()
		for in := buf[:n]; len(in) > 0; {
			frame, rest, ok := f.decoder.Feed(in)
			// Storage events tell of the dongle's own raw mode.
			if in = rest; ok && frame.Type != (message.PDMEvent{}).Type() {
				f.got = append(f.got, normal(frame))
			}
		}
		f.bad = f.decoder.Errors()
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (f *frames) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	got := f.got
	f.got = nil
	return got
}

// normal is a frame without what depends on who else uses the dongle: APS counters and buffers in use, and
// link qualities of messages that have none.
func normal(f message.Frame) string {
	p := slices.Clone(f.Payload)
	switch f.Type {
	case message.TypeStatus:
		if len(p) >= 5 && p[2] == 0x05 && p[3] == 0x30 {
			p[1] = 0 // raw data: the APS counter
		}
		clear(p[min(5, len(p)):])
	case message.TypeAPSAck:
		clear(p[6:])
	case message.TypeConfirm, message.TypeConfirmFailed:
		clear(p[6:])
	case message.TypeHeartbeat:
		clear(p)
	}
	return fmt.Sprintf("%s %x", f.Type, p)
}

func lab(firmware sim.Firmware) sim.Config {
	battery := uint8(80)
	return sim.Config{
		Firmware: firmware, Seed: 7, Speed: 1,
		Devices: []sim.DeviceConfig{
			{IEEE: 0x00158d0000000001, Addr: lamp, Endpoint: 1, ManufacturerCode: 0x117c, ImageType: 0x2201, FileVersion: 5, ManufacturerName: "IKEA", ModelID: "bulb", LQI: 100},
			{IEEE: 0x00158d0000000002, Addr: sensor, Endpoint: 1, ManufacturerCode: 0x1286, ImageType: 0x0203, FileVersion: 1, ModelID: "sensor", BatteryPercent: &battery, LQI: 50},
		},
	}
}

const (
	lamp   uint16 = 0x4f4f
	sensor uint16 = 0x90de
)

// alone holds the conversation with the dongle itself, as client only hears it: the others' raw modes are not
// set. It returns what was heard after each step.
func alone(t *testing.T, firmware sim.Firmware, script []step, only int) (heard [][]string) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		d := sim.New(lab(firmware))
		var users sync.WaitGroup
		users.Go(func() { _ = d.Run(ctx) })
		port, err := d.Dialer("sim").Dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var got frames
		users.Go(func() { got.read(port) })
		time.Sleep(time.Second)
		for _, s := range script {
			if s.act != nil {
				s.act(d)
			}
			if s.send != nil && (s.who == only || !s.isRawMode()) {
				if _, err := port.Write(s.send); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(s.pause())
			synctest.Wait()
			heard = append(heard, got.take())
		}
		stop()
		port.Close()
		users.Wait()
	})
	return heard
}

// shared holds it through a Hub. It returns what each client heard after each step.
func shared(t *testing.T, firmware sim.Firmware, script []step) (heard [3][][]string) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		d := sim.New(lab(firmware))
		hub := share.New(zigate.Options{Dialer: d.Dialer("sim"), Handler: silent{}, ProbeInterval: time.Hour}, share.Options{MaxClients: 2})
		var users sync.WaitGroup
		users.Go(func() { _ = d.Run(ctx) })
		users.Go(func() { _ = hub.Dongle().Run(ctx) })
		users.Go(func() {
			if err := hub.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		<-hub.Ready()
		time.Sleep(time.Second)
		var got [3]frames
		var lines [3]net.Conn
		for who := 1; who <= 2; who++ {
			near, far := net.Pipe()
			lines[who] = near
			users.Go(func() { hub.Attach(far, fmt.Sprintf("client %d", who)) })
			users.Go(func() { got[who].read(near) })
		}
		synctest.Wait()
		for _, s := range script {
			if s.act != nil {
				s.act(d)
			}
			if s.send != nil {
				if _, err := lines[s.who].Write(s.send); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(s.pause())
			synctest.Wait()
			for who := 1; who <= 2; who++ {
				heard[who] = append(heard[who], got[who].take())
			}
		}
		stop()
		users.Wait()
		for who := 1; who <= 2; who++ {
			lines[who].Close()
			if got[who].bad != (message.FrameErrors{}) {
				t.Errorf("client %d was sent damaged frames: %+v", who, got[who].bad)
			}
		}
	})
	return heard
}

// silent is a program that has nothing to do with the dongle itself.
type silent struct{}

func (silent) HandleBlockRequest(_ *message.ImageBlockRequest, dst []byte) []byte { return dst }
func (silent) HandleBlockStatus(*message.Status)                                  {}
func (silent) HandleMessage(message.Message, uint8)                               {}
func (silent) HandleConnected(zigate.Info)                                        {}
func (silent) HandleDisconnected(error)                                           {}

// compare holds a conversation both ways.
func compare(t *testing.T, firmware sim.Firmware, script []step) {
	t.Helper()
	through := shared(t, firmware, script)
	for who := 1; who <= 2; who++ {
		direct := alone(t, firmware, script, who)
		for i, s := range script {
			want := direct[i]
			if s.who != air && s.who != who {
				want = overheard(s, want)
			}
			got := through[who][i]
			if diff := cmp.Diff(statuses(want), statuses(got)); diff != "" {
				t.Errorf("step %d, client %d: statuses in order (-alone +shared):\n%s", i, who, diff)
			}
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(nonNil(want), nonNil(got)); diff != "" {
				t.Errorf("step %d, client %d hears (-alone +shared):\n%s", i, who, diff)
			}
		}
	}
}

func nonNil(s []string) []string { return append([]string{}, s...) }

// overheard is what the other client hears of a step.
func overheard(s step, heard []string) []string {
	return slices.DeleteFunc(slices.Clone(heard), func(f string) bool {
		return strings.HasPrefix(f, "0x8000 ") || !s.shared && !strings.HasPrefix(f, "0x9999 ") && !strings.HasPrefix(f, "0x8701 ")
	})
}

func statuses(heard []string) (only []string) {
	for _, f := range heard {
		if strings.HasPrefix(f, "0x8000 ") {
			only = append(only, f)
		}
	}
	return only
}
