package sim

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Config describes a dongle and what is around it. The zero value is a v1 dongle with firmware 3.23 on a
// network without devices, with an unlimited line and no waiting.
type Config struct {
	Firmware Firmware
	// IEEE is the dongle's own address; 0 means 0x00158d0001ed3395.
	IEEE message.IEEE
	// PANID names the network; 0 means 0x1a62.
	PANID uint16
	// Channel is from 11 to 26; 0 means 15.
	Channel uint8
	// FactoryNew dongles have no network until the host starts one; their devices have to join.
	FactoryNew bool

	// Seed decides everything random.
	Seed uint64
	// Speed is the pace of radio and devices: 1 is real, N is N times quicker, 0 and infinity do not wait at
	// all. The times that a host depends on (the wait it asked for, how long a device waits for its answers)
	// are shortened to a second at least, and without waiting not at all, so that a quick simulation does not
	// run away from its host.
	Speed float64
	// LineRate is the bytes per second on the serial line in each direction, 11520 for 115200 baud;
	// 0 means unlimited. With a rate, firmware v1 loses output that does not fit its transmit queue, as
	// it does in reality: of a burst at 115200 baud about 250 bytes get through, and some of those behind.
	LineRate int

	Devices []DeviceConfig
	Faults  Faults

	// OnAir, where it is set, is called with every radio frame when it is sent. The goroutine of Run calls
	// it; it must neither block nor call back into the Dongle.
	OnAir func(AirFrame)
	// OnFrame, where it is set, is called in the same way with every frame on the line: those to the host as
	// they are sent, before Faults, and the commands that were executed.
	OnFrame func(message.Direction, message.Frame)
	// Logger may be nil, which discards the log.
	Logger *slog.Logger
}

// AirFrame is one radio frame between the dongle and a device, as the APS layer sees it. The payload is a ZCL
// or ZDP frame, little-endian as on the air.
type AirFrame struct {
	FromDongle          bool
	Broadcast           bool   // from the dongle to everybody that listens
	Addr                uint16 // network address: destination of a frame from the dongle, source of others
	Profile, Cluster    uint16
	SourceEndpoint      uint8
	DestinationEndpoint uint8
	Payload             []byte
}

// isZDP tells whether the frame is for the ZDP endpoint of a node.
func (f AirFrame) isZDP() bool { return f.Profile == profileZDP && f.DestinationEndpoint == 0 }

// DeviceConfig describes one device: a client of the OTA upgrade cluster.
type DeviceConfig struct {
	IEEE     message.IEEE // must differ from all others
	Addr     uint16       // network address; 0 takes one that is made of the IEEE address
	Endpoint uint8        // of the OTA client, 1 to 240; 0 means 1
	// OtherEndpoints are listed before Endpoint and have nothing to do with upgrades.
	OtherEndpoints []uint8
	// OtherClients are OTA clients besides the one that the fields below describe, with another image type
	// each: those of further processors. They behave like that one, and so do their faults.
	OtherClients []ClientConfig
	// Unjoined devices are not part of the network at first: Announce lets them join while the
	// dongle permits it.
	Unjoined bool

	ManufacturerCode, ImageType uint16
	FileVersion                 uint32
	HardwareVersion             *uint16 // nil if the device does not tell one
	ManufacturerName, ModelID   string  // of the Basic cluster
	// SoftwareBuild and DateCode are of the Basic cluster, too. An empty SoftwareBuild stands for the file
	// version that runs, as four numbers; an empty DateCode for 20240131.
	SoftwareBuild, DateCode string
	// NoSoftwareBuild devices have neither of the two attributes.
	NoSoftwareBuild bool
	// UpgradeServer is the OTA server that the device has found, as its attribute says; 0 stands for the
	// dongle. All ones say that it has found none yet.
	UpgradeServer  message.IEEE
	BatteryPercent *uint8 // 0 to 100; nil if the device lacks the power configuration cluster

	// Stack has the device behave like the OTA client of a Zigbee stack, in its requests, its times, and what
	// it does about refusals, waits, notifications, power cuts and answers that do not come. The fields below
	// come on top: a value other than 0 is taken instead of the stack's.
	Stack Stack

	// MaxDataSize is the largest block, in bytes, that the device asks for and takes; 0 means the stack's,
	// without one between 50 and 63, by the seed.
	MaxDataSize uint8
	// BlockInterval is the time between the arrival of a block and the next request.
	BlockInterval time.Duration
	// RetryInterval is how long the device waits for an answer; 0 means what the stack does, without one 5 s.
	RetryInterval time.Duration
	// Retries is how often the device asks again before it gives up; 0 means as often as the stack does,
	// without one 5 times, a negative number never.
	Retries int
	// RebootTime is how long the device is away to install an image; 0 means 10 s.
	RebootTime time.Duration
	// QueryInterval is how often the device asks for an image by itself; with 0 it does so as the stack does,
	// without one when it is notified. A negative time is never.
	QueryInterval time.Duration

	// Sleepy devices listen only after a transmission of their own and when they poll their parent. Their
	// parent keeps a message for about 7 s.
	Sleepy bool
	// PollInterval is the time between two polls; 0 means 5 s.
	PollInterval time.Duration
	// Relays is the number of routers between dongle and device. Each takes two bytes of the largest block.
	Relays int
	// LQI is the link quality at the dongle; 0 takes one by the seed.
	LQI uint8

	// MinimumBlockPeriod devices report their block request delay and obey the one that they are given.
	MinimumBlockPeriod bool
	// NodeAddressInRequests puts the device's own address into block requests.
	NodeAddressInRequests bool
	// PageRequests asks for pages of blocks.
	PageRequests bool
	// PageSize is the size of a page in bytes; 0 means 1024.
	PageSize uint16
	// ResponseSpacing is the time that the device wants between two blocks of a page; 0 means 200 ms.
	ResponseSpacing time.Duration
	// HeaderFirst asks for the first 16 bytes of the image, looks at them, and starts again.
	HeaderFirst bool
	// AsksAgain drops every n-th block and asks for it again; 0 drops none.
	AsksAgain int
	// LosesBlocksOver is the size, in bytes, of the largest block that reaches the device: larger ones are
	// lost on the way, and nobody tells; 0 loses none.
	LosesBlocksOver uint8
	// SilentAt has the device say nothing for SilentFor once it has so many bytes, and then go on, unless it
	// is 0.
	SilentAt  uint32
	SilentFor time.Duration
	// FullBlocksOnly aborts when a block before the last is shorter than it asked for.
	FullBlocksOnly bool
	// ResumesDownload goes on where the last session of the same version ended, instead of at the first byte.
	ResumesDownload bool
	// OnlyNewer ignores offers of the running version and of older ones.
	OnlyNewer bool
	// InstallsOnlyNewer ends a complete download of the running version or an older one with "invalid image".
	InstallsOnlyNewer bool
	// DisableDefaultResponse sets that bit in the device's own requests.
	DisableDefaultResponse bool
	// ServerEndpoint is the dongle's endpoint that the device talks to; 0 means 1.
	ServerEndpoint uint8
	// UnsupportedAttributes of the OTA cluster are answered with "unsupported". The image stamp
	// never is supported.
	UnsupportedAttributes []uint16
	// NoPowerSource devices do not have that attribute of the Basic cluster.
	NoPowerSource bool

	// What goes wrong. FailFirst limits these to so many sessions, after which the device
	// behaves; with 0 it never does.
	FailFirst       int
	AbortAt         uint32 // ends the download with "abort" once it has so many bytes, unless it is 0
	SucceedsAt      uint32 // ends the download with "success" once it has so many bytes, unless it is 0
	InvalidAtEnd    bool   // ends a complete download with "invalid image"
	RequireMore     bool   // ends a complete download with "require more image"
	StopsAt         uint32 // falls silent in the download once it has so many bytes, unless it is 0
	KeepsOldVersion bool   // reboots and still runs the version that it had
	// ReportsVersion is the file version that the device tells of every image that it has installed, whatever
	// the image's file says; 0 means the file's.
	ReportsVersion uint32
	// Becomes is what the device tells of itself once it has installed an image.
	Becomes Identity

	SilentToNotify       bool // does not react to an image notify
	NeverReturns         bool // does not come back from its reboot
	LosesAnnounce        bool // comes back without a device announce
	InstallsWithoutReply bool // installs even when nobody answers its upgrade end request
}

// Identity is what a device tells of itself; empty and 0 mean the same as before.
type Identity struct {
	ManufacturerName string
	ModelID          string
	ManufacturerCode uint16
	ImageType        uint16
}

// ClientConfig is one more OTA client of a device. Of several at the same endpoint one asks after the other,
// and the first one's are the attributes there.
type ClientConfig struct {
	Endpoint         uint8  // 1 to 240; 0 means that of the device's own OTA client
	ManufacturerCode uint16 // 0 means that of the device's own OTA client
	ImageType        uint16
	FileVersion      uint32
	HardwareVersion  *uint16 // nil if it does not tell one
	// AfterFirst clients ask for no image before the device's own OTA client has installed one.
	AfterFirst bool
}

// withDefaults fills in what is the device's.
func (c ClientConfig) withDefaults(device *DeviceConfig) ClientConfig {
	c.Endpoint = cmp.Or(c.Endpoint, device.Endpoint)
	c.ManufacturerCode = cmp.Or(c.ManufacturerCode, device.ManufacturerCode)
	return c
}

// Faults is what goes wrong with the line, the air and the dongle, by the seed. Probabilities
// are between 0 and 1.
type Faults struct {
	LoseFromDongle float64 // a frame to the host is lost
	LoseToDongle   float64 // a frame to the dongle is lost
	Corrupt        float64 // a frame in either direction has a byte changed, missing or too many
	Duplicate      float64 // a frame to the host comes twice
	Late           float64 // a frame to the host comes later, behind others
	// LateBy is how much later it comes at most; 0 means 2 s.
	LateBy time.Duration
	// LoseAir is the probability that a radio frame does not arrive, for each try. Frames with
	// acknowledgement are tried four times.
	LoseAir float64
	// LoseAck is the probability that a radio frame arrives and its acknowledgement does not.
	LoseAck float64
	// Refuse is the probability that the dongle has no buffer for an OTA command (status 0x14).
	Refuse float64
	// RefuseBlocks is the status with which the dongle refuses every block (0x0502) from the start on, as
	// one does whose buffers have leaked (0x14), or that hangs half way (0x15). With 0 it takes them.
	RefuseBlocks uint8
	// RefusalOutlastsReset has a dongle that refuses every block go on with that after a reset, until it was
	// without power.
	RefusalOutlastsReset bool
	// ResetEvery is the mean time between resets of the dongle, at random moments; with 0 there are none.
	ResetEvery time.Duration
	// SilentResets has these resets go without the notices at start.
	SilentResets bool
}

// onLine tells whether anything goes wrong on the line.
func (f Faults) onLine() bool {
	return f.LoseFromDongle > 0 || f.LoseToDongle > 0 || f.Corrupt > 0 || f.Duplicate > 0 || f.Late > 0
}

const (
	defaultIEEE         message.IEEE = 0x00158D0001ED3395
	defaultPANID                     = 0x1A62
	defaultChannel                   = 15
	defaultRebootTime                = 10 * time.Second
	defaultPollInterval              = 5 * time.Second
	defaultPageSize                  = 1024
	defaultSpacing                   = 200 * time.Millisecond
	defaultLateBy                    = 2 * time.Second
)

func (c Config) withDefaults() Config {
	if c.IEEE == 0 {
		c.IEEE = defaultIEEE
	}
	if c.PANID == 0 {
		c.PANID = defaultPANID
	}
	if c.Channel == 0 {
		c.Channel = defaultChannel
	}
	if c.Faults.LateBy == 0 {
		c.Faults.LateBy = defaultLateBy
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c DeviceConfig) withDefaults() DeviceConfig {
	if c.Endpoint == 0 {
		c.Endpoint = 1
	}
	if c.ServerEndpoint == 0 {
		c.ServerEndpoint = dongleEndpoint
	}
	c = c.withStack()
	c.OtherClients = slices.Clone(c.OtherClients)
	for i, other := range c.OtherClients {
		c.OtherClients[i] = other.withDefaults(&c)
	}
	if c.RebootTime == 0 {
		c.RebootTime = defaultRebootTime
	}
	if c.PollInterval == 0 {
		c.PollInterval = defaultPollInterval
	}
	if c.PageSize == 0 {
		c.PageSize = defaultPageSize
	}
	if c.ResponseSpacing == 0 {
		c.ResponseSpacing = defaultSpacing
	}
	return c
}

// withStack fills in what the device's stack does, where the fields do not say otherwise.
func (c DeviceConfig) withStack() DeviceConfig {
	stack := c.Stack.traits()
	if c.RetryInterval == 0 {
		c.RetryInterval = stack.silence.timeout
	}
	if c.Retries == 0 {
		c.Retries = stack.silence.retries
	}
	c.Retries = max(c.Retries, 0)
	if c.MaxDataSize == 0 {
		c.MaxDataSize = stack.requests.size
	}
	if c.HardwareVersion == nil && stack.queries.hardwareOnNotify {
		c.HardwareVersion = new(uint16)
	}
	c.MinimumBlockPeriod = c.MinimumBlockPeriod || stack.requests.period
	c.NodeAddressInRequests = c.NodeAddressInRequests || stack.requests.nodeAddress
	c.DisableDefaultResponse = c.DisableDefaultResponse || stack.requests.quiet
	c.ResumesDownload = c.ResumesDownload || stack.memory.offers
	return c
}

// ErrConfig is the error of Run and of AddDevice for devices that cannot be simulated together.
var ErrConfig = errors.New("simulated devices do not fit together")

func (c DeviceConfig) validate() error {
	if c.IEEE == 0 {
		return fmt.Errorf("%w: a device has no IEEE address", ErrConfig)
	}
	if c.Endpoint > 240 {
		return fmt.Errorf("%w: device %s: endpoint %d is above 240", ErrConfig, c.IEEE, c.Endpoint)
	}
	for _, other := range c.OtherClients {
		if other.Endpoint > 240 {
			return fmt.Errorf("%w: device %s: endpoint %d is above 240", ErrConfig, c.IEEE, other.Endpoint)
		}
	}
	return nil
}
