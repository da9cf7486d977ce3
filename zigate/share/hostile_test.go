package share_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/share"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// A browser on this machine carries what a page of somebody else wants to any port, here a command that
// erases the dongle. It is told by the request that goes ahead, however that is cut.
func TestBrowser(t *testing.T) {
	for _, request := range [][]string{
		{"POST / HTTP/1.1\r\nHost: 127.0.0.1:9999\r\nContent-Type: text/plain\r\n\r\n"},
		{"P", "OST / HTTP/1.1\r\nHost: 127.0.0.1:9999\r\n\r\n"},
		{"GET /?", "\x01 HTTP/1.1\r\n\r\n"}, {"PUT / HTTP/1.1\r\n\r\n"}, {"HEAD / HTTP/1.0\r\n\r\n"}, {"OPTIONS ", "* HTTP/1.1\r\n\r\n"},
		{"DELETE / HTTP/1.1\r\n"}, {"PATCH / HTTP/1.1\r\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHome(t, lab(sim.V1323), silent{}, share.Options{})
			defer h.stop()
			browser := h.join("browser")
			for _, part := range append(request, string(wire(message.ErasePersistentData{}))) {
				_, _ = browser.Write([]byte(part)) // it may be closed by then
				synctest.Wait()
			}
			time.Sleep(time.Second)
			if got := h.tap.take(); len(got) > 0 {
				t.Errorf("%q: written to the dongle: %x", request, got)
			}
			if _, err := browser.Write([]byte{0}); err == nil {
				t.Errorf("%q: it is still connected", request)
			}
			if got := h.reports.take(); !slices.Equal(got, []share.Report{share.ReportTurnedAway}) {
				t.Errorf("%q: reported: %v", request, got)
			}
		})
	}
}

// Who connects again and again and leaves commands behind finds an end of that, and others do not wait long.
func TestLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, lab(sim.V1323), silent{}, share.Options{})
		defer h.stop()
		h.tap.mu.Lock()
		h.tap.refuse = true
		h.tap.mu.Unlock()
		h.dongle.Disconnect()
		synctest.Wait()
		const each = 60
		for range 100 {
			u := h.join("flood")
			for range each {
				if _, err := u.Write(wire(getVersion)); err != nil {
					break
				}
			}
			u.Close()
			synctest.Wait()
		}
		time.Sleep(10 * time.Second)
		var dropped, turnedAway int
		for _, r := range h.reports.take() {
			switch r {
			case share.ReportDropped:
				dropped++
			case share.ReportTurnedAway:
				turnedAway++
			}
		}
		if dropped > 20*each || dropped == 0 || turnedAway == 0 {
			t.Errorf("%d commands were kept of those who had gone, %d programs turned away", dropped, turnedAway)
		}
		if _, err := h.join("later").Write(wire(getVersion)); err != nil {
			t.Errorf("who comes afterwards: %v", err)
		}
	})
}

// A client goes while all its commands wait and one of them has found this program's queue full: the
// others are served.
func TestGoneWhileFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := lab(sim.V1323)
		slow.LineRate = 2000
		h := newHome(t, slow, silent{}, share.Options{})
		defer h.stop()
		time.Sleep(10 * time.Second)
		h.tap.take()
		a, b := h.join("a"), h.join("b")
		for range 300 {
			h.hub.Submit(getVersion, nil)
		}
		go func() {
			for range 80 {
				if _, err := a.Write(wire(message.GetTime{})); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		a.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := ofTypes(h.tap.take(), message.TypeGetTime); got < 64 {
			t.Errorf("%d commands of the one that has gone were sent", got)
		}
		b.says(wire(getVersion))
		b.hears(versionStatus, versionAnswer)
	})
}
