package message_test

import (
	"fmt"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// A host asks a dongle for its version, and reads what comes back: bytes that may hold part of a frame, or
// several.
func Example() {
	question := message.GetVersion{}
	wire := message.AppendFrame(nil, question.Type(), message.AppendPayload(nil, question))
	fmt.Printf("sent     %x\n", wire)

	received := []byte{
		0x01,                                     // START
		0x80, 0x10, 0x02, 0x10, 0x02, 0x15, 0xB7, // type, length, checksum
		0x02, 0x10, 0x02, 0x15, 0x02, 0x13, 0x24, 0x02, 0x10, // major, minor, link quality
		0x03, // END
	}
	var decoder message.Decoder
	for {
		frame, rest, ok := decoder.Feed(received)
		if !ok {
			break
		}
		received = rest

		payload, _, err := frame.Message()
		if err != nil {
			fmt.Println(err)
			continue
		}
		m, err := message.ParseMessage(frame.Type, payload)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Printf("received %s\n", frame.Words(message.FromDongle))
		if version, ok := m.(message.Version); ok {
			fmt.Printf("the firmware is %s of family %s\n", version.Firmware(), version.Family())
		}
	}
	// Output:
	// sent     01021010021002101003
	// received version: major 0x0005, minor 0x0324
	// the firmware is 3.24 of family v2
}
