package bridge_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// line is a FrameSink over an outbox, with a broker that is there or not.
type line struct {
	*mqttclient.Outbox
	mu      sync.Mutex
	up      bool
	dropped int // messages
}

func (l *line) Waiting() int { return l.Len() }

func (l *line) Publish(topic string, payload []byte) {
	if l.Outbox.Publish(topic, payload) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.dropped++
	}
}

func (l *line) Connected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

func (l *line) setUp(up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = up
}

// take hands everything to the broker, which acknowledges it.
func (l *line) take() []string {
	var taken []string
	for m, ok := l.Next(); ok; m, ok = l.Next() {
		taken = append(taken, m.Topic+" "+string(m.Payload))
		l.Done(m.ID)
	}
	return taken
}

// withFrames runs a test with the task running, in fake time.
func withFrames(t *testing.T, limit int, f func(frames *bridge.Frames, out *line, told *strings.Builder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		out := &line{Outbox: mqttclient.NewOutbox(limit), up: true}
		var told strings.Builder
		frames := bridge.NewFrames("zigate-ota", out, slog.New(slog.NewTextHandler(&told, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = frames.Run(ctx) })
		f(frames, out, &told)
		cancel()
		running.Wait()
	})
}

func TestFrames(t *testing.T) {
	withFrames(t, 100, func(frames *bridge.Frames, out *line, _ *strings.Builder) {
		payload := []byte{0x00, 0x2C, 0x05, 0x02, 0x84}
		frames.Trace(message.FromDongle, message.Frame{Type: message.TypeStatus, Payload: payload})
		payload[0] = 0xFF // it is the decoder's and is used again
		frames.Trace(message.ToDongle, message.Frame{Type: message.TypeGetVersion})
		time.Sleep(time.Millisecond)
		frames.Trace(message.FromDongle, message.Frame{Type: message.TypeLog, Payload: []byte("\x06on")})
		frames.Trace(message.FromDongle, message.Frame{Type: 0x9ABC, Payload: []byte{7}})
		frames.Trace(message.FromDongle, message.Frame{Type: message.TypeHeartbeat})
		synctest.Wait()
		want := []string{
			`zigate-ota/frame/rx {"time":"2000-01-01T00:00:00Z","type":"0x8000","name":"status","payload":"002c050284","lqi":132}`,
			`zigate-ota/frame/tx {"time":"2000-01-01T00:00:00Z","type":"0x0010","name":"get version","payload":""}`,
			`zigate-ota/frame/rx {"time":"2000-01-01T00:00:00.001Z","type":"0x8001","name":"log","payload":"066f6e"}`,
			`zigate-ota/frame/rx {"time":"2000-01-01T00:00:00.001Z","type":"0x9abc","name":"unknown","payload":"07","lqi":7}`,
			`zigate-ota/frame/rx {"time":"2000-01-01T00:00:00.001Z","type":"0x8008","name":"heartbeat","payload":""}`,
		}
		if diff := cmp.Diff(want, out.take()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// number is a frame that is told apart by its payload.
func number(n int) message.Frame {
	return message.Frame{Type: message.TypeHeartbeat, Payload: []byte{byte(n >> 8), byte(n), 0}}
}

// TestFramesComeLast: whatever the broker does, no event is lost because of frames, and the
// newest frames are kept.
func TestFramesComeLast(t *testing.T) {
	const events = 200
	withFrames(t, events+bridge.FramesInOutbox, func(frames *bridge.Frames, out *line, told *strings.Builder) {
		for n := range 300 { // the broker takes nothing
			frames.Trace(message.FromDongle, number(n))
		}
		synctest.Wait()
		if n := out.Len(); n != bridge.FramesInOutbox {
			t.Errorf("%d frames went to a broker that takes none", n)
		}
		out.setUp(false)
		for n := range events {
			out.Publish("event", fmt.Append(nil, n))
		}
		for n := 300; n < 3000; n++ {
			frames.Trace(message.FromDongle, number(n))
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if out.dropped != 0 || out.Len() != events+bridge.FramesInOutbox {
			t.Errorf("%d dropped, %d wait", out.dropped, out.Len())
		}
		if !strings.Contains(told.String(), fmt.Sprintf("frames=%d", 3000-bridge.FramesInOutbox-1000)) {
			t.Errorf("told: %s", told)
		}

		out.setUp(true)
		var frame, event int
		last := ""
		for range 100 {
			time.Sleep(time.Second)
			synctest.Wait()
			for _, m := range out.take() {
				if strings.HasPrefix(m, "event ") {
					event++
					continue
				}
				frame++
				last = m
			}
		}
		if event != events || frame != bridge.FramesInOutbox+1000 || !strings.Contains(last, `"payload":"0bb700"`) {
			t.Errorf("%d events and %d frames arrived, the last one %s", event, frame, last)
		}
	})
}

// TestTraceDoesNotAllocate: the reader of the dongle calls it between a block request and its answer.
func TestTraceDoesNotAllocate(t *testing.T) {
	frames := bridge.NewFrames("zigate-ota", &line{Outbox: mqttclient.NewOutbox(1)}, slog.New(slog.DiscardHandler))
	f := message.Frame{Type: message.TypeImageBlockRequest, Payload: make([]byte, 30)}
	for range 1000 {
		frames.Trace(message.FromDongle, f)
	}
	if n := testing.AllocsPerRun(1000, func() { frames.Trace(message.FromDongle, f) }); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}
