package bridge_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant/schema"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

var updateGolden = flag.Bool("update-golden", false, "write the golden files of testdata anew")

// golden is what a Bridge says, case by case.
type golden struct {
	t     *testing.T
	name  string
	out   *paper
	b     *bridge.Bridge
	cases []json.RawMessage
}

func newGolden(t *testing.T, name string) *golden {
	out := newPaper()
	b := bridge.New(bridge.Options{
		Topics: "zigate-ota", Version: "1.2.0", Out: out, Observer: noObserver{}, Logger: slog.New(slog.DiscardHandler),
	})
	return &golden{t: t, name: name, out: out, b: b}
}

// add notes the payload that a topic got.
func (g *golden) add(name, topic, payload string) {
	g.t.Helper()
	if payload == "" {
		g.t.Errorf("%s: nothing on %s", name, topic)
		return
	}
	c := fmt.Appendf(nil, `{"case":%q,"topic":%q,"payload":%s}`, name, topic, payload)
	if !json.Valid(c) {
		g.t.Errorf("%s: %s", name, c)
		return
	}
	g.cases = append(g.cases, c)
}

// said notes the one message that was published on a topic.
func (g *golden) said(name, topic string) {
	g.t.Helper()
	messages := g.out.on(topic)
	if len(messages) != 1 {
		g.t.Errorf("%s: %d messages on %s", name, len(messages), topic)
		return
	}
	g.add(name, topic, messages[0])
}

// compare holds all cases against the golden file.
func (g *golden) compare() {
	g.t.Helper()
	var got bytes.Buffer
	joined := append(append([]byte("["), bytes.Join(asBytes(g.cases), []byte(","))...), ']')
	if err := json.Indent(&got, joined, "", "  "); err != nil {
		g.t.Fatal(err)
	}
	got.WriteByte('\n')
	path := filepath.Join("testdata", g.name+".golden.json")
	if *updateGolden {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			g.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		g.t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		g.t.Errorf("%s: what stands here is a contract with others; where the change is meant, run with -update-golden (-want +got):\n%s", path, diff)
	}
}

func asBytes(list []json.RawMessage) [][]byte {
	var b [][]byte
	for _, r := range list {
		b = append(b, r)
	}
	return b
}

func at(clock string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, "2026-11-21T"+clock+"Z")
	if err != nil {
		panic(err)
	}
	return t
}

func ptr[T any](v T) *T { return &v }

const (
	sha256Hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	imageURL  = "https://fw.example.com/10005777-TRADFRI-lamp.ota?a=1&b=2"
)

func goldenInfo() otasvc.InfoRecord {
	return otasvc.InfoRecord{
		StartedAt: at("16:00:00.987"),
		Dongle: otasvc.DongleInfo{
			Connected: true, Port: "/dev/ttyUSB0", Firmware: "3.23", EUID: 0x00158d0001020304, PANID: 4660, Channel: 15,
		},
		Slot:    &otasvc.Slot{ManufacturerCode: 4476, ImageType: 8705, ImageVersion: 587814449},
		Devices: 12, Images: 3, Queued: 2, Active: 1,
	}
}

func TestInfoGolden(t *testing.T) {
	g := newGolden(t, "info")
	starting := otasvc.InfoRecord{StartedAt: at("16:00:00")}
	away := goldenInfo()
	away.Dongle.Connected, away.Dongle.Error, away.Slot = false, "the connection to the dongle at /dev/ttyUSB0: reading: EOF", nil
	empty := goldenInfo()
	empty.Slot, empty.Queued, empty.Active = nil, 0, 0
	foreseen := goldenInfo()
	foreseen.DownloadsEnd = at("18:05:00")
	for _, c := range []struct {
		name string
		info otasvc.InfoRecord
	}{{"at work", goldenInfo()}, {"no dongle yet", starting}, {"dongle away", away}, {"nothing to do", empty}, {"end foreseen", foreseen}} {
		g.b.InfoChanged(c.info)
		g.add(c.name, "zigate-ota/info", g.out.value("zigate-ota/info"))
	}
	g.compare()
}

func goldenOffer() *otasvc.Offer {
	return &otasvc.Offer{
		ManufacturerCode: 4476, ImageType: 8705, ImageVersion: 587814449, Size: 205488, SHA256: sha256Hex, URL: imageURL,
		Source: otasvc.SourceRegistered, Title: "TRADFRI lamp",
	}
}

// goldenDevice is a device that is known and up to date, without an image.
func goldenDevice() otasvc.DeviceRecord {
	return otasvc.DeviceRecord{
		EUID: bulb, NetworkAddress: ptr(uint16(20303)), Name: "Kitchen bulb", ManufacturerName: "IKEA of Sweden",
		ModelID: "TRADFRI bulb E27", ManufacturerCode: ptr(uint16(4476)), ImageType: ptr(uint16(8705)),
		HardwareVersion: ptr(uint16(1)), Endpoint: 1, CurrentVersion: ptr(uint32(570492465)),
		Heard: otasvc.Heard{LQI: ptr(uint8(132)), LastSeen: at("16:02:11.5")},
	}
}

// withUpgrade is the device with an image and an upgrade to it in some state.
func withUpgrade(state upgrade.State, change func(*upgrade.Record)) otasvc.DeviceRecord {
	d := goldenDevice()
	d.Offer, d.UpdateAvailable = goldenOffer(), true
	d.Upgrade = &upgrade.Record{
		State: state, ImageVersion: ptr(uint32(587814449)), OldImageVersion: d.CurrentVersion, Size: 205488, QueuedAt: at("15:50:00"), Attempt: 1,
	}
	if change != nil {
		change(d.Upgrade)
	}
	return d
}

// withSettings is the device with everything set, and an image that it does not get.
func withSettings() otasvc.DeviceRecord {
	d := goldenDevice()
	d.Offer, d.UpdateAvailable = goldenOffer(), true
	d.Settings = needs.Settings{
		Excluded: ptr(true), BlockSize: ptr(uint8(40)), BlockInterval: ptr(250 * time.Millisecond), StallTimeout: ptr(time.Hour),
		NotifyAttempts: ptr(uint32(3)),
	}
	return d
}

// withHistory is the device after an upgrade that failed and another that succeeded.
func withHistory() otasvc.DeviceRecord {
	d := withUpgrade(upgrade.Succeeded, nil)
	past := upgrade.Past{
		State: upgrade.Succeeded, ImageVersion: ptr(uint32(587814449)), OldImageVersion: ptr(uint32(570492465)), QueuedAt: at("15:50:00"),
		StartedAt: at("15:51:00.25"), EndedAt: at("16:01:00"), Attempts: 1, Size: 205488, Bytes: 205488, BytesPerSecond: 412,
	}
	failed := upgrade.Past{
		State: upgrade.Failed, Reason: upgrade.ReasonNoResponse, ImageVersion: ptr(uint32(587814449)), QueuedAt: at("14:50:00"), EndedAt: at("15:05:00"),
		Attempts: 3, Size: 205488,
	}
	other := past
	other.RunningVersion = ptr(uint32(587814450))
	d.History = []upgrade.Past{past, failed, other}
	return d
}

// withOtherImages is the device with an upgrade to one of its other images, and one of that that has ended.
func withOtherImages() otasvc.DeviceRecord {
	d := withUpgrade(upgrade.Downloading, func(u *upgrade.Record) {
		u.ImageType, u.ImageVersion, u.OldImageVersion = ptr(uint16(8706)), ptr(uint32(7)), ptr(uint32(5))
		u.Offset, u.Progress, u.StartedAt = 36224, 17.6, at("15:51:00")
	})
	newer := goldenOffer()
	newer.ImageType, newer.ImageVersion, newer.ReleaseNotes = 8706, 7, "https://fw.example.com/notes"
	d.OtherImages = []otasvc.OtherImage{
		{
			Endpoint: 2, ManufacturerCode: ptr(uint16(4476)), ImageType: 8706, CurrentVersion: ptr(uint32(5)),
			UpdateAvailable: true, Offer: newer,
		},
		{ImageType: 8707},
	}
	d.History = []upgrade.Past{{
		State: upgrade.Cancelled, Reason: upgrade.ReasonCancelled, Kind: &upgrade.Kind{ManufacturerCode: 4476, ImageType: 8706},
		ImageVersion: ptr(uint32(6)), QueuedAt: at("14:50:00"), EndedAt: at("15:05:00"), Attempts: 1, Size: 205488,
	}}
	return d
}

type deviceCase struct {
	name   string
	device otasvc.DeviceRecord
}

func deviceCases() []deviceCase {
	known, newer, downgrade, fresh := goldenDevice(), goldenDevice(), goldenDevice(), goldenDevice()
	newer.Offer, newer.UpdateAvailable = goldenOffer(), true
	newer.Offer.DriverTypeID, newer.Offer.DriverVersion = "bulb.c4z", 7
	newer.Offer.Source, newer.Offer.ReleaseNotes = otasvc.SourceIndex, "Fewer surprises."
	downgrade.Offer = goldenOffer()
	downgrade.Offer.ImageVersion = 1
	fresh.Offer, fresh.UpdateAvailable = &otasvc.Offer{ManufacturerCode: 4476, ImageType: 8705, ImageVersion: 587814449, Source: otasvc.SourceIndex}, true
	fresh.CurrentVersion, fresh.Heard.Sleepy = nil, true
	from := func(offset uint32, progress float64) func(*upgrade.Record) {
		return func(u *upgrade.Record) { u.Offset, u.Progress, u.StartedAt = offset, progress, at("15:51:00") }
	}
	whole := func(u *upgrade.Record) {
		from(205488, 100)(u)
		u.RemainingSeconds = ptr(0)
	}
	succeeded := withUpgrade(upgrade.Succeeded, from(205488, 100))
	succeeded.CurrentVersion, succeeded.UpdateAvailable = ptr(uint32(587814449)), false
	waiting := withUpgrade(upgrade.Queued, nil)
	waiting.Queue = &slot.Place{
		Device: bulb, Position: 3, WaitsFor: slot.WaitsForSlot, Start: at("16:20:00"), End: at("16:29:00"),
	}
	asleep := withUpgrade(upgrade.Queued, nil)
	asleep.Queue = &slot.Place{Device: bulb, Position: 4, WaitsFor: slot.WaitsForDevice}
	next := withUpgrade(upgrade.Queued, nil)
	next.Queue = &slot.Place{Device: bulb, Position: 1, Start: at("16:00:00"), End: at("16:09:00")}
	ending := withUpgrade(upgrade.Downloading, from(36224, 17.6))
	ending.Queue = &slot.Place{Device: bulb, End: at("16:09:00")}
	people := goldenDevice()
	people.ForPeople = otasvc.ForPeople{SoftwareBuild: "2.3.093", DateCode: "20240131", OtherServer: 0x00212effff00aabb}
	return []deviceCase{
		{"unknown but for its euid", otasvc.DeviceRecord{EUID: bulb, Name: bulb.String()}},
		{"known, without an image", known},
		{"with a software build, and another server", people},
		{"newer image from an index, by a driver", newer},
		{"older image", downgrade},
		{"version unknown, image of an index that was not fetched, asleep", fresh},
		{"its image is being fetched", withUpgrade(upgrade.Fetching, func(u *upgrade.Record) {
			u.Offset, u.Size, u.Progress = 36224, 205520, 17.6
		})},
		{"its image is being fetched, nobody knows which it is", withUpgrade(upgrade.Fetching, func(u *upgrade.Record) {
			u.ImageVersion, u.Size = nil, 0
		})},
		{"scheduled", withUpgrade(upgrade.Scheduled, nil)},
		{"queued", withUpgrade(upgrade.Queued, nil)},
		{"third in the queue", waiting},
		{"in the queue, asleep", asleep},
		{"next in the queue", next},
		{"after two upgrades", withHistory()},
		{"configured, and excluded", withSettings()},
		{"queued again", withUpgrade(upgrade.Queued, func(u *upgrade.Record) { u.Attempt = 2 })},
		{"behind another device of its image", withUpgrade(upgrade.Queued, func(u *upgrade.Record) { u.WaitsFor = 0x00178801aabbccdd })},
		{"notified", withUpgrade(upgrade.Notified, nil)},
		{"downloading", withUpgrade(upgrade.Downloading, func(u *upgrade.Record) {
			from(36224, 17.6)(u)
			u.BytesPerSecond, u.RemainingSeconds = 412, ptr(411)
		})},
		{"downloading, no rate yet", withUpgrade(upgrade.Downloading, from(0, 0))},
		{"downloading, end foreseen", ending},
		{"paused", withUpgrade(upgrade.Paused, from(36224, 17.6))},
		{"downloaded", withUpgrade(upgrade.Downloaded, whole)},
		{"applying", withUpgrade(upgrade.Applying, whole)},
		{"succeeded", succeeded},
		{"succeeded, and it tells another version", withUpgrade(upgrade.Succeeded, func(u *upgrade.Record) {
			whole(u)
			u.RunningVersion = ptr(uint32(587814450))
		})},
		{"failed", withUpgrade(upgrade.Failed, func(u *upgrade.Record) {
			from(36224, 17.6)(u)
			u.Reason, u.Attempt = upgrade.ReasonStalled, 3
		})},
		{"cancelled", withUpgrade(upgrade.Cancelled, func(u *upgrade.Record) { u.Reason = upgrade.ReasonCancelled })},
		{"with other images", withOtherImages()},
	}
}

func TestDeviceGolden(t *testing.T) {
	g := newGolden(t, "device")
	for _, c := range deviceCases() {
		g.b.DeviceChanged(c.device)
		topic := "zigate-ota/device/" + c.device.EUID.String()
		g.add(c.name, topic, g.out.value(topic))
	}
	g.compare()
}

func TestUpdateGolden(t *testing.T) {
	g := newGolden(t, "update")
	for _, c := range deviceCases() {
		g.b.DeviceChanged(c.device)
		topic := "zigate-ota/device/" + c.device.EUID.String() + "/update"
		payload := g.out.value(topic)
		if err := schema.Message(topic, []byte(payload)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		g.add(c.name, topic, payload)
		for _, o := range c.device.OtherImages {
			of := fmt.Sprintf("%s/%d", topic, o.ImageType)
			if err := schema.Message(of, []byte(g.out.value(of))); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			g.add(fmt.Sprintf("%s, %d", c.name, o.ImageType), of, g.out.value(of))
		}
	}
	g.compare()
}

func TestImagesGolden(t *testing.T) {
	g := newGolden(t, "images")
	driver := otasvc.RegisteredImage{Offer: *goldenOffer(), AddedAt: at("15:00:00"), Devices: []message.IEEE{bulb, 0x00178801aabbccdd}}
	driver.Offer.DriverTypeID, driver.Offer.DriverVersion = "bulb.c4z", 7
	driver.Stored = &library.Image{
		Header: otafile.Header{StackVersion: 2}, Wrapper: "driver package (c4z)", Warnings: []string{"something is odd"},
		Checks: []otafile.Check{
			{Name: library.CheckSHA256, Status: otafile.Failed, Expected: "00", Found: "01"},
			{Name: otafile.CheckGBL, Status: otafile.Passed, Detail: "2 elements"}, {Name: otafile.CheckSignature},
		},
	}
	bare := driver
	bare.Stored = &library.Image{}
	alone := otasvc.RegisteredImage{Offer: otasvc.Offer{
		ManufacturerCode: 4107, ImageType: 274, ImageVersion: 11, Size: 500, SHA256: sha256Hex, URL: "file:///var/lib/zigate-ota/images/plug.ota",
	}, AddedAt: at("15:00:01.5")}
	for _, c := range []struct {
		name string
		list []otasvc.RegisteredImage
	}{{"none", nil}, {"by a driver, and for no device", []otasvc.RegisteredImage{driver, alone}}, {"nothing to tell", []otasvc.RegisteredImage{bare}}} {
		g.b.ImagesChanged(c.list)
		g.add(c.name, "zigate-ota/images", g.out.value("zigate-ota/images"))
	}
	g.compare()
}
