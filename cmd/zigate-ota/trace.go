package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// traceFile is a file that frames are written to.
type traceFile struct {
	*zigate.TraceWriter
	file *os.File
}

// newTraceFile creates the file, or empties it. Only its owner may read it, because it holds images and
// addresses.
func newTraceFile(path string) (*traceFile, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the trace: %w; choose another file with --trace", err)
	}
	return &traceFile{TraceWriter: zigate.NewTraceWriter(file), file: file}, nil
}

// Run writes until ctx is done, and closes the file.
func (t *traceFile) Run(ctx context.Context) error {
	return errors.Join(t.TraceWriter.Run(ctx), t.file.Close())
}

// inspectedFrame is a frame of a trace.
type inspectedFrame struct {
	Time      time.Time `json:"time"`
	Direction string    `json:"direction"` // received from the dongle, or sent to it
	Type      string    `json:"type"`
	Words     string    `json:"words"`
	Payload   string    `json:"payload"` // hexadecimal digits
}

func isTrace(b []byte) bool { return bytes.HasPrefix(b, []byte(zigate.TraceHeader)) }

// readTrace reads the frames of a trace. Where a line cannot be read, the inspection fails, and goes on
// with the next line.
func (r inspection) readTrace(b []byte) inspection {
	r.Frames = []inspectedFrame{}
	reader, err := zigate.NewTraceReader(bytes.NewReader(b))
	if err != nil {
		return r.failed(err)
	}
	r.OK = true
	for {
		f, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return r
		}
		if err != nil {
			r.OK = false
			r.Warnings = append(r.Warnings, err.Error())
			if r.Error == "" {
				r = r.failed(err)
			}
			continue
		}
		r.Frames = append(r.Frames, inspectedFrame{
			Time:      f.Time,
			Direction: f.Direction.String(),
			Type:      f.Frame.Type.String(),
			Words:     f.Frame.Words(f.Direction),
			Payload:   fmt.Sprintf("%x", f.Frame.Payload),
		})
	}
}

// printTrace writes the frames for people, with the time since the first.
func (r *inspection) printTrace(w io.Writer) {
	for _, f := range r.Frames {
		arrow := "->" // to the dongle
		if f.Direction == message.FromDongle.String() {
			arrow = "<-"
		}
		fmt.Fprintf(w, "  %s %s %s %s\n", f.Time.Format("15:04:05.000000"), arrow, f.Type, f.Words)
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "  %s\n", warning)
	}
	fmt.Fprintf(w, "  a trace of %s\n", counted(len(r.Frames), "frame", "frames"))
}
