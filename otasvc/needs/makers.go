package needs

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// maker is what is known of the devices of one maker; 0 where nothing is.
type maker struct {
	largestBlock uint8 // bytes
	leastBlock   uint8 // bytes; a device that gets fewer than this and than it asked for fails
	silence      time.Duration
}

// telinkBlock is the size of the blocks that OTA clients of Telink's stack ask for, in bytes.
const telinkBlock = 48

// makers are the makers whose devices need something, by manufacturer code.
var makers = map[uint16]maker{
	0x1021: {silence: 30 * time.Minute}, // Legrand
	0x1135: {largestBlock: 40},          // dresden elektronik
	0x1141: {leastBlock: telinkBlock},   // Telink
	0x117A: {largestBlock: 40},          // Insta, which makes devices for Gira and Jung
	0x1209: {silence: time.Hour},        // Bosch
	0x1286: {silence: time.Hour},        // Sonoff: one of its devices
}

// makerOf is what is known of the maker of a kind of device.
func makerOf(kind Kind) maker {
	var m maker
	if kind.ManufacturerCode != nil {
		m = makers[*kind.ManufacturerCode]
	}
	if kind.Chip == otafile.ChipTelink && m.largestBlock == 0 {
		m.leastBlock = telinkBlock
	}
	return m
}

// HoldLimit is how long a device keeps an image that it is told not to install yet, before it installs it
// all the same; 0 where it keeps it for as long as it is told, as far as is known. The OTA clients of
// Telink's and of Texas Instruments' stacks ask once an hour, and give up waiting.
func HoldLimit(chip otafile.Chip) time.Duration {
	switch chip {
	case otafile.ChipTelink:
		return 2 * time.Hour
	case otafile.ChipTexasInstruments:
		return 3 * time.Hour
	default:
		return 0
	}
}
