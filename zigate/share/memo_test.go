package share_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/share"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// listener is a program that only listens.
type listener struct {
	silent
	mu   sync.Mutex
	told []message.MsgType
}

func (l *listener) HandleMessage(m message.Message, _ uint8) {
	l.mu.Lock()
	l.told = append(l.told, m.Type())
	l.mu.Unlock()
}

func (l *listener) take() []message.MsgType {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := l.told
	l.told = nil
	return told
}

// What a client has just asked a device, this program does not ask again, however the client has asked; and a
// device that has just joined is left to the clients first.
func TestDevicesAreNotAskedTwice(t *testing.T) {
	node, endpoints := message.NodeDescriptorRequest{Addr: lamp}, message.ActiveEndpointsRequest{Addr: lamp}
	simple, names := message.SimpleDescriptorRequest{Addr: lamp, Endpoint: 1}, reads(lamp, 4, 5)
	zdp := func(cluster uint16, data ...byte) message.RawAPS {
		r := raw(lamp, cluster, data...)
		r.Profile, r.SrcEndpoint, r.DstEndpoint = 0, 0, 0
		return r
	}
	answers := []message.MsgType{0x8042, 0x8045, 0x8043, 0x8100, 0x8100}
	for _, mode := range []message.RawMode{message.RawModeOff, message.RawModeRaw} {
		for name, asked := range map[string][]message.Message{
			"commands": {node, endpoints, simple, names},
			"raw data": {zdp(2, 1, 0x4f, 0x4f), zdp(5, 2, 0x4f, 0x4f), zdp(4, 3, 0x4f, 0x4f, 1), raw(lamp, 0, 0, 4, 0, 4, 0, 5, 0)},
		} {
			t.Run(fmt.Sprintf("%s, mode %d", name, mode), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					us := &listener{}
					h := newHome(t, lab(sim.V1323), us, share.Options{})
					defer h.stop()
					a := h.join("a")
					a.says(wire(message.SetRawMode{Mode: mode}))
					a.hearsTypes("0x8000")
					ask := func() (done int) {
						for _, m := range []message.Message{node, endpoints, simple, names} {
							h.hub.Submit(m, func(_ message.Status, err error) {
								if err == nil {
									done++
								}
							})
						}
						time.Sleep(time.Second)
						synctest.Wait()
						return done
					}
					relevant := func() (told []message.MsgType) {
						for _, m := range us.take() {
							if slices.Contains(answers, m) {
								told = append(told, m)
							}
						}
						slices.Sort(told)
						return told
					}
					sorted := slices.Sorted(slices.Values(answers))
					for _, m := range asked {
						a.says(wire(m))
						time.Sleep(time.Second)
					}
					if diff := cmp.Diff(sorted, relevant()); diff != "" {
						t.Errorf("we saw of the client's questions (-want +got):\n%s", diff)
					}
					h.tap.take()
					if done := ask(); done != 4 || len(h.tap.take()) != 0 {
						t.Errorf("%d of our 4 questions are done, without a frame to the dongle", done)
					}
					if diff := cmp.Diff(sorted, relevant()); diff != "" {
						t.Errorf("we were told (-want +got):\n%s", diff)
					}
					time.Sleep(5 * time.Minute)
					if done := ask(); done != 4 || len(h.tap.take()) != 4 {
						t.Errorf("minutes later %d questions are done, with as many frames", done)
					}

					time.Sleep(5 * time.Minute)
					device(h.dongle, lamp).Announce()
					time.Sleep(time.Second)
					us.take()
					h.hub.Submit(node, nil)
					time.Sleep(time.Second)
					if n := len(h.tap.take()); n != 0 {
						t.Errorf("a device that has just joined is asked %d questions at once", n)
					}
					a.says(wire(asked[0]))
					time.Sleep(10 * time.Second)
					if n := len(h.tap.take()); n != 1 {
						t.Errorf("it is asked %d times, not once by the client", n)
					}
					a.take()
				})
			})
		}
	}
}
