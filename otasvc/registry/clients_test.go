package registry_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// shown is OTA clients as the tests of their places write them: endpoint and image type of each, the former
// type behind it.
func shown(list []registry.Client) string {
	var texts []string
	for _, c := range list {
		text := fmt.Sprintf("%d:", c.Endpoint)
		if c.ImageType != nil {
			text += fmt.Sprint(*c.ImageType)
		}
		if c.FormerType != nil {
			text += fmt.Sprintf("(%d)", *c.FormerType)
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, " ")
}

// oneClient is an OTA client that has told its image type a while ago.
func oneClient(endpoint uint8, imageType uint16, ago time.Duration) registry.Client {
	return registry.Client{
		Endpoint: endpoint, ImageType: &imageType,
		ClientPast: registry.ClientPast{ToldAt: now.Add(-ago)},
	}
}

// installed is the client once it was given an image of version 7.
func installed(c registry.Client) registry.Client { c.Installed = ptr(uint32(7)); return c }

// Whose image type it is that was told: the rule, case by case.
func TestPlaced(t *testing.T) {
	const day = 24 * time.Hour
	untold := registry.Client{}
	unheard := registry.Client{Endpoint: 1}
	onlyVersion := registry.Client{Endpoint: 1, CurrentVersion: ptr(uint32(7))}
	asked := func(endpoint uint8, imageType uint16) registry.Telling {
		return registry.Telling{Endpoint: endpoint, ImageType: imageType, How: registry.Asked, At: now}
	}
	read := func(endpoint uint8, imageType uint16) registry.Telling {
		return registry.Telling{Endpoint: endpoint, ImageType: imageType, How: registry.Read, At: now}
	}
	took := func(endpoint uint8) registry.Telling {
		return registry.Telling{Endpoint: endpoint, ImageType: 20, How: registry.Took, At: now}
	}
	running := func(t registry.Telling, version uint32) registry.Telling { t.Version = &version; return t }
	many := []registry.Client{oneClient(1, 10, 0)}
	for i := range 7 {
		many = append(many, oneClient(1, 100+uint16(i), time.Duration(i%5)*time.Hour))
	}
	list := func(c ...registry.Client) []registry.Client { return c }

	tests := map[string]struct {
		known []registry.Client
		told  registry.Telling
		want  string
		at    int
	}{
		"the first type":                      {list(untold), asked(3, 10), "3:10", 0},
		"the first type, read":                {list(untold), read(3, 10), "3:10", 0},
		"the first type, of its endpoint":     {list(onlyVersion), asked(1, 10), "1:10", 0},
		"the first type, of another endpoint": {list(onlyVersion), asked(2, 10), "1: 2:10", 1},
		"a main client that told nothing":     {list(unheard), asked(2, 10), "2:10", 0},
		"it did not answer yet":               {list(unheard), read(2, 10), "1: 2:10", 1},
		"a known type":                        {list(oneClient(1, 10, 0), oneClient(1, 20, 0)), asked(1, 20), "1:10 1:20", 1},
		"a known type asks elsewhere":         {list(oneClient(1, 10, 0)), asked(2, 10), "2:10", 0},
		"a known type is read elsewhere":      {list(oneClient(1, 10, 0)), read(2, 10), "1:10", 0},
		"two types at one endpoint":           {list(oneClient(1, 10, 0)), asked(1, 20), "1:10 1:20", 1},
		"two endpoints":                       {list(oneClient(1, 10, 0)), read(2, 20), "1:10 2:20", 1},
		"a new type after an upgrade":         {list(installed(oneClient(1, 10, 0))), asked(1, 20), "1:20(10)", 0},
		"a new type after an upgrade, read":   {list(installed(oneClient(1, 10, 0))), read(1, 20), "1:20(10)", 0},
		"a new type at another endpoint after an upgrade": {
			list(installed(oneClient(1, 10, 0))), asked(2, 20), "1:10 2:20", 1,
		},
		"the upgrade of the other one": {
			list(oneClient(1, 10, 0), installed(oneClient(2, 20, 0))), asked(2, 30), "1:10 2:30(20)", 1,
		},
		"a known type after an upgrade": {
			list(installed(oneClient(1, 10, 0)), oneClient(1, 20, 0)), asked(1, 20), "1:10 1:20", 1,
		},
		"a new type with the image's version": {
			list(installed(oneClient(1, 10, 0))), running(asked(1, 20), 7), "1:20(10)", 0,
		},
		"a second type after the first image": {
			list(installed(oneClient(1, 10, 0))), running(asked(1, 20), 3), "1:10 1:20", 1,
		},
		"an image is taken after an upgrade": {list(installed(oneClient(1, 10, 0))), took(0), "1:10 0:20", 1},
		"an image is taken at an endpoint":   {list(oneClient(1, 10, 0)), took(2), "1:10 2:20", 1},
		"an image is taken by a silent one":  {list(oneClient(1, 10, 31*day)), took(1), "1:10 1:20", 1},
		"an image is taken first":            {list(unheard), took(0), "1:20", 0},
		"the old type has not been heard for long": {
			list(oneClient(1, 10, 31*day)), asked(1, 20), "1:20(10)", 0,
		},
		"it has not been heard for a while":    {list(oneClient(1, 10, 29*day)), asked(1, 20), "1:10 1:20", 1},
		"it is read after a long silence":      {list(oneClient(1, 10, 31*day)), read(1, 20), "1:10 1:20", 1},
		"nobody knows when it was heard":       {list(oneClient(1, 10, 0), registry.Client{}), asked(1, 10), "1:10 0:", 0},
		"the main one is gone, the other asks": {list(oneClient(1, 10, 31*day), oneClient(1, 20, 0)), asked(1, 20), "1:20(10)", 0},
		"the other one is gone, the main asks": {list(oneClient(1, 10, 0), oneClient(1, 20, 31*day)), asked(1, 10), "1:10(20)", 0},
		"it is at another endpoint and silent": {list(oneClient(1, 10, 31*day), oneClient(2, 20, 0)), asked(2, 20), "1:10 2:20", 1},
		"more than a device can have": {
			many, asked(1, 20), "1:10 1:100 1:101 1:102 1:103 1:105 1:106 1:20", 7,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			before := shown(tc.known)
			got, at := registry.Placed(tc.known, tc.told)
			if shown(got) != tc.want || at != tc.at {
				t.Errorf("%s told at %d, want %s at %d", shown(got), at, tc.want, tc.at)
			}
			if c := got[at]; *c.ImageType != tc.told.ImageType || !c.ToldAt.Equal(now) || c.Installed != nil {
				t.Errorf("the one that told it is %+v", c)
			}
			if shown(tc.known) != before {
				t.Errorf("what was known is %s now", shown(tc.known))
			}
		})
	}
}

// tells has a device ask for an image of a type at an endpoint, a time after now.
func tells(d *registry.Device, after time.Duration, endpoint uint8, imageType uint16, version uint32) registry.Client {
	d.Seen(0, now.Add(after))
	return d.LearnQuery(endpoint, message.QueryNextImage{
		ManufacturerCode: 0x117c, ImageType: imageType, FileVersion: version,
		HasHardwareVersion: true, HardwareVersion: uint16(version),
	})
}

// Two image types of a device stay apart, whichever asks, and one is not told of the other.
func TestTwoClientsStayApart(t *testing.T) {
	devices := registry.NewDevices()
	d, _ := devices.Meet(bulb)
	tells(d, 0, 1, 10, 1)
	tells(d, time.Minute, 1, 20, 5)
	for i := range uint32(3) {
		tells(d, time.Hour, 1, 10, 2+i)
		tells(d, 2*time.Hour, 1, 20, 6+i)
	}
	f := d.Facts()
	if *f.ImageType != 10 || *f.CurrentVersion != 4 || *f.HardwareVersion != 4 {
		t.Errorf("the main one: %d, version %d", *f.ImageType, *f.CurrentVersion)
	}
	if len(f.Others) != 1 || *f.Others[0].ImageType != 20 || *f.Others[0].CurrentVersion != 8 ||
		*f.Others[0].HardwareVersion != 8 || *f.Others[0].ManufacturerCode != 0x117c {
		t.Errorf("the others: %+v", f.Others)
	}

	for imageType, version := range map[uint16]uint32{10: 4, 20: 8} {
		c, exact := d.Client(imageType)
		if !exact || *c.CurrentVersion != version {
			t.Errorf("an image of type %d is for %+v", imageType, c)
		}
		if as, ok := ptr(f.As(c)).Catalogued(); !ok || as.ImageType != imageType || *as.CurrentVersion != version {
			t.Errorf("type %d is matched as %+v", imageType, as)
		}
	}
	if c, exact := d.Client(30); exact || *c.ImageType != 10 {
		t.Errorf("an image of type 30 is for %+v, exactly: %v", c, exact)
	}
}

// What an endpoint's attributes tell is taken for the client that is there; of two at one endpoint the one
// whose type was read there. A version of nobody's is not taken for somebody's.
func TestAttributesOfTwoClients(t *testing.T) {
	at := func(endpoint uint8, id uint16, value any) message.Attribute {
		a := attribute(message.ClusterOTA, id, value)
		a.Endpoint = endpoint
		return a
	}
	imageType := func(endpoint uint8, v uint16) message.Attribute { return at(endpoint, message.AttrOTAImageType, v) }
	code := func(endpoint uint8, v uint16) message.Attribute { return at(endpoint, message.AttrOTAManufacturer, v) }
	version := func(endpoint uint8, v uint32) message.Attribute { return at(endpoint, message.AttrOTAFileVersion, v) }

	devices := registry.NewDevices()
	d, _ := devices.Meet(bulb)
	d.SetEndpoint(1)
	for _, a := range []message.Attribute{
		imageType(1, 10), code(1, 1), version(1, 7),
		version(2, 66), // not known yet whose that is
		imageType(2, 20), code(2, 2), version(2, 8),
	} {
		d.Learn(a)
	}
	type client struct {
		Type, Code uint16
		Version    uint32
		Mute       bool
	}
	clients := func() (list []client) {
		for _, c := range d.Clients() {
			list = append(list, client{*c.ImageType, *c.ManufacturerCode, *c.CurrentVersion, c.Mute})
		}
		return list
	}
	if diff := cmp.Diff([]client{{10, 1, 7, false}, {20, 2, 8, false}}, clients()); diff != "" {
		t.Error("two endpoints:", diff)
	}

	tells(d, 0, 1, 30, 9)
	d.Learn(version(1, 17))
	want := []client{{10, 1, 17, false}, {20, 2, 8, false}, {30, 0x117c, 9, true}}
	if diff := cmp.Diff(want, clients()); diff != "" {
		t.Error("two at one endpoint:", diff)
	}
	d.Learn(imageType(1, 30))
	if told, ok := d.Learn(version(1, 19)); !ok || *told.ImageType != 30 {
		t.Errorf("the version is %+v's, %v", told, ok)
	}
	want = []client{{10, 1, 17, true}, {20, 2, 8, false}, {30, 0x117c, 19, false}}
	if diff := cmp.Diff(want, clients()); diff != "" {
		t.Error("the other one is read there:", diff)
	}
}

// The client that installs an image may get another type, and is the same one then.
func TestTypeChangesByUpgrade(t *testing.T) {
	devices := registry.NewDevices()
	d, _ := devices.Meet(bulb)
	tells(d, 0, 1, 10, 1)
	tells(d, 0, 2, 20, 1)
	before := devices.Revision()
	d.SetInstalled(20, 3)
	if devices.Revision() == before {
		t.Error("it is not kept")
	}
	told := tells(d, time.Minute, 2, 25, 3)
	if got := shown(d.Clients()); got != "1:10 2:25(20)" {
		t.Error(got)
	}
	if !told.Takes(20) || !told.Takes(25) || told.Takes(10) {
		t.Errorf("%+v", told)
	}
	if c, _ := d.Client(20); !c.Same(&told) {
		t.Errorf("an image of the former type is for %+v", c)
	}
}

// The state file keeps all clients. What cannot be is left out.
func TestClientsAreKept(t *testing.T) {
	d, _ := registry.NewDevices().Meet(bulb)
	tells(d, 0, 1, 10, 1)
	tells(d, time.Minute, 1, 20, 2)
	d.SetInstalled(10, 3)
	written, err := json.Marshal(d.Facts())
	if err != nil {
		t.Fatal(err)
	}
	var f registry.Facts
	if err := json.Unmarshal(written, &f); err != nil {
		t.Fatal(err)
	}
	restored := registry.NewDevices().Restore(f, now.Add(time.Minute))
	again, err := json.Marshal(restored.Facts())
	if err != nil || string(again) != string(written) {
		t.Errorf("kept %s\nthen %s (%v)", written, again, err)
	}
	tells(restored, 2*time.Minute, 1, 30, 3)
	if got := shown(restored.Clients()); got != "1:30(10) 1:20" {
		t.Errorf("a new type after the restart: %s", got)
	}

	f.Others = append(f.Others, registry.Client{}, f.Others[0], oneClient(1, 10, 0))
	if got := shown(registry.NewDevices().Restore(f, now).Clients()); got != "1:10 1:20" {
		t.Error("damaged:", got)
	}
}
