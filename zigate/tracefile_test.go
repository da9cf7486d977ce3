package zigate_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

var tracedAt = time.Date(2026, 11, 21, 22, 1, 2, 345678000, time.UTC)

// readTrace reads all frames of a trace. The error is the first that there is.
func readTrace(r io.Reader) ([]zigate.TracedFrame, error) {
	t, err := zigate.NewTraceReader(r)
	if err != nil {
		return nil, err
	}
	var frames []zigate.TracedFrame
	for {
		f, err := t.Next()
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		frames = append(frames, f)
	}
}

func TestTraceLines(t *testing.T) {
	frames := []zigate.TracedFrame{
		{Time: tracedAt, Direction: message.ToDongle, Frame: message.Frame{Type: message.TypeGetVersion}},
		{Time: tracedAt.Add(time.Millisecond), Frame: message.Frame{Type: message.TypeVersion, Payload: []byte{0x00, 0x04, 0x03, 0x23, 0x00}}},
	}
	text := []byte(zigate.TraceHeader + "\n")
	for _, f := range frames {
		text = zigate.AppendTraceLine(text, f)
	}
	const want = zigate.TraceHeader + `
2026-11-21T22:01:02.345678Z sent 0x0010 -
2026-11-21T22:01:02.346678Z received 0x8010 0004032300
`
	if string(text) != want {
		t.Errorf("written:\n%s\nwant:\n%s", text, want)
	}
	got, err := readTrace(bytes.NewReader(text))
	if diff := cmp.Diff(frames, got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}

func TestTraceMistakes(t *testing.T) {
	if _, err := readTrace(strings.NewReader("\x1e\xf1\xee\x0b")); !errors.Is(err, zigate.ErrTrace) {
		t.Errorf("an image: %v", err)
	}
	good := "2026-11-21T22:01:02.345678Z sent 0x0010 -"
	for name, line := range map[string]string{
		"three words":  "2026-11-21T22:01:02.345678Z sent 0x0010",
		"no time":      "yesterday sent 0x0010 -",
		"no direction": "2026-11-21T22:01:02.345678Z up 0x0010 -",
		"no type":      "2026-11-21T22:01:02.345678Z sent version -",
		"odd digits":   "2026-11-21T22:01:02.345678Z sent 0x0010 012",
		"too long":     "2026-11-21T22:01:02.345678Z sent 0x0010 " + strings.Repeat("00", message.MaxPayload+1),
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Join([]string{zigate.TraceHeader, "", "# a remark", line, good, ""}, "\n")
			r, err := zigate.NewTraceReader(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Next(); !errors.Is(err, zigate.ErrTrace) || !strings.Contains(err.Error(), "line 4") {
				t.Errorf("Next: %v", err)
			}
			if f, err := r.Next(); err != nil || f.Frame.Type != message.TypeGetVersion {
				t.Errorf("the good line behind it: %+v, %v", f, err)
			}
			if _, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

// stuckWriter takes nothing until it is let go.
type stuckWriter struct {
	bytes.Buffer
	free chan struct{}
}

func (w *stuckWriter) Write(b []byte) (int, error) {
	<-w.free
	return w.Buffer.Write(b)
}

func TestTraceWriterDoesNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuckWriter{free: make(chan struct{})}
		w := zigate.NewTraceWriter(out)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		synctest.Wait()
		const n = 1000
		payload := make([]byte, message.MaxPayload)
		for range n {
			w.Trace(message.FromDongle, message.Frame{Type: message.TypeLog, Payload: payload})
		}
		close(out.free)
		synctest.Wait()
		w.Trace(message.ToDongle, message.Frame{Type: message.TypeReset})
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		frames, err := readTrace(&out.Buffer)
		if err != nil || len(frames) == 0 || len(frames) >= n || frames[len(frames)-1].Frame.Type != message.TypeReset {
			t.Errorf("%d frames were written, %v", len(frames), err)
		}
	})
}

// TestTraceOfAConnection traces a handshake into a file.
func TestTraceOfAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		w := zigate.NewTraceWriter(&out)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		b, f := connect(t, &fakeDialer{})
		b.dongle.TraceTo(w.Trace)
		b.submit("time", message.SetTime{Seconds: 1})
		f.send(message.Leave{IEEE: 0x000B57FFFE2C8904})
		synctest.Wait()
		cancel()
		<-ended
		for _, line := range []string{"sent 0x0016 00000001\n", "received 0x8000 0000001600000102", "received 0x8048 000b57fffe2c8904009c\n"} {
			if !strings.Contains(out.String(), line) {
				t.Errorf("no line with %q in:\n%s", line, out.String())
			}
		}
	})
}

func FuzzTrace(f *testing.F) {
	for _, m := range []message.Message{
		message.GetVersion{},
		message.Version{Major: 4, Minor: 0x323},
		message.Status{Request: message.ImageBlockResponse{}.Type(), Status: 0x14, Form: message.StatusFormBuffers, APDUUsed: 12},
		message.ImageBlockRequest{Cluster: message.ClusterOTA, AddrMode: message.AddrModeNetwork, Addr: 0x9021, MaxDataSize: 64},
		message.ImageBlockResponse{Sequence: 7, Offset: 64, FileVersion: 0x22010631, Data: []byte{1, 2}},
		message.LoadImage{},
		message.DeviceList{},
		message.DataIndication{Cluster: message.ClusterOTA, Payload: []byte("\x11\x05\x01\x01\x7c\x11\x01\x22\x31\x06\x01\x22\x03\x00")},
		message.NodeDescriptor{},
		message.Leave{IEEE: 0x000B57FFFE2C8904},
	} {
		for _, direction := range []message.Direction{message.FromDongle, message.ToDongle} {
			text := zigate.AppendTraceLine([]byte(zigate.TraceHeader+"\n"), zigate.TracedFrame{
				Time: tracedAt, Direction: direction, Frame: message.Frame{Type: m.Type(), Payload: message.AppendPayload(nil, m)},
			})
			f.Add(append(text, "garbage\n"...))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := zigate.NewTraceReader(bytes.NewReader(text))
		if err != nil {
			return
		}
		size := 0
		for {
			frame, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				continue
			}
			size += len(frame.Frame.Payload)
			words := frame.Frame.Words(frame.Direction)
			if most := 400 + 64*len(frame.Frame.Payload); len(words) > most {
				t.Errorf("%d bytes of words for a payload of %d", len(words), len(frame.Frame.Payload))
			}
			again, err := readTrace(bytes.NewReader(zigate.AppendTraceLine([]byte(zigate.TraceHeader+"\n"), frame)))
			if err != nil || len(again) != 1 || again[0].Frame.Type != frame.Frame.Type || !bytes.Equal(again[0].Frame.Payload, frame.Frame.Payload) {
				t.Errorf("%+v is read again as %+v, %v", frame, again, err)
			}
		}
		if size > len(text)/2 {
			t.Errorf("%d bytes of payload in a text of %d", size, len(text))
		}
	})
}
