package sim_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

const (
	manufacturer = 0x117C
	imageType    = 0x1101
	oldVersion   = 0x20015630
	newVersion   = 0x20016630
	lamp         = message.IEEE(0x000B57FFFE2C8904)
	lampAddr     = 0x9021
)

// image is an OTA file with a header and one element.
func image(version uint32, size int) []byte {
	b := make([]byte, 0, size)
	b = binary.LittleEndian.AppendUint32(b, message.FileIdentifier)
	for _, field := range []uint16{0x0100, 56, 0, manufacturer, imageType} {
		b = binary.LittleEndian.AppendUint16(b, field)
	}
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = append(b, "simulated image                 "...)
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(size-56-6))
	for i := 0; len(b) < size; i++ {
		b = append(b, byte(i*i>>3))
	}
	return b
}

func loadImage(b []byte) message.LoadImage {
	m := message.LoadImage{
		AddrMode: message.AddrModeNetwork, FileIdentifier: message.FileIdentifier, HeaderVersion: 0x0100, HeaderLength: 56,
		ManufacturerCode: binary.LittleEndian.Uint16(b[10:]), ImageType: binary.LittleEndian.Uint16(b[12:]),
		FileVersion: binary.LittleEndian.Uint32(b[14:]), StackVersion: 2, TotalSize: binary.LittleEndian.Uint32(b[52:]),
	}
	copy(m.HeaderString[:], b[20:])
	return m
}

func target(addr uint16) message.Target {
	return message.Target{AddrMode: message.AddrModeNetwork, Addr: addr, SrcEndpoint: 1, DstEndpoint: 1}
}

func notify(addr uint16) message.ImageNotify {
	return message.ImageNotify{Target: target(addr), QueryJitter: 100}
}

func lampConfig() sim.DeviceConfig {
	return sim.DeviceConfig{
		IEEE: lamp, Addr: lampAddr, ManufacturerCode: manufacturer, ImageType: imageType, FileVersion: oldVersion,
		ManufacturerName: "IKEA of Sweden", ModelID: "TRADFRI on/off switch", MaxDataSize: 63,
	}
}

// received is what a host got from the dongle.
type received struct {
	message.Message
	LQI uint8
}

// host is a minimal one: it answers every block request out of one image, and remembers everything.
type host struct {
	t     *testing.T
	port  zigate.Port
	image []byte
	// onRequest, where set, answers block requests instead.
	onRequest func(message.ImageBlockRequest) message.Message

	mu       sync.Mutex
	messages []received
	errors   message.FrameErrors
	done     chan struct{}
}

// newHost reads from the port until that ends.
func newHost(t *testing.T, port zigate.Port, image []byte) *host {
	h := &host{t: t, port: port, image: image, done: make(chan struct{})}
	return h
}

func (h *host) run() {
	defer close(h.done)
	var decoder message.Decoder
	buffer := make([]byte, 1024)
	for {
		n, err := h.port.Read(buffer)
		for in := buffer[:n]; len(in) > 0; {
			frame, rest, ok := decoder.Feed(in)
			in = rest
			if ok {
				h.hear(frame)
			}
		}
		h.mu.Lock()
		h.errors = decoder.Errors()
		h.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (h *host) hear(frame message.Frame) {
	payload, lqi, err := frame.Message()
	if err != nil {
		h.t.Error(err)
		return
	}
	m, err := message.ParseMessage(frame.Type, payload)
	if err != nil {
		h.t.Error(err)
		return
	}
	if again := message.AppendPayload(nil, m); !bytes.Equal(again, payload) {
		h.t.Errorf("%s %x is written again as %x", frame.Type, payload, again)
	}
	h.mu.Lock()
	h.messages = append(h.messages, received{m, lqi})
	h.mu.Unlock()
	if r, ok := m.(message.ImageBlockRequest); ok {
		if answer := h.answer(r); answer != nil {
			h.send(answer)
		}
	}
}

func (h *host) answer(r message.ImageBlockRequest) message.Message {
	h.mu.Lock()
	answer := h.onRequest
	h.mu.Unlock()
	if answer != nil {
		return answer(r)
	}
	return h.block(r)
}

// answerWith sets how block requests are answered from now on.
func (h *host) answerWith(answer func(message.ImageBlockRequest) message.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onRequest = answer
}

// block is the right answer to a block request.
func (h *host) block(r message.ImageBlockRequest) message.Message {
	if h.image == nil {
		return nil
	}
	m := message.ImageBlockResponse{
		Target: target(r.Addr), Sequence: r.Sequence, Offset: r.Offset, FileVersion: r.FileVersion,
		ImageType: r.ImageType, ManufacturerCode: r.ManufacturerCode,
	}
	m.DstEndpoint = r.Endpoint
	if int(r.Offset) >= len(h.image) {
		m.Status = message.OTAAbort
		return m
	}
	m.Data = h.image[r.Offset:min(int(r.Offset)+int(min(r.MaxDataSize, 64)), len(h.image))]
	return m
}

// send writes a command; a port that is closed meanwhile is no mistake of the test.
func (h *host) send(m message.Message) {
	_, err := h.port.Write(message.AppendFrame(nil, m.Type(), message.AppendPayload(nil, m)))
	if err != nil && !errors.Is(err, io.ErrClosedPipe) {
		h.t.Logf("%s not sent: %v", m.Type(), err)
	}
}

func (h *host) raw(b []byte) {
	if _, err := h.port.Write(b); err != nil {
		h.t.Error(err)
	}
}

// take returns what was received since it was called last.
func (h *host) take() []received {
	h.mu.Lock()
	defer h.mu.Unlock()
	messages := h.messages
	h.messages = nil
	return messages
}

// takeTypes drops the confirmations of deliveries, which follow every frame, and the status of commands.
func (h *host) takeTypes() []message.Message {
	var list []message.Message
	for _, m := range h.take() {
		switch m.Type() {
		case message.TypeConfirm, message.TypeAPSAck, message.TypeStatus, message.PDMEvent{}.Type():
		default:
			list = append(list, m.Message)
		}
	}
	return list
}

// of filters messages by their Go type.
func of[M message.Message](messages []received) []M {
	var list []M
	for _, m := range messages {
		if m, ok := m.Message.(M); ok {
			list = append(list, m)
		}
	}
	return list
}

// air remembers what goes over the radio. It is filled by the dongle's goroutine.
type air struct {
	mu     sync.Mutex
	frames []sim.AirFrame
}

func (a *air) tap(f sim.AirFrame) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.frames = append(a.frames, f)
}

// fromDongle returns the ZCL payloads that the dongle sent since it was called last.
func (a *air) fromDongle() [][]byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list [][]byte
	for _, f := range a.frames {
		if f.FromDongle {
			list = append(list, f.Payload)
		}
	}
	a.frames = nil
	return list
}

// lab is a running dongle with a host on the in-memory line, for use in a synctest bubble.
type lab struct {
	*host
	dongle *sim.Dongle
	air    *air
	stop   func()
}

func newLab(t *testing.T, cfg sim.Config, image []byte) *lab {
	t.Helper()
	l := &lab{air: &air{}}
	looksOn := cfg.OnAir
	cfg.OnAir = func(f sim.AirFrame) {
		l.air.tap(f)
		if looksOn != nil {
			looksOn(f)
		}
	}
	l.dongle = sim.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.dongle.Run(ctx) }()
	port, err := l.dongle.Dialer("sim").Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	l.host = newHost(t, port, image)
	go l.host.run()
	l.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		<-l.host.done
	}
	return l
}

// dialAgain opens the line for a further host, where the one before was cut off.
func (l *lab) dialAgain() {
	l.t.Helper()
	select {
	case <-l.host.done:
	default:
		return
	}
	l.host.port.Close()
	port, err := l.dongle.Dialer("sim").Dial(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	l.host = newHost(l.t, port, l.image)
	go l.host.run()
}
