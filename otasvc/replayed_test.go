package otasvc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// replay plays the dongle's part of a trace: it says what the dongle said, with the pauses that there
// were, and waits for the host where the host had said something in between. It answers nothing that
// is not in the trace.
type replay struct {
	frames []zigate.TracedFrame

	mu    sync.Mutex
	heard []message.Frame
}

// hostTimeout is how long the host may take for a command that the trace has; then the trace goes on without
// it.
const hostTimeout = 10 * time.Second

// newReplay prepares a replay of a trace, as readTrace gives it.
func newReplay(frames []zigate.TracedFrame) *replay {
	return &replay{frames: frames}
}

// String names the replay as a port.
func (r *replay) String() string { return "trace" }

// Dial begins to play, each time from the beginning.
func (r *replay) Dial(context.Context) (zigate.Port, error) {
	host, dongle := net.Pipe()
	commands := make(chan message.MsgType, 4096)
	go r.listen(dongle, commands)
	go r.play(dongle, commands)
	return host, nil
}

// Heard are the commands of the host so far, in order.
func (r *replay) Heard() []message.Frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.heard)
}

// listen takes what the host sends, until the host closes the port.
func (r *replay) listen(dongle net.Conn, commands chan<- message.MsgType) {
	defer close(commands)
	defer dongle.Close()
	var decoder message.Decoder
	buf := make([]byte, 4096)
	for {
		n, err := dongle.Read(buf)
		for in := buf[:n]; len(in) > 0; {
			f, rest, ok := decoder.Feed(in)
			if in = rest; !ok {
				break
			}
			r.mu.Lock()
			r.heard = append(r.heard, message.Frame{Type: f.Type, Payload: slices.Clone(f.Payload)})
			r.mu.Unlock()
			select {
			case commands <- f.Type:
			default: // more than a trace waits for
			}
		}
		if err != nil {
			return
		}
	}
}

var errHostGone = errors.New("the host has closed the port")

func (r *replay) play(dongle net.Conn, commands <-chan message.MsgType) {
	waiting := map[message.MsgType]int{} // commands that came before the trace has them
	var last time.Time
	for _, f := range r.frames {
		if !last.IsZero() && f.Direction == message.FromDongle {
			time.Sleep(f.Time.Sub(last))
		}
		last = f.Time
		var err error
		if f.Direction == message.ToDongle {
			err = r.await(f.Frame.Type, waiting, commands)
		} else {
			_, err = dongle.Write(message.AppendFrame(nil, f.Frame.Type, f.Frame.Payload))
		}
		if err != nil {
			return
		}
	}
}

// await waits for a command of this type.
func (r *replay) await(
	t message.MsgType, waiting map[message.MsgType]int, commands <-chan message.MsgType,
) error {
	timer := time.NewTimer(hostTimeout)
	defer timer.Stop()
	for waiting[t] == 0 {
		select {
		case heard, ok := <-commands:
			if !ok {
				return errHostGone
			}
			waiting[heard]++
		case <-timer.C:
			return nil
		}
	}
	waiting[t]--
	return nil
}

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
