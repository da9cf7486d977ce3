package message_test

import (
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

func TestWords(t *testing.T) {
	received := func(m message.Message) string {
		return message.Frame{Type: m.Type(), Payload: append(message.AppendPayload(nil, m), 0x9C)}.Words(message.FromDongle)
	}
	sent := func(m message.Message) string {
		return message.Frame{Type: m.Type(), Payload: message.AppendPayload(nil, m)}.Words(message.ToDongle)
	}
	tests := []struct{ got, want string }{
		{sent(message.GetVersion{}), "get version"},
		{received(message.Version{Major: 4, Minor: 0x323}), "version: major 0x0004, minor 0x0323"},
		{received(message.Status{Request: message.ImageBlockResponse{}.Type(), Status: 0x14, Form: message.StatusFormBuffers, APDUUsed: 12}),
			"image block response: no APDU buffer, or frame too large"},
		{received(message.Confirm{Kind: message.TypeConfirmFailed, Status: 0xA7, Addr: 0x9021, DstAddrMode: message.AddrModeNetwork}), "addr 0x9021"},
		{sent(message.ImageBlockResponse{Target: target, Sequence: 7, Offset: 64, FileVersion: 0x22010631, Data: []byte{1, 2}}),
			"sequence 7, status 0x00, offset 64, file version 0x22010631"},
		{received(message.DeviceAnnounce{Addr: 0x9021, IEEE: deviceIEEE}), "IEEE 0x000b57fffe2c8904"},
		{received(zclFrame(message.ClusterOTA, "11", "05", "01", "01", "7c11", "0122", "31060122", "0300")),
			"query next image: sequence 5, no default response, manufacturer code 0x117c, image type 0x2201, file version 0x22010631, has hardware version, hardware version 0x0003"},
		{message.Frame{Type: 0x8999, Payload: []byte{1, 2}}.Words(message.FromDongle), "unknown: 0x8999: unknown message type: 01"},
		{message.Frame{Type: message.TypeStatus, Payload: []byte{1, 2}}.Words(message.FromDongle), "payload too short"},
		{message.Frame{Type: message.TypeStatus}.Words(message.FromDongle), "status: "},
	}
	for _, tc := range tests {
		if !strings.Contains(tc.got, tc.want) {
			t.Errorf("%q does not say %q", tc.got, tc.want)
		}
	}
}
