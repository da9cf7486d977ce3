package message_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

func TestAppendFrame(t *testing.T) {
	tests := []struct {
		name    string
		typ     message.MsgType
		payload []byte
		want    []byte
	}{
		{"no payload", message.TypeGetVersion, nil, bytesOf(
			"01",         // START
			"0210", "10", // type
			"0210", "0210", // length
			"10", // checksum
			"03", // END
		)},
		{"every low byte escaped", message.TypeVersion, bytesOf("0005032400"), bytesOf(
			"01",       // START
			"80", "10", // type
			"0210", "0215", // length
			"b7",                                 // checksum
			"0210", "0215", "0213", "24", "0210", // payload
			"03", // END
		)},
		{"nothing to escape", message.ActiveEndpointsRequest{}.Type(), bytesOf("f1a5"), bytesOf(
			"01",         // START
			"0210", "45", // type
			"0210", "0212", // length
			"13",   // checksum
			"f1a5", // payload
			"03",   // END
		)},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := message.AppendFrame([]byte{0xAA}, tc.typ, tc.payload)
			if want := append([]byte{0xAA}, tc.want...); !bytes.Equal(got, want) {
				t.Errorf("AppendFrame = %x, want %x", got, want)
			}
		})
	}
}

func TestFrameMessage(t *testing.T) {
	tests := []struct {
		name    string
		frame   message.Frame
		payload []byte
		lqi     uint8
		err     error
	}{
		{"link quality", message.Frame{Type: message.TypeRestart, Payload: []byte{1, 0x9C}}, []byte{1}, 0x9C, nil},
		{"link quality only", message.Frame{Type: message.DeviceList{}.Type(), Payload: []byte{0x9C}}, []byte{}, 0x9C, nil},
		{"log", message.Frame{Type: message.TypeLog, Payload: []byte{6, 'h'}}, []byte{6, 'h'}, 0, nil},
		{"nothing", message.Frame{Type: message.TypeRestart}, nil, 0, message.ErrNoLinkQuality},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			payload, lqi, err := tc.frame.Message()
			if !bytes.Equal(payload, tc.payload) || lqi != tc.lqi || !errors.Is(err, tc.err) {
				t.Errorf("Message = %x, %#x, %v; want %x, %#x, %v", payload, lqi, err, tc.payload, tc.lqi, tc.err)
			}
		})
	}
}

// decode feeds the input in pieces of the given sizes, the last one repeated, and copies the frames.
func decode(d *message.Decoder, input []byte, sizes ...int) []message.Frame {
	var frames []message.Frame
	for i := 0; len(input) > 0; i++ {
		size := len(input)
		if len(sizes) > 0 {
			size = min(max(sizes[min(i, len(sizes)-1)], 1), len(input))
		}
		piece := bytes.Clone(input[:size])
		input = input[size:]
		for {
			f, rest, ok := d.Feed(piece)
			if !ok {
				break
			}
			frames = append(frames, message.Frame{Type: f.Type, Payload: bytes.Clone(f.Payload)})
			piece = rest
		}
	}
	return frames
}

func TestDecoderErrors(t *testing.T) {
	good := bytesOf("01801002100215b702100215021324021003")
	overlong := append(bytesOf("01801018", "21ff", "b7"), bytes.Repeat([]byte{0x55}, 5000)...)
	tests := []struct {
		name  string
		input []byte
		want  message.FrameErrors
	}{
		{"none", good, message.FrameErrors{}},
		{"garbage in front, counted as one", append(bytesOf("7e00ff55aa"), good...), message.FrameErrors{Garbage: 1}},
		{"a stray END", append(bytesOf("03"), good...), message.FrameErrors{Garbage: 1}},
		{"garbage after an error", append(bytesOf("018003", "5566"), good...), message.FrameErrors{Truncated: 1, Garbage: 1}},
		{"checksum", bytesOf("01801002100215ab0210021f3ff0ff03"), message.FrameErrors{Checksum: 1}},
		{"cut by END", bytesOf("01801002100215b702100215021303"), message.FrameErrors{Truncated: 1}},
		{"cut in the header", bytesOf("01801003"), message.FrameErrors{Truncated: 1}},
		{"empty", bytesOf("0103"), message.FrameErrors{Truncated: 1}},
		{"cut by START", append(bytesOf("01801002100215"), good...), message.FrameErrors{Truncated: 1}},
		{"too many bytes", bytesOf("01801002100215b7021002150213240210556603"), message.FrameErrors{Length: 1}},
		{"escape before END", bytesOf("01801002100215b70210021502132402100203"), message.FrameErrors{Escape: 1}},
		{"length above the limit", append(overlong, good...), message.FrameErrors{Overlong: 1}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var d message.Decoder
			decode(&d, tc.input)
			if diff := cmp.Diff(tc.want, d.Errors()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			// Whatever came before, the next good frame is understood.
			if frames := decode(&d, good); len(frames) != 1 {
				t.Errorf("the next frame gives %d frames", len(frames))
			}
		})
	}
}

func TestDecoderLongestFrame(t *testing.T) {
	payload := make([]byte, message.MaxPayload)
	for i := range payload {
		payload[i] = byte(i)
	}
	var d message.Decoder
	frames := decode(&d, message.AppendFrame(nil, message.DeviceList{}.Type(), payload), 7)
	if len(frames) != 1 || !bytes.Equal(frames[0].Payload, payload) {
		t.Fatalf("%d frames, errors %+v", len(frames), d.Errors())
	}
	frames = decode(&d, message.AppendFrame(nil, message.DeviceList{}.Type(), append(payload, 0)))
	if len(frames) != 0 || d.Errors().Overlong != 1 {
		t.Errorf("one byte more: %d frames, errors %+v", len(frames), d.Errors())
	}
}

func FuzzAppendFrame(f *testing.F) {
	f.Add(uint16(0x8501), []byte{0, 1, 2, 3, 0x0F, 0x10, 0xFF})
	f.Fuzz(func(t *testing.T, typ uint16, payload []byte) {
		if len(payload) > message.MaxPayload {
			return
		}
		wire := message.AppendFrame(nil, message.MsgType(typ), payload)
		for i, b := range wire[1 : len(wire)-1] {
			if b < 0x10 && b != 0x02 {
				t.Fatalf("byte %d is an unescaped %#02x: %x", i+1, b, wire)
			}
		}
		var d message.Decoder
		got := decode(&d, wire)
		want := []message.Frame{{Type: message.MsgType(typ), Payload: payload}}
		if len(got) != 1 || got[0].Type != want[0].Type || !bytes.Equal(got[0].Payload, payload) {
			t.Fatalf("%x decodes to %v, want %v", wire, got, want)
		}
		if d.Errors() != (message.FrameErrors{}) {
			t.Fatalf("errors %+v", d.Errors())
		}
	})
}

func FuzzDecoder(f *testing.F) {
	for _, tc := range dongleCases() {
		f.Add(message.AppendFrame(nil, tc.msg.Type(), append(bytes.Clone(tc.payload), 0x9C)), uint64(1))
	}
	f.Add(bytesOf("0180100210020201801002100215b702100215021324021003"), uint64(2))
	f.Add(bytesOf("018010021005b7021005021324021003"), uint64(3))
	f.Fuzz(func(t *testing.T, input []byte, seed uint64) {
		var whole, split message.Decoder
		want := decode(&whole, input)

		random := rand.New(rand.NewPCG(seed, 0))
		sizes := make([]int, len(input))
		for i := range sizes {
			sizes[i] = 1 + random.IntN(9)
		}
		if diff := cmp.Diff(want, decode(&split, input, sizes...)); diff != "" {
			t.Fatalf("split otherwise (-whole +split):\n%s", diff)
		}
		if diff := cmp.Diff(whole.Errors(), split.Errors()); diff != "" {
			t.Fatalf("errors when split otherwise (-whole +split):\n%s", diff)
		}

		for _, f := range want {
			var again message.Decoder
			got := decode(&again, message.AppendFrame(nil, f.Type, f.Payload))
			if diff := cmp.Diff([]message.Frame{f}, got); diff != "" {
				t.Fatalf("written and decoded again:\n%s", diff)
			}
		}

		good := message.AppendFrame(nil, message.TypeVersion, []byte{0, 5, 3, 0x24, 0})
		if got := decode(&whole, good); len(got) != 1 || got[0].Type != message.TypeVersion {
			t.Fatalf("the next good frame gives %v", got)
		}
	})
}
