package otasvc_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// readCatalog is a catalog that has read its indexes, and whose answers do not change.
type readCatalog struct{ *library.Catalog }

func (readCatalog) Refresh() {}

// Changed is nil: a channel that was made in real time would stop fake time.
func (readCatalog) Changed() <-chan struct{} { return nil }

// Read is closed, for the same reason by this package itself.
func (readCatalog) Read() <-chan struct{} { return alreadyRead }

// alreadyRead is closed.
var alreadyRead = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// indexedHome is a home of which an index has an image for each device, each with an image type of its own. Every
// fifth entry is for some hardware versions only, which the device tells in its queries and nowhere else.
type indexedHome struct {
	devices []sim.DeviceConfig
	images  map[message.IEEE][]byte
	limited int
}

// newIndexedHome writes the images and index.json into a folder.
func newIndexedHome(t *testing.T, dir string, devices int) indexedHome {
	t.Helper()
	home := indexedHome{images: map[message.IEEE][]byte{}}
	var entries []map[string]any
	for i := range devices {
		d := bulbConfig(bulb + message.IEEE(i))
		d.ManufacturerCode = uint16(0x1100 + i/4)
		d.ImageType = uint16(0x0200 + i)
		d.FileVersion = uint32(1 + i)
		version := d.FileVersion + 1
		image := otafile.Build(otafile.Header{
			ManufacturerCode: d.ManufacturerCode, ImageType: d.ImageType, FileVersion: version,
		}, bytes.Repeat([]byte{byte(i), 0x5A}, 1_500))
		name := fmt.Sprintf("%d.ota", i)
		if err := os.WriteFile(filepath.Join(dir, name), image, 0o600); err != nil {
			t.Fatal(err)
		}
		entry := map[string]any{
			"url": name, "fileSize": len(image), "fileVersion": version,
			"manufacturerCode": d.ManufacturerCode, "imageType": d.ImageType,
		}

		switch i % 5 {
		case 0:
			hardware := uint16(i)
			d = quietly(d, hardware)
			entry["hardwareVersionMin"] = hardware
			entry["hardwareVersionMax"] = hardware + 2
			home.limited++
		case 1:
			entry["modelId"] = d.ModelID
		case 2:
			entry["manufacturerName"] = []string{"another", d.ManufacturerName}
		case 3:
			entry["minFileVersion"] = d.FileVersion
		default:
			d.UnsupportedAttributes = []uint16{message.AttrOTAManufacturer, message.AttrOTAImageType}
		}
		entries = append(entries, entry)
		home.devices = append(home.devices, d)
		home.images[d.IEEE] = image
	}

	index, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), index, 0o600); err != nil {
		t.Fatal(err)
	}
	return home
}

// Of a home whose devices an index knows, "all" upgrades every device, those too whose images are for some hardware
// versions, and which tell theirs only when they are asked who they are.
func TestAllOfAnIndexedHome(t *testing.T) {
	for _, firmware := range firmwares {
		t.Run(firmware.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			home := newIndexedHome(t, dir, 44)
			if home.limited != 9 {
				t.Fatalf("%d images have limits", home.limited)
			}
			if err := os.Mkdir(filepath.Join(dir, "images"), 0o700); err != nil {
				t.Fatal(err)
			}
			lib, k := readIndex(t, filepath.Join(dir, "images"), filepath.Join(dir, "index.json"))

			synctest.Test(t, func(t *testing.T) {
				w := &world{t: t, dir: dir, policy: defaultPolicy(), library: lib, catalog: readCatalog{k}}
				w.run(sim.Config{Firmware: firmware, Devices: home.devices, Speed: 1}, func(w *world) {
					w.within(4*time.Minute, "an update is known for everybody", func() bool {
						for _, d := range home.devices {
							if !w.sink.device(d.IEEE).UpdateAvailable {
								return false
							}
						}
						return true
					})

					answer := w.group("all")()
					if answer.Status != otasvc.Success || len(answer.UpgradeResults) != len(home.devices) {
						t.Errorf("the answer is %q, with %d results", answer.Status, len(answer.UpgradeResults))
					}
					for _, d := range home.devices {
						if state := w.stateOf(d.IEEE); state != upgrade.Succeeded {
							t.Errorf("%v is %v: %s", d.IEEE, state, w.upgradeOf(d.IEEE).Error)
						}
						w.holds(d.IEEE, d.FileVersion+1, home.images[d.IEEE])
					}
				})
			})
		})
	}
}
