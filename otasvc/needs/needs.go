package needs

import (
	"cmp"
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// Settings is what a person has set for one device; nil stands for not set. It is a value: what its pointers
// refer to never changes. Its JSON form is that of the state file.
type Settings struct {
	// Excluded devices are upgraded only when they are named, with force.
	Excluded *bool `json:"excluded,omitempty"`
	// BlockSize is the largest block in bytes, 1 to 64.
	BlockSize *uint8 `json:"blockSize,omitempty"`
	// BlockInterval is the shortest time between two blocks.
	BlockInterval *time.Duration `json:"blockInterval,omitempty"`
	// StallTimeout is how long the device may be silent before a download has stalled, also where it sleeps.
	StallTimeout *time.Duration `json:"stallTimeout,omitempty"`
	// NotifyAttempts is how many notifications without a block request end an attempt.
	NotifyAttempts *uint32 `json:"notifyAttempts,omitempty"`
}

// Excludes reports whether the device is upgraded only when it is named, with force.
func (s *Settings) Excludes() bool { return s.Excluded != nil && *s.Excluded }

// Defaults is what is configured for all devices.
type Defaults struct {
	BlockSize      uint8         // largest block in bytes
	BlockInterval  time.Duration // shortest time between two blocks; 0 stands for none
	StallTimeout   time.Duration // without a block request before a download has stalled
	NotifyAttempts int           // notifications in vain before an attempt ends
}

// Kind is what kind of device it is, as far as that tells what it needs.
type Kind struct {
	ManufacturerCode *uint16      // of its OTA client; nil while it is not known
	Chip             otafile.Chip // that its image is surely for
}

// Learned is what the device has shown. The zero value is that of one that has shown nothing yet.
type Learned struct {
	LargestBlock uint8 // the largest block, in bytes, that gets through to it; 0 where no limit was met
}

// routeBlocks are the block sizes, in bytes, that fit one Zigbee frame behind ever more relays of a source
// route.
var routeBlocks = []uint8{61, 57, 53, 48, 40, 32, 16}

// Shrunk is what is known after a block of some bytes was found not to fit the device's route. It is false
// where there is no smaller size.
func (l Learned) Shrunk(bytes uint8) (Learned, bool) {
	for _, size := range routeBlocks {
		if size < bytes && (l.LargestBlock == 0 || size < l.LargestBlock) {
			return Learned{LargestBlock: size}, true
		}
	}
	return l, false
}

// GotThrough is what is known after blocks of some bytes were seen to get through, while larger ones did not.
func (l Learned) GotThrough(bytes uint8) Learned {
	if bytes != 0 && (l.LargestBlock == 0 || bytes < l.LargestBlock) {
		return Learned{LargestBlock: bytes}
	}
	return l
}

// Limits is what holds for a device.
type Limits struct {
	// LargestBlock is the largest block in bytes.
	LargestBlock uint8
	// LeastBlock is the size, in bytes, below which no block may be cut, as the device would fail; 0 where
	// there is none.
	LeastBlock uint8
	// BlockInterval is the shortest time between two blocks.
	BlockInterval time.Duration
	// Silence is how long the device may be silent in mid-download of its own making; 0 where it is not known
	// to be.
	Silence time.Duration
	// StallTimeout is without a block request before a download has stalled.
	StallTimeout time.Duration
	// StallSet says that a person has set StallTimeout, so that it holds for a sleeping device, too.
	StallSet bool
	// NotifyAttempts is how many notifications in vain end an attempt.
	NotifyAttempts int
}

// silenceMargin is how much longer than its own silence a device is waited for.
const silenceMargin = 10 * time.Minute

// Of is what a device needs.
func Of(set Settings, learned Learned, kind Kind, all Defaults) Limits {
	maker := makerOf(kind)
	l := Limits{
		LargestBlock:   all.BlockSize,
		LeastBlock:     maker.leastBlock,
		BlockInterval:  all.BlockInterval,
		Silence:        maker.silence,
		StallTimeout:   all.StallTimeout,
		NotifyAttempts: all.NotifyAttempts,
	}
	l.LargestBlock = lesser(lesser(l.LargestBlock, maker.largestBlock), learned.LargestBlock)
	l.LargestBlock = max(l.LargestBlock, l.LeastBlock)
	if maker.silence > 0 {
		l.StallTimeout = max(l.StallTimeout, maker.silence+silenceMargin)
	}
	l.apply(set)
	return l
}

// Check says what is wrong with limits that a person has set; it is nil where nothing is. The error names the
// keys of the request.
func (l *Limits) Check() error {
	if l.BlockInterval > 0 && l.BlockInterval >= l.StallTimeout {
		return fmt.Errorf("blockIntervalMs: a block each %v, and a download has stalled after %v without a "+
			"request; make it shorter than stallTimeoutSeconds", l.BlockInterval, l.StallTimeout)
	}
	return nil
}

// lesser is the lesser of two limits, of which the second may be 0 for none.
func lesser(limit, other uint8) uint8 { return min(limit, cmp.Or(other, limit)) }

// apply has what a person has set hold, whatever else is known.
func (l *Limits) apply(set Settings) {
	if set.BlockSize != nil {
		l.LargestBlock = *set.BlockSize
		l.LeastBlock = 0
	}
	if set.BlockInterval != nil {
		l.BlockInterval = *set.BlockInterval
	}
	if set.StallTimeout != nil {
		l.StallTimeout = *set.StallTimeout
		l.StallSet = true
		l.Silence = min(l.Silence, l.StallTimeout)
	}
	if set.NotifyAttempts != nil {
		l.NotifyAttempts = int(*set.NotifyAttempts)
	}
}
