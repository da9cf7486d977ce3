package blocks

import "github.com/zigate-ota/zigate-ota/zigate/message"

// Table says which device may have which blocks. Its maps must not be changed once it was given to a Server:
// the owner makes a new table instead.
type Table struct {
	// ByAddr holds the transfers by the network addresses of their devices.
	ByAddr map[uint16]*Transfer
	// ByNode holds them by the IEEE addresses, which some devices put into their requests: a device that has
	// just changed its network address is found by it.
	ByNode map[message.IEEE]*Transfer
	// Known holds the network addresses of all devices that may be refused at once when they have no
	// transfer. An address that is neither here nor in ByAddr may belong to a device that has just changed
	// it, or that is to be served all the same, so its requests get no answer until the owner has looked into
	// it: at the latest the device asks again after a few seconds, while an abort would end its download.
	Known map[uint16]struct{}
}
