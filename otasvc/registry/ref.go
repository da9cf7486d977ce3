package registry

import (
	"strconv"
	"strings"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Ref is how a request names a device: by EUID, by network address or by name.
type Ref struct {
	kind refKind
	euid message.IEEE
	addr uint16
	text string // as the request put it
}

type refKind uint8

const (
	refName refKind = iota
	refEUID
	refAddr
)

// RefAddr names a device by its network address.
func RefAddr(addr uint16) Ref { return Ref{kind: refAddr, addr: addr} }

// ParseRef reads an EUID (16 hex digits, with or without 0x, colons or dashes, any case), a network address
// ("0x4f4f" or decimal) or a name.
func ParseRef(s string) Ref {
	if euid, err := message.ParseIEEE(s); err == nil {
		return Ref{kind: refEUID, euid: euid, text: s}
	}
	if addr, ok := parseAddr(s); ok {
		return Ref{kind: refAddr, addr: addr, text: s}
	}
	return Ref{kind: refName, text: s}
}

// parseAddr reads a network address. A decimal number of more than five digits is none, so that a name may be
// a serial number.
func parseAddr(s string) (uint16, bool) {
	if hex, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		v, err := strconv.ParseUint(hex, 16, 16)
		return uint16(v), err == nil
	}
	v, err := strconv.ParseUint(s, 10, 16)
	return uint16(v), err == nil
}

// EUID is the IEEE address by which the device is named. It is false where it is named otherwise.
func (r Ref) EUID() (message.IEEE, bool) { return r.euid, r.kind == refEUID }

// String is the reference as the request put it.
func (r Ref) String() string {
	if r.kind == refAddr && r.text == "" {
		return "0x" + strconv.FormatUint(uint64(r.addr), 16)
	}
	return r.text
}
