package registry_test

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

const (
	bulb   = message.IEEE(0x000b57fffec6a5b2)
	socket = message.IEEE(0x000b57fffec6a5c7)
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// attribute is the answer to a read of an attribute that is an unsigned number of some bytes, or a text.
func attribute(cluster, id uint16, value any) message.Attribute {
	at := message.Attribute{Kind: message.TypeReadAttribute, Cluster: cluster, ID: id}
	switch v := value.(type) {
	case string:
		at.DataType, at.Data = 0x42, []byte(v)
	case uint8:
		at.DataType, at.Data = 0x20, []byte{v}
	case uint16:
		at.DataType, at.Data = 0x21, []byte{byte(v >> 8), byte(v)}
	case uint32:
		at.DataType, at.Data = 0x23, []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
	case uint64:
		at.DataType, at.Data = 0x27, binary.BigEndian.AppendUint64(nil, v)
	}
	return at
}

func unsupported(cluster, id uint16) message.Attribute {
	return message.Attribute{
		Kind: message.TypeReadAttribute, Cluster: cluster, ID: id,
		Status: message.StatusUnsupportedAttribute, DataType: 0xFF,
	}
}

func ptr[T any](v T) *T { return &v }

// A state file's device is read and written as it stands there.
func TestFactsKeepTheirForm(t *testing.T) {
	const whole = `{"euid":"0x000b57fffec6a5b2","networkAddress":20303,"name":"Hall","manufacturerName":"IKEA",` +
		`"modelId":"E1","endpoint":1,"manufacturerCode":4476,"imageType":8705,"hardwareVersion":3,` +
		`"currentVersion":587814449,"sleepy":true,"powerSource":"battery","battery":70,` +
		`"lastSeen":"2026-11-21T12:00:00Z","interviewed":true,"deafEndpoint":11,"invalid":["aa"]}`
	const least = `{"euid":"0x000b57fffec6a5b2"}`
	for _, form := range []string{whole, least} {
		var f registry.Facts
		if err := json.Unmarshal([]byte(form), &f); err != nil {
			t.Fatal(err)
		}
		d := registry.NewDevices().Restore(f, now)
		written, err := json.Marshal(d.Facts())
		if err != nil {
			t.Fatal(err)
		}
		if string(written) != form {
			t.Errorf("read  %s\nwrote %s", form, written)
		}
	}
}

// Each change of a device shows where it matters, once, and what changes nothing shows nowhere.
func TestChangesShow(t *testing.T) {
	const kept, told, both = 1, 2, 3
	tests := map[string]struct {
		change func(*registry.Devices, *registry.Device)
		want   int
	}{
		"sleepy":   {func(_ *registry.Devices, d *registry.Device) { d.SetSleepy(true) }, both},
		"endpoint": {func(_ *registry.Devices, d *registry.Device) { d.SetEndpoint(11) }, both},
		"identity": {func(_ *registry.Devices, d *registry.Device) { d.LearnTaken(0, 0x117c, 0x2201) }, both},
		"hardware": {func(_ *registry.Devices, d *registry.Device) {
			d.LearnQuery(1, message.QueryNextImage{HasHardwareVersion: true, HardwareVersion: 2})
		}, both},
		"no hardware":   {func(_ *registry.Devices, d *registry.Device) { d.LearnQuery(1, message.QueryNextImage{}) }, both},
		"version":       {func(_ *registry.Devices, d *registry.Device) { d.SetVersion(7) }, both},
		"interviewed":   {func(_ *registry.Devices, d *registry.Device) { d.SetInterviewed() }, both},
		"invalid image": {func(_ *registry.Devices, d *registry.Device) { d.SetInvalid("aa") }, both},
		"address":       {func(s *registry.Devices, d *registry.Device) { s.Move(d, 0x4f4f) }, both},
		"name":          {func(s *registry.Devices, d *registry.Device) { s.Rename(d, "Hall") }, both},
		"model": {func(_ *registry.Devices, d *registry.Device) {
			d.Learn(attribute(message.ClusterBasic, message.AttrModel, "E1"))
		}, both},
		"battery":                 {func(_ *registry.Devices, d *registry.Device) { d.Learn(attribute(1, 0x21, uint8(140))) }, kept},
		"deaf endpoint":           {func(_ *registry.Devices, d *registry.Device) { d.AsksAt(11, 6) }, kept},
		"link quality":            {func(_ *registry.Devices, d *registry.Device) { d.SetLinkQuality(200) }, told},
		"an image for endpoint 1": {func(_ *registry.Devices, d *registry.Device) { d.AsksAt(1, 6) }, 0},
		"an unsupported attribute": {func(_ *registry.Devices, d *registry.Device) {
			d.Learn(unsupported(message.ClusterBasic, message.AttrModel))
		}, 0},
		"an empty text": {func(_ *registry.Devices, d *registry.Device) {
			d.Learn(attribute(message.ClusterBasic, message.AttrModel, ""))
		}, 0},
	}
	beside := func(*registry.Device) uint64 { return 0 }
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			devices := registry.NewDevices()
			d, _ := devices.Meet(bulb)
			d.Told(0, now)
			for i, want := range []int{tc.want, 0} { // the same again is no change
				if name == "shorter route" && i == 1 {
					break
				}
				before := devices.Revision()
				tc.change(devices, d)
				got := 0
				if devices.Revision() != before {
					got |= kept
				}
				if len(devices.Changed(now, beside)) > 0 {
					got |= told
				}
				if got != want {
					t.Errorf("change %d shows as %b, want %b", i, got, want)
				}
				d.Told(0, now)
			}
		})
	}
}

// A new device is told; one that was told is not told again; what is told beside it counts; signs of life
// count once a minute.
func TestChanged(t *testing.T) {
	devices := registry.NewDevices()
	d, isNew := devices.Meet(bulb)
	if !isNew {
		t.Error("the device was known already")
	}
	revision := uint64(0)
	beside := func(*registry.Device) uint64 { return revision }
	changed := func(at time.Time) bool { return slices.Contains(devices.Changed(at, beside), d) }

	if !changed(now) {
		t.Error("a new device is not told")
	}
	d.Told(revision, now)
	if changed(now) {
		t.Error("it is told twice")
	}

	revision++
	if !changed(now) {
		t.Error("what is told beside it does not count")
	}
	d.Told(revision, now)

	d.Seen(80, now.Add(time.Second))
	if changed(now.Add(59 * time.Second)) {
		t.Error("a sign of life is told within a minute")
	}
	if !changed(now.Add(time.Minute)) {
		t.Error("a sign of life is not told after a minute")
	}
	if f := d.Facts(); f.Heard.LQI == nil || *f.Heard.LQI != 80 || !f.LastSeen.Equal(now.Add(time.Second)) {
		t.Errorf("seen as %+v", f)
	}
	d.Told(revision, now.Add(time.Minute))

	d.SeenAt(now) // earlier than what is known
	if changed(now.Add(time.Hour)) {
		t.Error("an earlier sign of life is told")
	}
}

// Facts that were handed out do not change any more.
func TestFactsAreValues(t *testing.T) {
	devices := registry.NewDevices()
	d, _ := devices.Meet(bulb)
	d.LearnTaken(0, 1, 2)
	d.LearnQuery(0, message.QueryNextImage{
		ManufacturerCode: 1, ImageType: 2, FileVersion: 4, HasHardwareVersion: true, HardwareVersion: 3,
	})
	d.SetInvalid("aa")
	d.Seen(5, now)
	devices.Move(d, 6)
	before, again := d.Facts(), d.Facts()

	d.LearnTaken(0, 11, 12)
	d.LearnQuery(0, message.QueryNextImage{
		ManufacturerCode: 1, ImageType: 2, FileVersion: 14, HasHardwareVersion: true, HardwareVersion: 13,
	})
	d.SetInvalid("bb")
	d.Seen(15, now)
	devices.Move(d, 16)

	want := registry.Facts{
		EUID: bulb, NetworkAddress: ptr(uint16(6)), LastSeen: now, Invalid: []string{"aa"},
		Heard: registry.Heard{LQI: ptr(uint8(5))},
		Client: registry.Client{
			ManufacturerCode: ptr(uint16(1)), ImageType: ptr(uint16(2)), HardwareVersion: ptr(uint16(3)),
			CurrentVersion: ptr(uint32(4)), VersionFresh: true,
		},
	}
	if diff := cmp.Diff(want, before); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(again, before); diff != "" {
		t.Error(diff)
	}
}

func TestLearn(t *testing.T) {
	tests := map[string]struct {
		told    []message.Attribute
		want    registry.Facts
		version *uint32 // that the last one told
	}{
		"names": {
			told: []message.Attribute{
				attribute(message.ClusterBasic, message.AttrManufacturerName, "IKEA"),
				attribute(message.ClusterBasic, message.AttrModel, "E1"),
			},
			want: registry.Facts{ManufacturerName: "IKEA", ModelID: "E1"},
		},
		"mains, with a second source": {
			told: []message.Attribute{attribute(message.ClusterBasic, 7, uint8(0x81))},
			want: registry.Facts{PowerSource: registry.PowerMains},
		},
		"battery": {
			told: []message.Attribute{attribute(message.ClusterBasic, 7, uint8(3)), attribute(1, 0x21, uint8(141))},
			want: registry.Facts{PowerSource: registry.PowerBattery, Battery: ptr(uint8(70))},
		},
		"a charge that is not known": {
			told: []message.Attribute{attribute(1, 0x21, uint8(255))},
		},
		"another attribute of the power cluster": {
			told: []message.Attribute{attribute(1, 0x20, uint8(30))},
		},
		"a power source that is not known": {
			told: []message.Attribute{
				attribute(message.ClusterBasic, 7, uint8(4)), attribute(message.ClusterBasic, 7, uint8(0)),
			},
			want: registry.Facts{PowerSource: registry.PowerDC},
		},
		"its OTA client": {
			told: []message.Attribute{
				attribute(message.ClusterOTA, message.AttrOTAManufacturer, uint16(0x117c)),
				attribute(message.ClusterOTA, message.AttrOTAImageType, uint16(0x2201)),
				attribute(message.ClusterOTA, message.AttrOTAFileVersion, uint32(7)),
			},
			want: registry.Facts{Client: registry.Client{
				ManufacturerCode: ptr(uint16(0x117c)), ImageType: ptr(uint16(0x2201)), CurrentVersion: ptr(uint32(7)),
				VersionFresh: true,
			}},
			version: ptr(uint32(7)),
		},
		"an OTA client that knows nothing": {
			told: []message.Attribute{
				attribute(message.ClusterOTA, message.AttrOTAManufacturer, uint16(0xFFFF)),
				attribute(message.ClusterOTA, message.AttrOTAImageType, uint16(0xFFFF)),
				attribute(message.ClusterOTA, message.AttrOTAFileVersion, uint32(0xFFFFFFFF)),
			},
			want: registry.Facts{Client: registry.Client{ManufacturerUnsure: true}},
		},
		"a manufacturer code of 0xFFFF": {
			told: []message.Attribute{
				attribute(message.ClusterOTA, message.AttrOTAManufacturer, uint16(0xFFFF)),
				attribute(message.ClusterOTA, message.AttrOTAImageType, uint16(0xC8)),
			},
			want: registry.Facts{Client: registry.Client{
				ManufacturerCode: ptr(uint16(0xFFFF)), ImageType: ptr(uint16(0xC8)), ManufacturerUnsure: true,
			}},
		},
		"a manufacturer code that comes later": {
			told: []message.Attribute{
				attribute(message.ClusterOTA, message.AttrOTAImageType, uint16(0xC8)),
				attribute(message.ClusterOTA, message.AttrOTAManufacturer, uint16(0xFFFF)),
				attribute(message.ClusterOTA, message.AttrOTAManufacturer, uint16(0x117c)),
				attribute(message.ClusterOTA, message.AttrOTAManufacturer, uint16(0xFFFF)),
			},
			want: registry.Facts{Client: registry.Client{ManufacturerCode: ptr(uint16(0x117c)), ImageType: ptr(uint16(0xC8))}},
		},
		"mute": {
			told: []message.Attribute{unsupported(message.ClusterOTA, message.AttrOTAFileVersion)},
			want: registry.Facts{Client: registry.Client{Mute: true}},
		},
		"mute no more": {
			told: []message.Attribute{
				unsupported(message.ClusterOTA, message.AttrOTAFileVersion),
				attribute(message.ClusterOTA, message.AttrOTAFileVersion, uint32(7)),
			},
			want:    registry.Facts{Client: registry.Client{CurrentVersion: ptr(uint32(7)), VersionFresh: true}},
			version: ptr(uint32(7)),
		},
		"another cluster": {
			told: []message.Attribute{attribute(0x0006, 0, uint8(1))},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d, _ := registry.NewDevices().Meet(bulb)
			var client registry.Client
			var told bool
			for _, at := range tc.told {
				client, told = d.Learn(at)
			}
			tc.want.EUID = bulb
			if diff := cmp.Diff(tc.want, d.Facts()); diff != "" {
				t.Error(diff)
			}
			if told != (tc.version != nil) || told && *client.CurrentVersion != *tc.version {
				t.Errorf("the version of %+v is told: %v", client, told)
			}
		})
	}
}

// A power descriptor's charge is coarse: it fills a gap, and replaces nothing.
func TestLearnPower(t *testing.T) {
	present := func(source uint8, level uint16) message.PowerDescriptor {
		return message.PowerDescriptor{BitFields: uint16(source)<<8 | level<<12}
	}
	d, _ := registry.NewDevices().Meet(bulb)
	d.LearnPower(present(0, 0))
	if f := d.Facts(); f.PowerSource != registry.PowerUnknown || f.Battery != nil {
		t.Errorf("a descriptor without a source is taken for %+v", f)
	}
	d.LearnPower(present(message.PowerDisposable, 8))
	if f := d.Facts(); f.PowerSource != registry.PowerBattery || f.Battery == nil || *f.Battery != 66 {
		t.Errorf("on batteries: %+v", f)
	}
	d.LearnPower(present(message.PowerDisposable, 4))
	if b := d.Facts().Battery; *b != 66 {
		t.Errorf("the charge was replaced by %d", *b)
	}
	d.LearnPower(present(message.PowerMains, 12))
	if f := d.Facts(); f.PowerSource != registry.PowerMains {
		t.Errorf("on the mains: %+v", f)
	}
}

func TestLearnQuery(t *testing.T) {
	d, _ := registry.NewDevices().Meet(bulb)
	d.LearnQuery(0, message.QueryNextImage{ManufacturerCode: 1, ImageType: 2, FileVersion: 3})
	want := registry.Facts{EUID: bulb, Client: registry.Client{
		ManufacturerCode: ptr(uint16(1)), ImageType: ptr(uint16(2)), CurrentVersion: ptr(uint32(3)),
		VersionFresh: true, NoHardwareVersion: true,
	}}
	if diff := cmp.Diff(want, d.Facts()); diff != "" {
		t.Error(diff)
	}
	if c, ok := d.Catalogued(); !ok || !c.HardwareHeard || c.HardwareVersion != nil {
		t.Errorf("%+v", c)
	}
	d.LearnQuery(0, message.QueryNextImage{
		ManufacturerCode: 1, ImageType: 2, FileVersion: 3, HasHardwareVersion: true, HardwareVersion: 4,
	})
	want.HardwareVersion, want.NoHardwareVersion = ptr(uint16(4)), false
	if diff := cmp.Diff(want, d.Facts()); diff != "" {
		t.Error(diff)
	}
	d.LearnQuery(0, message.QueryNextImage{ManufacturerCode: 1, ImageType: 2, FileVersion: 3})
	if diff := cmp.Diff(want, d.Facts()); diff != "" {
		t.Errorf("a request without it: %s", diff)
	}
}

func TestUnanswered(t *testing.T) {
	d, _ := registry.NewDevices().Meet(bulb)
	if d.AsksAt(1, 6) || d.Unanswered() != "" {
		t.Error("a device that asks at endpoint 1 is called unanswered")
	}
	if !d.AsksAt(11, 6) || d.Unanswered() == "" {
		t.Error("a device that asks at endpoint 11 is not called unanswered")
	}
	if d.AsksAt(11, 6) {
		t.Error("it is found out twice")
	}
	if d.AsksAt(1, 6) || d.Unanswered() != "" {
		t.Error("a device that asks at endpoint 1 again is still called unanswered")
	}
}

// Manufacturer code and image type are what images are matched with, so both have to be known.
func TestCatalogued(t *testing.T) {
	devices := registry.NewDevices()
	d, _ := devices.Meet(bulb)
	d.Learn(attribute(message.ClusterOTA, message.AttrOTAImageType, uint16(0x2201)))
	if _, ok := d.Catalogued(); ok {
		t.Error("a device without a manufacturer code is matched")
	}
	d.LearnTaken(0, 0x117c, 0x2201)
	got, ok := d.Catalogued()
	if !ok || got.ManufacturerCode != 0x117c || got.ImageType != 0x2201 || got.EUI64 != uint64(bulb) {
		t.Errorf("%+v, %v", got, ok)
	}
}

func TestName(t *testing.T) {
	devices := registry.NewDevices()
	d, _ := devices.Meet(bulb)
	if d.Name() != bulb.String() {
		t.Errorf("without a name it is called %q", d.Name())
	}
	if err := devices.Rename(d, "Hall"); err != nil || d.Name() != "Hall" {
		t.Errorf("called %q (%v)", d.Name(), err)
	}
}
