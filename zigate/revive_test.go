package zigate_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// hanging is a dongle that falls silent when told to, and is freed by a reset where it can be.
type hanging struct {
	silent  atomic.Bool
	only    message.MsgType // if not 0, only this command goes without an answer
	curable bool
	resets  atomic.Int32
}

func (h *hanging) script(f message.Frame) ([]byte, bool) {
	if f.Type == message.TypeReset {
		h.resets.Add(1)
		if h.curable {
			h.silent.Store(false)
			return nil, false
		}
	}
	return nil, h.silent.Load() && (h.only == 0 || f.Type == h.only)
}

func TestHangingDongleIsReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{curable: true}
		b, _ := connect(t, &fakeDialer{script: h.script})
		h.silent.Store(true)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if h.silent.Load() {
			t.Fatal("the dongle still hangs")
		}
		if n := h.resets.Load(); n != 1 {
			t.Errorf("%d resets, want 1", n)
		}
		b.submit("time", message.SetTime{})
		b.finished("time: 0x00")
	})
}

// TestHalfHangingDongleIsReset has a dongle that tells its version and does nothing else.
func TestHalfHangingDongleIsReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{curable: true, only: message.TypeLoadImage}
		b, _ := connect(t, &fakeDialer{script: h.script})
		h.silent.Store(true)
		for range 60 {
			b.submit("load", message.LoadImage{})
			time.Sleep(2 * time.Second)
		}
		synctest.Wait()
		if h.silent.Load() || h.resets.Load() != 1 {
			t.Errorf("hangs: %t, %d resets", h.silent.Load(), h.resets.Load())
		}
	})
}

func TestResetsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{}
		dialer := &fakeDialer{script: h.script}
		connect(t, dialer)
		h.silent.Store(true)
		time.Sleep(2 * time.Hour)
		if n := h.resets.Load(); n != 3 {
			t.Errorf("%d resets in two hours of silence, want 3", n)
		}
		before := dialer.count()
		time.Sleep(time.Hour)
		if dialer.count() == before {
			t.Error("it is not tried again any more")
		}
		h.silent.Store(false)
		time.Sleep(time.Hour) // it is well
		h.silent.Store(true)
		time.Sleep(10 * time.Minute)
		if n := h.resets.Load(); n <= 3 {
			t.Error("a dongle that was well again is not reset when it hangs anew")
		}
	})
}

// TestStrangersAreNotReset has a port that never answered as a ZiGate.
func TestStrangersAreNotReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{}
		h.silent.Store(true)
		run(t, &fakeDialer{script: h.script})
		time.Sleep(2 * time.Hour)
		if n := h.resets.Load(); n != 0 {
			t.Errorf("%d resets were sent", n)
		}
	})
}
