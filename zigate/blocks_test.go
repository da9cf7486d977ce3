package zigate_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

func TestBlockRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		observed := newObserver()
		b, f := connect(t, &fakeDialer{}, func(o *zigate.Options) { o.Observer = observed })
		b.handler.reply = replyBlock
		f.send(message.ImageBlockRequest{Sequence: 7, Endpoint: 3, AddrMode: message.AddrModeNetwork, Addr: 0x9021, Offset: 64})
		sent := f.next(t)
		m, err := message.ParseCommand(sent.Type, sent.Payload)
		want := message.ImageBlockResponse{
			Target:   message.Target{AddrMode: message.AddrModeNetwork, Addr: 0x9021, SrcEndpoint: 1, DstEndpoint: 3},
			Sequence: 7, Offset: 64, Data: []byte{1, 2, 3},
		}
		if diff := cmp.Diff(message.Message(want), m); err != nil || diff != "" {
			t.Errorf("%v, -want +got:\n%s", err, diff)
		}
		b.events("block request 64", "block status 0x0502 0x00")
		if observed.answered != 1 || observed.npdu != 1 || observed.apdu != 2 {
			t.Errorf("observed %d answers, buffers %d %d", observed.answered, observed.npdu, observed.apdu)
		}
		// Nothing to say is possible, too.
		b.handler.reply = nil
		f.send(message.ImageBlockRequest{Offset: 128})
		f.expect(t)
		b.events("block request 128")
		if observed.answered != 1 {
			t.Errorf("observed %d answers", observed.answered)
		}
	})
}

func TestBlockAheadOfCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{script: silentTo(message.TypeGetDevices)})
		b.handler.reply = replyBlock
		b.submit("devices", message.GetDevices{})
		b.submit("time", message.SetTime{})
		f.expect(t, message.TypeGetDevices)
		f.send(message.ImageBlockRequest{Offset: 0}, message.ImageBlockRequest{Offset: 64})
		f.expect(t, message.ImageBlockResponse{}.Type(), message.ImageBlockResponse{}.Type())
		got := b.handler.take()
		slices.Sort(got)
		want := []string{"block request 0", "block request 64", "block status 0x0502 0x00", "block status 0x0502 0x00"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events -want +got:\n%s", diff)
		}
		b.finished()
		f.send(ok(message.TypeGetDevices), message.DeviceList{})
		f.expect(t, message.SetTime{}.Type())
		b.finished("devices: 0x00", "time: 0x00")
	})
}

func TestSameTypeBothWays(t *testing.T) {
	refused := ok(message.WaitForData{}.Type())
	refused.Status = message.StatusNoBuffer
	command := message.WaitForData{Status: message.OTAWaitForData}
	request := message.ImageBlockRequest{Offset: 64}

	t.Run("answer first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, f := connect(t, &fakeDialer{script: silentTo(message.WaitForData{}.Type())})
			b.handler.reply = replyWait
			f.send(request)
			f.expect(t, message.WaitForData{}.Type())
			b.submit("wait", command)
			f.expect(t, message.WaitForData{}.Type())
			f.send(ok(message.WaitForData{}.Type()), refused)
			b.events("block request 64", "block status 0x0506 0x00")
			b.finished("wait: 0x14 refused")
		})
	})
	t.Run("command first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, f := connect(t, &fakeDialer{script: silentTo(message.WaitForData{}.Type())})
			b.handler.reply = replyWait
			b.submit("wait", command)
			f.expect(t, message.WaitForData{}.Type())
			f.send(request)
			f.expect(t, message.WaitForData{}.Type())
			f.send(ok(message.WaitForData{}.Type()), refused)
			b.events("block request 64", "block status 0x0506 0x14")
			b.finished("wait: 0x00")
		})
	})
	t.Run("status of the answer lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, f := connect(t, &fakeDialer{script: silentTo(message.WaitForData{}.Type())})
			b.handler.reply = replyWait
			f.send(request)
			f.expect(t, message.WaitForData{}.Type())
			time.Sleep(zigate.DefaultCommandTimeout)
			b.submit("wait", command)
			f.expect(t, message.WaitForData{}.Type())
			f.send(ok(message.WaitForData{}.Type()))
			b.events("block request 64")
			b.finished("wait: 0x00")
		})
	})
	t.Run("status of the answer lost, told by the order", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, f := connect(t, &fakeDialer{script: silentTo(message.WaitForData{}.Type())})
			b.handler.reply = replyWait
			f.send(request)
			f.expect(t, message.WaitForData{}.Type())
			b.submit("time", message.SetTime{})
			f.expect(t, message.SetTime{}.Type())
			b.submit("wait", command)
			f.expect(t, message.WaitForData{}.Type())
			f.send(ok(message.WaitForData{}.Type()))
			b.events("block request 64")
			b.finished("time: 0x00", "wait: 0x00")
		})
	})
	t.Run("status of the answer late", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, f := connect(t, &fakeDialer{script: silentTo(message.WaitForData{}.Type())})
			b.handler.reply = replyWait
			f.send(request)
			f.expect(t, message.WaitForData{}.Type())
			time.Sleep(2 * zigate.DefaultCommandTimeout)
			f.send(ok(message.WaitForData{}.Type()))
			b.events("block request 64", "block status 0x0506 0x00")
		})
	})
}

func TestManyUnansweredBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{script: silentTo(message.ImageBlockResponse{}.Type())})
		b.handler.reply = replyBlock
		for range 300 {
			f.send(message.ImageBlockRequest{})
			if got := f.next(t); got.Type != (message.ImageBlockResponse{}).Type() {
				t.Fatalf("the host sent %s", got)
			}
		}
		b.submit("time", message.SetTime{})
		b.finished("time: 0x00")
	})
}

func TestSeveralFramesInReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		observed := newObserver()
		b, f := connect(t, &fakeDialer{}, func(o *zigate.Options) { o.Observer = observed })
		b.handler.reply = func(req *message.ImageBlockRequest, dst []byte) []byte { return replyWait(req, replyBlock(req, dst)) }
		f.send(message.ImageBlockRequest{})
		f.expect(t, message.ImageBlockResponse{}.Type(), message.WaitForData{}.Type())
		b.events("block request 0", "block status 0x0502 0x00", "block status 0x0506 0x00")
		if observed.sent[(message.ImageBlockResponse{}).Type()] != 1 || observed.sent[message.WaitForData{}.Type()] != 1 {
			t.Errorf("observed %v", observed.sent)
		}
	})
}

func TestUselessFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		observed := newObserver()
		b, f := connect(t, &fakeDialer{}, func(o *zigate.Options) { o.Observer = observed })
		for _, wire := range [][]byte{
			message.AppendFrame(nil, 0x8999, []byte{1, 2}), // unknown
			// One byte short of 31 and link quality.
			message.AppendFrame(nil, message.TypeImageBlockRequest, make([]byte, 31)),
			message.AppendFrame(nil, message.TypeStatus, make([]byte, 4)),
			message.AppendFrame(nil, message.TypeUpgradeEndRequest, make([]byte, 9)),
			// Not even link quality.
			message.AppendFrame(nil, message.TypeRestart, nil),
			[]byte("\x01\x80\x10\x02\x10\x02\x15\xab\x02\x10\x02\x1f\x3f\xf0\xff\x03"), // checksum
			[]byte("\xff\xff"), // garbage
		} {
			f.out <- wire
		}
		f.send(message.Leave{})
		b.events("message 0x8048 lqi 0x9c")
		want := map[string]int{
			zigate.ReasonShort: 3, zigate.ReasonNoLQI: 1, zigate.ReasonChecksum: 1,
			zigate.ReasonGarbage: 1,
		}
		if diff := cmp.Diff(want, observed.errors); diff != "" {
			t.Errorf("errors -want +got:\n%s", diff)
		}
		for reason := range observed.errors {
			if !slices.Contains(zigate.FrameErrorReasons(), reason) {
				t.Errorf("reason %q is not listed", reason)
			}
		}
		if observed.received[0x8999] != 1 {
			t.Error("the unknown type was not counted as received")
		}
		b.submit("time", message.SetTime{})
		b.finished("time: 0x00")
	})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{})
		f.send(message.PDMLoaded{}, message.NetworkJoined{Status: 0, HasAddress: true}, message.RestartNotice{Kind: message.TypeRestart, Status: 1})
		b.events("message 0x0302 lqi 0x9c", "message 0x8024 lqi 0x9c", "message 0x8006 lqi 0x9c")
		f.expect(t)
	})
}

func TestDebugLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		b, f := connect(t, &fakeDialer{}, func(o *zigate.Options) {
			o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		b.handler.reply = replyBlock
		f.send(message.ImageBlockRequest{}, message.Leave{})
		f.out <- message.AppendFrame(nil, 0x8999, []byte{1, 2})
		f.expect(t, message.ImageBlockResponse{}.Type())
		for _, want := range []string{"image block request", "name=leave", "0x8999 unknown 0102", "msg=status"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("not logged: %s", want)
			}
		}
	})
}

func TestTraceTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{})
		b.handler.reply = replyWait
		frames := make(chan string, 100)
		b.dongle.TraceTo(func(dir message.Direction, f message.Frame) {
			frames <- fmt.Sprintf("%s %s %d", dir, f.Type, len(f.Payload))
		})
		f.send(message.ImageBlockRequest{})
		b.events("block request 0", "block status 0x0506 0x00")
		b.submit("time", message.SetTime{})
		b.finished("time: 0x00")
		b.dongle.TraceTo(nil)
		b.submit("time", message.SetTime{})
		b.finished("time: 0x00")
		close(frames)
		var got []string
		for s := range frames {
			got = append(got, s)
		}
		slices.Sort(got)
		want := []string{
			"received 0x8000 9", "received 0x8000 9", "received 0x8501 32", "sent 0x0016 4", "sent 0x0506 17",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("traced -want +got:\n%s", diff)
		}
	})
}
