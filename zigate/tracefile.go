package zigate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// A trace file is text: TraceHeader, then a line a frame with the time (RFC 3339, UTC), the direction
// ("received" from the dongle, "sent" to it), the type and the payload in hexadecimal, "-" for none. Payloads
// are as in a Frame: those from the dongle end with their link-quality byte. Empty lines, and lines that
// begin with #, mean nothing.

// TraceHeader is the first line of a trace file.
const TraceHeader = "# zigate-ota trace 1"

const (
	// maxTraceLine is the longest line that is read, in bytes: time, direction, type and the longest payload.
	maxTraceLine = 128 + 2*message.MaxPayload
	// maxTraceWaiting is how many bytes wait to be written before frames are dropped.
	maxTraceWaiting = 1 << 20
	traceTime       = "2006-01-02T15:04:05.000000Z"
)

// TracedFrame is a frame of a trace.
type TracedFrame struct {
	Time      time.Time
	Direction message.Direction
	Frame     message.Frame
}

// AppendTraceLine appends a frame as a line of a trace file.
func AppendTraceLine(dst []byte, f TracedFrame) []byte {
	dst = f.Time.UTC().AppendFormat(dst, traceTime)
	dst = append(append(append(dst, ' '), f.Direction.String()...), " 0x"...)
	t := [2]byte{byte(f.Frame.Type >> 8), byte(f.Frame.Type)}
	dst = append(hex.AppendEncode(dst, t[:]), ' ')
	if len(f.Frame.Payload) == 0 {
		dst = append(dst, '-')
	}
	return append(hex.AppendEncode(dst, f.Frame.Payload), '\n')
}

// ErrTrace says that a file, or a line in it, is no trace.
var ErrTrace = errors.New("not a trace of ZiGate frames")

// TraceReader reads a trace file.
type TraceReader struct {
	lines *bufio.Scanner
	line  int
	ended error
}

// NewTraceReader reads the header. The error is ErrTrace where the file has another first line.
func NewTraceReader(r io.Reader) (*TraceReader, error) {
	t := &TraceReader{lines: bufio.NewScanner(r)}
	t.lines.Buffer(nil, maxTraceLine)
	if !t.lines.Scan() || t.lines.Text() != TraceHeader {
		return nil, errors.Join(fmt.Errorf("%w: its first line is not %q", ErrTrace, TraceHeader),
			t.lines.Err())
	}
	t.line = 1
	return t, nil
}

// Next returns the next frame. The error is io.EOF at the end, and an ErrTrace for a line that cannot be
// read; Next can then be called again for the lines behind it.
func (t *TraceReader) Next() (TracedFrame, error) {
	for t.ended == nil && t.lines.Scan() {
		t.line++
		line := t.lines.Bytes()
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		f, err := parseTraceLine(line)
		if err != nil {
			return TracedFrame{}, fmt.Errorf("%w: line %d: %w", ErrTrace, t.line, err)
		}
		return f, nil
	}
	if t.ended == nil {
		t.ended = io.EOF
		if err := t.lines.Err(); err != nil {
			return TracedFrame{}, fmt.Errorf("%w: line %d: %w", ErrTrace, t.line+1, err)
		}
	}
	return TracedFrame{}, t.ended
}

func parseTraceLine(line []byte) (TracedFrame, error) {
	fields := bytes.Fields(line)
	if len(fields) != 4 {
		return TracedFrame{}, fmt.Errorf("%d words, want time, direction, type and payload", len(fields))
	}
	var f TracedFrame
	var err error
	if f.Time, err = time.Parse(time.RFC3339Nano, string(fields[0])); err != nil {
		return TracedFrame{}, err
	}

	switch string(fields[1]) {
	case message.FromDongle.String():
		f.Direction = message.FromDongle
	case message.ToDongle.String():
		f.Direction = message.ToDongle
	default:
		return TracedFrame{}, fmt.Errorf("direction %q, want %q or %q",
			fields[1], message.FromDongle, message.ToDongle)
	}

	t, err := strconv.ParseUint(string(fields[2]), 0, 16)
	if err != nil {
		return TracedFrame{}, fmt.Errorf("type: %w", err)
	}
	f.Frame.Type = message.MsgType(t)
	if string(fields[3]) == "-" {
		return f, nil
	}

	if f.Frame.Payload, err = hex.DecodeString(string(fields[3])); err != nil {
		return TracedFrame{}, fmt.Errorf("payload: %w", err)
	}
	if len(f.Frame.Payload) > message.MaxPayload {
		return TracedFrame{}, fmt.Errorf("payload of %d bytes, at most %d",
			len(f.Frame.Payload), message.MaxPayload)
	}
	return f, nil
}

// TraceWriter writes frames to a file in a goroutine of its own.
type TraceWriter struct {
	w    io.Writer
	wake chan struct{}

	mu      sync.Mutex
	waiting []byte
	dropped int
	spare   []byte // the buffer that flush has written; only Run uses it
}

// NewTraceWriter makes a task that writes what is given to its Trace.
func NewTraceWriter(w io.Writer) *TraceWriter {
	return &TraceWriter{w: w, wake: make(chan struct{}, 1), waiting: []byte(TraceHeader + "\n")}
}

// Trace takes a frame; see Dongle.TraceTo. It may be called from any goroutine and does not block: while the
// file takes nothing, frames are dropped and counted in the file.
func (t *TraceWriter) Trace(dir message.Direction, f message.Frame) {
	now := time.Now()
	t.mu.Lock()
	if len(t.waiting) > maxTraceWaiting {
		t.dropped++
	} else {
		if t.dropped > 0 {
			t.waiting = fmt.Appendf(t.waiting, "# %d frames were dropped\n", t.dropped)
			t.dropped = 0
		}
		t.waiting = AppendTraceLine(t.waiting, TracedFrame{Time: now, Direction: dir, Frame: f})
	}
	t.mu.Unlock()
	notify(t.wake)
}

// Run writes until ctx is done, and then what waits. The error is one of writing.
func (t *TraceWriter) Run(ctx context.Context) error {
	for {
		if err := t.flush(); err != nil {
			return fmt.Errorf("writing the trace: %w", err)
		}
		select {
		case <-ctx.Done():
			if err := t.flush(); err != nil {
				return fmt.Errorf("writing the trace: %w", err)
			}
			return nil
		case <-t.wake:
		}
	}
}

func (t *TraceWriter) flush() error {
	t.mu.Lock()
	b := t.waiting
	t.waiting = t.spare[:0]
	t.mu.Unlock()
	t.spare = b
	if len(b) == 0 {
		return nil
	}
	_, err := t.w.Write(b)
	return err
}
