package blocks_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// What is sent later than at once goes through the owner.

// sentBlocks are the offsets and lengths of the blocks that were sent through the owner.
func (h *home) sentBlocks() (offsets [][2]int) {
	for _, m := range h.sent {
		if b, ok := m.(message.ImageBlockResponse); ok {
			offsets = append(offsets, [2]int{int(b.Offset), len(b.Data)})
		}
	}
	return offsets
}

// pageRequest is an image page request as firmware v1 garbles it.
func pageRequest(offset uint32, bytes, spacing uint16) message.ImageBlockRequest {
	req := blockRequest(offset, 0x11)
	req.FieldControl = 0x7C
	req.BlockRequestDelay = 0x2201
	req.ImageType = bytes
	req.ManufacturerCode = spacing
	return req
}

func TestPages(t *testing.T) {
	tests := map[string]struct {
		change func(*home)
		offset uint32
		bytes  uint16
		during func(*home) // after the second block
		want   [][2]int
		last   uint32 // offset of the last block that was handed to the owner; 0: none was
	}{
		"a whole page":          {offset: 96, bytes: 120, want: [][2]int{{96, 48}, {144, 48}, {192, 24}}},
		"a page past the end":   {offset: 900, bytes: 4096, want: [][2]int{{900, 48}, {948, 48}, {996, 4}}},
		"a page behind the end": {offset: 1000, bytes: 64, want: [][2]int{{1000, 0}}},
		"a narrow route": {
			change: func(h *home) { h.transfer.Limit(blocks.Limits{Largest: 32}) },
			bytes:  64, want: [][2]int{{0, 32}, {32, 32}},
		},
		"the last block is the owner's": {
			change: func(h *home) { h.transfer.KeepLast() },
			offset: 904, bytes: 200, want: [][2]int{{904, 48}}, last: 952,
		},
		"aborted": {
			change: func(h *home) { h.transfer.Abort() },
			bytes:  64, want: [][2]int{{0, 0}},
		},
		"aborted on the way": {
			bytes: 480, during: func(h *home) { h.transfer.Abort() }, want: [][2]int{{0, 48}, {48, 48}},
		},
		"withdrawn on the way": {
			bytes: 480, during: func(h *home) { h.server.EndPage(h.transfer) }, want: [][2]int{{0, 48}, {48, 48}},
		},
		"the device asks for a block on the way": {
			bytes: 480, want: [][2]int{{0, 48}, {48, 48}},
			during: func(h *home) {
				req := blockRequest(96, 48)
				h.answer(&req, time.Now())
			},
		},
		"another page on the way": {
			bytes: 480, want: [][2]int{{0, 48}, {48, 48}, {600, 48}},
			during: func(h *home) {
				req := pageRequest(600, 48, 100)
				h.answer(&req, time.Now())
			},
		},
		"the owner stops on the way": {
			bytes: 480, during: func(h *home) { h.stopped = true }, want: [][2]int{{0, 48}, {48, 48}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHome(make([]byte, 1000))
				if tt.change != nil {
					tt.change(h)
				}
				req := pageRequest(tt.offset, tt.bytes, 100)
				if frame := h.answer(&req, time.Now()); len(frame) != 0 {
					t.Errorf("answered at once: % x", frame)
				}
				h.wait(150 * time.Millisecond)
				if tt.during != nil {
					tt.during(h)
				}
				h.wait(time.Minute)
				if diff := cmp.Diff(tt.want, h.sentBlocks()); diff != "" {
					t.Errorf("blocks: %s", diff)
				}
				if tt.last != 0 && (len(h.last) != 1 || h.last[0].Offset != tt.last) {
					t.Errorf("handed to the owner: %+v", h.last)
				}
				if first := h.pages[0]; first.Addr != testAddr || first.Spacing != 100*time.Millisecond || !first.First {
					t.Errorf("told %+v", first)
				}
			})
		})
	}
}

func TestHeldPageWaits(t *testing.T) {
	h := newHome(make([]byte, 1000))
	h.transfer.Hold(time.Time{})
	req := pageRequest(0, 100, 0)
	h.answer(&req, time.Now())
	if len(h.sent) != 1 {
		t.Fatalf("sent %+v", h.sent)
	}
	if wait, ok := h.sent[0].(message.WaitForData); !ok || wait.RequestTime != blocks.MaxHold {
		t.Errorf("sent %+v", h.sent[0])
	}
}

func TestPutOff(t *testing.T) {
	h := newHome(make([]byte, 1000))
	now := time.Now()
	h.transfer.PutOff(now.Add(50 * time.Minute))
	if h.transfer.PutOffTold() {
		t.Error("told before the device asked")
	}
	req := blockRequest(0, 64)
	wait, ok := parsed(t, h.answer(&req, now)).(message.WaitForData)
	if !ok || wait.RequestTime != 50*60 {
		t.Errorf("answered %+v", wait)
	}
	if !h.transfer.PutOffTold() {
		t.Error("not told though the device asked")
	}
	h.transfer.PutOff(now.Add(40 * time.Minute))
	if h.transfer.PutOffTold() {
		t.Error("the new time counts as told")
	}
}

func TestPace(t *testing.T) {
	tests := map[string]struct {
		interval time.Duration
		during   func(*home)
		want     [][2]int // sent later
		wait     uint32   // seconds told at once
		blocks   uint64   // counted
		again    uint64   // of them
	}{
		"a little early":                 {interval: time.Second, want: [][2]int{{64, 64}}, blocks: 2},
		"the device asks anew":           {interval: time.Second, during: asksAnew, want: [][2]int{{64, 64}}, blocks: 3, again: 1},
		"aborted meanwhile":              {interval: time.Second, during: func(h *home) { h.transfer.Abort() }, want: [][2]int{{64, 0}}, blocks: 2},
		"early by more than it can bear": {interval: 10 * time.Second, wait: 10, blocks: 1},
		"and asks when it may": {
			interval: 10 * time.Second, wait: 10, blocks: 2,
			during: func(h *home) { time.Sleep(10 * time.Second); asksAnew(h) },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHome(make([]byte, 1000), func(o *blocks.Options) { o.Limits.Interval = tt.interval })
				first := blockRequest(0, 64)
				if len(h.answer(&first, time.Now())) == 0 {
					t.Fatal("the first request gets no block")
				}
				second := blockRequest(64, 64)
				frame := h.answer(&second, time.Now())
				if tt.wait != 0 {
					if m, ok := parsed(t, frame).(message.WaitForData); !ok || m.RequestTime != tt.wait {
						t.Errorf("answered %+v", m)
					}
				} else if len(frame) != 0 {
					t.Errorf("answered at once: % x", frame)
				}
				if tt.during != nil {
					tt.during(h)
				}
				h.wait(time.Minute)
				if diff := cmp.Diff(tt.want, h.sentBlocks()); diff != "" {
					t.Error(diff)
				}
				if c := h.server.Counts(); c.Blocks != tt.blocks || c.Again != tt.again {
					t.Errorf("counted %d blocks, %d of them again; want %d and %d", c.Blocks, c.Again, tt.blocks, tt.again)
				}
			})
		})
	}
}

// asksAnew repeats the second request of a test with a new sequence number.
func asksAnew(h *home) {
	req := blockRequest(64, 64)
	req.Sequence++
	h.answer(&req, time.Now())
}

func TestLastBlockIsTheOwners(t *testing.T) {
	h := newHome(make([]byte, 100))
	h.transfer.KeepLast()
	req := blockRequest(64, 64)
	if frame := h.answer(&req, time.Now()); len(frame) != 0 {
		t.Errorf("answered % x", frame)
	}
	if len(h.last) != 1 || h.woken == 0 || h.results[blocks.Served] != 0 {
		t.Fatalf("handed over %+v, woken %d, counted %v", h.last, h.woken, h.results)
	}
	if b := h.server.Block(h.transfer, &h.last[0]); b.Offset != 64 || len(b.Data) != 36 || b.Status != message.OTASuccess {
		t.Errorf("the block is %+v", b)
	}
	if h.results[blocks.Served] != 1 {
		t.Errorf("counted %v", h.results)
	}
}

// Acknowledgements come in the order of the answers, and a block is made again only while it makes sense.
var fromTheDongle = message.Target{AddrMode: message.AddrModeNetwork, Addr: testAddr, SrcEndpoint: 1, DstEndpoint: 1}

// aBlock is the answer to a request for the second block of an empty image.
var aBlock = message.ImageBlockResponse{
	Target: fromTheDongle, Sequence: 0x42, Offset: 64, FileVersion: testVersion, ImageType: 0x2201, ManufacturerCode: 0x117C,
	Data: make([]byte, 64),
}

// aWait is the answer that has the device wait for so many seconds.
func aWait(seconds uint32) message.WaitForData {
	return message.WaitForData{Target: fromTheDongle, Sequence: 0x42, Status: message.OTAWaitForData, RequestTime: seconds}
}

func TestSentBlocks(t *testing.T) {
	tests := map[string]struct {
		then  func(*home)
		after time.Duration
		want  message.Message // nil: nothing
	}{
		"refused":                {want: aBlock},
		"refused, held by now":   {then: func(h *home) { h.transfer.Hold(time.Time{}) }, want: aWait(blocks.MaxHold)},
		"refused, served again":  {then: func(h *home) { h.transfer.Hold(time.Now().Add(-time.Minute)) }, want: aBlock},
		"the device asked anew":  {then: asksAnew},
		"aborted":                {then: func(h *home) { h.transfer.Abort() }},
		"no longer in the table": {then: func(h *home) { h.server.SetTable(blocks.Table{}) }},
		"too late":               {after: 2*time.Second + 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHome(make([]byte, 1000))
			now := time.Now()
			stranger := blockRequest(0, 64)
			stranger.Addr = 0x1111
			h.answer(&stranger, now)
			req := blockRequest(64, 64)
			h.answer(&req, now)
			if _, ok := h.server.Acknowledged(now); ok {
				t.Error("the status of a refusal is taken for a transfer's")
			}
			sent, ok := h.server.Acknowledged(now)
			if !ok {
				t.Fatal("the status of a block is taken for nobody's")
			}
			if tt.then != nil {
				tt.then(h)
			}
			again, ok := h.server.Again(sent, now.Add(tt.after))
			if diff := cmp.Diff(tt.want, again); diff != "" || ok != (tt.want != nil) {
				t.Errorf("made again: %v, %s", ok, diff)
			}
		})
	}
}

// A wait that the dongle did not take is told again, as long as the device has not asked anew.
func TestRefusedWaitIsToldAgain(t *testing.T) {
	tests := map[string]struct {
		then func(*home)
		want message.Message // nil: nothing
	}{
		"refused":               {want: aWait(600)},
		"the device asked anew": {then: asksAnew},
		"cancelled":             {then: func(h *home) { h.transfer.Abort() }},
		"called back":           {then: func(h *home) { h.transfer.Serve() }, want: aBlock},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHome(make([]byte, 1000))
			now := time.Now()
			h.transfer.PutOff(now.Add(10 * time.Minute))
			req := blockRequest(64, 64)
			h.answer(&req, now)
			sent, ok := h.server.Acknowledged(now)
			if !ok {
				t.Fatal("the status of the wait is taken for nobody's")
			}
			if tt.then != nil {
				tt.then(h)
			}
			again, ok := h.server.Again(sent, now.Add(200*time.Millisecond))
			if diff := cmp.Diff(tt.want, again); diff != "" || ok != (tt.want != nil) {
				t.Errorf("made again: %v, %s", ok, diff)
			}
		})
	}
}

func TestSentBlocksAreForgotten(t *testing.T) {
	h := newHome(make([]byte, 100_000))
	now := time.Now()
	answer := func(n uint32) {
		for i := range n {
			req := blockRequest(i*64, 64)
			h.answer(&req, now)
		}
	}
	acknowledged := func(now time.Time) (n int) {
		for {
			if _, ok := h.server.Acknowledged(now); !ok {
				return n
			}
			n++
		}
	}
	answer(100)
	if n := acknowledged(now); n != 64 {
		t.Errorf("%d of 100 are remembered", n)
	}
	answer(10)
	if n := acknowledged(now.Add(3*time.Second + 1)); n != 0 {
		t.Errorf("%d are remembered though their status is lost", n)
	}
	answer(10)
	h.server.Reconnected()
	if n := acknowledged(now); n != 0 {
		t.Errorf("%d of an earlier connection are remembered", n)
	}
}

// A request that the dongle shows as a data indication is answered once, however it comes besides.
func TestIndicated(t *testing.T) {
	const late = blocks.BothWays / 2
	tests := map[string]struct {
		before, after bool // it comes as a message, too, before or after
		gap           time.Duration
		answered      bool // the message was
		sent          int
	}{
		"only so":                   {sent: 1},
		"its message comes first":   {before: true, gap: late, answered: true},
		"its message comes soon":    {after: true, gap: late, answered: true},
		"its message comes late":    {after: true, gap: 500 * time.Millisecond, sent: 1},
		"asked again after a while": {after: true, gap: 2 * time.Second, answered: true, sent: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHome(make([]byte, 1000))
				req := blockRequest(64, 64)
				answered := false
				if tt.before {
					answered = len(h.answer(&req, time.Now())) > 0
					h.wait(tt.gap)
				}
				h.server.Indicated(req)
				if tt.after {
					h.wait(tt.gap)
					answered = len(h.answer(&req, time.Now())) > 0
				}
				h.wait(time.Minute)
				if answered != tt.answered || len(h.sentBlocks()) != tt.sent {
					t.Errorf("its message was answered: %v; sent besides: %v", answered, h.sentBlocks())
				}
			})
		})
	}
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(make([]byte, 1000))
		if p := h.transfer.Progress(time.Now()); p.Requests != 0 {
			t.Errorf("before anything: %+v", p)
		}
		begun := time.Now()
		for _, offset := range []uint32{128, 192, 192, 256} {
			req := blockRequest(offset, 64)
			req.Sequence = uint8(offset)
			h.answer(&req, time.Now())
			h.wait(time.Second)
		}
		want := blocks.Progress{
			Requests: 4, Position: 256, First: 128, Again: 1, LastBlock: 64,
			Started: begun, Last: begun.Add(3 * time.Second),
		}
		if diff := cmp.Diff(want, h.transfer.Progress(time.Now())); diff != "" {
			t.Error(diff)
		}
		if h.transfer.LastSequence() != 0 { // 256
			t.Errorf("the last sequence number is %d", h.transfer.LastSequence())
		}
		if h.woken != 1 {
			t.Errorf("the owner was woken %d times, want once, for the first block", h.woken)
		}
	})
}
