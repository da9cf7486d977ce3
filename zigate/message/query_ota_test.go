package message_test

import (
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// otaRequests are OTA requests of devices as they stand in data indications.
var otaRequests = map[string]struct {
	zcl   string
	block *message.ImageBlockRequest
	end   *message.UpgradeEndRequest
}{
	"block": {
		// control, seq, command, field control, manufacturer, type, version, offset, size
		zcl: "01" + "42" + "03" + "00" + "7c11" + "0122" + "31560923" + "80080000" + "3f",
		block: &message.ImageBlockRequest{
			Sequence: 0x42, ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 0x23095631, Offset: 0x880, MaxDataSize: 63,
			BlockRequestDelay: message.NoBlockRequestDelay,
		},
	},
	"block with node address and delay": {
		zcl: "11" + "01" + "03" + "03" + "7c11" + "0122" + "31560923" + "00000000" + "30" + "b2a5c6feff570b00" + "c800",
		block: &message.ImageBlockRequest{
			Sequence: 1, ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 0x23095631, MaxDataSize: 48, FieldControl: 3,
			NodeAddress: 0x000b57fffec6a5b2, BlockRequestDelay: 200,
		},
	},
	"block with half a node address": {zcl: "01" + "42" + "03" + "01" + "7c11" + "0122" + "31560923" + "80080000" + "3f" + "b2a5c6fe"},
	"block without its delay":        {zcl: "01" + "42" + "03" + "02" + "7c11" + "0122" + "31560923" + "80080000" + "3f"},
	"block cut short":                {zcl: "01" + "42" + "03" + "00" + "7c11" + "0122" + "31560923"},
	"block from a server":            {zcl: "09" + "42" + "03" + "00" + "7c11" + "0122" + "31560923" + "80080000" + "3f"},
	"upgrade end": {
		zcl: "01" + "43" + "06" + "95" + "7c11" + "0122" + "31560923",
		end: &message.UpgradeEndRequest{Sequence: 0x43, Status: message.OTAAbort, ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 0x23095631},
	},
	"upgrade end cut short": {zcl: "01" + "43" + "06" + "95" + "7c11"},
	"nothing":               {zcl: ""},
}

func TestOTARequestsInDataIndications(t *testing.T) {
	for name, tt := range otaRequests {
		zcl, err := hex.DecodeString(tt.zcl)
		if err != nil {
			t.Fatal(err)
		}
		block, isBlock := message.ParseImageBlockRequest(zcl)
		if isBlock != (tt.block != nil) || isBlock && !cmp.Equal(*tt.block, block) {
			t.Errorf("%s: block request %+v, %v", name, block, isBlock)
		}
		end, isEnd := message.ParseUpgradeEndRequest(zcl)
		if isEnd != (tt.end != nil) || isEnd && !cmp.Equal(*tt.end, end) {
			t.Errorf("%s: upgrade end request %+v, %v", name, end, isEnd)
		}
	}
}

func FuzzOTARequests(f *testing.F) {
	for _, tt := range otaRequests {
		zcl, _ := hex.DecodeString(tt.zcl)
		f.Add(zcl)
	}
	f.Fuzz(func(t *testing.T, zcl []byte) {
		if r, ok := message.ParseImageBlockRequest(zcl); ok && r.Sequence != zcl[1] {
			t.Error("another sequence number")
		}
		if r, ok := message.ParseUpgradeEndRequest(zcl); ok && r.Sequence != zcl[1] {
			t.Error("another sequence number")
		}
	})
}
