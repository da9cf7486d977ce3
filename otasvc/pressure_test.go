package otasvc_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// offered queues an upgrade of the bulb and waits until it was notified; it gives a request for a block.
func offered(w *world) func(sequence uint8, offset uint32) message.ImageBlockRequest {
	w.t.Helper()
	w.service.HandleConnected(zigate.Info{Firmware: "3.23", NetworkUp: true})
	w.introduces(bulb, 0x4f4f)
	url, _ := w.image(0x117C, 0x2201, 2, 4_000)
	w.add(bulb, url)
	w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
	w.within(2*time.Minute, "the bulb is offered its image", func() bool {
		u := w.sink.device(bulb).Upgrade
		return u != nil && u.State == upgrade.Notified
	})
	return func(sequence uint8, offset uint32) message.ImageBlockRequest {
		return message.ImageBlockRequest{
			Sequence: sequence, Endpoint: 1, Cluster: message.ClusterOTA, AddrMode: message.AddrModeNetwork, Addr: 0x4f4f, Offset: offset,
			FileVersion: 2, ImageType: 0x2201, ManufacturerCode: 0x117C, BlockRequestDelay: message.NoBlockRequestDelay, MaxDataSize: 50,
		}
	}
}

// introduces has a device announce itself and tell what it runs.
func (w *world) introduces(e message.IEEE, addr uint16) {
	w.service.HandleMessage(message.DeviceAnnounce{Addr: addr, IEEE: e, Capability: message.CapabilityRxOnWhenIdle}, 100)
	at := message.Attribute{Kind: message.TypeReadAttribute, Addr: addr, Endpoint: 1, Cluster: message.ClusterOTA}
	for id, value := range map[uint16][]byte{
		message.AttrOTAFileVersion: {0, 0, 0, 1}, message.AttrOTAManufacturer: {0x11, 0x7C}, message.AttrOTAImageType: {0x22, 0x01},
	} {
		at.ID, at.DataType, at.Data = id, 0x23, value
		w.service.HandleMessage(at, 100)
	}
	synctest.Wait()
}

func (r *script) count(t message.MsgType) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent[t]
}

// blockStatus is the dongle's word on a block, with so many APDUs in use.
func blockStatus(status, apdu uint8) *message.Status {
	return &message.Status{Request: message.ImageBlockResponse{}.Type(), Status: status, Form: message.StatusFormBuffers, APDUUsed: apdu}
}

func TestRefusedBlockIsSentAgain(t *testing.T) {
	refuse := func(done func(message.Status, error)) {
		st := *blockStatus(message.StatusNoBuffer, 2)
		done(st, &message.StatusError{Status: st})
	}
	tests := map[string]struct {
		status uint8
		then   func(w *world, radio *script, request func(uint8, uint32) message.ImageBlockRequest)
		want   int // blocks sent besides the first
	}{
		"no buffer":      {status: message.StatusNoBuffer, want: 1},
		"stack refused":  {status: message.StatusTransmitFailed, want: 1},
		"taken":          {status: message.StatusOK, want: 0},
		"wrong endpoint": {status: message.StatusEndpointRange, want: 0},
		"refused each time": {status: message.StatusNoBuffer, want: 3, then: func(_ *world, radio *script, _ func(uint8, uint32) message.ImageBlockRequest) {
			radio.mu.Lock()
			radio.answers[message.ImageBlockResponse{}.Type()] = refuse
			radio.mu.Unlock()
		}},
		"the device has asked anew": {status: message.StatusNoBuffer, want: 0, then: func(w *world, _ *script, request func(uint8, uint32) message.ImageBlockRequest) {
			next := request(8, 0)
			w.service.HandleBlockRequest(&next, nil)
			w.service.HandleBlockStatus(blockStatus(message.StatusOK, 0))
		}},
		"the device has repeated its request": {status: message.StatusNoBuffer, want: 0, then: func(w *world, _ *script, request func(uint8, uint32) message.ImageBlockRequest) {
			next := request(7, 0)
			w.service.HandleBlockRequest(&next, nil)
			w.service.HandleBlockStatus(blockStatus(message.StatusOK, 0))
		}},
		"the upgrade was cancelled": {status: message.StatusNoBuffer, want: 0, then: func(w *world, _ *script, _ func(uint8, uint32) message.ImageBlockRequest) {
			w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(bulb), r) })
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			withRadio(t, nil, func(w *world, radio *script) {
				request := offered(w)
				first := request(7, 0)
				if len(w.service.HandleBlockRequest(&first, nil)) == 0 {
					t.Fatal("no answer to a block request")
				}
				w.service.HandleBlockStatus(blockStatus(tc.status, 2))
				if tc.then != nil {
					tc.then(w, radio, request)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if n := radio.count((message.ImageBlockResponse{}).Type()); n != tc.want {
					t.Errorf("%d blocks were sent again, want %d", n, tc.want)
				}
			})
		})
	}
}

// TestRefusedBlockWaitsForBuffers has buffers that stay full for a while.
func TestRefusedBlockWaitsForBuffers(t *testing.T) {
	withRadio(t, nil, func(w *world, radio *script) {
		request := offered(w)
		first := request(7, 0)
		w.service.HandleBlockRequest(&first, nil)
		w.service.HandleBlockStatus(blockStatus(message.StatusNoBuffer, 14))
		for range 10 {
			time.Sleep(100 * time.Millisecond)
			w.service.HandleMessage(message.Confirm{Kind: message.TypeConfirm, HasBuffers: true, APDUUsed: 12}, 0)
			if radio.count((message.ImageBlockResponse{}).Type()) != 0 {
				t.Fatal("the block was sent again while the buffers were full")
			}
		}
		w.service.HandleMessage(message.Confirm{Kind: message.TypeConfirm, HasBuffers: true, APDUUsed: 1}, 0)
		w.within(200*time.Millisecond, "the block is sent again", func() bool { return radio.count(message.ImageBlockResponse{}.Type()) == 1 })
	})
}

// TestUnconfirmedBlockIsNotSentAgain has a block that was sent and did not arrive: the device asks again.
func TestUnconfirmedBlockIsNotSentAgain(t *testing.T) {
	withRadio(t, nil, func(w *world, radio *script) {
		request := offered(w)
		first := request(7, 0)
		w.service.HandleBlockRequest(&first, nil)
		w.service.HandleBlockStatus(blockStatus(message.StatusOK, 1))
		for range 3 {
			w.service.HandleMessage(message.Confirm{Kind: message.TypeConfirmFailed, Status: 0xA7, DstEndpoint: 1, DstAddrMode: message.AddrModeNetwork, Addr: 0x4f4f}, 0)
		}
		time.Sleep(4 * time.Second)
		if n := radio.count((message.ImageBlockResponse{}).Type()); n != 0 {
			t.Errorf("%d blocks were sent unasked", n)
		}
		failed := 0
		for _, name := range w.sink.names(bulb) {
			if name == otasvc.EventDeliveryFailed {
				failed++
			}
		}
		if failed != 1 {
			t.Errorf("%d events of failed deliveries within a minute, want 1", failed)
		}
	})
}

// TestFullBuffersPutOffButNotForEver has downloads that fill the dongle's buffers for as long as they
// last, as seven in step with each other do: the next device's turn, and getting to know another one, come
// later, but they come.
func TestFullBuffersPutOffButNotForEver(t *testing.T) {
	withRadio(t, nil, func(w *world, radio *script) {
		request := offered(w)
		first := request(7, 0)
		w.service.HandleBlockRequest(&first, nil)
		busy := func() {
			w.service.HandleBlockStatus(blockStatus(message.StatusOK, 7))
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		busy()
		url, _ := w.image(0x117C, 0x2201, 2, 4_000) // the same one
		others := []message.IEEE{bulb + 1, bulb + 2}
		for i, e := range others {
			w.introduces(e, uint16(0x5000+i))
			w.add(e, url)
			w.service.Upgrade(otasvc.UpgradeRequest{Device: ref(e)}, func(otasvc.Answer) {})
		}
		asked := radio.count(message.NodeDescriptorRequest{}.Type())
		notified := func() (n int) {
			for _, e := range others {
				if u := w.sink.device(e).Upgrade; u != nil && u.State == upgrade.Notified {
					n++
				}
			}
			return n
		}
		for range 10 {
			busy()
		}
		if notified() != 0 || radio.count((message.NodeDescriptorRequest{}).Type()) != asked {
			t.Error("the buffers were full, and nothing was put off")
		}
		for range 100 {
			busy()
		}
		if n := notified(); n != 2 {
			t.Errorf("after eleven seconds of full buffers %d of 2 devices were offered their image", n)
		}
		for range 300 { // whoever was asked before has to be given up first
			busy()
		}
		if radio.count((message.NodeDescriptorRequest{}).Type()) == asked {
			t.Error("after forty seconds of full buffers no device was interviewed")
		}
	})
}
