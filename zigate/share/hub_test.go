package share_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
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

// tap is a way to the dongle that keeps what is written.
type tap struct {
	zigate.Dialer
	mu      sync.Mutex
	written []byte
	refuse  bool
}

type tappedPort struct {
	zigate.Port
	tap *tap
}

func (d *tap) Dial(ctx context.Context) (zigate.Port, error) {
	d.mu.Lock()
	refuse := d.refuse
	d.mu.Unlock()
	if refuse {
		return nil, errors.New("unplugged")
	}
	p, err := d.Dialer.Dial(ctx)
	return &tappedPort{p, d}, err
}

func (p *tappedPort) Write(b []byte) (int, error) {
	p.tap.mu.Lock()
	p.tap.written = append(p.tap.written, b...)
	p.tap.mu.Unlock()
	return p.Port.Write(b)
}

// take returns what was written since, frame by frame, START and END included.
func (d *tap) take() (all [][]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range bytes.SplitAfter(d.written, []byte{3}) {
		if len(f) > 0 {
			all = append(all, f)
		}
	}
	d.written = nil
	return all
}

// reports counts what a Hub tells.
type reports struct {
	mu      sync.Mutex
	got     []share.Report
	clients int
}

func (r *reports) FrameFromClient() {}
func (r *reports) FrameToClient()   {}
func (r *reports) ShareClients(n int) {
	r.mu.Lock()
	r.clients = n
	r.mu.Unlock()
}

func (r *reports) ShareReport(report share.Report) {
	r.mu.Lock()
	r.got = append(r.got, report)
	r.mu.Unlock()
}

func (r *reports) take() []share.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

// home is a dongle that is shared, in fake time.
type home struct {
	t       *testing.T
	dongle  *sim.Dongle
	hub     *share.Hub
	tap     *tap
	reports *reports
	users   sync.WaitGroup
	stops   []func()
	ended   error
}

func newHome(t *testing.T, config sim.Config, handler zigate.Handler, o share.Options) *home {
	h := &home{t: t, dongle: sim.New(config), reports: &reports{}}
	h.tap = &tap{Dialer: h.dongle.Dialer("sim")}
	o.Observer = h.reports
	if o.MaxClients == 0 {
		o.MaxClients = 2
	}
	h.hub = share.New(zigate.Options{Dialer: h.tap, Handler: handler, ProbeInterval: 24 * time.Hour}, o)
	for _, run := range []func(context.Context) error{h.dongle.Run, h.hub.Dongle().Run, h.hub.Run} {
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := run(ctx); err != nil {
				h.ended = err
			}
		}()
		h.stops = append(h.stops, func() { stop(); <-done })
	}
	<-h.hub.Ready()
	time.Sleep(time.Second)
	h.tap.take()
	return h
}

// stop ends everything, the Hub first.
func (h *home) stop() {
	for _, stop := range slices.Backward(h.stops) {
		stop()
	}
	h.users.Wait()
	if h.ended != nil {
		h.t.Error(h.ended)
	}
}

// user is a client.
type user struct {
	t *testing.T
	net.Conn
	frames
}

func (h *home) join(name string) *user {
	near, far := net.Pipe()
	h.users.Go(func() { h.hub.Attach(far, name) })
	u := &user{t: h.t, Conn: near}
	h.users.Go(func() { u.read(near); near.Close() })
	synctest.Wait()
	return u
}

func (u *user) says(b []byte) {
	u.t.Helper()
	if _, err := u.Write(b); err != nil {
		u.t.Errorf("writing: %v", err)
	}
}

// hears waits until all is quiet and compares.
func (u *user) hears(want ...string) {
	u.t.Helper()
	time.Sleep(quiet)
	synctest.Wait()
	if diff := cmp.Diff(nonNil(want), nonNil(u.take())); diff != "" {
		u.t.Errorf("heard (-want +got):\n%s", diff)
	}
}

const (
	versionStatus = "0x8000 000000100000000000"
	versionAnswer = "0x8010 0004032300"
)

// What this program asks is not heard by clients, not even where their numbers are the same; and
// they get their own.
func TestOwnCommandsAreNotHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, lab(sim.V1323), silent{}, share.Options{})
		defer h.stop()
		a := h.join("a")
		a.says(wire(message.SetRawMode{Mode: 1}))
		a.hears("0x8000 000000020000000000")
		h.hub.Submit(message.GetVersion{}, nil)
		h.hub.Submit(message.GetDevices{}, nil)
		h.hub.Submit(reads(lamp, 4, 5), nil)
		h.hub.Submit(message.OnOff{Target: to(lamp), Command: 1}, nil)
		a.hears()

		h.hub.Submit(message.NodeDescriptorRequest{Addr: lamp}, nil) // the dongle's ZDP number 1
		question := raw(lamp, 2, 1, 0x4f, 0x4f)                      // the client's number 1
		question.Profile, question.SrcEndpoint, question.DstEndpoint = 0, 0, 0
		a.says(wire(question))
		a.hearsTypes("0x8000", "0x8012", "0x8011", "0x8002")

		h.hub.Submit(reads(lamp, 4), nil) // the dongle's ZCL number 3
		a.says(wire(raw(lamp, 0, 0, 3, 0, 5, 0)))
		a.hearsTypes("0x8000", "0x8012", "0x8011", "0x8002")
	})
}

// Whole frames go to the dongle as they are, each client's in order, and one at a time;
// pieces and noise do not.
func TestFramesAreUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, lab(sim.V1323), silent{}, share.Options{})
		defer h.stop()
		a, b := h.join("a"), h.join("b")
		lenient := []byte{1, 0, 0x10, 0, 0, 0x10, 3} // nothing escaped
		var want [][]byte
		for i := range 20 {
			frame := wire(message.OnOff{Target: to(lamp), Command: uint8(i)})
			want = append(want, frame)
			a.says(frame)
			a.says([]byte("noise\x02"))
		}
		a.says(lenient)
		want = append(want, lenient)
		a.says(want[0][:7])
		synctest.Wait()
		time.Sleep(time.Minute)
		if diff := cmp.Diff(want, h.tap.take()); diff != "" {
			t.Errorf("written to the dongle (-want +got):\n%s", diff)
		}
		// A second END repeats the client's own command, not another's.
		b.says(append(wire(message.GetTime{}), 3))
		synctest.Wait()
		if diff := cmp.Diff([][]byte{wire(message.GetTime{}), wire(message.GetTime{})}, h.tap.take()); diff != "" {
			t.Errorf("written to the dongle (-want +got):\n%s", diff)
		}
	})
}

// A client that does not read is cut off; the other does not notice.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, lab(sim.V1323), silent{}, share.Options{})
		defer h.stop()
		a := h.join("a")
		near, far := net.Pipe()
		gone := make(chan struct{})
		h.users.Go(func() { h.hub.Attach(far, "deaf"); close(gone) })
		synctest.Wait()
		const reports = 15_000 // more than wait for a client
		for range reports {
			device(h.dongle, sensor).SetBattery(50)
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Second)
		select {
		case <-gone:
		default:
			t.Error("it is still there")
		}
		near.Close()
		if got := h.reports.take(); !slices.Equal(got, []share.Report{share.ReportCutOff}) {
			t.Errorf("reported: %v", got)
		}
		if got := len(a.take()); got != reports {
			t.Errorf("the other heard %d of %d reports", got, reports)
		}
	})
}

// Garbage of one client reaches nobody: what is written to the dongle are whole frames, and the
// other client is served.
func TestGarbage(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			h := newHome(t, lab(sim.V1323), silent{}, share.Options{})
			defer h.stop()
			a, b := h.join("a"), h.join("b")
			random := rand.New(rand.NewPCG(seed, 0))
			var want int
			for range 30 {
				garbage := make([]byte, random.IntN(300))
				for i := range garbage {
					garbage[i] = byte(random.Uint32())
					if random.IntN(4) == 0 {
						garbage[i] %= 4
					}
				}
				b.says(garbage)
				a.says(wire(getVersion))
				want++
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			got := a.take()
			if n := len(slices.DeleteFunc(got, func(f string) bool { return f != versionAnswer })); n < want {
				t.Errorf("seed %d: %d versions, want %d", seed, n, want)
			}
			for _, f := range h.tap.take() {
				if _, _, ok := new(message.Decoder).Feed(f); !ok {
					t.Errorf("seed %d: %x was written to the dongle", seed, f)
				}
			}
			b.take()
		})
	}
}

// A reset by one client passes, is reported, and what it took with it does not keep the others waiting.
func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, lab(sim.V1323), silent{}, share.Options{})
		defer h.stop()
		a, b := h.join("a"), h.join("b")
		b.says(wire(message.SetRawMode{Mode: 2}))
		b.hearsTypes("0x8000")
		a.says(wire(message.Reset{}))
		time.Sleep(200 * time.Millisecond)
		a.says(wire(getVersion)) // lost in the start
		time.Sleep(400 * time.Millisecond)
		b.says(wire(getVersion))
		time.Sleep(100 * time.Millisecond)
		b.hearsTypes("0x0302", "0x8024", "0x8006", "0x8000", "0x8010")
		a.hearsTypes("0x8000", "0x0302", "0x8024", "0x8006")
		if got := h.reports.take(); !slices.Equal(got, []share.Report{share.ReportReset}) {
			t.Errorf("reported: %v", got)
		}
		device(h.dongle, sensor).SetBattery(50)
		b.hearsTypes("0x8002", "0x8102")
		a.hearsTypes("0x8102")
		a.says(wire(message.ErasePersistentData{}))
		time.Sleep(time.Second)
		a.has("0x8007")
		if got := h.reports.take(); !slices.Equal(got, []share.Report{share.ReportErase}) {
			t.Errorf("reported: %v", got)
		}
	})
}

// While the dongle is away commands wait for it a little, and then are dropped: nobody wants a light to be
// switched minutes later.
func TestDongleAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, lab(sim.V1323), silent{}, share.Options{})
		defer h.stop()
		a := h.join("a")
		h.tap.mu.Lock()
		h.tap.refuse = true
		h.tap.mu.Unlock()
		h.dongle.Disconnect()
		time.Sleep(time.Second)
		a.says(wire(message.OnOff{Target: to(lamp), Command: 1}))
		time.Sleep(10 * time.Second)
		h.tap.take()
		h.tap.mu.Lock()
		h.tap.refuse = false
		h.tap.mu.Unlock()
		time.Sleep(time.Minute)
		if got := ofTypes(h.tap.take(), message.OnOff{}.Type()); got != 0 {
			t.Errorf("a command of a minute ago was sent %d times", got)
		}
		if got := h.reports.take(); !slices.Equal(got, []share.Report{share.ReportDropped}) {
			t.Errorf("reported: %v", got)
		}
		a.take()
		h.dongle.Disconnect()
		synctest.Wait()
		a.says(wire(getVersion))
		a.hears(versionStatus, versionAnswer)
	})
}

// The dongle runs in the mode that shows what anybody wants to see, also after it was away, and
// is left in mode off.
func TestRawModeOfTheDongle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, lab(sim.V1323), silent{}, share.Options{})
		mode := func() (last int) {
			last = -1
			for _, w := range h.tap.take() {
				if f, _, ok := new(message.Decoder).Feed(w); ok && f.Type == message.TypeSetRawMode {
					last = int(f.Payload[0])
				}
			}
			return last
		}
		expect := func(what string, want int) {
			t.Helper()
			time.Sleep(5 * time.Second)
			if got := mode(); got != want {
				t.Errorf("%s: the dongle was set to mode %d, want %d", what, got, want)
			}
		}
		a, b := h.join("a"), h.join("b")
		a.says(wire(message.SetRawMode{Mode: 1}))
		expect("one wants mode 1", 2)
		b.says(wire(message.SetRawMode{Mode: 0}))
		expect("the other mode 0", 2)
		h.hub.Submit(message.SetRawMode{Mode: 0}, nil)
		expect("so does this program", 2)
		h.dongle.Disconnect()
		expect("the dongle was away", 2)
		a.Close()
		expect("one has gone", 0)
		h.hub.Submit(message.SetRawMode{Mode: 2}, nil)
		expect("this program wants mode 2", 2)
		b.says(wire(message.SetRawMode{Mode: 1}))
		expect("and the other mode 1", 2)
		h.hub.Submit(message.SetRawMode{Mode: 0}, nil)
		expect("this program does not any more", 2)
		h.stop()
		if got := mode(); got != 0 {
			t.Errorf("the dongle was left in mode %d", got)
		}
	})
}

// This program wants the pure raw mode, in which the other ones would see no messages: they come first.
func TestRawModeOfThisProgram(t *testing.T) {
	for firmware, want := range map[sim.Firmware]int{sim.V131C: 0, sim.V131D: 2, sim.V1323: 2, sim.V2324: 2} {
		t.Run(firmware.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHome(t, lab(firmware), silent{}, share.Options{})
				defer h.stop()
				mode := 0
				expect := func(what string, want int) {
					t.Helper()
					time.Sleep(5 * time.Second)
					for _, w := range h.tap.take() {
						if f, _, ok := new(message.Decoder).Feed(w); ok && f.Type == message.TypeSetRawMode {
							mode = int(f.Payload[0])
						}
					}
					if mode != want {
						t.Errorf("%s: the dongle is in mode %d, want %d", what, mode, want)
					}
				}
				h.hub.Submit(message.SetRawMode{Mode: 1}, nil)
				expect("alone", 1)
				a := h.join("a")
				expect("another one is there", want)
				device(h.dongle, sensor).SetBattery(50)
				a.hearsTypes("0x8102")
				a.Close()
				expect("alone again", 1)
				h.hub.Submit(message.SetRawMode{Mode: 0}, nil)
				expect("at the end", 0)
			})
		})
	}
}

// A heartbeat is for those who have asked for it, and on v2 for those in mode 1, whatever the dongle runs in.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, lab(sim.V2324), silent{}, share.Options{MaxClients: 3})
		defer h.stop()
		a, b, c := h.join("a"), h.join("b"), h.join("c")
		a.says(wire(message.SetRawMode{Mode: 1}))
		b.says(wire(message.SetHeartbeat{Enable: 1}))
		b.hearsTypes("0x8000")
		b.says(wire(message.SetHeartbeat{}))
		c.says(wire(message.SetHeartbeat{Enable: 1}))
		time.Sleep(2 * time.Minute)
		for who, u := range map[string]*user{"a": a, "b": b, "c": c} {
			beats := 0
			for _, f := range u.take() {
				if strings.HasPrefix(f, "0x8008") {
					beats++
				}
			}
			if beats > 0 != (u != b) {
				t.Errorf("%s heard %d heartbeats", who, beats)
			}
		}
	})
}

// There is room for so many; who is alone finds the mode that was left.
func TestJoining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, lab(sim.V1323), silent{}, share.Options{})
		defer h.stop()
		a := h.join("a")
		a.says(wire(message.SetRawMode{Mode: 2}))
		a.hearsTypes("0x8000")
		b, c := h.join("b"), h.join("c")
		if _, err := c.Write([]byte{1}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the third can write: %v", err)
		}
		if got := h.reports.take(); !slices.Equal(got, []share.Report{share.ReportTurnedAway}) {
			t.Errorf("reported: %v", got)
		}
		device(h.dongle, sensor).SetBattery(50)
		a.hearsTypes("0x8002", "0x8102")
		b.hearsTypes("0x8102")
		a.says(burst(getVersion, getVersion, message.OnOff{Target: to(lamp), Command: 1}))
		a.Close()
		b.Close()
		time.Sleep(time.Second)
		if got := ofTypes(h.tap.take(), message.TypeGetVersion, message.OnOff{}.Type()); got != 3 {
			t.Errorf("of the last 3 commands %d were sent", got)
		}
		d := h.join("d")
		device(h.dongle, sensor).SetBattery(60)
		d.hearsTypes("0x8002", "0x8102")
	})
}

// What a client has sent before it left is carried out, however soon it left. A connection that has ended and
// room for a command are there at the same time then.
func TestCommandsOfOneWhoLeft(t *testing.T) {
	const commands = 60
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			h := newHome(t, lab(sim.V1323), silent{}, share.Options{})
			defer h.stop()
			a := h.join("a")
			a.says(bytes.Repeat(wire(getVersion), commands))
			a.Close()
			time.Sleep(time.Minute)
			if got := ofTypes(h.tap.take(), message.TypeGetVersion); got != commands {
				t.Errorf("of %d commands %d were sent", commands, got)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// hearsTypes is hears for the types alone.
func (u *user) hearsTypes(want ...string) {
	u.t.Helper()
	time.Sleep(quiet)
	synctest.Wait()
	got := u.take()
	for i, f := range got {
		got[i], _, _ = strings.Cut(f, " ")
	}
	if diff := cmp.Diff(nonNil(want), nonNil(got)); diff != "" {
		u.t.Errorf("heard (-want +got):\n%s", diff)
	}
}

// has wants a frame that begins so.
func (u *user) has(prefix string) {
	u.t.Helper()
	time.Sleep(time.Second)
	got := u.take()
	if !slices.ContainsFunc(got, func(f string) bool { return strings.HasPrefix(f, prefix) }) {
		u.t.Errorf("no %s in %q", prefix, got)
	}
}
