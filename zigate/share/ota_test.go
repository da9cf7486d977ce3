package share_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/share"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// OTA is this program's: a client sees none of it, and what it sends is not known to the dongle.
func TestOTAIsOurs(t *testing.T) {
	for mode := message.RawModeOff; mode <= message.RawModeHybrid; mode++ {
		t.Run(fmt.Sprint("mode ", mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHome(t, lab(sim.V1323), &blocks{}, share.Options{})
				defer h.stop()
				a := h.join("a")
				a.says(wire(message.SetRawMode{Mode: mode}))
				a.hearsTypes("0x8000")
				h.hub.Submit(header, nil)
				h.hub.Submit(message.ImageNotify{Target: to(lamp), QueryJitter: 100}, nil)
				time.Sleep(time.Minute)
				if got := device(h.dongle, lamp).Snapshot(); got.BlocksReceived < 10 {
					t.Errorf("the device got %d blocks", got.BlocksReceived)
				}
				a.hearsTypes()
				h.tap.take()
				for _, frame := range [][]byte{
					wire(header), wire(message.ImageBlockResponse{Target: to(lamp)}), wire(message.UpgradeEndResponse{Target: to(lamp)}),
					wire(message.ImageNotify{Target: to(lamp)}), wire(message.WaitForData{Target: to(lamp)}),
					message.AppendFrame(nil, 0x0501, nil), message.AppendFrame(nil, 0x0503, []byte{1}),
					wire(raw(lamp, 0x0019, 0x19, 1, 2, 0x98)),
					wire(message.RawAPS{AddrMode: 3, IEEE: 0x00158d0000000001, Cluster: 0x0019, SrcEndpoint: 1, DstEndpoint: 1, Profile: 0x0104}),
				} {
					f, _, _ := new(message.Decoder).Feed(frame)
					a.says(frame)
					a.hears(fmt.Sprintf("0x8000 0200%04x0000000000", uint16(f.Type)))
				}
				if got := h.tap.take(); ofTypes(got, 0x0502, 0x0506) != len(got) {
					t.Errorf("written to the dongle: %x", got)
				}
				if got := h.reports.take(); len(got) != 9 || got[0] != share.ReportOTACommand {
					t.Errorf("reported: %v", got)
				}
			})
		})
	}
}

// header is of an image for the lamp.
var header = message.LoadImage{
	AddrMode: 2, FileIdentifier: message.FileIdentifier, HeaderLength: 56, ManufacturerCode: 0x117c, ImageType: 0x2201,
	FileVersion: 6, TotalSize: 2000,
}

// ofTypes counts frames of these types.
func ofTypes(wires [][]byte, types ...message.MsgType) (n int) {
	for _, w := range wires {
		if f, _, ok := new(message.Decoder).Feed(w); ok && slices.Contains(types, f.Type) {
			n++
		}
	}
	return n
}

// blocks is a program that answers every block request.
type blocks struct{ silent }

func (*blocks) HandleBlockRequest(req *message.ImageBlockRequest, dst []byte) []byte {
	return message.AppendImageBlockResponse(dst, &message.ImageBlockResponse{
		Target: to(req.Addr), Sequence: req.Sequence, Offset: req.Offset, FileVersion: req.FileVersion,
		ImageType: req.ImageType, ManufacturerCode: req.ManufacturerCode, Data: make([]byte, req.MaxDataSize),
	})
}

// OTA is the clients': they see and send all of it, and this program answers no device.
func TestOTAIsTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, lab(sim.V1323), &blocks{}, share.Options{OTA: share.OTATheirs})
		defer h.stop()
		var refused error
		h.hub.Submit(header, func(_ message.Status, err error) { refused = err })
		synctest.Wait()
		if !errors.Is(refused, share.ErrOTATheirs) {
			t.Errorf("our own header: %v", refused)
		}
		a := h.join("a")
		a.says(burst(header, message.ImageNotify{Target: to(lamp), QueryJitter: 100}))
		time.Sleep(3 * time.Second)
		if got := device(h.dongle, lamp).Snapshot(); got.BlocksAsked == 0 || got.BlocksReceived > 0 {
			t.Errorf("the device asked for %d blocks and got %d", got.BlocksAsked, got.BlocksReceived)
		}
		a.has("0x8501")
		a.says(wire(message.ImageBlockResponse{Target: to(lamp), Status: message.OTAAbort}))
		a.has("0x8000 00000502")
	})
}

// A block costs no allocation for the dongle's being shared.
func TestBlocksDoNotAllocate(t *testing.T) {
	hub := share.New(zigate.Options{Dialer: &counter{}, Handler: fixedReply("frame")}, share.Options{})
	requests := []*message.ImageBlockRequest{{Addr: lamp}, {Addr: sensor}}
	dst := make([]byte, 0, 512)
	for range 100 {
		for _, r := range requests {
			hub.HandleBlockRequest(r, dst)
		}
	}
	n := 0
	if got := testing.AllocsPerRun(1000, func() {
		hub.HandleBlockRequest(requests[n%2], dst)
		n++
	}); got != 0 {
		t.Errorf("%v allocations a block", got)
	}
}

// fixedReply is a program that answers every block request with the same bytes.
type fixedReply string

func (r fixedReply) HandleBlockRequest(_ *message.ImageBlockRequest, dst []byte) []byte {
	return append(dst, r...)
}
func (fixedReply) HandleBlockStatus(*message.Status)    {}
func (fixedReply) HandleMessage(message.Message, uint8) {}
func (fixedReply) HandleConnected(zigate.Info)          {}
func (fixedReply) HandleDisconnected(error)             {}
