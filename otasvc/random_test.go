package otasvc_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// TestRandomRuns throws everything at the service at once: faults on line and air, resets, clean restarts and
// crashes of the service, a dongle that is pulled out for seconds or hours, commands of all kinds. Whatever
// happens, every upgrade ends in bounded time with the right image or a stated reason, a device never holds
// anything but whole images, and there is one final answer to each request.
//
// A seed that fails is named and can be run again: ZIGATE_OTA_TEST_SEED=n. ZIGATE_OTA_TEST_SEEDS
// sets how many are run.
func TestRandomRuns(t *testing.T) {
	t.Parallel()
	first, n := uint64(1), uint64(12)
	if testing.Short() {
		n = 5
	}
	if s := os.Getenv("ZIGATE_OTA_TEST_SEEDS"); s != "" {
		n, _ = strconv.ParseUint(s, 10, 64)
	}
	if s := os.Getenv("ZIGATE_OTA_TEST_SEED"); s != "" {
		first, _ = strconv.ParseUint(s, 10, 64)
		n = 1
	}
	for seed := first; seed < first+n; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			defer func() {
				if t.Failed() {
					t.Logf("again with: ZIGATE_OTA_TEST_SEED=%d go test ./otasvc -run TestRandomRuns", seed)
				}
			}()
			randomRun(t, seed)
		})
	}
}

// randomDevices are up to five devices of up to three image types, each with its own ways to be difficult. Two
// of three have the OTA client of a Zigbee stack, with the stack's own times.
func randomDevices(r *rand.Rand, types int) []sim.DeviceConfig {
	chance := func(p float64) bool { return r.Float64() < p }
	sizes := []uint8{12, 40, 48, 50, 63, 64, 82}
	var devices []sim.DeviceConfig
	for i := range 1 + r.IntN(5) {
		d := bulbConfig(message.IEEE(0x000b57fffe000000 + uint64(i)))
		d.ImageType = uint16(0x2200 + r.IntN(types))
		d.MaxDataSize = sizes[r.IntN(len(sizes))]
		d.BlockInterval = time.Duration(20+r.IntN(300)) * time.Millisecond
		d.Retries = 3 + r.IntN(8)
		d.Sleepy = chance(0.2)
		d.HeaderFirst = chance(0.3)
		d.NodeAddressInRequests = chance(0.3)
		d.ResumesDownload = chance(0.3)
		d.LosesAnnounce = chance(0.2)
		d.Relays = r.IntN(3)
		if chance(0.2) {
			d.AsksAgain = 3 + r.IntN(20)
		}
		switch r.IntN(8) {
		case 0:
			d.AbortAt = uint32(r.IntN(10_000))
		case 1:
			d.InvalidAtEnd = true
		case 2:
			d.KeepsOldVersion = true
		case 3:
			d.NeverReturns = true
		}
		if chance(0.2) {
			d.LosesBlocksOver = []uint8{16, 40, 50, 60}[r.IntN(4)]
		}
		d.FailFirst = r.IntN(3)
		if chance(0.67) {
			takeStack(&d, sim.Stacks()[r.IntN(len(sim.Stacks()))], r)
		}
		devices = append(devices, d)
	}
	return devices
}

// takeStack gives a device the OTA client of a stack, as its makers deliver it or nearly so.
func takeStack(d *sim.DeviceConfig, stack sim.Stack, r *rand.Rand) {
	d.Stack = stack
	d.MaxDataSize = 0
	d.Retries = 0
	d.ResumesDownload = false
	switch r.IntN(4) {
	case 0:
		d.QueryInterval = -1 // only when it is notified
	case 1:
		d.QueryInterval = 24 * time.Hour
	}
	if stack == sim.NXP && r.IntN(2) == 0 {
		d.MaxDataSize = 64 // the build for external flash
		d.MinimumBlockPeriod = r.IntN(2) == 0
	}
}

// randomFaults are none, some or all of what can go wrong with line, air and dongle.
func randomFaults(r *rand.Rand) sim.Faults {
	bad := func(p float64) float64 {
		if r.Float64() < 0.5 {
			return 0
		}
		return r.Float64() * p
	}
	f := sim.Faults{
		LoseFromDongle: bad(0.1), LoseToDongle: bad(0.1), Corrupt: bad(0.05), Duplicate: bad(0.3), Late: bad(0.1),
		LateBy: time.Duration(r.IntN(3000)) * time.Millisecond, LoseAir: bad(0.3), LoseAck: bad(0.3), Refuse: bad(0.1),
		SilentResets: r.Float64() < 0.5,
	}
	f.RefusalOutlastsReset = r.Float64() < 0.5
	if r.Float64() < 0.3 {
		f.ResetEvery = time.Duration(5+r.IntN(30)) * time.Minute
	}
	return f
}

// run is one random run.
type run struct {
	*world
	r       *rand.Rand
	devices []sim.DeviceConfig
	urls    map[uint16]string // by image type
	queued  map[message.IEEE]bool
	finals  map[string][]otasvc.Answer // by ticket, of all lives of the service

	mu       sync.Mutex
	requests []*openRequest
}

// openRequest is a request whose final answers are counted.
type openRequest struct {
	name   string
	finals int
	lost   bool // nobody is left who could answer, or the answer goes elsewhere
}

func randomRun(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2026))
	firmwares := []sim.Firmware{sim.V131C, sim.V131D, sim.V131E, sim.V1323, sim.V2324}
	types := 1 + r.IntN(3)
	devices := randomDevices(r, types)
	cfg := sim.Config{Firmware: firmwares[r.IntN(len(firmwares))], Seed: seed, Faults: randomFaults(r), Devices: devices}
	inWorld(t, cfg, func(w *world) {
		w.policy.Slice = time.Duration(1+r.IntN(10)) * time.Minute
		w.policy.Concurrency = 1 + r.IntN(4)
		w.policy.Canary = r.IntN(2) == 0
		w.restart()
		run := &run{
			world: w, r: r, devices: devices, urls: map[uint16]string{}, queued: map[message.IEEE]bool{},
			finals: map[string][]otasvc.Answer{},
		}
		images := map[uint16][]byte{}
		for i := range uint16(types) {
			run.urls[0x2200+i], images[0x2200+i] = w.image(0x117C, 0x2200+i, 2, 1000+r.IntN(30_000))
		}
		run.begin()
		if !run.untilEnded() {
			return
		}
		time.Sleep(time.Minute)
		run.gather()
		run.judge(images)
	})
}

// begin queues an upgrade for every device, some at a later time, some with the installation held.
func (w *run) begin() {
	for _, d := range w.devices {
		req := otasvc.UpgradeRequest{Device: ref(d.IEEE), URL: w.urls[d.ImageType], Ticket: upgrade.Ticket(fmt.Sprintf("%q", d.IEEE))}
		switch w.r.IntN(8) {
		case 0:
			req.Install = upgrade.InstallHold
		case 1:
			req.Install, req.InstallAt = upgrade.InstallAt, time.Now().Add(time.Duration(w.r.IntN(180))*time.Minute)
		case 2:
			req.At = time.Now().Add(time.Duration(w.r.IntN(60)) * time.Minute)
		}
		if a := w.ask2(req); a.Status == otasvc.InProgress {
			w.queued[d.IEEE] = true
		}
	}
}

// open is how many upgrades have not ended.
func (w *run) open() (n int) {
	for e := range w.queued {
		if u := w.sink.device(e).Upgrade; u == nil || !u.State.Ended() {
			n++
		}
	}
	return n
}

// untilEnded makes trouble for some hours, and then waits until every upgrade has ended. Sleeping devices,
// which are waited for for a month, are given up after a day.
func (w *run) untilEnded() bool {
	quiet := false
	for begun := time.Now(); w.open() > 0; {
		switch since := time.Since(begun); {
		case since > 40*24*time.Hour:
			for e := range w.queued {
				w.t.Errorf("after forty days %v is still %+v", e, w.sink.device(e).Upgrade)
			}
			return false
		case since > 8*time.Hour:
			w.sim.RefuseBlocks(message.StatusOK)
			w.release()
			if !quiet && since > 32*time.Hour {
				quiet = true
				w.giveUpSleepers()
			}
			time.Sleep(10 * time.Minute)
		default:
			time.Sleep(time.Duration(1+w.r.IntN(240)) * time.Second)
			w.trouble(w.devices[w.r.IntN(len(w.devices))])
		}
	}
	return true
}

// release takes back what a person has to take back: pauses and held installations. It is refused while the
// dongle is away, and a download may get to its end only later, so that a person has to come back to it.
func (w *run) release() {
	for _, d := range w.devices {
		switch u := w.sink.device(d.IEEE).Upgrade; {
		case u == nil:
		case u.State == upgrade.Paused:
			w.service.Resume(ref(d.IEEE), w.counted("resume"))
		case u.State == upgrade.Downloaded:
			w.service.Upgrade(otasvc.UpgradeRequest{Device: ref(d.IEEE)}, w.counted("install"))
		}
	}
}

func (w *run) giveUpSleepers() {
	for _, d := range w.devices {
		if d.Sleepy {
			w.service.Cancel(ref(d.IEEE), w.counted("cancel"))
		}
	}
}

// trouble does one thing, or none, to the service, the dongle or a device.
func (w *run) trouble(d sim.DeviceConfig) {
	chance := func(p float64) bool { return w.r.Float64() < p }
	switch w.r.IntN(44) {
	case 0:
		w.stopService()
		w.gather()
		w.start()
	case 1:
		w.gather()
		w.lose()
		w.crash(time.Duration(w.r.IntN(300)) * time.Second)
	case 2:
		w.sim.Reset()
	case 3:
		w.sim.SilentReset()
	case 4, 5:
		w.sim.Disconnect()
	case 6:
		w.service.Pause(ref(d.IEEE), time.Duration(1+w.r.IntN(600))*time.Second, w.counted("pause"))
	case 7:
		w.service.Resume(ref(d.IEEE), w.counted("resume"))
	case 8:
		w.sim.Device(d.IEEE).ChangeAddress(uint16(1 + w.r.IntN(0xFFF0)))
	case 9:
		w.sim.Device(d.IEEE).Query()
	case 10:
		if chance(0.2) {
			w.service.Cancel(ref(d.IEEE), w.counted("cancel"))
		}
	case 11:
		w.service.CheckAll(w.counted("check all"))
	case 12:
		w.unplug()
		time.Sleep(time.Duration(w.r.IntN(3*3600)) * time.Second)
		w.plug()
	case 13:
		w.service.Interview(ref(d.IEEE), w.counted("interview"))
	case 14:
		if chance(0.1) {
			w.service.RemoveImage(ref(d.IEEE), d.ImageType, w.counted("remove image"))
		}
	case 16:
		device := w.sim.Device(d.IEEE)
		device.PowerOff()
		time.Sleep(time.Duration(1+w.r.IntN(120)) * time.Second)
		device.PowerOn()
	case 17:
		w.sim.RefuseBlocks([]uint8{message.StatusNoBuffer, message.StatusTransmitFailed, 0x06, message.StatusOK}[w.r.IntN(4)])
	case 18:
		w.sim.PowerCycle()
	case 15:
		if u := w.sink.device(d.IEEE).Upgrade; u != nil && !u.State.Ended() {
			// A second one: refused, or the word to install.
			w.service.Upgrade(otasvc.UpgradeRequest{Device: ref(d.IEEE)}, w.counted("second upgrade"))
		}
	}
}

// counted counts the final answers to a request. An upgrade that was queued, or released, is answered through
// its ticket, of which these have none.
func (w *run) counted(name string) otasvc.Respond {
	req := &openRequest{name: name}
	w.mu.Lock()
	w.requests = append(w.requests, req)
	w.mu.Unlock()
	return func(a otasvc.Answer) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if a.Status.Final() {
			req.finals++
		} else if name == "second upgrade" || name == "install" {
			req.lost = true
		}
	}
}

// lose notes that the process is about to die: what it was asked and has not answered, nobody will.
func (w *run) lose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, req := range w.requests {
		req.lost = true
	}
}

func (w *run) gather() {
	defer w.sink.lock()()
	for ticket, answers := range w.sink.finals {
		w.finals[ticket] = append(w.finals[ticket], answers...)
	}
	w.sink.finals = map[string][]otasvc.Answer{}
}

// judge checks what must hold at the end, whatever happened.
func (w *run) judge(images map[uint16][]byte) {
	damaged := w.sim.Stats().DamagedBlocks
	for _, d := range w.devices {
		u, now := w.sink.device(d.IEEE).Upgrade, w.sim.Device(d.IEEE).Snapshot()
		if err := wrongByte(images[d.ImageType], now, damaged); now.Installed != nil && err != nil {
			w.t.Errorf("%v: %v", d.IEEE, err)
		}
		if !w.queued[d.IEEE] {
			continue
		}
		if u.State == upgrade.Succeeded && now.FileVersion != 2 {
			w.t.Errorf("%v is said to have succeeded but runs %d", d.IEEE, now.FileVersion)
		}
		if u.State != upgrade.Succeeded && u.Reason == upgrade.NoReason {
			w.t.Errorf("%v ended %s without a reason", d.IEEE, u.State)
		}
		if n := len(w.finals[fmt.Sprintf("%q", d.IEEE)]); n != 1 {
			w.t.Errorf("%v: %d final answers", d.IEEE, n)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, req := range w.requests {
		if req.finals > 1 || req.finals == 0 && !req.lost {
			w.t.Errorf("%s: %d final answers", req.name, req.finals)
		}
	}
}

// wrongByte compares what a device has installed with the image, byte by byte. A byte may differ only where a
// frame was damaged on its way to the dongle and the dongle took it for good: its checksum is an XOR, and it
// takes bytes that are missing from the command before. Nothing that a host may send prevents that; the
// device's own check is for it. The bytes that a device never asks for do not count.
func wrongByte(image []byte, device sim.DeviceSnapshot, damaged []sim.DamagedBlock) error {
	installed := device.Installed
	if len(image) != len(installed) {
		return fmt.Errorf("it holds %d bytes, the image has %d", len(installed), len(image))
	}
	for i := device.Skipped; i < len(image); i++ {
		excused := func() bool {
			for _, b := range damaged {
				if i >= int(b.Offset) && i < int(b.Offset)+b.Size {
					return true
				}
			}
			return false
		}
		if image[i] != installed[i] && !excused() {
			return fmt.Errorf("byte %d is 0x%02x, in the image it is 0x%02x", i, installed[i], image[i])
		}
	}
	return nil
}

// ask2 asks for an upgrade and waits until it is queued or refused, however often the device
// has to be looked for.
func (w *world) ask2(req otasvc.UpgradeRequest) otasvc.Answer {
	w.t.Helper()
	answers := make(chan otasvc.Answer, 64)
	w.service.Upgrade(req, func(a otasvc.Answer) { answers <- a })
	for deadline := time.Now().Add(10 * time.Minute); time.Now().Before(deadline); {
		time.Sleep(time.Second)
		if u := w.sink.device(bulbOf(req)).Upgrade; u != nil {
			return otasvc.Answer{Status: otasvc.InProgress}
		}
		for len(answers) > 0 {
			if a := <-answers; a.Status.Final() {
				return a
			}
		}
	}
	w.t.Fatal("neither queued nor refused within ten minutes")
	panic("unreachable")
}

func bulbOf(req otasvc.UpgradeRequest) message.IEEE {
	e, _ := message.ParseIEEE(req.Device.String())
	return e
}
