package otasvc_test

import (
	"context"
	"encoding/binary"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// scenario is one way in which a download can be troubled. Whatever it is, the bulb ends with the whole
// image, each byte of it right, in its first attempt or where it says so a later one.
type scenario struct {
	name   string
	device func(*sim.DeviceConfig)
	faults sim.Faults
	// meanwhile is done when the download is under way.
	meanwhile func(*scene)
	pty       bool // also over a pseudo-terminal, in real time
	attempts  int  // at most; 0: one
	// without are stacks with which it ends for a reason that is known.
	without map[sim.Stack]upgrade.Reason
}

// scenarios is the list. Further ways to end stand in TestHowUpgradesEnd, those of several images in
// turns_test.go, and everything at once in TestRandomRuns.
var scenarios = []scenario{
	{name: "nothing happens", pty: true},
	{name: "blocks of 12 bytes", device: largest(12), pty: true},
	{name: "blocks of 40 bytes", device: largest(40)},
	{name: "blocks of 48 bytes", device: largest(48)},
	{name: "blocks of 63 bytes", device: largest(63), pty: true},
	{name: "blocks of 64 bytes", device: largest(64), pty: true},
	{name: "asks for 82 bytes and gets what a frame carries", device: largest(82), pty: true},
	{name: "a request for no bytes at all", meanwhile: asks(request{offset: 640, size: 0}, 0x80), pty: true},
	{name: "a request past the end", meanwhile: asks(request{offset: 1 << 20, size: 50}, message.OTAAbort), pty: true},
	{name: "a request at the end", meanwhile: asks(request{offset: scenarioSize + 62, size: 50}, message.OTAAbort)},
	{name: "a jump backward", meanwhile: asks(request{offset: 0, size: 50}, message.OTASuccess), pty: true},
	{name: "a jump forward", meanwhile: asks(request{offset: 9000, size: 50}, message.OTASuccess)},
	{name: "a request of another type", meanwhile: asks(request{offset: 640, size: 50, imageType: 0x7777}, message.OTAAbort)},
	{name: "a request of another version", meanwhile: asks(request{offset: 640, size: 50, version: 99}, message.OTAAbort)},
	{name: "a request of another manufacturer", meanwhile: asks(request{offset: 640, size: 50, manufacturer: 0x1234}, message.OTAAbort)},
	{name: "requests arrive while a block is sent", meanwhile: burst(20), pty: true},
	{name: "a query in mid-download", meanwhile: func(s *scene) { s.w.sim.Device(bulb).Query() }, pty: true},
	{name: "a new network address in mid-download", meanwhile: func(s *scene) { s.w.sim.Device(bulb).ChangeAddress(0x7777) }, pty: true},
	{name: "a reset of the dongle", meanwhile: func(s *scene) { s.w.sim.Reset() }, pty: true, attempts: 3},
	{name: "a reset that nobody tells of", meanwhile: func(s *scene) { s.w.sim.SilentReset() }, attempts: 3},
	{name: "the cable is pulled out for a minute", meanwhile: func(s *scene) { s.w.unplug(); s.wait(time.Minute); s.w.plug() }, attempts: 2},
	{name: "the service is started again", meanwhile: func(s *scene) { s.w.restart() }, pty: true},
	{name: "the service is killed", meanwhile: func(s *scene) { s.w.crash(10 * time.Second) }},
	{name: "the last block is lost", meanwhile: func(s *scene) { s.loseLast() }},
	{name: "the header first, then from the start", device: func(d *sim.DeviceConfig) { d.HeaderFirst = true }, pty: true},
	{name: "every fifth block is asked for again", device: func(d *sim.DeviceConfig) { d.AsksAgain = 5 }},
	{name: "goes on where it was after a silence", device: func(d *sim.DeviceConfig) { d.ResumesDownload, d.StopsAt, d.FailFirst = true, 5000, 1 }, attempts: 2},
	{name: "the announce is lost", device: func(d *sim.DeviceConfig) { d.LosesAnnounce = true }},
	{name: "3 percent of frames lost", faults: sim.Faults{LoseFromDongle: 0.03, LoseToDongle: 0.03, LoseAir: 0.03}, attempts: 3},
	{name: "10 percent of frames lost", faults: sim.Faults{LoseFromDongle: 0.1, LoseToDongle: 0.1, LoseAir: 0.1}, attempts: 3},
	{name: "30 percent of frames lost both ways", faults: sim.Faults{LoseFromDongle: 0.3, LoseToDongle: 0.3}, attempts: 3},
	{name: "30 percent of radio frames lost", faults: sim.Faults{LoseAir: 0.3}, attempts: 3},
	{name: "30 percent of frames from the dongle lost", faults: sim.Faults{LoseFromDongle: 0.3}, attempts: 3},
	{name: "30 percent of frames to the dongle lost", faults: sim.Faults{LoseToDongle: 0.3}, attempts: 3},
	{name: "30 percent of acknowledgements lost", faults: sim.Faults{LoseAck: 0.3}, attempts: 3},
	{name: "30 percent of frames doubled", faults: sim.Faults{Duplicate: 0.3}, pty: true, attempts: 3},
	{name: "a week asleep", device: func(d *sim.DeviceConfig) { d.Sleepy = true }, meanwhile: func(s *scene) {
		bulb := s.w.sim.Device(bulb)
		bulb.PowerOff() // it hears nothing
		s.wait(7 * 24 * time.Hour)
		bulb.PowerOn()
	}, attempts: 3},
}

const scenarioSize = 12_000 // bytes of the image behind its header and the element's

func largest(size uint8) func(*sim.DeviceConfig) {
	return func(d *sim.DeviceConfig) { d.MaxDataSize = size }
}

// scene is a scenario under way.
type scene struct {
	w       *world
	answers *answers
}

// answers keeps what went on air to the bulb: image block responses by their ZCL sequence number.
type answers struct {
	mu sync.Mutex
	by map[byte][][]byte
}

func (a *answers) see(f sim.AirFrame) {
	const blockResponse = 0x05
	if !f.FromDongle || f.Cluster != message.ClusterOTA || len(f.Payload) < 4 || f.Payload[2] != blockResponse {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.by[f.Payload[1]] = append(a.by[f.Payload[1]], append([]byte(nil), f.Payload[3:]...))
}

// request is an image block request made by hand; zero fields are those of the bulb's image.
type request struct {
	offset                  uint32
	size                    uint8
	manufacturer, imageType uint16
	version                 uint32
}

func (s *scene) wait(d time.Duration) { time.Sleep(d) }

// ask sends a request beside the bulb's own.
func (s *scene) ask(r request, sequence byte) {
	const clusterCommand, blockRequest = 0x01, 0x03
	or := func(v, otherwise uint32) uint32 {
		if v == 0 {
			return otherwise
		}
		return v
	}
	b := []byte{clusterCommand, sequence, blockRequest, 0}
	b = binary.LittleEndian.AppendUint16(b, uint16(or(uint32(r.manufacturer), 0x117C)))
	b = binary.LittleEndian.AppendUint16(b, uint16(or(uint32(r.imageType), 0x2201)))
	b = binary.LittleEndian.AppendUint32(b, or(r.version, 2))
	b = binary.LittleEndian.AppendUint32(b, r.offset)
	b = append(b, r.size)
	s.w.sim.Device(bulb).Transmit(sim.AirFrame{
		Profile: 0x0104, Cluster: message.ClusterOTA, SourceEndpoint: 1, DestinationEndpoint: 1, Payload: b,
	})
}

// asks sends a request by hand and looks at the status that answers it.
func asks(r request, status uint8) func(*scene) {
	return func(s *scene) {
		const sequence = 0xEE
		count := func() int {
			s.answers.mu.Lock()
			defer s.answers.mu.Unlock()
			n := 0
			for _, a := range s.answers.by[sequence] {
				if a[0] == status && (status != message.OTASuccess || binary.LittleEndian.Uint32(a[9:]) == r.offset) {
					n++
				}
			}
			return n
		}
		before := count()
		s.ask(r, sequence)
		s.w.within(10*time.Second, "the answer to the request by hand", func() bool { return count() > before })
	}
}

// burst sends many requests at once.
func burst(n int) func(*scene) {
	return func(s *scene) {
		for i := range n {
			s.ask(request{offset: uint32(i * 50), size: 50}, byte(i))
		}
	}
}

// nearEnd waits until the bulb has all but its last blocks.
func (s *scene) nearEnd() {
	s.w.within(10*time.Minute, "it is about to ask for the last block", func() bool {
		d := s.w.sim.Device(bulb).Snapshot()
		return d.Total > 0 && d.Total-d.Offset <= 63*2
	})
}

// loseLast pulls the cable out for a moment when the bulb has all but its last block.
func (s *scene) loseLast() {
	s.nearEnd()
	s.w.unplug()
	s.wait(3 * time.Second)
	s.w.plug()
}

func TestScenarios(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			cfg, seen := sc.config(1)
			inWorld(t, cfg, func(w *world) { sc.play(w, seen, 12*24*time.Hour) })
		})
	}
}

// TestScenariosOverPTY plays a part of the list over a pseudo-terminal, as over a serial port, in real time.
func TestScenariosOverPTY(t *testing.T) {
	for _, sc := range scenarios {
		if !sc.pty {
			continue
		}
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			speed := 50.0
			if sc.meanwhile != nil {
				speed = 25 // a busy machine, too, is in time to do something in mid-download
			}
			cfg, seen := sc.config(speed)
			w := &world{t: t, dir: t.TempDir(), policy: defaultPolicy(), real: true, pty: true}
			w.policy.NotifyInterval = 2 * time.Second
			w.run(cfg, func(w *world) { sc.play(w, seen, 2*time.Minute) })
		})
	}
}

func (sc *scenario) config(speed float64) (sim.Config, *answers) {
	d := bulbConfig(bulb)
	d.RetryInterval, d.Retries = 5*time.Second, 10
	if sc.device != nil {
		sc.device(&d)
	}
	seen := &answers{by: map[byte][][]byte{}}
	return sim.Config{Seed: 3, Speed: speed, Faults: sc.faults, Devices: []sim.DeviceConfig{d}, OnAir: seen.see}, seen
}

func (sc *scenario) play(w *world, seen *answers, patience time.Duration) {
	data := sc.begin(w, seen, patience)
	u := w.ended(patience, bulb)
	if u.State != upgrade.Succeeded || u.Attempt > max(sc.attempts, 1) {
		w.t.Errorf("ended %s, reason %q, attempt %d", u.State, u.Reason, u.Attempt)
	}
	w.holds(bulb, 2, data)
}

// playInVain is play where the upgrade fails.
func (sc *scenario) playInVain(w *world, reason upgrade.Reason) {
	sc.begin(w, nil, time.Hour)
	if u := w.ended(24*time.Hour, bulb); u.State != upgrade.Failed || u.Reason != reason {
		w.t.Errorf("ended %s, reason %q", u.State, u.Reason)
	}
}

// begin asks for the upgrade and does what happens meanwhile. It returns the image.
func (sc *scenario) begin(w *world, seen *answers, patience time.Duration) []byte {
	w.t.Helper()
	w.within(min(patience, time.Hour), "the bulb is known", func() bool { return w.sink.device(bulb).ModelID != "" })
	url, data := w.image(0x117C, 0x2201, 2, scenarioSize)
	w.add(bulb, url)
	w.accepted(bulb, "")
	if sc.meanwhile != nil {
		w.within(min(patience, 10*time.Minute), "the download is under way", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 1000 })
		sc.meanwhile(&scene{w: w, answers: seen})
	}
	return data
}

// servePTY lets the service reach the simulated dongle over a pseudo-terminal.
func (w *world) servePTY(ctx context.Context) {
	w.t.Helper()
	link := filepath.Join(w.dir, "tty")
	ready, failed := make(chan string, 1), make(chan error, 1)
	go func() { failed <- w.sim.ServePTY(ctx, link, func(path string) { ready <- path }) }()
	select {
	case path := <-ready:
		dialer, err := zigate.NewDialer(path, 115200)
		if err != nil {
			w.t.Fatal(err)
		}
		w.dialer = dialer
	case err := <-failed:
		if errors.Is(err, errors.ErrUnsupported) {
			w.t.Skip(err)
		}
		w.t.Fatal(err)
	}
}
