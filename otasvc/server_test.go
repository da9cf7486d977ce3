package otasvc

import (
	"bytes"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The block server is tested from inside: what it answers to a single request, byte for byte.

type blockCounter struct{ results map[BlockResult]int }

func (c *blockCounter) BlockRequest(r BlockResult, _ int)            { c.results[r]++ }
func (c *blockCounter) UpgradeFinished(State, Reason, time.Duration) {}
func (c *blockCounter) DeliveryFailed()                              {}
func (c *blockCounter) ImageFetched(Status)                          {}

const (
	testAddr    uint16 = 0x4F4F
	testVersion uint32 = 0x23095631
)

func testServer(image []byte) (*blockServer, *transfer, *blockCounter, *[]BlockResult) {
	counter := &blockCounter{results: map[BlockResult]int{}}
	var strays []BlockResult
	tr := newTransfer(image, 0x117C, 0x2201, testVersion)
	b := &blockServer{
		maxBlock: 64, observer: counter, noticed: func() {},
		stray: func(_ message.BlockRequest, r BlockResult) { strays = append(strays, r) },
		page:  func(*transfer, *message.BlockRequest, pageRequest) {},
		later: func(*transfer, *message.BlockRequest, time.Duration) {},
	}
	b.last = func(*transfer, *message.BlockRequest) {}
	b.table.Store(&blockTable{
		byAddr: map[uint16]*transfer{testAddr: tr}, byNode: map[message.IEEE]*transfer{0x000b57fffec6a5b2: tr},
		known: map[uint16]struct{}{testAddr: {}, 0x1111: {}},
	})
	return b, tr, counter, &strays
}

func blockRequest(offset uint32, size uint8) message.BlockRequest {
	return message.BlockRequest{
		Sequence: 0x42, Endpoint: 1, Cluster: 0x0019, AddrMode: message.AddrModeShort, Addr: testAddr, Offset: offset,
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
	future := time.Unix(2000, 0)
	tests := map[string]struct {
		change  func(*message.BlockRequest, *transfer)
		offset  uint32
		size    uint8
		bytes   []byte // of the image; nil: none
		status  uint8
		nothing bool
		wait    uint32 // seconds; the answer is wait-for-data
		result  BlockResult
		stray   bool
	}{
		"first block":                 {size: 63, bytes: image[:63], result: BlockServed},
		"as asked for, 12":            {offset: 50, size: 12, bytes: image[50:62], result: BlockServed},
		"never more than 64":          {offset: 64, size: 255, bytes: image[64:128], result: BlockServed},
		"the last one":                {offset: 960, size: 64, bytes: image[960:], result: BlockServed},
		"the last byte":               {offset: 999, size: 64, bytes: image[999:], result: BlockServed},
		"at the end":                  {offset: 1000, size: 64, status: message.OTAAbort, result: BlockOutOfRange},
		"far past the end":            {offset: 0xFFFFFFFF, size: 64, status: message.OTAAbort, result: BlockOutOfRange},
		"no bytes asked for":          {offset: 0, size: 0, status: malformedCommand, result: BlockOutOfRange},
		"another version":             {change: func(r *message.BlockRequest, _ *transfer) { r.FileVersion-- }, size: 64, status: message.OTAAbort, result: BlockWrongImage, stray: true},
		"another type":                {change: func(r *message.BlockRequest, _ *transfer) { r.ImageType = 1 }, size: 64, status: message.OTAAbort, result: BlockWrongImage, stray: true},
		"another manufacturer":        {change: func(r *message.BlockRequest, _ *transfer) { r.ManufacturerCode = 1 }, size: 64, status: message.OTAAbort, result: BlockWrongImage, stray: true},
		"a device without an upgrade": {change: func(r *message.BlockRequest, _ *transfer) { r.Addr = 0x1111 }, size: 64, status: message.OTAAbort, result: BlockUnsolicited, stray: true},
		"an unknown address":          {change: func(r *message.BlockRequest, _ *transfer) { r.Addr = 0x2222 }, size: 64, nothing: true, result: BlockUnknown, stray: true},
		"a new address, but its EUID": {
			change: func(r *message.BlockRequest, _ *transfer) {
				r.Addr, r.FieldControl, r.NodeAddress = 0x2222, message.BlockHasNodeAddress, 0x000b57fffec6a5b2
			},
			size: 10, bytes: image[:10], result: BlockServed, stray: true,
		},
		"leftovers in the EUID's place": {
			change: func(r *message.BlockRequest, _ *transfer) { r.Addr, r.NodeAddress = 0x2222, 0x000b57fffec6a5b2 },
			size:   10, nothing: true, result: BlockUnknown, stray: true,
		},
		"cancelled":           {change: func(_ *message.BlockRequest, tr *transfer) { tr.verdict.Store(int32(abort)) }, size: 64, status: message.OTAAbort, result: BlockAborted},
		"held":                {change: func(_ *message.BlockRequest, tr *transfer) { tr.hold(time.Time{}) }, size: 64, wait: maxHold, result: BlockHeld},
		"held for 7.5 s more": {change: func(_ *message.BlockRequest, tr *transfer) { tr.hold(future.Add(7500 * time.Millisecond)) }, size: 64, wait: 8, result: BlockHeld},
		"held for long":       {change: func(_ *message.BlockRequest, tr *transfer) { tr.hold(future.Add(time.Hour)) }, size: 64, wait: maxHold, result: BlockHeld},
		"held until now":      {change: func(_ *message.BlockRequest, tr *transfer) { tr.hold(future) }, size: 64, bytes: image[:64], result: BlockServed},
		"a narrow route":      {change: func(_ *message.BlockRequest, tr *transfer) { tr.largest.Store(53) }, size: 64, bytes: image[:53], result: BlockServed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server, tr, counter, strays := testServer(image)
			req := blockRequest(tt.offset, tt.size)
			if tt.change != nil {
				tt.change(&req, tr)
			}
			frame := server.answer(&req, future, nil)
			if counter.results[tt.result] != 1 || (len(*strays) == 1) != tt.stray {
				t.Errorf("counted %v, strays %v", counter.results, *strays)
			}
			if tt.nothing {
				if len(frame) != 0 {
					t.Errorf("answered % x", frame)
				}
				return
			}
			target := message.Target{AddrMode: message.AddrModeShort, Addr: req.Addr, SrcEndpoint: 1, DstEndpoint: req.Endpoint}
			switch m := parsed(t, frame).(type) {
			case message.WaitForData:
				if m.Status != message.OTAWaitForData || m.RequestTime-m.CurrentTime != tt.wait || m.Sequence != req.Sequence || m.Target != target {
					t.Errorf("got %+v, want %d s", m, tt.wait)
				}
			case message.BlockSend:
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

func TestProgressOfATransfer(t *testing.T) {
	image := make([]byte, 100_000)
	now := time.Unix(1000, 0)
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
			server, tr, _, _ := testServer(image)
			for _, offset := range tt.offsets {
				req := blockRequest(offset, 64)
				server.answer(&req, now, nil)
			}
			if got := (want{tr.position.Load(), tr.first.Load(), tr.restarts.Load()}); got.position != tt.want.position || got.restarts != tt.want.restarts ||
				(tt.want.restarts == 0 && got.first != tt.want.first) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestBlockPathAllocs(t *testing.T) {
	server, tr, _, _ := testServer(make([]byte, 1<<20))
	server.observer = silentObserver{}
	now := time.Unix(1000, 0)
	buf := make([]byte, 0, 512)
	var offset uint32
	for name, prepare := range map[string]func(*message.BlockRequest){
		"a block":         func(*message.BlockRequest) {},
		"a held download": func(*message.BlockRequest) { tr.hold(time.Time{}) },
		"out of range":    func(r *message.BlockRequest) { r.Offset = 1 << 20 },
	} {
		tr.verdict.Store(int32(serve))
		var req message.BlockRequest
		if n := testing.AllocsPerRun(1000, func() {
			req = blockRequest(offset, 64)
			prepare(&req)
			buf = server.answer(&req, now, buf[:0])
			offset = (offset + 64) % (1 << 19)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

type silentObserver struct{}

func (silentObserver) BlockRequest(BlockResult, int)                {}
func (silentObserver) UpgradeFinished(State, Reason, time.Duration) {}
func (silentObserver) DeliveryFailed()                              {}
func (silentObserver) ImageFetched(Status)                          {}

// BenchmarkBlockAnswer is the service's own work for one block: from the parsed request to the
// frame to be written.
func BenchmarkBlockAnswer(b *testing.B) {
	server, _, _, _ := testServer(make([]byte, 1<<20))
	server.observer = silentObserver{}
	now := time.Unix(1000, 0)
	req := blockRequest(0, 64)
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = server.answer(&req, now, buf[:0])
		req.Offset = (req.Offset + 64) & (1<<19 - 1)
	}
}
