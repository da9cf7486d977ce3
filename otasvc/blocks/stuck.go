package blocks

import (
	"sync/atomic"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// A device that asks for the same offset again and again does not get the block, though the request comes
// through: the block is too large for its route, or for the device. Nobody tells. So smaller ones are tried,
// and what gets through is kept to.

// After how many requests for an offset a smaller block is tried. Devices that give up soonest ask four
// times. Where blocks of the size have got through before, frames that were lost by chance are the likelier
// reason.
const (
	triesInVain   = 2
	triesByChance = 5
)

// smaller are the sizes that are tried, in bytes. They are multiples of unit.
var smaller = [...]uint8{48, 32, 16}

// stuck follows how often a device asks for the same offset. Only the reader changes it.
type stuck struct {
	limit    atomic.Uint32 // largest block that is sent, in bytes; 0: no limit was met
	through  atomic.Uint32 // the limit that was seen to get through, where larger blocks did not; 0: none was
	inVain   atomic.Bool   // what is sent now does not get through
	offset   uint32        // of the last request
	key      uint64        // askedKey of that
	size     uint32        // of the block that it got; 0 where it got none
	attempts int           // blocks for that offset in vain
	arrived  uint32        // bytes of the largest block that has got through
	limits   *Limits       // that the last block had to keep to
}

// note takes a request before its block is sized, by these limits. With other limits than before it counts
// anew.
func (s *stuck) note(req *message.ImageBlockRequest, limits *Limits) {
	key := askedKey(req)
	switch {
	case key == s.key && s.size != 0: // the frame came twice
		return
	case req.Offset == s.offset && s.size != 0 && limits == s.limits:
		s.attempts++
	default:
		if req.Offset == s.offset+s.size {
			s.gotThrough()
		}
		s.attempts = 0
	}
	s.key = key
	s.offset = req.Offset
	s.limits = limits
	tries := triesInVain
	if s.size <= s.arrived {
		tries = triesByChance
	}
	s.inVain.Store(s.attempts >= tries)
	if s.attempts >= tries {
		s.shrink(limits.Least)
	}
}

// gotThrough notes that the last block has got through.
func (s *stuck) gotThrough() {
	s.arrived = max(s.arrived, s.size)
	if s.inVain.Load() {
		s.through.Store(s.limit.Load())
	}
}

// shrink has a smaller block tried than the last one. Where there is none, size is not the reason, and the
// largest is tried again.
func (s *stuck) shrink(least uint8) {
	for _, size := range smaller {
		if uint32(size) < s.size && size >= least {
			s.limit.Store(uint32(size))
			return
		}
	}
	s.limit.Store(0)
}

// sent notes the size of the block that the last request got.
func (s *stuck) sent(n uint32) { s.size = n }

// refused notes that the dongle did not take the last block, so that it says nothing that the device asks
// again.
func (s *stuck) refused() { s.size = 0 }
