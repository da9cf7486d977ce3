package otasvc_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// noRadio is a dongle that is never there.
type noRadio struct{}

func (noRadio) Submit(_ message.Message, done func(message.Status, error)) {
	done(message.Status{}, zigate.ErrNotConnected)
}

// slowSink is a Sink that takes no information while it is held up.
type slowSink struct {
	*recorder
	heldUp <-chan struct{}
}

func (s slowSink) InfoChanged(i otasvc.InfoRecord) {
	<-s.heldUp
	s.recorder.InfoChanged(i)
}

// A service whose owner is held up is not alive; one without a dongle is.
func TestAlive(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		images, err := library.Open(library.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		service, err := otasvc.New(otasvc.Options{Images: images, Observer: noObserver{}, Logger: slog.New(slog.DiscardHandler), Policy: defaultPolicy()})
		if err != nil {
			t.Fatal(err)
		}
		if err := service.Alive(); err != nil {
			t.Errorf("before Run: %v", err)
		}
		heldUp := make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- service.Run(ctx, noRadio{}, slowSink{newRecorder(), heldUp}) }()
		time.Sleep(20 * time.Second)
		if err := service.Alive(); err != nil {
			t.Errorf("after a while: %v", err)
		}
		time.Sleep(20 * time.Second)
		if err := service.Alive(); err == nil {
			t.Error("held up for 40 s and alive")
		}
		close(heldUp)
		time.Sleep(24 * time.Hour)
		if err := service.Alive(); err != nil {
			t.Errorf("a day without a dongle: %v", err)
		}
		if err := service.DongleHealth(); err == nil {
			t.Error("upgrades can be done without a dongle")
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
