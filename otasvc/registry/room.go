package registry

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// A dongle of hardware v1 discards what does not fit its transmit queue, in the middle of a frame and without
// a word. About 250 bytes of one burst get through, because the queue drains meanwhile. So questions are
// asked in such a way that the answers which may come at the same moment are no more than that.
const (
	// roomV1 leaves some of the 250 bytes to what comes unasked, and to answers that are longer than most.
	roomV1 = 180
	// roomV1Raw is for a dongle that shows each frame twice, first as it came from the air.
	roomV1Raw = roomV1 / 2
)

// Room is how many bytes of answers may come from a dongle at the same moment; 0 stands for any number. A
// dongle in one of the raw modes shows frames as they came from the air, too.
func Room(family message.Family, mode message.RawMode) int {
	switch {
	case family == message.FamilyV2: // it waits until the line has taken what it says
		return 0
	case mode != message.RawModeOff:
		return roomV1Raw
	default:
		return roomV1
	}
}

// How many bytes the payloads of answers have, without the byte of link quality. Descriptors of variable
// length count with what few devices exceed.
const (
	nodeDescriptorBytes   = 17
	activeEndpointsBytes  = 5 + 4
	simpleDescriptorBytes = 12 + 2*15
	powerDescriptorBytes  = 4
	addressBytes          = 15
	entriesBytes          = 7 + 3*21
	attributeBytes        = 12 // and the value
	numberBytes           = 4
	textBytes             = 24
)

// alone is the size, in bytes, of answers that leave no room to others.
const alone = 10 * roomV1

// What a message takes on the line besides its payload.
const (
	frameBytes = 8
	// deliveryBytes is for the two messages that tell that a question has reached its device.
	deliveryBytes = 47
)

// sizeOf is how many bytes answers with so many bytes of payload each take on the line, all together. About
// each fifth byte is escaped, so that it takes two.
func sizeOf(payloads ...int) int {
	size := deliveryBytes
	for _, bytes := range payloads {
		size += (bytes + frameBytes) * 6 / 5
	}
	return size
}

// size is how many bytes the answer takes on the line: each attribute comes as a message of its own.
func (a *attributes) size() int {
	var payloads []int
	for _, id := range a.ids {
		value := numberBytes
		if a.cluster == message.ClusterBasic && id != attrPowerSource {
			value = textBytes
		}
		payloads = append(payloads, attributeBytes+value)
	}
	return sizeOf(payloads...)
}

// answersWithin is how long after its question an answer is expected at any moment. One that has not come by
// then comes late, if at all, and hardly together with others.
const answersWithin = time.Second

// fits reports whether there is room for the answer to a question besides those that are expected now. One
// that is larger than the room is asked when nothing else is expected.
func (q *Questions) fits(p *Pending, now time.Time) bool {
	if q.room == 0 || p.question.Size == 0 {
		return true
	}
	expected := 0
	for _, other := range q.open {
		if other != p && now.Sub(other.sentAt) < answersWithin {
			expected += other.question.Size
		}
	}
	return expected == 0 || expected+p.question.Size <= q.room
}
