package blocks_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// deaf is a device that hears no block of more bytes than it can.
type deaf struct {
	hears   int
	asks    uint8 // bytes a block
	doubles bool  // each of its requests comes twice
	refused bool  // the dongle takes none of the blocks that it does not hear
}

// download has a device ask for so many requests at most, and returns the sizes of the blocks that it was sent and
// how far it came.
func (d deaf) download(t *testing.T, h *home, requests int) (sizes []int, offset uint32) {
	t.Helper()
	for i := range requests {
		req := blockRequest(offset, d.asks)
		req.Sequence = uint8(i)
		frame := h.answer(&req, time.Now())
		if d.doubles {
			h.answer(&req, time.Now())
		}
		block, ok := parsed(t, frame).(message.ImageBlockResponse)
		if !ok || block.Status != message.OTASuccess {
			return sizes, offset
		}
		sizes = append(sizes, len(block.Data))
		if len(block.Data) > d.hears {
			if sent, ok := h.server.Acknowledged(time.Now()); ok && d.refused {
				h.server.Refused(sent)
			}
			continue
		}
		offset += uint32(len(block.Data))
	}
	return sizes, offset
}

// Blocks that do not get through get smaller, and stay so.
func TestBlocksGetSmaller(t *testing.T) {
	tests := map[string]struct {
		device deaf
		limits blocks.Limits
		sizes  []int
		learnt uint8
		inVain bool
	}{
		"all get through":        {device: deaf{hears: 64, asks: 63}, sizes: []int{63, 63, 63, 63, 63, 63, 63, 63}},
		"48 get through":         {device: deaf{hears: 50, asks: 64}, sizes: []int{64, 64, 48, 48, 48, 48, 48, 48}, learnt: 48},
		"32 get through":         {device: deaf{hears: 40, asks: 63}, sizes: []int{63, 63, 48, 32, 32, 32, 32, 32}, learnt: 32},
		"16 get through":         {device: deaf{hears: 20, asks: 48}, sizes: []int{48, 48, 32, 16, 16, 16, 16, 16}, learnt: 16},
		"none get through":       {device: deaf{asks: 64}, sizes: []int{64, 64, 48, 32, 16, 64, 48, 32}, inVain: true},
		"twice the same request": {device: deaf{hears: 50, asks: 64, doubles: true}, sizes: []int{64, 64, 48, 48, 48, 48, 48, 48}, learnt: 48},
		"small ones are no use": {
			device: deaf{hears: 32, asks: 48}, limits: blocks.Limits{Largest: 64, Least: 48}, sizes: []int{48, 48, 48, 48, 48, 48, 48, 48}, inVain: true,
		},
		"the dongle takes none": {
			device: deaf{hears: 32, asks: 64, refused: true}, sizes: []int{64, 64, 64, 64, 64, 64, 64, 64},
		},
		"below a limit": {
			device: deaf{hears: 32, asks: 63}, limits: blocks.Limits{Largest: 40}, sizes: []int{40, 40, 32, 32, 32, 32, 32, 32}, learnt: 32,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHome(make([]byte, 100_000))
			if tt.limits != (blocks.Limits{}) {
				h.transfer.Limit(tt.limits)
			}
			sizes, _ := tt.device.download(t, h, 8)
			if diff := cmp.Diff(tt.sizes, sizes); diff != "" {
				t.Errorf("blocks: %s", diff)
			}
			p := h.transfer.Progress(time.Now())
			if p.GetsThrough != tt.learnt || p.InVain != tt.inVain || int(p.LastBlock) != sizes[7] {
				t.Errorf("%d bytes get through, in vain %v, %d in the last block", p.GetsThrough, p.InVain, p.LastBlock)
			}
		})
	}
}

// Where blocks of the size have got through before, it takes more until they are made smaller: frames get lost, and
// routes change.
func TestRouteGetsWorse(t *testing.T) {
	h := newHome(make([]byte, 100_000))
	first := blockRequest(0, 64)
	first.Sequence = 200
	h.answer(&first, time.Now())
	second := deaf{hears: 50, asks: 64}
	var sizes []int
	for i := range 8 {
		req := blockRequest(64, second.asks)
		req.Sequence = uint8(i)
		sizes = append(sizes, len(parsed(t, h.answer(&req, time.Now())).(message.ImageBlockResponse).Data))
	}
	if diff := cmp.Diff([]int{64, 64, 64, 64, 64, 48, 32, 16}, sizes); diff != "" {
		t.Errorf("blocks: %s", diff)
	}
}

// A block that is asked for again once, as frames get lost now and then, stays as large as it was.
func TestLostBlocksStayLarge(t *testing.T) {
	h := newHome(make([]byte, 10_000))
	offset := uint32(0)
	for i := range 40 {
		req := blockRequest(offset, 64)
		req.Sequence = uint8(i)
		block := parsed(t, h.answer(&req, time.Now())).(message.ImageBlockResponse)
		if len(block.Data) != 64 {
			t.Fatalf("%d bytes", len(block.Data))
		}
		if i%2 == 1 {
			offset += 64
		}
	}
}
