package message_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// accepted is a command as the receiver hands it over.
type accepted struct {
	Type    uint16
	Payload string // hex
}

func receive(maximum uint16, in []byte) []accepted {
	r := message.NewReceiver(int(maximum) - 1)
	var got []accepted
	for _, b := range in {
		if execute, _ := r.Feed(b); execute {
			got = append(got, accepted{Type: uint16(r.Type()), Payload: hex.EncodeToString(r.Payload())})
		}
	}
	return got
}

func TestReceiver(t *testing.T) {
	version := accepted{0x8010, "0005032400"}
	endpoints := accepted{0x0045, "f1a5"}
	tests := []struct {
		name string
		in   string
		want []accepted
	}{
		{"nothing", "", nil},
		{"garbage before START", "7e00ff55aa 01801002100215b702100215021324021003", []accepted{version}},
		{"bad checksum", "01801002100215ab0210021f3ff0ff03", nil},
		{"bad checksum, then a good frame", "01801002100215ab0210021f3ff0ff03 01801002100215b702100215021324021003", []accepted{version}},
		{"START abandons a frame", "01801002100215b702 01801002100215b702100215021324021003", []accepted{version}},
		{"START after escape", "01801002100202 01801002100215b702100215021324021003", []accepted{version}},
		{"no END", "01801002100215b7021002150213240210", nil},
		{"no END, then a good frame", "01801002100215b7021002150213240210 01801002100215b702100215021324021003", []accepted{version}},
		{"END after power-up is command 0", "03", []accepted{{0, ""}}},
		{"second END repeats", "010210450210021213f1a503 03", []accepted{endpoints, endpoints}},
		{"START END repeats", "010210450210021213f1a503 0103", []accepted{endpoints, endpoints}},
		{"frame cut after its type repeats", "010210450210021213f1a503 0102104503", []accepted{endpoints, endpoints}},
		{"frame cut after another type does not", "01801003", nil},
		{"lost last byte is found in the buffer", "010210450210021213f1a503 010210450210021213f103", []accepted{endpoints, endpoints}},
		{"lost bytes are zero after power-up", "01801002100215b702100215021303", nil},
		{"surplus payload is ignored", "01801002100215b7021002150213240210556603", []accepted{version}},
		{"low bytes need no escape", "018010021005b7021005021324021003", []accepted{version}},
		{"every byte may be escaped", "0102901002100215b702100215021324021003", []accepted{version}},
		{"double escape", "0180100202100215b702100215021324021003", []accepted{version}},
		{"END wins over escape", "01801002100215b70210021502132402100203", []accepted{version}},
		{"escape survives END, not START", "01801002100215b7021002150213240210020301801002100215b702100215021324021003", []accepted{version, version}},
		{"noise between frames", "01801002100215b702100215021324021003ff02fe4101801002100215b702100215021324021003", []accepted{version, version}},
		{"header above the maximum", "0180100211021fb702100215021324021003", nil},
		{"line noise", "ffffffffffffffffffffffff", nil},
		{"no payload", "01800216021002108603", []accepted{{0x8006, ""}}},
		{"log message", "0180021102100216e3021668656c6c6f03", []accepted{{0x8001, "0668656c6c6f"}}},
		{
			"cut tail", "018002100210021681021002100215021202018011021002184d0210902102110210197c021103",
			[]accepted{{0x8011, "0090210100197c01"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, receive(270, unhex(t, test.in))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The header test is "longer than the maximum", the test at END "shorter than it".
func TestReceiverMaximum(t *testing.T) {
	for _, maximum := range []uint16{256, 270} {
		for length := maximum - 2; length <= maximum+1; length++ {
			payload := make([]byte, length)
			for i := range payload {
				payload[i] = byte(0x40 + i%0x80)
			}
			frame := rawFrame(0x0530, payload)
			got := len(receive(maximum, frame)) == 1
			if want := length < maximum; got != want {
				t.Errorf("maximum %d: %d bytes accepted: %t", maximum, length, got)
			}
		}
	}
}

// rawFrame escapes every byte, which no host does and every dongle understands.
func rawFrame(typ uint16, payload []byte) []byte {
	body := []byte{byte(typ >> 8), byte(typ), byte(len(payload) >> 8), byte(len(payload)), 0}
	for _, b := range body[:4] {
		body[4] ^= b
	}
	for _, b := range payload {
		body[4] ^= b
	}
	frame := []byte{0x01}
	for _, b := range append(body, payload...) {
		frame = append(frame, 0x02, b^0x10)
	}
	return append(frame, 0x03)
}

// Only a frame that needs nothing of an earlier one, and has nothing that is not its own, is whole.
func TestReceiverWhole(t *testing.T) {
	const endpoints = "010210450210021213f1a503"
	tests := []struct {
		name string
		in   string
		want bool
	}{
		{"good frame", endpoints, true},
		{"noise before it", "7e55aa" + endpoints, true},
		{"second END", endpoints + "03", false},
		{"START END", endpoints + "0103", false},
		{"START END after a command without a payload", "01021002100210021002100203" + "0103", false},
		{"cut", endpoints + "010210450210021213f103", false},
		{"surplus", "010210450210021213f1a55503", false},
		{"escape before END", "010210450210021213f1a50203", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := message.NewReceiver(message.MaxCommandPayload)
			for _, b := range unhex(t, test.in) {
				r.Feed(b)
			}
			if r.Whole() != test.want {
				t.Errorf("whole: %t, want %t", r.Whole(), test.want)
			}
		})
	}
}

func TestReceiverVectors(t *testing.T) {
	path := filepath.Join("..", "..", "..", "shared", "frames.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no published vectors here")
	}
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Malformed []struct {
			Name, Description string
			Input             string          `json:"input_hex"`
			Expected          json.RawMessage `json:"expected_firmware_rx"`
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Malformed) == 0 {
		t.Fatal("no vectors in the file")
	}
	for _, v := range file.Malformed {
		t.Run(v.Name, func(t *testing.T) {
			var expected []struct {
				Type    string
				Payload string `json:"payload_hex"`
			}
			if json.Unmarshal(v.Expected, &expected) != nil {
				t.Skip("not specified")
			}
			var want []accepted
			for _, e := range expected {
				typ := unhex(t, e.Type[len("0x"):])
				want = append(want, accepted{uint16(typ[0])<<8 | uint16(typ[1]), e.Payload})
			}
			got := receive(270, unhex(t, v.Input))
			for i := range got {
				if i < len(want) && want[i].Payload == "*" {
					got[i].Payload = "*"
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s\n%s", v.Description, diff)
			}
		})
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	var digits []byte
	for i := range len(s) {
		if s[i] != ' ' {
			digits = append(digits, s[i])
		}
	}
	b, err := hex.DecodeString(string(digits))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What a receiver calls whole, a strict decoder takes for the same command.
func FuzzReceiver(f *testing.F) {
	for _, seed := range []string{"010210450210021213f1a503", "010210450210021213f1a50303", "0103", "018010021005b7021005021324021003", "010210450210021213f1a50203"} {
		b, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := message.NewReceiver(message.MaxCommandPayload)
		for i, b := range in {
			execute, rejected := r.Feed(b)
			if execute && rejected {
				t.Fatal("executed and rejected")
			}
			if !execute || !r.Whole() {
				continue
			}
			start := bytes.LastIndexByte(in[:i], 0x01)
			frame, _, ok := new(message.Decoder).Feed(in[start : i+1])
			if !ok || frame.Type != r.Type() || !bytes.Equal(frame.Payload, r.Payload()) {
				t.Errorf("%x: the receiver has %s %x, the decoder %v %s", in[start:i+1], r.Type(), r.Payload(), ok, frame)
			}
		}
	})
}
