package slot

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Decision is one thing to be done about the slot: one of the types below.
type Decision interface{ decision() }

// Load is the decision to load the header of an image into the dongle. The image is in memory.
type Load struct{ Key Key }

// Clear is the decision to load a header that fits no device: the dongle has no way to unload a header, and
// some firmware offers the loaded image to devices that run it already, again and again.
type Clear struct {
	ForAMoment bool // the image in the slot is to be loaded again then
}

// Reset is the decision to reset the dongle, so that it forgets an image page request before it gets another
// header.
type Reset struct{}

// Read is the decision to read an image from the store into memory.
type Read struct{ SHA256 string }

// Admit is the decision to let devices have blocks again that download the loaded image: the image could not
// be read when the service started.
type Admit struct{ Devices []message.IEEE }

// Offer is the decision to offer the loaded image to a device.
type Offer struct {
	Device message.IEEE
	Key    Key
}

// Defer is the decision to put the next offer off, because the dongle's buffers are full.
type Defer struct{}

// EndForBattery is the decision to end the upgrade of a device whose battery is too low for it to begin.
type EndForBattery struct{ Device message.IEEE }

// GiveUp is the decision to take the slot from devices that do not take what they were offered, so that
// another image, or another device of the image, can have it.
type GiveUp struct {
	Devices []message.IEEE // devices that did not answer their notification; they are queued again
	Aside   []message.IEEE // devices that fell silent in mid-download; they are put off, without being told
}

// BeginSwitch is the decision to begin a slot switch: from now on the devices that download are told to wait.
type BeginSwitch struct {
	PutOff   []message.IEEE // devices whose next request is answered with wait-for-data, an hour at most
	GiveUp   []message.IEEE // devices that were notified and have not asked yet; they are queued again
	Until    time.Time      // the devices that are put off are to ask again then
	Deadline time.Time      // the slot is given away then, whoever was told
}

// FinishSwitch is the decision to end a slot switch: its devices have been told to wait, or had the time to
// ask.
type FinishSwitch struct {
	Devices []message.IEEE // those of them that still download; they are put off now
	Until   time.Time      // the devices are to ask again then
}

// CallBack is the decision to let downloads of the loaded image go on that were put off for other images.
type CallBack struct{ Devices []message.IEEE }

func (Load) decision()          {}
func (Clear) decision()         {}
func (Reset) decision()         {}
func (Read) decision()          {}
func (Admit) decision()         {}
func (Offer) decision()         {}
func (Defer) decision()         {}
func (EndForBattery) decision() {}
func (GiveUp) decision()        {}
func (BeginSwitch) decision()   {}
func (FinishSwitch) decision()  {}
func (CallBack) decision()      {}
