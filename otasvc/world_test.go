package otasvc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// world is a service with a simulated dongle and simulated devices, in fake time.
type world struct {
	t       testing.TB
	dir     string
	sim     *sim.Dongle
	service *otasvc.Service
	sink    *recorder
	policy  otasvc.Policy
	real    bool // real time instead of fake time
	pty     bool // the dongle is reached over a pseudo-terminal
	tcp     bool // the dongle is reached over a TCP port
	dialer  zigate.Dialer
	dongle  *zigate.Dongle
	stop    func()
	stopSim func()
	// stopService stops the service before the dongle's connection, as a clean stop does.
	stopService func()
	brokerAway  atomic.Bool       // nobody gets the final answers
	said        lockedText        // what the service logged
	catalog     otasvc.Catalog    // may be nil
	library     *library.Library  // that of the catalog; nil: one of this world's own
	web         http.RoundTripper // what is on the web; nil: what really is
	trace       zigate.Tracer     // sees every frame; may be nil
	observer    zigate.Observer   // of the dongle; may be nil
	// wall is how far the clock on the wall was set, in nanoseconds.
	wall atomic.Int64
	// unplugged: the dongle's port cannot be opened.
	unplugged atomic.Bool
	// allowed is how many devices may download at once, as the service has told last.
	allowed atomic.Int32
	// dongleRefuses is whether the dongle refuses every block, as the service has told last.
	dongleRefuses atomic.Bool
	// drop takes messages of the dongle away before the service sees them.
	drop atomic.Pointer[func(message.Message) bool]
}

// filter is the service behind world.drop.
type filter struct {
	*otasvc.Service
	w *world
}

func (f filter) HandleMessage(m message.Message, lqi uint8) {
	if drop := f.w.drop.Load(); drop != nil && (*drop)(m) {
		return
	}
	f.Service.HandleMessage(m, lqi)
}

// losing takes messages of the dongle away from now on, before the service sees them.
func (w *world) losing(drop func(message.Message) bool) { w.drop.Store(&drop) }

func (w *world) handler() zigate.Handler { return filter{w.service, w} }

// recorder is a Sink that keeps what it is told.
type recorder struct {
	mu      sync.Mutex
	devices map[message.IEEE]otasvc.DeviceRecord
	events  []otasvc.Event
	info    otasvc.InfoRecord
	images  []otasvc.RegisteredImage
	finals  map[string][]otasvc.Answer // by ticket
	// Every record of a device in order, to look at what was said on the way.
	history map[message.IEEE][]otasvc.DeviceRecord
	onFinal func()       // is told of each final answer; may be nil
	away    *atomic.Bool // nobody gets the final answers
	// onDevice is told of each record of a device, with the lock held; may be nil.
	onDevice func(otasvc.DeviceRecord)
}

func newRecorder() *recorder {
	return &recorder{
		away:    &atomic.Bool{},
		devices: map[message.IEEE]otasvc.DeviceRecord{}, finals: map[string][]otasvc.Answer{},
		history: map[message.IEEE][]otasvc.DeviceRecord{},
	}
}

func (r *recorder) lock() func() { r.mu.Lock(); return r.mu.Unlock }

func (r *recorder) DeviceChanged(d otasvc.DeviceRecord) {
	defer r.lock()()
	r.devices[d.EUID] = d
	r.history[d.EUID] = append(r.history[d.EUID], d)
	if r.onDevice != nil {
		r.onDevice(d)
	}
}
func (r *recorder) DeviceGone(e message.IEEE)                { defer r.lock()(); delete(r.devices, e) }
func (r *recorder) InfoChanged(i otasvc.InfoRecord)          { defer r.lock()(); r.info = i }
func (r *recorder) ImagesChanged(l []otasvc.RegisteredImage) { defer r.lock()(); r.images = l }
func (r *recorder) Happened(e otasvc.Event)                  { defer r.lock()(); r.events = append(r.events, e) }
func (r *recorder) UpgradeEnded(t upgrade.Ticket, a otasvc.Answer, told func()) {
	unlock := r.lock()
	onFinal := r.onFinal
	unlock()
	if onFinal != nil {
		onFinal()
	}
	if !r.away.Load() {
		told()
	}
	defer r.lock()()
	r.finals[string(t)] = append(r.finals[string(t)], a)
}

func (r *recorder) count() int { defer r.lock()(); return len(r.devices) }

func (r *recorder) device(e message.IEEE) otasvc.DeviceRecord { defer r.lock()(); return r.devices[e] }

// recordsOf are all records of a device so far, in order.
func (r *recorder) recordsOf(e message.IEEE) []otasvc.DeviceRecord {
	defer r.lock()()
	return slices.Clone(r.history[e])
}

// watchDevices has each further record of a device told, with the lock held.
func (r *recorder) watchDevices(told func(otasvc.DeviceRecord)) { defer r.lock()(); r.onDevice = told }

// names are the events of one device (0: of none), in order, without progress and announcements.
func (r *recorder) names(e message.IEEE) []otasvc.EventName {
	defer r.lock()()
	var names []otasvc.EventName
	for _, ev := range r.events {
		if ev.EUID == e && ev.Name != otasvc.EventDownloadProgress {
			names = append(names, ev.Name)
		}
	}
	return names
}

func (r *recorder) final(ticket string) []otasvc.Answer {
	defer r.lock()()
	return r.finals[`"`+ticket+`"`]
}

// lockedText is a text that several goroutines write.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lockedText) has(words string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), words)
}

type noObserver struct{}

func (noObserver) BlockRequest(blocks.Result, int)                              {}
func (noObserver) UpgradeFinished(upgrade.State, upgrade.Reason, time.Duration) {}
func (noObserver) DownloadsAllowed(int)                                         {}
func (noObserver) DongleRefuses(bool)                                           {}
func (noObserver) DeliveryFailed()                                              {}
func (noObserver) ImageFetched(otasvc.Status)                                   {}

// allowedObserver keeps how many devices may download at once, and whether the dongle takes their blocks.
type allowedObserver struct {
	noObserver
	allowed *atomic.Int32
	refuses *atomic.Bool // may be nil
}

func (o allowedObserver) DongleRefuses(refuses bool) {
	if o.refuses != nil {
		o.refuses.Store(refuses)
	}
}

func (o allowedObserver) DownloadsAllowed(n int) { o.allowed.Store(int32(n)) }

func defaultPolicy() otasvc.Policy {
	return otasvc.Policy{
		Concurrency: 4, BlockSize: 64, NotifyInterval: 15 * time.Second, NotifyAttempts: 20, StallTimeout: 5 * time.Minute,
		RejoinTimeout: 15 * time.Minute, Retries: 2, QueryWatch: otasvc.WatchIdle, Slice: 15 * time.Minute,
	}
}

// inWorld runs a test with a dongle and devices, all in fake time.
func inWorld(t *testing.T, cfg sim.Config, f func(w *world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		if cfg.Speed == 0 {
			cfg.Speed = 1
		}
		(&world{t: t, dir: dir, policy: defaultPolicy()}).run(cfg, f)
	})
}

// inRealTime is inWorld for what fake time does not have. cfg.Speed makes it bearable.
func inRealTime(t *testing.T, cfg sim.Config, policy otasvc.Policy, f func(w *world)) {
	t.Helper()
	(&world{t: t, dir: t.TempDir(), policy: policy, real: true}).run(cfg, f)
}

func (w *world) run(cfg sim.Config, f func(w *world)) {
	w.t.Helper()
	w.sim = sim.New(cfg)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.sim.Run(ctx) }()
	w.stopSim = func() { cancel(); <-done }
	w.dialer = w.sim.Dialer("sim")
	if w.pty {
		w.servePTY(ctx)
	}
	if w.tcp {
		w.serveTCP(ctx)
	}
	w.start()
	defer func() {
		w.stop()
		w.stopSim()
	}()
	f(w)
	if w.said.has("does not come to an end") {
		w.t.Error("the planner of the header slot did not come to an end")
	}
}

// serveTCP has the simulated dongle wait at a TCP port, and the service go there.
func (w *world) serveTCP(ctx context.Context) {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	go func() { _ = w.sim.ServeTCP(ctx, listener) }() // it ends with the context
	if w.dialer, err = zigate.NewDialer("tcp://"+listener.Addr().String(), 115200); err != nil {
		w.t.Fatal(err)
	}
}

// start starts the service, as at the first time or after stop.
func (w *world) start() {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(&w.said, nil))
	if os.Getenv("ZIGATE_OTA_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	images := w.library
	if images == nil {
		images = w.ownLibrary()
	}
	made, err := otasvc.New(otasvc.Options{
		Images: images, Catalog: w.catalog, Observer: allowedObserver{allowed: &w.allowed, refuses: &w.dongleRefuses}, Logger: log,
		StateDir: filepath.Join(w.dir, "state"), Policy: w.policy,
		Now: func() time.Time { return setWall(time.Now(), time.Duration(w.wall.Load())) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.service = made
	w.sink = newRecorder()
	w.sink.away = &w.brokerAway
	dongle := zigate.NewDongle(zigate.Options{Dialer: cable{w.dialer, &w.unplugged}, Handler: w.handler(), Observer: w.observer, Logger: log})
	dongle.TraceTo(w.trace)
	w.dongle = dongle
	ctx, cancel := context.WithCancel(w.t.Context())
	serviceCtx, cancelService := context.WithCancel(ctx)
	var running, service sync.WaitGroup
	running.Go(func() { _ = dongle.Run(ctx) })
	service.Go(func() { _ = w.service.Run(serviceCtx, dongle, w.sink) })
	w.stop = func() { cancelService(); cancel(); service.Wait(); running.Wait() }
	w.stopService = func() { cancelService(); service.Wait(); cancel(); running.Wait() }
}

func (w *world) ownLibrary() *library.Library {
	w.t.Helper()
	lib, err := library.Open(library.Options{Dir: filepath.Join(w.dir, "images"), Transport: w.web})
	if err != nil {
		w.t.Fatal(err)
	}
	return lib
}

// cable is the way to the dongle, which can be pulled out.
type cable struct {
	zigate.Dialer
	unplugged *atomic.Bool
}

var errUnplugged = errors.New("no such device")

func (c cable) Dial(ctx context.Context) (zigate.Port, error) {
	if c.unplugged.Load() {
		return nil, errUnplugged
	}
	return c.Dialer.Dial(ctx)
}

// unplug pulls the dongle out; it keeps its power. plug puts it back.
func (w *world) unplug() {
	w.unplugged.Store(true)
	w.sim.Disconnect()
}

func (w *world) plug() { w.unplugged.Store(false) }

func (w *world) stateFile() string { return filepath.Join(w.dir, "state", "state.json") }

// keptUpgrade is what the state file says of a device's upgrade.
func (w *world) keptUpgrade(e message.IEEE) (state upgrade.State, version uint32) {
	w.t.Helper()
	data, err := os.ReadFile(w.stateFile())
	if err != nil {
		w.t.Fatal(err)
	}
	var file struct {
		Devices []struct {
			EUID           message.IEEE
			CurrentVersion uint32
			Upgrade        *struct{ State upgrade.State }
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		w.t.Fatalf("the state is not whole: %v", err)
	}
	for _, d := range file.Devices {
		if d.EUID == e && d.Upgrade != nil {
			return d.Upgrade.State, d.CurrentVersion
		}
	}
	return "", 0
}

// crash ends the service as kill -9 does, and starts it again a while later: what it had not yet written is
// gone, and nothing of what it says or does at its end counts.
func (w *world) crash(away time.Duration) {
	w.t.Helper()
	file := w.stateFile()
	synctest.Wait()
	written, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	w.unplug()
	w.stop()
	if err := os.WriteFile(file, written, 0o600); err != nil {
		w.t.Fatal(err)
	}
	time.Sleep(away)
	w.plug()
	w.start()
}

// command sends a command past the service.
func (w *world) command(m message.Message) {
	w.t.Helper()
	done := make(chan error, 1)
	w.dongle.Submit(m, func(_ message.Status, err error) { done <- err })
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
}

// clockSet sets the clock on the wall forward, or back.
func (w *world) clockSet(by time.Duration) { w.wall.Add(int64(by)) }

func (w *world) restart() { w.stop(); w.start() }

// within waits until cond holds, in fake time.
func (w *world) within(d time.Duration, what string, cond func() bool) {
	w.t.Helper()
	step := max(100*time.Millisecond, d/5000)
	for deadline := time.Now().Add(d); ; {
		if !w.real {
			synctest.Wait()
		}
		if cond() {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %v: %s", d, what)
		}
		time.Sleep(step)
	}
}

// ended waits until a device's upgrade has ended and gives its record.
func (w *world) ended(d time.Duration, e message.IEEE) upgrade.Record {
	w.t.Helper()
	var u *upgrade.Record
	w.within(d, fmt.Sprintf("upgrade of %v ends", e), func() bool {
		u = w.sink.device(e).Upgrade
		return u != nil && u.State.Ended()
	})
	return *u
}

// ask makes a request and waits for its final answer.
func (w *world) ask(request func(otasvc.Respond)) otasvc.Answer {
	w.t.Helper()
	final := make(chan otasvc.Answer, 1)
	request(func(a otasvc.Answer) {
		if a.Status.Final() {
			final <- a
		}
	})
	select {
	case a := <-final:
		return a
	case <-time.After(5 * time.Minute):
		w.t.Fatal("no final answer within 5 minutes")
		panic("unreachable")
	}
}

// queue asks for an upgrade and waits until it is queued or refused.
func (w *world) queue(req otasvc.UpgradeRequest) otasvc.Answer {
	w.t.Helper()
	answer := make(chan otasvc.Answer, 8)
	named, _ := req.Device.EUID()
	before := w.upgradeOf(named)
	w.service.Upgrade(req, func(a otasvc.Answer) { answer <- a })
	var a otasvc.Answer
	w.within(2*time.Minute, "upgrade is queued", func() bool {
		for len(answer) > 0 {
			a = <-answer
		}
		now := w.upgradeOf(named)
		begun := now.QueuedAt != before.QueuedAt || now.State != "" && !now.State.Ended()
		return a.Status != "" && (a.Status.Final() || req.All || begun && now.State != upgrade.Fetching)
	})
	return a
}

// upgradeOf is the record of a device's upgrade; the zero record where it has none.
func (w *world) upgradeOf(e message.IEEE) upgrade.Record {
	if u := w.sink.device(e).Upgrade; u != nil {
		return *u
	}
	return upgrade.Record{}
}

// accepted asks for an upgrade until there is one. Over a line that loses much the dongle is away now and
// then, and requests are refused meanwhile.
func (w *world) accepted(e message.IEEE, ticket string) {
	w.t.Helper()
	req := otasvc.UpgradeRequest{Device: ref(e)}
	if ticket != "" {
		req.Ticket = upgrade.Ticket(`"` + ticket + `"`)
	}
	there := func() bool { return w.sink.device(e).Upgrade != nil }
	w.within(8*time.Minute, "the upgrade is accepted", func() bool {
		if there() {
			return true
		}
		switch a := w.queue(req); {
		case a.Status == otasvc.InProgress, a.Status == otasvc.ServiceNotAvailable, a.Reason == upgrade.ReasonAlreadyQueued:
		default:
			w.t.Fatalf("upgrade: %+v", a)
		}
		return there()
	})
}

// stateOf is the state of a device's upgrade; empty where it has none.
func (w *world) stateOf(e message.IEEE) upgrade.State { return w.upgradeOf(e).State }

// settled waits until so many devices have been asked who they are and have said so, and the frames of that are
// out of the way.
func (w *world) settled(devices int) {
	w.t.Helper()
	w.within(3*time.Minute, "the devices have said who they are", func() bool {
		return w.sim.Stats().QueriesRefused >= uint64(devices)
	})
	time.Sleep(10 * time.Second)
}

// image writes an image file into the image folder and gives its URL and its bytes.
func (w *world) image(manufacturerCode, imageType uint16, version uint32, size int) (url string, data []byte) {
	w.t.Helper()
	payload := bytes.Repeat([]byte{byte(version), byte(version >> 8), 0x5A, 0x01, 0x02, 0x03, 0xFF, 0x00}, size/8+1)[:size]
	for i := range payload {
		payload[i] ^= byte(i >> 3)
	}
	data = otafile.Build(otafile.Header{ManufacturerCode: manufacturerCode, ImageType: imageType, FileVersion: version}, payload)
	return w.file(fmt.Sprintf("%04x-%04x-%08x-%d.ota", manufacturerCode, imageType, version, size), data), data
}

// limited is image for the bulbs, version 2, for hardware versions from least to most.
func (w *world) limited(least, most uint16) (url string, data []byte) {
	w.t.Helper()
	data = otafile.Build(otafile.Header{
		ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 2, MinHardwareVersion: &least, MaxHardwareVersion: &most,
	}, bytes.Repeat([]byte{0x5A, 0x01}, 1500))
	return w.file("limited.ota", data), data
}

// file writes a file into the image folder and gives its URL.
func (w *world) file(name string, data []byte) string {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, "images", name), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return "file://" + filepath.Join(w.dir, "images", name)
}

// add registers an image for a device and fails the test if that does not succeed.
func (w *world) add(e message.IEEE, url string) {
	w.t.Helper()
	a := w.ask(func(r otasvc.Respond) { w.service.AddImage(otasvc.AddImage{Device: ref(e), URL: url}, r) })
	if a.Status != otasvc.Success {
		w.t.Fatalf("add_image: %+v", a)
	}
}

func ref(e message.IEEE) registry.Ref { return registry.ParseRef(e.String()) }

// met waits until the service has interviewed a device.
func (w *world) met(e message.IEEE) {
	w.t.Helper()
	w.within(2*time.Minute, fmt.Sprintf("%v is known", e), func() bool { return w.sink.device(e).CurrentVersion != nil })
}

// holds checks that a device has installed exactly these bytes, but for those at the start that its stack skips.
func (w *world) holds(e message.IEEE, version uint32, data []byte) {
	w.t.Helper()
	d := w.sim.Device(e).Snapshot()
	if d.FileVersion != version || len(d.Installed) != len(data) || !bytes.Equal(d.Installed[d.Skipped:], data[d.Skipped:]) {
		w.t.Errorf("device %v: version 0x%08x, %d bytes installed; want 0x%08x with exactly the image's %d bytes",
			e, d.FileVersion, len(d.Installed), version, len(data))
	}
}
