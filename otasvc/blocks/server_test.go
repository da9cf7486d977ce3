package blocks_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The block server is tested by what it answers to a single request, byte for byte.

// home is the owner of a server under test, and what it was told. The goroutine of the test is reader and owner.
type home struct {
	server   *blocks.Server
	transfer *blocks.Transfer // of testAddr

	results map[blocks.Result]int
	strays  []blocks.Result
	woken   int
	sent    []message.Message
	pages   []blocks.Page
	last    []message.ImageBlockRequest
	stopped bool
	posted  chan func()
}

func (h *home) BlockRequest(r blocks.Result, _ int)                { h.results[r]++ }
func (h *home) Wake()                                              { h.woken++ }
func (h *home) Send(m message.Message)                             { h.sent = append(h.sent, m) }
func (h *home) Stray(_ message.ImageBlockRequest, r blocks.Result) { h.strays = append(h.strays, r) }
func (h *home) PageAsked(p blocks.Page)                            { h.pages = append(h.pages, p) }
func (h *home) LastBlock(_ *blocks.Transfer, req message.ImageBlockRequest) {
	h.last = append(h.last, req)
}

func (h *home) Post(f func()) { h.posted <- f }

// wait does what is posted until some time has passed.
func (h *home) wait(d time.Duration) {
	over := time.After(d)
	for {
		select {
		case f := <-h.posted:
			if !h.stopped {
				f()
			}
		case <-over:
			return
		}
	}
}

// answer is the server's answer to a request, after which what it posted was done.
func (h *home) answer(req *message.ImageBlockRequest, now time.Time) []byte {
	frame := h.server.Answer(req, now, nil)
	for len(h.posted) > 0 {
		(<-h.posted)()
	}
	return frame
}

const (
	testAddr    uint16 = 0x4F4F
	testVersion uint32 = 0x23095631
)

// newHome is one with a device at testAddr that may have an image, and one at 0x1111 that may not.
func newHome(image []byte, change ...func(*blocks.Options)) *home {
	h := &home{
		results: map[blocks.Result]int{},
		posted:  make(chan func(), 100),
		transfer: blocks.NewTransfer(blocks.Image{
			Bytes: image, ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: testVersion,
		}),
	}
	o := blocks.Options{Limits: blocks.Limits{Largest: 64}, Observer: h, Owner: h}
	for _, c := range change {
		c(&o)
	}
	h.server = blocks.New(o)
	h.server.SetTable(blocks.Table{
		ByAddr: map[uint16]*blocks.Transfer{testAddr: h.transfer},
		ByNode: map[message.IEEE]*blocks.Transfer{0x000b57fffec6a5b2: h.transfer},
		Known:  map[uint16]struct{}{testAddr: {}, 0x1111: {}},
	})
	return h
}

func blockRequest(offset uint32, size uint8) message.ImageBlockRequest {
	return message.ImageBlockRequest{
		Sequence: 0x42, Endpoint: 1, Cluster: 0x0019, AddrMode: message.AddrModeNetwork, Addr: testAddr, Offset: offset,
		FileVersion: testVersion, ImageType: 0x2201, ManufacturerCode: 0x117C, BlockRequestDelay: 0xFFFF, MaxDataSize: size,
	}
}

// parsed reads back the one frame that a server appended.
func parsed(t *testing.T, frame []byte) message.Message {
	t.Helper()
	var d message.Decoder
	f, rest, ok := d.Feed(frame)
	if !ok || len(rest) != 0 {
		t.Fatalf("no single frame: % x", frame)
	}
	m, err := message.ParseCommand(f.Type, f.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestBlockAnswers(t *testing.T) {
	image := make([]byte, 1000)
	for i := range image {
		image[i] = byte(i * 7)
	}
	future := time.Now().Add(time.Hour)
	tests := map[string]struct {
		change  func(*message.ImageBlockRequest, *blocks.Transfer)
		offset  uint32
		size    uint8
		bytes   []byte // of the image; nil: none
		status  uint8
		nothing bool
		wait    uint32 // seconds; the answer is wait-for-data
		result  blocks.Result
		stray   bool
	}{
		"first block":                 {size: 63, bytes: image[:63], result: blocks.Served},
		"as asked for, 12":            {offset: 50, size: 12, bytes: image[50:62], result: blocks.Served},
		"never more than 64":          {offset: 64, size: 255, bytes: image[64:128], result: blocks.Served},
		"the last one":                {offset: 960, size: 64, bytes: image[960:], result: blocks.Served},
		"the last byte":               {offset: 999, size: 64, bytes: image[999:], result: blocks.Served},
		"at the end":                  {offset: 1000, size: 64, status: message.OTAAbort, result: blocks.OutOfRange},
		"far past the end":            {offset: 0xFFFFFFFF, size: 64, status: message.OTAAbort, result: blocks.OutOfRange},
		"no bytes asked for":          {offset: 0, size: 0, status: 0x80, result: blocks.OutOfRange},
		"another version":             {change: func(r *message.ImageBlockRequest, _ *blocks.Transfer) { r.FileVersion-- }, size: 64, status: message.OTAAbort, result: blocks.WrongImage, stray: true},
		"another type":                {change: func(r *message.ImageBlockRequest, _ *blocks.Transfer) { r.ImageType = 1 }, size: 64, status: message.OTAAbort, result: blocks.WrongImage, stray: true},
		"another manufacturer":        {change: func(r *message.ImageBlockRequest, _ *blocks.Transfer) { r.ManufacturerCode = 1 }, size: 64, status: message.OTAAbort, result: blocks.WrongImage, stray: true},
		"a device without an upgrade": {change: func(r *message.ImageBlockRequest, _ *blocks.Transfer) { r.Addr = 0x1111 }, size: 64, status: message.OTAAbort, result: blocks.Unsolicited, stray: true},
		"an unknown address":          {change: func(r *message.ImageBlockRequest, _ *blocks.Transfer) { r.Addr = 0x2222 }, size: 64, nothing: true, result: blocks.Unknown, stray: true},
		"a new address, but its EUID": {
			change: func(r *message.ImageBlockRequest, _ *blocks.Transfer) {
				r.Addr, r.FieldControl, r.NodeAddress = 0x2222, message.BlockHasNodeAddress, 0x000b57fffec6a5b2
			},
			size: 10, bytes: image[:10], result: blocks.Served, stray: true,
		},
		"leftovers in the EUID's place": {
			change: func(r *message.ImageBlockRequest, _ *blocks.Transfer) {
				r.Addr, r.NodeAddress = 0x2222, 0x000b57fffec6a5b2
			},
			size: 10, nothing: true, result: blocks.Unknown, stray: true,
		},
		"cancelled":           {change: func(_ *message.ImageBlockRequest, tr *blocks.Transfer) { tr.Abort() }, size: 64, status: message.OTAAbort, result: blocks.Aborted},
		"held":                {change: func(_ *message.ImageBlockRequest, tr *blocks.Transfer) { tr.Hold(time.Time{}) }, size: 64, wait: blocks.MaxHold, result: blocks.Held},
		"held for 7.5 s more": {change: func(_ *message.ImageBlockRequest, tr *blocks.Transfer) { tr.Hold(future.Add(7500 * time.Millisecond)) }, size: 64, wait: 8, result: blocks.Held},
		"held for long":       {change: func(_ *message.ImageBlockRequest, tr *blocks.Transfer) { tr.Hold(future.Add(time.Hour)) }, size: 64, wait: blocks.MaxHold, result: blocks.Held},
		"put off":             {change: func(_ *message.ImageBlockRequest, tr *blocks.Transfer) { tr.PutOff(future.Add(20 * time.Minute)) }, size: 64, wait: 1200, result: blocks.Held},
		"put off for a day":   {change: func(_ *message.ImageBlockRequest, tr *blocks.Transfer) { tr.PutOff(future.Add(24 * time.Hour)) }, size: 64, wait: blocks.MaxWait, result: blocks.Held},
		"for a moment":        {change: func(_ *message.ImageBlockRequest, tr *blocks.Transfer) { tr.Hold(future.Add(1)) }, size: 64, wait: 1, result: blocks.Held},
		"held until now":      {change: func(_ *message.ImageBlockRequest, tr *blocks.Transfer) { tr.Hold(future) }, size: 64, bytes: image[:64], result: blocks.Served},
		"a narrow route":      {change: func(_ *message.ImageBlockRequest, tr *blocks.Transfer) { tr.Limit(blocks.Limits{Largest: 53}) }, size: 63, bytes: image[:53], result: blocks.Served},
		"cut to whole units":  {change: func(_ *message.ImageBlockRequest, tr *blocks.Transfer) { tr.Limit(blocks.Limits{Largest: 53}) }, size: 64, bytes: image[:48], result: blocks.Served},
		"less than a unit":    {change: func(_ *message.ImageBlockRequest, tr *blocks.Transfer) { tr.Limit(blocks.Limits{Largest: 12}) }, size: 64, bytes: image[:12], result: blocks.Served},
		"not cut, so no unit": {change: func(_ *message.ImageBlockRequest, tr *blocks.Transfer) { tr.Limit(blocks.Limits{Largest: 53}) }, size: 50, bytes: image[:50], result: blocks.Served},
		"never less than": {change: func(_ *message.ImageBlockRequest, tr *blocks.Transfer) {
			tr.Limit(blocks.Limits{Largest: 32, Least: 48})
		}, size: 48, bytes: image[:48], result: blocks.Served},
		"less is asked for": {change: func(_ *message.ImageBlockRequest, tr *blocks.Transfer) {
			tr.Limit(blocks.Limits{Largest: 64, Least: 48})
		}, size: 20, bytes: image[:20], result: blocks.Served},
		"less is left": {change: func(_ *message.ImageBlockRequest, tr *blocks.Transfer) {
			tr.Limit(blocks.Limits{Largest: 64, Least: 48})
		}, offset: 990, size: 48, bytes: image[990:], result: blocks.Served},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHome(image)
			req := blockRequest(tt.offset, tt.size)
			if tt.change != nil {
				tt.change(&req, h.transfer)
			}
			frame := h.answer(&req, future)
			if h.results[tt.result] != 1 || (len(h.strays) == 1) != tt.stray {
				t.Errorf("counted %v, strays %v", h.results, h.strays)
			}
			if tt.nothing {
				if len(frame) != 0 {
					t.Errorf("answered % x", frame)
				}
				return
			}
			target := message.Target{AddrMode: message.AddrModeNetwork, Addr: req.Addr, SrcEndpoint: 1, DstEndpoint: req.Endpoint}
			switch m := parsed(t, frame).(type) {
			case message.WaitForData:
				// The one form that every stack takes.
				safe := message.WaitForData{Target: target, Sequence: req.Sequence, Status: message.OTAWaitForData, RequestTime: tt.wait}
				if m != safe {
					t.Errorf("got %+v, want %+v", m, safe)
				}
				if until := h.transfer.Progress(future).WaitsUntil; !until.Equal(future.Add(time.Duration(tt.wait) * time.Second)) {
					t.Errorf("it is said to wait until %v, %d s were told", until, tt.wait)
				}
			case message.ImageBlockResponse:
				if m.Status != tt.status || m.Sequence != req.Sequence || m.Target != target || !bytes.Equal(m.Data, tt.bytes) {
					t.Errorf("got %+v, want status 0x%02x and % x", m, tt.status, tt.bytes)
				}
				if tt.bytes != nil && (m.Offset != req.Offset || m.FileVersion != testVersion || m.ImageType != 0x2201 || m.ManufacturerCode != 0x117C) {
					t.Errorf("got %+v", m)
				}
			default:
				t.Errorf("got %+v", m)
			}
		})
	}
}

// A device that was told to wait, and has got a block since, does not wait any more.
func TestServedDeviceDoesNotWait(t *testing.T) {
	h := newHome(make([]byte, 1000))
	now := time.Now()
	h.transfer.PutOff(now.Add(time.Second))
	req := blockRequest(0, 64)
	h.answer(&req, now)
	now = now.Add(time.Second)
	h.answer(&req, now)
	if p := h.transfer.Progress(now); p.Requests != 2 || !p.WaitsUntil.IsZero() {
		t.Errorf("%+v", p)
	}
}

func TestProgressOfATransfer(t *testing.T) {
	image := make([]byte, 100_000)
	now := time.Now()
	type want struct {
		position, first uint32
		restarts        uint32
	}
	run := func(from, blocks uint32) (offsets []uint32) {
		for i := range blocks {
			offsets = append(offsets, from+i*64)
		}
		return offsets
	}
	tests := map[string]struct {
		offsets []uint32
		want    want
	}{
		"in order":             {run(0, 10), want{position: 9 * 64}},
		"in the middle":        {run(6400, 10), want{position: 6400 + 9*64, first: 6400}},
		"a block again":        {append(run(0, 10), 9*64, 9*64), want{position: 9 * 64}},
		"the header again":     {append(append(run(0, 10), 0), run(640, 5)...), want{position: 640 + 4*64}},
		"backwards a little":   {append(run(0, 100), run(90*64, 10)...), want{position: 99 * 64}},
		"from the start again": {append(run(0, 100), run(0, 20)...), want{position: 19 * 64, restarts: 1, first: 17 * 64}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHome(image)
			for _, offset := range tt.offsets {
				req := blockRequest(offset, 64)
				h.answer(&req, now)
			}
			p := h.transfer.Progress(now)
			if got := (want{p.Position, p.First, p.Restarts}); got.position != tt.want.position || got.restarts != tt.want.restarts ||
				(tt.want.restarts == 0 && got.first != tt.want.first) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestBlockPathAllocs(t *testing.T) {
	h := newHome(make([]byte, 1<<20), silent)
	server := h.server
	tr := h.transfer
	now := time.Now()
	buf := make([]byte, 0, 512)
	var offset uint32
	for name, prepare := range map[string]func(*message.ImageBlockRequest){
		"a block":         func(*message.ImageBlockRequest) {},
		"a held download": func(*message.ImageBlockRequest) { tr.Hold(time.Time{}) },
		"out of range":    func(r *message.ImageBlockRequest) { r.Offset = 1 << 20 },
	} {
		tr.Serve()
		var req message.ImageBlockRequest
		if n := testing.AllocsPerRun(1000, func() {
			req = blockRequest(offset, 64)
			prepare(&req)
			buf = server.Answer(&req, now, buf[:0])
			offset = (offset + 64) % (1 << 19)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

type silentObserver struct{}

func (silentObserver) BlockRequest(blocks.Result, int) {}

func silent(o *blocks.Options) { o.Observer = silentObserver{} }

// BenchmarkBlockAnswer is the service's own work for one block: from the parsed request to the
// frame to be written.
func BenchmarkBlockAnswer(b *testing.B) {
	server := newHome(make([]byte, 1<<20), silent).server
	now := time.Now()
	req := blockRequest(0, 64)
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = server.Answer(&req, now, buf[:0])
		req.Offset = (req.Offset + 64) & (1<<19 - 1)
	}
}
