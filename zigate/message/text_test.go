package message_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

func TestParseIEEE(t *testing.T) {
	tests := []struct {
		in string
		ok bool
	}{
		{"000b57fffe2c8904", true},
		{"0x000b57fffe2c8904", true},
		{"0X000B57FFFE2C8904", true},
		{"00:0b:57:ff:fe:2c:89:04", true},
		{"00-0B-57-FF-FE-2C-89-04", true},
		{"000b57fffe2c890", false},
		{"000b57fffe2c89041", false},
		{"000b57fffe2c890g", false},
		{"0b57fffe2c8904", false},
		{"", false},
		{"0x", false},
		{":000b57fffe2c8904", false},
		{"000b57fffe2c8904:", false},
		{"00::0b57fffe2c8904", false},
		{" 000b57fffe2c8904", false},
		{"0x0x0b57fffe2c8904", false},
	}
	for _, tc := range tests {
		t.Run(tc.in, func(t *testing.T) {
			got, err := message.ParseIEEE(tc.in)
			if tc.ok && (err != nil || got != deviceIEEE) {
				t.Errorf("ParseIEEE = %s, %v; want %s", got, err, deviceIEEE)
			}
			if !tc.ok && !errors.Is(err, message.ErrInvalidIEEE) {
				t.Errorf("ParseIEEE = %s, %v; want ErrInvalidIEEE", got, err)
			}
		})
	}
}

func TestIEEEText(t *testing.T) {
	type device struct {
		IEEE message.IEEE `json:"ieee"`
	}
	const text = `{"ieee":"0x000b57fffe2c8904"}`
	got, err := json.Marshal(device{deviceIEEE})
	if err != nil || string(got) != text {
		t.Errorf("Marshal = %s, %v; want %s", got, err, text)
	}
	var d device
	if err := json.Unmarshal([]byte(text), &d); err != nil || d.IEEE != deviceIEEE {
		t.Errorf("Unmarshal = %s, %v", d.IEEE, err)
	}
	if err := json.Unmarshal([]byte(`{"ieee":"1"}`), &d); !errors.Is(err, message.ErrInvalidIEEE) {
		t.Errorf("Unmarshal of a short address: %v", err)
	}
}

func FuzzParseIEEE(f *testing.F) {
	f.Add("0x000b57fffe2c8904")
	f.Add("00:0b:57:ff:fe:2c:89:04")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := message.ParseIEEE(s)
		if err != nil {
			return
		}
		if again, err := message.ParseIEEE(a.String()); err != nil || again != a {
			t.Errorf("%q gives %s, which gives %s, %v", s, a, again, err)
		}
	})
}

// TestNames wants a name for every type that can be parsed, and no other.
func TestNames(t *testing.T) {
	for n := range 0x10000 {
		typ := message.MsgType(n)
		_, messageErr := message.ParseMessage(typ, nil)
		_, commandErr := message.ParseCommand(typ, nil)
		parses := !errors.Is(messageErr, message.ErrUnknownType) || !errors.Is(commandErr, message.ErrUnknownType)
		if parses != typ.Known() || parses != (typ.Name() != "unknown") {
			t.Errorf("%s: parsed %t, name %q", typ, parses, typ.Name())
		}
		if fromDongle := !errors.Is(messageErr, message.ErrUnknownType); parses && fromDongle != typ.FromDongle() {
			t.Errorf("%s: FromDongle = %t", typ, typ.FromDongle())
		}
	}
}

func TestStatusText(t *testing.T) {
	tests := []struct {
		request message.MsgType
		status  uint8
		want    string
		busy    bool
	}{
		{message.ImageBlockResponse{}.Type(), 0x00, "ok", false},
		{message.TypeGetVersion, 0x01, "incorrect parameters", false},
		{message.TypeLoadImage, 0x01, "wrong file identifier, or header too long", false},
		{0x0B99, 0x02, "unhandled command", false},
		{message.TypeStartNetwork, 0x03, "busy", true},
		{message.TypeImageNotify, 0x03, "parameter out of range", false},
		{message.TypeStartNetwork, 0x04, "stack already started", false},
		{message.TypeImageNotify, 0x05, "endpoint out of range", false},
		{message.ReadAttributes{}.Type(), 0x06, "unknown endpoint", true},
		{message.TypeStartNetwork, 0x06, "unknown endpoint", false},
		{message.ImageBlockResponse{}.Type(), 0x14, "no APDU buffer, or frame too large", true},
		{message.ImageBlockResponse{}.Type(), 0x15, "transmission refused by the stack", true},
		{message.ActiveEndpointsRequest{}.Type(), 0xA6, "invalid parameter, or no buffer", true},
		{message.ReadAttributes{}.Type(), 0xA6, "invalid parameter, or no buffer", false},
		{message.ActiveEndpointsRequest{}.Type(), 0xC2, "invalid request: the network is not up", false},
		{message.ImageBlockResponse{}.Type(), 0x77, "unknown", false},
	}
	for _, tc := range tests {
		s := message.Status{Request: tc.request, Status: tc.status}
		if got := s.Text(); got != tc.want {
			t.Errorf("%s status %#02x: %q, want %q", tc.request, tc.status, got, tc.want)
		}
		if got := s.Busy(); got != tc.busy {
			t.Errorf("%s status %#02x: Busy = %t", tc.request, tc.status, got)
		}
	}
	err := &message.StatusError{Status: message.Status{Request: message.TypeLoadImage, Status: 1}}
	if err.Busy() {
		t.Error("a wrong header is worth trying again")
	}
	const want = "0x0500 (load image header): the dongle answered status 0x01 (wrong file identifier, or header too long)"
	if err.Error() != want {
		t.Errorf("StatusError: %q, want %q", err, want)
	}
}

func zclText(status uint8) string {
	return message.Status{Request: message.ImageBlockResponse{}.Type(), Status: status}.Text()
}

func zdpText(status uint8) string {
	return message.Status{Request: message.NodeDescriptorRequest{}.Type(), Status: status}.Text()
}

// TestProblems picks the codes that call for a reaction.
func TestProblems(t *testing.T) {
	var pdm, busy []uint8
	for code := range 256 {
		if (message.PDMEvent{Event: uint8(code)}).Problem() {
			pdm = append(pdm, uint8(code))
		}
		if (message.ExtendedStatus{Code: uint8(code)}).Busy() {
			busy = append(busy, uint8(code))
		}
	}
	if diff := cmp.Diff([]uint8{1, 2, 3, 4, 9}, pdm); diff != "" {
		t.Errorf("storage events -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]uint8{0x80, 0x81, 0x82, 0x83, 0x84, 0x85}, busy); diff != "" {
		t.Errorf("stack errors -want +got:\n%s", diff)
	}
}

// TestTexts wants every code of the tables in words, and none twice within a table.
func TestTexts(t *testing.T) {
	codes := func(ranges ...uint8) []uint8 { return ranges }
	tests := []struct {
		name  string
		text  func(uint8) string
		codes []uint8
	}{
		{"radio", message.RadioStatusText, codes(0x00, 0xA7, 0xCD, 0xCF, 0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xE1, 0xE5, 0xE9, 0xF0, 0xF1)},
		{"extended", message.ExtendedStatusText, codes(0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8B)},
		{"ZCL command", zclText, codes(0, 1, 2, 3, 4, 5, 6, 0x0A, 0x0D, 0x14, 0x15, 0x25)},
		{"ZDP command", zdpText, codes(0, 1, 2, 3, 4, 0xA0, 0xA3, 0xA6, 0xA7, 0xA9, 0xAA, 0xAE, 0xC2)},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			seen := map[string]uint8{}
			for _, code := range tc.codes {
				text := tc.text(code)
				if text == "unknown" || text == "" {
					t.Errorf("%#02x has no text", code)
				}
				if other, ok := seen[text]; ok {
					t.Errorf("%#02x and %#02x are both %q", code, other, text)
				}
				seen[text] = code
			}
			if got := tc.text(0x7F); got != "unknown" {
				t.Errorf("0x7f is %q", got)
			}
		})
	}
}

func TestFirmware(t *testing.T) {
	tests := []struct {
		version  message.Version
		firmware string
		family   message.Family
		checks   bool
		hybrid   bool
		payload  int
	}{
		{message.Version{Major: 3, Minor: 0x030F}, "3.0f", message.FamilyV1, false, false, 255},
		{message.Version{Major: 3, Minor: 0x031C}, "3.1c", message.FamilyV1, false, false, 255},
		{message.Version{Major: 3, Minor: 0x031D}, "3.1d", message.FamilyV1, true, true, 269},
		{message.Version{Major: 3, Minor: 0x031E}, "3.1e", message.FamilyV1, true, true, 269},
		{message.Version{Major: 4, Minor: 0x0323}, "3.23", message.FamilyV1, true, true, 269},
		{message.Version{Major: 5, Minor: 0x0324}, "3.24", message.FamilyV2, false, true, 269},
		{message.Version{Major: 1, Minor: 0x030D}, "3.0d", message.FamilyV1, false, false, 255},
	}
	for _, tc := range tests {
		t.Run(tc.firmware, func(t *testing.T) {
			v := tc.version
			if got := v.Firmware(); got != tc.firmware {
				t.Errorf("Firmware = %q", got)
			}
			if got := v.Family(); got != tc.family {
				t.Errorf("Family = %s", got)
			}
			if got := v.ChecksVersion(); got != tc.checks {
				t.Errorf("ChecksVersion = %t", got)
			}
			if got := v.HasHybrid(); got != tc.hybrid {
				t.Errorf("HasHybrid = %t", got)
			}
			if got := v.MaxCommandPayload(); got != tc.payload {
				t.Errorf("MaxCommandPayload = %d", got)
			}
		})
	}
}

func TestQueryNextImage(t *testing.T) {
	tests := []struct {
		name string
		zcl  []byte
		want message.QueryNextImage
		ok   bool
	}{
		{"without hardware version", bytesOf(
			"01",       // frame control
			"2a",       // sequence
			"01",       // command
			"00",       // field control
			"7c11",     // manufacturer
			"0111",     // image type
			"30560120", // version
		), message.QueryNextImage{Sequence: 0x2A, ManufacturerCode: 0x117C, ImageType: 0x1101, FileVersion: 0x20015630}, true},
		{"with hardware version", bytesOf(
			"11",       // frame control
			"2b",       // sequence
			"01",       // command
			"01",       // field control
			"7c11",     // manufacturer
			"0111",     // image type
			"30560120", // version
			"0100",     // hardware version
		), message.QueryNextImage{
			Sequence: 0x2B, NoDefaultResponse: true, ManufacturerCode: 0x117C, ImageType: 0x1101,
			FileVersion: 0x20015630, HasHardwareVersion: true, HardwareVersion: 1,
		}, true},
		{"hardware version missing", bytesOf("112b01017c11011130560120"), message.QueryNextImage{}, false},
		{"truncated", bytesOf("012a01007c110111305601"), message.QueryNextImage{}, false},
		{"another command", bytesOf("012c03007c11011130660120000000003f"), message.QueryNextImage{}, false},
		{"from a server", bytesOf("092a01007c11011130560120"), message.QueryNextImage{}, false},
		{"general command", bytesOf("002a01007c11011130560120"), message.QueryNextImage{}, false},
		{"manufacturer specific", bytesOf("052a01007c11011130560120"), message.QueryNextImage{}, false},
		{"nothing", nil, message.QueryNextImage{}, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := message.ParseQueryNextImage(tc.zcl)
			if diff := cmp.Diff(tc.want, got); ok != tc.ok || diff != "" {
				t.Errorf("%t, -want +got:\n%s", ok, diff)
			}
			if ok {
				if diff := cmp.Diff(tc.zcl, got.AppendZCL(nil)); diff != "" {
					t.Errorf("AppendZCL -want +got:\n%s", diff)
				}
			}
		})
	}
}

func FuzzParseQueryNextImage(f *testing.F) {
	f.Add(bytesOf("112b01017c110111305601200100"))
	f.Fuzz(func(t *testing.T, zcl []byte) {
		q, ok := message.ParseQueryNextImage(zcl)
		if !ok {
			return
		}
		if again, ok := message.ParseQueryNextImage(q.AppendZCL(nil)); !ok || again != q {
			t.Errorf("%+v, written and parsed: %+v, %t", q, again, ok)
		}
	})
}

func TestFrameString(t *testing.T) {
	f := message.Frame{Type: message.TypeVersion, Payload: bytesOf("0005032400")}
	if got, want := f.String(), "0x8010 version 0005032400"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	if got := message.FromDongle.String() + " " + message.ToDongle.String(); !strings.Contains(got, "received sent") {
		t.Errorf("directions are %q", got)
	}
}
