package message_test

import (
	"fmt"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// A Decoder takes bytes as they come from the dongle, in pieces of any size. Each frame that is complete has
// a type, a payload and the link quality as its last byte.
func ExampleDecoder() {
	var d message.Decoder
	pieces := [][]byte{
		{0x01, 0x80, 0x10, 0x02, 0x10, 0x02, 0x15, 0x8D, 0x02, 0x10, 0x02},
		{0x15, 0x02, 0x13, 0x1E, 0x02, 0x10, 0x03},
	}
	for _, piece := range pieces {
		for len(piece) > 0 {
			frame, rest, ok := d.Feed(piece)
			piece = rest
			if !ok {
				continue
			}
			payload, linkQuality, err := frame.Message()
			if err != nil {
				fmt.Println(err)
				return
			}
			m, err := message.ParseMessage(frame.Type, payload)
			if err != nil {
				fmt.Println(err)
				return
			}
			fmt.Printf("%v %+v, link quality %d\n", frame.Type, m, linkQuality)
		}
	}
	fmt.Println("checksums that do not fit:", d.Errors().Checksum)
	// Output:
	// 0x8010 {Major:5 Minor:798}, link quality 0
	// checksums that do not fit: 0
}

// A Decoder drops what is no frame, counts why, and goes on with the next one.
func ExampleDecoder_Errors() {
	var d message.Decoder
	bytes := []byte{0x55, 0x01, 0x80, 0x99, 0x03}
	bytes = message.AppendFrame(bytes, message.TypeHeartbeat, []byte{0, 0, 0, 7, 0})
	frame, _, ok := d.Feed(bytes)
	fmt.Println(frame, ok)
	fmt.Printf("%+v\n", d.Errors())
	// Output:
	// 0x8008 heartbeat 0000000700 true
	// {Garbage:1 Truncated:1 Checksum:0 Length:0 Escape:0 Overlong:0}
}

// AppendFrame adds START, END and the checksum, and escapes every byte below 0x10 between START and END.
func ExampleAppendFrame() {
	fmt.Printf("% x\n", message.AppendFrame(nil, message.TypeGetVersion, nil))
	// Output: 01 02 10 10 02 10 02 10 10 03
}

// AppendImageBlockResponse appends the answer to an image block request as a whole frame.
func ExampleAppendImageBlockResponse() {
	frame := message.AppendImageBlockResponse(nil, &message.ImageBlockResponse{
		Target: message.Target{
			AddrMode:    message.AddrModeNetwork,
			Addr:        0x4F3A,
			SrcEndpoint: message.OTAEndpoint,
			DstEndpoint: 0x11,
		},
		Sequence:         0x2A,
		Status:           message.OTASuccess,
		Offset:           0x40,
		FileVersion:      0x21222324,
		ImageType:        0x2101,
		ManufacturerCode: 0x117C,
		Data:             []byte{0xDE, 0xAD},
	})
	t, _ := message.WireType(frame)
	fmt.Printf("%v, %d bytes\n", t, len(frame))
	// Output: 0x0502, 40 bytes
}
