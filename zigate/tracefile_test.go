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
)

var tracedAt = time.Date(2026, 11, 21, 22, 1, 2, 345678000, time.UTC)

func TestTraceLines(t *testing.T) {
	frames := []zigate.TracedFrame{
		{Time: tracedAt, Direction: zigate.ToDongle, Frame: zigate.Frame{Type: zigate.TypeGetVersion}},
		{Time: tracedAt.Add(time.Millisecond), Frame: zigate.Frame{Type: zigate.TypeVersion, Payload: bytesOf("0004032300")}},
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
	got, err := zigate.ReadTrace(bytes.NewReader(text), 10)
	if diff := cmp.Diff(frames, got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	if got, err := zigate.ReadTrace(bytes.NewReader(text), 1); err != nil || len(got) != 1 {
		t.Errorf("at most one: %v, %v", got, err)
	}
}

func TestTraceMistakes(t *testing.T) {
	if _, err := zigate.ReadTrace(strings.NewReader("\x1e\xf1\xee\x0b"), 1); !errors.Is(err, zigate.ErrTrace) {
		t.Errorf("an image: %v", err)
	}
	good := "2026-11-21T22:01:02.345678Z sent 0x0010 -"
	for name, line := range map[string]string{
		"three words":  "2026-11-21T22:01:02.345678Z sent 0x0010",
		"no time":      "yesterday sent 0x0010 -",
		"no direction": "2026-11-21T22:01:02.345678Z up 0x0010 -",
		"no type":      "2026-11-21T22:01:02.345678Z sent version -",
		"odd digits":   "2026-11-21T22:01:02.345678Z sent 0x0010 012",
		"too long":     "2026-11-21T22:01:02.345678Z sent 0x0010 " + strings.Repeat("00", zigate.MaxPayload+1),
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
			if f, err := r.Next(); err != nil || f.Frame.Type != zigate.TypeGetVersion {
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
		payload := make([]byte, zigate.MaxPayload)
		for range n {
			w.Trace(zigate.FromDongle, zigate.Frame{Type: zigate.TypeLog, Payload: payload})
		}
		close(out.free)
		synctest.Wait()
		w.Trace(zigate.ToDongle, zigate.Frame{Type: zigate.TypeReset})
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		frames, err := zigate.ReadTrace(&out.Buffer, 2*n)
		if err != nil || len(frames) == 0 || len(frames) >= n || frames[len(frames)-1].Frame.Type != zigate.TypeReset {
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
		b.submit("time", zigate.SetTime{Seconds: 1})
		f.send(zigate.Leave{IEEE: deviceIEEE})
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

func TestWords(t *testing.T) {
	received := func(m zigate.Message) string {
		return zigate.Frame{Type: m.Type(), Payload: append(m.AppendPayload(nil), 0x9C)}.Words(zigate.FromDongle)
	}
	sent := func(m zigate.Message) string {
		return zigate.Frame{Type: m.Type(), Payload: m.AppendPayload(nil)}.Words(zigate.ToDongle)
	}
	tests := []struct{ got, want string }{
		{sent(zigate.GetVersion{}), "get version"},
		{received(zigate.Version{Major: 4, Minor: 0x323}), "version: major 0x0004, minor 0x0323"},
		{received(zigate.Status{Request: zigate.TypeBlockSend, Status: 0x14, Form: zigate.StatusFormBuffers, APDUUsed: 12}),
			"image block response: no APDU buffer, or frame too large"},
		{received(zigate.Confirm{Kind: zigate.TypeConfirmFailed, Status: 0xA7, Addr: 0x9021, DstAddrMode: zigate.AddrModeShort}), "addr 0x9021"},
		{sent(zigate.BlockSend{Target: target, Sequence: 7, Offset: 64, FileVersion: 0x22010631, Data: []byte{1, 2}}),
			"sequence 7, status 0x00, offset 64, file version 0x22010631"},
		{received(zigate.DeviceAnnounce{Addr: 0x9021, IEEE: deviceIEEE}), "IEEE 0x000b57fffe2c8904"},
		{received(zclFrame(zigate.ClusterOTA, "11", "05", "01", "01", "7c11", "0122", "31060122", "0300")),
			"query next image: sequence 5, no default response, manufacturer code 0x117c, image type 0x2201, file version 0x22010631, has hardware version, hardware version 0x0003"},
		{zigate.Frame{Type: 0x8999, Payload: []byte{1, 2}}.Words(zigate.FromDongle), "unknown: 0x8999: unknown message type: 01"},
		{zigate.Frame{Type: zigate.TypeStatus, Payload: []byte{1, 2}}.Words(zigate.FromDongle), "payload too short"},
		{zigate.Frame{Type: zigate.TypeStatus}.Words(zigate.FromDongle), "status: "},
	}
	for _, tc := range tests {
		if !strings.Contains(tc.got, tc.want) {
			t.Errorf("%q does not say %q", tc.got, tc.want)
		}
	}
}

func FuzzTrace(f *testing.F) {
	for _, tc := range append(commandCases(), dongleCases()...) {
		text := zigate.AppendTraceLine([]byte(zigate.TraceHeader+"\n"), zigate.TracedFrame{
			Time: tracedAt, Direction: zigate.ToDongle, Frame: zigate.Frame{Type: tc.msg.Type(), Payload: tc.payload},
		})
		f.Add(append(text, "garbage\n"...))
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
			again, err := zigate.ReadTrace(bytes.NewReader(zigate.AppendTraceLine([]byte(zigate.TraceHeader+"\n"), frame)), 1)
			if err != nil || len(again) != 1 || again[0].Frame.Type != frame.Frame.Type || !bytes.Equal(again[0].Frame.Payload, frame.Frame.Payload) {
				t.Errorf("%+v is read again as %+v, %v", frame, again, err)
			}
		}
		if size > len(text)/2 {
			t.Errorf("%d bytes of payload in a text of %d", size, len(text))
		}
	})
}
