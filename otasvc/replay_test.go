package otasvc_test

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// ofType are the payloads of frames of a type.
func ofType(frames []message.Frame, t message.MsgType) [][]byte {
	var list [][]byte
	for _, f := range frames {
		if f.Type == t {
			list = append(list, f.Payload)
		}
	}
	return list
}

// TestReplayOfATrace records an upgrade and plays the dongle's part of it to a service that knows nothing: it
// serves the same blocks, and the upgrade ends in the same way.
func TestReplayOfATrace(t *testing.T) {
	var file bytes.Buffer
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.stop() // the recording begins with the connection
		trace := zigate.NewTraceWriter(&file)
		recording, stop := context.WithCancel(w.t.Context())
		recorded := make(chan error, 1)
		go func() { recorded <- trace.Run(recording) }()
		w.trace = trace.Trace
		w.start()
		upgraded(w, 5_000)
		u := w.ended(time.Hour, bulb)
		w.stopService() // its last words belong to it
		stop()
		if err := <-recorded; err != nil || u.State != upgrade.Succeeded {
			t.Fatalf("ended %+v, %v", u, err)
		}
		frames, err := readTrace(&file)
		if err != nil {
			t.Fatal(err)
		}
		var before []message.Frame
		for _, f := range frames {
			if f.Direction == message.ToDongle {
				before = append(before, f.Frame)
			}
		}
		if len(ofType(before, (message.ImageBlockResponse{}).Type())) < 5_000/64 {
			t.Fatalf("the trace has %d frames, %d blocks", len(frames), len(ofType(before, message.ImageBlockResponse{}.Type())))
		}

		replay := newReplay(frames)
		lib, err := library.Open(library.Options{Dir: filepath.Join(w.dir, "images")})
		if err != nil {
			t.Fatal(err)
		}
		log := slog.New(slog.DiscardHandler)
		w.service, err = otasvc.New(otasvc.Options{Images: lib, Observer: noObserver{}, Logger: log, Policy: defaultPolicy()})
		if err != nil {
			t.Fatal(err)
		}
		w.sink = newRecorder()
		dongle := zigate.NewDongle(zigate.Options{Dialer: replay, Handler: w.service, Logger: log})
		ctx, cancel := context.WithCancel(w.t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = dongle.Run(ctx) })
		running.Go(func() { _ = w.service.Run(ctx, dongle, w.sink) })
		w.stop = func() { cancel(); running.Wait() }
		upgraded(w, 5_000)
		if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
			t.Errorf("replayed: ended %+v", u)
		}
		again := replay.Heard()
		if diff := cmp.Diff(ofType(before, (message.ImageBlockResponse{}).Type()), ofType(again, message.ImageBlockResponse{}.Type())); diff != "" {
			t.Errorf("blocks -recorded +replayed:\n%s", diff)
		}
		if !slices.ContainsFunc(ofType(again, message.TypeLoadImage), func(p []byte) bool { return bytes.Contains(p, []byte{0x11, 0x7C, 0x22, 0x01, 0, 0, 0, 2}) }) {
			t.Error("the header was not loaded")
		}
	})
}
