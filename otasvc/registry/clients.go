package registry

import (
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Client is one OTA client of a device: one of those that a device with several processors has on several
// endpoints, or one of the image types that it asks for at the same endpoint. It is a value: what its
// pointers refer to never changes. Its JSON form is that of the state file. Of two clients of a device each
// has an image type of its own, so the image type names it.
type Client struct {
	// Endpoint is where the client is; 0 means that it is not known.
	Endpoint uint8 `json:"endpoint,omitempty"`
	// ManufacturerCode and ImageType are what images are matched with: read as the client's attributes, or
	// seen in a request. The node descriptor's manufacturer code is often another, so it is no substitute.
	// They are nil while not known; only those of the main client may be unknown.
	ManufacturerCode *uint16 `json:"manufacturerCode,omitempty"`
	ImageType        *uint16 `json:"imageType,omitempty"`
	// ManufacturerUnsure says that an attribute tells 0xFFFF as manufacturer code, and nothing another one.
	// There are devices that ask for images with that, and others whose attribute was never set. It is taken
	// for the ManufacturerCode where the image type is known.
	ManufacturerUnsure bool `json:"manufacturerUnsure,omitempty"`
	// HardwareVersion is told by a Query Next Image request alone. It is nil while none was seen that had
	// one.
	HardwareVersion *uint16 `json:"hardwareVersion,omitempty"`
	// NoHardwareVersion says that a Query Next Image request was seen that had none, so that the client
	// reports none.
	NoHardwareVersion bool `json:"noHardwareVersion,omitempty"`
	// CurrentVersion is the running file version. It is nil while not known.
	CurrentVersion *uint32 `json:"currentVersion,omitempty"`
	ClientPast

	// VersionFresh says that the client itself has told CurrentVersion since the start; else it is the state
	// file's.
	VersionFresh bool `json:"-"`
	// Mute clients do not tell their version when they are asked for it, only when they look for an image.
	Mute bool `json:"-"`
}

// ClientPast is what is remembered of an OTA client, so that it can be told whether another image type at its
// endpoint is its own new one or that of another client.
type ClientPast struct {
	// ToldAt is when it has last told its image type. It is zero where that is not known.
	ToldAt time.Time `json:"toldAt,omitzero"`
	// Installed is the file version of the image that it was given last. It is nil where it has told its
	// image type since.
	Installed *uint32 `json:"installed,omitempty"`
	// FormerType is the image type that it had before the present one. It is nil where it had none.
	FormerType *uint16 `json:"formerImageType,omitempty"`
}

// Takes reports whether an image type is the client's, or was before the image that it was given changed it.
func (c *Client) Takes(imageType uint16) bool {
	return holds(c.ImageType, imageType) || holds(c.FormerType, imageType)
}

// Same reports whether a client is the same one of a device as another.
func (c *Client) Same(other *Client) bool { return equal(c.ImageType, other.ImageType) }

// equal reports whether all that is kept and told of two clients is the same. The time at which a client has
// told its type is kept along with other changes only.
func (c *Client) equal(o *Client) bool {
	return c.Endpoint == o.Endpoint && c.NoHardwareVersion == o.NoHardwareVersion &&
		c.ManufacturerUnsure == o.ManufacturerUnsure &&
		equal(c.Installed, o.Installed) && equal(c.ManufacturerCode, o.ManufacturerCode) &&
		equal(c.ImageType, o.ImageType) && equal(c.HardwareVersion, o.HardwareVersion) &&
		equal(c.CurrentVersion, o.CurrentVersion) && equal(c.FormerType, o.FormerType)
}

// holds reports whether a value is known and equal to another.
func holds[T comparable](known *T, v T) bool { return known != nil && *known == v }

// equal reports whether two values are the same, or neither is known.
func equal[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// Telling is that an OTA client has told which image type it takes.
type Telling struct {
	Endpoint  uint8 // where the client is; 0 where that was not told
	ImageType uint16
	Version   *uint32 // the running file version; nil where that was not told
	How       How
	At        time.Time
}

// How says how an OTA client has told its image type.
type How uint8

// Every way.
const (
	// Read: it is the attribute of an endpoint. Some devices have the same client at several of them.
	Read How = iota
	// Asked: the client asks whether there is an image for it.
	Asked
	// Took: the client takes, or has taken, an image of that type.
	Took
)

// silentFor is how long a client has not told its image type that is gone, if another one at its endpoint
// asks for images: one that is there asks now and then, too.
const silentFor = 30 * 24 * time.Hour

// mostClients is how many OTA clients of a device are known at most. A real one has two or three.
const mostClients = 8

// Placed is the OTA clients of a device after one of them has told its image type, and the place of that one.
// The first is the main one; there always is one. What was not known becomes known like this:
//
//   - An image type that a client has is that client's.
//   - The main client may not have told its type yet: it is its own if it comes from the endpoint of the main
//     client, or that one has told nothing at all.
//   - A client that was given an image, and has not told its old type since, may have got another type with
//     it: that is what a new type at its endpoint is then, unless it comes with another version than the
//     image's. A device may well ask for its second type only once it has its first image.
//   - A client that has not told its type for 30 days, while another one at its endpoint asks for images, is
//     gone: the other one takes its place.
//   - Any other type is that of a further client: both are heard. Neither overwrites the other.
func Placed(clients []Client, t Telling) (list []Client, at int) {
	list = slices.Clone(clients)
	at = slices.IndexFunc(list, func(c Client) bool { return holds(c.ImageType, t.ImageType) })
	gone := slices.IndexFunc(list, func(c Client) bool { return t.endsOf(&c, at >= 0) })
	switch {
	case gone >= 0 && at >= 0:
		list[at].FormerType = list[gone].ImageType
		list[gone] = list[at]
		list = slices.Delete(list, at, at+1)
		at = slices.IndexFunc(list, func(c Client) bool { return holds(c.ImageType, t.ImageType) })
	case gone >= 0:
		at = gone
		list[at].FormerType = list[at].ImageType
		list[at].VersionFresh = false
	case at < 0 && t.isOfMain(&list[0]):
		at = 0
	case at < 0:
		list = append(list[:fewer(list)], Client{})
		at = len(list) - 1
	}
	list[at].told(t)
	return list, at
}

// endsOf reports whether a client is not there any more as it was before, now that something was told at its
// endpoint. known says that the type which was told is another client's.
func (t *Telling) endsOf(c *Client, known bool) bool {
	if c.ImageType == nil || *c.ImageType == t.ImageType || t.How == Took || !t.isAt(c) {
		return false
	}
	changed := c.Installed != nil && (t.Version == nil || *t.Version == *c.Installed)
	silent := !c.ToldAt.IsZero() && t.At.Sub(c.ToldAt) > silentFor
	return !known && changed || silent && t.How == Asked
}

// isAt reports whether a client may be at the endpoint, as far as endpoints are known.
func (t *Telling) isAt(c *Client) bool {
	return c.Endpoint == t.Endpoint || c.Endpoint == 0 || t.Endpoint == 0
}

// isOfMain reports whether a type that no client has is that of the main one, which has not told it.
func (t *Telling) isOfMain(c *Client) bool {
	silent := c.ManufacturerCode == nil && c.CurrentVersion == nil
	return c.ImageType == nil && (t.isAt(c) || t.How != Read && silent)
}

// told notes what was told of the client.
func (c *Client) told(t Telling) {
	c.ImageType = &t.ImageType
	if t.Endpoint != 0 && (t.How != Read || c.Endpoint == 0) {
		c.Endpoint = t.Endpoint
	}
	c.Installed = nil
	c.ToldAt = t.At
}

// fewer makes room for one more client: it sorts out the one, of those beside the main client, that has been
// silent for the longest time, where there are too many. It returns how many are left.
func fewer(list []Client) int {
	if len(list) < mostClients {
		return len(list)
	}
	oldest := 1
	for i := range list[1:] {
		if list[i+1].ToldAt.Before(list[oldest].ToldAt) {
			oldest = i + 1
		}
	}
	return len(slices.Delete(list, oldest, oldest+1))
}

// clients are the device's OTA clients, the main one first.
func (f *Facts) clients() []Client { return append([]Client{f.Client}, f.Others...) }

// As is what is known of the device as one of its OTA clients.
func (f Facts) As(c Client) Facts {
	f.Client = c
	return f
}

// Clients are the device's OTA clients, the main one first. Of several at the same endpoint one tells its
// version there; the others are mute.
func (d *Device) Clients() []Client {
	list := d.facts.clients()
	for i := range list {
		if len(list) > 1 && clientOn(d, list[i].Endpoint) != i {
			list[i].Mute = true
		}
	}
	return list
}

// Client is the OTA client that an image of a type is for: the one that takes the type, else the one that
// took it before, else the main one. exact reports whether it takes the type, or has not told which it takes.
func (d *Device) Client(imageType uint16) (c Client, exact bool) {
	list := d.Clients()
	for i := range list {
		if holds(list[i].ImageType, imageType) {
			return list[i], true
		}
	}
	for i := range list {
		if list[i].Takes(imageType) {
			return list[i], false
		}
	}
	return list[0], list[0].ImageType == nil
}

// clientOn is the place of the client whose attributes an endpoint has: the one whose type was read there,
// else the first one there. It is -1 where there is none.
func clientOn(d *Device, endpoint uint8) int {
	list := d.facts.clients()
	if named, ok := d.named[endpoint]; ok {
		at := slices.IndexFunc(list, func(c Client) bool { return holds(c.ImageType, named) })
		if at >= 0 {
			return at
		}
	}
	if endpoint == 0 || list[0].Endpoint == 0 {
		return 0
	}
	return slices.IndexFunc(list, func(c Client) bool { return c.Endpoint == endpoint })
}

// setClients puts a device's clients, the main one first, in the place of those that it had.
func setClients(d *Device, list []Client) {
	before := d.facts.clients()
	others := d.facts.Others
	if len(list) > 1 || len(others) > 0 {
		others = slices.Clip(list[1:])
	}
	d.facts = d.facts.As(list[0])
	d.facts.Others = others
	if !slices.EqualFunc(before, list, func(a, b Client) bool { return a.equal(&b) }) {
		d.changed()
	}
}

// changeClient changes the client of a device at a place.
func changeClient(d *Device, at int, change func(*Client)) {
	list := d.facts.clients()
	change(&list[at])
	setClients(d, list)
}

// place notes that one of a device's clients has told its image type, at the time when the device was last
// seen, and returns the place of that client.
func place(d *Device, t Telling) int {
	t.At = d.facts.LastSeen
	list, at := Placed(d.facts.clients(), t)
	setClients(d, list)
	return at
}

// FoundClients notes the endpoints, from 1 on, on which the device has OTA clients. The main one is on the
// first of them, unless it is known to be on another.
func (d *Device) FoundClients(endpoints []uint8) {
	if len(endpoints) > 0 && !slices.Contains(endpoints, d.facts.Endpoint) {
		d.SetEndpoint(endpoints[0])
	}
	if len(endpoints) < 2 {
		endpoints = nil
	}
	if !slices.Equal(d.facts.ClientEndpoints, endpoints) {
		d.facts.ClientEndpoints = slices.Clone(endpoints)
		*d.kept++
	}
}

// ClientEndpoints are the endpoints on which the device has OTA clients, as far as that is known: that of the
// main one first, which is 1 while it is not known.
func (d *Device) ClientEndpoints() []uint8 { return d.facts.clientEndpoints() }

func (f *Facts) clientEndpoints() []uint8 {
	list := []uint8{max(f.Endpoint, 1)}
	add := func(endpoint uint8) {
		if endpoint != 0 && !slices.Contains(list, endpoint) {
			list = append(list, endpoint)
		}
	}
	for _, c := range f.Others {
		add(c.Endpoint)
	}
	for _, endpoint := range f.ClientEndpoints {
		add(endpoint)
	}
	return list
}

// LearnTaken takes in that an OTA client of the device takes images of a manufacturer code and type: it has
// asked for the blocks of one, or has ended its download. endpoint is where it is; 0 where that is not known.
// The device must have been [Device.Seen] just now.
func (d *Device) LearnTaken(endpoint uint8, manufacturerCode, imageType uint16) {
	at := place(d, Telling{Endpoint: endpoint, ImageType: imageType, How: Took})
	changeClient(d, at, func(c *Client) {
		c.ManufacturerCode = &manufacturerCode
		c.ManufacturerUnsure = false
	})
}

// SetInstalled notes that the device installs an image of a type and file version. With it the OTA client may
// get another image type.
func (d *Device) SetInstalled(imageType uint16, version uint32) {
	list := d.facts.clients()
	for i := range list {
		if holds(list[i].ImageType, imageType) {
			list[i].Installed = &version
		}
	}
	setClients(d, list)
}

// LearnQuery takes in what an OTA client of the device, which is on an endpoint, tells when it asks for an
// image. It returns that client. The device must have been [Device.Seen] just now.
func (d *Device) LearnQuery(endpoint uint8, q message.QueryNextImage) Client {
	at := place(d, Telling{
		Endpoint:  endpoint,
		ImageType: q.ImageType,
		Version:   &q.FileVersion,
		How:       Asked,
	})
	changeClient(d, at, func(c *Client) {
		c.ManufacturerCode = &q.ManufacturerCode
		c.ManufacturerUnsure = false
		switch {
		case q.HasHardwareVersion:
			c.HardwareVersion = &q.HardwareVersion
			c.NoHardwareVersion = false
		case c.HardwareVersion == nil: // one that it has told before stays
			c.NoHardwareVersion = true
		}
	})
	tellVersion(d, at, q.FileVersion)
	return d.Clients()[at]
}

// SetVersionOf notes the running file version of the OTA client that takes images of a type.
func (d *Device) SetVersionOf(imageType uint16, version uint32) {
	takes := func(c Client) bool { return holds(c.ImageType, imageType) }
	tellVersion(d, max(slices.IndexFunc(d.facts.clients(), takes), 0), version)
}

// tellVersion notes the running file version that the client of a device at a place told. With another one
// than before it may be another device in all but its address.
func tellVersion(d *Device, at int, version uint32) {
	var before *uint32
	changeClient(d, at, func(c *Client) {
		before = c.CurrentVersion
		c.CurrentVersion = &version
		c.VersionFresh = true
	})
	if before != nil && *before != version {
		d.SetOutdated()
	}
}

// restoreOthers leaves out what cannot be a client beside the main one.
func (f *Facts) restoreOthers() {
	var others []Client
	for _, c := range f.Others {
		taken := func(o Client) bool { return equal(o.ImageType, c.ImageType) }
		if c.ImageType != nil && !equal(f.ImageType, c.ImageType) && !slices.ContainsFunc(others, taken) {
			others = append(others, c)
		}
	}
	f.Others = others[:min(len(others), mostClients-1)]
}
