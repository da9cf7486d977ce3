package sim

import (
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// coordinator is the dongle's part in its network.
type coordinator struct {
	formed       bool      // there is a network; a reset keeps it
	permitUntil  time.Time // joining is permitted until then
	joinReported bool      // 0x8024 was sent since the start
}

// powerUp is the state after the start.
func (c *coordinator) powerUp() {
	c.permitUntil = time.Time{}
	c.joinReported = false
}

// permitForever, in seconds, permits joining without an end.
const permitForever = 0xFF

// permit lets devices join for so many seconds.
func (c *coordinator) permit(now time.Time, seconds uint8) {
	c.permitUntil = now.Add(time.Duration(seconds) * time.Second)
	if seconds == permitForever {
		c.permitUntil = now.AddDate(1, 0, 0)
	}
}

func (c *coordinator) permitsJoin(now time.Time) bool {
	return now.Before(c.permitUntil)
}

// deviceSet has all devices, inside the network and outside.
type deviceSet struct {
	all    []*Device // in the order in which they were configured
	byIEEE map[message.IEEE]*Device
	byAddr map[uint16]*Device
}

func newDeviceSet() *deviceSet {
	return &deviceSet{byIEEE: map[message.IEEE]*Device{}, byAddr: map[uint16]*Device{}}
}

// reserve finds the network address of a new device: the one that it wishes for, or any for 0. The error is
// ErrConfig where one of its addresses is not free.
func (s *deviceSet) reserve(ieee message.IEEE, wish uint16) (addr uint16, err error) {
	if s.byIEEE[ieee] != nil {
		return 0, fmt.Errorf("%w: IEEE address %s is used twice", ErrConfig, ieee)
	}
	if wish == 0 {
		return s.freeAddr(uint16(ieee)), nil
	}
	if wish >= firstBroadcastAddr || s.byAddr[wish] != nil {
		return 0, fmt.Errorf("%w: device %s: network address 0x%04x is not free; choose another one",
			ErrConfig, ieee, wish)
	}
	return wish, nil
}

// add takes a device up, under addresses that reserve has found.
func (s *deviceSet) add(v *Device) {
	s.all = append(s.all, v)
	s.byIEEE[v.cfg.IEEE] = v
	s.byAddr[v.addr] = v
}

// freeAddr finds a network address near a wish.
func (s *deviceSet) freeAddr(wish uint16) uint16 {
	for addr := wish; ; addr++ {
		if addr != 0 && addr < firstBroadcastAddr && s.byAddr[addr] == nil {
			return addr
		}
	}
}

// move gives a device another network address: the next free one from wish on.
func (s *deviceSet) move(v *Device, wish uint16) {
	delete(s.byAddr, v.addr)
	v.addr = s.freeAddr(wish)
	s.byAddr[v.addr] = v
}

// neighbours are the devices that reach the dongle without a relay, as many as the firmware's table holds.
func (s *deviceSet) neighbours(table int) message.DeviceList {
	var list message.DeviceList
	for _, v := range s.all {
		if !v.joined || v.cfg.Relays > 0 {
			continue
		}
		if len(list.Devices) == table {
			break
		}
		power := uint8(1)
		if v.cfg.Sleepy {
			power = 0
		}
		list.Devices = append(list.Devices, message.ListedDevice{
			Index: uint8(len(list.Devices)), Addr: v.addr, IEEE: v.cfg.IEEE, PowerSource: power, LQI: v.lqi,
		})
	}
	return list
}
