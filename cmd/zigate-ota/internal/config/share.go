package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
)

// ShareConfig says how other software uses the dongle beside the service.
type ShareConfig struct {
	Addr    Address  `heading:"One dongle, shared with other Zigbee software (docs/sharing.md)" desc:"Address that the service listens on like a ZiGate WiFi, for other software that uses the dongle. Empty: it does not listen. Programs on this machine are let in, others only where ZIGATE_OTA_SHARE_ALLOW names them." allowed:"host:port or :port"`
	PTY     string   `desc:"Path at which a pseudo-terminal is linked, like a ZiGate USB, for software that wants a serial port. A link to a pseudo-terminal or to nothing is replaced; anything else is not. Empty: no pseudo-terminal." allowed:"an absolute path; Linux only"`
	OTA     ShareOTA `default:"service" desc:"Who does upgrades. service: other software neither sees nor sends any OTA frames. client: other software does upgrades, and the service only watches." oneof:"service,client"`
	Allow   Networks `desc:"Addresses besides this machine's own that programs may come from, separated by commas. There is no password: a program that is let in commands the Zigbee network." allowed:"IP addresses and networks such as 192.168.1.0/24, separated by commas"`
	Clients int      `default:"4" desc:"Programs that may be connected at once, the pseudo-terminal not among them." min:"1" max:"64"`
}

// Enabled reports whether the dongle is shared at all.
func (c ShareConfig) Enabled() bool { return c.Addr != "" || c.PTY != "" }

func (c ShareConfig) check(found mistakes, http Address, broker *Address) {
	if c.PTY != "" && (!filepath.IsAbs(c.PTY) || !printable(c.PTY)) {
		found.addf(sharePTYVariable, "%q is not an absolute path", c.PTY)
	}
	if c.Addr != "" && found.none(shareAddrVariable, httpAddrVariable, brokerAddrVariable) {
		switch port := c.Addr.Port(); {
		case port == 0:
		case port == http.Port():
			found.addf(shareAddrVariable, "has the port of %s", httpAddrVariable)
		case broker != nil && port == broker.Port():
			found.addf(shareAddrVariable, "has the port of %s", brokerAddrVariable)
		}
	}
	if c.OTA == ShareOTAClient && !c.Enabled() && found.none(shareAddrVariable, sharePTYVariable) {
		found.addf(shareOTAVariable, "set to client, but neither %s nor %s lets a client in",
			shareAddrVariable, sharePTYVariable)
	}
}

// ShareOTA says who does upgrades while the dongle is shared.
type ShareOTA string

// The values of ZIGATE_OTA_SHARE_OTA.
const (
	ShareOTAService ShareOTA = "service"
	ShareOTAClient  ShareOTA = "client"
)

// Networks are IP networks; a single address is a network of its own.
type Networks []netip.Prefix

// Decode takes a list separated by commas.
func (n *Networks) Decode(text string) error {
	var list Networks
	_, err := decodeList(text, func(entry string) (string, error) {
		if addr, err := netip.ParseAddr(entry); err == nil && addr.Zone() == "" {
			addr = addr.Unmap()
			list = append(list, netip.PrefixFrom(addr, addr.BitLen()))
			return entry, nil
		}
		p, err := netip.ParsePrefix(entry)
		if err != nil {
			return "", fmt.Errorf("%q is no IP address and no network", entry)
		}
		if p != p.Masked() {
			return "", errors.New(entry + " names an address inside of a network; the network is " +
				p.Masked().String())
		}
		list = append(list, p)
		return entry, nil
	})
	if err != nil {
		return err
	}
	*n = list
	return nil
}

// String returns the list, separated by commas.
func (n Networks) String() string {
	texts := make([]string, len(n))
	for i, p := range n {
		if texts[i] = p.String(); p.IsSingleIP() {
			texts[i] = p.Addr().String()
		}
	}
	return strings.Join(texts, ",")
}
