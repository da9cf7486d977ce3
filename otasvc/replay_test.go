package otasvc_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// replay starts a service that knows nothing, with a trace in the place of the dongle. What the service sends
// is in the replay's Heard.
func (w *world) replay(frames []zigate.TracedFrame) *replay {
	w.t.Helper()
	w.stop()
	if err := os.RemoveAll(filepath.Dir(w.stateFile())); err != nil {
		w.t.Fatal(err)
	}
	r := newReplay(frames)
	w.dialer = r
	w.start()
	return r
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

		replay := w.replay(frames)
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
