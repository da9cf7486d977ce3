package message_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// typeName is the name of a message's struct.
func typeName(m message.Message) string { return fmt.Sprintf("%T", m) }

type parseFunc func(message.MsgType, []byte) (message.Message, error)

// forEachCase runs the cases of both directions, each with its own parser.
func forEachCase(t *testing.T, check func(t *testing.T, tc messageCase, parse parseFunc)) {
	for _, tc := range commandCases() {
		t.Run("command/"+tc.name, func(t *testing.T) { check(t, tc, message.ParseCommand) })
	}
	for _, tc := range dongleCases() {
		t.Run("message/"+tc.name, func(t *testing.T) { check(t, tc, message.ParseMessage) })
	}
}

func TestMessageAppendPayload(t *testing.T) {
	forEachCase(t, func(t *testing.T, tc messageCase, _ parseFunc) {
		before := []byte{0xAA}
		got := message.AppendPayload(before, tc.msg)
		if want := append([]byte{0xAA}, tc.payload...); !bytes.Equal(got, want) {
			t.Errorf("AppendPayload = %x, want %x", got, want)
		}
	})
}

func TestParse(t *testing.T) {
	forEachCase(t, func(t *testing.T, tc messageCase, parse parseFunc) {
		got, err := parse(tc.msg.Type(), tc.payload)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.msg, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// TestParseCopies changes the payload after it was parsed: it is the decoder's buffer.
func TestParseCopies(t *testing.T) {
	forEachCase(t, func(t *testing.T, tc messageCase, parse parseFunc) {
		payload := bytes.Clone(tc.payload)
		got, err := parse(tc.msg.Type(), payload)
		if err != nil {
			t.Fatal(err)
		}
		for i := range payload {
			payload[i] ^= 0xFF
		}
		if diff := cmp.Diff(tc.msg, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// TestParseShort cuts every payload at every length. What is left is another form of the
// message, or ErrShort.
func TestParseShort(t *testing.T) {
	forEachCase(t, func(t *testing.T, tc messageCase, parse parseFunc) {
		for n := range tc.payload {
			m, err := parse(tc.msg.Type(), tc.payload[:n:n])
			if err != nil {
				if !errors.Is(err, message.ErrShort) {
					t.Errorf("%d bytes: %v, want ErrShort", n, err)
				}
				continue
			}
			if again := message.AppendPayload(nil, m); len(again) > n {
				t.Errorf("%d bytes: parsed to a message of %d bytes: %+v", n, len(again), m)
			}
		}
	})
}

// TestParseSurplus appends to what has a fixed size. Firmware ignores surplus bytes, and has
// appended fields itself.
func TestParseSurplus(t *testing.T) {
	for _, m := range []message.Message{
		message.SetTime{Seconds: 1}, message.LoadImage{TotalSize: 1}, message.WaitForData{Target: target}, message.GetVersion{},
	} {
		got, err := message.ParseCommand(m.Type(), append(message.AppendPayload(nil, m), 0xEE, 0xEE))
		if diff := cmp.Diff(m, got); err != nil || diff != "" {
			t.Errorf("%T: %v, -want +got:\n%s", m, err, diff)
		}
	}
	for _, m := range []message.Message{
		message.Version{Major: 5}, message.NetworkState{Channel: 11}, message.ImageBlockRequest{Offset: 1},
		message.UpgradeEndRequest{Sequence: 1}, message.Status{Form: message.StatusFormBuffers},
	} {
		got, err := message.ParseMessage(m.Type(), append(message.AppendPayload(nil, m), 0xEE, 0xEE))
		if diff := cmp.Diff(m, got); err != nil || diff != "" {
			t.Errorf("%T: %v, -want +got:\n%s", m, err, diff)
		}
	}
}

// TestParseFailedAnswers takes answers to ZDP requests that end after the short address because they failed.
func TestParseFailedAnswers(t *testing.T) {
	tests := []messageCase{
		{"node descriptor", bytesOf("38", "80", "9021"), message.NodeDescriptor{Sequence: 0x38, Status: 0x80, Addr: 0x9021}},
		{"simple descriptor", bytesOf("38", "82", "9021", "00"), message.SimpleDescriptor{Sequence: 0x38, Status: 0x82, Addr: 0x9021}},
		{"power descriptor", bytesOf("38", "80"), message.PowerDescriptor{Sequence: 0x38, Status: 0x80}},
		{"active endpoints", bytesOf("38", "80", "9021"), message.ActiveEndpoints{Sequence: 0x38, Status: 0x80, Addr: 0x9021}},
		{"network address", bytesOf("38", "81", "000b57fffe2c8904", "9021"), message.NwkAddrResponse{Sequence: 0x38, Status: 0x81, IEEE: deviceIEEE, Addr: 0x9021}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, err := message.ParseMessage(tc.msg.Type(), tc.payload)
			if diff := cmp.Diff(tc.msg, got); err != nil || diff != "" {
				t.Errorf("%v, -want +got:\n%s", err, diff)
			}
			succeeded := bytes.Clone(tc.payload)
			succeeded[1] = 0
			if _, err := message.ParseMessage(tc.msg.Type(), succeeded); !errors.Is(err, message.ErrShort) {
				t.Errorf("the same with status 0: %v, want ErrShort", err)
			}
		})
	}
}

func TestParseUnknownType(t *testing.T) {
	for _, typ := range []message.MsgType{0x0000, 0x8999, 0x0500} {
		if _, err := message.ParseMessage(typ, []byte{1}); !errors.Is(err, message.ErrUnknownType) {
			t.Errorf("ParseMessage(%s): %v, want ErrUnknownType", typ, err)
		}
	}
	for _, typ := range []message.MsgType{0x0000, 0x0B99, 0x8000} {
		if _, err := message.ParseCommand(typ, []byte{1}); !errors.Is(err, message.ErrUnknownType) {
			t.Errorf("ParseCommand(%s): %v, want ErrUnknownType", typ, err)
		}
	}
}

// TestByHand compares the functions of the block path with the descriptions.
func TestByHand(t *testing.T) {
	forEachCase(t, func(t *testing.T, tc messageCase, _ parseFunc) { checkByHand(t, tc.msg, tc.payload) })
}

// TestAppendChangesNothing appends a message in two goroutines at once: its lists belong to whoever made it.
func TestAppendChangesNothing(t *testing.T) {
	forEachCase(t, func(t *testing.T, tc messageCase, _ parseFunc) {
		var writers sync.WaitGroup
		for range 2 {
			writers.Go(func() {
				if got := message.AppendPayload(nil, tc.msg); !bytes.Equal(got, tc.payload) {
					t.Errorf("AppendPayload = %x, want %x", got, tc.payload)
				}
			})
		}
		writers.Wait()
	})
}

// TestOversizedLists cuts what a count of one byte cannot tell.
func TestOversizedLists(t *testing.T) {
	long, words := make([]byte, 300), make([]uint16, 300)
	tests := []struct {
		msg  message.Message
		want int
	}{
		{message.ImageBlockResponse{Data: long}, 20 + 255},
		{message.RawAPS{Data: long}, 12 + 255},
		{message.ReadAttributes{IDs: words}, 12 + 2*255},
		{message.MatchDescriptorRequest{InClusters: words, OutClusters: words}, 6 + 4*255},
		{message.ActiveEndpoints{Endpoints: long}, 5 + 255},
	}
	for _, tc := range tests {
		if got := len(message.AppendPayload(nil, tc.msg)); got != tc.want {
			t.Errorf("%T: %d bytes, want %d", tc.msg, got, tc.want)
		}
	}
	block := message.ImageBlockResponse{Data: long}
	if got, want := message.AppendImageBlockResponse(nil, &block), message.AppendFrame(nil, block.Type(), message.AppendPayload(nil, block)); !bytes.Equal(got, want) {
		t.Errorf("AppendImageBlockResponse = %x, want %x", got, want)
	}
}

func TestBlockRequestParseShort(t *testing.T) {
	r := message.ImageBlockRequest{Sequence: 7}
	if err := r.Parse(make([]byte, 30)); !errors.Is(err, message.ErrShort) {
		t.Errorf("Parse: %v, want ErrShort", err)
	}
	if r.Sequence != 7 {
		t.Error("a short payload changed the request")
	}
}

func TestAttributeValues(t *testing.T) {
	tests := []struct {
		name     string
		attr     message.Attribute
		wantUint uint64
		wantOK   bool
		wantText string
	}{
		{"uint32", message.Attribute{DataType: 0x23, Data: bytesOf("20015630")}, 0x20015630, true, ""},
		{"uint24 in 4 bytes", message.Attribute{DataType: 0x22, Data: bytesOf("00010203")}, 0x010203, true, ""},
		{"uint48", message.Attribute{DataType: 0x25, Data: bytesOf("010203040506")}, 0x010203040506, true, ""},
		{"uint40 without data", message.Attribute{DataType: 0x24, Announced: 5}, 0, false, ""},
		{"boolean", message.Attribute{DataType: 0x10, Data: []byte{1}}, 1, true, ""},
		{"enumeration", message.Attribute{DataType: 0x30, Data: []byte{2}}, 2, true, ""},
		{"IEEE address", message.Attribute{DataType: 0xF0, Data: bytesOf("000b57fffe2c8904")}, uint64(deviceIEEE), true, ""},
		{"signed", message.Attribute{DataType: 0x29, Data: bytesOf("0810")}, 0, false, ""},
		{"not supported", message.Attribute{Status: 0x86, DataType: 0x23, Data: bytesOf("20015630")}, 0, false, ""},
		{"text", message.Attribute{DataType: 0x42, Data: []byte("TRADFRI on/off switch")}, 0, false, "TRADFRI on/off switch"},
		{"padded text", message.Attribute{DataType: 0x42, Data: []byte("lumi.plug \x00junk")}, 0, false, "lumi.plug"},
		{"text not supported", message.Attribute{Status: 0x86, DataType: 0x42, Data: []byte("x")}, 0, false, ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got, ok := tc.attr.Uint(); got != tc.wantUint || ok != tc.wantOK {
				t.Errorf("Uint = %#x, %t; want %#x, %t", got, ok, tc.wantUint, tc.wantOK)
			}
			if got := tc.attr.Text(); got != tc.wantText {
				t.Errorf("Text = %q, want %q", got, tc.wantText)
			}
		})
	}
}

// TestAttributeTypes has an attribute of every type that devices of this trade use, with the
// firmware's oddities.
func TestAttributeTypes(t *testing.T) {
	tests := []struct {
		name string
		attr message.Attribute
		want string
	}{
		{"boolean", message.Attribute{DataType: 0x10, Data: []byte{1}}, "1"},
		{"bitmap8", message.Attribute{DataType: 0x18, Data: []byte{0x81}}, "129"},
		{"bitmap24 without data", message.Attribute{DataType: 0x1A}, "no data"},
		{"uint8", message.Attribute{DataType: 0x20, Data: []byte{200}}, "200"},
		{"uint16", message.Attribute{DataType: 0x21, Data: bytesOf("117c")}, "4476"},
		{"uint24 in 4 bytes", message.Attribute{DataType: 0x22, Data: bytesOf("00010203")}, "66051"},
		{"uint32", message.Attribute{DataType: 0x23, Data: bytesOf("ffffffff")}, "4294967295"},
		{"uint40 without data", message.Attribute{DataType: 0x24, Announced: 5}, "no data"},
		{"uint48", message.Attribute{DataType: 0x25, Data: bytesOf("000000000100")}, "256"},
		{"uint64", message.Attribute{DataType: 0x27, Data: bytesOf("ffffffffffffffff")}, "18446744073709551615"},
		{"int8", message.Attribute{DataType: 0x28, Data: []byte{0x80}}, "-128"},
		{"int16", message.Attribute{DataType: 0x29, Data: bytesOf("fff6")}, "-10"},
		{"int24 in 4 bytes", message.Attribute{DataType: 0x2A, Data: bytesOf("00fffffe")}, "-2"},
		{"int32", message.Attribute{DataType: 0x2B, Data: bytesOf("7fffffff")}, "2147483647"},
		{"int64", message.Attribute{DataType: 0x2F, Data: bytesOf("8000000000000000")}, "-9223372036854775808"},
		{"enumeration8", message.Attribute{DataType: 0x30, Data: []byte{3}}, "3"},
		{"enumeration16", message.Attribute{DataType: 0x31, Data: bytesOf("0102")}, "258"},
		{"half float", message.Attribute{DataType: 0x38, Data: bytesOf("c500")}, "-5"},
		{"smallest half float", message.Attribute{DataType: 0x38, Data: bytesOf("0001")}, "5.960464477539063e-08"},
		{"float", message.Attribute{DataType: 0x39, Data: bytesOf("41ac0000")}, "21.5"},
		{"double", message.Attribute{DataType: 0x3A, Data: bytesOf("4035800000000000")}, "21.5"},
		{"float cut short", message.Attribute{DataType: 0x39, Data: bytesOf("41ac"), Announced: 4}, "0x41ac"},
		{"octets", message.Attribute{DataType: 0x41, Data: bytesOf("00ff")}, "0x00ff"},
		{"text", message.Attribute{DataType: 0x42, Data: []byte("LOM001")}, `"LOM001"`},
		{"long text, announced twice as long", message.Attribute{DataType: 0x44, Announced: 8, Data: []byte("long")}, `"long"`},
		{"array without data", message.Attribute{DataType: 0x48}, "no data"},
		{"UTC time", message.Attribute{DataType: 0xE2, Data: bytesOf("00000001")}, "1"},
		{"IEEE address", message.Attribute{DataType: 0xF0, Data: bytesOf("000b57fffe2c8904")}, "0x000b57fffe2c8904"},
		{"not supported", message.Attribute{Status: 0x86, DataType: 0xFF}, "unsupported"},
		{"refused", message.Attribute{Status: 0x01, DataType: 0xFF}, "status 0x01"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			tc.attr.Kind = message.TypeReadAttribute
			parsed, err := message.ParseMessage(tc.attr.Kind, message.AppendPayload(nil, tc.attr))
			if diff := cmp.Diff(message.Message(tc.attr), parsed); err != nil || diff != "" {
				t.Fatalf("%v, -want +got:\n%s", err, diff)
			}
			if got := tc.attr.Value(); got != tc.want {
				t.Errorf("Value = %s, want %s", got, tc.want)
			}
		})
	}
}

func fuzzParse(f *testing.F, cases []messageCase, parse parseFunc) {
	for _, tc := range cases {
		f.Add(uint16(tc.msg.Type()), tc.payload)
	}
	f.Fuzz(func(t *testing.T, typ uint16, payload []byte) {
		m, err := parse(message.MsgType(typ), payload)
		if err != nil {
			return
		}
		if m.Type() != message.MsgType(typ) {
			t.Fatalf("type %s parsed to one of type %s", message.MsgType(typ), m.Type())
		}
		if size, most := len(message.AppendPayload(nil, m)), len(payload)+16; size > most {
			t.Fatalf("%d bytes of message in a payload of %d", size, len(payload))
		}
		again, err := parse(m.Type(), message.AppendPayload(nil, m))
		if err != nil {
			t.Fatalf("%+v does not parse when written: %v", m, err)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Fatalf("-parsed +written and parsed again:\n%s", diff)
		}
		checkWritten(t, m, payload)
		checkByHand(t, m, payload)
	})
}

func FuzzParseMessage(f *testing.F) { fuzzParse(f, dongleCases(), message.ParseMessage) }

func FuzzParseCommand(f *testing.F) { fuzzParse(f, commandCases(), message.ParseCommand) }
