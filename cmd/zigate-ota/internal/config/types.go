package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// DongleAddress says where the dongle is: "auto", "sim", an absolute path, or "tcp://host:port", always
// with a port.
type DongleAddress string

// The two addresses that are words.
const (
	DongleAuto      DongleAddress = "auto" // the one USB dongle that is found by vendor and product
	DongleSimulated DongleAddress = "sim"  // a simulated dongle with simulated devices
)

// defaultDonglePort is the TCP port of a ZiGate WiFi as sold.
const defaultDonglePort = "9999"

// Decode takes what ZIGATE_OTA_DONGLE allows, and adds the default port to a tcp address without one.
func (d *DongleAddress) Decode(text string) error {
	switch {
	case text == string(DongleAuto), text == string(DongleSimulated):
		*d = DongleAddress(text)
		return nil
	case strings.HasPrefix(text, "tcp://"):
		u, err := parseURL(text)
		if err != nil {
			return err
		}
		if u.Path != "" && u.Path != "/" || hasQuery(u) {
			return errors.New("a tcp:// address ends with its port")
		}
		*d = DongleAddress("tcp://" + hostPort(u, defaultDonglePort))
		return nil
	case filepath.IsAbs(text) && printable(text):
		*d = DongleAddress(filepath.Clean(text))
		return nil
	default:
		return fmt.Errorf("%q is neither a known word, an absolute path, nor a tcp:// address", text)
	}
}

// QueryWatch says when the dongle runs in hybrid raw mode, which shows Query Next Image requests.
type QueryWatch string

// The values of ZIGATE_OTA_DONGLE_QUERY_WATCH.
const (
	QueryWatchOff    QueryWatch = "off"    // never; the pure raw mode for moments
	QueryWatchIdle   QueryWatch = "idle"   // while nothing downloads
	QueryWatchAlways QueryWatch = "always" // also during downloads
)

// Policy says whether upgrades start by themselves.
type Policy string

// The values of ZIGATE_OTA_UPGRADE_POLICY.
const (
	PolicyManual Policy = "manual" // upgrades are asked for
	PolicyAuto   Policy = "auto"   // every device with a newer image is upgraded, in the window
)

// Concurrency says how many devices download at once.
type Concurrency struct {
	AtOnce int // from 1 to 256; 0 stands for as many as line and radio take
}

// concurrencyAuto is the word for as many as line and radio take.
const concurrencyAuto = "auto"

// mostAtOnce is the largest number of devices that may be set.
const mostAtOnce = 256

// Decode takes "auto" or a number.
func (c *Concurrency) Decode(text string) error {
	if strings.EqualFold(text, concurrencyAuto) {
		*c = Concurrency{}
		return nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil || strconv.Itoa(n) != text:
		return fmt.Errorf("%q is neither %s nor a whole number", text, concurrencyAuto)
	case n < 1:
		return fmt.Errorf("%s is too small", text)
	case n > mostAtOnce:
		return fmt.Errorf("%s is too large", text)
	}
	c.AtOnce = n
	return nil
}

// String returns the form that Decode takes.
func (c Concurrency) String() string {
	if c.AtOnce == 0 {
		return concurrencyAuto
	}
	return strconv.Itoa(c.AtOnce)
}

// Overlap says whether devices download several images at once.
type Overlap string

// The values of ZIGATE_OTA_UPGRADE_OVERLAP.
const (
	OverlapAuto Overlap = "auto" // those that are known to allow it
	OverlapOff  Overlap = "off"
)

// Unsolicited says how a block request from a device without an upgrade is answered.
type Unsolicited string

// The values of ZIGATE_OTA_UPGRADE_UNSOLICITED.
const (
	UnsolicitedRefuse Unsolicited = "refuse" // the download is aborted
	UnsolicitedServe  Unsolicited = "serve"  // the device gets the image
)

// LogFormat says how log messages are written.
type LogFormat string

// The values of ZIGATE_OTA_LOG_FORMAT.
const (
	LogText LogFormat = "text" // key=value, one line a message
	LogJSON LogFormat = "json" // one JSON object a line
)

// mask stands in the place of a secret.
const mask = "********"

// A Secret is text that is never shown. Printed, logged or marshalled it is a mask, or nothing where it is
// empty.
type Secret struct{ value string }

// Reveal returns the text itself.
func (s Secret) Reveal() string { return s.value }

// Decode takes the text as it is.
func (s *Secret) Decode(text string) error {
	s.value = text
	return nil
}

// String returns the mask, or an empty text for an empty secret.
func (s Secret) String() string {
	if s.value == "" {
		return ""
	}
	return mask
}

// Format writes the mask whatever the verb, so that %d or %#v cannot show the text either.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText returns the mask.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue returns the mask.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Address is a TCP address to listen on, "host:port"; the host may be empty (all interfaces), the port 0
// (any that is free).
type Address string

// Decode checks the form, not whether the address exists here.
func (a *Address) Decode(text string) error {
	at := strings.LastIndexByte(text, ':')
	if at < 0 {
		return fmt.Errorf("%q has no port", text)
	}
	host := text[:at]
	port := text[at+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("%q has no port from 0 to 65535", text)
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		if ip, err := netip.ParseAddr(host[1 : len(host)-1]); err != nil || !ip.Is6() {
			return fmt.Errorf("%q has no IPv6 address in its brackets", text)
		}
	} else if host != "" && !validHost(host) {
		return fmt.Errorf("%q has no valid host", text)
	}
	*a = Address(text)
	return nil
}

// Port returns the port of the address. It is 0 where the operating system is to choose one.
func (a Address) Port() int {
	n, _ := strconv.Atoi(string(a[strings.LastIndexByte(string(a), ':')+1:]))
	return n
}

// Window is the part of the day in which upgrades may begin, as durations since local midnight: 0 <= Start
// < 24h, 0 <= End <= 24h. Start after End spans midnight. The zero Window is unset.
type Window struct{ Start, End time.Duration }

// Decode takes "HH:MM-HH:MM". The end does not belong to the window and may be 24:00.
func (w *Window) Decode(text string) error {
	from, to, ok := strings.Cut(text, "-")
	start, okStart := clock(from)
	end, okEnd := clock(to)
	switch {
	case !ok || !okStart || !okEnd || start == 24*time.Hour:
		return fmt.Errorf("%q is not a time of day, a dash and another time of day", text)
	case start == end:
		return fmt.Errorf("%q opens and closes at the same time", text)
	}
	*w = Window{Start: start, End: end}
	return nil
}

// IsZero reports whether no window is set.
func (w Window) IsZero() bool { return w == Window{} }

// String returns the form that Decode takes, or an empty text where no window is set.
func (w Window) String() string {
	if w.IsZero() {
		return ""
	}
	minutes := func(d time.Duration) string {
		return fmt.Sprintf("%02d:%02d", d/time.Hour, d%time.Hour/time.Minute)
	}
	return minutes(w.Start) + "-" + minutes(w.End)
}

// clock reads HH:MM, 00:00 to 24:00.
func clock(text string) (time.Duration, bool) {
	if len(text) != 5 || text[2] != ':' {
		return 0, false
	}
	hours, errHours := strconv.ParseUint(text[:2], 10, 8)
	minutes, errMinutes := strconv.ParseUint(text[3:], 10, 8)
	at := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	return at, errHours == nil && errMinutes == nil && minutes < 60 && at <= 24*time.Hour
}

// BrokerURLs are MQTT brokers, which are tried one after the other. The schemes are tcp, ssl, ws and wss
// (mqtt, mqtts and tls are other names for the first two); tcp and ssl always have a port. Credentials are
// not part of them.
type BrokerURLs []string

// Decode takes a list separated by commas. Errors count the addresses instead of repeating them: a mistyped
// one might hold a password.
func (b *BrokerURLs) Decode(text string) error {
	list, err := decodeList(text, decodeBrokerURL)
	if err != nil {
		return err
	}
	*b = list
	return nil
}

// String returns the list without queries: signed addresses have their signature there.
func (b BrokerURLs) String() string { return displayURLs(b) }

// Format is String, whatever the verb.
func (b BrokerURLs) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, b.String()) }

// MarshalText is String: what shows a configuration must not show more than that.
func (b BrokerURLs) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// TLS reports whether any of the addresses is an encrypted one.
func (b BrokerURLs) TLS() bool {
	for _, u := range b {
		if strings.HasPrefix(u, "ssl://") || strings.HasPrefix(u, "wss://") {
			return true
		}
	}
	return false
}

func decodeBrokerURL(text string) (string, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	port := ""
	switch strings.ToLower(scheme) {
	case "tcp", "mqtt":
		scheme = "tcp"
		port = "1883"
	case "ssl", "mqtts", "tls":
		scheme = "ssl"
		port = "8883"
	case "ws", "wss":
		scheme = strings.ToLower(scheme)
	default:
		return "", errors.New("does not begin with a scheme that is known here")
	}
	u, err := parseURL(scheme + "://" + rest)
	if err != nil {
		return "", err
	}
	if port == "" {
		return u.String(), nil
	}
	if u.Path != "" && u.Path != "/" || hasQuery(u) {
		return "", fmt.Errorf("has something after its port, which only ws:// and wss:// may have")
	}
	return scheme + "://" + hostPort(u, port), nil
}

// HTTPURL is an http or https URL without a slash at its end.
type HTTPURL string

// Decode checks the URL.
func (h *HTTPURL) Decode(text string) error {
	u, err := decodeHTTPURL(text)
	if err != nil {
		return err
	}
	*h = HTTPURL(strings.TrimRight(u, "/"))
	return nil
}

// String returns the URL without its password and query; string(h) is the URL itself.
func (h HTTPURL) String() string { return DisplayURL(string(h)) }

// Format is String, whatever the verb.
func (h HTTPURL) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, h.String()) }

// MarshalText is String: what shows a configuration must not show more than that.
func (h HTTPURL) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

func decodeHTTPURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", errors.New("is not a URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("does not begin with http:// or https://")
	}
	if err := checkHost(u); err != nil {
		return "", err
	}
	if u.Fragment != "" {
		return "", errors.New("has a fragment (#), which no server gets to see")
	}
	return u.String(), nil
}

// HostPatterns are hosts in lower case; "*.example.org" means every host below example.org, and "*" every
// host.
type HostPatterns []string

// Decode takes a list separated by commas.
func (h *HostPatterns) Decode(text string) error {
	list, err := decodeList(text, func(entry string) (string, error) {
		entry = strings.ToLower(entry)
		if _, err := netip.ParseAddr(strings.Trim(entry, "[]")); err == nil {
			return strings.Trim(entry, "[]"), nil
		}
		if entry != "*" && !validHost(strings.TrimPrefix(entry, "*.")) {
			return "", fmt.Errorf("%q is no host, IP address, *.domain or *", entry)
		}
		return entry, nil
	})
	if err != nil {
		return err
	}
	*h = list
	return nil
}

// String returns the list, separated by commas.
func (h HostPatterns) String() string { return strings.Join(h, ",") }
