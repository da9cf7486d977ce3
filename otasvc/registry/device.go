package registry

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// AwakeFor is how long a sleeping device that was heard is taken to listen: its parent keeps messages for
// about 7 s.
const AwakeFor = 7 * time.Second

// ErrNoAddress says that nothing can be sent to a device because its network address is not known.
var ErrNoAddress = errors.New("its network address is not known; it has to be heard from first")

// Device is one device of a [Devices]. Its facts are read by queries, which change nothing, and change
// through the other methods, which note that they did.
type Device struct {
	facts Facts
	// kept is the revision of everything that is kept of any device; it belongs to the Devices.
	kept *uint64
	// revision counts changes of what is told of this device, but for those of link quality and last seen.
	revision uint64
	// heard says that link quality or last seen have changed since they were told.
	heard bool
	told  telling
	// named is the image type that was read as attribute of an endpoint, by endpoint. It is not kept: after a
	// restart it is read anew.
	named map[uint8]uint16
}

// telling is when a device was last told to others, and which of its revisions.
type telling struct {
	at       time.Time
	revision uint64
	beside   uint64
}

// Facts is everything that is known of the device.
func (d *Device) Facts() Facts { return d.facts }

// EUID is the device's IEEE address.
func (d *Device) EUID() message.IEEE { return d.facts.EUID }

// Name is what people call the device: the name that was given to it, else its EUID.
func (d *Device) Name() string { return d.facts.Name() }

// NetworkAddress is the device's 16-bit address. It is false where that is not known.
func (d *Device) NetworkAddress() (uint16, bool) {
	if d.facts.NetworkAddress == nil {
		return 0, false
	}
	return *d.facts.NetworkAddress, true
}

// Reachable reports whether the device's network address is known, so that something can be sent to it.
func (d *Device) Reachable() bool { return d.facts.NetworkAddress != nil }

// Target is where a command to the device's OTA client goes. The error is [ErrNoAddress].
func (d *Device) Target() (message.Target, error) { return d.facts.target(0) }

// Endpoint is the device's endpoint with the OTA client; 0 means that it is not known.
func (d *Device) Endpoint() uint8 { return d.facts.Endpoint }

// Sleepy reports whether the device hears only when it wakes.
func (d *Device) Sleepy() bool { return d.facts.Sleepy }

// CurrentVersion is the running file version, or nil while it is not known.
func (d *Device) CurrentVersion() *uint32 { return d.facts.CurrentVersion }

// Mute reports whether the device does not tell its version when it is asked for it.
func (d *Device) Mute() bool { return d.facts.Mute }

// Interviewed reports whether the device has answered a whole interview once.
func (d *Device) Interviewed() bool { return d.facts.Interviewed }

// Settings is what a person has set for the device.
func (d *Device) Settings() needs.Settings { return d.facts.Settings }

// Configure notes what a person has set for the device, in the place of what was set before.
func (d *Device) Configure(set needs.Settings) {
	if !reflect.DeepEqual(d.facts.Settings, set) {
		d.facts.Settings = set
		d.changed()
	}
}

// CalledInvalid reports whether the device has called an image (SHA-256, lower-case hex) invalid.
func (d *Device) CalledInvalid(sha256 string) bool { return slices.Contains(d.facts.Invalid, sha256) }

// Catalogued is what images in the folder and in indexes are matched with. It is false while the device has
// not told manufacturer code and image type of its OTA client: they are 0 then.
func (d *Device) Catalogued() (library.Device, bool) { return d.facts.Catalogued() }

// Unanswered says that the dongle will never answer the device, and what to do; it is empty where that is not
// so.
func (d *Device) Unanswered() string {
	if d.facts.DeafEndpoint == 0 {
		return ""
	}
	return fmt.Sprintf("the device looks for images at endpoint %d of the dongle, where the firmware hears "+
		"requests and cannot answer them; bind its OTA cluster to endpoint 1, or let it join again",
		d.facts.DeafEndpoint)
}

// noteBuildAsked notes that the device was asked what it says of its software for people.
func noteBuildAsked(d *Device) {
	if !d.facts.Build.Asked {
		d.facts.Build.Asked = true
		*d.kept++
	}
}

// Seen notes a sign of life. A link quality of 0 means that the message had none.
func (d *Device) Seen(lqi uint8, now time.Time) {
	d.facts.LastSeen = now
	if lqi != 0 {
		d.facts.Heard.LQI = &lqi
	}
	d.heard = true
}

// SeenAt notes a sign of life that came at an earlier time. One from before LastSeen changes nothing.
func (d *Device) SeenAt(at time.Time) {
	if at.After(d.facts.LastSeen) {
		d.Seen(0, at)
	}
}

// SetLinkQuality notes what the dongle says of the link to the device in its list of neighbours.
func (d *Device) SetLinkQuality(lqi uint8) {
	if set(&d.facts.Heard.LQI, lqi) {
		d.revision++
	}
}

// SetSleepy notes whether the device switches its receiver off while idle.
func (d *Device) SetSleepy(sleepy bool) {
	if d.facts.Sleepy != sleepy {
		d.facts.Sleepy = sleepy
		d.changed()
	}
}

// SetEndpoint notes the device's endpoint with the main OTA client, from 1 on.
func (d *Device) SetEndpoint(endpoint uint8) {
	changeClient(d, 0, func(c *Client) { c.Endpoint = endpoint })
}

// SetVersion notes the running file version that the device's main OTA client told.
func (d *Device) SetVersion(version uint32) { tellVersion(d, 0, version) }

// SetOutdated notes that the device runs another image than when it told of itself.
func (d *Device) SetOutdated() {
	if d.facts.Outdated && d.facts.QueriedAt.IsZero() {
		return
	}
	d.facts.Outdated = true
	d.facts.QueriedAt = time.Time{}
	*d.kept++
}

// SetInterviewed notes that the device has answered a whole interview.
func (d *Device) SetInterviewed() {
	if !d.facts.Interviewed || d.facts.Outdated {
		d.facts.Interviewed = true
		d.facts.Outdated = false
		d.changed()
	}
}

// SetQueried notes that the device has asked for an image, and so said who it is. byItself says that nobody
// had asked it to. That it has asked again is not worth a write to the disk.
func (d *Device) SetQueried(byItself bool, now time.Time) {
	f := &d.facts
	if f.QueriedAt.IsZero() || byItself && !f.AsksByItself {
		*d.kept++
	}
	f.QueriedAt = now
	f.AsksByItself = f.AsksByItself || byItself
}

// SetInvalid notes that the device has called an image (SHA-256, lower-case hex) invalid.
func (d *Device) SetInvalid(sha256 string) {
	if !d.CalledInvalid(sha256) {
		d.facts.Invalid = append(slices.Clone(d.facts.Invalid), sha256)
		d.changed()
	}
}

// SetMindsRefusal notes that the device ended a download because the dongle refused a block, although its
// kind does not mind.
func (d *Device) SetMindsRefusal() {
	if !d.facts.MindsRefusal {
		d.facts.MindsRefusal = true
		d.changed()
	}
}

// AsksAt notes at which of the dongle's endpoints the device looks for images. last is the highest endpoint
// from which the dongle's firmware can answer. It reports whether the device has just been found to ask at
// one that cannot answer.
func (d *Device) AsksAt(dongleEndpoint, last uint8) (deaf bool) {
	found := uint8(0)
	if dongleEndpoint > last {
		found = dongleEndpoint
	}
	if d.facts.DeafEndpoint == found {
		return false
	}
	d.facts.DeafEndpoint = found
	*d.kept++
	return found != 0
}

// changed notes that something is new of the device that is both kept and told.
func (d *Device) changed() {
	d.revision++
	*d.kept++
}

func (d *Device) setText(field *string, text string) {
	if text != "" && *field != text {
		*field = text
		d.changed()
	}
}

// set puts a new value in the place of an old one, which others may still refer to. It reports whether it is
// another one.
func set[T comparable](field **T, value T) bool {
	if *field != nil && **field == value {
		return false
	}
	*field = &value
	return true
}
